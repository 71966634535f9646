//! `recv -F`: what is rolled back, replaced and destroyed, and that all of it is still there when the receive fails. Receives
//! that do not fit.

use std::fs;

use zstream_dsl::write::Setting;
use zstream_tests::golden;
use zstream_tests::manifest;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::samples::record_places;

struct Pool {
    demo: Demo,
    files: tempfile::TempDir,
}

impl Pool {
    fn new(member_bytes: u64) -> Self {
        Self { demo: Demo::new("a", 12, member_bytes), files: tempfile::tempdir().unwrap() }
    }

    fn does(&self, line: &str, input: &[u8]) {
        let (code, out, message) = self.demo.run(&[], line, input);
        assert_eq!((code, out.as_str(), message.as_str()), (0, "", ""), "{line}");
    }

    fn receives(&self, line: &str, name: &str) {
        self.does(&format!("recv {line}"), &golden::stream(name));
    }

    /// A receive fails with this errno, and the datasets are as they were.
    fn fails(&self, line: &str, stream: &[u8], errno: &str) {
        let before = self.demo.datasets();
        let (code, out, message) = self.demo.run(&[], &format!("recv {line}"), stream);
        assert_eq!((code, out.as_str()), (1, ""), "{line}: {message}");
        assert!(message.contains(&format!("[{errno}]")), "{line}: {message}");
        assert_eq!(self.demo.datasets(), before, "{line}");
    }

    /// Puts a file of so many bytes that do not compress.
    fn put(&self, dataset: &str, name: &str, bytes: usize) {
        let path = self.files.path().join(name);
        let mut state = bytes as u64 | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        fs::write(&path, (0..bytes / 8).flat_map(|_| next()).collect::<Vec<u8>>()).unwrap();
        self.does(&format!("put {} {dataset}:/", path.display()), b"");
    }

    fn compare(&self, name: &str, files: &str) {
        let reading = self.demo.reading();
        let set = reading.dsl.dataset(name).unwrap().objset().unwrap();
        golden::manifest(files).assert_same(&manifest::of(&*set), name);
    }
}

/// A stream that ends within one of its last records.
fn cut(stream: &[u8]) -> &[u8] {
    let places = record_places(stream);
    &stream[..places[places.len() * 4 / 5] + 100]
}

#[test]
fn a_full_stream_replaces_a_filesystem_that_has_no_snapshots() {
    let pool = Pool::new(128 << 20);
    let full = golden::stream("fs-full");
    pool.does("create demo/fs", b"");
    pool.put("demo/fs", "old", 3 << 20);
    pool.does("set test:mine=kept demo/fs", b"");
    pool.fails("demo/fs", &full, "EEXIST");
    pool.fails("-F demo/fs", cut(&full), "ZFS_ERR_STREAM_TRUNCATED");
    pool.fails("-F demo/fs", &golden::stream("clone-incr"), "EINVAL");
    let used = |pool: &Pool| -> u64 {
        pool.demo.run(&[], "get -Hp -o value used demo/fs", b"").1.trim_end().parse().unwrap()
    };
    let before = used(&pool);
    pool.receives("-F demo/fs", "fs-full");
    pool.compare("demo/fs@a", "tank_fs_a");
    assert!(used(&pool) < before, "the old content is gone");
    assert_eq!(pool.demo.run(&[], "get -H -o value test:mine demo/fs", b"").1, "kept\n");
    pool.demo.check("replaced");
    // It has a snapshot now.
    pool.fails("-F demo/fs", &golden::stream("rs512"), "EEXIST");
    pool.does("clone demo/fs@a demo/clone", b"");
    pool.fails("-F demo/clone", &golden::stream("rs512"), "EEXIST");
    // A volume in its place, and the root filesystem.
    pool.does("create demo/other", b"");
    pool.does("create demo/other/child", b"");
    pool.fails("-F demo/other", &golden::stream("vol"), "ZFS_ERR_WRONG_PARENT");
    pool.receives("-F demo/other/child", "vol");
    assert_eq!(pool.demo.run(&[], "get -H -o value type demo/other/child", b"").1, "volume\n");
    pool.demo.check("replaced by a volume");
    let root = Pool::new(64 << 20);
    root.fails("-F demo", &golden::stream("vol"), "EINVAL");
    root.receives("-F demo", "rs512");
    root.compare("demo@s", "tank_rs512_s");
    root.demo.check("the root filesystem replaced");
}

