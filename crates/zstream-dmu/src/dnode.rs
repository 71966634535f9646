//! Dnodes (`dnode_phys_t`): what an object is and where its tree of blocks starts.
//!
//! A dnode takes 1 to 32 slots of 512 bytes in a block of the meta-dnode, and never crosses that
//! block. All is little-endian here: blocks of the other order were swapped when they were read.
//!
//! ```text
//!    0  core: `DnodeCore`
//!   64  its block pointers, 128 bytes each
//!       bonus, up to the end of the last slot; with flag 4 the last 128 bytes are the spill pointer
//! ```
//!
//! [`Dnode::parse`] judges what it reads, so that the shape of a dnode can be relied on afterwards:
//! levels, sizes and counts are within their limits and the bonus lies within the dnode. The bonus's type
//! and the functions for new blocks are not judged: reading does not depend on them, and wrong bonus
//! types exist in pools that OpenZFS reads.

mod build;

use bitflags::bitflags;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::phys::DnodeCore;

use crate::blkptr::{BLOCK_BYTES_MAX, BLOCK_POINTER_BYTES, BlockPointer, SECTOR_BYTES};
use crate::error::{Error, Result};
use crate::ids::BlockId;

pub use self::build::{INDIRECT_SHIFT_DEFAULT, NewObject};

/// Size of a dnode slot in bytes (`DNODE_MIN_SIZE`).
pub const DNODE_SLOT_BYTES: usize = 512;

/// The most slots that one dnode takes (`DNODE_MAX_SLOTS`).
pub const DNODE_SLOTS_MAX: usize = 32;

/// Bytes of a dnode in front of its block pointers (`DNODE_CORE_SIZE`).
pub const DNODE_CORE_BYTES: usize = DnodeCore::LEN;

/// The most block pointers in a dnode (`DN_MAX_NBLKPTR`).
pub const DNODE_POINTERS_MAX: usize = 3;

/// The most levels that an object's tree has (`DN_MAX_LEVELS`).
pub const LEVELS_MAX: u8 = 12;

/// Limits of the logarithm of an indirect block's size. OpenZFS makes 12 to 17; the first releases
/// allowed 10.
pub const INDIRECT_SHIFT: std::ops::RangeInclusive<u8> = 10..=17;

bitflags! {
    /// Flags of a dnode (`DNODE_FLAG_*`). Unknown ones are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct DnodeFlags: u8 {
        /// `used` counts bytes; without it, sectors.
        const USED_BYTES = 1;
        /// The object is counted in its user's and group's space.
        const USER_USED_ACCOUNTED = 2;
        /// The last 128 bytes are the pointer of the spill block.
        const SPILL_POINTER = 4;
        /// The object is counted in its user's and group's number of objects.
        const USER_OBJECT_ACCOUNTED = 8;
        const _ = !0;
    }
}

/// An allocated dnode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dnode {
    /// What the object's blocks hold.
    pub object_type: ObjectType,
    /// Logarithm of the size of the object's indirect blocks.
    pub indirect_shift: u8,
    /// Levels of the tree: 1 when the block pointers point at data.
    pub levels: u8,
    /// What the bonus holds.
    pub bonus_type: ObjectType,
    /// Checksum function of new blocks, usually inherited.
    pub checksum_type: ChecksumType,
    /// Compression function of new blocks, usually inherited.
    pub compression: CompressionType,
    /// Flags.
    pub flags: DnodeFlags,
    /// Data block size in sectors, at least 1.
    pub block_sectors: u16,
    /// Length of the used part of the bonus, in bytes.
    pub bonus_len: u16,
    /// Slots that the dnode takes after its first.
    pub extra_slots: u8,
    /// Highest block of the object; 0 also when there is none.
    pub max_block: BlockId,
    /// Space that the object's blocks take, as stored: bytes or sectors by the flag.
    pub used: u64,
    pointers: Vec<BlockPointer>,
    bonus_area: Box<[u8]>,
    spill: Option<BlockPointer>,
}

