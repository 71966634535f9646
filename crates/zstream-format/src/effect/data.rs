//! Effects of records on content: blocks, ranges and spill blocks.

use crate::flags::{BeginFlags, SpillFlags};
use crate::judge::Terms;
use crate::object_type::ObjectType;

/// The block number of a spill block, counted back from 2^64 (`DMU_SPILL_BLKID`).
const SPILL_BLOCK_FROM_END: u64 = 2;

/// Returns `true` if a WRITE_EMBEDDED is the spill block of its object. Senders that embed a spill block send it as a
/// block of the object, at the offset that follows from its block number (openzfs/zfs#18239). Only system attributes
/// have spill blocks.
#[must_use]
pub fn is_disguised_spill(bonus_type: ObjectType, offset: u64, logical_bytes: u64) -> bool {
    let from_end = logical_bytes.wrapping_mul(SPILL_BLOCK_FROM_END).wrapping_neg();
    bonus_type == ObjectType::SA && logical_bytes > 0 && offset == from_end
}

/// The effect of a SPILL (`receive_spill`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpillEffect {
    /// The block becomes the spill block of the object.
    Stored,
    /// Nothing changes: the record repeats an unmodified block.
    Ignored,
    /// The object does not exist.
    NoObject,
}

/// Returns the effect of a SPILL with these flags. `has_spill` is `None` if the object does not exist.
///
/// OpenZFS always ignores an unmodified block. This function stores it if the object has none.
#[must_use]
pub fn spill(terms: &Terms, flags: SpillFlags, has_spill: Option<bool>) -> SpillEffect {
    let unmodified = flags.contains(SpillFlags::UNMODIFIED) && terms.flags.contains(BeginFlags::SPILL_BLOCK);
    match has_spill {
        Some(false) => SpillEffect::Stored,
        _ if unmodified => SpillEffect::Ignored,
        Some(true) => SpillEffect::Stored,
        None => SpillEffect::NoObject,
    }
}

/// Returns the highest block of an object after `length` bytes at `offset` were written.
#[must_use]
pub fn last_block_written(last: u64, block_bytes: u64, offset: u64, length: u64) -> u64 {
    match length {
        0 => last,
        length => last.max(offset.saturating_add(length - 1) / block_bytes),
    }
}

/// Returns the highest block of an object after `length` bytes at `offset` were freed (`dnode_free_range`). A block
/// that is freed in part stays; a range that reaches the end frees the blocks at the end.
#[must_use]
pub fn last_block_freed(last: u64, block_bytes: u64, offset: u64, length: u64) -> u64 {
    let end = offset.saturating_add(length);
    let reaches_end = length == u64::MAX || end / block_bytes > last;
    let first_whole = offset.div_ceil(block_bytes);
    if length > 0 && reaches_end && first_whole <= last { first_whole.saturating_sub(1) } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FeatureFlags;
    use crate::judge::Limits;

    #[test]
    fn a_spill_block_lies_two_blocks_before_the_end() {
        for (bonus_type, offset, bytes, expected) in [
            (ObjectType::SA, 0_u64.wrapping_sub(1024), 512, true),
            (ObjectType::SA, 0_u64.wrapping_sub(2048), 1024, true),
            (ObjectType::SA, 0_u64.wrapping_sub(1024), 1024, false),
            (ObjectType::SA, 0, 512, false),
            (ObjectType::SA, 0, 0, false),
            (ObjectType::ZNODE, 0_u64.wrapping_sub(1024), 512, false),
            (ObjectType::NONE, 0_u64.wrapping_sub(1024), 512, false),
        ] {
            assert_eq!(
                is_disguised_spill(bonus_type, offset, bytes),
                expected,
                "{bonus_type} {offset} {bytes}"
            );
        }
    }

    #[test]
    fn what_has_not_changed_is_ignored_where_it_is_there() {
        use SpillEffect::{Ignored, NoObject, Stored};
        let terms = |flags| Terms { features: FeatureFlags::empty(), flags, limits: Limits::default() };
        let (known, unknown) = (terms(BeginFlags::SPILL_BLOCK), terms(BeginFlags::empty()));
        let (same, new) = (SpillFlags::UNMODIFIED, SpillFlags::empty());
        for (terms, flags, has_spill, expected) in [
            (&known, same, Some(true), Ignored),
            (&known, same, Some(false), Stored),
            (&known, same, None, Ignored),
            (&known, new, Some(true), Stored),
            (&known, new, Some(false), Stored),
            (&known, new, None, NoObject),
            (&unknown, same, Some(true), Stored),
            (&unknown, same, None, NoObject),
        ] {
            assert_eq!(spill(terms, flags, has_spill), expected, "{flags:?} {has_spill:?} {terms:?}");
        }
    }

    #[test]
    fn the_highest_block_follows_writes_and_frees() {
        assert_eq!(last_block_written(3, 512, 0, 512), 3);
        assert_eq!(last_block_written(0, 512, 1024, 1), 2);
        assert_eq!(last_block_written(0, 512, 512, 1024), 2);
        assert_eq!(last_block_written(1, 512, 1 << 40, 0), 1);
        for (last, offset, length, expected) in [
            (9, 0, u64::MAX, 0),
            (9, 512 * 4, u64::MAX, 3),
            (9, 512 * 4 + 1, u64::MAX, 4),
            (9, 512 * 4, 512 * 6, 3),
            (9, 512 * 4, 512 * 5, 9),
            (9, 512 * 9, 511, 9),
            (9, 512 * 9, 512, 8),
            (9, 512 * 10, u64::MAX, 9),
            (9, 512 * 9 + 1, u64::MAX, 9),
            (9, 512 * 4, 0, 9),
            (0, 0, 512, 0),
        ] {
            assert_eq!(last_block_freed(last, 512, offset, length), expected, "{last} {offset} {length}");
        }
    }
}
