//! Decoding of a bonus buffer as a [`Node`]: system attributes, or the znode of ZPL versions below 5.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_format::order::ByteOrder;
use zstream_format::phys::{AclPhys, OldAce, ZnodePhys};

use crate::fuid::Fuid;
use crate::node::{Acl, AclEntries, FileType, Node, Time};
use crate::sa::Attribute;

const LE: ByteOrder = ByteOrder::Little;
/// The size of an entry of an ACL of version 0 in bytes; its `size` field counts entries instead of bytes.
const OLD_ACE_BYTES: u64 = OldAce::LEN as u64;

fn bad(detail: String) -> Error {
    Error::corrupt("znode", detail)
}

fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    word.map(|word| u64::from_le_bytes(*word))
        .ok_or_else(|| bad(format!("size is {} bytes, expected at least {}", bytes.len(), at + 8)))
}

fn time(bytes: &[u8]) -> Result<Time> {
    Ok(time_of([word(bytes, 0)?, word(bytes, 8)?]))
}

fn time_of([seconds, nanoseconds]: [u64; 2]) -> Time {
    Time { seconds: seconds.cast_signed(), nanoseconds }
}

fn optional(number: u64) -> Option<ObjectId> {
    (number != 0).then_some(ObjectId(number))
}

/// Decodes the fixed znode in a bonus buffer.
pub(crate) fn legacy(object: ObjectId, bonus: &[u8]) -> Result<Node> {
    let phys = ZnodePhys::read(bonus, LE)
        .ok_or_else(|| bad(format!("size is {} bytes, expected at least {}", bonus.len(), ZnodePhys::LEN)))?;
    let mut node = Node {
        object,
        atime: time_of(phys.atime),
        mtime: time_of(phys.mtime),
        ctime: time_of(phys.ctime),
        crtime: time_of(phys.crtime),
        generation: phys.generation,
        mode: phys.mode,
        size: phys.size,
        parent: ObjectId(phys.parent),
        links: phys.links,
        xattr_directory: optional(phys.xattr),
        flags: phys.flags,
        uid: Fuid(phys.uid),
        gid: Fuid(phys.gid),
        acl: Some(acl(&phys.acl)?),
        ..Node::default()
    };
    match node.file_type() {
        Some(FileType::CharDevice | FileType::BlockDevice) => node.rdev = Some(phys.rdev),
        // A target that does not fit after the znode is in data blocks.
        Some(FileType::Symlink) => {
            let length = usize::try_from(node.size).unwrap_or(usize::MAX);
            node.inline_target = bonus[ZnodePhys::LEN..].get(..length).map(<[u8]>::to_vec);
        }
        _ => {}
    }
    Ok(node)
}

/// Decodes the ACL of a znode (`zfs_acl_phys_t`).
fn acl(&AclPhys { object, size, version, count, entries }: &AclPhys) -> Result<Acl> {
    let size = u64::from(size);
    let (count, size) = match version {
        0 => (size, size * OLD_ACE_BYTES),
        _ => (u64::from(count), size),
    };
    let entries = match optional(object) {
        Some(object) => AclEntries::Object(object, size),
        None => {
            let used = usize::try_from(size).ok().and_then(|size| entries.get(..size));
            let used = used.ok_or_else(|| {
                bad(format!("entries of the ACL are {size} bytes, there is room for {}", entries.len()))
            })?;
            AclEntries::Inline(used.to_vec())
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
            Attribute::Atime => node.atime = time(value)?,
            Attribute::Mtime => node.mtime = time(value)?,
            Attribute::Ctime => node.ctime = time(value)?,
            Attribute::Crtime => node.crtime = time(value)?,
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
            Attribute::ZnodeAcl => {
                let phys = AclPhys::read(value, LE)
                    .ok_or_else(|| bad(format!("ACL is {} bytes, expected {}", value.len(), AclPhys::LEN)))?;
                node.acl = Some(acl(&phys)?);
            }
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
