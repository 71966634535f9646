//! Conversion of blocks and bonus buffers to the other byte order (`dmu_ot_byteswap`).
//!
//! In some structures the layout depends on values inside them, so every function takes the current
//! byte order of the block. Swapping twice restores the original bytes.

use crate::object_type::{ObjectType, SwapClass};
use crate::order::ByteOrder;
use crate::phys::{
    AceHeader, AclPhys, DnodeCore, MicroZapEntry, MicroZapHeader, ObjsetBlock, ObjsetHead, OldAce,
    ZapArrayChunk, ZapEntryChunk, ZapLeafHeader, ZnodePhys,
};

/// An error from swapping a block: its structure is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// A structure is longer than its container.
    #[error("{what} at byte {at} needs {need} bytes, have {have}")]
    Short {
        /// The name of the structure.
        what: &'static str,
        /// The offset in the block, in bytes.
        at: usize,
        /// The number of bytes that it requires.
        need: usize,
        /// The number of bytes that are available.
        have: usize,
    },
    /// A field has an invalid value.
    #[error("{what} at byte {at} is {found}, which is invalid")]
    Value {
        /// The name of the field.
        what: &'static str,
        /// The offset in the block, in bytes.
        at: usize,
        /// The value of the field.
        found: u64,
    },
    /// The object type does not exist.
    #[error("object type {0} does not exist")]
    Type(u32),
}

/// Swaps a block or bonus buffer of this object type in place; its current byte order is `from`.
///
/// # Errors
/// Fails if the type does not exist or the structure is invalid. `block` may be partly swapped then.
pub fn swap_block(object_type: ObjectType, block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    swap(object_type.swap_class().ok_or(SwapError::Type(object_type.0))?, block, from)
}

/// Swaps a block or bonus buffer of this class in place; its current byte order is `from`.
///
/// # Errors
/// Fails if the structure is invalid. `block` may be partly swapped then.
pub fn swap(class: SwapClass, block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    match class {
        SwapClass::U8 => Ok(()),
        SwapClass::U16 => swap_words(block, 2),
        SwapClass::U32 => swap_words(block, 4),
        SwapClass::U64 => swap_words(block, 8),
        SwapClass::Zap => zap(block, from),
        SwapClass::Dnode => dnodes(block, from),
        SwapClass::Objset => objset(block, from),
        SwapClass::Znode => znode(block, from),
        SwapClass::OldAcl => {
            old_acl(block);
            Ok(())
        }
        SwapClass::Acl => acl(block, from),
    }
}

/// Reverses each complete word of `size` bytes; a remainder stays as it is.
fn swap_words(block: &mut [u8], size: usize) -> Result<(), SwapError> {
    block.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    Ok(())
}

/// Returns the `need` bytes at `at`, or an error if the block is too short.
fn part<'a>(
    block: &'a mut [u8],
    what: &'static str,
    at: usize,
    need: usize,
) -> Result<&'a mut [u8], SwapError> {
    let have = block.len().saturating_sub(at);
    let short = SwapError::Short { what, at, need, have };
    block.get_mut(at..).and_then(|rest| rest.get_mut(..need)).ok_or(short)
}

fn zap(block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    match from.u64(part(block, "ZAP block type", 0, 8)?) {
        MicroZapHeader::BLOCK_TYPE => micro_zap(block),
        ZapLeafHeader::BLOCK_TYPE => zap_leaf(block),
        // A header with its pointer table, or a block of an external pointer table.
        _ => swap_words(block, 8),
    }
}

/// Swaps a header, then entries.
fn micro_zap(block: &mut [u8]) -> Result<(), SwapError> {
    MicroZapHeader::byteswap(part(block, "micro ZAP header", 0, MicroZapHeader::LEN)?);
    block[MicroZapHeader::LEN..].chunks_exact_mut(MicroZapEntry::LEN).for_each(MicroZapEntry::byteswap);
    Ok(())
}

/// Swaps a header, a hash table of `u16`, and chunks. The bytes in array chunks are always big-endian.
fn zap_leaf(block: &mut [u8]) -> Result<(), SwapError> {
    const HEADER: usize = ZapLeafHeader::LEN;
    const CHUNK: usize = ZapEntryChunk::LEN;
    let size = block.len();
    if !size.is_power_of_two() || size < 512 {
        return Err(SwapError::Value { what: "size of a ZAP leaf", at: 0, found: size as u64 });
    }
    ZapLeafHeader::byteswap(block);
    let hash_len = size / 32 * 2;
    swap_words(&mut block[HEADER..HEADER + hash_len], 2)?;
    let chunks = (size - 2 * (size / 32)) / CHUNK - 2;
    for index in 0..chunks {
        let at = HEADER + hash_len + index * CHUNK;
        let chunk = part(block, "ZAP chunk", at, CHUNK)?;
        match chunk[0] {
            ZapEntryChunk::KIND => ZapEntryChunk::byteswap(chunk),
            ZapArrayChunk::KIND | ZapArrayChunk::KIND_FREE => ZapArrayChunk::byteswap(chunk),
            other => return Err(SwapError::Value { what: "type of a ZAP chunk", at, found: other.into() }),
        }
    }
    Ok(())
}

