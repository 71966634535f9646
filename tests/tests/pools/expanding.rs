//! A raidz vdev in the middle of an expansion, made by OpenZFS: read and changed. In the module, `interop/expanding.sh` does the same.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use zstream_dmu::pool::{OpenOptions as PoolOptions, Pool};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_dmu::vdev::label::{self, LABELS, RING_OFFSET};
use zstream_dmu::vdev::uberblock::{RING_BYTES, Uberblock, slot_bytes};
use zstream_format::checksum::seal_embedded;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::zstream;

const SCRATCH_START: u64 = 512 << 10;
const SCRATCH_BYTES: u64 = LEAF_DATA_START - SCRATCH_START;

/// Copies of the members, in a directory.
fn members(dir: &Path) -> Vec<PathBuf> {
    let members = dir.join("members");
    fs::create_dir(&members).expect("a directory");
    golden::shape("expanding").iter().map(|member| golden::copy(member, &members)).collect()
}

fn run(dir: &Path, words: &[&str]) -> Outcome {
    let members = dir.join("members");
    zstream(&[&["-d", members.to_str().expect("UTF-8")], words].concat(), b"")
}

fn done(dir: &Path, words: &[&str]) -> Vec<u8> {
    let outcome = run(dir, words);
    let error = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(
        outcome.code == 0 && (error.is_empty() || error.contains("is reconstructed")),
        "{words:?}: {error}"
    );
    outcome.stdout
}

/// The names and sums of all files.
fn manifest(dir: &Path) -> Vec<u8> {
    let names = String::from_utf8(done(dir, &["ls", "-R", "expanding"])).expect("UTF-8");
    let files = names.lines().filter(|name| name.contains("/f"));
    files.flat_map(|name| [name.as_bytes(), &done(dir, &["cat", "expanding", name])].concat()).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut rng = zstream_tests::rng::Rng(77);
    (0..len).map(|_| rng.below(256) as u8).collect()
}

#[test]
fn what_is_written_during_an_expansion_is_there_without_any_two_members() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = members(dir.path());
    let before = manifest(dir.path());
    assert!(before.len() > 1 << 20, "{}", before.len());
    let moved = |paths: &[PathBuf]| {
        let pool = Pool::open(paths, &PoolOptions::default()).expect("the pool");
        (pool.uberblock().raidz_reflow_info, pool.uberblock().reflowed_to())
    };
    let progress = moved(&paths);
    let source = dir.path().join("new");
    for n in 0..4 {
        fs::write(&source, noise(900_000 + n * 777)).expect("room");
        done(dir.path(), &["put", source.to_str().expect("UTF-8"), &format!("expanding:/new{n}")]);
    }
    done(dir.path(), &["snapshot", "expanding@here"]);
    done(dir.path(), &["pool", "check"]);
    assert_eq!(moved(&paths), progress, "the progress is kept");
    for (first, a) in paths.iter().enumerate() {
        for b in &paths[first + 1..] {
            let hidden = [a, b].map(|path| (path.clone(), path.with_extension("away")));
            fs::create_dir_all(dir.path().join("away")).expect("a directory");
            for (path, _) in &hidden {
                fs::rename(path, dir.path().join("away").join(path.file_name().expect("a name")))
                    .expect("a member");
            }
            for n in 0..4 {
                let found = done(dir.path(), &["cat", "expanding@here", &format!("new{n}")]);
                assert!(found == noise(900_000 + n * 777), "new{n} without {a:?} and {b:?}");
            }
            for (path, _) in &hidden {
                fs::rename(dir.path().join("away").join(path.file_name().expect("a name")), path)
                    .expect("a member");
            }
        }
    }
    assert!(manifest(dir.path()) == before, "the old files are the same");
}

/// The first sectors are in the scratch area, and their real locations are overwritten, as after a crash at the start of an
/// expansion. Here the expansion is further, which makes no difference for the first sectors.
fn put_into_scratch(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a member");
    let mut bytes = vec![0; SCRATCH_BYTES as usize];
    file.read_exact_at(&mut bytes, LEAF_DATA_START).expect("the data");
    file.write_all_at(&bytes, SCRATCH_START).expect("room");
    file.write_all_at(&vec![0xa5; SCRATCH_BYTES as usize], LEAF_DATA_START).expect("room");
    let len = file.metadata().expect("a size").len();
    for number in 0..LABELS {
        let at = label::offset(len, number).expect("a label") + RING_OFFSET;
        for slot in (at..at + RING_BYTES).step_by(slot_bytes(9) as usize) {
            let mut bytes = vec![0; slot_bytes(9) as usize];
            file.read_exact_at(&mut bytes, slot).expect("a ring");
            let Some(mut uberblock) = Uberblock::parse(&bytes) else { continue };
            if uberblock.reflowed_to() == 0 {
                continue;
            }
            uberblock.phys.raidz_reflow_info = uberblock.raidz_reflow_info & ((1 << 55) - 1) | 1 << 55;
            bytes[..uberblock.encode().len()].copy_from_slice(&uberblock.encode());
            seal_embedded(&mut bytes, label::verifier(slot), uberblock.order).expect("room");
            file.write_all_at(&bytes, slot).expect("room");
        }
    }
}

#[test]
fn an_expansion_at_its_scratch_area_is_read_and_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths = members(dir.path());
    let before = manifest(dir.path());
    paths.iter().for_each(|path| put_into_scratch(path));
    assert!(manifest(dir.path()) == before, "the files are the same");
    done(dir.path(), &["pool", "check"]);
    // Nothing is written, not even to the labels.
    let bytes: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a member")).collect();
    let outcome = run(dir.path(), &["snapshot", "expanding@no"]);
    let error = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(
        outcome.code == 1 && error.contains("raidz2-0, whose expansion is at its scratch area"),
        "{error}"
    );
    assert!(paths.iter().zip(bytes).all(|(path, bytes)| fs::read(path).expect("a member") == bytes));
    fs::remove_file(&paths[1]).expect("a member");
    fs::remove_file(&paths[4]).expect("a member");
    assert!(manifest(dir.path()) == before, "the files are the same without two members");
}