/// The state that a full receive over a filesystem leaves lies beside it, and only force goes on with it.
#[test]
fn replacing_can_be_resumed() {
    let pool = Pool::new(128 << 20);
    let full = golden::stream("fs-full");
    pool.does("create demo/fs", b"");
    pool.put("demo/fs", "old", 1 << 20);
    pool.fails("-s -F demo/fs", cut(&full), "ZFS_ERR_STREAM_TRUNCATED");
    let (_, token, _) = pool.demo.run(&[], "get -H -o value receive_resume_token demo/fs", b"");
    let tank = golden::pool("tank")[0].display().to_string();
    let rest = zstream_tests::program::zstream(&["-d", &tank, "send", "-t", token.trim_end()], b"");
    assert_eq!(rest.code, 0, "{}", String::from_utf8_lossy(&rest.stderr));
    pool.fails("-s demo/fs@a", &rest.stdout, "ZFS_ERR_RESUME_EXISTS");
    pool.does("recv -s -F demo/fs@a", &rest.stdout);
    pool.compare("demo/fs@a", "tank_fs_a");
    pool.demo.check("replaced in two parts");
}

#[test]
fn an_increment_rolls_back_what_is_in_its_way() {
    let pool = Pool::new(128 << 20);
    let incr = golden::stream("fs-incr");
    pool.receives("demo/fs", "fs-full");
    pool.put("demo/fs", "new", 1 << 20);
    pool.fails("demo/fs", &incr, "ETXTBSY");
    pool.does("snapshot demo/fs@later", b"");
    pool.put("demo/fs", "newer", 1 << 20);
    pool.does("snapshot demo/fs@last", b"");
    pool.fails("demo/fs", &incr, "ETXTBSY");
    pool.fails("-F demo/fs", cut(&incr), "ZFS_ERR_STREAM_TRUNCATED");
    // What is held or cloned cannot be destroyed.
    pool.does("hold keep demo/fs@last", b"");
    pool.fails("-F demo/fs", &incr, "EBUSY");
    pool.does("release keep demo/fs@last", b"");
    pool.does("clone demo/fs@later demo/clone", b"");
    pool.fails("-F demo/fs", &incr, "EEXIST");
    pool.does("destroy demo/clone", b"");
    pool.demo.check("before it is rolled back");
    pool.receives("-F demo/fs", "fs-incr");
    let names: Vec<String> = pool.demo.datasets().into_keys().collect();
    assert_eq!(names, ["demo", "demo/fs", "demo/fs@a", "demo/fs@b"]);
    pool.compare("demo/fs@a", "tank_fs_a");
    pool.compare("demo/fs@b", "tank_fs_b");
    pool.demo.check("rolled back");
}

/// A raw increment starts from the newest snapshot, or by force.
#[test]
fn raw_increments_roll_back_too() {
    let pool = Pool::new(128 << 20);
    let incr = golden::stream("e-aes-256-gcm-raw-incr");
    pool.receives("demo/e", "e-aes-256-gcm-raw");
    pool.does("snapshot demo/e@newer", b"");
    pool.fails("demo/e", &incr, "ETXTBSY");
    pool.receives("-F demo/e", "e-aes-256-gcm-raw-incr");
    let names: Vec<String> = pool.demo.datasets().into_keys().collect();
    assert_eq!(names, ["demo", "demo/e", "demo/e@s", "demo/e@t"]);
    let reading = pool.demo.reading();
    reading.unlock("demo/e");
    let set = reading.dsl.dataset("demo/e@t").unwrap().objset().unwrap();
    golden::manifest("tank_e-aes-256-gcm_t").assert_same(&manifest::of(&*set), "raw");
    pool.demo.check("raw");
}

