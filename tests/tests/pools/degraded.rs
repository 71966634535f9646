//! Pools that are changed while members are missing: what is written is there, with these members and without.

use std::fs;
use std::path::PathBuf;

use zstream_tests::program::zstream;

/// Vdevs, the members that are missing while the pool is changed, and all sets of members without which it must be readable
/// afterwards.
const KINDS: [(&str, &str, &[&str]); 4] = [
    ("mirror a b", "b", &["", "b"]),
    ("mirror a b mirror c d", "a d", &["", "a", "d", "a d"]),
    ("raidz a b c", "c", &["", "c"]),
    ("raidz2 a b c d", "a", &["", "a", "a b", "b", "d"]),
];

struct Bench {
    dir: tempfile::TempDir,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = zstream_tests::rng::Rng(seed | 1);
    (0..len).map(|_| rng.below(256) as u8).collect()
}

impl Bench {
    fn new(words: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(bench.path("members")).expect("a directory");
        fs::create_dir(bench.path("away")).expect("a directory");
        let member = |word: &str| bench.path("members").join(word).display().to_string();
        let vdevs = words.split(' ').map(|word| if word.len() == 1 { member(word) } else { word.to_owned() });
        let mut create: Vec<String> = ["pool", "create", "--size", "64M", "tank"].map(str::to_owned).into();
        create.extend(vdevs);
        let outcome = zstream(&create.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        assert_eq!((outcome.code, text(&outcome.stderr).as_str()), (0, ""));
        bench.done(&["create", "tank/home"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &[&str]) -> (i32, Vec<u8>, String) {
        let members = self.path("members");
        let outcome = zstream(&[&["-d", members.to_str().expect("UTF-8")], words].concat(), b"");
        (outcome.code, outcome.stdout, text(&outcome.stderr))
    }

    fn done(&self, words: &[&str]) {
        let (code, _, error) = self.run(words);
        assert_eq!((code, error.as_str()), (0, ""), "{words:?}");
    }

    fn put(&self, name: &str, content: &[u8]) {
        let source = self.path(name);
        fs::write(&source, content).expect("room");
        self.done(&["put", source.to_str().expect("UTF-8"), &format!("tank/home:/{name}")]);
    }

    /// Moves members between where the pool is looked for and elsewhere.
    fn shift(&self, members: &str, from: &str, to: &str) {
        for name in members.split_whitespace() {
            fs::rename(self.path(from).join(name), self.path(to).join(name)).expect("a member");
        }
    }

    fn assert_files(&self, files: &[(&str, &[u8])], what: &str) {
        for (name, content) in files {
            let (code, found, error) = self.run(&["cat", "tank/home", name]);
            assert!(
                code == 0 && (error.is_empty() || error.contains("data is reconstructed")),
                "{what}: {error}"
            );
            assert!(found == *content, "{what}: {name} differs");
        }
    }
}

#[test]
fn what_a_degraded_pool_is_given_is_there_with_its_members_and_without() {
    for (words, away, readable) in KINDS {
        let bench = Bench::new(words);
        let [before, during, after] = [1, 2, 3].map(|seed| noise(seed, 700_000));
        bench.put("before", &before);
        bench.put("changed", &before);
        bench.shift(away, "members", "away");
        bench.put("during", &during);
        bench.put("changed", &during);
        bench.done(&["snapshot", "tank/home@s"]);
        bench.shift(away, "away", "members");
        let files: [(&str, &[u8]); 3] = [("before", &before), ("during", &during), ("changed", &during)];
        for gone in readable {
            let what = format!("{words} without {gone}");
            bench.shift(gone, "members", "away");
            bench.assert_files(&files, &what);
            let (code, report, error) = bench.run(&["pool", "check"]);
            assert_eq!(code, 0, "{what}: {error}{}", text(&report));
            bench.shift(gone, "away", "members");
        }
        // Members that are back get what is written, and still lack what they missed.
        bench.put("after", &after);
        bench.put("changed", &after);
        bench.done(&["destroy", "tank/home@s"]);
        let files: [(&str, &[u8]); 4] =
            [("before", &before), ("during", &during), ("after", &after), ("changed", &after)];
        for gone in readable {
            let what = format!("{words} without {gone}, written again");
            bench.shift(gone, "members", "away");
            bench.assert_files(&files, &what);
            bench.shift(gone, "away", "members");
        }
        let (code, report, error) = bench.run(&["pool", "check"]);
        assert_eq!((code, error.as_str()), (0, ""), "{words}: {}", text(&report));
    }
}

#[test]
fn beyond_its_redundancy_a_pool_is_not_written() {
    for (words, first, second, error) in [
        ("mirror a b", "", "a b", "no pool tank found"),
        ("raidz a b c", "", "a b", "raidz1-0 is missing 2 of 3 members, at most 1 may be missing"),
        ("mirror a b mirror c d", "", "c d", "mirror-1 is missing 2 of 2 members"),
        // What is on one member alone must not be lost with it, although all else is there.
        ("mirror a b", "b", "a", "whose vdev mirror-0 has too few members that are up to date"),
        ("raidz a b c", "a", "b", "whose vdev raidz1-0 has too few members that are up to date"),
        ("mirror a b raidz c d e", "d", "e", "whose vdev raidz1-1 has too few members that are up to date"),
    ] {
        let bench = Bench::new(words);
        bench.put("before", &noise(1, 100_000));
        bench.shift(first, "members", "away");
        bench.put("during", &noise(2, 100_000));
        bench.shift(first, "away", "members");
        bench.put("after", &noise(3, 100_000));
        bench.shift(second, "members", "away");
        let (code, _, found) = bench.run(&["create", "tank/other"]);
        // Where the pool itself needs what is missing, it is not even opened.
        let is_refused =
            found.contains(error) || error.contains("up to date") && found.contains("no copy is intact");
        assert!(code != 0 && is_refused, "{words} without {first}, then {second}: {found}");
        bench.shift(second, "away", "members");
        bench.done(&["create", "tank/other"]);
    }
}

/// A member that was copied before and put back: its log in the pool knows nothing of that.
#[test]
fn an_old_copy_of_a_member_is_not_taken_for_a_good_one() {
    for words in ["mirror a b", "raidz a b c"] {
        let bench = Bench::new(words);
        let (before, after) = (noise(1, 500_000), noise(2, 500_000));
        bench.put("file", &before);
        fs::copy(bench.path("members").join("b"), bench.path("away").join("b")).expect("a copy");
        for _ in 0..3 {
            bench.put("file", &after);
        }
        bench.shift("b", "away", "members");
        bench.assert_files(&[("file", &after)], words);
        let (code, report, error) = bench.run(&["pool", "check"]);
        assert_eq!((code, error.as_str()), (0, ""), "{words}: {}", text(&report));
        // From the first change on, the pool knows.
        bench.put("more", &before);
        bench.shift("a", "members", "away");
        let (code, _, error) = bench.run(&["create", "tank/other"]);
        let is_refused =
            error.contains("too few members that are up to date") || error.contains("no copy is intact");
        assert!(code != 0 && is_refused, "{words}: {error}");
        bench.shift("a", "away", "members");
        bench.assert_files(&[("file", &after), ("more", &before)], words);
        let (code, report, error) = bench.run(&["pool", "check"]);
        assert_eq!((code, error.as_str()), (0, ""), "{words}: {}", text(&report));
    }
}

/// Each side of a mirror was changed alone: the newer one counts, and nothing is read from the other as if it were right.
#[test]
fn sides_that_were_written_apart_are_not_mixed() {
    let bench = Bench::new("mirror a b");
    let [before, of_a, of_b] = [1, 2, 3].map(|seed| noise(seed, 400_000));
    bench.put("before", &before);
    bench.put("changed", &before);
    fs::create_dir(bench.path("apart")).expect("a directory");
    bench.shift("b", "members", "apart");
    bench.put("changed", &of_a);
    bench.put("only-a", &of_a);
    bench.shift("a", "members", "away");
    bench.shift("b", "apart", "members");
    bench.put("changed", &of_b);
    bench.put("only-b", &of_b);
    bench.put("last", &of_b);
    bench.shift("a", "away", "members");
    let files: [(&str, &[u8]); 4] =
        [("before", &before), ("changed", &of_b), ("only-b", &of_b), ("last", &of_b)];
    for (name, content) in files {
        let (code, found, error) = bench.run(&["cat", "tank/home", name]);
        assert!(code == 0 && error.contains("members/a was written apart"), "{name}: {error}");
        assert!(found == content, "{name} differs");
    }
    let (code, _, error) = bench.run(&["cat", "tank/home", "only-a"]);
    assert!(code == 1 && error.contains("not found"), "{error}");
    let (_, _, error) = bench.run(&["pool", "check"]);
    assert!(error.contains(" 0 of ") && error.contains("copies are damaged, 0 blocks lost"), "{error}");
    // A change records that all of that side is missing.
    let (code, _, error) = bench.run(&["create", "tank/other"]);
    assert!(code == 0 && error.contains("members/a was written apart"), "{error}");
    bench.assert_files(&files, "changed");
    bench.done(&["pool", "check"]);
    bench.shift("b", "members", "away");
    let (code, _, error) = bench.run(&["create", "tank/more"]);
    let is_refused =
        error.contains("too few members that are up to date") || error.contains("no copy is intact");
    assert!(code != 0 && is_refused, "{error}");
    bench.shift("b", "away", "members");
    bench.assert_files(&files, "with both sides");
}
