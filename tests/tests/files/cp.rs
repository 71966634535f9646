//! `zstream cp`: files copied within a pool, by cloning their blocks.

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;
use zstream_tests::golden::Outcome;
use zstream_tests::pools::PASSPHRASE;
use zstream_tests::program::zstream;

/// A pool in a file of its own, and a directory for other files.
pub(crate) struct Pool {
    pub(crate) dir: tempfile::TempDir,
}

impl Pool {
    /// A pool with the feature, or without it.
    pub(crate) fn new(cloning: bool) -> Self {
        let pool = Self { dir: tempfile::tempdir().expect("a directory") };
        let image = pool.path("p.img");
        let feature = if cloning { "enabled" } else { "disabled" };
        let feature = format!("feature@block_cloning={feature}");
        let words = ["pool", "create", "--size", "128M", "-o", &feature, "-O", "recordsize=16k", "p"];
        let outcome = zstream(&[&words[..], &[image.to_str().expect("UTF-8")]].concat(), b"");
        assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&outcome.stderr));
        fs::write(pool.path("key"), PASSPHRASE).expect("a file");
        for name in ["p/a", "p/b"] {
            pool.does(&format!("create {name}"));
        }
        pool
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn run(&self, line: &str) -> Outcome {
        self.run_with(line, b"")
    }

    fn run_with(&self, line: &str, stdin: &[u8]) -> Outcome {
        let (image, key) = (self.path("p.img"), self.path("key"));
        let before = ["-d", image.to_str().expect("UTF-8"), "--key-file", key.to_str().expect("UTF-8")];
        let words: Vec<&str> = line.split_whitespace().collect();
        zstream(&[&before[..], &words].concat(), stdin)
    }

    /// Runs a line with these bytes as standard input.
    pub(crate) fn given(&self, line: &str, stdin: &[u8]) {
        let outcome = self.run_with(line, stdin);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    }

    pub(crate) fn does(&self, line: &str) -> Vec<u8> {
        let outcome = self.run(line);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
        outcome.stdout
    }

    /// What is said of a line that succeeds.
    pub(crate) fn says(&self, line: &str) -> String {
        let outcome = self.run(line);
        let said = String::from_utf8(outcome.stderr).expect("text");
        assert_eq!(outcome.code, 0, "{line}: {said}");
        said
    }

    pub(crate) fn fails(&self, line: &str, code: i32) -> String {
        let outcome = self.run(line);
        let said = String::from_utf8(outcome.stderr).expect("text");
        assert_eq!(outcome.code, code, "{line}: {said}");
        said
    }

    pub(crate) fn put(&self, target: &str, content: &[u8]) {
        let file = self.path("file");
        fs::write(&file, content).expect("a file");
        self.does(&format!("put {} {target}", file.display()));
    }

    pub(crate) fn cat(&self, dataset: &str, path: &str) -> Vec<u8> {
        self.does(&format!("cat {dataset} {path}"))
    }

    /// Bytes that clones save, after a check that finds nothing.
    pub(crate) fn saved(&self) -> u64 {
        let report: Json = serde_json::from_slice(&self.does("pool check --json")).expect("JSON");
        report["references"]["saved"].as_u64().unwrap_or(0)
    }
}

/// Content that no compression makes smaller, with a hole and an odd end.
fn content() -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes: Vec<u8> = (0..200_001)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    bytes[40_000..90_000].fill(0);
    bytes
}

#[test]
fn files_are_cloned_within_and_between_datasets_and_from_snapshots() {
    let (pool, content) = (Pool::new(true), content());
    pool.put("p/a:/file", &content);
    pool.does("snapshot p/a@s");
    // Five of fifteen blocks of 16 KiB are partly or wholly zeros: three are holes, or two.
    assert_eq!(pool.says("cp p/a:/file p/a:/again"), "");
    let one = pool.saved();
    assert!((140_000..200_000).contains(&one), "{one}");
    pool.does("cp --reflink=always p/a:/file p/b:/");
    pool.does("cp --reflink=always p/a@s:/file p/b:/from-snapshot");
    assert_eq!(pool.saved(), 3 * one);
    for (dataset, path) in [("p/a", "again"), ("p/b", "file"), ("p/b", "from-snapshot")] {
        assert!(pool.cat(dataset, path) == content, "{dataset} {path}");
    }
    assert_eq!(pool.does("ls -l p/a file").len(), pool.does("ls -l p/a again").len() - 1);
    // An existing file is replaced, its clones are not.
    pool.put("p/b:/file", b"other");
    assert_eq!(pool.saved(), 2 * one);
    pool.does("cp p/b:/from-snapshot p/b:/file");
    assert_eq!(pool.saved(), 3 * one);
    pool.does("cp --reflink=never p/a:/file p/b:/file");
    assert_eq!(pool.saved(), 2 * one);
    assert!(pool.cat("p/b", "file") == content);
    pool.does("destroy -r p/b");
    pool.does("destroy -r p/a");
    let left = pool.does("pool get -H -o value feature@block_cloning p");
    assert_eq!((pool.saved(), &left[..]), (0, &b"enabled\n"[..]));
}

