//! Object sets (`objset_phys_t`): the objects of a dataset, or those of the pool itself (the MOS).
//!
//! [`ObjsetBlock`] declares the layout. A missing tail is read as zeros.

mod open;
mod owner;
pub(crate) mod writer;

use std::sync::Arc;

use bitflags::bitflags;
use zstream_format::object_type::{ObjectType, ObjsetType, SwapClass};
use zstream_format::order::ByteOrder;
use zstream_format::phys::{DnodeCore, ObjsetBlock, ObjsetHead};

use crate::blkptr::{BlockPointer, CryptKind};
use crate::block::{Block, ReadBlock};
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Result};
use crate::ids::{Bookmark, ObjectId};
use crate::intent_log::ZilHeader;

pub use self::open::Objset;
pub use self::owner::{Counted, Owner};
pub use self::writer::{CloneRange, CloneRefusal, ObjsetWriter, OwnersOf, RedundantMetadata, SetProperties};

/// The end of the object numbers (`DN_MAX_OBJECT`).
pub const OBJECTS_MAX: u64 = 1 << 48;

/// The object that contains the space used by users (`DMU_USERUSED_OBJECT`).
pub const USER_USED_OBJECT: ObjectId = ObjectId(u64::MAX);
/// The object that contains the space used by groups (`DMU_GROUPUSED_OBJECT`).
pub const GROUP_USED_OBJECT: ObjectId = ObjectId(u64::MAX - 1);
/// The object that contains the space used by projects (`DMU_PROJECTUSED_OBJECT`).
pub const PROJECT_USED_OBJECT: ObjectId = ObjectId(u64::MAX - 2);

/// The valid sizes of an objset block.
const OBJSET_BYTES: [usize; 3] =
    [ObjsetBlock::offset_of("user_used"), ObjsetBlock::offset_of("project_used"), ObjsetBlock::LEN];

/// The offset of the header of the intent log.
const INTENT_LOG: usize = ObjsetHead::offset_of("intent_log");

/// The size of new objset blocks (`OBJSET_PHYS_SIZE_V3`).
pub(crate) const OBJSET_BYTES_NEW: usize = ObjsetBlock::LEN;

bitflags! {
    /// Flags of an object set (`OBJSET_FLAG_*`). Unknown ones are preserved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ObjsetFlags: u64 {
        /// The space used by users and groups is accounted.
        const USER_ACCOUNTING_COMPLETE = 1;
        /// The objects of users and groups are accounted.
        const USER_OBJECT_ACCOUNTING_COMPLETE = 2;
        /// The space and the objects of projects are accounted.
        const PROJECT_QUOTA_COMPLETE = 4;
        const _ = !0;
    }
}

/// The objset block (`objset_phys_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjsetPhys {
    /// The meta-dnode, whose data are all other dnodes.
    pub meta_dnode: Arc<Dnode>,
    /// The intent log.
    pub zil: ZilHeader,
    /// The type of the set.
    pub objset_type: ObjsetType,
    /// The flags.
    pub flags: ObjsetFlags,
    /// The MAC over the parts that a raw stream contains; zeros without encryption.
    pub portable_mac: [u8; 32],
    /// The MAC over the parts that are local to the pool; zeros without encryption.
    pub local_mac: [u8; 32],
    /// The dnode of [`USER_USED_OBJECT`].
    pub user_used: Option<Arc<Dnode>>,
    /// The dnode of [`GROUP_USED_OBJECT`].
    pub group_used: Option<Arc<Dnode>>,
    /// The dnode of [`PROJECT_USED_OBJECT`].
    pub project_used: Option<Arc<Dnode>>,
    /// The size of the block in bytes: 1024, 2048 or 4096, which depends on the version of the pool.
    pub phys_bytes: usize,
}