const SLOT: usize = 512;
const BLKPTR: usize = 128;
const DNODE_FLAG_SPILL: u8 = 4;

fn dnodes(block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    let mut at = 0;
    while at < block.len() {
        let core = DnodeCore::parse(part(block, "dnode", at, SLOT)?, from);
        let slots = 1 + usize::from(core.extra_slots);
        let len = if core.object_type == 0 { SLOT } else { slots * SLOT };
        dnode(part(block, "dnode", at, len)?, at, from)?;
        at += len;
    }
    Ok(())
}

/// Swaps one dnode with all its slots; `at` is its offset, for errors.
fn dnode(dnode: &mut [u8], at: usize, from: ByteOrder) -> Result<(), SwapError> {
    let core = DnodeCore::parse(dnode, from);
    if core.object_type == 0 {
        return Ok(());
    }
    let blkptrs_end = DnodeCore::LEN + usize::from(core.pointer_count) * BLKPTR;
    let has_spill = core.flags & DNODE_FLAG_SPILL != 0;
    DnodeCore::byteswap(dnode);
    let room = dnode.len() - if has_spill { BLKPTR } else { 0 };
    if blkptrs_end > room {
        return Err(SwapError::Short {
            what: "block pointers of a dnode",
            at,
            need: blkptrs_end,
            have: room,
        });
    }
    swap_words(&mut dnode[DnodeCore::LEN..blkptrs_end], 8)?;
    let (front, spill) = dnode.split_at_mut(room);
    swap_words(spill, 8)?;
    if core.bonus_len != 0 {
        let bonus_type = ObjectType(core.bonus_type.into());
        swap_bonus_area(bonus_type, &mut front[blkptrs_end..], core.bonus_len.into(), from)?;
    }
    Ok(())
}

/// Swaps the bonus area of a dnode, of which `used` bytes are in use; its current byte order is `from`.
///
/// # Errors
/// Fails if the type does not exist or the structure is invalid. `area` may be partly swapped then.
pub fn swap_bonus_area(
    bonus_type: ObjectType,
    area: &mut [u8],
    used: usize,
    from: ByteOrder,
) -> Result<(), SwapError> {
    let need = used.min(area.len());
    let class = bonus_type.swap_class().ok_or(SwapError::Type(bonus_type.0))?;
    let bonus = match class {
        // Swap the whole area, as OpenZFS does: the bytes after the length in use are zeros or belong to the bonus.
        SwapClass::U16 | SwapClass::U32 | SwapClass::U64 => area,
        _ => &mut area[..need],
    };
    swap(class, bonus, from)
}

/// Swaps the head and, where the block is long enough, the accounting dnodes.
fn objset(block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    const ACCOUNTING: [usize; 3] = [
        ObjsetBlock::offset_of("user_used"),
        ObjsetBlock::offset_of("group_used"),
        ObjsetBlock::offset_of("project_used"),
    ];
    dnode(part(block, "meta-dnode", 0, SLOT)?, 0, from)?;
    ObjsetHead::byteswap(part(block, "objset header", 0, ObjsetHead::LEN)?);
    for at in ACCOUNTING {
        if block.len() >= at + SLOT {
            dnode(&mut block[at..at + SLOT], at, from)?;
        }
    }
    Ok(())
}

/// Swaps the fixed fields, then the entries of the ACL by its version.
fn znode(block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    const FUID_VERSION: u16 = 1;
    const ACES: usize = ZnodePhys::offset_of("acl") + AclPhys::offset_of("entries");
    let znode = part(block, "znode", 0, ZnodePhys::LEN)?;
    let version = ZnodePhys::parse(znode, from).acl.version;
    ZnodePhys::byteswap(znode);
    let aces = &mut znode[ACES..];
    if version == FUID_VERSION {
        acl(aces, from)
    } else {
        old_acl(aces);
        Ok(())
    }
}

fn old_acl(block: &mut [u8]) {
    block.chunks_exact_mut(OldAce::LEN).for_each(OldAce::byteswap);
}

