//! A pool open for changes of its datasets, from opening or creating it to leaving it for others.
//!
//! ```text
//! let mut pool = WritablePool::open(...)          or create(...), which makes the first datasets too
//! pool.tx().snapshot(...)                         changes of datasets
//! let mut set = pool.open_head(head)              changes of what is in one
//! pool.sync(head, &mut set)                       its blocks are written and counted
//! pool.commit()                                   all of it is on stable storage, or nothing
//! pool.export()
//! ```

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::intent_log::has_records;
use zstream_dmu::mos::Features;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::objset::Objset;
use zstream_dmu::objset::writer::{ObjsetWriter, SetProperties};
use zstream_dmu::pool::create::NewPool;
use zstream_dmu::pool::history::Event;
use zstream_dmu::pool::properties::PoolChange;
use zstream_dmu::pool::writer::{PoolWriter, WriteOptions};
use zstream_dmu::space::Allocator;
use zstream_dmu::tx::SpaceDelta;
use zstream_dmu::zap::Value;
use zstream_dmu::zio::crypt::Keyring;
use zstream_dmu::zio::write::Protection;
use zstream_format::errno::Errno;
use zstream_format::file_info::owners;
use zstream_format::object_type::ObjsetType;

use super::usage::Change;
use super::{Clock, Entropy, FirstDatasets, Tx, Wrapping};
use crate::erratum::Erratum;
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;
use crate::pool::Dsl;
use crate::prop::space::PoolSpace;
use crate::reader::OpenMos;

/// The features of file systems that count objects and projects.
const OBJECTS: &str = "userobj_accounting";
const PROJECTS: &str = "project_quota";

/// A pool open for changes of its datasets.
#[derive(Debug)]
pub struct WritablePool {
    pub(super) pool: PoolWriter,
    pub(super) keyring: Arc<Keyring>,
    /// The keys that wrap those of datasets, by encryption root.
    pub(super) wrappings: HashMap<ObjectId, Wrapping>,
    entropy: Entropy,
    is_reproducible: bool,
    /// What datasets can use together; none where that cannot be told from sizes.
    space: Option<PoolSpace>,
    unread: Vec<Error>,
    /// The transaction group that was the last one when the pool was opened.
    opened: Txg,
}

impl WritablePool {
    /// Opens the pool whose members are at `paths`.
    ///
    /// # Errors
    /// As [`PoolWriter::open`].
    pub fn open(paths: &[PathBuf], options: &WriteOptions) -> Result<Self> {
        Self::over(PoolWriter::open(paths, options)?, None)
    }

    /// Creates a pool with the datasets that every pool has. The root dataset has no object set yet: before the first
    /// commit one has to be made with [`create_set`](Self::create_set). With a seed, what is made is the same every time.
    ///
    /// # Errors
    /// As [`PoolWriter::create`].
    pub fn create(new: NewPool, seed: Option<u64>) -> Result<(Self, FirstDatasets)> {
        let mut this = Self::over(PoolWriter::create(new)?, seed)?;
        let first = this.tx().create_pool()?;
        Ok((this, first))
    }

