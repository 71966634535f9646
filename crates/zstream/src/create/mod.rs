//! Creation of datasets and pools, with their properties, keys and reservations.

mod keys;
mod pool;
mod reservation;

use zstream_dmu::zap::{NormFlags, Value};
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::{Parsed, Types, parse, parse_assignment};
use zstream_dsl::write::{Setting, WritablePool};
use zstream_format::number::parse_bytes;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::{NewFilesystem, create_filesystem, create_volume};
use zstream_zpl::settings::{has_master_node, setting};

pub use self::keys::EncryptionProperties;
pub(crate) use self::keys::key_at;
pub use self::pool::NewPool;
pub use self::reservation::resize_volume;
use self::reservation::volume_reservation;
pub use crate::error::MemberFault;

use crate::error::Result;
use crate::place::Keys;

/// The default block size of a volume, in bytes (`ZVOL_DEFAULT_BLOCKSIZE`).
const VOLUME_BLOCK_BYTES: u64 = 16 << 10;
/// The maximum block size of a volume, in bytes; above 128 KiB the pool requires the feature `large_blocks`.
const VOLUME_BLOCK_BYTES_MAX: u64 = 16 << 20;

/// A filesystem or volume to create.
///
/// ```
/// use zstream::create::NewDataset;
///
/// # fn main() -> zstream::Result<()> {
/// let home = NewDataset::filesystem("tank/home").set("compression=zstd")?.with_parents();
/// let disk = NewDataset::volume("tank/vm", 8 << 30)?.sparse();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NewDataset {
    name: String,
    properties: Vec<Parsed>,
    volume: Option<Volume>,
    is_sparse: bool,
    parents: bool,
}

/// Size and block size of a new volume.
#[derive(Clone, Copy, Debug)]
struct Volume {
    bytes: u64,
    block_bytes: u64,
}

impl NewDataset {
    /// A filesystem of this name.
    #[must_use]
    pub fn filesystem(name: impl Into<String>) -> Self {
        Self { name: name.into(), properties: Vec::new(), volume: None, is_sparse: true, parents: false }
    }

    /// A volume of this name and size, which is rounded up to a multiple of its block size.
    ///
    /// # Errors
    /// The size is 0, or too large.
    pub fn volume(name: impl Into<String>, bytes: u64) -> Result<Self> {
        if bytes == 0 {
            return Err(bad_size("0").into());
        }
        let volume = Some(Volume { bytes, block_bytes: VOLUME_BLOCK_BYTES });
        let new = Self { volume, is_sparse: false, ..Self::filesystem(name) };
        new.with_block_bytes(VOLUME_BLOCK_BYTES)
    }

    /// A dataset from arguments as for `zfs create`: properties as `PROPERTY=VALUE`; for a volume, its size and block
    /// size.
    ///
    /// # Errors
    /// A property or size is not valid.
    pub fn parse(
        name: &str,
        properties: &[String],
        size: Option<&str>,
        block_size: Option<&str>,
    ) -> Result<Self> {
        let mut properties =
            properties.iter().map(|text| parse_assignment(text)).collect::<Result<Vec<_>, _>>()?;
        let Some(size) = size else { return Ok(Self { properties, ..Self::filesystem(name) }) };
        let bytes = parse_bytes(size).filter(|size| *size > 0).ok_or_else(|| bad_size(size))?;
        if let Some(block) = block_size {
            properties.push(parse("volblocksize", block)?);
        }
        let block = properties.iter().rfind(|parsed| parsed.name == "volblocksize");
        let block = block.map_or(Ok(VOLUME_BLOCK_BYTES), |parsed| parsed.value.u64())?;
        properties.retain(|parsed| parsed.name != "volblocksize" && parsed.name != "volsize");
        let volume = Some(Volume { bytes, block_bytes: block });
        let new = Self { properties, volume, is_sparse: false, ..Self::filesystem(name) };
        new.with_block_bytes(block)
    }

    /// The same volume with another block size.
    ///
    /// # Errors
    /// A volume cannot have this block size.
    pub fn with_block_bytes(self, block_bytes: u64) -> Result<Self> {
        let Some(volume) = self.volume else { return Ok(self) };
        if block_bytes > VOLUME_BLOCK_BYTES_MAX {
            let text = format!("the blocks of a volume have up to 16M, not {block_bytes} bytes");
            return Err(DatasetError::bad_property(text).into());
        }
        let bytes = volume.bytes.checked_next_multiple_of(block_bytes);
        let bytes = bytes.ok_or_else(|| bad_size("of 16 EiB"))?;
        Ok(Self { volume: Some(Volume { bytes, block_bytes }), ..self })
    }

    /// The same with a property: `PROPERTY=VALUE`.
    ///
    /// # Errors
    /// The property does not exist, or cannot have this value.
    pub fn set(mut self, assignment: &str) -> Result<Self> {
        self.properties.push(parse_assignment(assignment)?);
        Ok(self)
    }

    /// The same volume without a reservation.
    #[must_use]
    pub fn sparse(self) -> Self {
        Self { is_sparse: true, ..self }
    }

    /// The same, but missing parent filesystems are created, and the dataset may already exist.
    #[must_use]
    pub fn with_parents(self) -> Self {
        Self { parents: true, ..self }
    }

