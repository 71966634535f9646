//! `pool get`, `pool set` and `pool upgrade`: properties and features of pools that exist.

use std::path::Path;

use zstream_tests::golden::Outcome;
use zstream_tests::openzfs;
use zstream_tests::program::zstream;

struct Pool(tempfile::TempDir);

impl Pool {
    fn new(words: &[&str]) -> Self {
        let this = Self(tempfile::tempdir().expect("a directory"));
        let image = this.image();
        let words = [&["pool", "create", "--size", "128M"], words, &["p", &image]].concat();
        let outcome = zstream(&words, b"");
        assert_eq!(outcome.code, 0, "{}", text(&outcome.stderr));
        this
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn image(&self) -> String {
        self.dir().join("p.img").to_str().expect("UTF-8").to_owned()
    }

    fn run(&self, words: &[&str]) -> Outcome {
        zstream(&[&["-d", &self.image()], words].concat(), b"")
    }

    fn does(&self, words: &[&str]) -> String {
        let outcome = self.run(words);
        assert_eq!(outcome.code, 0, "{words:?}: {}", text(&outcome.stderr));
        text(&outcome.stdout)
    }

    fn get(&self, property: &str) -> String {
        self.does(&["pool", "get", "-Hp", "-o", "value,source", property, "p"]).trim_end().to_owned()
    }

    /// The features that are enabled or active.
    fn features(&self) -> Vec<String> {
        let all = self.does(&["pool", "get", "-H", "-o", "property,value", "all"]);
        let lines = all.lines().filter(|line| line.starts_with("feature@") && !line.ends_with("disabled"));
        lines.map(|line| line.split('\t').next().expect("a name").to_owned()).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_set_is_shown() {
    let pool = Pool::new(&["-o", "failmode=continue"]);
    for (property, before, set, after) in [
        ("comment", "-\tdefault", "comment=off site, shelf 3", "off site, shelf 3\tlocal"),
        ("comment", "off site, shelf 3\tlocal", "comment=x", "x\tlocal"),
        ("compatibility", "off\tdefault", "compatibility=openzfs-2.4", "openzfs-2.4\tlocal"),
        // As "off", but it was set.
        ("compatibility", "openzfs-2.4\tlocal", "compatibility=", "\tlocal"),
        ("failmode", "continue\tlocal", "failmode=wait", "wait\tdefault"),
        ("expand", "off\tdefault", "expand=on", "on\tlocal"),
        ("autotrim", "off\tdefault", "autotrim=on", "on\tlocal"),
        ("delegation", "on\tdefault", "delegation=off", "off\tlocal"),
        ("ashift", "0\tdefault", "ashift=13", "13\tlocal"),
        ("our:rack", "-\t-", "our:rack=b 7", "b 7\tlocal"),
        ("our:rack", "b 7\tlocal", "our:rack=", "-\t-"),
        ("bootfs", "-\tdefault", "bootfs=p", "p\tlocal"),
        ("bootfs", "p\tlocal", "bootfs=", "-\tdefault"),
        ("feature@head_errlog", "disabled\tlocal", "feature@head_errlog=enabled", "active\tlocal"),
        ("feature@raidz_expansion", "disabled\tlocal", "feature@raidz_expansion=enabled", "enabled\tlocal"),
        ("feature@encryption", "enabled\tlocal", "feature@encryption=enabled", "enabled\tlocal"),
    ] {
        assert_eq!(pool.get(property), before, "before {set}");
        assert_eq!(pool.does(&["pool", "set", set, "p"]), "");
        assert_eq!(pool.get(property), after, "after {set}");
    }
    let size: u64 = pool.does(&["pool", "get", "-Hp", "-o", "value", "size"]).trim().parse().unwrap();
    let parts = pool.does(&["pool", "get", "-Hp", "-o", "value", "free,allocated"]);
    assert_eq!(parts.lines().map(|line| line.parse::<u64>().unwrap()).sum::<u64>(), size);
    assert!(pool.does(&["pool", "check"]).contains("p"));
    let names = pool.does(&[
        "pool",
        "get",
        "-H",
        "-o",
        "property",
        "cap,frag,alloc,dedup,ckpoint,bclone_used,expand",
    ]);
    assert_eq!(names, "capacity\nfragmentation\nallocated\ndedupratio\ncheckpoint\nbcloneused\nautoexpand\n");
    let json = pool.does(&["pool", "get", "-j", "--json-int", "size,comment", "p"]);
    for part in [
        &format!("\"size\":{{\"value\":{size},\"source\":{{\"type\":\"NONE\",\"data\":\"-\"}}}}"),
        "\"comment\":{\"value\":\"x\",\"source\":{\"type\":\"LOCAL\",\"data\":\"-\"}}",
        "\"command\":\"zpool get\"",
        "\"spa_version\":5000",
    ] {
        assert!(json.contains(part), "{part} is not in {json}");
    }
}

#[test]
fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let pool = Pool::new(&[]);
    let before = std::fs::read(pool.image()).unwrap();
    for (set, part) in [
        ("feature@device_rebuild=enabled", "enabling feature device_rebuild"),
        ("feature@nothing=enabled", "feature nothing not found"),
        ("feature@encryption=disabled", "can only be set to disabled at creation time"),
        ("feature@vdev_zaps_v2=enabled", "enabling vdev_zaps_v2 in an existing pool"),
        ("size=1G", "read-only"),
        ("cachefile=/x", "belongs to an imported pool"),
        ("altroot=/mnt", "belongs to an imported pool"),
        ("readonly=on", "belongs to an imported pool"),
        ("multihost=on", "not supported"),
        ("comment=a\nb", "printable"),
        ("comment=123456789012345678901234567890123", "32 bytes"),
        ("compatibility=no-such-set", "no-such-set not found"),
        ("autotrim=maybe", "expected off, on"),
        ("ashift=8", "expected 0, or 9 to 16"),
        ("nothing=1", "does not exist"),
        ("bootfs=p/none", "p/none"),
    ] {
        let outcome = pool.run(&["pool", "set", set, "p"]);
        assert!(
            outcome.code == 1 && text(&outcome.stderr).contains(part),
            "{set}: {}",
            text(&outcome.stderr)
        );
        // One that could be set beside it is not set either.
        assert_eq!(pool.run(&["pool", "set", "autotrim=on", set, "p"]).code, 1, "{set}");
        assert!(std::fs::read(pool.image()).unwrap() == before, "{set}");
    }
    for words in [
        &["pool", "set", "p", "comment=x"][..],
        &["pool", "set", "comment=x", "p/fs"],
        &["pool", "get", "none"],
    ] {
        assert_eq!(pool.run(words).code, 2, "{words:?}");
    }
}

/// A pool without features gets those of a new one, and everything that needs them works then.
#[test]
fn an_upgraded_pool_has_what_a_new_one_has() {
    let (old, new) = (Pool::new(&["-d"]), Pool::new(&[]));
    assert_eq!(old.features(), [""; 0]);
    let listed = old.does(&["pool", "upgrade"]);
    assert_eq!(old.features(), [""; 0], "without a name nothing changes");
    let enabled = old.does(&["pool", "upgrade", "p"]);
    let names = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("  "))
            .map(|name| format!("feature@{name}"))
            .collect()
    };
    assert_eq!(names(&listed), names(&enabled));
    assert_eq!(old.features(), new.features());
    let again = old.does(&["pool", "upgrade", "p"]);
    assert_eq!(again, "Pool 'p' already has all supported and requested features enabled.\n");
    let file = old.dir().join("file");
    std::fs::write(&file, vec![7; 3 << 20]).unwrap();
    old.does(&["create", "-o", "compression=zstd", "-o", "recordsize=1M", "p/fs"]);
    old.does(&["put", file.to_str().unwrap(), "p/fs:/"]);
    old.does(&["snapshot", "p/fs@1"]);
    old.does(&["bookmark", "p/fs@1", "#1"]);
    old.does(&["pool", "check"]);
    assert_eq!(old.get("feature@zstd_compress"), "active\tlocal");
}

