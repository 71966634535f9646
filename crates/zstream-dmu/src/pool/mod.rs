//! Pools that are open for reading.
//!
//! ```text
//! paths -> scan: devices with labels -> choose: those of one pool -> best uberblock
//!       -> vdev tree of the labels -> MOS -> its config: the whole vdev tree -> features, salt, mappings
//! ```
//!
//! Each label has only the top-level vdev that it belongs to, and may be older or newer than the uberblock. Labels
//! serve to read the MOS; after that, the config in the MOS is authoritative.

mod absent;
mod apart;
pub mod check;
pub(crate) mod checkpoint;
mod compatibility;
mod config_list;
pub(crate) mod create;
mod edit;
mod freeing;
pub mod history;
mod intent_logs;
pub(crate) mod layout;
pub(crate) mod maintained;
mod members;
mod notice;
mod open;
pub(crate) mod properties;
mod removed;
mod rescue;
pub mod scan;
pub(crate) mod spec;
pub(crate) mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use zstream_format::nvlist::NvList;
use zstream_format::object_type::ObjectType;

pub use self::checkpoint::{CheckpointState, Checkpointed};
pub use self::create::{ASHIFT_DEFAULT, NewMember, NewPool};
pub use self::layout::member_asize;
pub use self::maintained::{FeatureSet, check_can_enable};
pub use self::members::UsedMember;
pub use self::notice::Notice;
pub use self::properties::{PoolChange, PoolProperties, STORED, full_name, upgrade_features};
pub use self::spec::{TopSpec, VdevClass, check_name, check_redundancy, parse_vdevs};
pub use self::writer::{PoolWriter, WriteOptions};
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

/// The oldest and the newest version before feature flags, and the version of pools with feature flags.
pub const VERSIONS: (u64, u64, u64) = (1, 28, 5000);

/// The type of ZAPs without their own object type (`DMU_OTN_ZAP_METADATA`).
const ZAP_METADATA: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4);

/// The options for opening a pool.
#[derive(Clone)]
pub struct OpenOptions {
    /// The name of the pool, or its guid in decimal. Required if the devices belong to several pools.
    pub name: Option<String>,
    /// Opens the pool as of the end of this transaction group instead of the newest.
    pub txg: Option<Txg>,
    /// Opens the pool although top-level vdevs are missing. Blocks on them cannot be read.
    pub allow_missing: bool,
    /// Searches for labels at other offsets, and for members without labels by their content; for reading.
    pub rescue: bool,
    /// The size of the block cache in bytes.
    pub cache_bytes: usize,
    /// The observer to which every corrupt copy of a block is reported.
    pub observer: Option<Arc<dyn Observer>>,
    /// The opener of members by path. The default opens files and disks.
    pub devices: Arc<dyn OpenDevice>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        let (name, txg, observer) = (None, None, None);
        let (cache_bytes, devices) = (cache::DEFAULT_BYTES, Arc::new(Files));
        Self { name, txg, allow_missing: false, rescue: false, cache_bytes, observer, devices }
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
    notices: Vec<Notice>,
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
    /// Fails if a named path is not a member although the pool is complete, if there are several pools or none, and if
    /// the pool cannot be opened, as [`Pool::open_candidates`].
    pub fn open(paths: &[PathBuf], options: &OpenOptions) -> Result<Self> {
        if options.rescue {
            return rescue::Found::at(&*options.devices, paths)?.open(options);
        }
        let mut found = scan::scan(&*options.devices, paths)?;
        let mut pool = Self::open_candidates(found.candidates, options)
            .map_err(|error| scan::explain(error, found.others))?;
        if pool.health() == VdevState::Online {
            return match found.refused.pop() {
                Some((_, error)) => Err(error),
                None => Ok(pool),
            };
        }
        // An unreadable file in a directory may be the missing member; a file that was deleted is not.
        let is_there = |(_, error): &(PathBuf, Error)| !matches!(error.fault(), Fault::Io(error) if error.kind() == std::io::ErrorKind::NotFound);
        pool.refused = found.refused;
        let skipped = found.skipped.into_iter().filter(is_there);
        pool.refused.extend(skipped.map(|(path, error)| (path.clone(), error.on_vdev(path.display()))));
        Ok(pool)
    }

    /// Opens the pool on these devices, each with a name for messages.
    ///
    /// # Errors
    /// Fails as [`Pool::open`].
    pub fn open_devices(devices: Vec<(String, Arc<dyn Device>)>, options: &OpenOptions) -> Result<Self> {
        if options.rescue {
            return rescue::Found::on(devices).open(options);
        }
        Self::open_candidates(devices.into_iter().map(examine).collect::<Result<_>>()?, options)
    }

    /// Returns the newest uberblock of each transaction group of the pool whose members are at `paths`, oldest first.
    /// The pool need not open.
    ///
    /// # Errors
    /// Fails if there are several pools or none, and if no device can be read.
    pub fn uberblocks(paths: &[PathBuf], options: &OpenOptions) -> Result<Vec<Uberblock>> {
        if options.rescue {
            return rescue::Found::at(&*options.devices, paths)?.uberblocks(options.name.as_deref());
        }
        let found = scan::scan(&*options.devices, paths)?;
        open::uberblocks(found.candidates, options.name.as_deref())
            .map_err(|error| scan::explain(error, found.others))
    }

    /// Returns the same for the pool on these devices, each with a name for messages.
    ///
    /// # Errors
    /// Fails as [`Pool::uberblocks`].
    pub fn uberblocks_on(
        devices: Vec<(String, Arc<dyn Device>)>,
        options: &OpenOptions,
    ) -> Result<Vec<Uberblock>> {
        if options.rescue {
            return rescue::Found::on(devices).uberblocks(options.name.as_deref());
        }
        let candidates = devices.into_iter().map(examine).collect::<Result<_>>()?;
        open::uberblocks(candidates, options.name.as_deref())
    }

