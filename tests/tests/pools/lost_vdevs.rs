//! Pools of which whole top-level vdevs are gone: what is left is read, what is lost is named, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zstream_tests::created::files;
use zstream_tests::program::zstream;

/// Vdevs, and the members that are lost.
const KINDS: [(&str, &str); 6] = [
    ("a b c", "b"),
    ("a b c", "a"),
    ("mirror a b mirror c d mirror e f", "c d"),
    ("raidz a b c raidz d e f", "d f"),
    ("a b special c d", "b"),
    ("a b special c d", "d"),
];

/// Small files are in one block, the others in several.
const FILES: usize = 24;

struct Bench {
    dir: tempfile::TempDir,
    content: BTreeMap<String, Vec<u8>>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

impl Bench {
    fn new(words: &str) -> Self {
        let mut bench = Self { dir: tempfile::tempdir().expect("a directory"), content: BTreeMap::new() };
        fs::create_dir(bench.members_dir()).expect("a directory");
        let member = |word: &str| bench.members_dir().join(word).display().to_string();
        let vdevs = words.split(' ').map(|word| if word.len() == 1 { member(word) } else { word.to_owned() });
        let mut create: Vec<String> = ["pool", "create", "--size", "64M", "tank"].map(str::to_owned).into();
        create.extend(vdevs);
        let outcome = zstream(&create.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        assert_eq!((outcome.code, text(&outcome.stderr).as_str()), (0, ""));
        let source = bench.dir.path().join("source");
        for directory in ["small", "large"] {
            fs::create_dir_all(source.join(directory)).expect("a directory");
        }
        for n in 0..FILES {
            for (directory, bytes) in [("small", 3000), ("large", 500_000)] {
                let (name, content) = (format!("{directory}/f{n}"), noise(n as u64 * 2 + 1, bytes));
                fs::write(source.join(&name), &content).expect("room");
                bench.content.insert(name, content);
            }
        }
        let below = format!("{}/", source.display());
        for words in [
            &["create", "tank/home"][..],
            &["create", "tank/home/below"],
            &["put", &below, "tank/home:/"],
            &["snapshot", "-r", "tank/home@s"],
        ] {
            let (code, _, error) = bench.run(words);
            assert_eq!((code, error.as_str()), (0, ""), "{words:?}");
        }
        bench
    }

    fn members_dir(&self) -> PathBuf {
        self.dir.path().join("members")
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let outcome = zstream(&[&["-d", self.members_dir().to_str().expect("UTF-8")], words].concat(), b"");
        (outcome.code, text(&outcome.stdout), text(&outcome.stderr))
    }

    fn lose(&self, members: &str) {
        members.split(' ').for_each(|name| fs::remove_file(self.members_dir().join(name)).expect("a member"));
    }

    /// Files that `pool check` says are lost in the snapshot, in part or as a whole.
    fn lost(&self) -> BTreeSet<String> {
        let (code, report, error) = self.run(&["pool", "check", "--json"]);
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|bad| panic!("{bad}: {error}"));
        assert_eq!((code, report["ok"].as_bool()), (1, Some(false)));
        let damaged = report["damaged"].as_array().expect("a list").iter();
        let is_lost = |damaged: &&Value| {
            let bytes = damaged["lost_bytes"].as_array().expect("ranges");
            damaged["in"] == "tank/home@s" && (damaged["lost"] == true || !bytes.is_empty())
        };
        let damaged = damaged.filter(is_lost);
        let paths = damaged.flat_map(|damaged| damaged["paths"].as_array().expect("paths"));
        paths.map(|path| path.as_str().expect("a path").trim_start_matches('/').to_owned()).collect()
    }
}

/// What was restored below a directory.
fn restored(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for below in ["small", "large"] {
        let below_path = directory.join(below);
        if below_path.exists() {
            for path in files(&below_path) {
                let name = path.file_name().expect("a name").to_str().expect("UTF-8");
                found.insert(format!("{below}/{name}"), fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn what_is_left_is_read_and_what_is_lost_is_named() {
    for (words, lost_members) in KINDS {
        let bench = Bench::new(words);
        let what = format!("{words} without {lost_members}");
        let names =
            |bench: &Bench| bench.run(&["list", "-r", "-H", "-t", "all", "-o", "name,guid,used,refer"]);
        let before = names(&bench);
        bench.lose(lost_members);
        let left: Vec<(PathBuf, Vec<u8>)> = files(&bench.members_dir())
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();

        // Datasets are metadata of the pool, of which there are three copies.
        let (code, listed, error) = names(&bench);
        assert_eq!((code, listed), (0, before.1), "{what}: {error}");
        let warning = format!("{} is missing: ", if words.contains("special") { "1 of 4 vdevs" } else { "" });
        assert!(
            error.contains("the pool can only be read") && error.contains(warning.trim_start()),
            "{what}: {error}"
        );
        let (code, shown, error) = bench.run(&["pool", "show"]);
        assert!(
            code == 0 && shown.contains("health:   UNAVAIL") && shown.contains("UNAVAIL\n"),
            "{what}: {shown}{error}"
        );

        // Of metadata on special vdevs there is a copy on the other one, so that nothing is lost.
        let has_all = lost_members == "d" && words.contains("special");
        // What is restored is as it was; everything else is named, and there is something of each.
        let out = bench.dir.path().join("out");
        fs::create_dir(&out).expect("a directory");
        let (code, _, error) = bench.run(&["extract", "tank/home@s", "-C", out.to_str().expect("UTF-8")]);
        assert_eq!(code, i32::from(!has_all), "{what}: {error}");
        let got = restored(&out);
        let lost = bench.lost();
        for (name, content) in &bench.content {
            match got.get(name) {
                Some(found) => assert!(found == content && !lost.contains(name), "{what}: {name}"),
                None => {
                    assert!(lost.contains(name) && error.contains(name.as_str()), "{what}: {name}: {error}")
                }
            }
        }
        let all = bench.content.len();
        assert!(got.len() >= if has_all { all } else { all / 5 }, "{what}: {} of {all}", got.len());
        assert_eq!(lost.is_empty(), has_all, "{what}");
        let (code, list, error) = bench.run(&["ls", "-R", "tank/home@s"]);
        let is_listed = bench.content.keys().all(|name| list.contains(name.rsplit('/').next().unwrap()));
        assert!(code == 1 || (code == 0 && is_listed), "{what}: {error}");

        // A stream is whole or says what it lacks.
        let (code, _, error) = bench.run(&["send", "tank/home@s"]);
        assert_eq!((code, error.contains("cannot send")), (i32::from(!has_all), !has_all), "{what}: {error}");
        let (_, _, error) = bench.run(&["send", "-n", "-v", "tank/home@s"]);
        assert!(error.contains("is missing"), "{what}: {error}");

        // Nothing is written.
        for words in [
            &["create", "tank/new"][..],
            &["snapshot", "tank/home@t"],
            &["set", "compression=off", "tank/home"],
            &["destroy", "tank/home@s"],
            &["pool", "export", "-f"],
        ] {
            let (code, _, error) = bench.run(words);
            assert!(code == 1 && !error.is_empty(), "{what}: {words:?}: {error}");
        }
        for (path, content) in left {
            assert!(fs::read(&path).unwrap() == content, "{what}: {} was written", path.display());
        }
    }
}

/// With `--corrupt-data` a stream has everything that is left: each file is as it was, but for the blocks that are named.
#[test]
fn what_is_left_is_sent() {
    let bench = Bench::new("a b c");
    bench.lose("c");
    let members = bench.members_dir();
    let sent =
        zstream(&["-d", members.to_str().unwrap(), "send", "--corrupt-data", "-R", "tank/home@s"], b"");
    let error = text(&sent.stderr);
    assert!(error.contains("replaced"), "{error}");
    let to = bench.dir.path().join("to.img");
    let to = to.to_str().unwrap();
    let made = zstream(&["pool", "create", "--size", "128M", "to", to], b"");
    assert_eq!(made.code, 0);
    let received = zstream(&["-d", to, "recv", "to/home"], &sent.stdout);
    assert_eq!((received.code, text(&received.stderr).as_str()), (0, ""));
    let out = bench.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let extracted = zstream(&["-d", to, "extract", "to/home@s", "-C", out.to_str().unwrap()], b"");
    assert_eq!(extracted.code, 0, "{}", text(&extracted.stderr));
    let (got, lost) = (restored(&out), bench.lost());
    assert_eq!(got.len(), bench.content.len());
    let mut same = 0;
    for (name, content) in &bench.content {
        assert!(lost.contains(name) || got[name] == *content, "{name}");
        same += got[name].iter().zip(content).filter(|(a, b)| a == b).count();
    }
    let all: usize = bench.content.values().map(Vec::len).sum();
    assert!(same * 100 >= all * 55, "{same} of {all} bytes");
}

/// A log device holds nothing that is needed for reading; with the only special vdev everything is gone.
#[test]
fn too_little_is_an_error_and_a_lost_log_is_not() {
    let bench = Bench::new("a log b");
    bench.lose("b");
    let (code, list, error) = bench.run(&["list", "-H", "-o", "name"]);
    assert_eq!((code, list.as_str(), error.as_str()), (0, "tank\ntank/home\ntank/home/below\n", ""));
    for (words, lost) in [("a special b", "b"), ("a b", "a b"), ("mirror a b", "a b")] {
        let bench = Bench::new(words);
        bench.lose(lost);
        let (code, list, error) = bench.run(&["list"]);
        assert!(code == 1 && list.is_empty(), "{words}: {list}");
        let why = if words.contains("special") { "too much of the pool is missing" } else { "no pool found" };
        assert!(error.contains(why), "{words}: {error}");
    }
}
