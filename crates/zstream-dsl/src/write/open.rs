//! Pools that are open for changes of their datasets, from opening or creation to export.
//!
//! ```text
//! let mut pool = WritablePool::open(...)          or create(...), which also creates the first datasets
//! pool.tx().snapshot(...)                         changes of datasets
//! let mut set = pool.open_head(head)              changes of the content of one
//! pool.sync(head, &mut set)                       its blocks are written and counted
//! pool.commit()                                   all of it is on stable storage, or nothing
//! pool.export()
//! ```

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::brt::Totals;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::intent_log::has_records;
use zstream_dmu::mos::Features;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::objset::{Objset, ObjsetWriter, SetProperties};
use zstream_dmu::pool::history::Event;
use zstream_dmu::pool::{CheckpointState, NewPool, PoolChange, PoolWriter, WriteOptions};
use zstream_dmu::space::Allocator;
use zstream_dmu::tx::SpaceDelta;
use zstream_dmu::zap::Value;
use zstream_dmu::zio::Protection;
use zstream_dmu::zio::crypt::Keyring;
use zstream_format::errno::Errno;
use zstream_format::file_info::owners;
use zstream_format::object_type::ObjsetType;

use super::usage::Change;
use super::{Clock, Entropy, FirstDatasets, Tx, Wrapping};
use crate::dataset::Dataset;
use crate::erratum::Erratum;
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;
use crate::pool::Dsl;
use crate::prop::space::PoolSpace;
use crate::reader::OpenMos;

/// The features of filesystems that count objects and projects.
const OBJECTS: &str = "userobj_accounting";
const PROJECTS: &str = "project_quota";

/// A pool that is open for changes of its datasets.
#[derive(Debug)]
pub struct WritablePool {
    pub(super) pool: PoolWriter,
    pub(super) keyring: Arc<Keyring>,
    /// The wrapping keys that are loaded, by encryption root.
    pub(super) wrappings: HashMap<ObjectId, Wrapping>,
    entropy: Entropy,
    is_reproducible: bool,
    /// The space that all datasets shared when the pool was opened; `None` if it is unknown.
    space: Option<PoolSpace>,
    /// The sums of the blocks with several references at that time.
    shared: Totals,
    unread: Vec<Error>,
    livelists: super::livelist::Limits,
    /// The last transaction group before the pool was opened.
    opened: Txg,
}

impl WritablePool {
    /// Opens the pool whose members are at `paths`.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::open`].
    pub fn open(paths: &[PathBuf], options: &WriteOptions) -> Result<Self> {
        Self::over(PoolWriter::open(paths, options)?, None)
    }

    /// Creates a pool with the datasets that every pool has. The root dataset has no object set yet:
    /// [`create_set`](Self::create_set) has to create one before the first commit. A seed makes the result
    /// reproducible.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::create`].
    pub fn create(new: NewPool, seed: Option<u64>) -> Result<(Self, FirstDatasets)> {
        let mut this = Self::over(PoolWriter::create(new)?, seed)?;
        let first = this.tx().create_pool()?;
        Ok((this, first))
    }

    /// Opens the datasets of a pool that is open for writing, and claims its intent logs. Guids are derived from the
    /// seed, if there is one.
    ///
    /// # Errors
    /// Fails if the system has no random numbers, and if a device or a dataset with an intent log cannot be read.
    pub fn over(mut pool: PoolWriter, seed: Option<u64>) -> Result<Self> {
        let entropy = match seed {
            Some(seed) => Entropy::seeded(seed),
            None => Entropy::system()?,
        };
        let keyring = Arc::new(Keyring::default());
        pool.parts().reader.set_keys(Some(Arc::clone(&keyring) as _));
        let space = PoolSpace::over(pool.mos(), pool.vdevs().tops(), &Features::read(pool.mos())?)?;
        let is_reproducible = seed.is_some();
        let (wrappings, unread, opened) = (HashMap::new(), Vec::new(), pool.uberblock().txg);
        let shared = pool.space().shared()?;
        let livelists = super::livelist::Limits::default();
        let mut this = Self {
            pool,
            keyring,
            wrappings,
            entropy,
            is_reproducible,
            space,
            shared,
            unread,
            livelists,
            opened,
        };
        this.claim_logs()?;
        Ok(this)
    }

    /// Returns the pool.
    #[must_use]
    pub fn pool(&self) -> &PoolWriter {
        &self.pool
    }

