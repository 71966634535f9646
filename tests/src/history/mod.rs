//! Long random histories of files and datasets in a pool in memory, beside a model of what has to be in it.
//!
//! Everything follows from a seed. A step changes files or the volume of a head, or datasets, or closes and opens the pool, or
//! breaks off without completing the transaction group, after which the pool has to be as the last one left it. Datasets are
//! told apart by their objects, which renames, promotes and rollbacks do not change. One filesystem is encrypted from the
//! start, and with it what is made below it or cloned from it.

mod tree;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::brt::Table;
use zstream_dmu::ddt;
use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::mos::{Feature, FeatureState, Features};
use zstream_dmu::pool::scan::{self, Candidate};
use zstream_dmu::pool::{OpenOptions, Pool, PoolChange, PoolWriter, WriteOptions};
use zstream_dmu::space::wrong_dedup_histograms;
use zstream_dmu::testing::{Loss, Recorder};
use zstream_dmu::vdev::{Member, VdevState};
use zstream_dmu::zap::Value;
use zstream_dmu::zio::crypt::{KeyFormat, Keyring, WrappingKey};
use zstream_dmu::{Random, RangeSet};
use zstream_dsl::prop::parse;
use zstream_dsl::scrub::{self, Lines};
use zstream_dsl::write::{Setting, Tx, Wrapping, WritablePool};
use zstream_dsl::{CryptoKey, Dsl};
use zstream_format::algorithm::CryptSuite;
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::create_volume;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{Settings, Writer};

use self::tree::{Tree, VOLUME_BLOCK_BYTES};
use crate::blocks::blocks;
use crate::created::{MEMBER_BYTES, NOW, host, new_files, new_pool};
use crate::devices::Discarding;
use crate::errors::{Error, Result};
use crate::livelists::Livelists;
use crate::rng::Rng;
use crate::writing::{Devices, overlays, unreached};

/// What is said of a pool without room. Where changes were made by then, they are dropped with their transaction group.
const FULL: &str = "no room";

/// The name of the pools.
pub const POOL: &str = "demo";
/// How much there may be of everything, so that a small pool does.
const HEADS_MAX: usize = 8;
const SNAPSHOTS_MAX: usize = 25;

/// The filesystem that is encrypted from the start, and its key.
const SECRET: &str = "demo/secret";
const KEY: [u8; 32] = *b"the key of all histories is this";

