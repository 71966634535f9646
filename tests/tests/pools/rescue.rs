//! `pool show --txgs` and `--txg best`: the transaction groups that can be opened, with what is lost in each.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::Txg;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::zstream;

fn run(image: &Path, args: &[&str]) -> Outcome {
    zstream(&[&["-d", image.to_str().expect("UTF-8")], args].concat(), &[])
}

/// The groups that `pool show --txgs --json` lists, each with whether it is sound.
fn groups(image: &Path) -> Vec<(u64, bool)> {
    let outcome = run(image, &["pool", "show", "--txgs", "--json"]);
    let text = String::from_utf8(outcome.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines.map(|group| (group["txg"].as_u64().expect("a number"), group["sound"] == true)).collect()
}

fn at(image: &Path, txg: u64) -> Pool {
    let options = OpenOptions { txg: Some(Txg(txg)), ..OpenOptions::default() };
    Pool::open(&[image.to_path_buf()], &options).expect("a group")
}

/// Overwrites all copies of a block.
fn destroy(image: &Path, pointer: &BlockPointer) {
    let file = std::fs::OpenOptions::new().write(true).open(image).expect("a copy");
    for dva in pointer.dvas() {
        file.write_all_at(&[0x5a; 512], LEAF_DATA_START + dva.offset()).expect("room");
    }
}

#[test]
fn the_newest_sound_group_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = golden::copy(&golden::kept_file("checkpointed.img"), dir.path());
    let before = groups(&image);
    assert!(before.len() > 3 && before.is_sorted_by(|a, b| a.0 > b.0), "{before:?}");
    let newest = before[0].0;
    assert!(before[0].1, "{before:?}");
    let best = |image: &Path| {
        let outcome = run(image, &["--txg", "best", "pool", "show"]);
        (outcome.code, String::from_utf8_lossy(&outcome.stdout).into_owned())
    };
    assert!(best(&image).1.contains(&format!("txg:      {newest}\n")));

    // Without the MOS of the newest group, the one before it is the best that is sound.
    destroy(&image, &at(&image, newest).uberblock().root);
    let after = groups(&image);
    assert_eq!(after[0], (newest, false));
    let second = after.iter().find(|(_, sound)| *sound).expect("an older group").0;
    assert!(best(&image).1.contains(&format!("txg:      {second}\n")));
    assert_eq!(run(&image, &["list"]).code, 1, "the newest group is not passed over silently");

    // Without that of any group, there is none.
    for (txg, _) in &after[1..] {
        let options = OpenOptions { txg: Some(Txg(*txg)), ..OpenOptions::default() };
        if let Ok(pool) = Pool::open(std::slice::from_ref(&image), &options) {
            destroy(&image, &pool.uberblock().root);
        }
    }
    assert!(groups(&image).iter().all(|(_, sound)| !sound));
    let outcome = run(&image, &["--txg", "best", "list"]);
    assert_eq!(outcome.code, 1);
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(text.contains("transaction groups in the labels is sound"), "{text}");
    assert_eq!(run(&image, &["pool", "show", "--txgs"]).code, 1);
}

#[test]
fn bad_words_are_usage_errors() {
    let image = golden::kept_file("checkpointed.img");
    for words in [["--txg", "newest", "list"], ["--txg", "-1", "list"]] {
        assert_eq!(run(&image, &words).code, 2, "{words:?}");
    }
    assert_eq!(run(&image, &["--txg", "best", "--checkpoint", "list"]).code, 2);
    assert_eq!(run(&image, &["--txg", "best", "create", "checkpointed/x"]).code, 2);
}
