//! Members whose end is missing: an image that was copied in part, a file that was cut short. The pool is read, with a warning,
//! and not written.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use serde_json::Value;
use zstream_tests::created::files;
use zstream_tests::golden::Outcome;
use zstream_tests::program::zstream;

/// Vdevs, and how many of their members may be cut without a loss.
const KINDS: [(&str, usize); 5] =
    [("a", 0), ("a b", 0), ("mirror a b", 1), ("raidz a b c", 1), ("raidz2 a b c d", 2)];

/// The size of a member: more than the least that OpenZFS opens, so that some of it may be missing.
const MEMBER_BYTES: u64 = 80 << 20;

/// What has to be there of a member: its part of the whole metaslabs of 16 MiB, the labels, and the boot area. Labels lie
/// at multiples of 256 KiB.
fn needed_bytes(words: &str) -> u64 {
    const AROUND: u64 = (4 << 20) + (512 << 10);
    const METASLAB: u64 = 16 << 20;
    let disks = if words.starts_with("raidz") { words.split(' ').count() as u64 - 1 } else { 1 };
    let asize = (MEMBER_BYTES - AROUND) * disks;
    ((asize - asize % METASLAB).div_ceil(disks) + AROUND).next_multiple_of(256 << 10).max(64 << 20)
}

/// A pool with a file that fills a quarter of the smallest.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(words: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(bench.members_dir()).expect("a directory");
        let member = |word: &str| bench.members_dir().join(word).display().to_string();
        let vdevs = words.split(' ').map(|word| if word.len() == 1 { member(word) } else { word.to_owned() });
        let mut create: Vec<String> =
            ["pool", "create", "--size", "80M", "-O", "compression=off", "demo"].map(str::to_owned).into();
        create.extend(vdevs);
        let outcome = zstream(&create.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        assert_eq!((outcome.code, text(&outcome.stderr).as_str()), (0, ""));
        let source = bench.dir.path().join("random");
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..12 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect();
        fs::write(&source, noise).expect("room");
        let outcome = bench.run(&["put", source.to_str().expect("UTF-8"), "demo:/"]);
        assert_eq!((outcome.code, text(&outcome.stderr).as_str()), (0, ""));
        bench
    }

    fn members_dir(&self) -> PathBuf {
        self.dir.path().join("members")
    }

    fn members(&self) -> Vec<PathBuf> {
        files(&self.members_dir())
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let members = self.members();
        let members = members.iter().flat_map(|path| ["-d", path.to_str().expect("UTF-8")]);
        zstream(&members.chain(words.iter().copied()).collect::<Vec<_>>(), b"")
    }

    fn check(&self) -> (i32, Value) {
        let outcome = self.run(&["pool", "check", "--json"]);
        let report = serde_json::from_slice(&outcome.stdout);
        (outcome.code, report.unwrap_or_else(|error| panic!("{error}: {}", text(&outcome.stderr))))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn resize(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).expect("a member").set_len(bytes).expect("a size");
}

#[test]
fn a_cut_member_is_read_with_a_warning_and_not_written() {
    for (words, redundancy) in KINDS {
        let bench = Bench::new(words);
        let members = bench.members();
        for bytes in [needed_bytes(words) - 1, 40 << 20, 20 << 20, 12 << 20] {
            let last = members.last().expect("a member");
            let whole = fs::read(last).expect("a member");
            resize(last, bytes);
            let before: Vec<Vec<u8>> = members.iter().map(|path| fs::read(path).expect("a member")).collect();

            let warning = format!("{} is cut short: it has {bytes} bytes, ", last.display());
            let listed = bench.run(&["list", "-H", "-o", "name"]);
            let message = text(&listed.stderr);
            assert!(message.contains(&warning), "{words}, {bytes}: {message}");
            if listed.code == 0 {
                assert_eq!(text(&listed.stdout), "demo\n");
                assert!(
                    message.starts_with("zstream: warning: ") && message.lines().count() == 1,
                    "{message}"
                );
                for verb in [&["pool", "show"][..], &["ls", "demo"], &["get", "used", "demo"]] {
                    let message = text(&bench.run(verb).stderr);
                    assert_eq!(message.matches(&warning).count(), 1, "{words}, {bytes}, {verb:?}: {message}");
                }
                let (code, report) = bench.check();
                assert_eq!((code, &report["ok"]), (1, &false.into()), "{words}, {bytes}: {report}");
                let unchecked = report["unchecked"].to_string();
                assert!(unchecked.contains("is cut short"), "{words}, {bytes}: {unchecked}");
                let content = bench.run(&["cat", "demo", "random"]);
                assert!(content.code == 0 && content.stdout.len() == 12 << 20 || redundancy == 0, "{words}");
            } else {
                assert_eq!(redundancy, 0, "{words}, {bytes}: {message}");
            }
            for verb in [&["put", "/etc/passwd", "demo:/"][..], &["snapshot", "demo@s"], &["pool", "export"]]
            {
                let outcome = bench.run(verb);
                let message = text(&outcome.stderr);
                assert_eq!(outcome.code, 1, "{words}, {bytes}, {verb:?}");
                assert!(message.contains("is cut short"), "{words}, {bytes}, {verb:?}: {message}");
            }
            for (path, before) in members.iter().zip(&before) {
                assert!(
                    fs::read(path).expect("a member") == *before,
                    "{words}: {} was written",
                    path.display()
                );
            }
            fs::write(last, whole).expect("room");
        }
        assert_eq!(bench.check().0, 0, "{words}: whole again");
    }
}

/// After the last metaslab nothing but labels may be missing, which a change writes anew. A member may also be larger.
#[test]
fn members_that_are_large_enough_are_written() {
    for (words, _) in KINDS {
        for bytes in [needed_bytes(words), MEMBER_BYTES - 1, 2 * MEMBER_BYTES] {
            let bench = Bench::new(words);
            for path in bench.members() {
                resize(&path, bytes);
            }
            for verb in [&["snapshot", "demo@s"][..], &["list"], &["put", "/etc/passwd", "demo:/"]] {
                let outcome = bench.run(verb);
                assert_eq!((outcome.code, text(&outcome.stderr).as_str()), (0, ""), "{words}, {bytes}");
            }
            let (code, report) = bench.check();
            assert_eq!(code, 0, "{words}, {bytes}: {report}");
        }
    }
}

/// OpenZFS opens no member below 64 MiB, also where its pool has nothing in what is missing.
#[test]
fn a_member_below_the_smallest_is_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("a").display().to_string();
    assert_eq!(zstream(&["pool", "create", "--size", "64M", "demo", &image], b"").code, 0);
    OpenOptions::new().write(true).open(&image).and_then(|file| file.set_len(63 << 20)).expect("a file");
    for words in [&["create", "demo/x"][..], &["pool", "check"]] {
        let outcome = zstream(&[&["-d", &image], words].concat(), b"");
        let said = text(&outcome.stderr) + &text(&outcome.stdout);
        assert!(outcome.code == 1 && said.contains("is cut short"), "{words:?}: {said}");
    }
    assert_eq!(zstream(&["-d", &image, "list"], b"").code, 0);
}
