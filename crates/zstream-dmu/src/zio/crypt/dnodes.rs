//! What of a block of dnodes is encrypted, and what is authenticated.
//!
//! ```text
//! slot:   core 64 | pointers | bonus area ............ | spill pointer?
//!         authenticated, cut   encrypted if its type is,  authenticated, cut
//!         down ([`mac`])       else authenticated whole
//! ```
//!
//! The bonus areas of all dnodes, in order, are one message.

use std::ops::Range;

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::phys::DnodeCore;

use super::mac;
use crate::blkptr::BLOCK_POINTER_BYTES;
use crate::dnode::{DNODE_SLOT_BYTES, DnodeFlags};
use crate::error::{Error, Result};

/// A block of dnodes, taken apart.
pub(super) struct Split {
    /// What is authenticated and not encrypted.
    pub(super) authenticated: Vec<u8>,
    /// The bonus areas that are encrypted.
    pub(super) message: Vec<u8>,
    areas: Vec<Range<usize>>,
}

impl Split {
    /// Takes a block in order `order` apart.
    pub(super) fn new(block: &[u8], order: ByteOrder, version: u64) -> Result<Self> {
        let mut split = Self { authenticated: Vec::new(), message: Vec::new(), areas: Vec::new() };
        let mut at = 0;
        while at < block.len() {
            let bad = |what: &str| Error::corrupt("dnode", format!("{what} at byte {at} of its block"));
            let slot = block.get(at..at + DNODE_SLOT_BYTES).ok_or_else(|| bad("half a slot"))?;
            let core = DnodeCore::parse(slot, order);
            let allocated = core.object_type != 0;
            let slots = if allocated { 1 + usize::from(core.extra_slots) } else { 1 };
            let len = slots * DNODE_SLOT_BYTES;
            let dnode = block.get(at..at + len).ok_or_else(|| bad("too many slots"))?;
            split.authenticated.extend(mac::dnode_record(dnode, order, version)?);
            let area_start = DnodeCore::LEN + usize::from(core.pointer_count) * BLOCK_POINTER_BYTES;
            let has_spill = DnodeFlags::from_bits_retain(core.flags).contains(DnodeFlags::SPILL_POINTER);
            let area_end = len - if has_spill { BLOCK_POINTER_BYTES } else { 0 };
            let area = dnode.get(area_start..area_end).ok_or_else(|| bad("block pointers over the end"))?;
            if allocated && ObjectType(core.bonus_type.into()).is_encrypted() && core.bonus_len != 0 {
                split.message.extend(area);
                split.areas.push(at + area_start..at + area_end);
            } else {
                split.authenticated.extend(area);
            }
            at += len;
        }
        Ok(split)
    }

    /// Puts the message, decrypted now, back to where it came from.
    pub(super) fn put_back(&self, block: &mut [u8]) {
        let mut message = &self.message[..];
        for area in &self.areas {
            let (front, rest) = message.split_at(area.len());
            block[area.clone()].copy_from_slice(front);
            message = rest;
        }
    }
}
