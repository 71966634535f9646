//! Datasets that are changed here, in files: OpenZFS finds nothing wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::pool::{OpenOptions, Pool, WriteOptions};
use zstream_dmu::zap::Value;
use zstream_dsl::Dsl;
use zstream_dsl::error::{Error, Fault, Result};
use zstream_dsl::redact::RedactionList;
use zstream_dsl::write::{Reach, Setting, WritablePool};
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_tests::created::{host, new_pool_in};
use zstream_tests::golden;
use zstream_tests::rng::Rng;
use zstream_tests::writing::unreached;
use zstream_zpl::settings::unlinked;

/// A pool with a history.
struct History {
    dir: tempfile::TempDir,
    pool: Option<WritablePool>,
    rng: Rng,
    done: BTreeMap<&'static str, usize>,
}

impl History {
    fn new(words: &str, ashift: u8, seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut pool, first) =
            WritablePool::create(new_pool_in(dir.path(), "demo", words, ashift), Some(seed)).expect("a pool");
        let set = pool.create_set(first.root, ObjsetType::ZFS);
        pool.sync(first.root, &mut set.expect("a set")).expect("a synced set");
        pool.commit().expect("a commit");
        Self { dir, pool: Some(pool), rng: Rng(seed * 7919 + 1), done: BTreeMap::new() }
    }

    fn pool(&mut self) -> &mut WritablePool {
        self.pool.as_mut().expect("an open pool")
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).expect("the directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Full names of heads, snapshots and bookmarks.
    fn names(&mut self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let dsl = self.pool().dsl();
        let (mut heads, mut snapshots, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        dsl.walk(&mut |dir| {
            let head = dir.head()?;
            heads.push(head.name().to_owned());
            snapshots.extend(head.snapshots()?.iter().map(|snapshot| snapshot.name().to_owned()));
            marks.extend(head.bookmarks()?.into_iter().map(|mark| mark.name));
            Ok(())
        })
        .expect("names");
        (heads, snapshots, marks)
    }

    fn change_content(&mut self, name: &str) {
        let head = self.pool().dsl().head(name).expect("a head").object();
        let mut set = self.pool().open_head(head).expect("a set");
        let mut objects = Vec::new();
        let mut from = ObjectId(1);
        while let Some(object) = set.next_object(from).expect("objects") {
            objects.push(object);
            from = ObjectId(object.0 + 1);
        }
        for _ in 0..1 + self.rng.below(6) {
            self.change_object(&mut set, &mut objects).expect("room");
        }
        self.pool().sync(head, &mut set).expect("a synced set");
    }

    fn change_object(&mut self, set: &mut ObjsetWriter, objects: &mut Vec<ObjectId>) -> Result<()> {
        let rng = &mut self.rng;
        let offset = rng.below(300) as u64 * 1024;
        match (rng.below(6), rng.pick(objects)) {
            (0 | 1, _) | (_, None) if objects.len() < 30 => {
                let new = NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, 1024 << rng.below(8));
                objects.push(set.allocate(&new)?);
                Ok(())
            }
            (2, Some(object)) => {
                objects.retain(|other| *other != object);
                Ok(set.free(object)?)
            }
            (3, Some(object)) => Ok(set.free_range(object, offset, 80 << 10)?),
            (_, Some(object)) => {
                // Some content compresses, some to less than a pointer's payload.
                let end = [2, 20, 256][rng.below(3)];
                let bytes: Vec<u8> = (0..1 + rng.below(40_000)).map(|_| rng.below(end) as u8).collect();
                Ok(set.write(object, offset, &bytes)?)
            }
            _ => Ok(()),
        }
    }

    /// Does one thing to datasets, or is refused.
    fn step(&mut self, count: usize) -> Result<()> {
        let (heads, snapshots, marks) = self.names();
        let rng = &mut self.rng;
        let head = rng.pick(&heads).expect("the root");
        let new = format!("{}/d{count}", rng.pick(&heads).expect("the root"));
        let what = rng.below(20);
        let snapshot = rng.pick(&snapshots);
        let mark = rng.pick(&marks);
        let some = rng.below(1 << 20);
        let mut tx = self.pool().tx();
        match (what, snapshot) {
            (0, _) if heads.len() < 10 => {
                let head = tx.create(&new, false)?;
                let set = self.pool().create_set(head, ObjsetType::ZFS);
                self.pool().sync(head, &mut set?)?;
                Ok(())
            }
            (1..=5, _) if snapshots.len() < 40 => tx.snapshot(&[format!("{head}@s{count}")]).map(drop),
            (6 | 7, Some(snapshot)) if heads.len() < 10 => {
                self.pool().clone_snapshot(&snapshot, &new).map(drop)
            }
            (8..=10, Some(snapshot)) => tx.destroy_snapshots(&[snapshot], some.is_multiple_of(4)),
            (11, _) => tx.destroy(&head),
            (12, _) => tx.promote(&head),
            (13, _) => self.pool().rollback(&head, None),
            (14, _) => tx.rename(&head, &format!("{}/r{count}", heads[some % heads.len()])),
            (15 | 16, Some(snapshot)) => {
                let of = snapshot.split('@').next().unwrap_or_default().to_owned();
                tx.bookmark(&snapshot, &format!("{of}#b{count}"))
            }
            (17, _) => mark.map_or(Ok(()), |mark| tx.destroy_bookmark(&mark)),
            (18, Some(snapshot)) => {
                let (_, short) = snapshot.split_once('@').unwrap_or_default();
                let from: Vec<String> =
                    snapshots.iter().filter(|name| !name.ends_with(short)).take(some % 3).cloned().collect();
                tx.redact(&snapshot, &format!("r{count}"), &from, unlinked)
            }
            (19, _) => {
                let head = tx.dsl().head(&head)?.object();
                let names = ["reservation", "refreservation", "compression", "copies", "recordsize"];
                let value = [(some % 3) << 20, (some % 3) << 20, 15 + some % 2, 1 + some % 3, 1 << 17];
                let which = some % names.len();
                tx.set_property(head, names[which], &Setting::Local(Value::word(value[which] as u64)))
            }
            _ => Ok(()),
        }
    }

    fn run(&mut self, steps: std::ops::Range<usize>) {
        for count in steps {
            for _ in 0..self.rng.below(3) {
                let (heads, ..) = self.names();
                let head = self.rng.pick(&heads).expect("the root");
                self.change_content(&head);
            }
            self.pool().commit().expect("a commit");
            let outcome = self.step(count);
            *self.done.entry(outcome.as_ref().map_or_else(errno, |()| "done")).or_default() += 1;
            assert_ne!(outcome.as_ref().map_err(errno), Err("other"), "step {count}: {outcome:?}");
            self.pool().commit().expect("a commit");
        }
    }

    /// Leaves the pool, has everyone look at it, and opens it again.
    fn judge(&mut self) {
        self.pool.take().expect("an open pool").export().expect("an export");
        let pool = Pool::open(&self.paths(), &OpenOptions::default()).expect("our own pool");
        for (vdev, leaked) in unreached(&pool) {
            assert!(leaked.is_empty(), "vdev {vdev} has places that nothing leads to: {leaked:?}");
        }
        drop(pool);
        zdb(self.dir.path(), "demo", "-bcc", Some("No leaks"));
        let options = WriteOptions { host: host(), ..WriteOptions::default() };
        self.pool = Some(WritablePool::open(&self.paths(), &options).expect("our own pool"));
    }
}

