//! Numbers that name things in a pool, each its own type so that they cannot be mixed up.

use std::fmt;

pub use zstream_format::ids::{BlockId, Guid, ObjectId, Txg};

/// The place of a block in the pool's tree of objects (`zbookmark_phys_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bookmark {
    /// Object number of the dataset in the MOS; 0 for the MOS itself.
    pub objset: u64,
    /// The object.
    pub object: ObjectId,
    /// Level in the object's tree: 0 data, above that indirect blocks, -1 the objset block, -2 the intent log.
    pub level: i8,
    /// Index of the block among those of its level.
    pub block: BlockId,
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "objset {} object {} level {} block {}", self.objset, self.object, self.level, self.block)
    }
}
