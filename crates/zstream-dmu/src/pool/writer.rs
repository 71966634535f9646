//! Pools, opened for writing.
//!
//! ```text
//! open -> locked, judged -> changes in the MOS and below -> commit -> changes -> commit ... -> export
//!                               (datasets sync first)       active                            exported
//! ```
//!
//! A pool that is being written says so in its labels from the first commit on, as an imported pool does, so that no other
//! host takes it; after the last one it says that it is exported, and any host imports it. A single commit can be both.
//!
//! What goes wrong while a transaction group is committed loses that group: the pool on its devices is as after the one
//! before, and the writer must be dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::Salt;
use zstream_format::nvlist::NvList;

use super::history::{self, Author, Event};
use super::intent_logs;
use super::maintained::check_maintained;
use super::scan::{self, Candidate};
use super::{OpenOptions, Pool, VERSIONS, config_list};
use crate::block::ReadBlock;
use crate::cache;
use crate::device::{Files, OpenDevice, OverlayDevice};
use crate::error::{Error, Fault, Result};
use crate::host::{self, Host};
use crate::ids::{Guid, ObjectId, Txg};
use crate::mos::DIRECTORY_OBJECT;
use crate::object_store::ObjectStore;
use crate::objset::Objset;
use crate::objset::writer::{ObjsetWriter, SetProperties};
use crate::space::Allocator;
use crate::space::vdev_space::VdevSpace;
use crate::tx::{self, Commit, SpaceDelta};
use crate::vdev::config::{PoolState, VdevConfig};
use crate::vdev::label::Role;
use crate::vdev::sync::PoolLabels;
use crate::vdev::uberblock::Uberblock;
use crate::vdev::{VdevState, VdevTree};
use crate::zap::Zap;
use crate::zio::Space;
use crate::zio::write::WriteBlock;
use crate::zio::{BlockReader, BlockWriter, WriterSettings};

/// Notes in the MOS what the MOS itself takes; see [`tx::commit`].
pub type Account<'a> = dyn FnMut(&mut dyn ObjectStore, &SpaceDelta) -> Result<()> + 'a;

/// How a pool is to be opened for writing.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// The pool's name, or its guid in decimal; needed when the devices hold several pools.
    pub name: Option<String>,
    /// Take the pool although another host may have it.
    pub force: bool,
    /// Who writes.
    pub host: Host,
    /// Seconds since 1970 that everything is noted to have happened at, instead of the time it does.
    pub now: Option<u64>,
    /// Bytes for the cache of blocks.
    pub cache_bytes: usize,
    /// Try changes out: what is written stays in memory and is gone with the writer, and the devices stay as they are.
    pub rehearsal: bool,
    /// What opens the members by their paths: files and disks, unless it is given.
    pub devices: Arc<dyn OpenDevice>,
    /// For tests: [`WriterSettings::whole_max`].
    pub whole_max: Option<u64>,
    /// For tests: [`WriterSettings::is_uncompressed`].
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
            whole_max: None,
            is_uncompressed: false,
        }
    }
}

/// What changes to a pool are made with, within a transaction group.
pub struct Parts<'a> {
    /// The MOS.
    pub mos: &'a mut ObjsetWriter,
    /// The pool's space.
    pub space: &'a Arc<Allocator>,
    /// What reads its blocks.
    pub reader: &'a Arc<BlockReader>,
    /// What writes its blocks.
    pub writer: &'a Arc<dyn WriteBlock>,
}

/// A pool open for writing.
pub struct PoolWriter {
    pub(super) reader: Arc<BlockReader>,
    pub(super) space: Arc<Allocator>,
    pub(super) writer: Arc<dyn WriteBlock>,
    pub(super) mos: ObjsetWriter,
    pub(super) labels: PoolLabels,
    pub(super) config: NvList,
    pub(super) config_object: ObjectId,
    /// Whether the labels on the devices need not be those of the last transaction group.
    pub(super) is_config_old: bool,
    pub(super) last: Uberblock,
    pub(super) host: Host,
    pub(super) now: Option<u64>,
    pub(super) is_rehearsal: bool,
}

impl std::fmt::Debug for PoolWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolWriter({}, txg {})", self.name(), self.txg())
    }
}

impl PoolWriter {
    /// Opens the pool whose members are at `paths`, files, disks or directories to search, and locks its members against other
    /// writers.
    ///
    /// # Errors
    /// As [`Pool::open`], and:
    /// - Another program writes to a member.
    /// - Another host may have the pool, unless forced.
    /// - A member is missing or not in order, or being replaced; vdevs were or are being removed or expanded; a scrub or
    ///   resilver has begun and not ended.
    /// - The pool was not exported, and an intent log was not replayed.
    /// - The pool's version is older than features, its integers are big-endian, it has dedup tables, or an active feature
    ///   that is not [maintained](super::maintained).
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

