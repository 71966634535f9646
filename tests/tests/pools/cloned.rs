//! Pools with cloned blocks that OpenZFS made: read, checked, and changed until no clone is left.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::brt::Table;
use zstream_dmu::zap::{Value, ZapMut};
use zstream_dsl::scrub::Part;
use zstream_tests::golden;

use crate::check::{blocks, damage, named, unreadable};
use crate::copies::Copy;

/// One of OpenZFS 2.3, whose entries are bytes, and one of 2.4, whose entries are integers.
const POOLS: [&str; 2] = ["cloned23", "cloned24"];

fn members(pool: &str) -> Vec<PathBuf> {
    [1, 2].map(|n| golden::cloned_file(&format!("{pool}-{n}.img"))).into()
}

fn copy_of(pool: &'static str) -> Copy {
    Copy::of(pool, &members(pool))
}

/// The report of a check, which finds nothing, and no lost place.
fn check(copy: &Copy) -> Json {
    let report = copy.report();
    copy.has_no_leaks();
    report
}

#[test]
fn pools_of_openzfs_are_as_it_shows_them() {
    for pool in POOLS {
        let copy = copy_of(pool);
        let text = |suffix: &str| {
            fs::read_to_string(golden::cloned_file(&format!("{pool}.{suffix}"))).expect("a golden file")
        };
        copy.has_sums(&text("sums"));
        for (words, name) in [
            ("-w P/fs@a", "fs-a-w"),
            ("-i @a P/fs@b", "fs-ab"),
            ("-c P/fs@b", "fs-b-c"),
            ("-w P/e@a", "e-a-w"),
            ("-i @a P/e@b", "e-ab"),
            ("-c P/e@b", "e-b-c"),
        ] {
            copy.sends(words, &golden::cloned_file(&format!("{pool}-{name}.zfs")));
        }
        let found = copy.does("list -Hpr -t all -o name,used,available,referenced P");
        assert_eq!(String::from_utf8(found).expect("text"), text("list"), "{pool}");
        for line in text("get").lines() {
            let (name, value) = line.split_once('\t').expect("two words");
            let found = copy.does(&format!("pool get -Hp -o value {name} P"));
            assert_eq!(String::from_utf8_lossy(&found).trim_end(), value, "{pool}: {name}");
        }
        let report = check(&copy);
        assert!(report["references"]["blocks"].as_u64() > Some(20), "{pool}: {report}");
        assert_eq!(report["references"]["wrong"].as_array().map(Vec::len), Some(0));
    }
}

/// Files overwritten and datasets destroyed, rolled back and received, until the last clone is gone, and with it the tables.
#[test]
fn clones_of_openzfs_are_freed_to_the_last() {
    for pool in POOLS {
        let copy = copy_of(pool);
        let file = copy.file("whole2", &[7; 50_000]);
        copy.does(&format!("put {} P/fs:/", file));
        copy.does(&format!("put {} P/e:/twice2", file));
        copy.does(&format!("put {} P/clone:/new", file));
        let mut left = check(&copy)["references"]["saved"].as_u64().expect("a number");
        for line in [
            "rollback P/e@b",
            "destroy P/other@a",
            "destroy P/other",
            "promote P/clone",
            "destroy P/fs",
            "destroy P/clone@a",
            "rollback P/clone@b",
            "destroy -r P/small",
            "destroy -r P/e",
            "destroy -r P/clone",
        ] {
            copy.run(line);
            let report = check(&copy);
            left = report["references"]["saved"].as_u64().unwrap_or(0);
        }
        assert_eq!(left, 0, "{pool}");
        let features =
            String::from_utf8(copy.does("pool get -H -o value feature@block_cloning P")).expect("text");
        assert_eq!(features, "enabled\n", "{pool}");
        let image = copy.pool();
        assert!(Table::open(&**image.mos(), 0).expect("the directory").is_none());
    }
}

/// An increment overwrites clones, and a full stream takes the place of a dataset with clones.
#[test]
fn receives_over_clones_keep_the_counts() {
    for pool in POOLS {
        let copy = copy_of(pool);
        for line in ["destroy P/clone", "destroy P/fs@b", "rollback P/fs@a"] {
            copy.does(line);
        }
        check(&copy);
        let stream = fs::read(golden::cloned_file(&format!("{pool}-fs-ab.zfs"))).expect("a stream");
        copy.receives("-F P/fs", &stream);
        let saved = check(&copy)["references"]["saved"].as_u64();
        assert!(copy.does("send -i @a P/fs@b") == stream, "{pool}");
        let full = fs::read(golden::cloned_file(&format!("{pool}-fs-b-c.zfs"))).expect("a stream");
        for line in ["destroy P/fs@a", "destroy P/fs@b"] {
            copy.does(line);
        }
        copy.receives("-F P/fs", &full);
        assert!(check(&copy)["references"]["saved"].as_u64() < saved, "{pool}");
    }
}

