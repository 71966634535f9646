//! The verbs that change datasets, as a user types them: what they do, what they refuse, and what they say.

use std::path::Path;

use zstream_tests::program::zstream;

/// A pool in a file of a directory.
struct Demo {
    dir: tempfile::TempDir,
}

impl Demo {
    fn new() -> Self {
        let demo = Self { dir: tempfile::tempdir().expect("a directory") };
        let path = demo.path();
        let outcome = zstream(&["pool", "create", "--size", "64M", "demo", &path], b"");
        assert_eq!((outcome.code, text(&outcome.stderr)), (0, String::new()));
        demo
    }

    fn path(&self) -> String {
        Path::new(self.dir.path()).join("demo.img").display().to_string()
    }

    /// Runs a command line without quotes: exit code, output, messages.
    fn run(&self, line: &str) -> (i32, String, String) {
        let path = self.path();
        let words: Vec<&str> = ["-d", &path].into_iter().chain(line.split_whitespace()).collect();
        let outcome = zstream(&words, b"");
        (outcome.code, text(&outcome.stdout), text(&outcome.stderr))
    }

    /// Runs command lines that succeed without a word.
    fn does(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.run(line), (0, String::new(), String::new()), "{line}");
        }
    }

    /// Runs a command line that is refused: the message, without the name of the program.
    fn refuses(&self, line: &str) -> String {
        let (code, out, message) = self.run(line);
        assert_eq!((code, out), (1, String::new()), "{line}: {message}");
        message.trim_end().strip_prefix("zstream: ").expect("its name").to_owned()
    }

    fn names(&self) -> Vec<String> {
        let (code, out, message) = self.run("list -H -t all -o name");
        assert_eq!(code, 0, "{message}");
        out.lines().map(str::to_owned).collect()
    }

    fn get(&self, property: &str, name: &str) -> String {
        self.run(&format!("get -Hp -o value,source {property} {name}")).1.trim_end().replace('\t', " ")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn datasets_are_made_renamed_and_destroyed() {
    let demo = Demo::new();
    demo.does(&[
        "create demo/a",
        "create -p -o compression=gzip-9 demo/x/y/z",
        "create -p demo/x/y/z",
        "create -s -V 3M -b 8K demo/vol",
        "snapshot -r -o org.example:why=test demo/x@one",
        "clone demo/x/y@one demo/a/clone",
        "rename -p demo/a/clone demo/new/parent/clone",
        "rename -r demo/x@one @first",
    ]);
    assert_eq!(demo.get("compression", "demo/x/y/z"), "gzip-9 local");
    assert_eq!(demo.get("org.example:why", "demo/x/y@first"), "test local");
    assert_eq!(demo.get("volsize", "demo/vol"), "3145728 local");
    assert_eq!(demo.get("origin", "demo/new/parent/clone"), "demo/x/y@first -");
    assert_eq!(demo.refuses("create demo/a"), "dataset demo/a already exists");
    assert!(demo.refuses("create demo/b/c").contains("the parent of demo/b/c does not exist"));
    assert!(demo.refuses("create demo/vol/c").contains("is not a filesystem"));
    assert!(demo.refuses("rename demo/x demo/x/y/below").contains("is below"));
    let message = demo.refuses("destroy demo/x");
    assert!(message.contains("use -R") && message.ends_with("demo/new/parent/clone"), "{message}");
    let (code, out, _) = demo.run("destroy -nvpR demo/x");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines[0], lines[lines.len() - 2]), (0, "destroy\tdemo/x/y/z@first", "destroy\tdemo/x"));
    assert!(
        lines.contains(&"destroy\tdemo/new/parent/clone") && lines[lines.len() - 1].starts_with("reclaim\t")
    );
    assert_eq!(demo.names().len(), 12, "a dry run changes nothing");
    demo.does(&["destroy -R demo/x", "destroy -r demo/new"]);
    assert_eq!(demo.names(), ["demo", "demo/a", "demo/vol"]);
}

