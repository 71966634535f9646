//! Numbers that name things in a pool, each its own type so that they cannot be mixed up.

use std::fmt;

pub use zstream_format::ids::{BlockId, Guid, ObjectId, Txg};

/// The place of a block in the pool's tree of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bookmark {
    /// Object number of the dataset in the MOS; 0 for the MOS itself.
    pub objset: u64,
    /// The object.
    pub object: ObjectId,
    /// Level in the object's tree: 0 data, above that indirect blocks, below that one of the `LEVEL_` constants.
    pub level: i8,
    /// Index of the block among those of its level.
    pub block: BlockId,
}

zstream_format::structure! {
    /// A [`Bookmark`] as it is stored (`zbookmark_phys_t`).
    pub BookmarkPhys[32] {
        /// Object number of the dataset in the MOS.
        objset: u64,
        /// The object.
        object: ObjectId,
        /// Level in the object's tree.
        level: i64,
        /// Index of the block among those of its level.
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
    /// Level of the objset block (`ZB_ROOT_LEVEL`).
    pub const LEVEL_ROOT: i8 = -1;
    /// Level of intent log blocks (`ZB_ZIL_LEVEL`).
    pub const LEVEL_ZIL: i8 = -2;
    /// Level of a dnode in a block of dnodes (`ZB_DNODE_LEVEL`).
    pub const LEVEL_DNODE: i8 = -3;
    /// Index of the spill block, at level 0 (`DMU_SPILL_BLKID`).
    pub const SPILL: BlockId = BlockId(u64::MAX - 1);

    /// The place of the objset block of `objset`.
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
