//! Pools of versions before features: they are read like any other.

use std::fs;
use std::path::PathBuf;

use zstream_tests::golden;
use zstream_tests::program::zstream;

/// The members of the pool of a version.
fn images(version: &str) -> Vec<PathBuf> {
    let names = match version {
        "2" => (1..=3).map(|n| format!("v2-{n}.img")).collect(),
        _ => vec![format!("v{version}.img")],
    };
    names.iter().map(|name| golden::old_file(name)).collect()
}

fn ours(version: &str, words: &[&str]) -> String {
    let images = images(version);
    let devices = images.iter().flat_map(|image| ["-d", image.to_str().expect("UTF-8")]);
    let words: Vec<&str> = devices.chain(words.iter().copied()).collect();
    let outcome = zstream(&words, &[]);
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr)), (0, "".into()), "{words:?}");
    String::from_utf8(outcome.stdout).expect("UTF-8")
}

/// The version is shown where it has a meaning, and such pools are not upgraded.
#[test]
fn the_version_of_old_pools_is_shown() {
    for version in ["2", "5", "28"] {
        assert_eq!(
            ours(version, &["pool", "get", "-H", "-o", "value,source", "version"]),
            format!("{version}\tlocal\n")
        );
        let listed = ours(version, &["pool", "upgrade"]);
        assert!(
            listed.contains(&format!("has version {version}")) && listed.lines().count() == 1,
            "{listed}"
        );
        let pool = format!("old{version}");
        let paths = images(version);
        let devices = paths.iter().flat_map(|image| ["-d", image.to_str().expect("UTF-8")]);
        for last in ["-a", &pool] {
            let words: Vec<&str> = devices.clone().chain(["pool", "upgrade", last]).collect();
            let outcome = zstream(&words, &[]);
            let message = String::from_utf8_lossy(&outcome.stderr).into_owned();
            assert_eq!((outcome.code, outcome.stdout), (1, Vec::new()), "{words:?}");
            assert!(message.contains(&format!("has version {version}")), "{message}");
        }
    }
}

/// What is available in them counts what is freed but waits for the next transaction group, and in a raidz from before
/// version 3 the parity too.
#[test]
fn datasets_of_old_pools_are_listed_as_zfs_does() {
    for version in ["2", "5", "28"] {
        let pool = format!("old{version}");
        let found = ours(version, &["list", "-Hp", "-t", "all", "-r", "-o", "name,used,avail,refer", &pool]);
        let expected = fs::read_to_string(golden::old_file(&format!("v{version}.list"))).expect("a list");
        assert_eq!(found, expected);
        let file = ours(version, &["cat", &format!("{pool}/fs@s"), "file"]);
        assert_eq!(file, format!("of version {version}\n"));
        ours(version, &["pool", "check"]);
    }
}
