//! Traversal of every block of an object set in the canonical order (`traverse_dataset`).
//!
//! The order is that of a walk over the tree that reports a block before the blocks below it:
//!
//! ```text
//! objset block
//! └ meta-dnode: its indirect blocks and blocks of dnodes
//! └ each dnode, and free slots
//! ├ its indirect and data blocks, from the highest level to the lowest, by block number
//!     └ its spill block
//! └ dnodes of the space used by projects, groups and users
//! ```
//!
//! Sends depend on this order: traversals of different snapshots can be merged, and a traversal can resume at the
//! position of an interrupted one.
//!
//! With a [floor](Floor), blocks that were born at or before it are excluded with all blocks below them. This is valid
//! because neither the logical nor the physical birth of a block is ever earlier than that of the blocks below it.
//! Holes without a birth are always reported, because pools without the feature `hole_birth` create them at any time,
//! and a hole with a birth can belong to an object that reused the number of another. (This is also the default of
//! OpenZFS.)
//!
//! Memory use is limited by the depth of the tree: each level has one block and a window of the following blocks,
//! which are read together. In addition there is one address for each metadata block. Data blocks are reported, but
//! never read.
//!
//! Time is limited by the stored blocks: a metadata block has one position in a tree, because only data is
//! deduplicated or cloned. A second reference to it is an error and is not followed. Otherwise a few blocks with many
//! pointers to the same blocks would be a tree with an unlimited number of leaves.

mod frame;
mod visit;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use self::frame::{Ahead, Below, Context, Frame, Pointers, Slots, slots};
pub use self::visit::{Floor, Options, Visit, VisitKind};
use crate::blkptr::{BlockKind, BlockPointer};
use crate::block::ReadBlock;
use crate::dnode::DNODE_SLOT_BYTES;
use crate::error::{Error, Result};
use crate::ids::{Bookmark, ObjectId};
use crate::objset::{GROUP_USED_OBJECT, ObjsetPhys, PROJECT_USED_OBJECT, USER_USED_OBJECT, read_meta};

/// A traversal in progress, which is an iterator over its visits.
///
/// A block that cannot be read results in an error instead of visits to the blocks below it. The traversal continues
/// after it unless the caller stops.
pub struct Traverse {
    reader: Arc<dyn ReadBlock>,
    objset: u64,
    options: Options,
    root: Option<BlockPointer>,
    frames: Vec<Frame>,
    /// The children of the last visit, which are not entered yet.
    below: Option<Below>,
    /// The vdev and the offset of the entered blocks.
    entered: HashSet<(u32, u64)>,
}

impl Traverse {
    /// Starts a traversal of the set at `root`. `objset` is the object of the dataset in the MOS, 0 for the MOS.
    #[must_use]
    pub fn new(reader: Arc<dyn ReadBlock>, objset: u64, root: BlockPointer, options: Options) -> Self {
        Self {
            reader,
            objset,
            options,
            root: Some(root),
            frames: Vec::new(),
            below: None,
            entered: HashSet::new(),
        }
    }

    /// Skips the children of the last visit: the blocks of an object after its dnode, the children of an indirect
    /// block, the objects of a block of dnodes.
    pub fn prune(&mut self) {
        self.below = None;
    }

    fn enter(&mut self, below: Below) -> Result<()> {
        let frame = match below {
            Below::Objset { pointer } => {
                let at = Bookmark::root(self.objset);
                let block = read_meta(&*self.reader, &pointer, at, self.options.locked)?;
                let phys = ObjsetPhys::parse(&block).map_err(|error| error.at_bookmark(at))?;
                let mut slots = VecDeque::from([(ObjectId(0), Ok(Some(phys.meta_dnode)))]);
                for (object, dnode) in [
                    (PROJECT_USED_OBJECT, phys.project_used),
                    (GROUP_USED_OBJECT, phys.group_used),
                    (USER_USED_OBJECT, phys.user_used),
                ] {
                    slots.extend(dnode.map(|dnode| (object, Ok(Some(dnode)))));
                }
                Frame::Slots(Slots { pointer, slots, tops: VecDeque::new() })
            }
            Below::Dnode { dnode, object, tops } => Frame::Pointers(Pointers::of_dnode(object, dnode, tops)),
            Below::Block { pointer, at, dnode, block } => {
                let block = block?;
                let dva = pointer.dva(0);
                if pointer.kind() == BlockKind::Normal && !self.entered.insert((dva.vdev(), dva.offset())) {
                    let detail = format!("{dva} is referenced twice in the tree");
                    return Err(Error::corrupt("block pointer", detail).at_bookmark(at));
                }
                let (level, count) = match u8::try_from(at.level - 1) {
                    Ok(level) => (level, 1_u64 << dnode.pointers_per_block_shift()),
                    Err(_) => (0, (block.len() / DNODE_SLOT_BYTES) as u64),
                };
                // The numbers of all children must be valid.
                let first = at.block.0.checked_mul(count).filter(|first| first.checked_add(count).is_some());
                let first = first.ok_or_else(|| {
                    let detail = "its children are beyond the last block number";
                    Error::corrupt("block pointer", detail).at_bookmark(at)
                })?;
                if at.level == 0 {
                    Frame::Slots(Slots { pointer, slots: slots(&block, first), tops: VecDeque::new() })
                } else {
                    let (object, indirect) = (at.object, Some(block));
                    Frame::Pointers(Pointers {
                        dnode,
                        object,
                        level,
                        first,
                        indirect,
                        next: 0,
                        ahead: Ahead::new(),
                    })
                }
            }
        };
        self.frames.push(frame);
        Ok(())
    }
}

impl Iterator for Traverse {
    type Item = Result<Visit>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(pointer) = self.root.take() {
            if self.options.floor.leaves_out(&pointer) {
                return None;
            }
            self.below = (!pointer.is_hole()).then_some(Below::Objset { pointer });
            return Some(Ok(Visit {
                kind: VisitKind::Root,
                at: Bookmark::root(self.objset),
                pointer,
                dnode: None,
            }));
        }
        if let Some(below) = self.below.take()
            && let Err(error) = self.enter(below)
        {
            return Some(Err(error));
        }
        loop {
            let context = Context { reader: &*self.reader, objset: self.objset, options: &self.options };
            let step = match self.frames.last_mut()? {
                Frame::Slots(slots) => slots.step(&context),
                Frame::Pointers(pointers) => pointers.step(&context).map(Ok),
            };
            match step {
                Some(Ok((visit, below))) => {
                    self.below = below;
                    return Some(Ok(visit));
                }
                Some(Err(error)) => return Some(Err(error)),
                None => drop(self.frames.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
