//! `zstream recv` of streams that are not raw into encrypted datasets, and of raw ones, as a user types it: what is encrypted
//! with whose key, what is refused without it, and that the files are the sender's.

use std::fs;
use std::path::Path;

use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::Demo;
use zstream_tests::samples::record_places;
use zstream_tests::sending::{Sending, resume, stream};

const NEW_ROOT: &str = "-o keyformat=passphrase -o pbkdf2iters=100000";

/// A pool with an encrypted filesystem, and a file with its key, which is that of all golden data.
struct Encrypted {
    demo: Demo,
    keys: tempfile::TempDir,
}

impl Encrypted {
    fn new() -> Self {
        let this = Self { demo: Demo::default(), keys: tempfile::tempdir().unwrap() };
        fs::write(this.keys.path().join("key"), "correct horse").unwrap();
        this.does(&format!("create -o encryption=aes-256-gcm {NEW_ROOT} demo/e"), b"");
        this
    }

    fn key(&self) -> String {
        Path::new(self.keys.path()).join("key").display().to_string()
    }

    fn run(&self, has_key: bool, line: &str, input: &[u8]) -> (i32, String, String) {
        let key = self.key();
        let before = if has_key { &["--key-file", &key][..] } else { &[] };
        self.demo.run(before, line, input)
    }

    fn does(&self, line: &str, input: &[u8]) {
        assert_eq!(self.run(true, line, input), (0, String::new(), String::new()), "{line}");
    }

    /// Receives a golden stream, with the key.
    fn receives(&self, line: &str, name: &str) {
        self.does(&format!("recv {line}"), &golden::stream(name));
    }

    /// A receive is refused with this errno, and the datasets are as they were.
    fn refuses(&self, has_key: bool, line: &str, name: &str, errno: &str) {
        let before = self.demo.datasets();
        let (code, out, message) = self.run(has_key, &format!("recv {line}"), &golden::stream(name));
        assert_eq!((code, out.as_str()), (1, ""), "{line}: {message}");
        assert!(message.contains(&format!("[{errno}]")), "{line}: {message}");
        assert_eq!(self.demo.datasets(), before, "{line}");
    }

    fn get(&self, property: &str, name: &str) -> String {
        self.run(true, &format!("get -Hp -o value {property} {name}"), b"").1.trim_end().to_owned()
    }

    /// The files of a snapshot are those of a manifest, with the key of its encryption root.
    fn compare(&self, root: &str, name: &str, files: &str) {
        let reading = self.demo.reading();
        let locked = reading.dsl.dataset(name).unwrap();
        assert!(!locked.is_unlocked().unwrap(), "{name} is encrypted");
        reading.unlock(root);
        let set = reading.dsl.dataset(name).unwrap().objset().unwrap();
        golden::manifest(files).assert_same(&manifest::of(&*set), name);
    }
}

/// A stream without its last part, and within a record.
fn cut(stream: &[u8]) -> &[u8] {
    let places = record_places(stream);
    &stream[..places[places.len() * 2 / 3] + 100]
}

#[test]
fn what_is_new_has_the_key_of_the_dataset_above() {
    let pool = Encrypted::new();
    pool.refuses(false, "demo/e/fs", "fs-full", "EACCES");
    pool.refuses(true, "demo/e/fs", "fs-full-e", "EINVAL");
    pool.receives("demo/e/fs", "fs-full");
    pool.refuses(false, "demo/e/fs", "fs-incr", "EACCES");
    pool.refuses(true, "demo/e/fs", "fs-incr-ec", "EINVAL");
    pool.refuses(true, "-o encryption=on demo/e/fs", "fs-incr", "EINVAL");
    pool.refuses(true, "-F demo/e/fs", "rs512", "EEXIST");
    pool.receives("demo/e/fs", "fs-incr");
    // A clone has the keys of its origin.
    pool.refuses(true, "-o origin=demo/e/fs@a -o encryption=on demo/e/clone", "clone-incr", "EINVAL");
    pool.receives("-o origin=demo/e/fs@a demo/e/clone", "clone-incr");
    pool.receives("demo/e/vol", "vol");
    pool.receives("demo/e/vol", "vol-incr");
    pool.receives("demo/e/zstd", "c-zstd-3-c");
    for name in ["demo/e/fs", "demo/e/clone", "demo/e/vol", "demo/e/zstd"] {
        assert_eq!(pool.get("encryptionroot", name), "demo/e");
        assert_eq!(pool.get("encryption", name), "aes-256-gcm");
    }
    pool.compare("demo/e", "demo/e/fs@a", "tank_fs_a");
    pool.compare("demo/e", "demo/e/fs@b", "tank_fs_b");
    pool.compare("demo/e", "demo/e/clone@x", "tank_clone_x");
    pool.compare("demo/e", "demo/e/zstd@s", "tank_c-zstd-3_s");
    pool.demo.check("received into an encrypted filesystem");
}

