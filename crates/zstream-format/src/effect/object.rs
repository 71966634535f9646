//! The effect of an OBJECT record on an object that already exists (`receive_handle_existing_object`).
//!
//! A stream may describe the same object as before, and contain only its changed blocks, or another object of the
//! same number, and contain all its blocks and holes. Content may be freed only if it must be another object, or if
//! the stream contains all of it:
//!
//! ```text
//! slots differ                                  another object                       recreated
//! type differs                                  another object                       content freed
//! block size differs
//!   raw, or a full stream over a clone          the stream has all of it             content freed
//!   one block                                   the stream has it                    content freed
//!   a volume, 128 KiB before, larger            large blocks for the first time      blocks kept
//!   otherwise not a file                        the stream has all of it             content freed
//!   a file of the same generation, larger       large blocks for the first time      blocks kept
//!   a file of the same generation, smaller                                           refused
//!   a file of another generation                another object                       content freed
//! raw: fewer pointers, fewer levels, other
//!   indirect blocks                             another object                       content freed, or recreated
//! otherwise                                                                          content kept
//! ```
//!
//! OpenZFS keeps the content of an object whose type changes: the stream writes or frees all of it. OpenZFS also frees
//! the content if a stream that is not raw leaves fewer block pointers. But the same object may have fewer pointers
//! when system attributes replace its znode or its bonus grows again; here a level is added instead.

use crate::file_info::generation;
use crate::flags::{BeginFlags, ObjectFlags};
use crate::judge::{BLKPTR_BYTES, MAX_BLOCK_POINTERS, Terms, bonus_room};
use crate::object_type::ObjectType;
use crate::record::Object;

/// The maximum block size of a stream without large blocks (`SPA_OLD_MAXBLOCKSIZE`).
const SMALL_BLOCK_BYTES: u64 = 128 << 10;

/// The state of an object before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present<'a> {
    /// The type of its blocks.
    pub object_type: ObjectType,
    /// The type of its bonus.
    pub bonus_type: ObjectType,
    /// The used part of the bonus; `None` if it is encrypted.
    pub bonus: Option<&'a [u8]>,
    /// The size of its blocks in bytes.
    pub block_bytes: u64,
    /// The number of slots of its dnode.
    pub slots: u8,
    /// The number of block pointers in its dnode.
    pub pointers: u8,
    /// The size of its indirect blocks in bytes, if known.
    pub indirect_bytes: Option<u64>,
    /// The number of levels of its block tree.
    pub levels: u8,
    /// The number of its highest block; 0 also if it has none.
    pub last_block: u64,
}

/// The change that an OBJECT record makes to an existing object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// `true` if the blocks are kept.
    pub keep_content: bool,
    /// `true` if the spill block is kept.
    pub keep_spill: bool,
    /// `true` if the object is freed and one of the same number is created: nothing is kept.
    pub make_anew: bool,
    /// `true` if the description differs, so that the dnode must be changed (`dmu_object_reclaim`).
    pub reclaim: bool,
    /// The new block size in bytes: that of the record, or the old one if smaller blocks are kept.
    pub block_bytes: u32,
    /// `true` if the record describes the same file with smaller blocks. Receivers refuse it; keeping the blocks and
    /// the block size loses nothing.
    pub shrinks: bool,
    /// The offset from which the content is freed: raw streams state the last block.
    pub free_from: Option<u64>,
}

/// An error: the block size of an object differs, and it may be the same file or another file of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object {0} has no generation number, so it is unknown whether it is the same file")]
pub struct NoGeneration(pub crate::ids::ObjectId);

/// Returns the change that an OBJECT record makes to an existing object. `bonus` is that of the record, little-endian
/// if it has a byte order. `is_full` is set for a stream without a source.
///
/// # Errors
///
/// Fails if it cannot be decided whether the record describes the same file.
pub fn object(
    terms: &Terms,
    is_full: bool,
    present: &Present<'_>,
    record: &Object,
    bonus: &[u8],
) -> Result<Change, NoGeneration> {
    let is_raw = terms.is_raw();
    let pointers = pointer_count(record.bonus_type, record.bonus_len, record.slots());
    let mut change = Change {
        keep_content: record.object_type == present.object_type,
        keep_spill: false,
        make_anew: record.slots() != present.slots,
        reclaim: false,
        block_bytes: record.block_size,
        shrinks: false,
        free_from: None,
    };
    if u64::from(record.block_size) != present.block_bytes {
        if is_raw || is_full || present.last_block == 0 {
            change.keep_content = false;
        } else {
            resize(present, record, bonus, &mut change)?;
        }
    }
    if is_raw {
        let indirect_bytes = 1_u64.checked_shl(record.indirect_block_shift.into());
        let indirect_differs = present.indirect_bytes.is_some_and(|bytes| Some(bytes) != indirect_bytes);
        change.keep_content &=
            !indirect_differs && record.levels >= present.levels && pointers >= present.pointers;
        change.make_anew |= (present.levels > 1 && indirect_differs) || record.levels < present.levels;
    }
    if change.make_anew {
        change.keep_content = false;
        return Ok(change);
    }
    if is_raw && change.keep_content {
        let blocks = record.max_block_id.saturating_add(1);
        change.free_from = Some(blocks.saturating_mul(present.block_bytes));
    }
    let bonus_differs = present.bonus.is_some_and(|bonus| bonus.len() as u64 != u64::from(record.bonus_len));
    change.reclaim = !change.keep_content
        || (is_raw && present.pointers != pointers)
        || record.bonus_type != present.bonus_type
        || u64::from(change.block_bytes) != present.block_bytes
        || bonus_differs;
    let says_spill = record.flags.contains(ObjectFlags::SPILL);
    change.keep_spill = match terms.flags.contains(BeginFlags::SPILL_BLOCK) {
        true => says_spill,
        // Old streams do not state whether there is one.
        false => !change.reclaim,
    };
    Ok(change)
}

