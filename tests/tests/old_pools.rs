//! Pools of versions before features: they are read like any other.

use std::fs;

use zstream_tests::golden;
use zstream_tests::program::zstream;

fn ours(version: &str, words: &[&str]) -> String {
    let image = golden::old_file(&format!("v{version}.img"));
    let words = [&["-d", image.to_str().expect("UTF-8")], words].concat();
    let outcome = zstream(&words, &[]);
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr)), (0, "".into()), "{words:?}");
    String::from_utf8(outcome.stdout).expect("UTF-8")
}

#[test]
fn datasets_of_old_pools_are_listed_as_zfs_does() {
    for version in ["5", "28"] {
        let pool = format!("old{version}");
        let found = ours(version, &["list", "-Hp", "-t", "all", "-r", "-o", "name,used,refer", &pool]);
        let expected = fs::read_to_string(golden::old_file(&format!("v{version}.list"))).expect("a list");
        assert_eq!(found, expected);
        let file = ours(version, &["cat", &format!("{pool}/fs@s"), "file"]);
        assert_eq!(file, format!("of version {version}\n"));
        assert!(ours(version, &["get", "-H", "-o", "value", "available", &pool]).trim().ends_with('M'));
        ours(version, &["pool", "check"]);
    }
}
