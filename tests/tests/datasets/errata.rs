//! Encrypted datasets as early versions of ZFS left them: keys of the first format (erratum 3) are read and nothing more; a
//! snapshot without an IV set (erratum 4) is not the source of a raw increment.

use std::fs;

use serde_json::Value;
use zstream_tests::errata::{FIRST, SECOND, content, make};
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;
use zstream_tests::receiving::Demo;

const THREE: &str = "erratum 3 (ZOL_6845_ENCRYPTION)";
const FOUR: &str = "erratum 4 (ZOL_8308_ENCRYPTION)";

/// The pool, and what runs the program on it with its key.
struct Bench {
    demo: Demo,
    keys: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let keys = tempfile::tempdir().expect("a directory");
        fs::write(keys.path().join("key"), PASSPHRASE).expect("a file");
        Self { demo: make(), keys }
    }

    /// Exit code, output, messages.
    fn run(&self, line: &str, input: &[u8]) -> (i32, Vec<u8>, String) {
        let key = self.keys.path().join("key").display().to_string();
        let member = self.demo.members()[0].display().to_string();
        let before = ["-d", &member, "--key-file", &key];
        let outcome = zstream(&before.into_iter().chain(line.split(' ')).collect::<Vec<_>>(), input);
        (outcome.code, outcome.stdout, String::from_utf8_lossy(&outcome.stderr).into_owned())
    }

    fn does(&self, line: &str, input: &[u8]) -> Vec<u8> {
        let (code, out, message) = self.run(line, input);
        assert_eq!((code, message.as_str()), (0, ""), "{line}");
        out
    }

    /// Is refused with the name of the erratum, and nothing is written, to the pool or to standard output.
    fn refuses(&self, line: &str, input: &[u8], erratum: &str) {
        let before = fs::read(&self.demo.members()[0]).expect("the pool");
        let (code, out, message) = self.run(line, input);
        assert_eq!((code, out.len()), (1, 0), "{line}: {message}");
        assert!(message.contains(erratum), "{line}: {message}");
        assert!(fs::read(&self.demo.members()[0]).expect("the pool") == before, "{line} wrote to the pool");
    }
}

#[test]
fn keys_of_the_first_format_are_for_reading() {
    let bench = Bench::new();
    for name in ["file", "other"] {
        assert!(bench.does(&format!("cat {FIRST}@a {name}"), b"") == content(name), "{name}");
    }
    bench.does("pool check", b"");
    let (full, incr) =
        (bench.does(&format!("send {FIRST}@a"), b""), bench.does(&format!("send -i @a {FIRST}@b"), b""));
    bench.refuses(&format!("put /etc/passwd {FIRST}:/"), b"", THREE);
    for words in ["-w", "-w -i @a", "-R -w"] {
        let line = format!("send {words} {FIRST}@b");
        let (code, _, message) = bench.run(&line, b"");
        assert!(code == 1 && message.contains(THREE), "{line}: {message}");
    }
    // The snapshot is gone, to be received again.
    bench.does(&format!("destroy {FIRST}@b"), b"");
    for line in ["recv", "recv -n", "recv -F", "recv -s"] {
        bench.refuses(&format!("{line} {FIRST}"), &incr, THREE);
    }
    bench.refuses(&format!("recv -o origin={FIRST}@a demo/clone"), &incr, THREE);
    // What OpenZFS advises: into a dataset with new keys.
    bench.does(&format!("recv {SECOND}/new"), &full);
    bench.does(&format!("recv {SECOND}/new"), &incr);
    assert!(bench.does(&format!("cat {SECOND}/new@b file"), b"") == content("file"));
    // Changes of datasets are none of content.
    bench.does(&format!("snapshot {FIRST}@c"), b"");
    bench.does(&format!("rename {FIRST} demo/old"), b"");
    bench.does("destroy -r demo/old", b"");
    let report: Value = serde_json::from_slice(&bench.does("pool check --json", b"")).expect("JSON");
    assert!(report["errata"].as_array().expect("a list").iter().all(|erratum| erratum["number"] == 4));
}

#[test]
fn a_snapshot_without_an_iv_set_is_not_the_source_of_a_raw_increment() {
    let bench = Bench::new();
    bench.does(&format!("bookmark {SECOND}@a {SECOND}#a"), b"");
    for from in ["-i @a", "-i #a", "-I @a"] {
        let line = format!("send -w {from} {SECOND}@b");
        let (code, _, message) = bench.run(&line, b"");
        assert!(code == 1 && message.contains(FOUR), "{line}: {message}");
    }
    let full = bench.does(&format!("send -w {SECOND}@a"), b"");
    bench.does("recv demo/raw", &full);
    assert!(bench.does("cat demo/raw@a file", b"") == content("file"));
    for line in [format!("send -i @a {SECOND}@b"), format!("send -w {SECOND}@b")] {
        bench.does(&line, b"");
    }
    bench.does(&format!("put /etc/passwd {SECOND}:/"), b"");
    // From a snapshot that has one, though its receiver has not.
    bench.does(&format!("snapshot {SECOND}@c"), b"");
    let incr = bench.does(&format!("send -w -i @b {SECOND}@c"), b"");
    bench.does(&format!("destroy {SECOND}@c"), b"");
    bench.does("recv demo/other", &bench.does(&format!("send -w {SECOND}@b"), b""));
    bench.does("recv demo/other", &incr);
}

#[test]
fn errata_are_named() {
    let bench = Bench::new();
    let names = [format!("({FIRST}@a, {FIRST}@b, {FIRST})"), format!("({SECOND}@a)")];
    for line in ["pool show", "pool check"] {
        let text = String::from_utf8(bench.does(line, b"")).expect("text");
        for (erratum, names) in [THREE, FOUR].iter().zip(&names) {
            let found = text.lines().find(|line| line.starts_with(&format!("{erratum}: ")));
            assert!(found.is_some_and(|line| line.ends_with(names.as_str())), "{line}: {text}");
        }
        let report: Value =
            serde_json::from_slice(&bench.does(&format!("{line} --json"), b"")).expect("JSON");
        let numbers: Vec<u64> = report["errata"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|erratum| erratum["number"].as_u64())
            .collect();
        assert_eq!(numbers, [3, 4], "{line}");
    }
    let demo = Demo::default();
    let (_, text, _) = demo.run(&[], "pool show", b"");
    assert!(!text.contains("erratum"), "{text}");
}