    /// Returns the current transaction group.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.pool.txg()
    }

    /// Returns `true` if a transaction group was completed since the pool was opened. If none was, its devices are
    /// unchanged.
    #[must_use]
    pub fn has_committed(&self) -> bool {
        self.pool.uberblock().txg != self.opened
    }

    /// Adds an event to the pool's history.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::log`].
    pub fn log(&mut self, event: Event<'_>) -> Result<()> {
        Ok(self.pool.log(event)?)
    }

    /// Changes a property of the pool, or enables a feature.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::change`].
    pub fn change_pool(&mut self, change: &PoolChange) -> Result<()> {
        Ok(self.pool.change(change)?)
    }

    /// Removes entries from the deduplication tables, and returns their number.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::prune_dedup`].
    pub fn prune_dedup(&mut self, before: u64, limit: usize) -> Result<usize> {
        Ok(self.pool.prune_dedup(before, limit)?)
    }

    /// Completes the transaction group, and takes a checkpoint of the pool at its end. Returns the transaction group of
    /// the checkpoint.
    ///
    /// # Errors
    /// Fails if the pool has a checkpoint already, and like [`PoolWriter::take_checkpoint`].
    pub fn take_checkpoint(&mut self) -> Result<Txg> {
        let refuse = |errno, text: String| Err(Error::refused(errno, text));
        match self.pool.checkpoint_state()? {
            None => {}
            Some(CheckpointState::Exists(txg)) => {
                return refuse(Errno::ZFS_ERR_CHECKPOINT_EXISTS, format!("checkpoint of txg {txg} exists"));
            }
            Some(CheckpointState::Discarding) => {
                let text = "the last checkpoint is not completely discarded yet".to_owned();
                return refuse(Errno::ZFS_ERR_DISCARDING_CHECKPOINT, text);
            }
        }
        self.commit()?;
        Ok(self.pool.take_checkpoint()?)
    }

    /// Discards the checkpoint of the pool, or completes the discard of one.
    ///
    /// # Errors
    /// Fails if there is no checkpoint, and like [`PoolWriter::discard_checkpoint`].
    pub fn discard_checkpoint(&mut self) -> Result<()> {
        if self.pool.checkpoint_state()?.is_none() {
            let text = "checkpoint does not exist".to_owned();
            return Err(Error::refused(Errno::ZFS_ERR_NO_CHECKPOINT, text));
        }
        Ok(self.pool.discard_checkpoint()?)
    }

    fn clock(&self) -> Clock {
        let now = Clock::now();
        let seconds = self.pool.now();
        // A time from the caller has no fraction, and neither has that of a reproducible image.
        let is_given = self.is_reproducible || seconds.abs_diff(now.seconds) > 1;
        Clock { seconds, nanoseconds: if is_given { 0 } else { now.nanoseconds } }
    }

    /// Returns the datasets, open for changes in this transaction group.
    pub fn tx(&mut self) -> Tx<'_> {
        let clock = self.clock();
        let name = self.pool.name().to_owned();
        let parts = self.pool.parts();
        // After a panic of another thread nothing can be committed, and no limit matters.
        let shared = parts.space.shared().unwrap_or(self.shared);
        let space = self.space.map(|space| space.saving(self.shared.saved_bytes, shared.saved_bytes));
        let reader = Arc::clone(parts.reader) as Arc<dyn ReadBlock>;
        let mut tx = Tx::new(name, parts.mos, &**parts.space, reader, clock, &mut self.entropy);
        tx.pool_space = space;
        tx.livelists = self.livelists;
        tx.keyring = Arc::clone(&self.keyring);
        tx
    }

    /// Returns the datasets in their current state in this transaction group, for reading.
    #[must_use]
    pub fn dsl(&self) -> Arc<Dsl<OpenMos<'_>>> {
        let blocks = Arc::clone(self.pool.reader()) as Arc<dyn ReadBlock>;
        Dsl::of_open(self.pool.name(), self.pool.mos(), &blocks, &self.keyring)
    }

    /// Creates the empty object set of a new head dataset, which is written by its properties.
    ///
    /// # Errors
    /// Fails if the properties cannot be read, and like [`ObjsetWriter::create`].
    pub fn create_set(&mut self, head: ObjectId, objset_type: ObjsetType) -> Result<ObjsetWriter> {
        let properties = self.tx().read().set_properties(head)?;
        let parts = self.pool.parts();
        let reader = Arc::clone(parts.reader) as Arc<dyn ReadBlock>;
        let writer = Arc::clone(parts.writer);
        let mut set =
            ObjsetWriter::create(reader, writer, head.0, objset_type, properties)?.with_owners(owners);
        self.begin_accounting(head, &mut set)?;
        Ok(set)
    }

    /// Starts to count the use of users, groups and projects, like a new filesystem of OpenZFS. This excludes an
    /// encrypted one that is received, where a raw increment may follow (`dmu_objset_create_impl_dnstats`).
    fn begin_accounting(&mut self, head: ObjectId, set: &mut ObjsetWriter) -> Result<()> {
        let mut tx = self.tx();
        let phys = tx.read().dataset(head)?;
        let is_received = phys.flags.contains(DatasetFlags::INCONSISTENT);
        if set.objset_type() != ObjsetType::ZFS || (is_received && tx.read().is_encrypted(phys.dir)?) {
            return Ok(());
        }
        let [objects, projects] = [tx.read().feature_enabled(OBJECTS)?, tx.read().feature_enabled(PROJECTS)?];
        for (name, is_enabled) in [(OBJECTS, objects), (PROJECTS, projects)] {
            if is_enabled {
                tx.activate_feature(head, name, &Value::word(0))?;
            }
        }
        Ok(set.begin_accounting(objects, projects)?)
    }

    /// Creates the object set of a new head dataset that is received raw: its content is encrypted already, and needs
    /// no key.
    ///
    /// # Errors
    /// Fails like [`create_set`](Self::create_set).
    pub fn create_kept_set(&mut self, head: ObjectId, objset_type: ObjsetType) -> Result<ObjsetWriter> {
        let properties =
            SetProperties { protection: Protection::Kept, ..self.tx().read().set_properties(head)? };
        let parts = self.pool.parts();
        let reader = Arc::clone(parts.reader) as Arc<dyn ReadBlock>;
        let writer = Arc::clone(parts.writer);
        Ok(ObjsetWriter::create(reader, writer, head.0, objset_type, properties)?.with_owners(owners))
    }

    /// Opens the object set of a head dataset for changes, which are written by its properties.
    ///
    /// # Errors
    /// Fails if there is no such head, if its intent log has records that were not replayed and that a change would
    /// invalidate, and like [`ObjsetWriter::open`].
    pub fn open_head(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        let properties = self.tx().read().set_properties(head)?;
        self.open_set(head, properties)
    }

    /// Opens the object set of an encrypted head dataset for a raw receive, without its key.
    ///
    /// # Errors
    /// Fails like [`open_head`](Self::open_head).
    pub fn open_kept_head(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        let properties =
            SetProperties { protection: Protection::Kept, ..self.tx().read().set_properties(head)? };
        self.open_set(head, properties)
    }

    /// Checks that the keys of a head are not of the first format, which OpenZFS refuses, too (`dmu_objset_own_impl`).
    pub(super) fn check_keys(&mut self, head: ObjectId) -> Result<()> {
        let tx = self.tx();
        let keys = tx.read().keys_of(tx.read().dataset(head)?.dir)?;
        let Some(erratum) = keys.as_ref().and_then(Erratum::of_keys) else { return Ok(()) };
        let name = tx.read().full_name(head)?;
        Err(Error::refused(Errno::EROFS, format!("{name} can only be read: {erratum}: {}", erratum.advice())))
    }

    fn open_set(&mut self, head: ObjectId, properties: SetProperties) -> Result<ObjsetWriter> {
        self.check_keys(head)?;
        let set = self.read_set(head, properties.protection)?;
        if has_records(&**self.pool.reader(), head.0, &set.phys().zil) {
            let name = self.tx().read().full_name(head)?;
            return Err(Error::refused(
                Errno::EBUSY,
                format!(
                    "{name} has an intent log that was not replayed: replay it with `pool replay {name}`"
                ),
            ));
        }
        Ok(ObjsetWriter::open(set, Arc::clone(self.pool.parts().writer), properties)?.with_owners(owners))
    }

    /// Returns the object set of a head; with [`Protection::Kept`] it is not decrypted.
    pub(super) fn read_set(&mut self, head: ObjectId, protection: Protection) -> Result<Objset> {
        let tx = self.tx();
        tx.check_writable(head)?;
        let phys = tx.read().dataset(head)?;
        let reader = Arc::clone(self.pool.parts().reader) as Arc<dyn ReadBlock>;
        match protection {
            Protection::Kept => Ok(Objset::open_locked(reader, head.0, phys.root)?),
            _ => Ok(Objset::open(reader, head.0, phys.root)?),
        }
    }

    /// Returns the reason for which the blocks of a dataset cannot be cloned into another one, if there is one. Their
    /// pool must have the feature, and they must have the same key, or none.
    ///
    /// # Errors
    /// Fails if the datasets cannot be read.
    pub fn clone_refusal(&self, from: ObjectId, to: ObjectId) -> Result<Option<&'static str>> {
        let dsl = self.dsl();
        if !dsl.read().feature_enabled("block_cloning")? {
            return Ok(Some("the pool does not have the feature block_cloning"));
        }
        let (from, to) = (dsl.dataset_by_object(from)?, dsl.dataset_by_object(to)?);
        let key = |dataset: &Dataset<_>| Ok::<_, Error>(dataset.crypto_key()?.map(|keys| keys.wrapped.guid));
        let is_same = from.dir().object() == to.dir().object() || key(&from)? == key(&to)?;
        Ok((!is_same).then_some("the datasets are not encrypted with the same key"))
    }

    /// Returns the keys that were loaded.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Writes the changes of a head dataset's object set, and counts them.
    ///
    /// # Errors
    /// Fails like [`ObjsetWriter::sync`]. The pool must be dropped then.
    pub fn sync(&mut self, head: ObjectId, set: &mut ObjsetWriter) -> Result<BlockPointer> {
        if !set.is_dirty() {
            return Ok(*set.root());
        }
        self.pool.check_claimed()?;
        let mut tx = self.tx();
        let mut ledger = tx.ledger(head)?;
        let root = set.sync(&mut ledger)?;
        ledger.finish(root)?;
        Ok(root)
    }

    /// Destroys the datasets that interrupted receives have left and that cannot be resumed, like OpenZFS when it
    /// imports a pool. Datasets that cannot be read are kept, and their errors are in [`unread`](Self::unread).
    ///
    /// # Errors
    /// Fails if the datasets cannot be changed, and like [`commit`](Self::commit). The pool must be dropped then.
    pub fn destroy_unresumable(&mut self) -> Result<()> {
        let (names, unread) = self.tx().destroy_unresumable()?;
        self.unread = unread;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            self.log(Event::Internal("destroy", &format!("{name} (unfinished receive)")))?;
        }
        self.commit().map(drop)
    }

    /// Frees the blocks of clones that OpenZFS destroyed and that were not freed yet, like OpenZFS after it imports a
    /// pool. Lists that cannot be read are kept, and their errors are in [`unread`](Self::unread).
    ///
    /// # Errors
    /// Fails if the blocks cannot be freed, and like [`commit`](Self::commit). The pool must be dropped then.
    pub fn free_deleted_clones(&mut self) -> Result<()> {
        let (freed, unread) = self.tx().free_deleted_clones()?;
        self.unread.extend(unread);
        if freed == 0 {
            return Ok(());
        }
        self.commit().map(drop)
    }

    /// Sets the limits of livelists: the number of blocks in a part after which the next one is begun, and the percentage
    /// of a clone that must be shared with its origin. For tests.
    #[cfg(feature = "testing")]
    pub fn limit_livelists(&mut self, part_blocks_max: u64, shared_percent: u64) {
        self.livelists = super::livelist::Limits { part_blocks_max, shared_percent };
    }

    /// Returns the errors of datasets that could not be read when unfinished receives were searched.
    #[must_use]
    pub fn unread(&self) -> &[Error] {
        &self.unread
    }

    /// Completes the transaction group and starts the next one.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::commit`]. The pool must be dropped then.
    pub fn commit(&mut self) -> Result<Txg> {
        let mut books = self.books();
        let Self { pool, entropy, .. } = self;
        Ok(pool.commit(&mut |mos, delta| books.charge(mos, delta, entropy).map_err(Error::into_pool))?)
    }

    /// Completes the last transaction group and exports the pool, so that any host can import it.
    ///
    /// # Errors
    /// Fails like [`PoolWriter::export`].
    pub fn export(mut self) -> Result<Txg> {
        let mut books = self.books();
        let Self { pool, mut entropy, .. } = self;
        Ok(pool.export(&mut |mos, delta| books.charge(mos, delta, &mut entropy).map_err(Error::into_pool))?)
    }

    fn books(&mut self) -> Books {
        let (clock, name) = (self.clock(), self.pool.name().to_owned());
        let parts = self.pool.parts();
        Books { name, space: Arc::clone(parts.space), reader: Arc::clone(parts.reader) as _, clock }
    }
}

/// A counter that charges the blocks of the MOS to `$MOS` while the MOS is synced.
struct Books {
    name: String,
    space: Arc<Allocator>,
    reader: Arc<dyn ReadBlock>,
    clock: Clock,
}

impl Books {
    fn charge(&mut self, mos: &mut dyn ObjectStore, delta: &SpaceDelta, entropy: &mut Entropy) -> Result<()> {
        let SpaceDelta { used, compressed, uncompressed } = *delta;
        Tx::new(self.name.as_str(), mos, &*self.space, Arc::clone(&self.reader), self.clock, entropy)
            .use_mos_space(Change { used, compressed, uncompressed })
    }
}