impl Dnode {
    /// Reads the dnode that starts at the first of `bytes`, which end where its block does. A free slot
    /// gives `None`.
    ///
    /// # Errors
    ///
    /// The dnode breaks a rule: [`Fault::Corrupt`](crate::error::Fault::Corrupt) names the field. The
    /// object's number is for the caller to add.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let order = ByteOrder::Little;
        let Some(core) = DnodeCore::read(bytes, order) else {
            return Err(bad(format!("{} bytes left, a dnode takes {DNODE_SLOT_BYTES}", bytes.len())));
        };
        if core.object_type == 0 {
            return Ok(None);
        }
        let slots = usize::from(core.extra_slots) + 1;
        let total_bytes = slots * DNODE_SLOT_BYTES;
        if slots > DNODE_SLOTS_MAX || total_bytes > bytes.len() {
            return Err(bad(format!(
                "{slots} slots, but {} are left in the block",
                bytes.len() / DNODE_SLOT_BYTES
            )));
        }
        let pointer_count = usize::from(core.pointer_count);
        if !(1..=DNODE_POINTERS_MAX).contains(&pointer_count) {
            return Err(bad(format!("{pointer_count} block pointers, expected 1 to {DNODE_POINTERS_MAX}")));
        }
        let flags = DnodeFlags::from_bits_retain(core.flags);
        let bonus_start = DNODE_CORE_BYTES + pointer_count * BLOCK_POINTER_BYTES;
        let has_spill = flags.contains(DnodeFlags::SPILL_POINTER);
        let bonus_end = total_bytes - if has_spill { BLOCK_POINTER_BYTES } else { 0 };
        // Three pointers and a spill pointer do not fit into one slot.
        if bonus_start > bonus_end {
            return Err(bad(format!("{pointer_count} block pointers and a spill pointer in {slots} slots")));
        }
        let pointer = |offset| {
            BlockPointer::parse_at(bytes, offset, order)
                .ok_or_else(|| bad("block pointers beyond its end".into()))
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
            return Err(bad(format!("object type {}", self.object_type)));
        }
        if !INDIRECT_SHIFT.contains(&self.indirect_shift) {
            return Err(bad(format!(
                "indirect block shift {}, expected {} to {}",
                self.indirect_shift,
                INDIRECT_SHIFT.start(),
                INDIRECT_SHIFT.end()
            )));
        }
        if !(1..=LEVELS_MAX).contains(&self.levels) {
            return Err(bad(format!("{} levels, expected 1 to {LEVELS_MAX}", self.levels)));
        }
        if self.block_sectors == 0 || self.block_bytes() > BLOCK_BYTES_MAX {
            return Err(bad(format!(
                "data block size of {} sectors, expected 1 to {}",
                self.block_sectors,
                BLOCK_BYTES_MAX / SECTOR_BYTES
            )));
        }
        if usize::from(self.bonus_len) > self.bonus_area.len() {
            return Err(bad(format!(
                "bonus of {} bytes, {} are there for it",
                self.bonus_len,
                self.bonus_area.len()
            )));
        }
        Ok(())
    }

    /// The dnode's bytes, little-endian, [`Dnode::slots`] slots of 512.
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

    /// Slots of 512 bytes that the dnode takes.
    #[must_use]
    pub fn slots(&self) -> usize {
        usize::from(self.extra_slots) + 1
    }

    /// Size of the object's data blocks, in bytes.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        u64::from(self.block_sectors) * SECTOR_BYTES
    }

    /// Size of the object's indirect blocks, in bytes.
    #[must_use]
    pub fn indirect_bytes(&self) -> u64 {
        1 << self.indirect_shift
    }

    /// Logarithm of the number of block pointers in an indirect block.
    #[must_use]
    pub fn pointers_per_block_shift(&self) -> u32 {
        u32::from(self.indirect_shift) - BLOCK_POINTER_BYTES.trailing_zeros()
    }

    /// Space that the object's blocks take, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        if self.flags.contains(DnodeFlags::USED_BYTES) {
            self.used
        } else {
            self.used.saturating_mul(SECTOR_BYTES)
        }
    }

    /// The block pointers at the top of the tree, 1 to 3.
    #[must_use]
    pub fn pointers(&self) -> &[BlockPointer] {
        &self.pointers
    }

    /// The used part of the bonus.
    #[must_use]
    pub fn bonus(&self) -> &[u8] {
        &self.bonus_area[..usize::from(self.bonus_len)]
    }

    /// The bonus up to where it could grow: raw sends carry all of it, because all of it is encrypted.
    #[must_use]
    pub fn bonus_area(&self) -> &[u8] {
        &self.bonus_area
    }

    /// The pointer of the spill block, if there is one.
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

    /// A file's dnode: one slot, one pointer, 168 bytes of bonus, spill.
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
            (9, 0, "data block size of 0"),
            (9, 0x81, "data block size of 33024"),
            (11, 9, "bonus of 2472 bytes"),
            (12, 1, "2 slots, but 1"),
        ] {
            let mut bytes = file();
            bytes[offset] = value;
            let error = Dnode::parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(text), "byte {offset} = {value} gives {error:?}, expected {text:?}");
        }
        let mut crowded = file();
        crowded[3] = 3;
        assert!(Dnode::parse(&crowded).unwrap_err().to_string().contains("a spill pointer in 1 slots"));
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
            // Padding is not kept.
            bytes[13..16].fill(0);
            bytes[32..64].fill(0);
            if let Ok(Some(dnode)) = Dnode::parse(&bytes) {
                prop_assert_eq!(dnode.encode(), &bytes[..dnode.slots() * DNODE_SLOT_BYTES]);
            }
        }
    }
}