#[test]
fn what_is_new_can_have_a_key_of_its_own_or_none() {
    let pool = Encrypted::new();
    pool.refuses(true, "-o encryption=on demo/x", "fs-full", "EINVAL");
    let (code, _, message) =
        pool.run(true, &format!("recv -o encryption=off {NEW_ROOT} demo/x"), &golden::stream("fs-full"));
    assert!(code == 1 && message.contains("encryption is off"), "{message}");
    pool.receives(&format!("-o encryption=aes-128-ccm {NEW_ROOT} demo/root"), "fs-full");
    assert_eq!(pool.get("encryptionroot", "demo/root"), "demo/root");
    assert_eq!(pool.get("encryption", "demo/root"), "aes-128-ccm");
    assert_eq!(pool.get("keylocation", "demo/root"), "prompt");
    pool.receives("demo/root", "fs-incr-ac");
    pool.compare("demo/root", "demo/root@c", "tank_fs_c");

    pool.receives(&format!("{NEW_ROOT} demo/e/own"), "rs512");
    assert_eq!(pool.get("encryptionroot", "demo/e/own"), "demo/e/own");
    assert_eq!(pool.get("encryption", "demo/e/own"), "aes-256-gcm");
    pool.compare("demo/e/own", "demo/e/own@s", "tank_rs512_s");
    pool.receives("-o encryption=aes-192-gcm demo/e/other", "rs512");
    assert_eq!(pool.get("encryptionroot", "demo/e/other"), "demo/e");
    assert_eq!(pool.get("encryption", "demo/e/other"), "aes-192-gcm");
    pool.compare("demo/e", "demo/e/other@s", "tank_rs512_s");
    pool.receives("-o encryption=off demo/e/plain", "rs512");
    assert_eq!(pool.get("encryption", "demo/e/plain"), "off");
    pool.demo.check("with keys of their own");
}

/// A plain package with properties is of datasets that are not encrypted, and they are not here either, unless that is left out.
#[test]
fn packages_with_properties_are_encrypted_only_where_asked() {
    let pool = Encrypted::new();
    pool.receives("demo/e/same", "tree-R");
    assert_eq!(pool.get("encryption", "demo/e/same"), "off");
    pool.receives("-x encryption demo/e/tree", "tree-R");
    pool.receives("-x encryption -F demo/e/tree", "tree-R-incr");
    let (_, list, _) = pool.run(true, "list -r -H -o name,encryptionroot demo/e/tree", b"");
    assert!(list.lines().count() == 2, "{list}");
    assert!(list.lines().all(|line| line.ends_with("\tdemo/e")), "{list}");
    pool.compare("demo/e", "demo/e/tree/child@2", "tank_tree_child_2");
    pool.refuses(true, "-x encryption demo/raw", "e-aes-256-gcm-raw", "EINVAL");
    pool.demo.check("packages");
}

/// A full stream replaces a filesystem that is not encrypted, also below one that is.
#[test]
fn replacing_asks_for_keys_as_making_does() {
    let pool = Encrypted::new();
    pool.does("create -o encryption=off demo/e/plain", b"");
    pool.does("create demo/e/locked", b"");
    pool.refuses(false, "-F demo/e/plain", "rs512", "EACCES");
    pool.refuses(true, "-F demo/e/locked", "rs512", "EINVAL");
    pool.refuses(true, "-F -o encryption=on demo/e/plain", "rs512", "EINVAL");
    pool.refuses(true, "-F demo/e/plain", "e-aes-256-gcm-raw", "EINVAL");
    pool.receives("-F demo/e/plain", "rs512");
    assert_eq!(pool.get("encryption", "demo/e/plain"), "off");
    pool.demo.check("replaced");
}

#[test]
fn an_interrupted_receive_into_an_encrypted_dataset_goes_on_with_the_key() {
    let tank = Sending::open(&golden::pool("tank"));
    let pool = Encrypted::new();
    pool.receives("demo/e/old", "fs-full");
    for (words, name, dataset, files) in [
        ("tank/fs@a", "fs-full", "demo/e/new", "tank_fs_a"),
        ("-i @a tank/fs@b", "fs-incr", "demo/e/old", "tank_fs_b"),
    ] {
        let whole = golden::stream(name);
        let (code, _, message) = pool.run(true, &format!("recv -s {dataset}@got"), cut(&whole));
        assert!(code == 1 && message.contains("kept"), "{message}");
        let token = {
            let reading = pool.demo.reading();
            reading.dsl.dataset(dataset).unwrap().resume_token().unwrap().expect("a token")
        };
        let mut plan = tank.plan(words);
        resume(&mut plan, &token);
        let rest = stream(&plan).0;
        let (code, _, message) = pool.run(false, &format!("recv -s {dataset}@got"), &rest);
        assert!(code == 1 && message.contains("[EACCES]"), "{message}");
        pool.does(&format!("recv -s {dataset}@got"), &rest);
        pool.compare("demo/e", &format!("{dataset}@got"), files);
    }
    pool.demo.check("resumed");
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_encrypted_receives_clean() {
    let pool = Encrypted::new();
    pool.receives("demo/e/fs", "fs-full");
    pool.receives("demo/e/fs", "fs-incr");
    pool.receives("-x encryption demo/e/tree", "tree-R");
    pool.receives("demo/e/raw", "e-aes-256-gcm-raw");
    pool.demo.zdb("received into an encrypted filesystem");
}