/// Sets the change for an object of several blocks whose block size differs. If the same object is sent with large
/// blocks for the first time, its blocks are kept, since the increment does not contain all of them; another object of
/// the same number does not keep them.
fn resize(
    present: &Present<'_>,
    record: &Object,
    bonus: &[u8],
    change: &mut Change,
) -> Result<(), NoGeneration> {
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    let new = u64::from(record.block_size);
    let is_same = if (present.object_type, record.object_type) == (file, file) {
        let before = present.bonus.and_then(|old| generation(present.bonus_type, old));
        let now = generation(record.bonus_type, bonus);
        let (Some(before), Some(now)) = (before, now) else { return Err(NoGeneration(record.object)) };
        change.shrinks = before == now && new < present.block_bytes;
        before == now
    } else {
        // A ZAP cannot be kept in smaller blocks: it may consist of a single block now.
        (present.object_type, record.object_type) == (ObjectType::ZVOL, ObjectType::ZVOL)
            && present.block_bytes == SMALL_BLOCK_BYTES
            && new > SMALL_BLOCK_BYTES
    };
    if is_same {
        // A block size is at most 16 MiB.
        change.block_bytes = present.block_bytes as u32;
    } else {
        change.keep_content = false;
    }
    Ok(())
}

/// Returns the number of block pointers in a new dnode with this number of slots and this bonus: they fill the space
/// after the bonus, except with system attributes, which may grow (`dnode_allocate`).
///
/// Receivers of OpenZFS up to 2.4 assume one slot for every dnode (`deduce_nblkptr`).
#[must_use]
pub fn pointer_count(bonus_type: ObjectType, bonus_len: u32, slots: u8) -> u8 {
    if bonus_type == ObjectType::SA {
        return 1;
    }
    let free = bonus_room(slots).saturating_sub(bonus_len.into());
    (1 + free / BLKPTR_BYTES).min(MAX_BLOCK_POINTERS) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FeatureFlags;
    use crate::ids::ObjectId;
    use crate::judge::Limits;

    const FILE: ObjectType = ObjectType::PLAIN_FILE_CONTENTS;

    fn terms(is_raw: bool, spill_known: bool) -> Terms {
        Terms {
            features: if is_raw { FeatureFlags::RAW } else { FeatureFlags::empty() },
            flags: if spill_known { BeginFlags::SPILL_BLOCK } else { BeginFlags::empty() },
            limits: Limits::default(),
        }
    }

    /// System attributes of a file of this generation.
    fn attributes(generation: u64) -> Vec<u8> {
        let mut bonus = vec![0; 168];
        bonus[..4].copy_from_slice(&0x002F_505A_u32.to_le_bytes());
        bonus[4..6].copy_from_slice(&(1_u16 << 10 | 2).to_le_bytes());
        bonus[24..32].copy_from_slice(&generation.to_le_bytes());
        bonus
    }

    /// A file of ten blocks, and a record that describes the same.
    fn file(bonus: &[u8], block_bytes: u32) -> (Present<'_>, Object) {
        let present = Present {
            object_type: FILE,
            bonus_type: ObjectType::SA,
            bonus: Some(bonus),
            block_bytes: block_bytes.into(),
            slots: 1,
            pointers: 1,
            indirect_bytes: Some(1 << 17),
            levels: 2,
            last_block: 9,
        };
        let record = Object {
            object: ObjectId(9),
            object_type: FILE,
            bonus_type: ObjectType::SA,
            bonus_len: bonus.len() as u32,
            block_size: block_bytes,
            indirect_block_shift: 17,
            levels: 2,
            max_block_id: 9,
            ..Object::default()
        };
        (present, record)
    }

    /// `(content stays, made anew, block size)` for a record that describes the object in another way.
    #[test]
    fn content_goes_where_it_is_another_object_or_comes_again() {
        let (old, other) = (attributes(7), attributes(8));
        let (present, record) = file(&old, 131_072);
        let plain = terms(false, true);
        let large = Object { block_size: 1 << 20, ..record };
        let small = Object { block_size: 4096, ..record };
        let one = Present { last_block: 0, ..present };
        let volume = Present { object_type: ObjectType::ZVOL, bonus: Some(&[]), ..present };
        let large_volume = Object { object_type: ObjectType::ZVOL, ..large };
        let array = Present { object_type: ObjectType::OBJECT_ARRAY, ..present };
        let large_array = Object { object_type: ObjectType::OBJECT_ARRAY, ..large };
        for (what, is_full, present, record, bonus, expected) in [
            ("the same", false, present, record, &old, (true, false, 131_072)),
            ("large blocks for the first time", false, present, large, &old, (true, false, 131_072)),
            ("large blocks of another file", false, present, large, &other, (false, false, 1 << 20)),
            ("large blocks of a full stream", true, present, large, &old, (false, false, 1 << 20)),
            ("large blocks in place of one", false, one, large, &old, (false, false, 1 << 20)),
            ("large blocks of a volume", false, volume, large_volume, &old, (true, false, 131_072)),
            ("large blocks of another kind", false, array, large_array, &old, (false, false, 1 << 20)),
            ("smaller blocks of another file", false, present, small, &other, (false, false, 4096)),
            ("smaller blocks of the same file", false, present, small, &old, (true, false, 131_072)),
            ("another type", false, array, record, &old, (false, false, 131_072)),
            ("two slots", false, present, Object { dnode_slots: 2, ..record }, &old, (false, true, 131_072)),
            (
                "no slots: one",
                false,
                present,
                Object { dnode_slots: 0, ..record },
                &old,
                (true, false, 131_072),
            ),
            ("fewer levels", false, present, Object { levels: 0, ..record }, &old, (true, false, 131_072)),
        ] {
            let change = object(&plain, is_full, &present, &record, bonus).expect(what);
            assert_eq!((change.keep_content, change.make_anew, change.block_bytes), expected, "{what}");
            let shrinks = what == "smaller blocks of the same file";
            assert_eq!(change.shrinks, shrinks, "{what}");
        }
        let none = Object { bonus_type: ObjectType::NONE, ..large };
        assert_eq!(object(&plain, false, &present, &none, &[]), Err(NoGeneration(ObjectId(9))));
    }

    #[test]
    fn a_raw_stream_gives_the_shape() {
        let old = attributes(7);
        let (present, record) = file(&old, 131_072);
        let raw = terms(true, true);
        for (what, present, record, expected) in [
            ("the same", present, record, (true, false)),
            ("large blocks", present, Object { block_size: 1 << 20, ..record }, (false, false)),
            ("fewer levels", present, Object { levels: 1, ..record }, (false, true)),
            ("more levels", present, Object { levels: 3, ..record }, (true, false)),
            ("other indirect blocks", present, Object { indirect_block_shift: 14, ..record }, (false, true)),
            (
                "other indirect blocks, none there",
                Present { levels: 1, ..present },
                Object { indirect_block_shift: 14, ..record },
                (false, false),
            ),
            ("fewer pointers", Present { pointers: 3, ..present }, record, (false, false)),
        ] {
            let change = object(&raw, false, &present, &record, &old).expect(what);
            assert_eq!((change.keep_content, change.make_anew), expected, "{what}");
            assert_eq!(change.free_from.is_some(), expected.0, "{what}");
        }
        let shorter = Object { max_block_id: 3, ..record };
        let change = object(&raw, false, &present, &shorter, &old).unwrap();
        assert_eq!(change.free_from, Some(4 * 131_072));
    }

    /// A spill block is kept depending on the flags of the stream and the record, and on differences in the description.
    #[test]
    fn a_spill_block_stays_where_the_record_says_so() {
        let old = attributes(7);
        let (present, record) = file(&old, 131_072);
        let says = Object { flags: ObjectFlags::SPILL, ..record };
        let differs = |record: Object| Object { bonus_len: 176, ..record };
        for (spill_known, record, expected) in [
            (true, record, false),
            (true, says, true),
            (true, differs(record), false),
            (true, differs(says), true),
            (false, record, true),
            (false, differs(record), false),
        ] {
            let change = object(&terms(false, spill_known), false, &present, &record, &old).unwrap();
            assert_eq!(change.keep_spill, expected, "{spill_known} {record:?}");
        }
    }

    #[test]
    fn pointers_fill_what_the_bonus_leaves() {
        for (bonus_type, bonus_len, slots, expected) in [
            (ObjectType::SA, 0, 1, 1),
            (ObjectType::SA, 0, 32, 1),
            (ObjectType::NONE, 0, 1, 3),
            (ObjectType::ZNODE, 64, 1, 3),
            (ObjectType::ZNODE, 65, 1, 2),
            (ObjectType::ZNODE, 193, 1, 1),
            (ObjectType::ZNODE, 264, 1, 1),
            (ObjectType::ZNODE, 264, 2, 3),
            (ObjectType::ZNODE, 400, 1, 1),
        ] {
            assert_eq!(
                pointer_count(bonus_type, bonus_len, slots),
                expected,
                "{bonus_type} {bonus_len} {slots}"
            );
        }
    }
}