    /// The properties to set.
    #[must_use]
    pub fn properties(&self) -> &[Parsed] {
        &self.properties
    }

    /// Creates the dataset, and missing parents if requested, and returns the names of the new datasets.
    ///
    /// # Errors
    /// The pool refuses the name or a property; the key of a new encryption root, or of the parent, is not available.
    /// The transaction group must then be dropped.
    pub fn create(&self, pool: &mut WritablePool, keys: &dyn Keys) -> Result<Vec<String>> {
        let mut made = Vec::new();
        if self.parents {
            if pool.dsl().find_dir(&self.name)?.is_some() {
                return Ok(made);
            }
            made = create_parents(pool, &self.name, keys)?;
        }
        self.create_one(pool, keys)?;
        made.push(self.name.clone());
        Ok(made)
    }

    fn create_one(&self, pool: &mut WritablePool, keys: &dyn Keys) -> Result<()> {
        let Self { name, volume, .. } = self;
        let types = if volume.is_some() { Types::VOLUME } else { Types::FILESYSTEM };
        let mut filesystem = NewFilesystem { time: (pool.pool().now(), 0), ..NewFilesystem::default() };
        if volume.is_none() {
            inherit_fixed(pool, name, &mut filesystem)?;
        }
        let (mut kept, mut encryption) = (Vec::new(), EncryptionProperties::default());
        for parsed in &self.properties {
            pool.dsl().check_assignment(parsed, types, true)?;
            if !take_fixed(&mut filesystem, parsed) && !encryption.take(parsed) {
                kept.push(parsed);
            }
        }
        if let Some(Volume { block_bytes, .. }) = volume {
            pool.dsl().check_assignment(&parse("volblocksize", &block_bytes.to_string())?, types, true)?;
        }
        // Names that are normalized have to be text.
        filesystem.utf8_only |= !filesystem.normalization.is_empty();
        let encryption = encryption.decide(pool, name, keys)?;
        let head = pool.tx().create(name, volume.is_none() && filesystem.case != 0)?;
        if let Some(encryption) = encryption {
            encryption.apply(pool, head)?;
        }
        for parsed in &kept {
            pool.tx().set_property(head, &parsed.name, &Setting::Local(parsed.value.clone()))?;
        }
        let kind = if volume.is_some() { ObjsetType::ZVOL } else { ObjsetType::ZFS };
        let mut set = pool.create_set(head, kind)?;
        match volume {
            Some(Volume { bytes, block_bytes }) => {
                create_volume(&mut set, *bytes, *block_bytes as u32, &mut || pool.tx().random())?;
            }
            None => create_filesystem(&mut set, &filesystem, &mut || pool.tx().random()).map(drop)?,
        }
        pool.sync(head, &mut set)?;
        let is_reserved = kept.iter().any(|parsed| parsed.name == "refreservation");
        if let Some(Volume { bytes, block_bytes }) = volume.filter(|_| !self.is_sparse && !is_reserved) {
            let copies = pool.dsl().dataset_by_object(head)?.set_properties()?.copies;
            let reserved = volume_reservation(pool, bytes, block_bytes, u64::from(copies));
            pool.tx().set_property(head, "refreservation", &Setting::Local(Value::word(reserved)))?;
        }
        Ok(())
    }
}

fn bad_size(text: &str) -> DatasetError {
    DatasetError::bad_property(format!("bad volume size {text:?}"))
}

/// Creates the missing parent filesystems of a name, and returns their names.
///
/// # Errors
/// As [`NewDataset::create`].
pub(crate) fn create_parents(pool: &mut WritablePool, name: &str, keys: &dyn Keys) -> Result<Vec<String>> {
    let mut made = Vec::new();
    for above in name.match_indices('/').filter_map(|(end, _)| name.get(..end)) {
        if pool.dsl().find_dir(above)?.is_none() {
            NewDataset::filesystem(above).create_one(pool, keys)?;
            made.push(above.to_owned());
        }
    }
    Ok(made)
}

/// Consumes a property that is fixed at the creation of a filesystem; returns false for any other.
fn take_fixed(new: &mut NewFilesystem, parsed: &Parsed) -> bool {
    let number = parsed.value.u64().unwrap_or_default();
    match parsed.name.as_str() {
        "normalization" => new.normalization = NormFlags::from_bits_retain(number),
        "utf8only" => new.utf8_only = number != 0,
        "casesensitivity" => new.case = number,
        _ => return false,
    }
    true
}

/// Copies the settings that are fixed at creation from the parent filesystem (`zfs_fill_zplprops`).
fn inherit_fixed(pool: &mut WritablePool, name: &str, new: &mut NewFilesystem) -> Result<(), DatasetError> {
    let Some((parent, _)) = name.rsplit_once('/') else { return Ok(()) };
    let Some(head) = pool.dsl().find_head(parent)? else { return Ok(()) };
    let set = head.objset_locked()?;
    if !has_master_node(&*set)? {
        return Ok(());
    }
    let number = |name: &str| Ok::<_, DatasetError>(setting(&*set, name)?.unwrap_or_default());
    new.normalization = NormFlags::from_bits_retain(number("normalization")?);
    new.utf8_only = number("utf8only")? != 0;
    new.case = number("casesensitivity")?;
    Ok(())
}
