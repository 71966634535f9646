//! Pools that are open for writing.
//!
//! ```text
//! open -> lock, validate -> changes in the MOS and below -> commit -> changes -> commit ... -> export
//!                               (datasets sync first)       active                            exported
//! ```
//!
//! From the first commit on, the labels of a pool that is being written are active, like those of an imported pool, so
//! that no other host imports it. After the last commit they are exported, and any host can import the pool. A single
//! commit can be both.
//!
//! An error in the commit of a transaction group loses that group. The pool on its devices is in the state of the
//! previous group, and the writer must be dropped.

mod writable;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::Salt;
use zstream_format::nvlist::NvList;

use self::writable::{check_devices, check_host, check_writable};
use super::absent::Absent;
use super::history::{self, Author, Event};
use super::intent_logs;
use super::scan::{self, Candidate};
use super::{Notice, OpenOptions, Pool, VERSIONS, config_list};
use crate::block::ReadBlock;
use crate::cache;
use crate::device::{Files, OpenDevice, OverlayDevice};
use crate::error::{Error, Result};
use crate::host::{self, Host};
use crate::ids::{Guid, ObjectId, Txg};
use crate::mos::Features;
use crate::object_store::ObjectStore;
use crate::objset::Objset;
use crate::objset::writer::{ObjsetWriter, SetProperties};
use crate::space::Allocator;
use crate::space::vdev_space::VdevSpace;
use crate::tx::{self, Commit, SpaceDelta};
use crate::vdev::VdevTree;
use crate::vdev::config::PoolState;
use crate::vdev::sync::PoolLabels;
use crate::vdev::uberblock::Uberblock;
use crate::zio::Space;
use crate::zio::large_headers::{self, LargeHeaders};
use crate::zio::write::WriteBlock;
use crate::zio::{BlockReader, BlockWriter, WriterSettings};

/// A function that records the space of the MOS in the MOS itself; see [`tx::commit`].
pub(crate) type Account<'a> = dyn FnMut(&mut dyn ObjectStore, &SpaceDelta) -> Result<()> + 'a;

/// The options for opening a pool for writing.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// The name of the pool, or its guid in decimal. Required if the devices belong to several pools.
    pub name: Option<String>,
    /// Opens the pool even if another host may use it.
    pub force: bool,
    /// The host that writes.
    pub host: Host,
    /// The time to record for all events in seconds since 1970, instead of the current time.
    pub now: Option<u64>,
    /// The size of the block cache in bytes.
    pub cache_bytes: usize,
    /// Keeps all writes in memory until the writer is dropped, so that the devices do not change (a dry run).
    pub rehearsal: bool,
    /// The opener of members by path. The default opens files and disks.
    pub devices: Arc<dyn OpenDevice>,
    /// For tests: larger blocks become gang blocks.
    #[cfg(any(test, feature = "testing"))]
    pub whole_max: Option<u64>,
    /// For tests: blocks are not compressed.
    #[cfg(any(test, feature = "testing"))]
    pub is_uncompressed: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            name: None,
            force: false,
            host: Host::this(),
            now: None,
            cache_bytes: cache::DEFAULT_BYTES,
            rehearsal: false,
            devices: Arc::new(Files),
            #[cfg(any(test, feature = "testing"))]
            whole_max: None,
            #[cfg(any(test, feature = "testing"))]
            is_uncompressed: false,
        }
    }
}

/// The components that change a pool within a transaction group.
#[non_exhaustive]
pub struct Parts<'a> {
    /// The MOS.
    pub mos: &'a mut ObjsetWriter,
    /// The space of the pool.
    pub space: &'a Arc<Allocator>,
    /// The reader of the pool's blocks.
    pub reader: &'a Arc<BlockReader>,
    /// The writer of the pool's blocks.
    pub writer: &'a Arc<dyn WriteBlock>,
}

/// A pool that is open for writing.
pub struct PoolWriter {
    pub(super) reader: Arc<BlockReader>,
    pub(super) space: Arc<Allocator>,
    pub(super) writer: Arc<dyn WriteBlock>,
    pub(super) mos: ObjsetWriter,
    pub(super) labels: PoolLabels,
    pub(super) config: NvList,
    pub(super) config_object: ObjectId,
    /// Whether the labels on the devices may differ from those of the last transaction group.
    pub(super) is_config_old: bool,
    pub(super) last: Uberblock,
    pub(super) host: Host,
    pub(super) now: Option<u64>,
    pub(super) is_rehearsal: bool,
    pub(super) large_headers: Arc<LargeHeaders>,
    pub(super) absent: Absent,
    /// The heads whose intent logs have to be claimed before anything is allocated.
    pub(super) unclaimed: Vec<ObjectId>,
    pub(super) notices: Vec<Notice>,
}

impl std::fmt::Debug for PoolWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolWriter({}, txg {})", self.name(), self.txg())
    }
}

