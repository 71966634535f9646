//! What travels between the stages: ranges of one object's blocks, or of the meta-dnode's (`struct send_range`).
//!
//! Ranges are in the canonical order of a traversal: by object; an object before its blocks; blocks by number, the spill
//! block last. A range of object 0 stands for the objects in its blocks of dnodes.

use std::cmp::Ordering;
use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::dnode::Dnode;
use zstream_dmu::ids::Bookmark;
use zstream_format::object_type::ObjectType;

/// Dnodes of one slot in a block of dnodes (`DNODES_PER_BLOCK`).
pub(crate) const DNODES_PER_BLOCK: u64 = 32;

/// Blocks `start..end` of an object, and what they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) object: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) what: What,
}

/// What a range is.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "most ranges are data, the largest one")]
pub(crate) enum What {
    /// A block of dnodes, which raw streams announce. `start` is its number.
    ObjectRange { pointer: BlockPointer },
    /// An object; without a dnode, a free slot. The pointer is that of its block of dnodes.
    Object { pointer: BlockPointer, dnode: Option<Arc<Dnode>> },
    /// One block with content.
    Data { pointer: BlockPointer, object_type: ObjectType, block_bytes: u64 },
    /// Blocks without content, or objects that are free.
    Hole { block_bytes: u64 },
    /// Blocks that are left out.
    Redact { block_bytes: u64 },
    /// Blocks that the receiver was not given, so that they are sent though they did not change. What they are now has
    /// not been looked up.
    PreviouslyRedacted,
}

impl Range {
    /// Whether this is a spill block.
    pub(crate) fn is_spill(&self) -> bool {
        self.object != 0 && self.start == Bookmark::SPILL.0
    }

    /// The place of its start in the canonical order, as far as two ranges of different stages are compared.
    fn start_key(&self) -> (u64, bool, bool, u64) {
        let (object, block) = match self.object {
            0 => (self.start.saturating_mul(DNODES_PER_BLOCK), 0),
            object => (object, self.start),
        };
        let is_range = matches!(self.what, What::ObjectRange { .. });
        let is_object = matches!(self.what, What::Object { .. });
        (object, !is_range, !is_object, block)
    }

    /// Which of two ranges starts first (`send_range_start_compare`).
    pub(crate) fn cmp_start(&self, other: &Self) -> Ordering {
        self.start_key().cmp(&other.start_key())
    }
}
