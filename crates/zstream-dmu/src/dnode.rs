//! Dnodes (`dnode_phys_t`): the properties of an object and the root of its block tree.
//!
//! A dnode occupies 1 to 32 slots of 512 bytes in a block of the meta dnode, and never crosses the end of the block.
//! All numbers are little-endian here: blocks in the other byte order were swapped when they were read.
//!
//! ```text
//!    0  core: `DnodeCore`
//!   64  the block pointers, 128 bytes each
//!       bonus, up to the end of the last slot; with flag 4 the last 128 bytes are the spill pointer
//! ```
//!
//! [`Dnode::parse`] validates the dnode, so that its shape can be relied on afterwards: levels, sizes and counts are
//! within their limits, and the bonus is within the dnode. The type of the bonus and the checksum and compression of
//! new blocks are not validated: they are not required for reading, and wrong bonus types exist in pools that OpenZFS
//! can read.

mod build;

use bitflags::bitflags;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::phys::DnodeCore;

use crate::blkptr::{BLOCK_BYTES_MAX, BLOCK_POINTER_BYTES, BlockPointer, SECTOR_BYTES};
use crate::error::{Error, Result};
use crate::ids::BlockId;

pub use self::build::NewObject;

/// The size of a dnode slot in bytes (`DNODE_MIN_SIZE`).
pub const DNODE_SLOT_BYTES: usize = 512;

/// The maximum number of slots of a dnode (`DNODE_MAX_SLOTS`).
pub(crate) const DNODE_SLOTS_MAX: usize = 32;

/// The size of a dnode before its block pointers, in bytes (`DNODE_CORE_SIZE`).
pub const DNODE_CORE_BYTES: usize = DnodeCore::LEN;

/// The maximum number of block pointers in a dnode (`DN_MAX_NBLKPTR`).
pub(crate) const DNODE_POINTERS_MAX: usize = 3;

/// The maximum number of levels of a block tree (`DN_MAX_LEVELS`).
pub const LEVELS_MAX: u8 = 12;

/// The range of the binary logarithm of the size of an indirect block. OpenZFS creates 12 to 17; the first releases
/// allowed 10.
pub const INDIRECT_SHIFT: std::ops::RangeInclusive<u8> = 10..=17;

bitflags! {
    /// The flags of a dnode (`DNODE_FLAG_*`). Unknown ones are preserved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct DnodeFlags: u8 {
        /// `used` is in bytes; without the flag, in sectors.
        const USED_BYTES = 1;
        /// The space of the object is accounted to its user and group.
        const USER_USED_ACCOUNTED = 2;
        /// The last 128 bytes are the pointer of the spill block.
        const SPILL_POINTER = 4;
        /// The object is accounted in the object counts of its user and group.
        const USER_OBJECT_ACCOUNTED = 8;
        const _ = !0;
    }
}

/// An allocated dnode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dnode {
    /// The type of the object.
    pub object_type: ObjectType,
    /// The binary logarithm of the size of indirect blocks.
    pub indirect_shift: u8,
    /// The levels of the block tree: 1 if the block pointers point to data.
    pub levels: u8,
    /// The type of the bonus.
    pub bonus_type: ObjectType,
    /// The checksum function of new blocks, usually inherited.
    pub checksum_type: ChecksumType,
    /// The compression of new blocks, usually inherited.
    pub compression: CompressionType,
    /// The flags.
    pub flags: DnodeFlags,
    /// The size of data blocks in sectors, at least 1.
    pub block_sectors: u16,
    /// The length of the used part of the bonus in bytes.
    pub bonus_len: u16,
    /// The number of slots after the first one.
    pub extra_slots: u8,
    /// The number of the last block; 0 also if there is none.
    pub max_block: BlockId,
    /// The space that the stored blocks use, in bytes or sectors depending on the flag.
    pub used: u64,
    pointers: Vec<BlockPointer>,
    bonus_area: Box<[u8]>,
    spill: Option<BlockPointer>,
}

