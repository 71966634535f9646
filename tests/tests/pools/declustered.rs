//! dRAID pools that OpenZFS made: every parity, several groups, distributed spares in use; read without further members,
//! sent, listed and changed.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::Bookmark;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::VdevState;
use zstream_tests::blocks::blocks;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::zstream;

/// Pool, name of its vdev, and how many more members can be missing.
const POOLS: [(&str, &str, usize); 4] = [
    ("drone", "draid1:2d:7c:1s-0", 1),
    ("drtwo", "draid2:4d:9c:1s-0", 2),
    ("drthree", "draid3:3d:10c:2s-0", 3),
    ("drpart", "draid1:3d:6c:1s-0", 1),
];

fn open(paths: &[PathBuf]) -> Pool {
    Pool::open(paths, &OpenOptions::default()).expect("a pool")
}

fn read_all(pool: &Pool, wanted: &[(BlockPointer, Bookmark)]) -> Vec<Vec<u8>> {
    wanted.iter().map(|(bp, at)| pool.reader().read_stored(bp, *at).expect("a block").to_vec()).collect()
}

fn run(paths: &[PathBuf], words: &[&str]) -> Outcome {
    let members = paths.iter().flat_map(|path| ["-d", path.to_str().expect("a path in UTF-8")]);
    let words: Vec<&str> = members.chain(words.iter().copied()).collect();
    zstream(&words, &[])
}

/// Runs a verb that must succeed.
fn does(paths: &[PathBuf], words: &[&str]) -> Vec<u8> {
    let output = run(paths, words);
    assert_eq!(output.code, 0, "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_copy_and_all_parity_of_every_block_is_good() {
    for (name, vdev, _) in POOLS {
        let pool = open(&golden::draid(name));
        assert_eq!(pool.vdevs().tops()[0].name(), vdev);
        let state = if name == "drone" { VdevState::Online } else { VdevState::Degraded };
        assert_eq!(pool.health(), state, "{name}");
        let blocks = blocks(&pool);
        assert!(blocks.len() > 100, "{name}: {} blocks", blocks.len());
        for (bp, at) in blocks {
            let check = pool.reader().check_block(&bp, at).expect("a checked block");
            assert!(check.bad.is_empty(), "{name}: {at}: {}", check.bad[0]);
            assert_eq!((check.copies, check.readable), (bp.dvas().count(), bp.dvas().count()));
        }
    }
}

/// What is on a distributed spare counts as much as what is on a disk: as many members as parity allows can be missing besides.
/// If a spare is partly on one of them, that part is missing too, but not in the same slice.
#[test]
fn any_members_within_parity_can_be_missing_besides_those_on_spares() {
    for (name, _, parity) in POOLS {
        let paths = golden::draid(name);
        let whole = open(&paths);
        let blocks = blocks(&whole);
        let content = read_all(&whole, &blocks);
        let n = paths.len();
        for first in 0..n {
            let without: Vec<usize> = (0..parity).map(|k| (first + k * k + k / 2) % n).collect();
            let left = paths.iter().enumerate().filter(|(n, _)| !without.contains(n));
            let pool = open(&left.map(|(_, path)| path.clone()).collect::<Vec<_>>());
            assert_eq!(pool.health(), VdevState::Degraded);
            assert!(read_all(&pool, &blocks) == content, "{name} without {without:?}");
        }
    }
}

#[test]
fn files_streams_and_sizes_are_those_of_openzfs() {
    for (name, ..) in POOLS {
        let paths = golden::draid(name);
        let sums = fs::read_to_string(golden::draid_file(&format!("{name}.sums"))).expect("sums");
        let mut files = 0;
        for (sum, path) in sums.lines().filter_map(|line| line.split_once("  ")) {
            let Some((dataset, file)) =
                path.match_indices('/').nth(1).map(|(at, _)| (&path[..at], &path[at + 1..]))
            else {
                continue;
            };
            let content = does(&paths, &["cat", dataset, file]);
            let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "{path}");
            files += 1;
        }
        assert!(files > 10, "{name}: {files} files");
        for (words, file) in
            [(format!("send -p {name}/fs@a"), "full"), (format!("send -L -e -c -i @a {name}/fs@b"), "raw")]
        {
            let expected = fs::read(golden::draid_file(&format!("{name}-{file}.zfs"))).expect("a stream");
            let sent = does(&paths, &words.split(' ').collect::<Vec<_>>());
            assert!(sent == expected, "{words}");
        }
        // Between the list and the export, the pool itself freed some of what it used.
        let usable = |list: &str| {
            let fields: Vec<u64> = list
                .lines()
                .next()
                .into_iter()
                .flat_map(str::split_whitespace)
                .filter_map(|w| w.parse().ok())
                .collect();
            fields[0] + fields[1]
        };
        let expected = fs::read_to_string(golden::draid_file(&format!("{name}.list"))).expect("a list");
        let ours = does(&paths, &["list", "-Hp", "-o", "name,used,avail", name]);
        assert_eq!(usable(&String::from_utf8_lossy(&ours)), usable(&expected), "{name}");
    }
}

#[test]
fn a_pool_is_changed_unless_a_spare_is_in_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let copies = |name: &str| -> Vec<PathBuf> {
        golden::draid(name).iter().map(|path| golden::copy(path, dir.path())).collect()
    };
    let paths = copies("drone");
    does(&paths, &["snapshot", "drone/fs@c"]);
    does(&paths, &["destroy", "drone/fs@a"]);
    fs::write(dir.path().join("file"), [7; 500_000]).expect("a file");
    does(&paths, &["put", dir.path().join("file").to_str().expect("a path"), "drone/fs:/"]);
    assert!(does(&paths, &["cat", "drone/fs", "file"]) == [7; 500_000]);
    does(&paths, &["pool", "check"]);
    for name in ["drtwo", "drpart"] {
        let output = run(&copies(name), &["snapshot", &format!("{name}/fs@c")]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.code == 1 && error.contains("which is in use"), "{error}");
    }
}
