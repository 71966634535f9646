//! Long random histories of files and datasets in a pool in memory, beside a model of what has to be in it.
//!
//! Everything follows from a seed. A step changes files of a head, or datasets, or closes and opens the pool, or breaks off
//! without completing the transaction group, after which the pool has to be as the last one left it. Datasets are told
//! apart by their objects, which renames, promotes and rollbacks do not change.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::device::{Device, Loss, MemoryDevice, Recorder};
use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore as _;
use zstream_dmu::objset::writer::ObjsetWriter;
use zstream_dmu::pool::scan::{self, Candidate};
use zstream_dmu::pool::writer::{PoolWriter, WriteOptions};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::random::Random;
use zstream_dmu::vdev::Member;
use zstream_dmu::zap::Value;
use zstream_dsl::pool::Dsl;
use zstream_dsl::write::{Setting, WritablePool};
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::{NewFilesystem, create_filesystem};
use zstream_zpl::fs::Filesystem;
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::walk::Visit;
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};

use crate::created::{MEMBER_BYTES, NOW, host, new_pool};
use crate::rng::Rng;
use crate::writing::{Devices, unreached};

/// What is said of a pool without room. Where changes were made by then, they are dropped with their transaction group.
const FULL: &str = "no room";

/// The name of the pools.
pub const POOL: &str = "demo";
/// How much there may be of everything, so that a small pool does.
const HEADS_MAX: usize = 8;
const SNAPSHOTS_MAX: usize = 25;
const FILES_MAX: usize = 12;
const FILE_BYTES_MAX: usize = 150_000;

/// The files of a filesystem: content by number, and names, of which a file may have several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tree {
    files: BTreeMap<ObjectId, Arc<Vec<u8>>>,
    names: BTreeMap<String, ObjectId>,
}

impl Tree {
    fn remove(&mut self, name: &str) {
        let Some(object) = self.names.remove(name) else { return };
        if !self.names.values().any(|other| *other == object) {
            self.files.remove(&object);
        }
    }

    fn content(&self) -> BTreeMap<&str, &[u8]> {
        self.names.iter().map(|(name, object)| (name.as_str(), &self.files[object][..])).collect()
    }
}

/// A pool with a history.
pub struct History {
    words: &'static str,
    devices: Devices,
    pool: Option<WritablePool>,
    rng: Rng,
    /// Heads and snapshots, as they are and as the last transaction group left them.
    trees: BTreeMap<ObjectId, Tree>,
    committed: BTreeMap<ObjectId, Tree>,
    steps: usize,
    recorder: Option<Arc<Recorder>>,
    /// What each transaction group left, with the number of events by which it was reported.
    groups: BTreeMap<u64, (usize, BTreeMap<ObjectId, Tree>)>,
    /// How often what was done, or refused with which errno.
    pub done: BTreeMap<&'static str, usize>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "History({} steps of {})", self.steps, self.words)
    }
}