#[test]
fn what_cannot_be_cloned_is_copied_with_a_word_or_refused() {
    let (pool, content) = (Pool::new(false), content());
    pool.put("p/a:/file", &content);
    let said = pool.says("cp p/a:/file p/b:/");
    assert!(said.contains("copied instead of cloned: the pool does not have the feature"), "{said}");
    assert!(pool.cat("p/b", "file") == content);
    assert_eq!(pool.says("cp --reflink=never p/a:/file p/b:/quiet"), "");
    let said = pool.fails("cp --reflink=always p/a:/file p/b:/none", 1);
    assert!(said.contains("cannot be cloned") && said.contains("nothing was written"), "{said}");
    assert!(!String::from_utf8(pool.does("ls p/b")).expect("text").contains("none"));
    pool.does("pool set feature@block_cloning=enabled p");
    assert_eq!(pool.says("cp --reflink=always p/a:/file p/b:/one"), "");

    pool.does("create -o encryption=on -o keyformat=passphrase -o keylocation=prompt p/e");
    pool.put("p/e:/secret", &content);
    let said = pool.says("cp p/e:/secret p/a:/open");
    assert!(said.contains("not encrypted with the same key"), "{said}");
    assert!(pool.cat("p/a", "open") == content);
    let before = pool.saved();
    pool.does("cp --reflink=always p/e:/secret p/e:/second");
    pool.does("snapshot p/e@s");
    pool.does("clone p/e@s p/f");
    pool.does("cp --reflink=always p/e@s:/secret p/f:/third");
    assert!(pool.saved() > before);
    assert!(pool.cat("p/f", "third") == content && pool.cat("p/e", "second") == content);
}

/// Clones in an encrypted dataset survive a raw and a plain send, and what becomes of the original. With each of three
/// rounds there is one more clone of a clone; all are freed with the last.
#[test]
fn clones_in_an_encrypted_dataset_make_round_trips() {
    let (pool, content) = (Pool::new(true), content());
    let encrypted = "-o encryption=on -o keyformat=passphrase -o keylocation=prompt";
    pool.does(&format!("create {encrypted} p/e"));
    pool.put("p/e:/0", &content);
    for round in 0..3 {
        let (from, to) = (round, round + 1);
        pool.does(&format!("cp --reflink=always p/e:/{from} p/e:/{to}"));
        pool.does(&format!("snapshot p/e@{round}"));
        for (words, name) in [("-w", "raw"), ("", "plain")] {
            let stream = pool.does(&format!("send {words} p/e@{round}"));
            let target = format!("p/{name}{round}");
            pool.given(&format!("recv {target}"), &stream);
            for file in 0..=to {
                let found = pool.cat(&target, &file.to_string());
                let expected = if file < from { b"changed" } else { &content[..] };
                assert!(found == expected, "{target}: {file}");
            }
        }
        let saved = pool.saved();
        assert!(saved > 100_000, "{saved}");
        // The original is replaced; its clone is what the next one is made of.
        pool.put(&format!("p/e:/{from}"), b"changed");
        assert!(pool.cat("p/e", &to.to_string()) == content);
    }
    pool.does("destroy -r p/e");
    assert_eq!(pool.saved(), 0);
    assert!(pool.cat("p/raw2", "3") == content);
}

#[test]
fn bad_requests_change_nothing() {
    let pool = Pool::new(true);
    pool.put("p/a:/file", b"text");
    let before = fs::read(pool.path("p.img")).expect("the image");
    for (line, code, expected) in [
        ("cp p/a:/file p/a:/file", 1, "the same file"),
        ("cp p/a:/none p/a:/x", 1, "p/a:/none: "),
        ("cp p/a:/ p/b:/x", 2, "no file of p/a given"),
        ("cp p/a:/file q/b:/x", 2, "different pools"),
        ("cp p/a:/file p/b@s:/x", 2, "p/b@s"),
        ("cp p/a:/../file p/b:/x", 2, "file"),
        ("cp p/a:/file p/b:/none/x", 1, "none"),
        ("cp p/c:/file p/b:/x", 1, "p/c"),
        ("cp --reflink=some p/a:/file p/b:/x", 2, "some"),
        ("cp p/a:/file", 2, "DATASET:/PATH"),
    ] {
        let said = pool.fails(line, code);
        assert!(said.contains(expected), "{line}: {said}");
        assert!(fs::read(pool.path("p.img")).expect("the image") == before, "{line}");
    }
}