/// A count that is too low, one that is too high, an entry that is not there, sums that are wrong: all are found.
#[test]
fn wrong_counts_are_found() {
    type Damage = (&'static str, fn(u64) -> Option<u64>, &'static str);
    const DAMAGES: [Damage; 3] = [
        ("low", |count| count.checked_sub(1).filter(|count| *count > 0), "would lose the data"),
        ("high", |count| Some(count + 1), "never be freed"),
        ("gone", |_| None, "would lose the data"),
    ];
    for pool in POOLS {
        for (what, change, expected) in DAMAGES {
            let copy = copy_of(pool);
            let before = copy.pool();
            let table = (0..2).find_map(|vdev| Table::open(&**before.mos(), vdev).expect("the directory"));
            let table = table.expect("a table");
            let (mut offset, mut count) = (0, 0);
            table
                .entries(&**before.mos(), &mut |at, references| {
                    if references > count {
                        (offset, count) = (at, references);
                    }
                })
                .expect("entries");
            assert!(count > 1, "{pool}");
            let entries = table.entries_object();
            let is_word = before.features().is_active("block_cloning_endian");
            drop(before);
            copy.edit(|writer| {
                let mut zap = ZapMut::open(writer.parts().mos, entries).expect("the entries");
                let key = &[offset][..];
                match change(count) {
                    None => zap.remove(key).expect("an entry"),
                    Some(new) if is_word => zap.update(key, &Value::word(new)).expect("an entry"),
                    Some(new) => {
                        zap.update(key, &Value::from_bytes(&new.to_le_bytes())).expect("an entry");
                    }
                }
            });
            let outcome = copy.run("pool check");
            let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
            assert_eq!(outcome.code, 1, "{pool}, {what}: {text}");
            assert!(
                text.contains(expected)
                    && text.contains(&format!("offset {offset} of vdev {}", table.vdev())),
                "{what}: {text}"
            );
            assert!(text.contains("/twice") || text.contains("/whole"), "{what}: {text}");
            if what == "gone" {
                assert!(text.contains("the table records"), "{text}");
            }
        }
    }
}

/// The pointers to the blocks of the files of a pool, by the address of the first copy.
fn references(copy: &Copy) -> BTreeMap<(u32, u64), Vec<BlockPointer>> {
    let mut found: BTreeMap<_, Vec<BlockPointer>> = BTreeMap::new();
    for (part, pointer, _) in blocks(&copy.pool()) {
        if !matches!(part, Part::Freeing(_)) {
            let address = (pointer.dva(0).vdev(), pointer.dva(0).offset());
            found.entry(address).or_default().push(pointer);
        }
    }
    found
}

/// The words of a pointer that say where its block is and which bytes it has.
fn stored(pointer: &BlockPointer) -> (Vec<u64>, u64, [u64; 4]) {
    (pointer.words()[..7].to_vec(), pointer.physical_birth().0, pointer.checksum())
}

/// A check reads each block once, for whichever reference, but reports damage for all of them.
#[test]
fn shared_blocks_are_read_once_and_damage_is_reported_for_each_file() {
    let dedup = ["legacy", "fast"].map(|pool| Copy::of(pool, &[golden::dedup_file(&format!("{pool}.img"))]));
    for copy in POOLS.map(copy_of).into_iter().chain(dedup) {
        let references = references(&copy);
        let report = copy.report();
        let shared: Vec<&Vec<BlockPointer>> = references.values().filter(|all| all.len() > 1).collect();
        let repeated: usize = shared.iter().map(|all| all.len() - 1).sum();
        assert!(shared.len() > 5, "{}", copy.pool);
        // Deduplicated blocks with another number of copies are blocks of their own.
        let others = shared.iter().map(|all| all.iter().filter(|one| stored(one) != stored(&all[0])).count());
        let (others, number) = (others.sum::<usize>(), |key: &str| report[key].as_u64().expect("a number"));
        assert_eq!(number("repeated"), (repeated - others) as u64, "{}", copy.pool);
        // The reserved end of an intent log was never written.
        let logs = blocks(&copy.pool()).iter().filter(|(part, ..)| matches!(part, Part::Log(_))).count();
        let all = references.len() + others;
        assert!((all - logs..=all).contains(&(number("blocks") as usize)), "{}: {all} {logs}", copy.pool);
        let before = unreadable(&copy.members);
        let mut files = 0;
        for all in shared.iter().step_by(shared.len() / 3) {
            let member = &copy.members[all[0].dva(0).vdev() as usize];
            let whole = fs::read(member).expect("a member");
            damage(member, &all[0], 0..3);
            let outcome = copy.run("pool check --json");
            let report: Json = serde_json::from_slice(&outcome.stdout).expect("JSON");
            assert_eq!((outcome.code, &report["lost_blocks"]), (1, &1.into()), "{}: {report}", copy.pool);
            let expected = &unreadable(&copy.members) - &before;
            assert_eq!(named(&report), expected, "{}: {report}", copy.pool);
            files += expected.len();
            fs::write(member, whole).expect("a member");
        }
        assert!(files > 5, "{}: {files}", copy.pool);
    }
}