impl History {
    /// A new pool with vdevs that `words` describe.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new(words: &'static str, ashift: u8, seed: u64) -> Self {
        let mut devices = Devices::new();
        let new = new_pool(POOL, words, ashift, &mut |word| {
            let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(MEMBER_BYTES as usize));
            devices.push((word.to_owned(), Arc::clone(&device)));
            (word.to_owned(), device)
        });
        let (mut pool, first) = WritablePool::create(new, Some(seed)).expect("a pool");
        fill_new(&mut pool, first.root).expect("a filesystem");
        pool.commit().expect("a commit");
        let trees: BTreeMap<_, _> = [(first.root, Tree::default())].into();
        Self {
            words,
            devices,
            pool: Some(pool),
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            committed: trees.clone(),
            trees,
            steps: 0,
            recorder: None,
            groups: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// The same, every write from the second transaction group on recorded, so that [`crash`](Self::crash) can be asked.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn recorded(words: &'static str, ashift: u8, seed: u64) -> Self {
        let mut history = Self::new(words, ashift, seed);
        history.pool.take().expect("an open pool").export().expect("an export");
        let recorder = Recorder::new();
        for (_, device) in &mut history.devices {
            *device = recorder.over(Arc::clone(device));
        }
        history.recorder = Some(recorder);
        history.pool = Some(history.open());
        history.note_group();
        history
    }

    fn pool(&mut self) -> &mut WritablePool {
        self.pool.as_mut().expect("an open pool")
    }

    /// Goes on for so many steps.
    ///
    /// # Panics
    /// Something goes wrong that is not a refusal.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.steps += 1;
            let what = self.rng.below(100);
            let outcome = match what {
                0..=54 => self.change_files(),
                55..=95 => self.change_datasets(),
                96 | 97 => self.reopen(),
                _ => self.break_off(),
            };
            let word = outcome.as_ref().map_or_else(errno, |()| "done");
            assert_ne!(word, "other", "step {} of {}: {outcome:?}", self.steps, self.words);
            *self.done.entry(word).or_default() += 1;
            if word == FULL {
                self.break_off().expect("our own pool");
            } else if self.rng.below(3) > 0 {
                self.commit();
            }
        }
        self.commit();
    }

    fn commit(&mut self) {
        match self.pool().commit() {
            Ok(_) => {}
            Err(error) if errno(&error) == FULL => return self.break_off().expect("our own pool"),
            Err(error) => panic!("step {} of {}: {error}", self.steps, self.words),
        }
        self.forget_destroyed();
        self.committed.clone_from(&self.trees);
        self.note_group();
    }

    fn note_group(&mut self) {
        let events = self.recorder.as_ref().map_or(0, |recorder| recorder.len());
        let txg = self.pool().pool().uberblock().txg.0;
        if self.recorder.is_some() {
            self.groups.insert(txg, (events, self.trees.clone()));
        }
    }

    /// How many writes and flushes there were.
    ///
    /// # Panics
    /// Nothing was recorded.
    #[must_use]
    pub fn events(&self) -> usize {
        self.recorder.as_ref().expect("a recorder").len()
    }

    /// Asserts that after a crash before event `cut` the pool is as the last transaction group that was reported, or the
    /// next one, left it, and gives the devices.
    ///
    /// # Panics
    /// It is not.
    pub fn crash(&self, cut: usize, loss: Loss) -> Vec<Arc<dyn Device>> {
        let crashed = self.recorder.as_ref().expect("a recorder").crashed(cut, loss);
        let names = self.devices.iter().map(|(name, _)| name.clone());
        let devices: Devices = names.zip(crashed.iter().cloned()).collect();
        let at = format!("{loss:?} before event {cut} of {}, {}", self.events(), self.words);
        let pool = Pool::open_devices(devices, &OpenOptions::default());
        let pool = pool.unwrap_or_else(|error| panic!("{at}: {error}"));
        let txg = pool.txg().0;
        let safe =
            self.groups.iter().rev().find(|(_, (events, _))| *events <= cut).map_or(0, |(txg, _)| *txg);
        let next = self.groups.keys().find(|group| **group > safe).map_or(u64::MAX, |txg| *txg);
        assert!((safe..=next).contains(&txg), "{at}: {txg}, not {safe} to {next}");
        let (_, (_, trees)) = self.groups.range(..=txg).next_back().expect("a transaction group");
        compare(&pool, trees, &at);
        crashed
    }

    /// Full names of heads, snapshots and bookmarks, with the objects of the first two.
    #[expect(clippy::type_complexity, reason = "three lists")]
    fn names(&mut self) -> (Vec<(String, ObjectId)>, Vec<(String, ObjectId)>, Vec<String>) {
        let tx = self.pool().tx();
        let (mut heads, mut snapshots, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        tx.walk(&mut |name, head| {
            heads.push((name.to_owned(), head));
            let of_head = tx.snapshots(head)?.into_iter();
            snapshots.extend(of_head.map(|(short, object)| (format!("{name}@{short}"), object)));
            marks.extend(tx.bookmark_names(head)?.into_iter().map(|short| format!("{name}#{short}")));
            Ok(())
        })
        .expect("names");
        (heads, snapshots, marks)
    }

    fn forget_destroyed(&mut self) {
        let (heads, snapshots, _) = self.names();
        let there: BTreeMap<_, _> =
            heads.into_iter().chain(snapshots).map(|(name, object)| (object, name)).collect();
        self.trees.retain(|object, _| there.contains_key(object));
        assert_eq!(there.len(), self.trees.len(), "step {}: {there:?}", self.steps);
    }

    fn change_files(&mut self) -> Result<()> {
        let (heads, ..) = self.names();
        let (_, head) = self.rng.pick(&heads).expect("the root");
        let record_bytes = 4096 << self.rng.below(8);
        let settings = Settings {
            record_bytes,
            dn_slots: 1,
            xattrs_inline: self.rng.below(2) == 0,
            now: Time { seconds: NOW as i64, nanoseconds: self.steps as u64 },
        };
        let mut set = self.pool.as_mut().expect("an open pool").open_head(head)?;
        let mut writer = Writer::open(&set, settings, Random::from_seed(self.steps as u64))?;
        let mut tree = self.trees.get(&head).cloned().expect("a head of the model");
        for _ in 0..1 + self.rng.below(6) {
            self.change_file(&mut set, &mut writer, &mut tree, record_bytes)?;
        }
        writer.flush(&mut set)?;
        self.pool().sync(head, &mut set)?;
        self.trees.insert(head, tree);
        Ok(())
    }

    fn change_file(
        &mut self,
        set: &mut ObjsetWriter,
        writer: &mut Writer,
        tree: &mut Tree,
        record_bytes: u32,
    ) -> Result<()> {
        let rng = &mut self.rng;
        let root = writer.root();
        let names: Vec<String> = tree.names.keys().cloned().collect();
        let name = rng.pick(&names);
        let (what, offset) = (rng.below(8), rng.below(FILE_BYTES_MAX));
        let fresh = format!("{}{}", self.steps, ["", " and a long name that is not", "\u{e4}"][rng.below(3)]);
        match (what, name) {
            (0..=2, _) | (_, None) if tree.names.len() < FILES_MAX && !tree.names.contains_key(&fresh) => {
                let len = [0, 1, 100, 5000, FILE_BYTES_MAX / 3, FILE_BYTES_MAX][rng.below(6)];
                let len = rng.below(len + 1);
                let content = rng.bytes(len);
                let lens: Vec<usize> = (0..rng.below(4)).map(|_| [5, 300, 40_000][rng.below(3)]).collect();
                let xattrs = lens.iter().enumerate();
                let xattrs = xattrs.map(|(n, len)| (format!("user.x{n}").into_bytes(), rng.bytes(*len)));
                let new = NewNode { xattrs: xattrs.collect(), ..node(u64::from(record_bytes)) };
                let object = writer.create(set, root, fresh.as_bytes(), &new)?;
                writer.write(set, object, 0, &content)?;
                writer.finish(set, object, content.len() as u64)?;
                tree.names.insert(fresh, object);
                tree.files.insert(object, Arc::new(content));
            }
            (3, Some(name)) => {
                writer.remove(set, root, name.as_bytes())?;
                tree.remove(&name);
            }
            (4, Some(name)) if !tree.names.contains_key(&fresh) => {
                let object = tree.names[&name];
                writer.link(set, root, fresh.as_bytes(), object)?;
                tree.names.insert(fresh, object);
                if rng.below(3) > 0 {
                    writer.remove(set, root, name.as_bytes())?;
                    tree.remove(&name);
                }
            }
            (5, Some(name)) => {
                // Truncated, or made longer by a hole.
                let object = tree.names[&name];
                set.free_range(object, offset as u64, u64::MAX - offset as u64)?;
                writer.finish(set, object, offset as u64)?;
                Arc::make_mut(tree.files.get_mut(&object).expect("a file")).resize(offset, 0);
            }
            (6, Some(name)) => {
                let object = tree.names[&name];
                let content = Arc::make_mut(tree.files.get_mut(&object).expect("a file"));
                let (start, end) = (offset.min(content.len()), (offset + 50_000).min(content.len()));
                set.free_range(object, start as u64, (end - start) as u64)?;
                content[start..end].fill(0);
            }
            (_, Some(name)) => {
                let object = tree.names[&name];
                let len = rng.below(60_000);
                let bytes = rng.bytes(len);
                set.write(object, offset as u64, &bytes)?;
                let content = Arc::make_mut(tree.files.get_mut(&object).expect("a file"));
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[offset..offset + bytes.len()].copy_from_slice(&bytes);
                writer.finish(set, object, content.len() as u64)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Does one thing to datasets, or is refused.
    fn change_datasets(&mut self) -> Result<()> {
        let (heads, snapshots, marks) = self.names();
        let (count, rng) = (self.steps, &mut self.rng);
        let (name, head) = rng.pick(&heads).expect("the root");
        let new = format!("{}/d{count}", rng.pick(&heads).expect("the root").0);
        let (what, some) = (rng.below(24), rng.below(1 << 20));
        let (snapshot, mark) = (rng.pick(&snapshots), rng.pick(&marks));
        let pool = self.pool.as_mut().expect("an open pool");
        match (what, snapshot) {
            (0, _) if heads.len() < HEADS_MAX => {
                let head = pool.tx().create(&new, false)?;
                fill_new(pool, head)?;
                self.trees.insert(head, Tree::default());
                Ok(())
            }
            (1..=6, _) if snapshots.len() < SNAPSHOTS_MAX => {
                let made = pool.tx().snapshot(&[format!("{name}@s{count}")])?;
                let tree = self.trees[&head].clone();
                self.trees.insert(made[0], tree);
                Ok(())
            }
            (7 | 8, Some((origin, object))) if heads.len() < HEADS_MAX => {
                let clone = pool.clone_snapshot(&origin, &new)?;
                let tree = self.trees[&object].clone();
                self.trees.insert(clone, tree);
                Ok(())
            }
            (9..=12, Some((doomed, _))) => pool.tx().destroy_snapshots(&[doomed], some.is_multiple_of(4)),
            (13, _) => pool.tx().destroy(&name),
            (14, _) => pool.tx().promote(&name),
            (15 | 16, _) => {
                let last = pool.tx().dataset(head)?.prev_snapshot;
                pool.rollback(&name, None)?;
                let tree =
                    last.and_then(|last| self.trees.get(&last)).cloned().expect("a snapshot of the model");
                self.trees.insert(head, tree);
                Ok(())
            }
            (17, _) => pool.tx().rename(&name, &format!("{}/r{count}", heads[some % heads.len()].0)),
            (18, Some((snapshot, _))) => {
                let of = snapshot.split('@').next().unwrap_or_default();
                pool.tx().bookmark(&snapshot, &format!("{of}#b{count}"))
            }
            (19, _) => mark.map_or(Ok(()), |mark| pool.tx().destroy_bookmark(&mark)),
            (20, Some((snapshot, _))) => {
                let others = snapshots.iter().map(|(name, _)| name).filter(|name| **name != snapshot);
                let others: Vec<String> = others.skip(some % 3).step_by(3).take(some % 3).cloned().collect();
                pool.tx().redact(&snapshot, &format!("r{count}"), &others)
            }
            (21, Some((snapshot, _))) if some.is_multiple_of(2) => pool.tx().hold("tag", &[snapshot]),
            (21, Some((snapshot, _))) => pool.tx().release("tag", &[snapshot]),
            _ => {
                let settings = [
                    ("reservation", (some % 3) << 20),
                    ("refreservation", (some % 3) << 20),
                    ("compression", [2, 3, 15][some % 3]),
                    ("checksum", [7, 8, 10, 11][some % 4]),
                    ("copies", 1 + some % 3),
                    ("redundant_metadata", some % 2),
                    ("snapshot_limit", 100),
                ];
                let (name, value) = settings[some / 7 % settings.len()];
                pool.tx().set_property(head, name, &Setting::Local(Value::word(value as u64)))
            }
        }
    }

    fn reopen(&mut self) -> Result<()> {
        // So that an export, which takes more than one transaction group, changes no content.
        self.commit();
        self.pool.take().expect("an open pool").export().expect("an export");
        self.pool = Some(self.open());
        self.forget_destroyed();
        self.committed.clone_from(&self.trees);
        self.note_group();
        Ok(())
    }

    /// Drops what was changed since the last commit, as the end of a program does.
    fn break_off(&mut self) -> Result<()> {
        self.pool.take();
        self.trees.clone_from(&self.committed);
        self.pool = Some(self.open());
        self.forget_destroyed();
        Ok(())
    }

    fn open(&self) -> WritablePool {
        let options = WriteOptions { host: host(), now: Some(NOW), force: true, ..WriteOptions::default() };
        let pool = PoolWriter::open_candidates(candidates(&self.devices), &options).expect("our own pool");
        WritablePool::over(pool, Some(self.steps as u64)).expect("our own pool")
    }

    /// Leaves the pool, compares all its files with the model, looks for lost places, and opens it again. With a directory,
    /// copies of the members are left there.
    ///
    /// # Panics
    /// Something is not as it should be.
    pub fn judge(&mut self, copies: Option<&Path>) {
        self.pool.take().expect("an open pool").export().expect("an export");
        let pool = Pool::open_devices(self.devices.clone(), &OpenOptions::default()).expect("our own pool");
        let at = format!("step {} of {}", self.steps, self.words);
        compare(&pool, &self.trees, &at);
        if let Some(dir) = copies {
            for (name, device) in &self.devices {
                copy_to(&**device, &dir.join(name)).expect("a copy");
            }
        }
        self.pool = Some(self.open());
    }
}

/// Asserts that a pool holds the files of the model and has lost no place.
fn compare(pool: &Pool, trees: &BTreeMap<ObjectId, Tree>, at: &str) {
    for (vdev, leaked) in unreached(pool) {
        assert!(leaked.is_empty(), "{at}: vdev {vdev} has places that nothing leads to: {leaked:?}");
    }
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
    for (object, tree) in trees {
        let dataset = dsl.dataset_by_object(*object).expect("a dataset of the model");
        let set = dataset.objset().expect("its set");
        let found = listing(&*set);
        let found: BTreeMap<_, _> = found.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        for (name, content) in tree.content() {
            assert!(found.get(name) == Some(&content), "{at}: {} has another {name:?}", dataset.name());
        }
        assert_eq!(found.len(), tree.names.len(), "{at}: {} has more files", dataset.name());
    }
}

fn candidates(devices: &Devices) -> Vec<Candidate> {
    let examine = |(name, device): &(String, Arc<dyn Device>)| {
        scan::examine(Member { name: name.clone(), device: Arc::clone(device) }).expect("a member")
    };
    devices.iter().map(examine).collect()
}

/// Makes an empty filesystem in a new head.
fn fill_new(pool: &mut WritablePool, head: ObjectId) -> Result<()> {
    let mut set = pool.create_set(head, ObjsetType::ZFS)?;
    let new = NewFilesystem { time: (NOW, 0), ..NewFilesystem::default() };
    create_filesystem(&mut set, &new, &mut || pool.tx().random())?;
    pool.sync(head, &mut set).map(drop)
}

fn node(bytes: u64) -> NewNode {
    let time = Time { seconds: NOW as i64, nanoseconds: 0 };
    NewNode {
        kind: NodeKind::File(bytes),
        permissions: 0o640,
        uid: 1000,
        gid: 100,
        atime: time,
        mtime: time,
        xattrs: Vec::new(),
    }
}

/// The files of a filesystem without directories.
fn listing(set: &dyn ObjectSet) -> BTreeMap<String, Vec<u8>> {
    let fs = Filesystem::open(set).expect("a filesystem");
    let mut found = BTreeMap::new();
    for visit in fs.walk(fs.node(fs.root()).expect("the root")) {
        match visit {
            Visit::Node { path, node } if node.file_type() == Some(FileType::File) => {
                let content = fs.content(&node).expect("content");
                let mut bytes = vec![0xff; content.size() as usize];
                assert_eq!(content.read(0, &mut bytes).expect("bytes"), bytes.len());
                found.insert(String::from_utf8(path).expect("text"), bytes);
            }
            Visit::Node { .. } | Visit::Leave { .. } => {}
            Visit::Failed { path, error } => panic!("{}: {error}", String::from_utf8_lossy(&path)),
        }
    }
    found
}

/// Copies a device to a file, whose holes are where it has zeros.
///
/// # Errors
/// One of them cannot be read or written.
pub fn copy_to(device: &dyn Device, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    const PART: usize = 1 << 20;
    let file = std::fs::File::create(path)?;
    file.set_len(device.len())?;
    let mut part = vec![0; PART];
    for offset in (0..device.len()).step_by(PART) {
        let len = PART.min((device.len() - offset) as usize);
        device.read_at(offset, &mut part[..len])?;
        if part[..len].iter().any(|byte| *byte != 0) {
            file.write_all_at(&part[..len], offset)?;
        }
    }
    Ok(())
}

fn errno(error: &Error) -> &'static str {
    match error.fault() {
        Fault::Refused { errno, .. } => errno,
        Fault::NotFound { .. } => "ENOENT",
        Fault::NoSpace { .. } => FULL,
        _ => "other",
    }
}
