//! `zstream list`, `get` and `pool` on the golden pools, against what OpenZFS printed of the same images.

use std::path::PathBuf;

use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::zstream;

/// The transaction group of the pool when `list.txt` was recorded; the export came later.
const LISTED_TXG: &str = "166";

fn on(paths: &[PathBuf], args: &[&str]) -> Outcome {
    let mut words = Vec::new();
    for path in paths {
        words.extend(["-d", path.to_str().expect("a path in UTF-8")]);
    }
    words.extend(args);
    zstream(&words, &[])
}

/// Standard output of a command that succeeds.
fn output(paths: &[PathBuf], args: &[&str]) -> String {
    let outcome = on(paths, args);
    assert_eq!(
        (outcome.code, String::from_utf8_lossy(&outcome.stderr)),
        (0, "".into()),
        "{args:?} on {paths:?}"
    );
    String::from_utf8(outcome.stdout).expect("UTF-8")
}

fn tank(args: &[&str]) -> String {
    output(&golden::pool("tank"), args)
}

#[test]
fn lists_are_those_of_zfs() {
    let columns = "name,guid,createtxg,creation,used,refer,logicalreferenced";
    let args = ["--txg", LISTED_TXG, "list", "-t", "all", "-p", "-o", columns, "-H", "-r", "tank"];
    assert_eq!(tank(&args), golden::text("list.txt"));
    assert_eq!(tank(&["list", "-t", "all"]), golden::text("list-all.txt"));
}

/// What OpenZFS 2.3 recorded, as 2.4 prints it, in cells: `xattr` has another name for the same value, volumes have
/// `special_small_blocks`, and filesystems that can be read have default quotas.
fn by_2_4(recorded: &str) -> Vec<Vec<String>> {
    let recorded = cells(recorded);
    let (mut rows, mut is_volume, mut has_version) = (Vec::new(), false, false);
    for (at, row) in recorded.iter().enumerate() {
        let (name, property, value) = (&row[0], &row[1][..], &row[2][..]);
        if property == "type" {
            (is_volume, has_version) = (value == "volume", false);
        }
        has_version |= property == "version" && value != "-";
        let shown = if (property, value) == ("xattr", "on") { "sa" } else { value };
        let mut found = row.clone();
        found[2] = shown.to_owned();
        rows.push(found);
        let mut add = |property: &str, source: &str| {
            rows.push([name, property, "0", source].iter().map(|cell| (*cell).to_string()).collect());
        };
        let is_of_keys =
            |row: &Vec<String>| ["pbkdf2iters", "encryptionroot", "keystatus"].contains(&&row[1][..]);
        if is_volume && is_of_keys(row) && !recorded.get(at + 1).is_some_and(is_of_keys) {
            add("special_small_blocks", "default");
        }
        if property == "longname" && has_version {
            for kind in ["quota", "objquota"] {
                for who in ["user", "group", "project"] {
                    add(&format!("default{who}{kind}"), "-");
                }
            }
        }
    }
    rows
}

/// The cells of a table: they are separated by tabs, or by two spaces and more.
fn cells(text: &str) -> Vec<Vec<String>> {
    let split = |line: &str| -> Vec<String> {
        let parts: Vec<&str> =
            if line.contains('\t') { line.split('\t').collect() } else { line.split("  ").collect() };
        let parts = parts.into_iter().map(str::trim).filter(|part| line.contains('\t') || !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    text.lines().map(split).collect()
}

/// Every property of every dataset, snapshot and bookmark, with its source.
#[test]
fn properties_are_those_of_zfs() {
    let (got, expected) = (cells(&tank(&["get", "-Hp", "all"])), by_2_4(&golden::text("get-all.txt")));
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    assert_eq!(got.len(), expected.len());
    assert_eq!(cells(&tank(&["get", "all", "tank/fs"])), by_2_4(&golden::text("get-fs.txt")));
    let properties = "type,used,creation,compression,org.example:note";
    assert_eq!(tank(&["get", "-j", properties, "tank/fs", "tank/tree"]), golden::text("get.json"));
}

#[test]
fn partial_receives_have_the_tokens_that_zfs_gave() {
    for (stream, token) in golden::tokens() {
        let name = format!("tank/rx/{stream}");
        assert_eq!(tank(&["get", "-H", "-o", "value", "receive_resume_token", &name]).trim_end(), token);
    }
}

/// What `zfs get available` said: with parity, and with room that only a reservation has.
#[test]
fn available_space_is_that_of_zfs() {
    for (pool, name, bytes) in
        [("tank", "tank", "58584576"), ("tank", "tank/vol", "69070336"), ("praidz1", "praidz1", "119637408")]
    {
        let got = output(&golden::pool(pool), &["get", "-Hp", "-o", "value", "available", name]);
        assert_eq!(got.trim_end(), bytes, "{name}");
    }
}

#[test]
fn selections_and_orders_are_those_of_zfs() {
    let names = |args: &[&str]| {
        let args = [&["list", "-H", "-o", "name"], args].concat();
        tank(&args).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let snapshots = ["-t", "snapshot", "-S", "used", "tank/e-aes-256-gcm", "tank/fs"];
    assert_eq!(
        names(&snapshots),
        ["tank/fs@a", "tank/fs@b", "tank/e-aes-256-gcm@s", "tank/e-aes-256-gcm@t", "tank/fs@c"]
    );
    assert_eq!(names(&["-d", "1", "tank/tree"]), ["tank/tree", "tank/tree/child"]);
    assert_eq!(names(&["-d", "0", "tank/tree"]), ["tank/tree"]);
    assert_eq!(names(&["-t", "volume"]), ["tank/vol"]);
    let local = tank(&["get", "-r", "-s", "local", "-H", "recordsize", "tank/tree"]);
    assert_eq!(local, "tank/tree/child\trecordsize\t16384\tlocal\n".replace("16384", "16K"));
    let error = |args: &[&str]| {
        let outcome = on(&golden::pool("tank"), args);
        (outcome.code, String::from_utf8_lossy(&outcome.stderr).into_owned())
    };
    let (code, message) = error(&["list", "tank/nosuch"]);
    assert!(code == 1 && message.contains("cannot open 'tank/nosuch'"), "{message}");
    let (code, message) = error(&["get", "nosuch", "tank"]);
    assert_eq!((code, message.as_str()), (2, "zstream: bad property list: invalid property 'nosuch'\n"));
}

#[test]
fn pools_are_shown_with_members_that_are_missing() {
    let members = golden::pool("praidz2");
    let text = output(&members[..4], &["pool", "show"]);
    assert!(text.contains("name:     praidz2\n") && text.contains("raidz2-0  DEGRADED\n"), "{text}");
    assert_eq!(text.matches("ONLINE\n").count(), 4, "{text}");
    let json = output(&members, &["pool", "show", "--json"]);
    assert_eq!(json.matches("\"state\":\"ONLINE\"").count(), 6, "{json}");
    for part in ["\"name\":\"praidz2\"", "\"txg\":20,", "\"name\":\"praidz2@s\"", "\"type\":\"raidz2\""] {
        assert!(json.contains(part), "{part} in {json}");
    }
}
