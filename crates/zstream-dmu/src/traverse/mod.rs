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

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;
use zstream_format::object_type::ObjectType;

use crate::blkptr::{BlockKind, BlockPointer};
use crate::block::{Block, ReadBlock};
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};
use crate::objset::{
    GROUP_USED_OBJECT, ObjsetPhys, PROJECT_USED_OBJECT, USER_USED_OBJECT, read_meta, slots_taken,
};
use crate::tree::{Tree, check_indirect, check_len, child};

/// The limit for the bytes of metadata blocks that are read together at each level.
const WINDOW_BYTES: u64 = 2 << 20;

/// The limit for the number of metadata blocks that are read together at each level.
const WINDOW_BLOCKS: u64 = 64;

/// The number of objects whose first indirect blocks are read together.
const WINDOW_OBJECTS: usize = 16;

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

enum Below {
    Objset { pointer: BlockPointer },
    Dnode { dnode: Arc<Dnode>, object: ObjectId, tops: Ahead },
    Block { pointer: BlockPointer, at: Bookmark, dnode: Arc<Dnode>, block: Result<Block> },
}

/// Blocks that were read ahead, by their index among their siblings.
type Ahead = VecDeque<(usize, Result<Block>)>;

/// A dnode, its error, or `None` for a free slot.
type Slot = (ObjectId, Result<Option<Arc<Dnode>>>);

enum Frame {
    Slots(Slots),
    Pointers(Pointers),
}

/// The dnodes of one block.
struct Slots {
    /// The pointer to the block.
    pointer: BlockPointer,
    slots: VecDeque<Slot>,
    /// The top blocks of the next dnodes.
    tops: VecDeque<(ObjectId, Ahead)>,
}

/// The pointers of one dnode or of one indirect block.
struct Pointers {
    dnode: Arc<Dnode>,
    object: ObjectId,
    /// The level of the blocks that the pointers refer to.
    level: u8,
    /// The number of the first block.
    first: u64,
    /// The indirect block; `None` for the pointers of the dnode.
    indirect: Option<Block>,
    next: usize,
    ahead: Ahead,
}

impl Pointers {
    fn len(&self) -> usize {
        match self.indirect {
            Some(_) => 1 << self.dnode.pointers_per_block_shift(),
            None => self.dnode.pointers().len(),
        }
    }

    fn get(&self, index: usize) -> BlockPointer {
        match &self.indirect {
            Some(block) => child(block, index),
            None => self.dnode.pointers()[index],
        }
    }

    fn is_loaded(&self, pointer: &BlockPointer) -> bool {
        !pointer.is_hole() && (self.level > 0 || self.object.0 == 0)
    }
}

/// The parameters of all steps of a traversal.
struct Context<'a> {
    reader: &'a dyn ReadBlock,
    objset: u64,
    options: &'a Options,
}

impl Context<'_> {
    fn at(&self, object: ObjectId, level: u8, block: u64) -> Bookmark {
        Bookmark { objset: self.objset, object, level: level as i8, block: BlockId(block) }
    }

    fn is_wanted(&self, dnode: &Dnode, pointer: &BlockPointer, at: Bookmark) -> bool {
        !self.options.floor.leaves_out(pointer)
            && !self.options.resume.is_some_and(|resume| subtree_precedes(dnode, at, resume))
    }

    fn is_object_wanted(&self, object: ObjectId) -> bool {
        object.0 == 0 || self.options.resume.is_none_or(|resume| object >= resume.object)
    }

    /// Reads an indirect block or a block of dnodes, and validates it with the dnode.
    fn load(&self, dnode: &Dnode, pointer: &BlockPointer, at: Bookmark) -> Result<Block> {
        let place = |error: Error| error.at_bookmark(at);
        if at.level > 0 {
            check_indirect(dnode, pointer, at.level as u8).map_err(place)?;
            let reader = self.reader;
            let block = if self.options.once {
                reader.read_once(pointer, at)?
            } else {
                reader.read_block(pointer, at)?
            };
            check_len(&block, dnode.indirect_bytes()).map_err(place)?;
            return Ok(block);
        }
        Tree::new(self.reader, dnode, at.objset, at.object).check_data(pointer, at.block)?;
        read_meta(self.reader, pointer, at, self.options.locked)
    }

    /// Reads a window of the blocks at or after `from` that will be entered.
    fn load_ahead(&self, run: &Pointers, from: usize) -> Ahead {
        let size = if run.level > 0 { run.dnode.indirect_bytes() } else { run.dnode.block_bytes() };
        let window = (WINDOW_BYTES / size).clamp(1, WINDOW_BLOCKS) as usize;
        let wanted: Vec<_> = (from..run.len())
            .filter_map(|index| {
                let (pointer, at) =
                    (run.get(index), self.at(run.object, run.level, run.first + index as u64));
                let wanted = run.is_loaded(&pointer) && self.is_wanted(&run.dnode, &pointer, at);
                wanted.then_some((index, pointer, at))
            })
            .take(window)
            .collect();
        let load = |(index, pointer, at): &(usize, BlockPointer, Bookmark)| {
            (*index, self.load(&run.dnode, pointer, *at))
        };
        match &wanted[..] {
            [one] => VecDeque::from([load(one)]),
            _ => wanted.par_iter().map(load).collect::<Vec<_>>().into(),
        }
    }

    /// Reads the top blocks of a window of dnodes at the front of `slots`.
    fn load_tops(&self, slots: &VecDeque<Slot>) -> VecDeque<(ObjectId, Ahead)> {
        let runs: Vec<_> = slots
            .iter()
            .filter_map(|(object, dnode)| {
                let dnode = dnode.as_ref().ok()?.as_ref()?;
                let wanted = dnode.levels > 1 && self.is_object_wanted(*object);
                wanted.then(|| Pointers::of_dnode(*object, Arc::clone(dnode), Ahead::new()))
            })
            .take(WINDOW_OBJECTS)
            .collect();
        runs.par_iter().map(|run| (run.object, self.load_ahead(run, 0))).collect::<Vec<_>>().into()
    }
}