impl PoolWriter {
    /// Opens the pool whose members are at `paths`: files, disks or directories to search. Locks its members against
    /// other writers.
    ///
    /// # Errors
    /// Fails as [`Pool::open`], and if:
    /// - another program writes to a member,
    /// - another host may use the pool, unless forced,
    /// - more members of a vdev are missing or offline than its redundancy allows, or one is truncated,
    /// - a vdev is being removed, or the expansion of one is at its scratch area,
    /// - the pool has a version without feature flags, big-endian integers, or an active feature that is not maintained
    ///   by writes.
    pub fn open(paths: &[PathBuf], options: &WriteOptions) -> Result<Self> {
        let mut found = scan::scan(&*options.devices, paths)?;
        if let Some((_, error)) = found.refused.pop() {
            return Err(error);
        }
        let others = std::mem::take(&mut found.others);
        let found = scan::choose(found.candidates, options.name.as_deref())
            .map_err(|error| scan::explain(error, others))?;
        Self::open_candidates(scan::reopen_writable(&*options.devices, &found)?, options)
    }

    /// Opens the pool on writable devices whose labels were already read.
    ///
    /// # Errors
    /// Fails as [`open`](Self::open).
    pub fn open_candidates(mut candidates: Vec<Candidate>, options: &WriteOptions) -> Result<Self> {
        if options.rehearsal {
            for Candidate { member, .. } in &mut candidates {
                member.device = Arc::new(OverlayDevice::new(Arc::clone(&member.device)));
            }
        }
        check_devices(&candidates)?;
        let open = OpenOptions {
            name: options.name.clone(),
            cache_bytes: options.cache_bytes,
            ..OpenOptions::default()
        };
        let pool = Pool::open_candidates(candidates, &open)?;
        check_host(&pool, options)?;
        check_writable(&pool)?;
        let unclaimed = intent_logs::unclaimed(&pool)?;
        let mos = pool.mos();
        let next = Txg(pool.txg().0 + 1);
        let mut spaces = Vec::new();
        for top in &pool.config().vdev_tree.children {
            spaces.extend(VdevSpace::find(&**mos, top)?);
        }
        let form = pool.features().into();
        let space = Allocator::open(Arc::clone(pool.reader()), Arc::clone(mos) as _, &spaces, form, next)?;
        let salt = match pool.directory_entry("org.illumos:checksum_salt")? {
            Some(salt) => Some(Salt::new(salt.bytes()?.try_into().map_err(|_| {
                Error::corrupt("pool salt", format!("is {} bytes, expected {}", salt.len(), Salt::SIZE))
            })?)),
            None => None,
        };
        let is = |state: fn(&Features, &str) -> bool| state(pool.features(), large_headers::FEATURE);
        let large_headers = Arc::new(LargeHeaders::of(is(Features::is_enabled), is(Features::is_active)));
        let settings = WriterSettings {
            salt,
            hole_birth: pool.features().is_active("hole_birth"),
            embedded_data: pool.features().is_active("embedded_data"),
            large_headers: Arc::clone(&large_headers),
            #[cfg(any(test, feature = "testing"))]
            whole_max: options.whole_max,
            #[cfg(any(test, feature = "testing"))]
            is_uncompressed: options.is_uncompressed,
        };
        let config_object = pool.directory_object("config")?;
        let space = Arc::new(space);
        let writer: Arc<dyn WriteBlock> = Arc::new(BlockWriter::new(Arc::clone(&space) as _, settings));
        let reader = Arc::clone(pool.reader());
        let set = Objset::open(Arc::clone(&reader) as Arc<dyn ReadBlock>, 0, pool.uberblock().root)?;
        let properties = mos_properties(pool.features().is_active("lz4_compress"));
        let mut config = pool.config_list().clone();
        // The state in the labels is authoritative: that in the MOS of a pool that was never exported may be exported.
        for pair in config.iter_mut().filter(|pair| pair.name == *"state") {
            pair.value = zstream_format::nvlist::NvValue::Uint64(pool.state().into());
        }
        Ok(Self {
            mos: ObjsetWriter::open(set, Arc::clone(&writer), properties)?,
            labels: PoolLabels::new(Arc::clone(reader.vdevs())),
            config,
            config_object: config_object.ok_or_else(|| Error::no_entry("MOS object", "config"))?,
            is_config_old: true,
            last: with_software_version(&pool)?,
            host: options.host.clone(),
            now: options.now,
            is_rehearsal: options.rehearsal,
            large_headers,
            absent: Absent::of(reader.vdevs(), pool.txg()),
            unclaimed,
            notices: pool.notices(),
            reader,
            space,
            writer,
        })
    }

