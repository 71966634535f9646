//! Pools that are damaged in twelve ways: with the right options, every file is read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use zstream_tests::golden::Outcome;
use zstream_tests::program::zstream;
use zstream_tests::ways::{Damaged, WAYS, Way, content};

fn run(pool: &Damaged, options: &[String], words: &[&str]) -> Outcome {
    let members = pool.members();
    let mut all = vec!["-d", members.to_str().expect("UTF-8")];
    all.extend(options.iter().map(String::as_str));
    all.extend(words);
    zstream(&all, b"")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn restored(dir: &Path, below: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(below).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            restored(dir, &path, found);
        } else {
            let name = path.strip_prefix(dir).expect("below").display().to_string();
            found.insert(name, fs::read(&path).expect("a file"));
        }
    }
}

fn rescue(way: &Way) {
    let dir = tempfile::tempdir().expect("a directory");
    let pool = way.make(dir.path());
    // The damage is real: an ordinary extract does not get the files.
    let out = dir.path().join("plain");
    fs::create_dir(&out).expect("a directory");
    let out = out.to_str().expect("UTF-8");
    let outcome = run(&pool, &[], &["extract", "tank/home", "-C", out]);
    assert_eq!(outcome.code, 1, "{}: {}", way.name, text(&outcome.stderr));

    let options = way.options(&pool);
    let out = dir.path().join("out");
    fs::create_dir(&out).expect("a directory");
    let words = ["extract", "tank/home@mon", "-C", out.to_str().expect("UTF-8")];
    let outcome = run(&pool, &options, &words);
    assert_eq!(outcome.code, 0, "{}: {}", way.name, text(&outcome.stderr));
    let mut found = BTreeMap::new();
    restored(&out, &out, &mut found);
    assert!(found == content(), "{}: {:?}", way.name, found.keys());

    // What is sent is the same snapshot.
    let outcome = run(&pool, &options, &["send", "tank/home@mon"]);
    assert_eq!(outcome.code, 0, "{}: {}", way.name, text(&outcome.stderr));
    let outcome = run(&pool, &options, &["list", "-H", "-o", "name", "-r", "tank/home"]);
    assert_eq!(
        (outcome.code, text(&outcome.stdout).as_str()),
        (0, "tank/home\n"),
        "{}",
        text(&outcome.stderr)
    );

    // Nothing is written.
    let outcome = run(&pool, &options, &["snapshot", "tank/home@no"]);
    assert_eq!(outcome.code, 2, "{}: {}", way.name, text(&outcome.stderr));
}

macro_rules! ways {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            rescue(WAYS.iter().find(|way| way.name == $name).expect("a way"));
        })*

        #[test]
        fn every_way_has_its_test() {
            assert_eq!(WAYS.map(|way| way.name), [$($name),*]);
        }
    };
}

ways! {
    configs_of_a_disk "configs"
    a_partition_that_begins_early "later"
    a_partition_that_begins_late "earlier"
    two_labels_of_another_pool "foreign-start"
    all_labels_of_another_pool "foreign"
    no_labels_on_two_members_of_raidz "two-labels"
    no_configs_on_any_member_of_raidz "all-configs"
    labels_of_another_member "copied-label"
    no_configs_on_a_stripe "striped-configs"
    no_root_of_the_newest_group "root"
    no_metadata_of_the_pool "metadata"
    destroyed_datasets "destroyed"
}
