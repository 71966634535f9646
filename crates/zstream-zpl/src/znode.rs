//! Decoding of a bonus buffer as a [`Node`]: system attributes, or the znode of ZPL versions below 5.
//!
//! ```text
//!   0  atime   mtime   ctime   crtime                  u64 seconds, u64 nanoseconds each
//!  64  gen   mode   size   parent   links   xattr   rdev   flags   uid   gid   zap   pad u64[3]
//! 176  acl: object u64   size u32   version u16   count u16   entries u8[72]
//! 264  target of a symbolic link
//! ```

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_format::order::ByteOrder;

use crate::fuid::Fuid;
use crate::node::{Acl, AclEntries, FileType, Node, Time};
use crate::sa::Attribute;

const LE: ByteOrder = ByteOrder::Little;
const ZNODE_BYTES: usize = 264;
const ACL_OFFSET: usize = 176;
const ACL_ENTRIES_OFFSET: usize = 16;
const ACL_BYTES: usize = 88;
/// The size of an entry of an ACL of version 0 in bytes; its `size` field counts entries instead of bytes.
const OLD_ACE_BYTES: u64 = 12;

fn bad(detail: String) -> Error {
    Error::corrupt("znode", detail)
}

fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    word.map(|word| u64::from_le_bytes(*word))
        .ok_or_else(|| bad(format!("size is {} bytes, expected at least {}", bytes.len(), at + 8)))
}

fn time(bytes: &[u8], at: usize) -> Result<Time> {
    Ok(Time { seconds: word(bytes, at)?.cast_signed(), nanoseconds: word(bytes, at + 8)? })
}

fn optional(number: u64) -> Option<ObjectId> {
    (number != 0).then_some(ObjectId(number))
}

/// Decodes the fixed znode in a bonus buffer.
pub(crate) fn legacy(object: ObjectId, bonus: &[u8]) -> Result<Node> {
    if bonus.len() < ZNODE_BYTES {
        return Err(bad(format!("size is {} bytes, expected at least {ZNODE_BYTES}", bonus.len())));
    }
    let mut node = Node {
        object,
        atime: time(bonus, 0)?,
        mtime: time(bonus, 16)?,
        ctime: time(bonus, 32)?,
        crtime: time(bonus, 48)?,
        generation: word(bonus, 64)?,
        mode: word(bonus, 72)?,
        size: word(bonus, 80)?,
        parent: ObjectId(word(bonus, 88)?),
        links: word(bonus, 96)?,
        xattr_directory: optional(word(bonus, 104)?),
        flags: word(bonus, 120)?,
        uid: Fuid(word(bonus, 128)?),
        gid: Fuid(word(bonus, 136)?),
        acl: Some(acl(&bonus[ACL_OFFSET..ZNODE_BYTES])?),
        ..Node::default()
    };
    match node.file_type() {
        Some(FileType::CharDevice | FileType::BlockDevice) => node.rdev = Some(word(bonus, 112)?),
        // A target that does not fit after the znode is in data blocks.
        Some(FileType::Symlink) => {
            let length = usize::try_from(node.size).unwrap_or(usize::MAX);
            node.inline_target = bonus[ZNODE_BYTES..].get(..length).map(<[u8]>::to_vec);
        }
        _ => {}
    }
    Ok(node)
}

/// Decodes the ACL of a znode (`zfs_acl_phys_t`).
fn acl(bytes: &[u8]) -> Result<Acl> {
    if bytes.len() < ACL_BYTES {
        return Err(bad(format!("ACL is {} bytes, expected {ACL_BYTES}", bytes.len())));
    }
    let (object, size, version) = (LE.u64(bytes), u64::from(LE.u32(&bytes[8..])), LE.u16(&bytes[12..]));
    let (count, size) = match version {
        0 => (size, size * OLD_ACE_BYTES),
        _ => (u64::from(LE.u16(&bytes[14..])), size),
    };
    let entries = match optional(object) {
        Some(object) => AclEntries::Object(object, size),
        None => {
            let room = &bytes[ACL_ENTRIES_OFFSET..ACL_BYTES];
            let entries = usize::try_from(size).ok().and_then(|size| room.get(..size));
            let entries = entries.ok_or_else(|| {
                bad(format!("entries of the ACL are {size} bytes, there is room for {}", room.len()))
            })?;
            AclEntries::Inline(entries.to_vec())
        }
    };
    Ok(Acl { version, count, entries })
}

/// A builder of a node from system attributes.
#[derive(Default)]
pub(crate) struct Gather {
    node: Node,
    acl_count: Option<u64>,
    acl_entries: Option<Vec<u8>>,
    has_mode: bool,
}

impl Gather {
    pub(crate) fn new(object: ObjectId) -> Self {
        Self { node: Node { object, ..Node::default() }, ..Self::default() }
    }

    pub(crate) fn add(&mut self, attribute: Attribute, value: &[u8]) -> Result<()> {
        let node = &mut self.node;
        match attribute {
            Attribute::Atime => node.atime = time(value, 0)?,
            Attribute::Mtime => node.mtime = time(value, 0)?,
            Attribute::Ctime => node.ctime = time(value, 0)?,
            Attribute::Crtime => node.crtime = time(value, 0)?,
            Attribute::Gen => node.generation = word(value, 0)?,
            Attribute::Mode => {
                node.mode = word(value, 0)?;
                self.has_mode = true;
            }
            Attribute::Size => node.size = word(value, 0)?,
            Attribute::Parent => node.parent = ObjectId(word(value, 0)?),
            Attribute::Links => node.links = word(value, 0)?,
            Attribute::Xattr => node.xattr_directory = optional(word(value, 0)?),
            Attribute::Rdev => node.rdev = Some(word(value, 0)?),
            Attribute::Flags => node.flags = word(value, 0)?,
            Attribute::Uid => node.uid = Fuid(word(value, 0)?),
            Attribute::Gid => node.gid = Fuid(word(value, 0)?),
            Attribute::ZnodeAcl => node.acl = Some(acl(value)?),
            Attribute::DaclCount => self.acl_count = Some(word(value, 0)?),
            Attribute::DaclAces => self.acl_entries = Some(value.to_vec()),
            Attribute::Symlink => node.inline_target = Some(value.to_vec()),
            Attribute::Dxattr => node.packed_xattrs = Some(value.to_vec()),
            Attribute::Projid => node.project = Some(word(value, 0)?),
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Node> {
        if !self.has_mode {
            return Err(bad("attribute ZPL_MODE is missing".to_owned()));
        }
        if let Some(entries) = self.acl_entries {
            let count = self.acl_count.unwrap_or_default();
            self.node.acl = Some(Acl { version: 1, count, entries: AclEntries::Inline(entries) });
        }
        Ok(self.node)
    }
}
