//! Keys stay those of their encryption roots, whatever is received, renamed, promoted, cloned or given another key.

use std::path::PathBuf;

use zstream_dmu::pool::WriteOptions;
use zstream_dsl::write::WritablePool;
use zstream_tests::key_history::{History, RECEIVER};
use zstream_tests::lab::Lab;
use zstream_tests::openzfs;

/// How many histories: `ZSTREAM_TEST_ROUNDS`, or what there is time for.
fn histories(few: u64) -> u64 {
    std::env::var("ZSTREAM_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Seeds of one's own: `ZSTREAM_SEED=17`.
fn first(seed: u64) -> u64 {
    std::env::var("ZSTREAM_SEED").ok().map_or(seed, |text| text.parse().expect("a number"))
}

#[test]
fn every_key_opens_what_its_encryption_root_says() {
    let mut done = std::collections::BTreeMap::<String, usize>::new();
    for seed in first(1)..first(1) + histories(4) {
        println!("seed {seed}");
        let mut history = History::new(seed);
        history.run(60);
        for (what, count) in history.done {
            *done.entry(what).or_default() += count;
        }
    }
    println!("{done:#?}");
    for what in
        ["change-key: done", "recv: done", "recv -R: done", "mirror: done", "rename: done", "clone: done"]
    {
        assert!(done.contains_key(what), "never {what}: {done:?}");
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_histories_of_keys_clean() {
    for seed in first(1000)..first(1000) + histories(8) {
        let mut history = History::new(seed);
        history.run(100);
        let dir = tempfile::tempdir().expect("a directory");
        history.copy_to(RECEIVER, &dir.path().join("a")).expect("a copy");
        openzfs::assert_no_leaks(dir.path(), RECEIVER);
        println!("seed {seed}: {:?}", history.done);
    }
}

/// Pools `a` and `b` with key files beside them.
struct Keyed {
    lab: Lab,
}

const RAW: &str = "-o encryption=on -o keyformat=raw";

impl Keyed {
    fn new() -> Self {
        let keyed = Self { lab: Lab::new(&["a", "b"]) };
        for n in 1..=4 {
            std::fs::write(keyed.key(n), [n; 32]).expect("a file");
        }
        keyed
    }

    fn key(&self, n: u8) -> PathBuf {
        self.lab.image(&format!("key{n}"))
    }

    /// Runs a line in which `KEY1` to `KEY4` are the paths of keys; gives what it printed, or an error with what it said.
    fn run(&self, pool: &str, line: &str, input: &[u8]) -> Result<String, String> {
        let line = (1..=4).fold(line.to_owned(), |line, n| {
            line.replace(&format!("KEY{n}"), self.key(n).to_str().expect("UTF-8"))
        });
        let outcome = self.lab.run(pool, &line, input);
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        match outcome.code {
            0 => Ok(String::from_utf8_lossy(&outcome.stdout).into_owned() + &said),
            code => {
                assert_eq!(code, 1, "{line}: {said}");
                Err(said)
            }
        }
    }

    fn does(&self, pool: &str, lines: &[&str]) {
        for line in lines {
            self.run(pool, line, b"").unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    /// Puts a file `name` with the text `name` into a dataset.
    fn put(&self, pool: &str, key: u8, dataset: &str, name: &str) {
        let path = self.lab.image(name).with_file_name(name);
        std::fs::write(&path, name).expect("a file");
        self.does(pool, &[&format!("--key-file KEY{key} put {} {dataset}:/", path.display())]);
    }

    fn send(&self, words: &str) -> Vec<u8> {
        self.lab.send("a", words)
    }

    /// The key that opens a dataset: its file `name` is read with it.
    fn opens(&self, pool: &str, key: u8, dataset: &str, name: &str) -> bool {
        match self.run(pool, &format!("--key-file KEY{key} cat {dataset} {name}"), b"") {
            Ok(text) => {
                assert_eq!(text, name);
                true
            }
            Err(said) => {
                assert!(said.contains("key"), "{said}");
                false
            }
        }
    }

    /// Encryption roots by their datasets.
    fn roots(&self, pool: &str, top: &str) -> String {
        let text = self.run(pool, &format!("list -H -o name,encryptionroot -r {top}"), b"").expect("a list");
        let lines = text.lines().map(|line| line.replace('\t', "="));
        lines.collect::<Vec<_>>().join(" ")
    }

    /// A sender with an encryption root `a/e`, a child and a grandchild, with a snapshot `1` of all; `b/e` with another key.
    fn tree() -> Self {
        let keyed = Self::new();
        keyed.does("a", &[&format!("--key-file KEY1 create {RAW} a/e")]);
        keyed.does("a", &["--key-file KEY1 create a/e/c", "--key-file KEY1 create a/e/c/d"]);
        ["a/e", "a/e/c", "a/e/c/d"].iter().for_each(|name| keyed.put("a", 1, name, "one"));
        keyed.does("a", &["snapshot -r a/e@1"]);
        keyed.does("b", &[&format!("--key-file KEY2 create {RAW} b/e")]);
        keyed
    }

    /// Another key of `a/e`, with a snapshot `2` of all.
    fn with_other_key(self) -> Self {
        self.does("a", &["--key-file KEY1 change-key -o keylocation=file://KEY3 a/e"]);
        ["a/e", "a/e/c", "a/e/c/d"].iter().for_each(|name| self.put("a", 3, name, "two"));
        self.does("a", &["snapshot -r a/e@2"]);
        self
    }
}

#[test]
fn the_top_of_a_raw_package_is_an_encryption_root() {
    let keyed = Keyed::tree();
    let stream = keyed.send("-w -R a/e/c@1");
    for (line, location) in
        [("recv b/e/R", "prompt local"), ("recv -o keylocation=file:///k b/e/K", "file:///k local")]
    {
        keyed.run("b", line, &stream).expect(line);
        let name = line.rsplit(' ').next().unwrap();
        assert_eq!(keyed.roots("b", name), format!("{name}={name} {name}/d={name}"));
        assert!(keyed.opens("b", 1, name, "one") && keyed.opens("b", 1, &format!("{name}/d"), "one"));
        assert!(!keyed.opens("b", 2, name, "one"));
        assert_eq!(keyed.lab.get("b", "keylocation", name), location);
    }
    keyed.run("b", "recv b/e/x -o keyformat=hex", &stream).expect_err("the stream is raw");
    keyed.lab.check("b");
}

#[test]
fn a_raw_increment_does_not_lock_what_inherits_its_key() {
    let keyed = Keyed::tree();
    keyed.run("b", "recv b/e/c", &keyed.send("-w a/e/c@1")).expect("a receive");
    // Here the keys are wrapped by those of b/e.
    keyed.does("b", &["--key-file KEY1 change-key -o keylocation=file://KEY2 b/e/c"]);
    keyed.does("b", &["--key-file KEY2 change-key -i b/e/c"]);
    assert_eq!(keyed.roots("b", "b/e/c"), "b/e/c=b/e");
    keyed.put("a", 1, "a/e/c", "two");
    keyed.does("a", &["snapshot a/e/c@2"]);
    let increment = keyed.send("-w -i @1 a/e/c@2");
    for line in ["recv b/e/c", "recv -F b/e/c", "recv -s b/e/c", "recv -n b/e/c"] {
        let said = keyed.run("b", line, &increment).expect_err(line);
        assert!(said.contains("[EACCES]") && said.contains("b/e/c inherits the key of b/e"), "{said}");
        assert!(keyed.opens("b", 2, "b/e/c", "one"));
    }
    // As its own root it takes over the key of the sender.
    keyed.does("b", &["--key-file KEY2 change-key -o keyformat=raw -o keylocation=file://KEY4 b/e/c"]);
    keyed.run("b", "recv b/e/c", &increment).expect("a receive");
    assert!(keyed.opens("b", 1, "b/e/c", "two") && !keyed.opens("b", 4, "b/e/c", "two"));
    keyed.lab.check("b");
}

#[test]
fn a_new_key_of_the_sender_arrives_with_a_package() {
    let keyed = Keyed::tree();
    keyed.run("b", "recv b/m", &keyed.send("-w -R a/e@1")).expect("a receive");
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m b/m/c/d=b/m");
    let keyed = keyed.with_other_key();
    let said = keyed.run("b", "recv b/m/c", &keyed.send("-w -i @1 a/e/c@2")).expect_err("a key of b/m");
    assert!(said.contains("receive b/m first"), "{said}");
    let package = keyed.send("-w -R -I @1 a/e@2");
    // Cut short, what has not come has its old key.
    let said = keyed.run("b", "recv b/m", &package[..package.len() * 3 / 4]).expect_err("it is cut");
    assert!(said.contains("has become an encryption root"), "{said}");
    assert!(keyed.opens("b", 3, "b/m", "two") && keyed.opens("b", 1, "b/m/c/d", "one"));
    let said = keyed.run("b", "recv b/m", &package).expect("the rest");
    assert!(!said.contains("encryption root"), "{said}");
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m b/m/c/d=b/m");
    assert_eq!(keyed.lab.get("b", "keylocation", "b/m"), format!("file://{} local", keyed.key(3).display()));
    for name in ["b/m", "b/m/c", "b/m/c/d"] {
        assert!(keyed.opens("b", 3, name, "two"), "{name}");
    }
    keyed.run("b", "load-key -n -a -L prompt", b"").expect_err("nobody is there to be asked");
    keyed.does("b", &["--key-file KEY3 load-key -n -r b/m"]);
    keyed.lab.check("b");
}

#[test]
fn a_new_key_of_the_sender_arrives_with_one_dataset_after_the_other() {
    let keyed = Keyed::tree();
    keyed.run("b", "recv b/m", &keyed.send("-w -R a/e@1")).expect("a receive");
    let keyed = keyed.with_other_key();
    let said = keyed.run("b", "recv b/m", &keyed.send("-w -i @1 a/e@2")).expect("a receive");
    assert!(said.contains("b/m/c has become an encryption root"), "{said}");
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m/c b/m/c/d=b/m/c");
    assert!(keyed.opens("b", 1, "b/m/c", "one") && keyed.opens("b", 1, "b/m/c/d", "one"));
    for name in ["c", "c/d"] {
        keyed
            .run("b", &format!("recv b/m/{name}"), &keyed.send(&format!("-w -i @1 a/e/{name}@2")))
            .expect(name);
        assert!(keyed.opens("b", 3, &format!("b/m/{name}"), "two"));
    }
    keyed.does("b", &["--key-file KEY3 change-key -i b/m/c", "--key-file KEY3 change-key -i b/m/c/d"]);
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m b/m/c/d=b/m");
    keyed.lab.check("b");
}

/// What is an encryption root at the sender by now is one here, and what is none any more inherits.
#[test]
fn encryption_roots_of_the_sender_arrive_with_a_package() {
    let keyed = Keyed::tree();
    keyed.run("b", "recv b/m", &keyed.send("-w -R a/e@1")).expect("a receive");
    let change = |line: &str, from: u8, to: u8| {
        keyed.does("a", &[line, &format!("snapshot -r a/e@{to}")]);
        keyed.run("b", "recv -F b/m", &keyed.send(&format!("-w -R -I @{from} a/e@{to}"))).expect(line)
    };
    change("--key-file KEY1 change-key -o keyformat=raw -o keylocation=file://KEY3 a/e/c", 1, 2);
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m/c b/m/c/d=b/m/c");
    assert!(keyed.opens("b", 3, "b/m/c", "one") && keyed.opens("b", 3, "b/m/c/d", "one"));
    assert!(keyed.opens("b", 1, "b/m", "one"));
    assert_eq!(
        keyed.lab.get("b", "keylocation", "b/m/c"),
        format!("file://{} local", keyed.key(3).display())
    );
    keyed.does("a", &["set keylocation=file:///gone a/e"]);
    change("--key-file KEY3 change-key -o keylocation=file://KEY1 a/e/c", 2, 3);
    change("--key-file KEY1 change-key -i a/e/c", 3, 4);
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m b/m/c/d=b/m");
    assert!(keyed.opens("b", 1, "b/m/c/d", "one"));
    // Here it has another key by now, so that what arrives with the sender's does not inherit it.
    keyed.does("b", &["--key-file KEY1 change-key -o keylocation=file://KEY2 b/m"]);
    keyed.does("b", &["--key-file KEY2 change-key -o keyformat=raw -o keylocation=file://KEY4 b/m/c"]);
    keyed.does("a", &["snapshot -r a/e/c@5"]);
    keyed.run("b", "recv -F b/m/c", &keyed.send("-w -R -I @4 a/e/c@5")).expect("a receive");
    assert_eq!(keyed.roots("b", "b/m"), "b/m=b/m b/m/c=b/m/c b/m/c/d=b/m/c");
    assert!(keyed.opens("b", 2, "b/m", "one") && keyed.opens("b", 1, "b/m/c/d", "one"));
    keyed.lab.check("b");
}

#[test]
fn a_clone_that_fails_leaves_the_keys_of_its_origin() {
    let keyed = Keyed::tree();
    keyed.run("b", "recv b/c", &keyed.send("-w a/e/c@1")).expect("a receive");
    keyed.does("a", &["clone a/e/c@1 a/e/x"]);
    keyed.put("a", 1, "a/e/x", "two");
    keyed.does("a", &["--key-file KEY1 change-key -o keylocation=file://KEY3 a/e", "snapshot a/e/x@2"]);
    let stream = keyed.send("-w -i a/e/c@1 a/e/x@2");
    keyed.run("b", "recv b/x", &stream[..stream.len() - 400]).expect_err("it is cut");
    assert!(keyed.opens("b", 1, "b/c", "one"));
    keyed.run("b", "recv b/x", &stream).expect("a receive");
    assert!(keyed.opens("b", 3, "b/x", "two") && keyed.opens("b", 3, "b/c", "one"));
    assert_eq!(keyed.roots("b", "b"), "b=- b/c=b/c b/e=b/e b/x=b/c");
    keyed.lab.check("b");
}

/// Pools of OpenZFS have datasets that the key of their encryption root does not open.
#[test]
fn what_was_locked_is_named_and_can_be_opened() {
    let keyed = Keyed::tree();
    keyed.run("b", "recv b/e/c", &keyed.send("-w a/e/c@1")).expect("a receive");
    {
        let options = WriteOptions::default();
        let mut pool = WritablePool::open(&[keyed.lab.image("b")], &options).expect("the pool");
        let head = pool.dsl().head("b/e/c").expect("a dataset").object();
        pool.tx().inherit_encryption_root(head).expect("an encryption root above");
        pool.export().expect("an export");
    }
    keyed.lab.check("b");
    let said = keyed.run("b", "--key-file KEY2 pool check", b"").expect_err("it is locked");
    assert!(said.contains("1 dataset cannot be opened"), "{said}");
    let said = keyed.run("b", "--key-file KEY2 load-key -n b/e", b"").expect_err("it is locked");
    assert!(said.contains("the key of b/e does not open b/e/c"), "{said}");
    let said = keyed.run("b", "--key-file KEY2 cat b/e/c one", b"").expect_err("it is locked");
    assert!(said.contains("does not open b/e/c"), "{said}");
    let said = keyed
        .run("b", "--key-file KEY2 change-key -o keylocation=file://KEY3 b/e", b"")
        .expect_err("it is locked");
    assert!(said.contains("cannot rewrap the keys of b/e/c"), "{said}");
    keyed.does("b", &["--key-file KEY2 ls b/e"]);
    keyed.does("b", &["--key-file KEY1 change-key -o keyformat=raw -o keylocation=file://KEY1 b/e/c"]);
    assert!(keyed.opens("b", 1, "b/e/c", "one"));
    keyed.does("b", &["--key-file KEY2 pool check", "--key-file KEY1 pool check", "load-key -n b/e/c"]);
}

/// The rules of `change-key`, with their messages.
#[test]
fn change_key_is_refused_where_zfs_refuses_it() {
    let keyed = Keyed::tree();
    keyed.does("a", &["create a/plain", "clone a/e/c@1 a/clone"]);
    for (line, why) in [
        ("--key-file KEY1 change-key -o keylocation=file://KEY2 a/plain", "a/plain is not encrypted"),
        ("--key-file KEY1 change-key -o keylocation=file://KEY2 a/clone", "has the keys of its origin"),
        ("--key-file KEY1 change-key -o keylocation=file://KEY2 a/e/c", "a key format is required"),
        ("--key-file KEY2 change-key -o keylocation=file://KEY2 a/e", "not the one"),
        ("--key-file KEY1 change-key a/e", "cannot prompt for the new key"),
        (
            "--key-file KEY1 change-key -o keyformat=hex -o keylocation=file://KEY2 a/e",
            "hex key has 32 digits, expected 64",
        ),
        (
            "--key-file KEY1 change-key -o pbkdf2iters=200000 -o keylocation=file://KEY2 a/e",
            "pbkdf2iters requires keyformat=passphrase",
        ),
        ("--key-file KEY1 change-key -i a/e", "a is not encrypted, and has no key to inherit"),
        ("--key-file KEY1 change-key -i a/e/c", "not an encryption root"),
        ("--key-file KEY1 change-key -i a", "a is not encrypted"),
    ] {
        let before = keyed.roots("a", "a");
        let said = keyed.run("a", line, b"").expect_err(line);
        assert!(said.contains(why), "{line}: {said}");
        assert_eq!(keyed.roots("a", "a"), before);
        assert!(keyed.opens("a", 1, "a/clone", "one"), "{line}");
    }
    keyed.does(
        "a",
        &["--key-file KEY1 change-key -o org.x:y=z -o keyformat=raw -o keylocation=file://KEY2 a/e/c"],
    );
    assert_eq!(keyed.lab.get("a", "org.x:y", "a/e/c"), "z local");
    assert_eq!(keyed.roots("a", "a"), "a=- a/clone=a/e/c a/e=a/e a/e/c=a/e/c a/e/c/d=a/e/c a/plain=-");
    assert!(keyed.opens("a", 2, "a/clone", "one") && keyed.opens("a", 2, "a/e/c/d", "one"));
    // Two keys are needed: one is given, the other is where its property says.
    keyed.does("a", &["set keylocation=file://KEY1 a/e"]);
    keyed.does("a", &["--key-file KEY2 change-key -l -i a/e/c", "load-key -n -a"]);
    assert!(keyed.opens("a", 1, "a/clone", "one") && keyed.opens("a", 1, "a/e/c/d", "one"));
    keyed.lab.check("a");
}