    /// Opens the pool on devices that can be written and whose labels were read.
    ///
    /// # Errors
    /// As [`open`](Self::open).
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
                Error::corrupt("pool salt", format!("{} bytes, expected {}", salt.len(), Salt::SIZE))
            })?)),
            None => None,
        };
        let settings = WriterSettings {
            salt,
            hole_birth: pool.features().is_active("hole_birth"),
            embedded_data: pool.features().is_active("embedded_data"),
            whole_max: options.whole_max,
            is_uncompressed: options.is_uncompressed,
        };
        let config_object = pool.directory_object("config")?;
        let space = Arc::new(space);
        let writer: Arc<dyn WriteBlock> = Arc::new(BlockWriter::new(Arc::clone(&space) as _, settings));
        let reader = Arc::clone(pool.reader());
        let set = Objset::open(Arc::clone(&reader) as Arc<dyn ReadBlock>, 0, pool.uberblock().root)?;
        let properties = mos_properties(pool.features().is_active("lz4_compress"));
        let mut config = pool.config_list().clone();
        // What the labels say counts: the MOS of a pool that was never exported may say that it is.
        for pair in config.iter_mut().filter(|pair| pair.name == *"state") {
            pair.value = zstream_format::nvlist::NvValue::Uint64(pool.state().into());
        }
        Ok(Self {
            mos: ObjsetWriter::open(set, Arc::clone(&writer), properties)?,
            labels: PoolLabels::new(Arc::clone(reader.vdevs())),
            config,
            config_object: config_object.ok_or_else(|| Error::no_entry("MOS object", "config"))?,
            is_config_old: true,
            last: *pool.uberblock(),
            host: options.host.clone(),
            now: options.now,
            is_rehearsal: options.rehearsal,
            reader,
            space,
            writer,
        })
    }

    /// Whether what is written stays in memory.
    #[must_use]
    pub fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.get_str("name").unwrap_or_default()
    }

    /// Guid of the pool.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.vdevs().guid()
    }

    /// The transaction group to which changes belong.
    #[must_use]
    pub fn txg(&self) -> Txg {
        self.space.txg()
    }

    /// What the pool's labels say it is doing.
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

    /// The config as it was or will be written.
    #[must_use]
    pub fn config_list(&self) -> &NvList {
        &self.config
    }

    /// What the pool is changed with. Object sets of datasets are written by `writer` and synced before the commit.
    pub fn parts(&mut self) -> Parts<'_> {
        Parts { mos: &mut self.mos, space: &self.space, reader: &self.reader, writer: &self.writer }
    }

    /// The MOS, to be read: with the changes of this transaction group.
    #[must_use]
    pub fn mos(&self) -> &ObjsetWriter {
        &self.mos
    }

    /// What of the pool is taken and what is free.
    #[must_use]
    pub fn space(&self) -> &Allocator {
        &self.space
    }

    /// What reads the pool's blocks.
    #[must_use]
    pub fn reader(&self) -> &Arc<BlockReader> {
        &self.reader
    }

    /// The time at which things are noted to happen, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.now.unwrap_or_else(system)
    }

    /// Notes an event in the pool's history.
    ///
    /// # Errors
    /// As [`history::log`].
    pub fn log(&mut self, event: Event<'_>) -> Result<()> {
        let author = Author { host: self.host.clone(), uid: host::user_id(), now: self.now() };
        history::log(&mut self.mos, &author, event)
    }

    /// Completes the transaction group and begins the next one. Without changes nothing is written.
    ///
    /// # Errors
    /// As [`tx::commit`]; the writer must be dropped then.
    pub fn commit(&mut self, account: &mut Account<'_>) -> Result<Txg> {
        if self.mos.is_dirty() || self.space.is_changed() {
            self.commit_as(PoolState::Active, account)?;
        }
        Ok(self.last.txg)
    }

    /// Completes the last transaction group and leaves the pool for any host to import. Gives the group.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn export(mut self, account: &mut Account<'_>) -> Result<Txg> {
        let is_changed = self.mos.is_dirty() || self.space.is_changed();
        if is_changed || self.state() != PoolState::Exported {
            self.commit_as(PoolState::Exported, account)?;
        }
        Ok(self.last.txg)
    }

    fn commit_as(&mut self, state: PoolState, account: &mut Account<'_>) -> Result<()> {
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

/// How the blocks of the MOS are written.
pub(super) fn mos_properties(has_lz4: bool) -> SetProperties {
    let default_compression = if has_lz4 { CompressionType::LZ4 } else { CompressionType::LZJB };
    SetProperties { default_compression, ..SetProperties::mos() }
}

/// Refuses hot spares and cache devices among the members, and copies of members.
fn check_devices(candidates: &[Candidate]) -> Result<()> {
    let mut seen: Vec<(Guid, &str)> = Vec::new();
    for candidate in candidates {
        let name = candidate.member.name.as_str();
        match candidate.labels.best(None).map(|label| &label.role) {
            Some(Role::Member(config)) => {
                let Some(guid) = config.guid else { continue };
                if let Some((_, other)) = seen.iter().find(|(seen, _)| *seen == guid) {
                    return Err(Error::bad_request(format!(
                        "{name} and {other} are the same member of pool {}: one must be a copy",
                        config.name
                    )));
                }
                seen.push((guid, name));
            }
            Some(Role::Auxiliary { .. }) | None => {}
        }
    }
    Ok(())
}

/// Refuses a pool that another host may have (`zfs_force_import_required`, `vdev_activity_check`).
fn check_host(pool: &Pool, options: &WriteOptions) -> Result<()> {
    if options.force || pool.state() == PoolState::Exported {
        return Ok(());
    }
    let config = pool.config();
    if pool.state() == PoolState::Destroyed {
        let name = &config.name;
        return Err(Error::bad_request(format!(
            "pool {name} was destroyed; it can be read, and `pool export -f {name}` makes it a pool again"
        )));
    }
    let id = config.hostid.unwrap_or(0);
    if id != u64::from(options.host.id) {
        // That is how a host calls itself that was never given a name.
        let host = config.hostname.as_deref().filter(|name| !["", "(none)"].contains(name));
        let host = host.unwrap_or("a host without a name");
        return Err(Fault::InUse(format!(
            "pool {0} was last used by {host} (hostid {id:x}) and not exported; it may be in use there; if it is not, \
             `pool export -f {0}` says so",
            config.name
        ))
        .into());
    }
    if pool.uberblock().mmp_magic == crate::vdev::uberblock::MMP_MAGIC && pool.uberblock().mmp_delay != 0 {
        return Err(Fault::InUse(format!(
            "pool {} has multihost on and was not exported; it may be in use",
            config.name
        ))
        .into());
    }
    Ok(())
}

/// Refuses pools that would not be right any more after they were written.
fn check_writable(pool: &Pool) -> Result<()> {
    let refuse = |what: String| Err(Error::unsupported(format!("writing to a pool {what}")));
    if pool.version() != VERSIONS.2 {
        return refuse(format!("of version {}", pool.version()));
    }
    if pool.uberblock().order != zstream_format::order::ByteOrder::Little {
        return refuse("with big-endian integers".to_owned());
    }
    check_maintained(pool.features())?;
    if pool.uberblock().checkpoint_txg.0 != 0 {
        return refuse("opened at its checkpoint".to_owned());
    }
    for vdev in pool.config().vdev_tree.walk() {
        check_vdev(vdev)?;
    }
    let mut stack: Vec<_> = pool.vdevs().tops().iter().collect();
    while let Some(vdev) = stack.pop() {
        if vdev.state() != VdevState::Online {
            let name = vdev.name();
            return refuse(format!("whose member {name} is {}", vdev.state().to_string().to_lowercase()));
        }
        stack.extend(vdev.children());
    }
    if let Some(cut) = pool.vdevs().cut_members().first() {
        return refuse(format!("with a member whose end is missing: {cut}"));
    }
    if pool.state() != PoolState::Exported {
        intent_logs::check_replayed(pool)?;
    }
    let directory = Zap::open(&**pool.mos(), DIRECTORY_OBJECT)?;
    for entry in directory.entries() {
        let entry = entry?;
        let name = String::from_utf8_lossy(entry.key.name()?).into_owned();
        if name.starts_with("DDT-") && name != "DDT-statistics" {
            return refuse("with deduplication tables".to_owned());
        }
    }
    for (name, what) in [
        ("com.delphix:removing", "from which a vdev is being removed"),
        ("com.delphix:condensing_indirect", "with a removed vdev's mapping being condensed"),
        ("com.delphix:zpool_checkpoint", "with a checkpoint"),
    ] {
        if directory.lookup(name)?.is_some() {
            return refuse(what.to_owned());
        }
    }
    // Function, state, and 22 more words; state 1 is "under way".
    if let Some(scan) = directory.lookup("scan")?
        && scan.u64s().get(1) == Some(&1)
    {
        return refuse("whose scrub or resilver has not ended".to_owned());
    }
    Ok(())
}

fn check_vdev(vdev: &VdevConfig) -> Result<()> {
    let name = vdev.display_name();
    match vdev.kind.why_not_written() {
        Some(why) => Err(Error::unsupported(format!("writing to a pool with {name}{why}"))),
        None => Ok(()),
    }
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
