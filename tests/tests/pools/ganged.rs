//! Gang blocks of encrypted datasets, made by OpenZFS.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use zstream_dmu::blkptr::CryptKind;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_format::object_type::ObjectType;
use zstream_tests::blocks::blocks;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;

fn image() -> PathBuf {
    golden::gangs_file("gangcrypt.img")
}

/// Runs the program on the pool, with its key.
fn run(words: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    fs::write(&key, PASSPHRASE).expect("a file");
    let (image, key) = (image(), key);
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

#[test]
fn files_are_read_and_sent_as_openzfs_does() {
    use sha2::Digest as _;
    let sums = fs::read_to_string(golden::gangs_file("gangcrypt.sums")).expect("sums");
    for (sum, path) in sums.lines().filter_map(|line| line.split_once("  ")) {
        let Some((dataset, file)) = path.rsplit_once('/') else { continue };
        let outcome = run(&["cat", &format!("gangcrypt/{dataset}@b"), file]);
        let found: String =
            sha2::Sha256::digest(&outcome.stdout).iter().map(|b| format!("{b:02x}")).collect();
        // The head and the snapshot are the same.
        assert_eq!((outcome.code, found.as_str()), (0, sum), "{path}");
    }
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
