//! Blocks that were rewritten (`zfs rewrite -P`): increments do not see them, scrubs and snapshots do.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_tests::blocks::blocks;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;

fn image() -> PathBuf {
    golden::rewritten_file("rewritten.img")
}

fn run(words: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    fs::write(&key, PASSPHRASE).expect("a file");
    let image = image();
    let before = ["-d", image.to_str().expect("UTF-8"), "--key-file", key.to_str().expect("UTF-8")];
    let outcome = zstream(&[&before, words].concat(), &[]);
    assert_eq!(outcome.code, 0, "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
    outcome
}

#[test]
fn rewritten_blocks_have_two_births() {
    let pool = Pool::open(&[image()], &OpenOptions::default()).expect("a pool");
    let blocks = blocks(&pool);
    let rewritten: Vec<_> = blocks.iter().filter(|(pointer, _)| pointer.is_rewritten()).collect();
    assert!(rewritten.len() > 20, "{}", rewritten.len());
    for (pointer, at) in rewritten {
        assert_eq!(pointer.birth(), pointer.physical_birth(), "{at}");
        assert!(pointer.logical_birth() < pointer.birth(), "{at}");
    }
}

/// A check reads all blocks that there are, each once.
#[test]
fn a_check_reads_every_block() {
    let pool = Pool::open(&[image()], &OpenOptions::default()).expect("a pool");
    let places = |pool: &Pool| -> BTreeSet<u64> {
        blocks(pool).iter().map(|(pointer, _)| pointer.dva(0).offset()).collect()
    };
    let mut all = places(&pool);
    all.extend(places(&pool.checkpoint().expect("its checkpoint").expect("one")));
    let report: serde_json::Value =
        serde_json::from_slice(&run(&["pool", "check", "--json"]).stdout).expect("JSON");
    assert_eq!(report["blocks"], all.len());
}

#[test]
fn files_and_streams_are_those_of_openzfs() {
    let sums = fs::read_to_string(golden::rewritten_file("rewritten.sums")).expect("sums");
    for line in sums.lines() {
        let [sum, snapshot, file] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let content = run(&["cat", &format!("rewritten/{snapshot}"), file]).stdout;
        let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, sum, "{line}");
    }
    for (words, name) in [
        (&["send", "-i", "@a", "rewritten/fs@b"][..], "fs-ab"),
        (&["send", "-i", "@b", "rewritten/fs@c"], "fs-bc"),
        (&["send", "-w", "-i", "@a", "rewritten/fs@c"], "fs-ac-w"),
        (&["send", "-c", "-i", "@a", "rewritten/e@b"], "e-ab-c"),
        (&["send", "-i", "@b", "rewritten/e@c"], "e-bc"),
        (&["send", "-w", "-i", "@a", "rewritten/e@c"], "e-ac-w"),
    ] {
        let expected = fs::read(golden::rewritten_file(&format!("{name}.zfs"))).expect("a stream");
        assert!(run(words).stdout == expected, "{words:?} is not {name}");
    }
}