impl Dnode {
    /// Parses the dnode at the start of `bytes`, which end at the end of its block. Returns `None` for a free slot.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt), with the field, if the dnode violates a rule. The
    /// caller adds the number of the object.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let order = ByteOrder::Little;
        let Some(core) = DnodeCore::read(bytes, order) else {
            return Err(bad(format!("dnode has {} bytes, expected {DNODE_SLOT_BYTES}", bytes.len())));
        };
        if core.object_type == 0 {
            return Ok(None);
        }
        let slots = usize::from(core.extra_slots) + 1;
        let total_bytes = slots * DNODE_SLOT_BYTES;
        if slots > DNODE_SLOTS_MAX || total_bytes > bytes.len() {
            return Err(bad(format!(
                "dnode has {slots} slots, but {} are left in the block",
                bytes.len() / DNODE_SLOT_BYTES
            )));
        }
        let pointer_count = usize::from(core.pointer_count);
        if !(1..=DNODE_POINTERS_MAX).contains(&pointer_count) {
            return Err(bad(format!(
                "dnode has {pointer_count} block pointers, expected 1 to {DNODE_POINTERS_MAX}"
            )));
        }
        let flags = DnodeFlags::from_bits_retain(core.flags);
        let bonus_start = DNODE_CORE_BYTES + pointer_count * BLOCK_POINTER_BYTES;
        let has_spill = flags.contains(DnodeFlags::SPILL_POINTER);
        let bonus_end = total_bytes - if has_spill { BLOCK_POINTER_BYTES } else { 0 };
        // Three pointers and a spill pointer do not fit into one slot.
        if bonus_start > bonus_end {
            return Err(bad(format!(
                "{pointer_count} block pointers and a spill pointer do not fit into {slots} slots"
            )));
        }
        let pointer = |offset| {
            BlockPointer::parse_at(bytes, offset, order)
                .ok_or_else(|| bad("block pointers exceed the dnode".into()))
        };
        let dnode = Self {
            object_type: ObjectType(core.object_type.into()),
            indirect_shift: core.indirect_shift,
            levels: core.levels,
            bonus_type: ObjectType(core.bonus_type.into()),
            checksum_type: core.checksum_type,
            compression: core.compression,
            flags,
            block_sectors: core.block_sectors,
            bonus_len: core.bonus_len,
            extra_slots: core.extra_slots,
            max_block: core.max_block,
            used: core.used,
            pointers: (0..pointer_count)
                .map(|n| pointer(DNODE_CORE_BYTES + n * BLOCK_POINTER_BYTES))
                .collect::<Result<_>>()?,
            bonus_area: bytes[bonus_start..bonus_end].into(),
            spill: if has_spill { Some(pointer(bonus_end)?) } else { None },
        };
        dnode.judge()?;
        Ok(Some(dnode))
    }

    fn judge(&self) -> Result<()> {
        if !self.object_type.is_valid() {
            return Err(bad(format!("dnode has the unknown object type {}", self.object_type)));
        }
        if !INDIRECT_SHIFT.contains(&self.indirect_shift) {
            return Err(bad(format!(
                "dnode has indirect block shift {}, expected {} to {}",
                self.indirect_shift,
                INDIRECT_SHIFT.start(),
                INDIRECT_SHIFT.end()
            )));
        }
        if !(1..=LEVELS_MAX).contains(&self.levels) {
            return Err(bad(format!("dnode has {} levels, expected 1 to {LEVELS_MAX}", self.levels)));
        }
        if self.block_sectors == 0 || self.block_bytes() > BLOCK_BYTES_MAX {
            return Err(bad(format!(
                "dnode has data blocks of {} sectors, expected 1 to {}",
                self.block_sectors,
                BLOCK_BYTES_MAX / SECTOR_BYTES
            )));
        }
        if usize::from(self.bonus_len) > self.bonus_area.len() {
            return Err(bad(format!(
                "bonus is {} bytes, expected at most {}",
                self.bonus_len,
                self.bonus_area.len()
            )));
        }
        Ok(())
    }

    /// Encodes the dnode, little-endian, in [`Dnode::slots`] slots of 512 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let order = ByteOrder::Little;
        let core = DnodeCore {
            object_type: self.object_type.0 as u8,
            indirect_shift: self.indirect_shift,
            levels: self.levels,
            pointer_count: self.pointers.len() as u8,
            bonus_type: self.bonus_type.0 as u8,
            checksum_type: self.checksum_type,
            compression: self.compression,
            flags: self.flags.bits(),
            block_sectors: self.block_sectors,
            bonus_len: self.bonus_len,
            extra_slots: self.extra_slots,
            max_block: self.max_block,
            used: self.used,
            ..DnodeCore::default()
        };
        let mut out = core.to_bytes(order).to_vec();
        for pointer in &self.pointers {
            out.extend_from_slice(&pointer.encode(order));
        }
        out.extend_from_slice(&self.bonus_area);
        if let Some(spill) = &self.spill {
            out.extend_from_slice(&spill.encode(order));
        }
        out
    }

    /// Returns the number of slots of 512 bytes.
    #[must_use]
    pub fn slots(&self) -> usize {
        usize::from(self.extra_slots) + 1
    }

    /// Returns the size of data blocks in bytes.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        u64::from(self.block_sectors) * SECTOR_BYTES
    }

    /// Returns the size of indirect blocks in bytes.
    #[must_use]
    pub fn indirect_bytes(&self) -> u64 {
        1 << self.indirect_shift
    }

    /// Returns the binary logarithm of the number of block pointers in an indirect block.
    #[must_use]
    pub fn pointers_per_block_shift(&self) -> u32 {
        u32::from(self.indirect_shift) - BLOCK_POINTER_BYTES.trailing_zeros()
    }

    /// Returns the space that the blocks of the object use, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        if self.flags.contains(DnodeFlags::USED_BYTES) {
            self.used
        } else {
            self.used.saturating_mul(SECTOR_BYTES)
        }
    }

    /// Returns the block pointers at the top of the tree, 1 to 3.
    #[must_use]
    pub fn pointers(&self) -> &[BlockPointer] {
        &self.pointers
    }

    /// Returns the used part of the bonus.
    #[must_use]
    pub fn bonus(&self) -> &[u8] {
        &self.bonus_area[..usize::from(self.bonus_len)]
    }

    /// Returns the whole area of the bonus. Raw sends include all of it, because all of it is encrypted.
    #[must_use]
    pub fn bonus_area(&self) -> &[u8] {
        &self.bonus_area
    }

    /// Returns the pointer of the spill block, if there is one.
    #[must_use]
    pub fn spill(&self) -> Option<&BlockPointer> {
        self.spill.as_ref()
    }
}

