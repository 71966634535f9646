//! Pools, opened for reading or for changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use zstream_dmu::device::{Device, Files, OpenDevice, OverlayDevice};
use zstream_dmu::error::{Error as PoolError, Fault};
use zstream_dmu::ids::{Guid, Txg};
use zstream_dmu::pool::history::Event as HistoryEvent;
use zstream_dmu::pool::scan::{self, Candidate, ScanResult};
use zstream_dmu::pool::{OpenOptions, Pool, PoolWriter, WriteOptions};
use zstream_dmu::vdev::{Member, Vdev};
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::Dsl;
use zstream_dsl::error::{Error as DatasetError, Kind};
use zstream_dsl::mend::{Mended, mend};
use zstream_dsl::write::WritablePool;
use zstream_send::plan::SourcePool;
use zstream_zpl::settings::has_system_attributes;

use super::keys::Keys;
use super::replay::{DIRTY_BYTES_MAX, heads, replay_head};
use crate::control::{Control, Warning};
use crate::error::{Cause, Error, Request, Result};

/// The location of a pool: its disks, image files, directories that contain them, or devices that the caller opened.
///
/// Reading requires only as many members as the redundancy of mirrors and raidz allows. If even more are missing, what
/// does not lie on them alone can still be read, with a warning. Changing a pool requires all members.
#[derive(Clone, Debug)]
pub struct PoolPlace {
    members: Members,
    pool: Option<String>,
    txg: Option<Txg>,
    is_checkpoint: bool,
    replayed: Option<Replayed>,
    is_rescue: bool,
    opener: Arc<dyn OpenDevice>,
}

/// The limit for the changes of replayed intent logs in memory, in bytes.
const REPLAYED_BYTES_MAX: u64 = 1 << 30;

/// The keys of the datasets whose intent logs are replayed in memory.
#[derive(Clone)]
struct Replayed(Arc<dyn Keys + Send + Sync>);

impl std::fmt::Debug for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replayed(..)")
    }
}

/// Devices with their names for messages.
type Devices = Vec<(String, Arc<dyn Device>)>;

#[derive(Clone, Debug)]
enum Members {
    Paths(Vec<PathBuf>),
    /// Each device with its name for messages.
    Devices(Devices),
}

/// An open pool and its datasets.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenPool {
    /// The pool.
    pub pool: Pool,
    /// Its datasets.
    pub dsl: Arc<Dsl>,
}

impl OpenPool {
    /// An open pool and its datasets.
    #[must_use]
    pub fn new(pool: Pool, dsl: Arc<Dsl>) -> Self {
        Self { pool, dsl }
    }

    /// The pool as the source of streams, with the function that examines its filesystems.
    #[must_use]
    pub fn source(&self) -> SourcePool<'_> {
        SourcePool { features: self.pool.features(), has_system_attributes }
    }

    /// Names of the members that are missing.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        fn below(vdev: &Vdev, found: &mut Vec<String>) {
            if vdev.children().is_empty() && !vdev.is_available() {
                found.push(vdev.name().to_owned());
            }
            vdev.children().iter().for_each(|child| below(child, found));
        }
        let mut found = Vec::new();
        self.pool.vdevs().tops().iter().for_each(|top| below(top, &mut found));
        found
    }
}

/// An open pool, and the names that are in it.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenNames {
    /// The pool.
    pub open: OpenPool,
    /// Names of datasets, snapshots or bookmarks.
    pub names: Vec<String>,
}

/// The pool part of a name.
fn pool_name(name: Option<&str>) -> Option<String> {
    name.and_then(|name| name.split(['/', '@', '#']).next()).map(str::to_owned)
}

