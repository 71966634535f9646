//! Creation of pools in files and disks.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::device::{Device, EntryKind, Files, Mode, OpenDevice};
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::pool::{
    ASHIFT_DEFAULT, NewMember, PoolProperties, TopSpec, check_name, check_redundancy, member_asize,
    parse_vdevs,
};
use zstream_dmu::vdev::label::{Labels, Role};
use zstream_dmu::{Host, Random, pool as pool_create};
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::{Parsed, parse_assignment};
use zstream_dsl::write::{Setting, WritablePool};
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::{NewFilesystem, create_filesystem};

use super::keys::EncryptionProperties;
use super::take_fixed;
use crate::error::{Error, MemberFault, Request, Result};
use crate::place::pool::leave;
use crate::place::{Keys, PoolPlace};

/// A pool to create. Everything that can be validated without access to a device is validated first.
///
/// ```no_run
/// use zstream::NoKeys;
/// use zstream::create::NewPool;
///
/// # fn main() -> zstream::Result<()> {
/// let place = NewPool::new("tank", &["mirror", "a.img", "b.img"])?
///     .with_file_size(1 << 30)?
///     .set_on_root("compression=zstd")?
///     .create("my program", &NoKeys)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewPool {
    name: String,
    tops: Vec<TopSpec<String>>,
    file_bytes: Option<u64>,
    properties: PoolProperties,
    filesystem: NewFilesystem,
    settings: Vec<Parsed>,
    encryption: EncryptionProperties,
    devices: HashMap<String, Arc<dyn Device>>,
    opener: Arc<dyn OpenDevice>,
    /// Use files and disks that belong to another pool.
    pub force: bool,
    /// The seed of guids and salts; the same seed produces the same image.
    pub seed: Option<u64>,
    /// The time to use instead of the current time, in seconds since 1970.
    pub timestamp: Option<u64>,
}

impl NewPool {
    /// A pool of this name, with vdevs in the syntax of `zpool create`: `mirror a.img b.img`.
    ///
    /// # Errors
    /// The name or the vdev syntax is not valid.
    pub fn new<S: AsRef<str>>(name: &str, vdevs: &[S]) -> Result<Self> {
        check_name(name)?;
        Ok(Self {
            name: name.to_owned(),
            tops: parse_vdevs(vdevs)?,
            file_bytes: None,
            properties: PoolProperties::parse::<&str>(&[], false)?,
            filesystem: NewFilesystem::default(),
            settings: Vec::new(),
            encryption: EncryptionProperties::default(),
            devices: HashMap::new(),
            opener: Arc::new(Files),
            force: false,
            seed: None,
            timestamp: None,
        })
    }

    /// Its top-level vdevs.
    #[must_use]
    pub fn tops(&self) -> &[TopSpec<String>] {
        &self.tops
    }

    /// Refuses vdevs of different redundancy.
    ///
    /// # Errors
    /// The vdevs have different redundancy.
    pub fn check_redundancy(&self) -> Result<()> {
        Ok(check_redundancy(&self.tops)?)
    }

    /// The same in new sparse files of this size.
    ///
    /// # Errors
    /// The size is too small.
    pub fn with_file_size(self, bytes: u64) -> Result<Self> {
        member_asize(bytes)?;
        Ok(Self { file_bytes: Some(bytes), ..self })
    }

    /// The same on devices that the caller opened for writing, each with its name among the vdevs. Their previous
    /// content is lost.
    ///
    /// # Errors
    /// The devices are not the members of the pool.
    pub fn on_devices(self, devices: impl IntoIterator<Item = (String, Arc<dyn Device>)>) -> Result<Self> {
        let devices: HashMap<_, _> = devices.into_iter().collect();
        let mut leaves = self.tops.iter().flat_map(|top| &top.leaves);
        if devices.len() != leaves.clone().count() || !leaves.all(|leaf| devices.contains_key(leaf)) {
            return Err(Request::Devices.into());
        }
        Ok(Self { devices, ..self })
    }

    /// The same on devices that `opener` opens by name, instead of files and disks.
    #[must_use]
    pub fn through(self, opener: Arc<dyn OpenDevice>) -> Self {
        Self { opener, ..self }
    }

    /// The same with properties of the pool: `ashift=12`, `compatibility=openzfs-2.1-linux`; with `without_features`
    /// only the named features are enabled.
    ///
    /// # Errors
    /// As [`PoolProperties::parse`].
    pub fn with_properties<S: AsRef<str>>(self, assignments: &[S], without_features: bool) -> Result<Self> {
        Ok(Self { properties: PoolProperties::parse(assignments, without_features)?, ..self })
    }

    /// The same with a property of the root filesystem: `PROPERTY=VALUE`.
    ///
    /// # Errors
    /// The property does not exist, cannot have this value, or cannot be set on the root of a pool.
    pub fn set_on_root(mut self, assignment: &str) -> Result<Self> {
        let setting = parse_assignment(assignment)?;
        if take_fixed(&mut self.filesystem, &setting) || self.encryption.take(&setting) {
            return Ok(self);
        }
        if setting.property.is_some_and(|property| property.set_once) {
            let text = format!("{} of a new pool's filesystem", setting.name);
            return Err(DatasetError::unsupported(text).into());
        }
        self.settings.push(setting);
        Ok(self)
    }

