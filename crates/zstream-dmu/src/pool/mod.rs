//! Pools, opened for reading.
//!
//! ```text
//! paths -> scan: devices with labels -> choose: one pool's -> best uberblock
//!       -> vdev tree as the labels know it -> MOS -> its config: the whole vdev tree -> features, salt, mappings
//! ```
//!
//! Labels know only the top-level vdev they belong to, and may be older or newer than the uberblock; they serve to read
//! the MOS. From then on the config in the MOS counts.

pub mod check;
pub mod checkpoint;
mod compatibility;
mod config_list;
pub mod create;
mod edit;
mod freeing;
pub mod history;
mod intent_logs;
pub mod layout;
pub mod maintained;
mod notice;
mod open;
pub mod properties;
pub mod scan;
pub mod spec;
pub mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use zstream_format::nvlist::NvList;
use zstream_format::object_type::ObjectType;

pub use self::notice::Notice;
use crate::blkptr::BlockPointer;
use crate::block::ReadBlock;
use crate::cache;
use crate::device::{Device, Files, OpenDevice};
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, ObjectId, Txg};
use crate::mos::{DIRECTORY_OBJECT, Features};
use crate::object_set::ObjectSet;
use crate::objset::Objset;
use crate::vdev::config::{PoolConfig, PoolState};
use crate::vdev::uberblock::Uberblock;
use crate::vdev::{Member, Vdev, VdevState, VdevTree};
use crate::zap::{Value, Zap};
use crate::zio::{BlockReader, Observer};

/// Oldest and newest version before feature flags, and the version of pools with them.
pub const VERSIONS: (u64, u64, u64) = (1, 28, 5000);

/// Type of ZAPs that have no number of their own (`DMU_OTN_ZAP_METADATA`).
const ZAP_METADATA: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4);

/// How a pool is to be opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// The pool's name, or its guid in decimal; needed when the devices hold several pools.
    pub name: Option<String>,
    /// Open the pool as it was after this transaction group instead of the newest.
    pub txg: Option<Txg>,
    /// Open the pool although top-level vdevs are missing: what lies on them cannot be read.
    pub allow_missing: bool,
    /// Bytes for the cache of blocks.
    pub cache_bytes: usize,
    /// Is told of every bad copy of a block.
    pub observer: Option<Arc<dyn Observer>>,
    /// What opens the members by their paths: files and disks, unless it is given.
    pub devices: Arc<dyn OpenDevice>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        let (name, txg, observer) = (None, None, None);
        let (cache_bytes, devices) = (cache::DEFAULT_BYTES, Arc::new(Files));
        Self { name, txg, allow_missing: false, cache_bytes, observer, devices }
    }
}

/// An open pool.
pub struct Pool {
    uberblock: Uberblock,
    available: Vec<Txg>,
    label_state: PoolState,
    config: PoolConfig,
    config_list: NvList,
    reader: Arc<BlockReader>,
    mos: Arc<Objset>,
    features: Features,
    refused: Vec<(PathBuf, Error)>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({}, txg {})", self.config.name, self.uberblock.txg)
    }
}

impl Pool {
    /// Opens the pool whose members are at `paths`: files, disks or directories to search.
    ///
    /// # Errors
    /// A named path is no member, and the pool lacks none; there are several pools or none; the pool cannot be opened, as
    /// with [`Pool::open_candidates`].
    pub fn open(paths: &[PathBuf], options: &OpenOptions) -> Result<Self> {
        let mut found = scan::scan(&*options.devices, paths)?;
        let mut pool = Self::open_candidates(found.candidates, options)
            .map_err(|error| scan::explain(error, found.others))?;
        if pool.health() == VdevState::Online {
            return match found.refused.pop() {
                Some((_, error)) => Err(error),
                None => Ok(pool),
            };
        }
        // A file of a directory that cannot be looked at may be the one that is missing; one that went away is not.
        let is_there = |(_, error): &(PathBuf, Error)| !matches!(error.fault(), Fault::Io(error) if error.kind() == std::io::ErrorKind::NotFound);
        pool.refused = found.refused;
        let skipped = found.skipped.into_iter().filter(is_there);
        pool.refused.extend(skipped.map(|(path, error)| (path.clone(), error.on_vdev(path.display()))));
        Ok(pool)
    }

