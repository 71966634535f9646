//! What `get` shows of encrypted filesystems with their key, with that of another, and without: against what OpenZFS showed
//! with the same keys loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::zstream;

const PROPERTIES: &str = "keystatus,userused@0,userused@1234,groupused@5678,userobjused@1234,groupobjused@0,projectused@0,projectobjused@0,userquota@1234,userquota@7,groupquota@5678,userobjquota@1234,projectquota@0,written@s";
const NAMES: [&str; 6] = [
    "accounts/e",
    "accounts/e@s",
    "accounts/e/below",
    "accounts/e/own",
    "accounts/plain",
    "accounts/plain@s",
];

/// `get` with this key, which opens those or some of those datasets.
fn get(key: Option<&str>, names: &[&str]) -> Outcome {
    let image = golden::accounts_file("accounts.img");
    let dir = tempfile::tempdir().expect("a directory");
    let file: PathBuf = dir.path().join("key");
    let mut words = vec!["-d", image.to_str().expect("UTF-8")];
    if let Some(key) = key {
        fs::write(&file, key).expect("a file");
        words.extend(["--key-file", file.to_str().expect("UTF-8")]);
    }
    words.extend(["get", "-Hp", PROPERTIES]);
    words.extend(names);
    zstream(&words, &[])
}

fn lines(outcome: &Outcome) -> BTreeSet<String> {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    String::from_utf8_lossy(&outcome.stdout).lines().map(str::to_owned).collect()
}

/// The lines recorded of these datasets.
fn recorded(file: &str, names: &[&str]) -> BTreeSet<String> {
    let text = fs::read_to_string(golden::accounts_file(file)).expect("a golden text");
    let is_asked = |line: &&str| names.iter().any(|name| line.split('\t').next() == Some(*name));
    let lines: BTreeSet<String> = text.lines().filter(is_asked).map(str::to_owned).collect();
    assert_eq!(lines.len(), 14 * names.len());
    lines
}

/// Quotas too: they are not encrypted, but zfs shows none of a filesystem that it cannot open.
#[test]
fn without_keys_nothing_is_shown_of_users() {
    let outcome = get(None, &NAMES);
    assert_eq!(lines(&outcome), recorded("locked", &NAMES));
    assert_eq!(outcome.stderr, b"");
}

#[test]
fn a_key_shows_what_it_unlocks() {
    let outcome = get(Some("correct horse"), &NAMES);
    assert_eq!(lines(&outcome), recorded("one", &NAMES));
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("accounts/e/own remains locked: "), "{said}");
    let outcome = get(Some("battery staple"), &["accounts/e/own"]);
    assert_eq!(lines(&outcome), recorded("unlocked", &["accounts/e/own"]));
    assert_eq!(outcome.stderr, b"");
}

#[test]
fn a_key_of_none_of_them_is_refused() {
    let outcome = get(Some("battery staple"), &["accounts/e", "accounts/plain"]);
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (1, &b""[..]), "{said}");
    assert!(said.contains("cannot load the key of accounts/e: "), "{said}");
}
