//! Changes of the datasets of a pool, within one transaction group.
//!
//! A [`Tx`] is the MOS open for changes, with everything a change needs: the pool's space, the clock, and random
//! numbers. Each verb first does all checks that can fail, and only then changes anything (`dsl_sync_task`). An error
//! after the first change means that the transaction group must be dropped, and nothing of it is on disk.
//!
//! ```text
//! mod        directories and datasets, ZAPs, entries of their own
//! feature    counts of features, for the pool and for each dataset
//! usage      space up the tree of directories
//! deadlist   deadlists: growing, splitting and merging
//! names      names of datasets that are created or destroyed
//! make       directories, datasets, clones; a pool's first ones
//! snapshot   snapshots
//! ledger     accounting for the blocks of a dataset that is synced
//! livelist   the blocks of clones, so that a clone is destroyed without a traversal
//! remapped   blocks that OpenZFS remapped after the removal of a vdev
//! create     the verbs create, snapshot and clone
//! destroy    the verb destroy
//! swap       rollback, and the end of a receive
//! promote    the verb promote
//! rename     the verb rename
//! hold       the verbs hold and release
//! bookmark   the verb bookmark
//! props      properties that are set and inherited
//! keys       the use of keys, and encryption roots
//! receive    the dataset that a receive fills, from its begin to its snapshot
//! redact     the verb redact; redaction: its lists
//! settings   write settings of a dataset
//! crypt      creation and loading of keys
//! change_key the verb change-key
//! assign     assignment of properties by users
//! plan       datasets that are destroyed together
//! limits     limits on the number of datasets, and on reservations
//! log        intent logs: claimed, replayed, discarded; clones and rollbacks do not take them over
//! open       a pool, from opening or creation to export
//! ```

mod assign;
mod bookmark;
mod change_key;
mod create;
mod crypt;
mod deadlist;
mod destroy;
mod entropy;
mod feature;
mod hold;
mod keys;
mod ledger;
mod limits;
mod livelist;
mod log;
mod make;
mod names;
mod open;
mod plan;
mod promote;
mod props;
mod receive;
mod redact;
mod redaction;
mod remapped;
mod rename;
mod settings;
mod snapshot;
mod swap;
mod unfinished;
mod usage;

use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::bpobj::SizedBlock;
use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_store::{Kept, ObjectStore};
use zstream_dmu::zap::{self, NewZap, NormFlags, Value, ZapFlags, ZapMut, number_key};
use zstream_dmu::zio::Space;
use zstream_dmu::zio::crypt::Keyring;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

pub use self::change_key::NewKey;
pub use self::crypt::Wrapping;
pub use self::entropy::Entropy;
pub use self::ledger::DatasetLedger;
pub use self::make::FirstDatasets;
pub use self::open::WritablePool;
pub use self::plan::Reach;
pub use self::props::Setting;
pub use self::receive::{Filling, ReceivedSnapshot, Resumable};
pub use self::redact::UnlinkedOf;
pub use self::usage::{Change, Use};

use crate::error::Result;
use crate::phys::{DatasetPhys, DirPhys};
use crate::pool::Dsl;
use crate::prop::space::PoolSpace;
use crate::reader::{MosReader, OpenMos, ZAPIFIED};

/// The first transaction group of a pool (`TXG_INITIAL`). Its datasets have creation txg 1.
const TXG_INITIAL: Txg = Txg(4);

/// The time of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Nanoseconds above them.
    pub nanoseconds: u32,
}

impl Clock {
    /// Returns the current time.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
    }
}

/// The datasets of a pool, open for changes in one transaction group.
pub struct Tx<'a> {
    name: String,
    mos: &'a mut dyn ObjectStore,
    space: &'a dyn Space,
    reader: Arc<dyn ReadBlock>,
    keyring: Arc<Keyring>,
    clock: Clock,
    entropy: &'a mut Entropy,
    has_changed: bool,
    livelists: livelist::Limits,
    /// The space that all datasets share, which limits reservations; `None` if it is unknown.
    pool_space: Option<PoolSpace>,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tx({})", self.mos.txg())
    }
}

impl<'a> Tx<'a> {
    /// Opens the datasets of the pool `name` in `mos`. `reader` reads their blocks, and `space` allocates them.
    pub fn new(
        name: impl Into<String>,
        mos: &'a mut dyn ObjectStore,
        space: &'a dyn Space,
        reader: Arc<dyn ReadBlock>,
        clock: Clock,
        entropy: &'a mut Entropy,
    ) -> Self {
        Self {
            name: name.into(),
            mos,
            space,
            reader,
            keyring: Arc::default(),
            clock,
            entropy,
            has_changed: false,
            livelists: livelist::Limits::default(),
            pool_space: None,
        }
    }