impl PoolPlace {
    /// The pool whose members are at these paths: disks, files, or directories to search.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item: Into<PathBuf>>) -> Self {
        Self::of(Members::Paths(paths.into_iter().map(Into::into).collect()))
    }

    /// The pool on these devices of the caller, in memory for example, each with its name for messages. They are not
    /// locked against other writers.
    #[must_use]
    pub fn on_devices(devices: impl IntoIterator<Item = (String, Arc<dyn Device>)>) -> Self {
        Self::of(Members::Devices(devices.into_iter().collect()))
    }

    fn of(members: Members) -> Self {
        Self {
            members,
            pool: None,
            txg: None,
            is_checkpoint: false,
            replayed: None,
            is_rescue: false,
            opener: Arc::new(Files),
        }
    }

    /// The pool whose paths `opener` opens, instead of files and disks: names in memory, for example. The opener must
    /// lock out other writers.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use zstream::create::NewPool;
    /// use zstream::layers::dmu::device::Memory;
    /// use zstream::{Control, NoKeys, PoolPlace};
    ///
    /// # fn main() -> zstream::Result<()> {
    /// let memory = Arc::new(Memory::new());
    /// NewPool::new("tank", &["mirror", "shelf/a", "shelf/b"])?
    ///     .with_file_size(64 << 20)?
    ///     .through(Arc::clone(&memory) as _)
    ///     .create("my program", &NoKeys)?;
    /// let place = PoolPlace::new(["shelf"]).through(memory);
    /// assert_eq!(place.open(None, &mut Control::new())?.pool.name(), "tank");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn through(self, opener: Arc<dyn OpenDevice>) -> Self {
        Self { opener, ..self }
    }

    /// The pool as of this transaction group, for reading, if its uberblock still exists.
    #[must_use]
    pub fn at_txg(self, txg: Txg) -> Self {
        Self { txg: Some(txg), ..self }
    }

    /// The pool as of its checkpoint, for reading.
    #[must_use]
    pub fn at_checkpoint(self) -> Self {
        Self { is_checkpoint: true, ..self }
    }

    /// The pool with its intent logs replayed, for reading. The devices do not change: the replay is kept in memory, up to
    /// 1 GiB. The logs of encrypted datasets are replayed if the keys are at hand. A pool that cannot be changed cannot be
    /// opened in this way.
    #[must_use]
    pub fn replayed(self, keys: Arc<dyn Keys + Send + Sync>) -> Self {
        Self { replayed: Some(Replayed(keys)), ..self }
    }

    /// The pool, for reading, although its labels are damaged or not where they should be: labels are searched for at other
    /// offsets, named devices completely and those in directories at both ends, and devices without labels of the pool are
    /// recognized as its members by their content. A [warning](Warning::Pool) names each.
    #[must_use]
    pub fn rescued(self) -> Self {
        Self { is_rescue: true, ..self }
    }

    /// The pool of this name, or with this guid in decimal, whatever the names of datasets say: of several pools with one name only
    /// the guid selects one.
    #[must_use]
    pub fn named(self, pool: impl Into<String>) -> Self {
        Self { pool: Some(pool.into()), ..self }
    }

    pub(crate) fn opener(&self) -> Arc<dyn OpenDevice> {
        Arc::clone(&self.opener)
    }

    /// True if the place is the newest state of the pool, as it is on its devices.
    pub(crate) fn is_newest(&self) -> bool {
        self.txg.is_none() && !self.is_checkpoint && self.replayed.is_none() && !self.is_rescue
    }

    /// What selects the pool: what was said of the place, or the pool part of a name.
    fn selector(&self, name: Option<&str>) -> Option<String> {
        self.pool.clone().or_else(|| pool_name(name))
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { rescue: self.is_rescue, ..OpenOptions::default() }
    }

    fn check(&self) -> Result<()> {
        let is_empty = match &self.members {
            Members::Paths(paths) => paths.is_empty(),
            Members::Devices(devices) => devices.is_empty(),
        };
        if is_empty { Err(Request::NoDevice.into()) } else { Ok(()) }
    }

    /// Names and guids of the pools on the devices, by name; if the pool of the place is named, only of that one.
    ///
    /// # Errors
    /// The devices cannot be searched, or have no pool.
    pub fn pools(&self) -> Result<Vec<(String, Guid)>> {
        self.check()?;
        if self.is_rescue {
            let pool = self.open(None, &mut Control::new())?.pool;
            return Ok(vec![(pool.name().to_owned(), pool.guid())]);
        }
        let found = match &self.members {
            Members::Paths(paths) => scan::scan(&*self.opener, paths)?,
            Members::Devices(devices) => {
                let mut found = ScanResult::default();
                found.candidates = devices.iter().cloned().map(examine).collect::<Result<_, _>>()?;
                found
            }
        };
        let mut pools = scan::pools(&found.candidates);
        if let Some(wanted) = &self.pool {
            pools.retain(|(name, guid)| name == wanted || guid.0.to_string() == *wanted);
        }
        if pools.is_empty() {
            // The error says what is there instead.
            let none = scan::choose(found.candidates, self.pool.as_deref());
            none.map_err(|error| scan::explain(error, found.others))?;
        }
        Ok(pools)
    }

    /// Opens the pool for reading. If the devices hold several pools, `name` (of the pool or of anything in it)
    /// selects one.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub fn open(&self, name: Option<&str>, control: &mut Control<'_>) -> Result<OpenPool> {
        let (name, devices) = (self.selector(name), Arc::clone(&self.opener));
        let options = OpenOptions { name, txg: self.txg, devices, allow_missing: true, ..self.options() };
        self.check()?;
        let pool = match (&self.members, &self.replayed) {
            (_, Some(Replayed(keys))) => {
                let devices = self.replay_in_memory(options.name.as_deref(), &**keys, control)?;
                Pool::open_devices(devices, &options)?
            }
            (Members::Paths(paths), None) => Pool::open(paths, &options)?,
            (Members::Devices(devices), None) => Pool::open_devices(devices.clone(), &options)?,
        };
        let pool = match self.is_rescue {
            true => {
                let Mended { mos, notices, .. } = mend(pool.mos())?;
                pool.with_mos(mos, notices)
            }
            false => pool,
        };
        for (path, error) in pool.refused() {
            control.warn(Warning::Refused { path: path.clone(), reason: error.to_string() });
        }
        pool.notices().into_iter().for_each(|notice| control.warn(Warning::Pool(notice)));
        let pool = match self.is_checkpoint {
            true => pool.checkpoint()?.ok_or_else(|| {
                PoolError::bad_request(format!("pool {} does not have a checkpoint", pool.name()))
            })?,
            false => pool,
        };
        let keyring = Arc::new(Keyring::default());
        pool.reader().set_keys(Some(keyring.clone()));
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), keyring)?;
        Ok(OpenPool { pool, dsl })
    }

    /// Replays all intent logs of the pool, and returns its devices with the result in memory.
    fn replay_in_memory(
        &self,
        name: Option<&str>,
        keys: &dyn Keys,
        control: &mut Control<'_>,
    ) -> Result<Devices> {
        if self.txg.is_some() || self.is_checkpoint {
            return Err(Request::EarlierTxg.into());
        }
        let mut candidates = match &self.members {
            Members::Paths(paths) => {
                let found = scan::scan(&*self.opener, paths)?;
                scan::choose(found.candidates, name).map_err(|error| scan::explain(error, found.others))?
            }
            Members::Devices(devices) => {
                let examined = devices.iter().cloned().map(examine).collect::<Result<Vec<_>, _>>()?;
                scan::choose(examined, name)?
            }
        };
        let (left, mut devices) = (Arc::new(AtomicU64::new(REPLAYED_BYTES_MAX)), Devices::new());
        for Candidate { member, .. } in &mut candidates {
            let overlay = OverlayDevice::bounded(Arc::clone(&member.device), Arc::clone(&left));
            member.device = Arc::new(overlay);
            devices.push((member.name.clone(), Arc::clone(&member.device)));
        }
        let options = WriteOptions { name: name.map(str::to_owned), force: true, ..WriteOptions::default() };
        let mut pool = WritablePool::over(PoolWriter::open_candidates(candidates, &options)?, None)?;
        for (dataset, head) in heads(&pool)? {
            if !pool.has_log_records(head)? {
                continue;
            }
            let is_encrypted = pool.dsl().dataset_by_object(head)?.crypto_key()?.is_some();
            if is_encrypted && !keys.is_at_hand() {
                control.warn(Warning::LogNotReplayed { dataset });
                continue;
            }
            replay_head(&mut pool, head, keys, DIRTY_BYTES_MAX, &mut |_| {})?;
        }
        pool.commit()?;
        Ok(devices)
    }

    /// The transaction groups whose uberblocks still exist, oldest first, with the times at which they were completed, in
    /// seconds since 1970. The pool need not open.
    pub(crate) fn uberblocks(&self, name: Option<&str>) -> Result<Vec<(Txg, u64)>> {
        self.check()?;
        let (name, devices) = (self.selector(name), Arc::clone(&self.opener));
        let options = OpenOptions { name, devices, ..self.options() };
        let found = match &self.members {
            Members::Paths(paths) => Pool::uberblocks(paths, &options)?,
            Members::Devices(devices) => Pool::uberblocks_on(devices.clone(), &options)?,
        };
        Ok(found.iter().map(|uberblock| (uberblock.txg, uberblock.timestamp)).collect())
    }

    /// Opens the pools of these names for reading; without names, the only pool. If the names are in several pools, those
    /// in pools that do not exist are omitted, each with [`Warning::Omitted`].
    ///
    /// # Errors
    /// As [`open`](Self::open), except for a pool that does not exist if there are names in others.
    pub fn open_all(&self, names: &[String], control: &mut Control<'_>) -> Result<Vec<OpenNames>> {
        if names.is_empty() {
            return Ok(vec![OpenNames { open: self.open(None, control)?, names: Vec::new() }]);
        }
        let mut by_pool: Vec<(Option<String>, Vec<String>)> = Vec::new();
        for name in names {
            let pool = self.selector(Some(name));
            match by_pool.iter_mut().find(|(other, _)| *other == pool) {
                Some((_, names)) => names.push(name.clone()),
                None => by_pool.push((pool, vec![name.clone()])),
            }
        }
        let (count, mut opened) = (by_pool.len(), Vec::new());
        for (pool, names) in by_pool {
            match self.open(pool.as_deref(), control) {
                Ok(open) => opened.push(OpenNames { open, names }),
                Err(error) if count > 1 && is_no_such_pool(&error) => {
                    for name in names {
                        let source = DatasetError::not_found(Kind::Dataset, &name).into();
                        control.warn(Warning::Omitted(Box::new(Error::Open { name, source })));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// # Errors
    /// The place is for reading only.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.txg.is_some() || self.is_checkpoint {
            return Err(Request::EarlierTxg.into());
        }
        if self.replayed.is_some() {
            return Err(Request::Replayed.into());
        }
        if self.is_rescue { Err(Request::Rescue.into()) } else { Ok(()) }
    }

    /// Opens the pool for changes, and locks out other writers. If the devices hold several pools, `name` (of the
    /// pool or of anything in it) selects one; the name and the devices in the options are ignored. With a seed, the
    /// result is reproducible.
    ///
    /// Interrupted receives that cannot be resumed are destroyed, and the blocks of clones that OpenZFS destroyed are
    /// freed, as OpenZFS does when it imports a pool. If some datasets cannot be read, they are left in place, and the pool can still be changed:
    /// [`WritablePool::unread`] and [`unsearched`] report them.
    ///
    /// # Errors
    /// As [`PoolWriter::open`]; an interrupted receive cannot be destroyed.
    pub fn open_writable(
        &self,
        name: Option<&str>,
        options: WriteOptions,
        seed: Option<u64>,
    ) -> Result<WritablePool> {
        self.check_writable()?;
        let options =
            WriteOptions { name: self.selector(name), devices: Arc::clone(&self.opener), ..options };
        self.check()?;
        let pool = match &self.members {
            Members::Paths(paths) => PoolWriter::open(paths, &options)?,
            Members::Devices(devices) => {
                let examined = devices.iter().cloned().map(examine).collect::<Result<Vec<_>, _>>()?;
                PoolWriter::open_candidates(scan::choose(examined, options.name.as_deref())?, &options)?
            }
        };
        let mut pool = WritablePool::over(pool, seed)?;
        pool.destroy_unresumable()?;
        pool.free_deleted_clones()?;
        Ok(pool)
    }

    /// Opens the pool that contains `name`, changes it in one transaction group, logs `command` in its history, and
    /// exports it. An error leaves the pool unchanged.
    ///
    /// # Errors
    /// The error of `change`; the pool cannot be opened or written.
    pub fn change<T, E: From<Error>>(
        &self,
        name: &str,
        command: &str,
        change: impl FnOnce(&mut WritablePool) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut pool = self.open_writable(Some(name), WriteOptions::default(), None)?;
        let result = change(&mut pool)?;
        leave(pool, Some(command))?;
        Ok(result)
    }

    /// The same without writing: the pool is unchanged.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn rehearse<T, E: From<Error>>(
        &self,
        name: &str,
        change: impl FnOnce(&mut WritablePool) -> Result<T, E>,
    ) -> Result<T, E> {
        change(&mut self.open_writable(Some(name), WriteOptions::default(), None)?)
    }
}

/// Warnings about the pool when it was opened, and about the datasets that could not be searched for interrupted receives.
pub fn unsearched(pool: &WritablePool) -> impl Iterator<Item = Warning> {
    let notices = pool.pool().notices().iter().cloned().map(Warning::Pool);
    notices.chain(pool.unread().iter().map(|error| Warning::NotSearched { reason: error.to_string() }))
}

fn is_no_such_pool(error: &Error) -> bool {
    matches!(error, Error::Pool(Cause::Pool(error)) if matches!(error.fault(), Fault::NoSuchPool { .. }))
}

/// Reads the labels of a device.
fn examine((name, device): (String, Arc<dyn Device>)) -> Result<Candidate, PoolError> {
    let member = Member { name: name.clone(), device };
    scan::examine(member).map_err(|error| error.on_vdev(name))
}

/// Completes the last transaction group and exports the pool; `command` is logged in its history.
pub(crate) fn leave(mut pool: WritablePool, command: Option<&str>) -> Result<()> {
    if let Some(command) = command {
        pool.log(HistoryEvent::Command(command))?;
    }
    pool.export()?;
    Ok(())
}