/// A pool with a history.
pub struct History {
    words: &'static str,
    /// The name of the pool.
    name: &'static str,
    devices: Devices,
    /// The places of intent logs that the pool had from the start.
    logs: BTreeMap<u32, RangeSet>,
    pool: Option<WritablePool>,
    rng: Rng,
    /// Heads and snapshots, as they are and as the last transaction group left them.
    trees: BTreeMap<ObjectId, Tree>,
    committed: BTreeMap<ObjectId, Tree>,
    steps: usize,
    recorder: Option<Arc<Recorder>>,
    /// Whether files are cloned.
    clones: bool,
    /// Whether entries of deduplication tables are removed whose blocks stay.
    prunes: bool,
    /// What is longer becomes a gang block.
    whole_max: Option<u64>,
    /// The limits of livelists: blocks in a part, and the percentage that must be shared.
    live: Option<(u64, u64)>,
    /// The files of the checkpoint, if there is one; none in histories without checkpoints.
    checkpoint: Option<Option<BTreeMap<ObjectId, Tree>>>,
    /// The members that are not there while the pool is open, by their number.
    absent: Vec<usize>,
    /// Whether members were ever absent.
    was_degraded: bool,
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
        Self::with_features(words, ashift, seed, &[])
    }

    /// The same, with files that are cloned. The entries of the tables are big-endian integers with an even seed.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn cloning(words: &'static str, ashift: u8, seed: u64) -> Self {
        let features = ["block_cloning", "block_cloning_endian"];
        let history = Self::with_features(words, ashift, seed, &features[..2 - (seed % 2) as usize]);
        Self { clones: true, ..history }
    }

    /// The same, with files that are cloned and blocks that are deduplicated; in a fast table with an even seed.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn deduplicating(words: &'static str, ashift: u8, seed: u64) -> Self {
        let features = ["block_cloning", "fast_dedup"];
        let mut history = Self::with_features(words, ashift, seed, &features[..2 - (seed % 2) as usize]);
        let property = parse("dedup", ["on", "sha256,verify", "blake3", "skein"][(seed / 2 % 4) as usize]);
        let (root, _) = history.trees.first_key_value().expect("the root filesystem");
        let root = *root;
        history.pool().tx().assign(root, &property.expect("a property")).expect("a change of a property");
        history.commit();
        Self { clones: true, prunes: seed.is_multiple_of(2), ..history }
    }

    /// The golden pool from which two vdevs were removed. Its datasets have blocks there, and lists of those that OpenZFS
    /// remapped since.
    ///
    /// # Panics
    /// It cannot be opened.
    #[must_use]
    pub fn removed(seed: u64) -> Self {
        const REMOVED: &str = "removed";
        let of_name = |(path, device): (String, Arc<dyn Device>)| {
            let name = Path::new(&path).file_name().and_then(|name| name.to_str());
            (name.expect("UTF-8").to_owned(), device)
        };
        let devices: Devices = overlays(REMOVED).into_iter().map(of_name).collect();
        let pool = Pool::open_devices(devices.clone(), &OpenOptions::default()).expect("a golden pool");
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
        let mut trees = BTreeMap::new();
        dsl.walk(&mut |dir| {
            let head = dir.head()?;
            for dataset in head.snapshots()?.into_iter().chain([head]) {
                trees.insert(dataset.object(), Tree::read(&*dataset.objset()?));
            }
            Ok(())
        })
        .expect("datasets");
        assert!(trees.len() > 1, "a snapshot and a head");
        let mut this = Self::over((REMOVED, REMOVED), devices, trees, seed);
        this.logs = unreached(&pool);
        this.pool = Some(this.open());
        this
    }

    /// The same, with files that are cloned and blocks that are deduplicated, in a fast table.
    ///
    /// # Panics
    /// A feature cannot be enabled.
    #[must_use]
    pub fn and_deduplicating(mut self) -> Self {
        self.enable("block_cloning");
        self.enable("fast_dedup");
        let dsl = self.pool().dsl();
        let root = dsl.root().and_then(|root| root.head()).expect("the root filesystem").object();
        drop(dsl);
        let property = parse("dedup", "sha256").expect("a property");
        self.pool().tx().assign(root, &property).expect("a change of a property");
        self.commit();
        Self { clones: true, prunes: true, ..self }
    }

    /// The same, with steps that take a checkpoint of the pool, or discard it.
    ///
    /// # Panics
    /// The feature cannot be enabled.
    #[must_use]
    pub fn and_checkpointed(mut self) -> Self {
        self.enable("zpool_checkpoint");
        Self { checkpoint: Some(None), ..self }
    }

    fn enable(&mut self, feature: &str) {
        let enabled = PoolChange::parse(&format!("feature@{feature}=enabled")).expect("a feature");
        self.pool().change_pool(&enabled).expect("a feature");
        self.pool().commit().expect("a commit");
    }

    /// The name of the pool.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Records every write from the next transaction group on, so that [`crash`](Self::crash) can be asked.
    ///
    /// # Panics
    /// It cannot be closed and opened.
    #[must_use]
    pub fn and_recorded(mut self) -> Self {
        self.pool.take().expect("an open pool").export().expect("an export");
        let recorder = Recorder::new();
        for (_, device) in &mut self.devices {
            *device = recorder.over(Arc::clone(device));
        }
        self.recorder = Some(recorder);
        self.pool = Some(self.open());
        self.note_group();
        self
    }

    /// Larger blocks become gang blocks from the next transaction group on.
    ///
    /// # Panics
    /// It cannot be closed and opened.
    #[must_use]
    pub fn and_ganged(mut self, whole_max: u64) -> Self {
        self.whole_max = Some(whole_max);
        self.pool.take().expect("an open pool").export().expect("an export");
        self.pool = Some(self.open());
        self
    }

    /// A new pool with features that new pools do not have by default.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn with_features(words: &'static str, ashift: u8, seed: u64, features: &[&str]) -> Self {
        let mut devices = Devices::new();
        let mut new = new_pool(POOL, words, ashift, &mut |word| {
            let inner: Arc<dyn Device> = Arc::new(MemoryDevice::new(MEMBER_BYTES as usize));
            // What a pool discards is never read again.
            let device: Arc<dyn Device> =
                Arc::new(Discarding { inner, is_flush_atomic: !seed.is_multiple_of(2) });
            devices.push((word.to_owned(), Arc::clone(&device)));
            (word.to_owned(), device)
        });
        features.iter().for_each(|feature| new.features.enable(feature).expect("a feature"));
        let (mut pool, first) = WritablePool::create(new, Some(seed)).expect("a pool");
        fill_new(&mut pool, first.root, &Tree::default()).expect("a filesystem");
        let secret = pool.tx().create(SECRET, false).expect("a dataset");
        let format = KeyFormat::Raw;
        let key = WrappingKey::new(format, &KEY).expect("a key");
        let wrapping = Wrapping { root: None, format, key };
        pool.encrypt(secret, CryptSuite::AES_256_GCM, &wrapping, Some("prompt")).expect("encryption");
        fill_new(&mut pool, secret, &Tree::default()).expect("a filesystem");
        pool.commit().expect("a commit");
        let trees: BTreeMap<_, _> = [first.root, secret].map(|head| (head, Tree::default())).into();
        Self { pool: Some(pool), ..Self::over((words, POOL), devices, trees, seed) }
    }

    /// A pool of this description and name, which is not open yet.
    fn over(
        (words, name): (&'static str, &'static str),
        devices: Devices,
        trees: BTreeMap<ObjectId, Tree>,
        seed: u64,
    ) -> Self {
        Self {
            words,
            name,
            devices,
            logs: BTreeMap::new(),
            pool: None,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            committed: trees.clone(),
            trees,
            steps: 0,
            recorder: None,
            clones: false,
            prunes: false,
            whole_max: None,
            live: None,
            checkpoint: None,
            absent: Vec::new(),
            was_degraded: false,
            groups: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// The same, with livelists of clones, in short parts. With an even seed they stay however little is shared.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn with_livelists(words: &'static str, ashift: u8, seed: u64) -> Self {
        let features = ["livelist", "block_cloning"];
        let mut history = Self::with_features(words, ashift, seed, &features);
        history.clones = true;
        history.live = Some((20, if seed.is_multiple_of(2) { 0 } else { 75 }));
        history.reopen().expect("our own pool");
        history
    }

    /// The same, with ganging forced: from the second transaction group on, what takes more than `whole_max` bytes is in pieces.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn ganged(words: &'static str, ashift: u8, seed: u64, whole_max: u64) -> Self {
        Self::new(words, ashift, seed).and_ganged(whole_max)
    }

    /// The same, with steps that take a checkpoint of the pool, or discard it.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn checkpointed(words: &'static str, ashift: u8, seed: u64) -> Self {
        Self::new(words, ashift, seed).and_checkpointed()
    }

    /// The same, every write from the second transaction group on recorded, so that [`crash`](Self::crash) can be asked.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn recorded(words: &'static str, ashift: u8, seed: u64) -> Self {
        Self::new(words, ashift, seed).and_recorded()
    }

    /// Leaves the pool, and opens it without some members. Others come back, with what they were left with.
    ///
    /// # Panics
    /// It cannot be opened.
    pub fn without(&mut self, absent: &[usize]) {
        self.pool.take().expect("an open pool").export().expect("an export");
        self.absent = absent.to_vec();
        self.was_degraded |= !absent.is_empty();
        self.pool = Some(self.open());
        self.note_group();
    }

    fn present(&self) -> Devices {
        let devices = self.devices.iter().enumerate();
        devices.filter(|(n, _)| !self.absent.contains(n)).map(|(_, device)| device.clone()).collect()
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
            if self.checkpoint.is_some() && self.rng.below(20) == 0 {
                self.change_checkpoint();
            }
            let what = self.rng.below(100);
            let outcome = match what {
                0..=2 if self.prunes => self.prune(),
                0..=54 if self.clones && what.is_multiple_of(2) => self.clone_file(),
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
            Err(error) if matches!(error.pool_fault(), Some(PoolFault::NoSpace { .. })) => {
                return self.break_off().expect("our own pool");
            }
            Err(error) => panic!("step {} of {}: {error}", self.steps, self.words),
        }
        self.forget_destroyed();
        self.committed.clone_from(&self.trees);
        self.note_group();
    }

    /// Takes a checkpoint, or discards the one that there is.
    fn change_checkpoint(&mut self) {
        self.commit();
        let trees = self.committed.clone();
        let before = self.checkpoint.clone();
        let pool = self.pool();
        let after = match &before {
            Some(Some(_)) => pool.discard_checkpoint().map(|()| Some(None)),
            _ => pool.take_checkpoint().map(|_| Some(Some(trees))),
        };
        match after {
            Ok(after) => {
                self.checkpoint = after;
                self.commit();
                // Without room for it, the transaction group was dropped.
                if self.pool().pool().checkpoint_state().expect("the MOS").is_some()
                    != matches!(&self.checkpoint, Some(Some(_)))
                {
                    self.checkpoint = before;
                } else {
                    let word =
                        if matches!(&self.checkpoint, Some(Some(_))) { "checkpoint" } else { "discard" };
                    *self.done.entry(word).or_default() += 1;
                }
            }
            Err(error) if matches!(error.pool_fault(), Some(PoolFault::NoSpace { .. })) => {}
            Err(error) => panic!("step {} of {}: {error}", self.steps, self.words),
        }
    }

    /// Removes some entries from the deduplication tables, or all those with one reference.
    fn prune(&mut self) -> Result<()> {
        let limit = [3, usize::MAX][self.rng.below(2)];
        let pruned = self.pool().prune_dedup(u64::MAX, limit)?;
        *self.done.entry("pruned").or_default() += pruned;
        Ok(())
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
        self.compare(&pool, trees, &at);
        crashed
    }

    /// Full names of heads, snapshots and bookmarks, with the objects of the first two.
    #[expect(clippy::type_complexity, reason = "three lists")]
    fn names(&mut self) -> (Vec<(String, ObjectId)>, Vec<(String, ObjectId)>, Vec<String>) {
        let dsl = self.pool().dsl();
        let (mut heads, mut snapshots, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        dsl.walk(&mut |dir| {
            let head = dir.head()?;
            heads.push((head.name().to_owned(), head.object()));
            let of_head = head.snapshots()?.into_iter();
            snapshots.extend(of_head.map(|snapshot| (snapshot.name().to_owned(), snapshot.object())));
            marks.extend(head.bookmarks()?.into_iter().map(|mark| mark.name));
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
        let mut tree = self.trees.get(&head).cloned().expect("a head of the model");
        let settings = Settings {
            record_bytes: 4096 << self.rng.below(8),
            dn_slots: 1,
            xattrs_inline: self.rng.below(2) == 0,
            now: Time { seconds: NOW as i64, nanoseconds: self.steps as u64 },
        };
        let mut set = self.pool.as_mut().expect("an open pool").open_head(head)?;
        // So little that blocks are often written while others gather.
        set.set_dirty_limit([0, 100_000, usize::MAX][self.rng.below(3)]);
        let count = 1 + self.rng.below(6);
        if tree.volume_bytes().is_some() {
            for _ in 0..count {
                tree.change_volume(&mut self.rng, &mut set)?;
            }
        } else {
            let mut writer = Writer::open(&set, settings, Random::from_seed(self.steps as u64))?;
            for _ in 0..count {
                tree.change_file(&mut self.rng, self.steps, &mut set, &mut writer)?;
            }
            writer.flush(&mut set)?;
        }
        self.pool().sync(head, &mut set)?;
        self.trees.insert(head, tree);
        Ok(())
    }

    /// Clones files of any head or snapshot into a head.
    fn clone_file(&mut self) -> Result<()> {
        let (heads, snapshots, _) = self.names();
        let is_filesystem = |(_, object): &&(String, ObjectId)| self.trees[object].volume_bytes().is_none();
        let sources: Vec<_> = heads.iter().chain(&snapshots).filter(is_filesystem).cloned().collect();
        let heads: Vec<_> = heads.iter().filter(is_filesystem).cloned().collect();
        let (_, head) = self.rng.pick(&heads).expect("the root");
        let mut tree = self.trees[&head].clone();
        let settings = Settings {
            record_bytes: 8192,
            dn_slots: 1,
            xattrs_inline: true,
            now: Time { seconds: NOW as i64, nanoseconds: self.steps as u64 },
        };
        let mut set = self.pool().open_head(head)?;
        set.set_dirty_limit([0, 100_000, usize::MAX][self.rng.below(3)]);
        let mut writer = Writer::open(&set, settings, Random::from_seed(self.steps as u64))?;
        for n in 0..1 + self.rng.below(3) {
            let (_, source) = self.rng.pick(&sources).expect("the root");
            let of_source = if source == head { &tree } else { &self.trees[&source] };
            let Some((file, content)) = of_source.pick_file(&mut self.rng) else { continue };
            let pool = self.pool.as_ref().expect("an open pool");
            if pool.clone_refusal(source, head)?.is_some() {
                *self.done.entry("another key").or_default() += 1;
                continue;
            }
            // As of the last sync, so that of a file that was changed since in this set nothing is taken.
            let objects = pool.dsl().dataset_by_object(source)?.objset()?;
            let is_there = source != head || tree == self.trees[&head];
            if !is_there {
                continue;
            }
            let from = (&*objects, file, &content[..]);
            let step = 10 * self.steps + n;
            let done = tree.clone_file(&mut self.rng, step, from, &mut set, &mut writer)?;
            *self.done.entry(done).or_default() += 1;
        }
        writer.flush(&mut set)?;
        self.pool().sync(head, &mut set)?;
        self.trees.insert(head, tree);
        Ok(())
    }

    /// Does one thing to datasets, or is refused.
    fn change_datasets(&mut self) -> Result<()> {
        let (heads, snapshots, marks) = self.names();
        let (count, rng) = (self.steps, &mut self.rng);
        let (name, head) = rng.pick(&heads).expect("the root");
        let new = format!("{}/d{count}", rng.pick(&heads).expect("the root").0);
        let (what, some) = (rng.below(25), rng.below(1 << 20));
        let (snapshot, mark) = (rng.pick(&snapshots), rng.pick(&marks));
        let pool = self.pool.as_mut().expect("an open pool");
        match (what, snapshot) {
            (0 | 22, _) if heads.len() < HEADS_MAX => {
                let tree = if what == 0 { Tree::default() } else { Tree::volume() };
                let head = verb(pool, |tx| tx.create(&new, false))?;
                encrypt_as_above(pool, head, &new)?;
                fill_new(pool, head, &tree)?;
                self.trees.insert(head, tree);
                Ok(())
            }
            (1..=6, _) if snapshots.len() < SNAPSHOTS_MAX => {
                let made = verb(pool, |tx| tx.snapshot(&[format!("{name}@s{count}")]))?;
                let tree = self.trees[&head].clone();
                self.trees.insert(made[0], tree);
                unlock(pool)
            }
            (7 | 8, Some((origin, object))) if heads.len() < HEADS_MAX => {
                let clone = pool.clone_snapshot(&origin, &new)?;
                let tree = self.trees[&object].clone();
                self.trees.insert(clone, tree);
                unlock(pool)
            }
            (9..=12, Some((doomed, _))) => {
                verb(pool, |tx| tx.destroy_snapshots(&[doomed], some.is_multiple_of(4)))
            }
            (13, _) => verb(pool, |tx| tx.destroy(&name)),
            (14, _) => verb(pool, |tx| tx.promote(&name)),
            (15 | 16, _) => {
                let last = pool.dsl().dataset_by_object(head)?.phys().prev_snapshot;
                pool.rollback(&name, None)?;
                let tree =
                    last.and_then(|last| self.trees.get(&last)).cloned().expect("a snapshot of the model");
                self.trees.insert(head, tree);
                Ok(())
            }
            (17, _) => {
                verb(pool, |tx| tx.rename(&name, &format!("{}/r{count}", heads[some % heads.len()].0)))
            }
            (18, Some((snapshot, _))) => {
                let of = snapshot.split('@').next().unwrap_or_default();
                verb(pool, |tx| tx.bookmark(&snapshot, &format!("{of}#b{count}")))
            }
            (19, _) => mark.map_or(Ok(()), |mark| verb(pool, |tx| tx.destroy_bookmark(&mark))),
            // `zdb -d` does not end in pools with redaction bookmarks.
            (20, Some((snapshot, _))) if self.live.is_none() => {
                let others = snapshots.iter().map(|(name, _)| name).filter(|name| **name != snapshot);
                let others: Vec<String> = others.skip(some % 3).step_by(3).take(some % 3).cloned().collect();
                let unlinked = zstream_zpl::settings::unlinked;
                verb(pool, |tx| tx.redact(&snapshot, &format!("r{count}"), &others, unlinked))
            }
            (21, Some((snapshot, _))) if some.is_multiple_of(2) => {
                verb(pool, |tx| tx.hold("tag", &[snapshot]))
            }
            (21, Some((snapshot, _))) => verb(pool, |tx| tx.release("tag", &[snapshot])),
            _ => set_something(pool, head, some),
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
        let whole_max = self.whole_max;
        let options =
            WriteOptions { host: host(), now: Some(NOW), force: true, whole_max, ..WriteOptions::default() };
        let pool = PoolWriter::open_candidates(candidates(&self.present()), &options).expect("our own pool");
        let mut pool = WritablePool::over(pool, Some(self.steps as u64)).expect("our own pool");
        if let Some((blocks, percent)) = self.live {
            pool.limit_livelists(blocks, percent);
        }
        unlock(&mut pool).expect("our own key");
        pool
    }

    /// Leaves the pool, compares all its files with the model, looks for lost places, and opens it again. With a directory,
    /// copies of the members are left there. Returns the features of the pool.
    ///
    /// # Panics
    /// Something is not as it should be.
    pub fn judge(&mut self, copies: Option<&Path>) -> Features {
        self.pool.take().expect("an open pool").export().expect("an export");
        let at = format!("step {} of {}", self.steps, self.words);
        if !self.absent.is_empty() {
            let degraded = Pool::open_devices(self.present(), &OpenOptions::default()).expect("our own pool");
            assert_eq!(degraded.health(), VdevState::Degraded, "{at}");
            self.compare(&degraded, &self.trees, &at);
        }
        let pool = Pool::open_devices(self.devices.clone(), &OpenOptions::default()).expect("our own pool");
        assert_eq!(pool.health(), VdevState::Online, "{at}");
        self.compare(&pool, &self.trees, &at);
        *self.done.entry("livelists").or_default() += pool.features().count("livelist") as usize;
        let then = pool.checkpoint().expect("its checkpoint");
        let expected = self.checkpoint.as_ref().and_then(Option::as_ref);
        assert_eq!(then.is_some(), expected.is_some(), "{at}");
        if let (Some(then), Some(trees)) = (then, expected) {
            compare_content(&then, trees, self.prunes, &format!("{at}, the checkpoint"));
        }
        let all = if self.was_degraded { blocks(&pool) } else { Vec::new() };
        for (pointer, place) in all {
            let check = pool.reader().check_block(&pointer, place).expect("a checked block");
            assert!(check.bad.is_empty(), "{at}: {place}: {}", check.bad[0]);
        }
        if let Some(dir) = copies {
            for (name, device) in &self.devices {
                copy_to(&**device, &dir.join(name)).expect("a copy");
            }
        }
        self.pool = Some(self.open());
        pool.features().clone()
    }

    /// Asserts that a pool holds these files and has lost no place.
    fn compare(&self, pool: &Pool, trees: &BTreeMap<ObjectId, Tree>, at: &str) {
        for (vdev, leaked) in unreached(pool) {
            // A log that was there from the start is gone after a rollback.
            let is_log = self.logs.get(&vdev) == Some(&leaked);
            assert!(
                leaked.is_empty() || is_log,
                "{at}: vdev {vdev} has places that nothing leads to: {leaked:?}"
            );
        }
        let live = Livelists::of(pool).expect("livelists");
        assert_eq!(live, Livelists { count: pool.features().count("livelist"), wrong: Vec::new() }, "{at}");
        compare_content(pool, trees, self.prunes, at);
    }
}

/// Asserts that each block of content has as many references as the tables say, and that the sums of the tables are right.
fn compare_references(pool: &Pool, dsl: &Arc<Dsl>, prunes: bool, at: &str) {
    let (mut found, mut shared) = (BTreeMap::<(u32, u64), u64>::new(), BTreeMap::<(u32, u64), u64>::new());
    scrub::parts(pool, &Lines::new(dsl).expect("datasets"), &mut |_, blocks| {
        for item in blocks {
            let pointer = item.expect("a block").pointer;
            if pointer.is_dedup() {
                *shared.entry((pointer.dva(0).vdev(), pointer.dva(0).offset())).or_default() += 1;
            } else if pointer.level() == 0 && !pointer.object_type().is_metadata() {
                *found.entry((pointer.dva(0).vdev(), pointer.dva(0).offset())).or_default() += 1;
            }
        }
    })
    .expect("parts");
    // The references to a block without an entry are counted like those to any other block.
    let pruned = compare_deduplicated(pool, shared, at);
    assert!(prunes || pruned.is_empty(), "{at}: no entries: {pruned:?}");
    found.extend(pruned);
    found.retain(|_, count| *count > 1);
    let (mut recorded, mut entries, mut tables) = (BTreeMap::new(), 0, 0);
    for vdev in 0..pool.vdevs().tops().len() as u32 {
        let Some(table) = Table::open(&**pool.mos(), vdev).expect("a table") else { continue };
        table
            .entries(&**pool.mos(), &mut |offset, count| {
                recorded.insert((vdev, offset), count + 1);
            })
            .expect("entries");
        entries += table.totals().entries;
        tables += 1;
        let offsets = recorded.keys().filter(|(of, _)| *of == vdev).map(|(_, offset)| *offset);
        assert_eq!(table.wrong_regions(&**pool.mos(), offsets).expect("counts"), [], "{at}");
        assert!(table.totals().entries > 0, "{at}: an empty table");
    }
    assert_eq!(recorded, found, "{at}");
    assert_eq!(entries, found.len() as u64, "{at}");
    let counts = |name| match pool.features().state(Feature::by_name(name).expect(name).guid) {
        FeatureState::Active(count) => count,
        _ => 0,
    };
    assert_eq!(counts("block_cloning"), tables, "{at}");
    assert!([0, tables].contains(&counts("block_cloning_endian")), "{at}");
}

/// Asserts that each block with the dedup bit has as many references as its entry counts, and that the histograms are right.
/// Returns the references to blocks without an entry.
fn compare_deduplicated(
    pool: &Pool,
    mut found: BTreeMap<(u32, u64), u64>,
    at: &str,
) -> BTreeMap<(u32, u64), u64> {
    let (mut recorded, mut fast) = (BTreeMap::new(), 0);
    for table in ddt::Table::open_all(&**pool.mos()).expect("tables") {
        let mut count = |_, _, entry: &ddt::Entry| {
            for variant in entry.variants() {
                recorded.insert((variant.dvas[0].vdev(), variant.dvas[0].offset()), variant.references);
            }
            Ok(())
        };
        table.entries(&**pool.mos(), &mut count).expect("entries");
        fast += u64::from(table.is_fast());
    }
    let pruned = found.extract_if(.., |place, _| !recorded.contains_key(place)).collect();
    assert_eq!(recorded, found, "{at}");
    let wrong = wrong_dedup_histograms(&**pool.mos(), pool.vdevs().tops()).expect("histograms");
    assert!(wrong.is_empty(), "{at}: {wrong:?}");
    let feature = Feature::by_name("fast_dedup").expect("a feature");
    let active = match pool.features().state(feature.guid) {
        FeatureState::Active(count) => count,
        _ => 0,
    };
    assert_eq!(active, fast, "{at}");
    pruned
}

/// Asserts that a pool holds the files of the model.
fn compare_content(pool: &Pool, trees: &BTreeMap<ObjectId, Tree>, prunes: bool, at: &str) {
    let keyring = Arc::new(Keyring::default());
    pool.reader().set_keys(Some(Arc::clone(&keyring) as _));
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), keyring).expect("datasets");
    dsl.walk(&mut |dir| {
        if CryptoKey::of(dir)?.is_some_and(|keys| keys.root == dir.object()) {
            dsl.load_key(dir, &KEY)?;
        }
        Ok(())
    })
    .expect("our own key");
    compare_references(pool, &dsl, prunes, at);
    for (object, tree) in trees {
        let dataset = dsl.dataset_by_object(*object).expect("a dataset of the model");
        let set = dataset.objset().expect("its set");
        let (found, expected) = (tree::listing(&*set), tree.listing());
        for (name, content) in &expected {
            assert!(found.get(name) == Some(content), "{at}: {} has another {name:?}", dataset.name());
        }
        assert_eq!(found.len(), expected.len(), "{at}: {} has more files", dataset.name());
    }
}

/// Loads the keys of all that is encrypted.
fn unlock(pool: &mut WritablePool) -> Result<()> {
    let mut roots = Vec::new();
    pool.dsl().walk(&mut |dir| {
        roots.extend(CryptoKey::of(dir)?.map(|keys| keys.root).filter(|root| *root == dir.object()));
        Ok(())
    })?;
    Ok(roots.into_iter().try_for_each(|root| pool.load_key(root, &KEY).map(drop))?)
}

/// Sets a property of a head.
fn set_something(pool: &mut WritablePool, head: ObjectId, some: usize) -> Result<()> {
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
    verb(pool, |tx| tx.set_property(head, name, &Setting::Local(Value::word(value as u64))))
}

/// Makes one change of datasets. What is refused has changed nothing, but where the pool is full.
fn verb<T>(
    pool: &mut WritablePool,
    change: impl FnOnce(&mut Tx<'_>) -> zstream_dsl::error::Result<T>,
) -> Result<T> {
    let mut tx = pool.tx();
    let result = change(&mut tx).map_err(Error::from);
    if let Err(error) = &result
        && errno(error) != FULL
    {
        assert!(!tx.has_changed(), "a verb was refused after it had changed something: {error}");
    }
    result
}

/// Gives a new head the key of the dataset above it, where that has one.
fn encrypt_as_above(pool: &mut WritablePool, head: ObjectId, name: &str) -> Result<()> {
    let (above, _) = name.rsplit_once('/').expect("a dataset above");
    let keys = CryptoKey::of(&*pool.dsl().dir(above)?)?;
    let Some(keys) = keys else { return Ok(()) };
    let wrapping = pool.wrapping(keys.root)?.expect("a key that was loaded");
    Ok(pool.encrypt(head, keys.wrapped.suite, &wrapping, None)?)
}

fn candidates(devices: &Devices) -> Vec<Candidate> {
    let examine = |(name, device): &(String, Arc<dyn Device>)| {
        scan::examine(Member { name: name.clone(), device: Arc::clone(device) }).expect("a member")
    };
    devices.iter().map(examine).collect()
}

/// Makes an empty filesystem or a volume in a new head.
fn fill_new(pool: &mut WritablePool, head: ObjectId, tree: &Tree) -> Result<()> {
    if let Some(bytes) = tree.volume_bytes() {
        let mut set = pool.create_set(head, ObjsetType::ZVOL)?;
        create_volume(&mut set, bytes, VOLUME_BLOCK_BYTES, &mut || pool.tx().random())?;
        return Ok(pool.sync(head, &mut set).map(drop)?);
    }
    let mut set = new_files(pool, head)?;
    Ok(pool.sync(head, &mut set).map(drop)?)
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
    match error.refusal() {
        Some(Errno::ENOSPC) if error.pool_fault().is_some() => FULL,
        Some(errno) => errno.name(),
        None => "other",
    }
}