/// All pools of the place are upgraded, those in directories too.
#[test]
fn all_pools_are_upgraded() {
    let (old, new) = (Pool::new(&["-d"]), Pool::new(&[]));
    let second = old.dir().join("q.img");
    let second = second.to_str().expect("UTF-8");
    assert_eq!(zstream(&["pool", "create", "-d", "--size", "128M", "q", second], b"").code, 0);
    let place = old.dir().to_str().expect("UTF-8");
    let run = |words: &[&str]| {
        let outcome = zstream(&[&["-d", place, "-d", second], words].concat(), b"");
        assert_eq!(outcome.code, 0, "{words:?}: {}", text(&outcome.stderr));
        text(&outcome.stdout)
    };
    let listed = run(&["pool", "upgrade"]);
    for pool in ["p", "q"] {
        assert!(listed.contains(&format!("`pool upgrade {pool}` enables")), "{listed}");
    }
    let upgraded = run(&["pool", "upgrade", "-a"]);
    assert_eq!(upgraded.matches("Enabled the following features").count(), 2, "{upgraded}");
    assert_eq!(old.features(), new.features());
    let again = run(&["pool", "upgrade", "-a"]);
    assert_eq!(again.matches("already has all supported").count(), 2, "{again}");
    assert_eq!(zstream(&["-d", place, "pool", "upgrade", "-a", "p"], b"").code, 2);
}

#[test]
fn compatibility_limits_an_upgrade() {
    let pool = Pool::new(&["-o", "compatibility=zol-0.6.5"]);
    let before = pool.features();
    assert!(pool.does(&["pool", "upgrade", "p"]).contains("already has all"));
    pool.does(&["pool", "set", "compatibility=openzfs-2.0-linux", "p"]);
    let enabled = pool.does(&["pool", "upgrade", "p"]);
    assert!(enabled.contains("\n  encryption\n") && !enabled.contains("blake3"), "{enabled}");
    assert!(pool.features().len() > before.len() && pool.get("feature@blake3") == "disabled\tlocal");
}

/// OpenZFS reads what was set, and finds nothing wrong.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_upgraded_pools() {
    let pool = Pool::new(&["-d"]);
    pool.does(&["pool", "upgrade", "p"]);
    pool.does(&[
        "pool",
        "set",
        "comment=hello",
        "autotrim=on",
        "feature@head_errlog=enabled",
        "our:x=y",
        "p",
    ]);
    let dir = pool.dir().to_str().expect("UTF-8");
    let config = text(&openzfs::run("zdb", &["-e", "-p", dir, "-C", "p"], None).stdout);
    assert!(config.contains("comment: 'hello'") && config.contains("com.delphix:hole_birth"), "{config}");
    openzfs::assert_no_leaks(pool.dir(), "p");
}
