//! The rules that decide what becomes of an object that is there when an OBJECT record describes it
//! (`receive_handle_existing_object`).
//!
//! A stream may describe the same object as before, of which it has only the blocks that changed, or another object of the
//! same number, of which it has every block and every hole. Content may go only where it must be another object, or where
//! the stream has all of it:
//!
//! ```text
//! slots differ                                  another object                       made anew
//! block size differs
//!   raw, or a full stream over a clone          the stream has all of it             content goes
//!   one block                                   the stream has it                    content goes
//!   a volume, 128 KiB before, larger            large blocks for the first time      blocks are kept
//!   else not a file                             the stream has all of it             content goes
//!   a file of the same generation, larger       large blocks for the first time      blocks are kept
//!   a file of the same generation, smaller                                           refused
//!   a file of another generation                another object                       content goes
//! raw: fewer pointers, fewer levels, other
//!   indirect blocks                             another object                       content goes, or made anew
//! else                                                                               content is kept
//! ```
//!
//! OpenZFS also drops the content where a plain stream leaves fewer block pointers. The same object may have fewer,
//! too, when system attributes replace its znode or its bonus grows again, so that here a level is added instead.

use zstream_dmu::ids::BlockId;
use zstream_dmu::object_set::ObjectInfo;
use zstream_format::object_type::ObjectType;
use zstream_format::record::Object;

use super::Apply;
use super::generation::generation;
use crate::misfit::Misfit;

/// The largest block that a stream has without large blocks (`SPA_OLD_MAXBLOCKSIZE`).
const SMALL_BLOCK_BYTES: u64 = 128 << 10;

/// An object that is there.
pub(super) struct Present {
    pub(super) info: ObjectInfo,
    /// Block pointers of its dnode.
    pub(super) pointers: u8,
}

/// The change that makes an object what a record describes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Its blocks stay.
    pub(super) keep_content: bool,
    /// It goes, and one of the same number is made.
    pub(super) make_anew: bool,
    /// Its block size afterwards: that of the record, or its own where smaller blocks are kept.
    pub(super) block_bytes: u32,
}

impl Apply {
    /// The change that `record` asks for, whose dnode has `pointers` block pointers.
    ///
    /// # Errors
    ///
    /// A file comes with smaller blocks, or it cannot be told whether it is the same file.
    pub(super) fn change(
        &self,
        found: &Present,
        record: &Object,
        pointers: u8,
        bonus: &[u8],
    ) -> Result<Change, Misfit> {
        let info = &found.info;
        let mut change = Change { keep_content: true, make_anew: false, block_bytes: record.block_size };
        if u64::from(record.block_size) != info.block_bytes {
            if self.terms.is_raw() || self.is_full || info.max_block == BlockId(0) {
                change.keep_content = false;
            } else {
                self.resize(info, record, bonus, &mut change)?;
            }
        }
        if record.slots() != info.dn_slots {
            (change.keep_content, change.make_anew) = (false, true);
        }
        if self.terms.is_raw() {
            let indirect_bytes = 1_u64.checked_shl(record.indirect_block_shift.into());
            let indirect_differs = info.indirect_bytes.is_some_and(|bytes| Some(bytes) != indirect_bytes);
            let levels = info.levels.unwrap_or(1);
            change.keep_content &= !indirect_differs && record.levels >= levels && pointers >= found.pointers;
            change.make_anew |= (levels > 1 && indirect_differs) || record.levels < levels;
        }
        Ok(change)
    }

    /// An object of several blocks comes with another block size. The same one, sent with large blocks for the first time,
    /// keeps its blocks, since not all of them are in the increment; another one of the same number does not.
    fn resize(
        &self,
        info: &ObjectInfo,
        record: &Object,
        bonus: &[u8],
        change: &mut Change,
    ) -> Result<(), Misfit> {
        let object = record.object;
        let file = ObjectType::PLAIN_FILE_CONTENTS;
        let new = record.block_size;
        let is_same = if (info.object_type, record.object_type) == (file, file) {
            let before = info.bonus.as_deref().and_then(|old| generation(info.bonus_type, old));
            let now = generation(record.bonus_type, bonus);
            let (Some(before), Some(now)) = (before, now) else { return Err(Misfit::NoGeneration(object)) };
            if before == now && u64::from(new) < info.block_bytes {
                return Err(Misfit::ShrunkBlock { object, found: info.block_bytes, new });
            }
            before == now
        } else {
            // A table of names could not be kept in smaller blocks: it may be one of a single block now.
            (info.object_type, record.object_type) == (ObjectType::ZVOL, ObjectType::ZVOL)
                && info.block_bytes == SMALL_BLOCK_BYTES
                && u64::from(new) > SMALL_BLOCK_BYTES
        };
        if is_same {
            // A block size is at most 16 MiB.
            change.block_bytes = info.block_bytes as u32;
        } else {
            change.keep_content = false;
        }
        Ok(())
    }
}
