//! Creation of empty filesystems and volumes in empty object sets (`zfs_create_fs`, `zvol_create_cb`).
//!
//! ```text
//! filesystem                                     volume
//!   1   master node: VERSION, ROOT, ...            1   content
//!       system attributes: registry, layouts       2   ZAP: size
//!       unlinked set
//!       root directory
//! ```

use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::zap;
use zstream_dmu::zap::{NewZap, NormFlags, Value, ZapMut};
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;
use zstream_format::phys::{AceHeader, SaFixed, SaHeader};

use crate::error::{Error, Result};
use crate::master;
use crate::sa::{HEADER_BYTES_MIN, REGISTRY};
use crate::volume;

/// The number of the layout of ordinary nodes.
const LAYOUT: u16 = 2;
/// The attributes in the layout: mode, size, generation, user, group, parent, flags, times, links, ACL.
const LAYOUT_ATTRIBUTES: [u16; 14] = [5, 6, 4, 12, 13, 7, 11, 0, 1, 2, 3, 8, 16, 19];

/// The ACL of a new directory: entries for owner, group and everyone.
const DIRECTORY_ACL: [AceHeader; 3] = [
    AceHeader { kind: 0, flags: 0x1000, mask: 0x001e_01bf },
    AceHeader { kind: 0, flags: 0x2040, mask: 0x0012_00a9 },
    AceHeader { kind: 0, flags: 0x4000, mask: 0x0012_00a9 },
];

/// The mode of a new directory: everyone can read it, and the owner can change it.
const DIRECTORY_MODE: u64 = 0o40755;

/// The flags of a new directory: archive, modified since the last virus scan, an ACL equivalent to the mode, and no
/// entry that denies execution.
const DIRECTORY_FLAGS: u64 = 1 << 35 | 1 << 42 | 0x144;

/// The properties of a new filesystem that cannot be changed later, and the attributes of its root directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewFilesystem {
    /// The property `normalization`: 0 for none, otherwise the form as [`NormFlags`] (`formD` is `DECOMPOSE`).
    pub normalization: NormFlags,
    /// The property `utf8only`.
    pub utf8_only: bool,
    /// The property `casesensitivity`: 0 sensitive, 1 insensitive, 2 mixed.
    pub case: u64,
    /// The creation time of the root directory, in seconds since 1970 and nanoseconds.
    pub time: (u64, u32),
    /// The user and the group of the root directory.
    pub owner: (u64, u64),
}

/// Creates an empty filesystem and returns its root directory. `random` provides the salts of ZAPs.
///
/// # Errors
/// Fails if the object set is not empty or cannot be changed, and if `random` fails.
pub fn create_filesystem(
    set: &mut dyn ObjectStore,
    new: &NewFilesystem,
    random: &mut dyn FnMut() -> PoolResult<u64>,
) -> Result<ObjectId> {
    let mut plain = || Ok::<_, Error>(NewZap::new(random()?));
    set.claim(master::NODE, &NewObject::new(ObjectType::MASTER_NODE, 0))?;
    zap::create_in(set, master::NODE, &plain()?)?;
    let attributes = zap::create(set, ObjectType::SA_MASTER_NODE, &plain()?)?;
    let unlinked = zap::create(set, ObjectType::UNLINKED_SET, &plain()?)?;
    let upper = if new.case == 0 { NormFlags::empty() } else { NormFlags::UPPER };
    let names = NewZap { norm_flags: new.normalization | upper, ..plain()? };
    // Allocated before the ZAPs of attributes, as in OpenZFS.
    let directory = NewObject::new(ObjectType::DIRECTORY_CONTENTS, 0).with_bonus(ObjectType::SA, 0);
    let root = zap::create_with(set, &directory, &names)?;
    let registry = zap::create(set, ObjectType::SA_ATTR_REGISTRATION, &plain()?)?;
    let layouts = zap::create(set, ObjectType::SA_ATTR_LAYOUTS, &plain()?)?;
    set.set_bonus(root, ObjectType::SA, &root_attributes(set, root, new))?;

    let mut entries = ZapMut::open(set, registry)?;
    for (number, (name, length, swap)) in (0..).zip(REGISTRY) {
        entries.add(name, &Value::word(length << 24 | swap << 16 | number))?;
    }
    ZapMut::open(set, layouts)?.add(LAYOUT.to_string(), &Value::u16s(&LAYOUT_ATTRIBUTES))?;
    let mut entries = ZapMut::open(set, attributes)?;
    entries.add("REGISTRY", &Value::word(registry.0))?;
    entries.add("LAYOUTS", &Value::word(layouts.0))?;
    let mut entries = ZapMut::open(set, master::NODE)?;
    for (name, value) in [
        ("normalization", new.normalization.bits()),
        ("utf8only", u64::from(new.utf8_only)),
        ("casesensitivity", new.case),
        (master::VERSION, master::VERSION_WRITTEN),
        (master::SA_ATTRS, attributes.0),
        (master::DELETE_QUEUE, unlinked.0),
        (master::ROOT, root.0),
    ] {
        entries.add(name, &Value::word(value))?;
    }
    Ok(root)
}

