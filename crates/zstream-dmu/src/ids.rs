//! Numbers that identify items in a pool. Each has its own type, so that they cannot be confused.

use std::fmt;

pub use zstream_format::ids::{BlockId, Guid, ObjectId, Txg};

/// The location of a block in the tree of objects of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bookmark {
    /// The object number of the dataset in the MOS; 0 for the MOS itself.
    pub objset: u64,
    /// The object number.
    pub object: ObjectId,
    /// The level in the block tree: 0 for data, higher for indirect blocks, or one of the `LEVEL_` constants.
    pub level: i8,
    /// The index of the block in its level.
    pub block: BlockId,
}

zstream_format::structure! {
    /// A [`Bookmark`] as stored (`zbookmark_phys_t`).
    pub BookmarkPhys[32] {
        /// The object number of the dataset in the MOS.
        objset: u64,
        /// The object number.
        object: ObjectId,
        /// The level in the block tree.
        level: i64,
        /// The index of the block in its level.
        block: BlockId,
    }
}

impl From<BookmarkPhys> for Bookmark {
    fn from(phys: BookmarkPhys) -> Self {
        let BookmarkPhys { objset, object, level, block } = phys;
        Self { objset, object, level: level as i8, block }
    }
}

impl Bookmark {
    /// The level of the objset block (`ZB_ROOT_LEVEL`).
    pub const LEVEL_ROOT: i8 = -1;
    /// The level of intent log blocks (`ZB_ZIL_LEVEL`).
    pub const LEVEL_ZIL: i8 = -2;
    /// The level of a dnode in a block of dnodes (`ZB_DNODE_LEVEL`).
    pub const LEVEL_DNODE: i8 = -3;
    /// The index of the spill block, at level 0 (`DMU_SPILL_BLKID`).
    pub const SPILL: BlockId = BlockId(u64::MAX - 1);

    /// Returns the location of the objset block of `objset`.
    #[must_use]
    pub fn root(objset: u64) -> Self {
        Self { objset, object: ObjectId(0), level: Self::LEVEL_ROOT, block: BlockId(0) }
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "objset {} object {} level {} block {}", self.objset, self.object, self.level, self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { BookmarkPhys }
}