fn errno(error: &Error) -> &'static str {
    match error.fault() {
        Fault::Pool(error) if matches!(error.fault(), PoolFault::NoSpace { .. }) => "ENOSPC",
        Fault::Pool(_) | Fault::Unsupported(_) => "other",
        fault => fault.errno().name(),
    }
}

/// What `zdb -d` says of what is wrong.
const BAD: [&str; 5] = ["leaked", "not allocated", "mismatch", "error", "ASSERT"];

/// What OpenZFS says. `-d` of some versions prints everything and then waits for ever: where no end is expected, the limit is
/// short.
fn zdb(dir: &Path, pool: &str, option: &str, expected: Option<&str>) {
    let limit = if expected.is_some() { "300" } else { "10" };
    let run = Command::new("timeout").args([limit, "zdb", "-e", "-p"]).arg(dir).args([option, pool]).output();
    let run = run.expect("zdb");
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    let bad: Vec<&str> = match expected {
        Some(_) => Vec::new(),
        None => text.lines().filter(|line| BAD.iter().any(|bad| line.contains(bad))).collect(),
    };
    assert!(bad.is_empty(), "zdb {option}: {bad:?}");
    if let Some(expected) = expected {
        assert!(run.status.success() && text.contains(expected), "zdb {option}: {text}");
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_datasets_with_a_long_history_are_clean_to_zdb() {
    let (steps, rounds) = (40, 3);
    for (seed, (words, ashift)) in (1..).zip([("a", 12), ("mirror a b", 9), ("raidz a b c", 12)]) {
        let mut history = History::new(words, ashift, seed);
        for round in 0..rounds {
            history.run(round * steps..(round + 1) * steps);
            history.judge();
        }
        drop(history.pool.take());
        zdb(history.dir.path(), "demo", "-d", None);
        assert!(history.done["done"] > steps, "{:?}", history.done);
    }
}

/// A copy of a golden pool, open for changes.
fn golden_pool(dir: &Path) -> WritablePool {
    let copy = golden::copy(&golden::image("tank.img"), dir);
    let options = WriteOptions { host: host(), ..WriteOptions::default() };
    WritablePool::open(&[copy], &options).expect("a pool of OpenZFS")
}

/// Redaction lists are those that OpenZFS made, entry by entry.
#[test]
fn what_is_redacted_is_what_openzfs_redacts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut pool = golden_pool(dir.path());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    pool.tx().redact("tank/fs@a", "one", &names(&["tank/clone@x"]), unlinked).expect("a bookmark");
    pool.tx()
        .redact("tank/fs@a", "#two", &names(&["tank/clone@x", "tank/clone2@y"]), unlinked)
        .expect("a bookmark");
    let refused = pool.tx().redact("tank/clone@x", "three", &names(&["tank/fs@b"]), unlinked).unwrap_err();
    assert_eq!(errno(&refused), "EINVAL");
    pool.export().expect("an export");
    let pool = Pool::open(&[dir.path().join("tank.img")], &OpenOptions::default()).expect("our own pool");
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
    let head = dsl.dataset("tank/fs").expect("a filesystem");
    let list = |name: &str| {
        let mark = head.bookmark(name).expect("bookmarks").expect("a bookmark");
        mark.redaction_list(&head).expect("a list").expect("a redaction bookmark")
    };
    for (ours, theirs) in [("one", "red"), ("two", "redtwo")] {
        let (ours, theirs) = (list(ours), list(theirs));
        assert!(ours.is_complete() && theirs.is_complete());
        assert_eq!(ours.snapshots(), theirs.snapshots());
        let entries = |list: &RedactionList| list.blocks().collect::<Result<Vec<_>>>().expect("entries");
        assert_eq!(entries(&ours), entries(&theirs));
        assert!(!ours.is_empty());
    }
}

/// A pool of OpenZFS whose datasets are snapshotted, cloned, promoted and destroyed here is clean to OpenZFS.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_a_pool_of_openzfs_changed_here_is_clean_to_zdb() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut pool = golden_pool(dir.path());
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut tx = pool.tx();
    tx.snapshot(&all(&["tank/fs@now", "tank/c-off@now"])).expect("snapshots");
    pool.commit().expect("a commit");
    let mut tx = pool.tx();
    tx.destroy_snapshots(&all(&["tank/fs@b"]), false).expect("a snapshot in the middle");
    tx.promote("tank/clone").expect("a clone");
    pool.commit().expect("a commit");
    let mut tx = pool.tx();
    let doomed = tx.dsl().plan_destroy("tank/fs", Reach { recursive: true, clones: true }).expect("a plan");
    tx.destroy_all(&doomed, false).expect("a filesystem");
    let doomed = tx
        .dsl()
        .plan_destroy("tank/e-aes-256-gcm", Reach { recursive: true, clones: false })
        .expect("a plan");
    tx.destroy_all(&doomed, false).expect("an encrypted filesystem without its key");
    pool.export().expect("an export");
    zdb(dir.path(), "tank", "-bcc", Some("No leaks"));
    zdb(dir.path(), "tank", "-d", None);
}
