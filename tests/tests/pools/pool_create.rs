//! `zstream pool create` and `pool export`: what they make, refuse, and leave behind.

use std::fs;
use std::path::Path;

use zstream_tests::golden::Outcome;
use zstream_tests::program;

fn zstream(dir: &Path, args: &[&str]) -> Outcome {
    let path = |arg: &&str| match arg.strip_prefix("./") {
        Some(name) => dir.join(name).display().to_string(),
        None => (*arg).to_owned(),
    };
    let args: Vec<String> = args.iter().map(path).collect();
    program::zstream(&args.iter().map(String::as_str).collect::<Vec<_>>(), b"")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(dir: &Path, args: &[&str]) -> String {
    let outcome = zstream(dir, args);
    assert_eq!(outcome.code, 0, "{args:?}: {}", text(&outcome.stderr));
    text(&outcome.stdout)
}

fn refused(dir: &Path, args: &[&str], code: i32, part: &str) {
    let outcome = zstream(dir, args);
    let error = text(&outcome.stderr);
    assert!(outcome.code == code && error.contains(part), "{args:?} gave {}: {error}", outcome.code);
}

#[test]
fn a_pool_is_created_with_properties_and_a_root_filesystem() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let words = "pool create --size 64M --timestamp 1800000000 --guid-seed 5 -o ashift=9 -o comment=mine \
                 -O compression=zstd -m none demo mirror ./a ./b";
    good(dir, &words.split_whitespace().collect::<Vec<_>>());
    assert_eq!(fs::metadata(dir.join("a")).expect("a member").len(), 64 << 20);
    let shown = good(dir, &["-d", "./a", "./b", "pool", "show"]);
    for part in ["name:     demo", "state:    exported", "health:   ONLINE", "mirror-0"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let values = good(
        dir,
        &[
            "-d",
            "./a",
            "./b",
            "get",
            "-Hp",
            "-o",
            "value,source",
            "compression,mountpoint,creation,used",
            "demo",
        ],
    );
    let lines: Vec<_> = values.lines().collect();
    assert_eq!(lines[..3], ["zstd\tlocal", "none\tlocal", "1800000000\t-"], "{values}");
    assert_eq!(good(dir, &["-d", "./a", "./b", "ls", "demo"]), "");
    good(dir, &["-d", "./a", "./b", "pool", "check"]);
    // It is exported already: nothing is written.
    let before = fs::read(dir.join("a")).expect("a member");
    good(dir, &["-d", "./a", "./b", "pool", "export"]);
    assert!(before == fs::read(dir.join("a")).expect("a member"));
}

#[test]
fn what_is_there_is_not_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    good(dir, &["pool", "create", "--size", "64M", "demo", "./a"]);
    refused(dir, &["pool", "create", "--size", "64M", "other", "./a"], 1, "the file exists; use -f");
    refused(dir, &["pool", "create", "other", "./a"], 1, "part of exported pool 'demo'");
    refused(dir, &["-d", "./a", "pool", "export", "other"], 1, "no pool other found, available: demo");
    good(dir, &["pool", "create", "-f", "other", "./a"]);
    assert!(good(dir, &["-d", "./a", "list", "-H", "-o", "name"]).contains("other"));
}

#[test]
fn what_cannot_be_made_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for (words, code, part) in [
        ("pool create --size 1M demo ./a", 2, "at least 67108864"),
        ("pool create --size lots demo ./a", 2, "is not a size"),
        ("pool create --size 64M 1demo ./a", 2, "must begin with a letter"),
        ("pool create --size 64M demo mirror ./a", 2, "mirror vdev has 1 members"),
        ("pool create --size 64M demo mirror ./a ./b special ./c", 2, "use -f"),
        ("pool create --size 64M -o ashift=20 demo ./a", 2, "expected 9 to 16"),
        ("pool create --size 64M -O recordsize=3 demo ./a", 2, "a power of two"),
        ("pool create --size 64M -o feature@device_rebuild=enabled demo ./a", 2, "feature device_rebuild"),
        (
            "pool create --size 128M -o feature@draid=disabled demo draid ./a ./b",
            1,
            "require the feature draid",
        ),
        ("pool create --size 64M demo draid ./a ./b", 1, "use larger members"),
        ("pool create --size 64M demo draid2 ./a ./b", 2, "at least 3"),
        ("pool create --size 64M demo draid1:2d:4c ./a ./b ./c", 2, "4 members are required, 3 are given"),
        ("pool create demo ./a", 1, "the file does not exist; use --size"),
        ("pool create --size 64M demo ./a ./none/b", 1, "No such file"),
    ] {
        refused(dir, &words.split_whitespace().collect::<Vec<_>>(), code, part);
        assert_eq!(fs::read_dir(dir).expect("a directory").count(), 0, "{words}");
    }
    assert!(
        good(dir, &["pool", "create", "-n", "--size", "64M", "demo", "raidz", "./a", "./b"])
            .contains("raidz1")
    );
    assert_eq!(fs::read_dir(dir).expect("a directory").count(), 0);
}