fn bad(detail: String) -> Error {
    Error::corrupt("dnode", detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The dnode of a file: one slot, one pointer, a bonus of 168 bytes, a spill block.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; DNODE_SLOT_BYTES];
        bytes[..13].copy_from_slice(&[19, 17, 2, 1, 44, 0, 0, 7, 0, 1, 168, 0, 0]);
        bytes[16] = 9;
        bytes[25] = 0x10;
        bytes[64] = 8;
        bytes[192..360].fill(0xb0);
        bytes[384] = 1;
        bytes
    }

    #[test]
    fn a_file_with_spill_is_read_and_written_back() {
        let bytes = file();
        let dnode = Dnode::parse(&bytes).unwrap().unwrap();
        assert_eq!((dnode.block_bytes(), dnode.indirect_bytes(), dnode.levels), (131_072, 131_072, 2));
        assert_eq!((dnode.max_block, dnode.used_bytes(), dnode.slots()), (BlockId(9), 4096, 1));
        assert_eq!((dnode.bonus().len(), dnode.bonus_area().len()), (168, 192));
        assert!(dnode.spill().is_some());
        assert_eq!(dnode.pointers().len(), 1);
        assert_eq!(dnode.encode(), bytes);
        assert_eq!(Dnode::parse(&[0; 512]).unwrap(), None);
    }

    #[test]
    fn each_broken_field_is_named() {
        for (offset, value, text) in [
            (0, 60, "object type"),
            (1, 9, "indirect block shift 9"),
            (1, 25, "indirect block shift 25"),
            (2, 0, "0 levels"),
            (2, 13, "13 levels"),
            (3, 0, "0 block pointers"),
            (3, 4, "4 block pointers"),
            (9, 0, "data blocks of 0"),
            (9, 0x81, "data blocks of 33024"),
            (11, 9, "bonus is 2472 bytes"),
            (12, 1, "2 slots, but 1"),
        ] {
            let mut bytes = file();
            bytes[offset] = value;
            let error = Dnode::parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(text), "byte {offset} = {value} gives {error:?}, expected {text:?}");
        }
        let mut crowded = file();
        crowded[3] = 3;
        assert!(Dnode::parse(&crowded).unwrap_err().to_string().contains("do not fit into 1 slots"));
        assert!(Dnode::parse(&[1; 63]).is_err());
    }

    proptest! {
        #[test]
        fn damage_gives_an_error_or_a_dnode_that_is_written_back(
            flips in proptest::collection::vec((0_usize..64, any::<u8>()), 0..6), slots in 1_usize..3
        ) {
            let mut bytes = file();
            bytes.resize(slots * DNODE_SLOT_BYTES, 0x5a);
            for (offset, value) in flips {
                bytes[offset] = value;
            }
            // Padding is not preserved.
            bytes[13..16].fill(0);
            bytes[32..64].fill(0);
            if let Ok(Some(dnode)) = Dnode::parse(&bytes) {
                prop_assert_eq!(dnode.encode(), &bytes[..dnode.slots() * DNODE_SLOT_BYTES]);
            }
        }
    }
}
