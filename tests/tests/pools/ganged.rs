//! Gang blocks of encrypted datasets, made by OpenZFS.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_format::object_type::ObjectType;
use zstream_tests::blocks::blocks;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;
use zstream_tests::writing::unreached;

fn image() -> PathBuf {
    golden::gangs_file("gangcrypt.img")
}

fn run(words: &[&str]) -> Outcome {
    run_on(&image(), words)
}

/// Runs the program on a pool, with its key.
fn run_on(image: &Path, words: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    fs::write(&key, PASSPHRASE).expect("a file");
    let before = ["-d", image.to_str().expect("UTF-8"), "--key-file", key.to_str().expect("UTF-8")];
    zstream(&[&before, words].concat(), &[])
}

#[test]
fn every_copy_of_every_block_is_good() {
    let pool = Pool::open(&[image()], &OpenOptions::default()).expect("a pool");
    let mut kinds = BTreeSet::new();
    for (pointer, at) in blocks(&pool) {
        let check = pool.reader().check_block(&pointer, at).expect("a checked block");
        assert!(check.bad.is_empty(), "{at}: {}", check.bad[0]);
        if pointer.is_gang() {
            kinds.insert((format!("{:?}", pointer.crypt_kind()), pointer.object_type().name()));
        }
    }
    for (kind, object_type) in [
        (CryptKind::Encrypted, ObjectType::PLAIN_FILE_CONTENTS),
        (CryptKind::Encrypted, ObjectType::DNODE),
        (CryptKind::Encrypted, ObjectType::ZVOL),
        (CryptKind::Encrypted, ObjectType::SA),
        (CryptKind::Authenticated, ObjectType::OBJSET),
        (CryptKind::IndirectMac, ObjectType::DNODE),
        (CryptKind::Plain, ObjectType::DNODE),
    ] {
        let kind = (format!("{kind:?}"), object_type.name());
        assert!(kinds.contains(&kind), "no gang block of {kind:?} in {kinds:?}");
    }
    let check = run(&["pool", "check"]);
    assert_eq!(check.code, 0, "{}", String::from_utf8_lossy(&[check.stdout, check.stderr].concat()));
}

/// Asserts that the files of the snapshots `@b` of a pool, which are those of the heads, have the sums.
fn assert_files(image: &Path, pool: &str, sums: &Path) {
    use sha2::Digest as _;
    let sums = fs::read_to_string(sums).expect("sums");
    for (sum, path) in sums.lines().filter_map(|line| line.split_once("  ")) {
        let Some((dataset, file)) = path.rsplit_once('/') else { continue };
        let outcome = run_on(image, &["cat", &format!("{pool}/{dataset}@b"), file]);
        let found: String =
            sha2::Sha256::digest(&outcome.stdout).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((outcome.code, found.as_str()), (0, sum), "{path}");
    }
}

#[test]
fn files_are_read_and_sent_as_openzfs_does() {
    assert_files(&image(), "gangcrypt", &golden::gangs_file("gangcrypt.sums"));
    for (words, name) in [
        (&["send", "-w", "gangcrypt/e@b"][..], "gangcrypt-e-w.zfs"),
        (&["send", "gangcrypt/e@b"], "gangcrypt-e.zfs"),
        (&["send", "-w", "gangcrypt/e/vol@b"], "gangcrypt-e-vol-w.zfs"),
    ] {
        let outcome = run(words);
        assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
        let expected = fs::read(golden::gangs_file(name)).expect("a stream");
        assert!(outcome.stdout == expected, "{words:?} is not {name}");
    }
    // What was received raw is what was sent, but for its name.
    let [sent, received] = ["gangcrypt/e@b", "gangcrypt/raw@b"].map(|name| run(&["send", "-w", name]).stdout);
    assert_eq!(sent.len(), received.len());
}

fn large_image() -> PathBuf {
    golden::gangs_2_4_file("gangdyn.img")
}

/// Returns the number of gang headers in each gang block, copies included, with the stored size of the block.
fn headers(image: &Path) -> BTreeSet<(u64, usize)> {
    let pool = Pool::open(&[image.to_path_buf()], &OpenOptions::default()).expect("a pool");
    let mut found = BTreeSet::new();
    for (pointer, at) in blocks(&pool) {
        let check = pool.reader().check_block(&pointer, at).expect("a checked block");
        assert!(check.bad.is_empty(), "{at}: {}", check.bad[0]);
        if pointer.is_gang() {
            let ranges = pool.reader().ranges(&pointer).expect("ranges");
            found.insert((pointer.psize(), ranges.iter().filter(|range| range.is_gang()).count()));
        }
    }
    found
}

#[test]
fn headers_of_either_size_are_read_in_one_pool() {
    let headers = headers(&large_image());
    // Each header has two copies. Four pieces need a second header of three pieces, but not one of 31; a block of 42 pieces
    // has eleven pieces of two sectors, each with a header.
    for (stored, count) in [(16 << 10, 2), (16 << 10, 4), (96 << 10, 2), (167 << 10, 24)] {
        assert!(
            headers.contains(&(stored, count)),
            "no block of {stored} bytes with {count} headers in {headers:?}"
        );
    }
    let check = run_on(&large_image(), &["pool", "check"]);
    assert_eq!(check.code, 0, "{}", String::from_utf8_lossy(&[check.stdout, check.stderr].concat()));
}

#[test]
fn large_headers_are_read_and_sent_as_openzfs_does() {
    assert_files(&large_image(), "gangdyn", &golden::gangs_2_4_file("gangdyn.sums"));
    for (words, name) in [
        (&["send", "-w", "gangdyn/e@b"][..], "gangdyn-e-w.zfs"),
        (&["send", "gangdyn/e/sum@b"], "gangdyn-e-sum.zfs"),
        (&["send", "-i", "@a", "gangdyn/nested@b"], "gangdyn-nested-i.zfs"),
        (&["send", "-c", "gangdyn/packed@b"], "gangdyn-packed-c.zfs"),
    ] {
        let outcome = run_on(&large_image(), words);
        assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
        let expected = fs::read(golden::gangs_2_4_file(name)).expect("a stream");
        assert!(outcome.stdout == expected, "{words:?} is not {name}");
    }
}

#[test]
fn large_headers_are_freed_with_their_blocks() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("gangdyn.img");
    fs::copy(large_image(), &image).expect("a copy");
    for words in [
        &["destroy", "gangdyn@a", "-r"][..],
        &["destroy", "-r", "gangdyn/e"],
        &["rollback", "gangdyn/nested@b"],
    ] {
        let outcome = run_on(&image, words);
        assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    // A place that is lost, or freed but in use, is reported.
    let check = run_on(&image, &["pool", "check"]);
    assert_eq!(check.code, 0, "{}", String::from_utf8_lossy(&[check.stdout, check.stderr].concat()));
    let pool = Pool::open(std::slice::from_ref(&image), &OpenOptions::default()).expect("a pool");
    for (vdev, lost) in unreached(&pool) {
        assert!(lost.is_empty(), "vdev {vdev}: {lost:?}");
    }
    assert!(headers(&image).len() < headers(&large_image()).len());
}
