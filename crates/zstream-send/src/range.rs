//! The items that pass between the stages: ranges of blocks of an object or of the meta-dnode (`struct send_range`).
//!
//! Ranges are in the canonical order of a traversal: by object; an object before its blocks; blocks by number, the spill
//! block last. A range of object 0 represents the objects in its dnode blocks.

use std::cmp::Ordering;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::dnode::Dnode;
use zstream_dmu::ids::Bookmark;
use zstream_format::object_type::ObjectType;

/// The number of dnode slots in a dnode block (`DNODES_PER_BLOCK`).
pub(crate) const DNODES_PER_BLOCK: u64 = 32;

/// The blocks `start..end` of an object, and their kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) object: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) what: What,
}

/// The kind of a range.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "most ranges are data, the largest one")]
pub(crate) enum What {
    /// A dnode block, which raw streams announce. `start` is its number.
    ObjectRange { pointer: BlockPointer },
    /// An object; without a dnode, a free slot. The pointer is that of its dnode block.
    Object { pointer: BlockPointer, dnode: Option<Arc<Dnode>> },
    /// One block with content.
    Data { pointer: BlockPointer, object_type: ObjectType, block_bytes: u64 },
    /// Blocks without content, or objects that are free.
    Hole { block_bytes: u64 },
    /// Redacted blocks.
    Redact { block_bytes: u64 },
    /// Blocks that the receiver does not have, because they were redacted before. They are sent even if they did not change.
    /// Their current content was not looked up yet.
    PreviouslyRedacted,
}

impl Range {
    /// Returns `true` if this is a spill block.
    pub(crate) fn is_spill(&self) -> bool {
        self.object != 0 && self.start == Bookmark::SPILL.0
    }

    /// Returns the position of the start in the canonical order, for comparing ranges of different stages.
    fn start_key(&self) -> (u64, bool, bool, u64) {
        let (object, block) = match self.object {
            0 => (self.start.saturating_mul(DNODES_PER_BLOCK), 0),
            object => (object, self.start),
        };
        let is_range = matches!(self.what, What::ObjectRange { .. });
        let is_object = matches!(self.what, What::Object { .. });
        (object, !is_range, !is_object, block)
    }

    /// Compares the starts of two ranges (`send_range_start_compare`).
    pub(crate) fn cmp_start(&self, other: &Self) -> Ordering {
        self.start_key().cmp(&other.start_key())
    }
}