impl Pointers {
    fn of_dnode(object: ObjectId, dnode: Arc<Dnode>, ahead: Ahead) -> Self {
        Self { object, level: dnode.levels - 1, first: 0, indirect: None, next: 0, ahead, dnode }
    }

    /// Returns the visit of the next pointer, and its children.
    fn step(&mut self, context: &Context<'_>) -> Option<(Visit, Option<Below>)> {
        while self.next < self.len() {
            let index = self.next;
            self.next += 1;
            let (pointer, at) =
                (self.get(index), context.at(self.object, self.level, self.first + index as u64));
            if !context.is_wanted(&self.dnode, &pointer, at) {
                continue;
            }
            let below = self.is_loaded(&pointer).then(|| {
                while self.ahead.front().is_some_and(|(ahead, _)| *ahead < index) {
                    self.ahead.pop_front();
                }
                if self.ahead.is_empty() {
                    self.ahead = context.load_ahead(self, index);
                }
                let block = match self.ahead.pop_front() {
                    Some((_, block)) => block,
                    None => context.load(&self.dnode, &pointer, at),
                };
                Below::Block { pointer, at, dnode: Arc::clone(&self.dnode), block }
            });
            return Some((self.visit(pointer, at), below));
        }
        // The spill block is visited once.
        if self.next == self.len() && self.indirect.is_none() {
            self.next += 1;
            let at = context.at(self.object, 0, Bookmark::SPILL.0);
            if let Some(&pointer) = self.dnode.spill()
                && context.is_wanted(&self.dnode, &pointer, at)
            {
                return Some((self.visit(pointer, at), None));
            }
        }
        None
    }

    fn visit(&self, pointer: BlockPointer, at: Bookmark) -> Visit {
        Visit { kind: VisitKind::Block, at, pointer, dnode: Some(Arc::clone(&self.dnode)) }
    }
}

impl Slots {
    /// Returns the visit of the next slot, and its object.
    fn step(&mut self, context: &Context<'_>) -> Option<Result<(Visit, Option<Below>)>> {
        loop {
            let (object, _) = self.slots.front()?;
            let object = *object;
            let in_objset = self.pointer.object_type() == ObjectType::OBJSET;
            if self.tops.is_empty()
                && !in_objset
                && has_tree(&self.slots[0])
                && context.is_object_wanted(object)
            {
                self.tops = context.load_tops(&self.slots);
            }
            let (_, dnode) = self.slots.pop_front()?;
            if !context.is_object_wanted(object) {
                continue;
            }
            let tops = match self.tops.front() {
                Some((ahead, _)) if *ahead == object => self.tops.pop_front().map(|(_, tops)| tops),
                _ => None,
            };
            let level = Bookmark::LEVEL_DNODE;
            let at = Bookmark { objset: context.objset, object, level, block: BlockId(0) };
            return Some(dnode.map_err(|error| error.at_bookmark(at)).map(|dnode| {
                let below = dnode.as_ref().map(|dnode| Below::Dnode {
                    dnode: Arc::clone(dnode),
                    object,
                    tops: tops.unwrap_or_default(),
                });
                (Visit { kind: VisitKind::Dnode, at, pointer: self.pointer, dnode }, below)
            }));
        }
    }
}

fn has_tree((_, dnode): &Slot) -> bool {
    matches!(dnode, Ok(Some(dnode)) if dnode.levels > 1)
}

/// Returns the slots of a block of dnodes, the first of which is object `first`.
fn slots(block: &[u8], first: u64) -> VecDeque<Slot> {
    let count = block.len() / DNODE_SLOT_BYTES;
    let mut slots = VecDeque::new();
    let mut next = 0;
    while next < count {
        let bytes = &block[next * DNODE_SLOT_BYTES..];
        let object = ObjectId(first + next as u64);
        // Object 0 is the meta-dnode itself. If its slot were an object, its blocks would be blocks of dnodes, and a
        // walk could loop.
        if object.0 != 0 {
            slots.push_back((object, Dnode::parse(bytes).map(|dnode| dnode.map(Arc::new))));
        } else if bytes[0] != 0 {
            slots.push_back((object, Err(Error::corrupt("block of dnodes", "object 0 is allocated"))));
        }
        next += slots_taken(bytes);
    }
    slots
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

/// Returns whether everything at and below `at`, of the object of `dnode`, is before `resume`, a block at level 0
/// (`zbookmark_subtree_completed`).
fn subtree_precedes(dnode: &Dnode, at: Bookmark, resume: Bookmark) -> bool {
    let span = u32::from(at.level.unsigned_abs()) * dnode.pointers_per_block_shift();
    // There are at most 2^64 blocks of 2^63 children each, which fits.
    let end = (u128::from(at.block.0) + 1).checked_shl(span.min(63)).unwrap_or(u128::MAX);
    let end = match at.object.0 {
        0 => (end.saturating_mul(u128::from(dnode.block_sectors)), 0),
        object => (u128::from(object), end),
    };
    end <= (u128::from(resume.object.0), u128::from(resume.block.0))
}

#[cfg(test)]
mod tests;