    /// Returns the datasets in their current state, for reading.
    #[must_use]
    pub fn dsl(&self) -> Arc<Dsl<OpenMos<'_>>> {
        Dsl::of_open(&self.name, &*self.mos, &self.reader, &self.keyring)
    }

    /// Returns the datasets in their current state, by object.
    pub(crate) fn read(&self) -> MosReader<'_> {
        MosReader { mos: &*self.mos, pool: &self.name, blocks: &self.reader }
    }

    /// Returns the transaction group.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.mos.txg()
    }

    /// Returns `true` if anything was changed. An error then leaves a transaction group that must be dropped.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Returns the MOS, for changes.
    pub(crate) fn mos_mut(&mut self) -> &mut dyn ObjectStore {
        self.has_changed = true;
        self.mos
    }

    /// Returns a number for a guid or a salt, which is not 0.
    ///
    /// # Errors
    /// Fails if the system has no random numbers.
    pub fn random(&mut self) -> PoolResult<u64> {
        loop {
            match self.entropy.next()? {
                0 => {}
                number => return Ok(number),
            }
        }
    }

    /// Returns a number of 56 bits, which identifies a dataset in mounts or an IV set (`unique_create`).
    fn random56(&mut self) -> Result<u64> {
        Ok((self.random()? >> 8).max(1))
    }

    /// Returns the creation txg of new datasets.
    fn creation_txg(&self) -> Txg {
        if self.txg() == TXG_INITIAL { Txg(1) } else { self.txg() }
    }

    /// Returns a block with the space that it counts for.
    pub(crate) fn sized(&self, pointer: &BlockPointer) -> SizedBlock {
        SizedBlock { pointer: *pointer, used_bytes: self.space.dsize(pointer) }
    }

    /// Changes a directory.
    ///
    /// # Errors
    /// Fails if the object is not a directory.
    pub(crate) fn change_dir<T>(
        &mut self,
        object: ObjectId,
        change: impl FnOnce(&mut DirPhys) -> T,
    ) -> Result<T> {
        let info = self.read().bonus(object, ObjectType::DSL_DIR)?;
        let mut bonus = info.bonus()?.to_vec();
        let mut phys = DirPhys::of_bonus(&bonus)?;
        let result = change(&mut phys);
        phys.encode(&mut bonus, ByteOrder::Little);
        if bonus != info.bonus()? {
            self.mos_mut().set_bonus(object, ObjectType::DSL_DIR, &bonus)?;
        }
        Ok(result)
    }

    /// Changes a dataset.
    ///
    /// # Errors
    /// Fails if the object is not a dataset.
    pub(crate) fn change_dataset<T>(
        &mut self,
        object: ObjectId,
        change: impl FnOnce(&mut DatasetPhys) -> T,
    ) -> Result<T> {
        let info = self.read().bonus(object, ObjectType::DSL_DATASET)?;
        let mut bonus = info.bonus()?.to_vec();
        let mut phys = DatasetPhys::of_bonus(&bonus)?;
        let result = change(&mut phys);
        phys.encode(&mut bonus, ByteOrder::Little);
        if bonus != info.bonus()? {
            self.mos_mut().set_bonus(object, ObjectType::DSL_DATASET, &bonus)?;
        }
        Ok(result)
    }

    fn allocate(&mut self, new: &NewObject) -> Result<ObjectId> {
        Ok(self.mos_mut().allocate(new)?)
    }

    fn free(&mut self, object: ObjectId) -> Result<()> {
        Ok(self.mos_mut().free(object)?)
    }

    fn create_zap(&mut self, object_type: ObjectType, norm_flags: NormFlags) -> Result<ObjectId> {
        let new = NewZap { salt: self.random()?, norm_flags, flags: ZapFlags::empty() };
        Ok(zap::create(self.mos_mut(), object_type, &new)?)
    }

    fn zap(&mut self, object: ObjectId) -> Result<ZapMut<'_>> {
        Ok(ZapMut::open(self.mos_mut(), object)?)
    }

    fn add_number(&mut self, zap: ObjectId, number: ObjectId) -> Result<()> {
        Ok(self.zap(zap)?.add(number_key(number.0), &Value::word(number.0))?)
    }

    fn remove_number(&mut self, zap: ObjectId, number: ObjectId) -> Result<bool> {
        Ok(self.zap(zap)?.remove_if_there(number_key(number.0))?)
    }

    /// Makes the object of a directory or dataset a ZAP for entries (`dmu_object_zapify`).
    fn zapify(&mut self, object: ObjectId) -> Result<()> {
        let info = self.mos.info(object)?;
        if info.object_type == ZAPIFIED {
            return Ok(());
        }
        self.feature_add("extensible_dataset", 1)?;
        let bonus = info.bonus()?.to_vec();
        let new = NewObject { dn_slots: info.dn_slots, ..NewObject::new(ZAPIFIED, info.block_bytes as u32) }
            .with_bonus(info.bonus_type, bonus.len() as u16);
        let zap = NewZap::new(self.random()?);
        let mos = self.mos_mut();
        mos.reclaim(object, &new, Kept { content: false, spill: false })?;
        mos.set_bonus(object, info.bonus_type, &bonus)?;
        Ok(zap::create_in(mos, object, &zap)?)
    }

    /// Sets an entry in the object of a directory or dataset.
    ///
    /// # Errors
    /// Fails if the pool does not support such entries (feature `extensible_dataset`), and if the object cannot be
    /// changed.
    pub(crate) fn set_entry(&mut self, object: ObjectId, name: &str, value: &Value) -> Result<()> {
        self.zapify(object)?;
        Ok(self.zap(object)?.update(name, value)?)
    }

    /// Removes an entry from the object of a directory or dataset, and returns whether it existed.
    ///
    /// # Errors
    /// Fails if the object cannot be changed.
    pub(crate) fn remove_entry(&mut self, object: ObjectId, name: &str) -> Result<bool> {
        if self.read().own_zap(object)?.is_none() {
            return Ok(false);
        }
        Ok(self.zap(object)?.remove_if_there(name)?)
    }

    /// Frees the object of a directory or dataset (`dmu_object_free_zapified`).
    fn free_zapified(&mut self, object: ObjectId) -> Result<()> {
        if self.read().own_zap(object)?.is_some() {
            self.feature_add("extensible_dataset", -1)?;
        }
        self.free(object)
    }
}

#[cfg(test)]
mod tests;