#[test]
fn snapshots_are_kept_and_gone_back_to() {
    let demo = Demo::new();
    demo.does(&["create demo/a", "snapshot demo/a@1 ", "snapshot demo/a@2", "snapshot demo/a@3"]);
    demo.does(&["hold -r keep demo/a@2", "bookmark demo/a@2 #two", "bookmark demo/a#two demo/a#copy"]);
    let (_, out, _) = demo.run("holds -H -p demo/a@2");
    assert!(out.starts_with("demo/a@2\tkeep\t"), "{out}");
    assert!(demo.refuses("destroy demo/a@1%3").contains("snapshot demo/a@2 has holds"));
    let message = demo.refuses("rollback demo/a@1");
    assert!(message.contains("use -r") && message.contains("demo/a@3, demo/a@2"), "{message}");
    demo.does(&["rollback demo/a@3", "release keep demo/a@2", "rollback -r demo/a@2"]);
    assert_eq!(demo.names(), ["demo", "demo/a", "demo/a@1", "demo/a@2", "demo/a#copy", "demo/a#two"]);
    demo.does(&["rollback -r demo/a@1", "destroy demo/a@%"]);
    assert_eq!(demo.names(), ["demo", "demo/a"]);
    assert!(demo.refuses("snapshot demo/a@x demo/a@y").contains("second snapshot of the same dataset"));
    assert!(demo.refuses("destroy demo/a@none").contains("not found"));
    assert_eq!(demo.run("destroy demo").0, 1);
}

#[test]
fn clones_are_promoted_and_redacted() {
    let demo = Demo::new();
    demo.does(&[
        "create demo/a",
        "snapshot demo/a@s",
        "clone -o atime=off demo/a@s demo/c",
        "snapshot demo/c@t",
    ]);
    demo.does(&["redact demo/a@s public demo/c@t", "promote demo/c"]);
    assert_eq!(demo.get("origin", "demo/a"), "demo/c@s -");
    assert_eq!(demo.names(), ["demo", "demo/a", "demo/c", "demo/c@s", "demo/c@t", "demo/c#public"]);
    assert!(demo.refuses("promote demo/c").contains("is not a clone"));
}

#[test]
fn properties_are_set_and_inherited() {
    let demo = Demo::new();
    demo.does(&[
        "create demo/a",
        "create demo/a/b",
        "set compression=lz4 atime=off demo/a",
        "set quota=10M demo/a/b",
    ]);
    assert_eq!(demo.get("compression", "demo/a/b"), "lz4 inherited from demo/a");
    assert_eq!(demo.get("quota", "demo/a/b"), "10485760 local");
    demo.does(&["set compression=zstd-19 demo/a/b", "inherit -r compression demo/a"]);
    assert_eq!(demo.get("compression", "demo/a/b"), "on default");
    assert!(demo.refuses("set quota=1K demo/a").contains("less than current used"));
    assert!(
        demo.refuses("set casesensitivity=mixed demo/a").contains("only be set when a dataset is created")
    );
    assert!(demo.refuses("set volsize=1M demo/a").contains("does not apply"));
    demo.does(&["set dedup=blake3,verify demo/a", "inherit dedup demo/a"]);
    for line in ["set compression=best demo/a", "set nothing=1 demo/a", "set atime=on"] {
        assert_eq!(demo.run(line).0, 2, "{line}");
    }
}

#[test]
fn encrypted_datasets_take_the_key_of_the_one_above() {
    let demo = Demo::new();
    let key = demo.dir.path().join("key");
    std::fs::write(&key, "correct horse").expect("a file");
    let with_key = |line: &str| demo.run(&format!("--key-file {} {line}", key.display()));
    let plain = demo.refuses("create -o keyformat=passphrase demo/e");
    assert!(plain.contains("encryption is off"), "{plain}");
    let made =
        with_key("create -o encryption=aes-128-ccm -o keyformat=passphrase -o pbkdf2iters=100000 demo/e");
    assert_eq!(made, (0, String::new(), String::new()));
    assert_eq!(with_key("create demo/e/below").0, 0);
    std::fs::write(&key, "wrong horse").expect("a file");
    let (code, _, message) = with_key("create demo/e/other");
    assert!(code == 1 && message.contains("not the one the dataset was encrypted with"), "{message}");
    demo.does(&[
        "create -o encryption=off demo/e/plain",
        "snapshot -r demo/e@s",
        "clone demo/e@s demo/clone",
    ]);
    assert_eq!(demo.get("encryptionroot", "demo/e/below"), "demo/e -");
    assert_eq!(demo.get("encryptionroot", "demo/clone"), "demo/e -");
    assert_eq!(demo.get("encryption", "demo/e/plain"), "off default");
    assert_eq!(demo.get("encryption", "demo/e/below"), "aes-128-ccm -");
    assert!(demo.refuses("rename demo/e/below demo/below").contains("encryption root"));
}