    /// Makes changes over a pool that is open for writing. Guids come from the seed, if there is one.
    ///
    /// # Errors
    /// The system has no random numbers.
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
        Ok(Self { pool, keyring, wrappings, entropy, is_reproducible, space, unread, opened })
    }

    /// The pool below.
    #[must_use]
    pub fn pool(&self) -> &PoolWriter {
        &self.pool
    }

    /// The transaction group to which changes belong.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.pool.txg()
    }

    /// Whether a transaction group was completed since the pool was opened: if none was, what is on its devices is as before.
    #[must_use]
    pub fn has_committed(&self) -> bool {
        self.pool.uberblock().txg != self.opened
    }

    /// Notes an event in the pool's history.
    ///
    /// # Errors
    /// As [`PoolWriter::log`].
    pub fn log(&mut self, event: Event<'_>) -> Result<()> {
        Ok(self.pool.log(event)?)
    }

    /// Changes a property of the pool, or enables a feature.
    ///
    /// # Errors
    /// As [`PoolWriter::change`].
    pub fn change_pool(&mut self, change: &PoolChange) -> Result<()> {
        Ok(self.pool.change(change)?)
    }

    fn clock(&self) -> Clock {
        let now = Clock::now();
        let seconds = self.pool.now();
        // A time that was given has no fraction; nor has that of an image that is to be made again.
        let is_given = self.is_reproducible || seconds.abs_diff(now.seconds) > 1;
        Clock { seconds, nanoseconds: if is_given { 0 } else { now.nanoseconds } }
    }

    /// The datasets, open for change in this transaction group.
    pub fn tx(&mut self) -> Tx<'_> {
        let clock = self.clock();
        let name = self.pool.name().to_owned();
        let parts = self.pool.parts();
        let reader = Arc::clone(parts.reader) as Arc<dyn ReadBlock>;
        let mut tx = Tx::new(name, parts.mos, &**parts.space, reader, clock, &mut self.entropy);
        tx.pool_space = self.space;
        tx.keyring = Arc::clone(&self.keyring);
        tx
    }

    /// The datasets as they are in this transaction group, to be read.
    #[must_use]
    pub fn dsl(&self) -> Arc<Dsl<OpenMos<'_>>> {
        let blocks = Arc::clone(self.pool.reader()) as Arc<dyn ReadBlock>;
        Dsl::of_open(self.pool.name(), self.pool.mos(), &blocks, &self.keyring)
    }

    /// Makes the empty object set of a new head dataset, written as its properties say.
    ///
    /// # Errors
    /// The properties cannot be read; as [`ObjsetWriter::create`].
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

    /// Has what users, groups and projects use counted from the start, as a new file system of OpenZFS does; not in an
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

    /// Makes the object set of a new head dataset that is received raw: what it holds comes encrypted, and needs no key.
    ///
    /// # Errors
    /// As [`create_set`](Self::create_set).
    pub fn create_kept_set(&mut self, head: ObjectId, objset_type: ObjsetType) -> Result<ObjsetWriter> {
        let properties =
            SetProperties { protection: Protection::Kept, ..self.tx().read().set_properties(head)? };
        let parts = self.pool.parts();
        let reader = Arc::clone(parts.reader) as Arc<dyn ReadBlock>;
        let writer = Arc::clone(parts.writer);
        Ok(ObjsetWriter::create(reader, writer, head.0, objset_type, properties)?.with_owners(owners))
    }

    /// Opens the object set of a head dataset for change, written as its properties say.
    ///
    /// # Errors
    /// There is no such head; it has an intent log with records that were not replayed, which a change would make wrong; as
    /// [`ObjsetWriter::open`].
    pub fn open_head(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        let properties = self.tx().read().set_properties(head)?;
        self.open_set(head, properties)
    }

    /// Opens the object set of an encrypted head dataset to receive raw into it, without its key.
    ///
    /// # Errors
    /// As [`open_head`](Self::open_head).
    pub fn open_kept_head(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        let properties =
            SetProperties { protection: Protection::Kept, ..self.tx().read().set_properties(head)? };
        self.open_set(head, properties)
    }

    /// Refuses a head whose keys are of the first format, as OpenZFS does (`dmu_objset_own_impl`).
    fn check_keys(&mut self, head: ObjectId) -> Result<()> {
        let tx = self.tx();
        let keys = tx.read().keys_of(tx.read().dataset(head)?.dir)?;
        let Some(erratum) = keys.as_ref().and_then(Erratum::of_keys) else { return Ok(()) };
        let name = tx.read().full_name(head)?;
        Err(Error::refused(Errno::EROFS, format!("{name} can only be read: {erratum}: {}", erratum.advice())))
    }

    fn open_set(&mut self, head: ObjectId, properties: SetProperties) -> Result<ObjsetWriter> {
        self.check_keys(head)?;
        let set = self.read_set(head, properties.protection)?;
        let parts = self.pool.parts();
        if has_records(&**parts.reader, head.0, &set.phys().zil) {
            return Err(Error::unsupported(format!(
                "writing to dataset {head}, whose intent log has records that were not replayed"
            )));
        }
        Ok(ObjsetWriter::open(set, Arc::clone(parts.writer), properties)?.with_owners(owners))
    }

    /// The object set of a head; with [`Protection::Kept`] nothing of it is decrypted.
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

    /// The keys that were loaded.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Writes what changed in the object set of a head dataset, and counts it.
    ///
    /// # Errors
    /// As [`ObjsetWriter::sync`]; the pool must be dropped then.
    pub fn sync(&mut self, head: ObjectId, set: &mut ObjsetWriter) -> Result<BlockPointer> {
        if !set.is_dirty() {
            return Ok(*set.root());
        }
        let mut tx = self.tx();
        let mut ledger = tx.ledger(head)?;
        let root = set.sync(&mut ledger)?;
        ledger.finish(root)?;
        Ok(root)
    }

    /// Destroys what receives were filling when the machine or the program went down, as far as it cannot be resumed, as
    /// OpenZFS does when it imports a pool. What cannot be read stays, and is [`unread`](Self::unread) then.
    ///
    /// # Errors
    /// When the datasets cannot be changed; as [`commit`](Self::commit). The pool must be dropped then.
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

    /// Why datasets could not be read when unfinished receives were looked for.
    #[must_use]
    pub fn unread(&self) -> &[Error] {
        &self.unread
    }

    /// Completes the transaction group and begins the next one.
    ///
    /// # Errors
    /// As [`PoolWriter::commit`]; the pool must be dropped then.
    pub fn commit(&mut self) -> Result<Txg> {
        let mut books = self.books();
        let Self { pool, entropy, .. } = self;
        Ok(pool.commit(&mut |mos, delta| books.charge(mos, delta, entropy).map_err(Error::into_pool))?)
    }

    /// Completes the last transaction group and leaves the pool for any host to import.
    ///
    /// # Errors
    /// As [`PoolWriter::export`].
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

/// Counts in `$MOS` what the MOS takes, while it is synced.
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