    /// Opens the pool on these devices, each with a name for messages.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub fn open_devices(devices: Vec<(String, Arc<dyn Device>)>, options: &OpenOptions) -> Result<Self> {
        let examine = |(name, device)| {
            let member = Member { name, device };
            let name = member.name.clone();
            scan::examine(member).map_err(|error| error.on_vdev(name))
        };
        Self::open_candidates(devices.into_iter().map(examine).collect::<Result<_>>()?, options)
    }

    /// Opens the pool on devices whose labels were read.
    ///
    /// # Errors
    /// - There are several pools or none ([`SeveralPools`](crate::error::Fault::SeveralPools)).
    /// - No uberblock is left, or not that of the wanted transaction group ([`NoSuchTxg`](crate::error::Fault::NoSuchTxg)).
    /// - The pool uses features that are not known ([`UnknownFeatures`](crate::error::Fault::UnknownFeatures)), a version
    ///   or a kind of vdev that is not supported.
    /// - Too many members are missing ([`TooManyMissing`](crate::error::Fault::TooManyMissing)), unless allowed.
    /// - The MOS cannot be read, or its config is bad.
    pub fn open_candidates(candidates: Vec<scan::Candidate>, options: &OpenOptions) -> Result<Self> {
        open::open(candidates, options)
    }

    /// Name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Guid of the pool.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.config.pool_guid
    }

    /// Version of the pool; 5000 with feature flags.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.uberblock.version
    }

    /// What the pool's labels say it is doing.
    #[must_use]
    pub fn state(&self) -> PoolState {
        self.label_state
    }

    /// Whether all members are there, or enough of them.
    #[must_use]
    pub fn health(&self) -> VdevState {
        self.vdevs().state()
    }

    /// The transaction group the pool is seen as of.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.uberblock.txg
    }

    /// The uberblock it was opened by.
    #[must_use]
    pub fn uberblock(&self) -> &Uberblock {
        &self.uberblock
    }

    /// The transaction groups whose uberblocks are still there, ascending. Their blocks may be gone.
    #[must_use]
    pub fn available_txgs(&self) -> &[Txg] {
        &self.available
    }

    /// The config in the MOS.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// The config in the MOS, as it is stored.
    #[must_use]
    pub fn config_list(&self) -> &NvList {
        &self.config_list
    }

    /// Paths that were named and have no labels, though the pool lacks members, and what is wrong with each.
    #[must_use]
    pub fn refused(&self) -> &[(PathBuf, Error)] {
        &self.refused
    }

    /// What its user should know about it.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let cut = self.vdevs().cut_members().into_iter().map(Notice::CutMember);
        Notice::of_lost(self.vdevs()).into_iter().chain(cut).collect()
    }

    /// The vdevs with their devices.
    #[must_use]
    pub fn vdevs(&self) -> &Arc<VdevTree> {
        self.reader.vdevs()
    }

    /// The features the pool has; none for pools from before version 5000.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The meta object set: the objects that describe the pool and its datasets.
    #[must_use]
    pub fn mos(&self) -> &Arc<Objset> {
        &self.mos
    }

    /// What reads the pool's blocks.
    #[must_use]
    pub fn reader(&self) -> &Arc<BlockReader> {
        &self.reader
    }

    /// An entry of the MOS's directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn directory_entry(&self, name: &str) -> Result<Option<Value>> {
        Zap::open(&*self.mos, DIRECTORY_OBJECT)?.lookup(name)
    }

    /// The object that an entry of the MOS's directory names.
    ///
    /// # Errors
    /// The directory cannot be read, or the entry is not one number.
    pub fn directory_object(&self, name: &str) -> Result<Option<ObjectId>> {
        directory_object(&*self.mos, name)
    }

    /// The class of blocks that a top-level vdev is for, like `special` or `dedup`; `None` for ordinary ones and log devices.
    ///
    /// # Errors
    /// The vdev's properties cannot be read.
    pub fn allocation_class(&self, top: &Vdev) -> Result<Option<String>> {
        allocation_class(&*self.mos, top)
    }

    /// Opens a dataset's object set: `id` is the dataset's object in the MOS, `root` its block pointer.
    ///
    /// # Errors
    /// As [`Objset::open`].
    pub fn open_objset(&self, id: u64, root: BlockPointer) -> Result<Objset> {
        Objset::open(Arc::clone(&self.reader) as Arc<dyn ReadBlock>, id, root)
    }
}

/// The object that an entry of a MOS's directory names.
///
/// # Errors
/// The directory cannot be read, or the entry is not one number.
pub fn directory_object(mos: &dyn ObjectSet, name: &str) -> Result<Option<ObjectId>> {
    Ok(Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64(name)?.map(ObjectId))
}

/// The class of blocks that a top-level vdev is for, as [`Pool::allocation_class`] has it, by the MOS of its pool.
///
/// # Errors
/// The vdev's properties cannot be read.
pub fn allocation_class(mos: &dyn ObjectSet, top: &Vdev) -> Result<Option<String>> {
    let Some(object) = top.config().zap.filter(|&object| object != 0) else { return Ok(None) };
    let class = Zap::open(mos, ObjectId(object))?.lookup("org.zfsonlinux:allocation_bias")?;
    class.map(|class| class.text().map(str::to_owned)).transpose()
}
