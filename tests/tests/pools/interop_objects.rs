//! Every object of every dataset of the golden pools against `zdb -dddddd`: `cargo xtask interop`.
//!
//! With `BLESS=1` what zdb prints of the sets that `golden_objects` looks at is recorded.

use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_tests::{golden, objects, openzfs};

/// Runs zdb on an exported pool. When the pool has redaction bookmarks, zdb 2.3.2 prints everything
/// and then never ends.
fn zdb(pool: &str, args: &[&str]) -> String {
    let dir = golden::pool(pool)[0].parent().expect("a directory").to_str().expect("UTF-8").to_owned();
    let zdb = openzfs::program("zdb");
    let zdb = zdb.to_str().expect("UTF-8");
    let outcome = openzfs::run("timeout", &[&["20", zdb, "-e", "-p", &dir, "-P"], args].concat(), None);
    String::from_utf8_lossy(&outcome.stdout).into_owned()
}

/// Names and objects of the datasets that zdb lists and opens: those that are half received it does not.
fn datasets(pool: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for line in zdb(pool, &["-d", pool]).lines().filter(|line| !line.ends_with("(inconsistent)")) {
        let Some((name, rest)) = line.strip_prefix("Dataset ").and_then(|line| line.split_once(" [")) else {
            continue;
        };
        let id = rest.split("ID ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        found.push((name.to_owned(), id.expect("a dataset's number")));
    }
    found
}

/// The part of zdb's output that is about one dataset: asked for a pool's root, it prints all.
fn section(output: &str, dataset: &str) -> String {
    let mut lines = output.lines().skip_while(|line| !line.starts_with(&format!("Dataset {dataset} [")));
    let head = lines.next();
    let rest = lines.take_while(|line| !line.starts_with("Dataset "));
    head.into_iter().chain(rest).flat_map(|line| [line, "\n"]).collect()
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_objects_are_those_that_zdb_shows() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut objects_seen = 0;
    for name in ["tank", "pmirror", "praidz1", "praidz2", "praidz3"] {
        let pool = Pool::open(&golden::pool(name), &OpenOptions::default()).expect("a golden pool");
        for (dataset, id) in datasets(name) {
            let (output, ours) = if id == 0 {
                (zdb(name, &["-dddddd", name, "0:-1"]), objects::facts(pool.mos()))
            } else {
                let set = objects::dataset(&pool, id).expect("a dataset");
                (zdb(name, &["-dddddd", &dataset]), objects::facts(&set))
            };
            let mut expected = objects::zdb_facts(&section(&output, &dataset));
            let ours = ours.unwrap_or_else(|error| panic!("{dataset}: {error}"));
            // Asked for a range, zdb leaves out the meta-dnode.
            for object in ours.keys().filter(|_| id == 0) {
                if !expected.contains_key(object) && *object == 0 {
                    expected.insert(0, ours[&0].clone());
                }
            }
            assert_eq!(expected.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{dataset}");
            for (object, lines) in &expected {
                assert_eq!(lines, &ours[object], "{dataset} object {object}");
            }
            objects_seen += expected.len();
            let recorded = objects::RECORDED.iter().find(|(_, recorded)| name == "tank" && *recorded == id);
            if let Some((file, _)) = recorded.filter(|_| bless) {
                std::fs::write(objects::recorded_path(file), objects::text(&expected)).expect("room");
            }
        }
    }
    assert!(objects_seen > 5000, "only {objects_seen} objects");
}
