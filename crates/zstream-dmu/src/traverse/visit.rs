//! The options of a traversal, and its visits.

use std::sync::Arc;

use crate::blkptr::BlockPointer;
use crate::dnode::Dnode;
use crate::ids::{Bookmark, Txg};

/// The age up to which blocks are excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Floor {
    /// No blocks are excluded.
    #[default]
    None,
    /// Blocks that were allocated in this transaction group or earlier, which the snapshot of that group also has.
    Allocated(Txg),
    /// Blocks whose content was changed in this transaction group or earlier (`TRAVERSE_LOGICAL`). Blocks that were
    /// only rewritten later are also excluded.
    Logical(Txg),
}

impl Floor {
    /// Returns whether a block, or a hole with a birth, is excluded.
    #[must_use]
    pub(crate) fn leaves_out(self, pointer: &BlockPointer) -> bool {
        let (birth, floor) = match self {
            Self::None => return false,
            Self::Allocated(floor) => (pointer.birth(), floor),
            Self::Logical(floor) => (pointer.logical_birth(), floor),
        };
        birth.0 != 0 && birth <= floor
    }
}

/// The options of a traversal.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The age up to which blocks are excluded.
    pub floor: Floor,
    /// The level-0 block at which to resume. All blocks before it are excluded, except the blocks and the dnode above
    /// it.
    pub resume: Option<Bookmark>,
    /// Whether the set is encrypted and its key is not loaded. Dnodes are then read in stored form.
    pub locked: bool,
    /// Whether indirect blocks are read only once, and are therefore not cached.
    pub once: bool,
}

/// The kind of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitKind {
    /// The objset block.
    Root,
    /// A slot of a block of dnodes: an object, or a free slot without a dnode. The pointer is that of the block of
    /// dnodes, or of the objset block for the meta-dnode and the dnodes of used space.
    Dnode,
    /// An indirect block, data block or hole, of an object or (object 0) of the meta-dnode.
    Block,
}

/// A visit of a block or dnode.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Visit {
    /// The kind.
    pub kind: VisitKind,
    /// The position.
    pub at: Bookmark,
    /// The pointer; a hole if the block has no content.
    pub pointer: BlockPointer,
    /// The dnode of the object of the block; `None` for the objset block and for free slots.
    pub dnode: Option<Arc<Dnode>>,
}

impl Visit {
    /// Returns whether this is a data block of an object, or a hole at that level.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.kind == VisitKind::Block && self.at.level == 0 && self.at.object.0 != 0
    }

    /// Returns whether this is a spill block.
    #[must_use]
    pub fn is_spill(&self) -> bool {
        self.is_data() && self.at.block == Bookmark::SPILL
    }
}
