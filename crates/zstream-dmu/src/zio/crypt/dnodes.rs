//! The encrypted and the authenticated parts of a block of dnodes.
//!
//! ```text
//! slot:   core 64 | pointers | bonus area ............ | spill pointer?
//!         authenticated,       encrypted if its type is,  authenticated,
//!         reduced ([`mac`])    else authenticated whole   reduced
//! ```
//!
//! The bonus areas of all dnodes, in order, are one message.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::phys::DnodeCore;

use super::mac;
use super::parts::Parts;
use crate::blkptr::BLOCK_POINTER_BYTES;
use crate::dnode::{DNODE_SLOT_BYTES, DnodeFlags};
use crate::error::{Error, Result};

/// Splits a block of dnodes in byte order `order`.
pub(super) fn split(block: &[u8], order: ByteOrder, version: u64) -> Result<Parts> {
    let mut split = Parts::default();
    let mut at = 0;
    while at < block.len() {
        let bad = |what: &str| Error::corrupt("dnode", format!("{what} at byte {at} of its block"));
        let slot = block.get(at..at + DNODE_SLOT_BYTES).ok_or_else(|| bad("incomplete slot"))?;
        let core = DnodeCore::parse(slot, order);
        let allocated = core.object_type != 0;
        let slots = if allocated { 1 + usize::from(core.extra_slots) } else { 1 };
        let len = slots * DNODE_SLOT_BYTES;
        let dnode = block.get(at..at + len).ok_or_else(|| bad("slots exceed the block"))?;
        split.authenticated.extend(mac::dnode_record(dnode, order, version)?);
        let area_start = DnodeCore::LEN + usize::from(core.pointer_count) * BLOCK_POINTER_BYTES;
        let has_spill = DnodeFlags::from_bits_retain(core.flags).contains(DnodeFlags::SPILL_POINTER);
        let area_end = len - if has_spill { BLOCK_POINTER_BYTES } else { 0 };
        let area = dnode.get(area_start..area_end).ok_or_else(|| bad("block pointers exceed the dnode"))?;
        if allocated && ObjectType(core.bonus_type.into()).is_encrypted() && core.bonus_len != 0 {
            split.encrypt(block, at + area_start..at + area_end);
        } else {
            split.authenticated.extend(area);
        }
        at += len;
    }
    Ok(split)
}