/// Returns the bonus of the root directory.
fn root_attributes(set: &dyn ObjectStore, root: ObjectId, new: &NewFilesystem) -> Vec<u8> {
    const ORDER: ByteOrder = ByteOrder::Little;
    let aces: Vec<u8> = DIRECTORY_ACL.iter().flat_map(|ace| ace.to_bytes(ORDER)).collect();
    let time = [new.time.0, u64::from(new.time.1)];
    let fixed = SaFixed {
        mode: DIRECTORY_MODE,
        size: 2,
        generation: set.txg().0,
        uid: new.owner.0,
        gid: new.owner.1,
        parent: root.0,
        flags: DIRECTORY_FLAGS,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        links: 2,
        project: 0,
    };
    let mut out = SaHeader::new(LAYOUT, HEADER_BYTES_MIN as u16).to_bytes(ORDER).to_vec();
    out.extend((aces.len() as u16).to_le_bytes());
    // A directory without a project has the number of ACL entries in its place.
    out.extend(&fixed.to_bytes(ORDER)[..SaFixed::offset_of("project")]);
    out.extend((DIRECTORY_ACL.len() as u64).to_le_bytes());
    out.extend(aces);
    out
}

/// Creates an empty volume of `size` bytes in blocks of `block_bytes` (`volblocksize`).
///
/// # Errors
/// Fails if the object set is not empty or cannot be changed, and if the size is not a multiple of the block size.
pub fn create_volume(
    set: &mut dyn ObjectStore,
    size: u64,
    block_bytes: u32,
    random: &mut dyn FnMut() -> PoolResult<u64>,
) -> Result<()> {
    if block_bytes == 0 || size == 0 || !size.is_multiple_of(u64::from(block_bytes)) {
        return Err(Error::bad_request(format!(
            "volume size is {size} bytes, expected a multiple of the block size, {block_bytes} bytes"
        )));
    }
    set.claim(volume::DATA, &NewObject::new(ObjectType::ZVOL, block_bytes))?;
    set.claim(volume::PROPERTIES, &NewObject::new(ObjectType::ZVOL_PROP, 0))?;
    zap::create_in(set, volume::PROPERTIES, &NewZap::new(random()?))?;
    Ok(ZapMut::open(set, volume::PROPERTIES)?.add("size", &Value::word(size))?)
}

/// Resizes a volume, and frees the blocks after its new end (`zvol_update_volsize`).
///
/// # Errors
/// Returns `EINVAL` if the size is 0 or not a multiple of the block size. Fails if the object set is not a volume or
/// cannot be changed.
pub fn resize_volume(set: &mut dyn ObjectStore, size: u64) -> Result<()> {
    let kind = set.objset_type();
    if kind != ObjsetType::ZVOL {
        return Err(Error::other_type(format!("object set is of type {}, expected a volume", kind.name())));
    }
    let block_bytes = set.info(volume::DATA)?.block_bytes;
    if size == 0 || block_bytes == 0 || !size.is_multiple_of(block_bytes) {
        return Err(Error::bad_request(format!(
            "volume size is {size} bytes, expected a multiple of the block size, {block_bytes} bytes"
        )));
    }
    ZapMut::open(set, volume::PROPERTIES)?.update("size", &Value::word(size))?;
    Ok(set.free_range(volume::DATA, size, u64::MAX - size)?)
}
