//! A pool that `interop/look.sh golden` made, against what OpenZFS showed of it: quotas and reservations, what was received
//! with properties and is set over or inherited, receives that were cut off, an encrypted tree, users and groups.

use std::collections::BTreeSet;
use std::fs;

use zstream_tests::program::zstream;
use zstream_tests::{golden, manifest, pools};

const COLUMNS: &str = "name,used,avail,refer,usedbydataset,usedbysnapshots,usedbyrefreservation,usedbychildren,logicalused,logicalreferenced,written,type,guid,createtxg";
const SINGLE: &str = "userused@0,userused@1234,groupused@5678,userobjused@1234,groupobjused@0,userquota@1234,userquota@7,groupquota@5678,userobjquota@1234,projectused@0,projectobjused@0,written@1,written@2";
const RECEIVED: &str = "name,property,value,received,source";

fn ours(words: &[&str]) -> String {
    let image = golden::looked_file("look.img");
    let words = [&["-d", image.to_str().expect("UTF-8")], words].concat();
    let outcome = zstream(&words, &[]);
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr)), (0, "".into()), "{words:?}");
    String::from_utf8(outcome.stdout).expect("UTF-8")
}

/// Compares line by line with what was recorded with OpenZFS 2.3. Other than 2.4, that shows `on` for an `xattr` of `sa`, and has
/// no default quotas, nor `special_small_blocks` of volumes.
fn assert_same(got: &str, file: &str) {
    let expected = fs::read_to_string(golden::looked_file(file)).expect("a golden text");
    let expected = expected.replace("\txattr\ton\t", "\txattr\tsa\t");
    let key = |line: &str| line.split('\t').take(2).map(str::to_owned).collect::<Vec<_>>();
    let known: BTreeSet<_> = expected.lines().map(key).collect();
    let is_newer = |line: &&str| match &key(line)[..] {
        [_, name] if name.starts_with("default") && name.ends_with("quota") => true,
        [_, name] => name == "special_small_blocks" && !known.contains(&key(line)),
        _ => false,
    };
    let got: Vec<&str> = got.lines().filter(|line| !is_newer(line)).collect();
    for (got, expected) in got.iter().zip(expected.lines()) {
        assert_eq!(*got, expected, "{file}");
    }
    assert_eq!(got.len(), expected.lines().count(), "{file}");
}

#[test]
fn lists_are_those_of_zfs() {
    assert_same(&ours(&["list", "-r", "-t", "all", "-Hp", "-o", COLUMNS, "look7"]), "list");
    assert_same(&ours(&["list", "-r", "-t", "all", "look7"]), "pretty");
}

#[test]
fn properties_are_those_of_zfs() {
    assert_same(&ours(&["get", "-r", "-Hp", "all", "look7"]), "get");
    let received = ["get", "-r", "-Hp", "-s", "received,local,inherited", "-o", RECEIVED, "all", "look7/rx"];
    assert_same(&ours(&received), "received");
}

#[test]
fn users_groups_and_snapshots_are_asked_for_one_by_one() {
    let datasets = ["look7/a", "look7/a@2", "look7/vol", "look7/v", "look7/clone"];
    assert_same(&ours(&[&["get", "-Hp", SINGLE][..], &datasets].concat()), "single");
    assert_same(&ours(&["get", SINGLE, "look7/a"]), "single.pretty");
}

/// Receives that were cut off: of an increment, beside the dataset that it is for; of a full stream, the dataset itself.
#[test]
fn half_received_datasets_are_those_of_zfs() {
    let mut got = String::new();
    for name in ["look7/rx/%recv", "look7/part"] {
        got += &ours(&["list", "-Hp", "-o", COLUMNS, name]);
        got += &ours(&["get", "-Hp", "-o", RECEIVED, "all", name]);
    }
    assert_same(&got, "half");
}

#[test]
fn files_are_those_that_were_mounted() {
    let dsl = pools::unlocked(&[golden::looked_file("look.img")]).expect("the pool");
    let mut left: BTreeSet<String> = golden::looked_snapshots().into_iter().collect();
    assert!(left.len() > 8, "{left:?}");
    dsl.walk(&mut |dir| {
        for snapshot in dir.head()?.snapshots()? {
            let name = snapshot.name().replace(['/', '@'], "_");
            if left.remove(&name) {
                let text = fs::read_to_string(golden::looked_file(&format!("files.{name}"))).expect("a list");
                let expected = golden::parse_manifest(&text);
                expected.assert_same(&manifest::of(&*snapshot.objset()?), snapshot.name());
            }
        }
        Ok(())
    })
    .expect("the tree of datasets");
    assert_eq!(left, BTreeSet::new());
}