impl ObjsetPhys {
    /// Parses a little-endian objset block.
    ///
    /// # Errors
    ///
    /// Fails if the size of the block is not one of the three that exist, if there is no meta-dnode, and if a dnode is
    /// invalid.
    pub fn parse(block: &[u8]) -> Result<Self> {
        if !OBJSET_BYTES.contains(&block.len()) {
            return Err(bad(format!("size is {} bytes, expected one of {OBJSET_BYTES:?}", block.len())));
        }
        let dnode = |bytes: &[u8]| -> Result<Option<Arc<Dnode>>> { Ok(Dnode::parse(bytes)?.map(Arc::new)) };
        let ObjsetBlock { head, user_used, group_used, project_used, .. } =
            ObjsetBlock::read_short(block, ByteOrder::Little);
        let meta_dnode = dnode(&head.meta_dnode)?.ok_or_else(|| bad("meta-dnode is missing".into()))?;
        if meta_dnode.object_type != ObjectType::DNODE {
            return Err(bad(format!("meta-dnode is of type {}", meta_dnode.object_type)));
        }
        let objset_type = head.objset_type;
        let objset_type =
            u32::try_from(objset_type).map_err(|_| bad(format!("type {objset_type:#x} is invalid")))?;
        Ok(Self {
            meta_dnode,
            zil: ZilHeader::parse(&block[INTENT_LOG..], ByteOrder::Little),
            objset_type: ObjsetType(objset_type),
            flags: ObjsetFlags::from_bits_retain(head.flags),
            portable_mac: head.portable_mac,
            local_mac: head.local_mac,
            user_used: dnode(&user_used)?,
            group_used: dnode(&group_used)?,
            project_used: dnode(&project_used)?,
            phys_bytes: block.len(),
        })
    }

    /// Encodes a little-endian objset block, in the size of pools of version 15 and later.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let order = ByteOrder::Little;
        let dnode = |dnode: Option<&Arc<Dnode>>| {
            let mut slot = [0; DNODE_SLOT_BYTES];
            if let Some(dnode) = dnode {
                slot.copy_from_slice(&dnode.encode());
            }
            slot
        };
        let head = ObjsetHead {
            meta_dnode: dnode(Some(&self.meta_dnode)),
            objset_type: self.objset_type.0.into(),
            flags: self.flags.bits(),
            portable_mac: self.portable_mac,
            local_mac: self.local_mac,
            ..ObjsetHead::default()
        };
        let block = ObjsetBlock {
            head,
            user_used: dnode(self.user_used.as_ref()),
            group_used: dnode(self.group_used.as_ref()),
            project_used: dnode(self.project_used.as_ref()),
            ..ObjsetBlock::default()
        };
        let mut out = block.to_bytes(order).to_vec();
        self.zil.encode(&mut out[INTENT_LOG..], order);
        out
    }
}

fn bad(detail: String) -> Error {
    Error::corrupt("objset", detail)
}

/// Reads a block of dnodes or an objset block. Without the key it is read in stored form.
pub(crate) fn read_meta(
    reader: &dyn ReadBlock,
    pointer: &BlockPointer,
    at: Bookmark,
    locked: bool,
) -> Result<Block> {
    let block = if locked && pointer.crypt_kind() != CryptKind::Plain {
        // In an encrypted set, OpenZFS compresses neither of them, so the stored bytes are the logical ones.
        let stored = reader.read_stored(pointer, at)?;
        if pointer.byte_order() == ByteOrder::Big { swapped(pointer, &stored, at)? } else { stored }
    } else {
        reader.read_block(pointer, at)?
    };
    crate::tree::check_len(&block, pointer.lsize()).map_err(|error| error.at_bookmark(at))?;
    Ok(block)
}

fn swapped(pointer: &BlockPointer, stored: &[u8], at: Bookmark) -> Result<Block> {
    let class = pointer.object_type().swap_class().unwrap_or(SwapClass::U8);
    let mut bytes = stored.to_vec();
    zstream_format::byteswap::swap(class, &mut bytes, ByteOrder::Big)
        .map_err(|fault| Error::corrupt("block", fault.to_string()).at_bookmark(at))?;
    Ok(bytes.into())
}

/// Returns the number of slots up to the next dnode. The block must contain at least one slot.
pub(crate) fn slots_taken(dnode: &[u8]) -> usize {
    const EXTRA_SLOTS: usize = DnodeCore::offset_of("extra_slots");
    1 + if dnode[0] == 0 { 0 } else { usize::from(dnode[EXTRA_SLOTS]) }
}

/// Returns the slots of a block of dnodes at which an allocated dnode starts.
pub(crate) fn allocated_slots(block: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let slots = block.len() / DNODE_SLOT_BYTES;
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < slots {
            let slot = next;
            let dnode = &block[slot * DNODE_SLOT_BYTES..];
            next += slots_taken(dnode);
            if dnode[0] != 0 {
                return Some(slot);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests;