    /// Returns whether writes stay in memory.
    #[must_use]
    pub fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Returns the notices for the user of the pool, as of when it was opened.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.get_str("name").unwrap_or_default()
    }

    /// The guid of the pool.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.vdevs().guid()
    }

    /// The transaction group to which changes belong.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.space.txg()
    }

    /// The state of the pool in its labels.
    #[must_use]
    pub fn state(&self) -> PoolState {
        config_list::number(&self.config, "state").into()
    }

    /// The uberblock of the last transaction group.
    #[must_use]
    pub fn uberblock(&self) -> &Uberblock {
        &self.last
    }

    /// The vdevs with their devices.
    #[must_use]
    pub fn vdevs(&self) -> &Arc<VdevTree> {
        self.reader.vdevs()
    }

    /// The config as it was last written or will be written next.
    #[must_use]
    pub fn config_list(&self) -> &NvList {
        &self.config
    }

    /// Returns the components to change the pool. Object sets of datasets are written through `writer` and synced
    /// before the commit.
    pub fn parts(&mut self) -> Parts<'_> {
        Parts { mos: &mut self.mos, space: &self.space, reader: &self.reader, writer: &self.writer }
    }

    /// The MOS for reading, with the changes of this transaction group.
    #[must_use]
    pub fn mos(&self) -> &ObjsetWriter {
        &self.mos
    }

    /// The allocated and the free space of the pool.
    #[must_use]
    pub fn space(&self) -> &Allocator {
        &self.space
    }

    /// The reader of the pool's blocks.
    #[must_use]
    pub fn reader(&self) -> &Arc<BlockReader> {
        &self.reader
    }

    /// Returns the time to record for events, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.now.unwrap_or_else(system)
    }

    /// Records an event in the pool history.
    ///
    /// # Errors
    /// Fails as [`history::log`].
    pub fn log(&mut self, event: Event<'_>) -> Result<()> {
        let author = Author { host: self.host.clone(), uid: host::user_id(), now: self.now() };
        history::log(&mut self.mos, &author, event)
    }

    /// Commits the transaction group and begins the next one. Writes nothing if there are no changes.
    ///
    /// # Errors
    /// Fails as [`tx::commit`]. The writer must then be dropped.
    pub fn commit(&mut self, account: &mut Account<'_>) -> Result<Txg> {
        if self.mos.is_dirty() || self.space.is_changed() {
            self.commit_as(PoolState::Active, account)?;
        }
        Ok(self.last.txg)
    }

    /// Commits the last transaction group and exports the pool, so that any host can import it. Returns the group.
    ///
    /// # Errors
    /// Fails as [`commit`](Self::commit).
    pub fn export(mut self, account: &mut Account<'_>) -> Result<Txg> {
        let is_changed = self.mos.is_dirty() || self.space.is_changed();
        if is_changed || self.state() != PoolState::Exported {
            self.commit_as(PoolState::Exported, account)?;
        }
        Ok(self.last.txg)
    }

    fn commit_as(&mut self, state: PoolState, account: &mut Account<'_>) -> Result<()> {
        self.check_claimed()?;
        if self.large_headers.begin_if_wanted() {
            self.activate(large_headers::FEATURE)?;
        }
        let form = self.space.form();
        self.is_config_old |= self.absent.record(&mut self.mos, &mut self.config, form)?;
        if self.is_config_old || self.state() != state {
            self.config = config_list::updated(&self.config, state, self.txg(), &self.host);
            config_list::write_packed(&mut self.mos, self.config_object, &self.config)?;
            self.labels.set_config(self.config.clone());
        }
        let now = self.now();
        let mut parts = Commit {
            mos: &mut self.mos,
            space: &self.space,
            uberblocks: &self.labels,
            last: &self.last,
            now,
        };
        self.last = tx::commit(&mut parts, account)?;
        self.is_config_old = false;
        Ok(())
    }
}

/// The greatest software version after which OpenZFS restarts a scrub or resilver that was in progress, because that
/// software did not keep its position up to date (below `SPA_VERSION_SCAN`).
const VERSION_WITHOUT_SCANS: u64 = 24;

/// Returns the last uberblock with the software version for the next ones.
fn with_software_version(pool: &Pool) -> Result<Uberblock> {
    // The words are function, state, and 22 more; state 1 is "in progress".
    let scan = pool.directory_entry("scan")?;
    let is_scanning = scan.is_some_and(|scan| scan.u64s().get(1) == Some(&1));
    let mut last = *pool.uberblock();
    last.phys.software_version = if is_scanning { VERSION_WITHOUT_SCANS } else { VERSIONS.2 };
    Ok(last)
}

/// Returns the properties that determine how the blocks of the MOS are written.
pub(super) fn mos_properties(has_lz4: bool) -> SetProperties {
    let default_compression = if has_lz4 { CompressionType::LZ4 } else { CompressionType::LZJB };
    SetProperties { default_compression, ..SetProperties::mos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_compressed_as_the_pool_can_be_read() {
        assert_eq!(mos_properties(true).default_compression, CompressionType::LZ4);
        assert_eq!(mos_properties(false).default_compression, CompressionType::LZJB);
    }
}