    /// Opens the pool on devices whose labels were already read.
    ///
    /// # Errors
    /// Fails if:
    /// - there are several pools or none ([`SeveralPools`](crate::error::Fault::SeveralPools)),
    /// - there is no uberblock, or none of the requested transaction group
    ///   ([`NoSuchTxg`](crate::error::Fault::NoSuchTxg)),
    /// - the pool uses unknown features ([`UnknownFeatures`](crate::error::Fault::UnknownFeatures)), or a version or a
    ///   type of vdev that is not supported,
    /// - too many members are missing ([`TooManyMissing`](crate::error::Fault::TooManyMissing)), unless that
    ///   is allowed,
    /// - the MOS cannot be read, or its config is invalid.
    pub fn open_candidates(candidates: Vec<scan::Candidate>, options: &OpenOptions) -> Result<Self> {
        open::open(candidates, options)
    }

    /// The name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The guid of the pool.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.config.pool_guid
    }

    /// The version of the pool; 5000 with feature flags.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.uberblock.version
    }

    /// The state of the pool in its labels.
    #[must_use]
    pub fn state(&self) -> PoolState {
        self.label_state
    }

    /// The health of the pool, which depends on the number of missing members.
    #[must_use]
    pub fn health(&self) -> VdevState {
        self.vdevs().state()
    }

    /// The transaction group as of which the pool is open.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.uberblock.txg
    }

    /// The uberblock from which the pool was opened.
    #[must_use]
    pub fn uberblock(&self) -> &Uberblock {
        &self.uberblock
    }

    /// The transaction groups whose uberblocks still exist, in ascending order. Their blocks may be overwritten.
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

    /// The named paths that have no labels, although the pool has missing members, each with its error.
    #[must_use]
    pub fn refused(&self) -> &[(PathBuf, Error)] {
        &self.refused
    }

    /// Returns the notices for the user of the pool.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let cut = self.vdevs().cut_members().into_iter().map(Notice::CutMember);
        self.notices.iter().cloned().chain(Notice::of_lost(self.vdevs())).chain(cut).collect()
    }

    /// The vdevs with their devices.
    #[must_use]
    pub fn vdevs(&self) -> &Arc<VdevTree> {
        self.reader.vdevs()
    }

    /// The features of the pool; empty before version 5000.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The meta object set: the objects that describe the pool and its datasets.
    #[must_use]
    pub fn mos(&self) -> &Arc<Objset> {
        &self.mos
    }

    /// Replaces the MOS by one whose damaged tables were mended; `notices` are about these.
    #[must_use]
    pub fn with_mos(mut self, mos: Arc<Objset>, notices: Vec<Notice>) -> Self {
        self.mos = mos;
        self.notices.extend(notices);
        self
    }

    /// The reader of the pool's blocks.
    #[must_use]
    pub fn reader(&self) -> &Arc<BlockReader> {
        &self.reader
    }

    /// Looks up an entry of the object directory in the MOS.
    ///
    /// # Errors
    /// Fails if the directory cannot be read.
    pub(crate) fn directory_entry(&self, name: &str) -> Result<Option<Value>> {
        Zap::open(&*self.mos, DIRECTORY_OBJECT)?.lookup(name)
    }

    /// Returns the object in an entry of the object directory in the MOS.
    ///
    /// # Errors
    /// Fails if the directory cannot be read, and if the entry is not a single number.
    pub fn directory_object(&self, name: &str) -> Result<Option<ObjectId>> {
        directory_object(&*self.mos, name)
    }

    /// Returns the allocation class of a top-level vdev, such as `special` or `dedup`, or `None` for normal vdevs and
    /// log devices.
    ///
    /// # Errors
    /// Fails if the properties of the vdev cannot be read.
    pub fn allocation_class(&self, top: &Vdev) -> Result<Option<String>> {
        allocation_class(&*self.mos, top)
    }

    /// Opens the object set of a dataset: `id` is the dataset's object in the MOS, `root` its block pointer.
    ///
    /// # Errors
    /// Fails as [`Objset::open`].
    #[cfg(feature = "testing")]
    pub fn open_objset(&self, id: u64, root: crate::blkptr::BlockPointer) -> Result<Objset> {
        Objset::open(Arc::clone(&self.reader) as Arc<dyn crate::block::ReadBlock>, id, root)
    }
}

/// Reads the labels of a device.
fn examine((name, device): (String, Arc<dyn Device>)) -> Result<scan::Candidate> {
    let member = Member { name: name.clone(), device };
    scan::examine(member).map_err(|error| error.on_vdev(name))
}

/// Returns the object in an entry of the object directory in a MOS.
///
/// # Errors
/// Fails if the directory cannot be read, and if the entry is not a single number.
pub fn directory_object(mos: &dyn ObjectSet, name: &str) -> Result<Option<ObjectId>> {
    Ok(Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64(name)?.map(ObjectId))
}

/// Returns the allocation class of a top-level vdev, as [`Pool::allocation_class`], from the MOS of its pool.
///
/// # Errors
/// Fails if the properties of the vdev cannot be read.
pub fn allocation_class(mos: &dyn ObjectSet, top: &Vdev) -> Result<Option<String>> {
    let Some(object) = top.config().zap.filter(|&object| object != 0) else { return Ok(None) };
    let class = Zap::open(mos, ObjectId(object))?.lookup("org.zfsonlinux:allocation_bias")?;
    class.map(|class| class.text().map(str::to_owned)).transpose()
}