/// A tree is made what it is at the sender.
#[test]
fn packages_destroy_what_the_sender_has_not() {
    let pool = Pool::new(128 << 20);
    pool.receives("demo/tree", "tree-R");
    let sent = pool.demo.datasets();
    pool.does("snapshot demo/tree@extra", b"");
    pool.does("create demo/tree/extra", b"");
    pool.receives("-F demo/tree", "tree-R-incr");
    let after = pool.demo.datasets();
    assert!(!after.contains_key("demo/tree@extra"), "{after:?}");
    assert!(sent.keys().any(|name| after.contains_key(name)));
    pool.compare("demo/tree@2", "tank_tree_2");
    pool.compare("demo/tree/child@2", "tank_tree_child_2");
    pool.demo.check("a tree");
}

/// A receive for which there is no room leaves the target as it was, or what came to be resumed.
#[test]
fn what_does_not_fit_leaves_nothing() {
    let source = Pool::new(256 << 20);
    source.does("create demo/big", b"");
    source.put("demo/big", "small", 1 << 20);
    source.does("snapshot demo/big@1", b"");
    source.put("demo/big", "file", 60 << 20);
    source.does("snapshot demo/big@2", b"");
    let send = |line: &str| {
        let outcome = zstream_tests::program::zstream(
            &["-d", &source.demo.members()[0].display().to_string(), "send"]
                .into_iter()
                .chain(line.split_whitespace())
                .collect::<Vec<_>>(),
            b"",
        );
        assert_eq!(outcome.code, 0);
        outcome.stdout
    };
    let (small, incr, full) = (send("demo/big@1"), send("-i @1 demo/big@2"), send("demo/big@2"));

    let pool = Pool::new(96 << 20);
    pool.does("recv demo/fs", &small);
    pool.does("create demo/old", b"");
    pool.put("demo/old", "old", 2 << 20);
    for _ in 0..3 {
        pool.fails("demo/fs", &incr, "ENOSPC");
        pool.fails("demo/new", &full, "ENOSPC");
        pool.fails("-F demo/old", &full, "ENOSPC");
    }
    pool.demo.check("without room");
    // With -s what came stays, and can be thrown away.
    let (code, _, message) = pool.demo.run(&[], "recv -s demo/fs", &incr);
    assert!(code == 1 && message.contains("[ENOSPC]; the received data is kept"), "{message}");
    let (_, token, _) = pool.demo.run(&[], "get -H -o value receive_resume_token demo/fs", b"");
    assert!(token.starts_with("1-"), "{token}");
    pool.demo.check("to be resumed");
    pool.does("recv -A demo/fs", b"");
    pool.demo.check("thrown away");
    pool.receives("demo/small", "rs512");

    // A quota is a bound too, wherever it is set.
    let pool = Pool::new(256 << 20);
    pool.does("create demo/q", b"");
    pool.does("recv demo/q/fs", &small);
    pool.demo.change(|pool| {
        let mut tx = pool.tx();
        let head = tx.dsl().head("demo/q").unwrap().object();
        let value = zstream_dmu::zap::Value::word(20 << 20);
        tx.set_property(head, "quota", &Setting::Local(value)).unwrap();
    });
    pool.fails("demo/q/fs", &incr, "EDQUOT");
    pool.fails("demo/q/new", &full, "EDQUOT");
    pool.does("recv demo/free", &full);
    pool.demo.check("within quotas");
    assert_eq!(pool.demo.receive(&small, &target("demo/q/more@1"), &[]).unwrap().corrected, 0);
}