    /// Creates the pool, logs `command` in its history, and exports it: any host can import it. Returns the location
    /// of its members. The previous content of files and disks is lost.
    ///
    /// # Errors
    /// A file or disk cannot be used ([`Error::Member`]) or written; the key of an encrypted root is not available.
    /// Files that were created are removed.
    pub fn create(self, command: &str, keys: &dyn Keys) -> Result<PoolPlace> {
        let mut made = Vec::new();
        let place = if self.devices.is_empty() {
            PoolPlace::new(self.tops.iter().flat_map(|top| &top.leaves)).through(Arc::clone(&self.opener))
        } else {
            PoolPlace::on_devices(self.devices.clone())
        };
        let opener = Arc::clone(&self.opener);
        let result = self.create_in(command, keys, &mut made);
        if result.is_err() {
            for path in made {
                // It is of no use, and the first error is the one that counts.
                let _ = opener.remove(&path);
            }
        }
        result.map(|()| place)
    }

    fn create_in(self, command: &str, keys: &dyn Keys, made: &mut Vec<PathBuf>) -> Result<()> {
        let Self { name, tops, file_bytes, properties, devices, opener, force, seed, timestamp, .. } = self;
        let mut open = |path: String| {
            if let Some(device) = devices.get(&path) {
                return Ok(NewMember { path, is_disk: false, device: Arc::clone(device) });
            }
            open_member(&*opener, &path, file_bytes, force, made).map_err(|error| match error {
                MemberError::Fault(fault) => Error::Member { path, fault },
                MemberError::Pool(error) => error.on_vdev(&path).into(),
            })
        };
        let mut opened = Vec::new();
        for TopSpec { class, shape, leaves } in tops {
            let leaves = leaves.into_iter().map(&mut open).collect::<Result<_>>()?;
            opened.push(TopSpec { class, shape, leaves });
        }
        let PoolProperties { ashift, comment, compatibility, stored, features, .. } = properties;
        let random = match seed {
            Some(seed) => Random::from_seed(seed),
            None => Random::system().map_err(PoolError::from)?,
        };
        let new = pool_create::NewPool {
            name: name.clone(),
            tops: opened,
            ashift: ashift.unwrap_or(ASHIFT_DEFAULT),
            features,
            properties: stored,
            comment,
            compatibility,
            host: Host::this(),
            now: timestamp,
            random,
        };
        let (mut pool, first) = WritablePool::create(new, seed)?;
        if let Some(encryption) = self.encryption.decide(&mut pool, &name, keys)? {
            encryption.apply(&mut pool, first.root)?;
        }
        for setting in self.settings {
            pool.tx().set_property(first.root, &setting.name, &Setting::Local(setting.value))?;
        }
        let mut filesystem = NewFilesystem { time: (pool.pool().now(), 0), ..self.filesystem };
        // Names that are normalized have to be text.
        filesystem.utf8_only |= !filesystem.normalization.is_empty();
        let mut set = pool.create_set(first.root, ObjsetType::ZFS)?;
        create_filesystem(&mut set, &filesystem, &mut || pool.tx().random())?;
        pool.sync(first.root, &mut set)?;
        leave(pool, Some(command))
    }
}

/// A reason that a member cannot be opened.
enum MemberError {
    Fault(MemberFault),
    Pool(PoolError),
}

impl From<MemberFault> for MemberError {
    fn from(fault: MemberFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<std::io::Error> for MemberError {
    fn from(error: std::io::Error) -> Self {
        Self::Pool(error.into())
    }
}

/// Opens a member, and creates it if it does not exist.
fn open_member(
    opener: &dyn OpenDevice,
    path: &str,
    size: Option<u64>,
    force: bool,
    made: &mut Vec<PathBuf>,
) -> Result<NewMember, MemberError> {
    let absolute = opener.full_name(Path::new(path))?;
    let text = absolute.to_str().ok_or(MemberFault::PathNotText)?.to_owned();
    let kind = match opener.kind(&absolute) {
        Ok(kind) => Some(kind),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let is_disk = kind == Some(EntryKind::Disk);
    let device = match size {
        Some(_) if is_disk => return Err(MemberFault::DiskHasSize.into()),
        Some(len) => {
            let is_there = kind.is_some();
            if is_there && !force {
                return Err(MemberFault::Exists.into());
            }
            let device = opener.open(&absolute, Mode::Create { len, replace: force });
            if !is_there && device.is_ok() {
                made.push(absolute);
            }
            device?
        }
        None if kind.is_none() => return Err(MemberFault::Missing.into()),
        None => open_existing(opener, &absolute, force)?,
    };
    Ok(NewMember { path: text, is_disk, device })
}

/// Opens an existing member, unless it is part of a pool.
fn open_existing(opener: &dyn OpenDevice, path: &Path, force: bool) -> Result<Arc<dyn Device>, MemberError> {
    let device = opener.open(path, Mode::Write)?;
    if force || device.is_empty() {
        return Ok(device);
    }
    let labels = Labels::read(&*device);
    let Some(label) = labels.best(None) else { return Ok(device) };
    Err(MemberError::Fault(match &label.role {
        Role::Member(config) => MemberFault::InUse { pool: config.name.clone(), state: config.state },
        Role::Auxiliary { state, .. } => MemberFault::Auxiliary(*state),
    }))
}