/// Swaps entries. Unless the flags name owner, group or everyone, an id of `u64` follows the header; in object entries, two
/// guids of 16 bytes follow that.
fn acl(block: &mut [u8], from: ByteOrder) -> Result<(), SwapError> {
    const OWNER: u16 = 0x1000;
    const GROUP: u16 = 0x2000;
    const IDENTIFIER_GROUP: u16 = 0x40;
    const EVERYONE: u16 = 0x4000;
    const WHO: u16 = OWNER | GROUP | IDENTIFIER_GROUP | EVERYONE;
    let mut at = 0;
    while block.len() - at >= AceHeader::LEN {
        let entry = part(block, "an ACL entry", at, AceHeader::LEN)?;
        let AceHeader { kind, flags, .. } = AceHeader::parse(entry, from);
        AceHeader::byteswap(entry);
        let who = flags & WHO;
        at += if who == OWNER || who == EVERYONE || who == GROUP | IDENTIFIER_GROUP {
            8
        } else {
            // The zeros after the last entry look like another entry; if they are too short for one,
            // there is nothing to swap.
            let Some(id) = block.get_mut(at + 8..at + 16) else { break };
            id.reverse();
            if (5..=8).contains(&kind) { 48 } else { 16 }
        };
        if at > block.len() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(class: SwapClass, block: &[u8]) {
        let mut copy = block.to_vec();
        if swap(class, &mut copy, ByteOrder::Little).is_ok() {
            swap(class, &mut copy, ByteOrder::Big).expect("a swapped block can be swapped back");
            assert_eq!(copy, block, "{class:?}");
        }
    }

    #[test]
    fn micro_zap_names_stay() {
        let mut block = vec![0; 512];
        ByteOrder::Little.put_u64(&mut block, MicroZapHeader::BLOCK_TYPE);
        ByteOrder::Little.put_u64(&mut block[64..], 5);
        ByteOrder::Little.put_u32(&mut block[72..], 7);
        block[78..82].copy_from_slice(b"ROOT");
        let before = block.clone();
        swap(SwapClass::Zap, &mut block, ByteOrder::Little).unwrap();
        assert_eq!(ByteOrder::Big.u64(&block), MicroZapHeader::BLOCK_TYPE);
        assert_eq!(ByteOrder::Big.u64(&block[64..]), 5);
        assert_eq!(ByteOrder::Big.u32(&block[72..]), 7);
        assert_eq!(&block[78..82], b"ROOT");
        there_and_back(SwapClass::Zap, &before);
    }

    #[test]
    fn dnode_bonus_goes_by_its_type() {
        let mut block = vec![0; 1024];
        block[0] = 19;
        block[3] = 1;
        block[4] = ObjectType::SA.0 as u8;
        ByteOrder::Little.put_u16(&mut block[8..], 256);
        ByteOrder::Little.put_u16(&mut block[10..], 8);
        ByteOrder::Little.put_u64(&mut block[64..], 42);
        block[192..200].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let before = block.clone();
        swap(SwapClass::Dnode, &mut block, ByteOrder::Little).unwrap();
        assert_eq!(ByteOrder::Big.u16(&block[8..]), 256);
        assert_eq!(ByteOrder::Big.u64(&block[64..]), 42);
        assert_eq!(block[192..200], before[192..200], "system attributes describe themselves");
        there_and_back(SwapClass::Dnode, &before);
    }

    #[test]
    fn a_dnode_that_leaves_its_block_is_an_error() {
        let mut block = vec![0; 1024];
        block[512] = 19;
        block[512 + 12] = 3;
        assert_eq!(
            swap(SwapClass::Dnode, &mut block, ByteOrder::Little),
            Err(SwapError::Short { what: "dnode", at: 512, need: 2048, have: 512 })
        );
    }

    #[test]
    fn acl_entries_of_each_size() {
        // owner@ (8 bytes), a user (16), an object entry (48).
        let mut block = vec![0; 72];
        let entries = [(0, 0u16, 0x1000u16), (8, 0, 0), (24, 5, 0)];
        for (at, kind, flags) in entries {
            ByteOrder::Big.put_u16(&mut block[at..], kind);
            ByteOrder::Big.put_u16(&mut block[at + 2..], flags);
            ByteOrder::Big.put_u32(&mut block[at + 4..], 0x1f);
        }
        ByteOrder::Big.put_u64(&mut block[16..], 1000);
        block[40] = 9;
        let mut swapped = block.clone();
        swap(SwapClass::Acl, &mut swapped, ByteOrder::Big).unwrap();
        assert_eq!(ByteOrder::Little.u64(&swapped[16..]), 1000);
        assert_eq!(swapped[40], 9, "guids are bytes");
        swap(SwapClass::Acl, &mut swapped, ByteOrder::Little).unwrap();
        assert_eq!(swapped, block);
    }

    proptest! {
        #[test]
        fn every_class_is_undone_by_itself(class in 0u32..10, mut block in proptest::collection::vec(any::<u8>(), 0..3000), kind in 0u64..5) {
            let class = SwapClass::from_number(class).unwrap();
            if block.len() >= 8 && class == SwapClass::Zap {
                ByteOrder::Little.put_u64(&mut block, (1 << 63) + kind);
                block.resize(block.len().next_power_of_two(), 0xfd);
            }
            there_and_back(class, &block);
        }
    }
}