/// An encryption root may lie below a clone of its own snapshot: what visits all that has its key comes to an end.
#[test]
fn an_encryption_root_lies_below_its_clone() {
    let demo = Demo::new();
    let key = demo.dir.path().join("key");
    std::fs::write(&key, "correct horse").expect("a file");
    let with_key = |line: &str| {
        let outcome = demo.run(&format!("--key-file {} {line}", key.display()));
        assert_eq!(outcome.0, 0, "{line}: {}", outcome.2);
    };
    with_key("create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 demo/e");
    with_key("create demo/e/below");
    demo.does(&["snapshot demo/e@s", "clone demo/e@s demo/clone", "rename demo/e demo/clone/e"]);
    let new = demo.dir.path().join("new");
    std::fs::write(&new, "battery staple").expect("a file");
    with_key(&format!("change-key -o keylocation=file://{} demo/clone/e", new.display()));
    demo.does(&["promote demo/clone"]);
    for name in ["demo/clone", "demo/clone/e", "demo/clone/e/below"] {
        assert_eq!(demo.get("encryptionroot", name), "demo/clone -", "{name}");
    }
    std::fs::copy(&new, &key).expect("a file");
    with_key("load-key -n demo/clone");
}

/// The first limit of a pool makes it count, from the dataset with the limit downwards.
#[test]
fn limits_begin_to_count() {
    let demo = Demo::new();
    demo.does(&["create -p demo/a/b/c", "create demo/d", "snapshot -r demo/a@s"]);
    assert_eq!(demo.get("filesystem_count", "demo/a"), "none default");
    demo.does(&[
        "set filesystem_limit=9 demo/a",
        "create demo/a/e",
        "snapshot demo/a/e@t",
        "destroy demo/a/b/c@s",
    ]);
    for (name, counts) in
        [("demo/a", ["3 -", "3 -"]), ("demo/a/b", ["1 -", "1 -"]), ("demo/a/e", ["0 -", "1 -"])]
    {
        let found = ["filesystem_count", "snapshot_count"].map(|what| demo.get(what, name));
        assert_eq!(found, counts, "{name}");
    }
    assert_eq!(demo.get("filesystem_count", "demo/d"), "none default");
    demo.does(&["set snapshot_limit=none demo/d"]);
    assert_eq!(demo.get("snapshot_count", "demo/d"), "none default");
}

#[test]
fn no_more_is_reserved_than_there_is() {
    let demo = Demo::new();
    demo.does(&["create demo/a", "set quota=8M demo/a", "create demo/a/b", "set reservation=4M demo/a/b"]);
    for line in ["set reservation=1G demo", "set refreservation=9M demo/a", "set reservation=9M demo/a/b"] {
        assert!(demo.refuses(line).contains("are available"), "{line}");
    }
    assert!(demo.refuses("create -V 1G demo/vol").contains("are available"));
    demo.does(&["set reservation=5M demo/a/b", "set refreservation=1M demo/a"]);
}

#[test]
fn keys_come_from_elsewhere() {
    let demo = Demo::new();
    assert!(demo.refuses("set keylocation=prompt demo").contains("only be set on encrypted datasets"));
    demo.does(&["set keylocation=none demo"]);
}

/// Values and words of OpenZFS 2.4: `special_small_blocks` of any size and on volumes, `sa` for extended attributes, flags that are given twice.
#[test]
fn values_of_2_4() {
    let lab = zstream_tests::lab::Lab::new(&["a"]);
    lab.does("a", &["create -p -p a/x/y", "create -V 8M -s a/vol"]);
    for (value, shown) in
        [("3K", "3072"), ("129K", "132096"), ("3000000", "3000000"), ("16M", "16777216"), ("0", "0")]
    {
        for name in ["a/x", "a/vol"] {
            lab.does("a", &[&format!("set special_small_blocks={value} {name}")]);
            let source = "local";
            assert_eq!(lab.get("a", "special_small_blocks", name), format!("{shown} {source}"), "{value}");
        }
    }
    for value in ["17M", "on"] {
        let outcome = lab.run("a", &format!("set special_small_blocks={value} a/x"), b"");
        assert!(outcome.code != 0, "{value}");
    }
    assert_eq!(lab.get("a", "xattr", "a/x"), "sa default");
    for (value, shown) in [("on", "sa local"), ("sa", "sa local"), ("dir", "dir local"), ("off", "off local")]
    {
        lab.does("a", &[&format!("set xattr={value} a/x")]);
        assert_eq!(lab.get("a", "xattr", "a/x"), shown);
    }
    assert_eq!(lab.get("a", "defaultuserquota", "a/x"), "0 -");
    assert_eq!(lab.get("a", "defaultprojectobjquota", "a/vol"), "- -");
    let json = String::from_utf8(lab.run("a", "get -j --json-int used,guid,type a/x", b"").stdout).unwrap();
    assert!(
        json.contains("\"type\":{\"value\":\"filesystem\"") && !json.contains("\"guid\":{\"value\":\""),
        "{json}"
    );
    assert!(lab.run("a", "get --json-int used a/x", b"").code == 2);
}
