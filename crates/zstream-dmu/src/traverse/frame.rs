//! The position of a traversal in the tree: a frame for each level, with the blocks that were read ahead.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;
use zstream_format::object_type::ObjectType;

use super::visit::{Options, Visit, VisitKind};
use crate::blkptr::BlockPointer;
use crate::block::{Block, ReadBlock};
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::objset::{read_meta, slots_taken};
use crate::tree::{Tree, check_indirect, check_len, child};

/// The limit for the bytes of metadata blocks that are read together at each level.
const WINDOW_BYTES: u64 = 2 << 20;

/// The limit for the number of metadata blocks that are read together at each level.
const WINDOW_BLOCKS: u64 = 64;

/// The number of objects whose first indirect blocks are read together.
const WINDOW_OBJECTS: usize = 16;

/// The children of a visit.
pub(super) enum Below {
    Objset { pointer: BlockPointer },
    Dnode { dnode: Arc<Dnode>, object: ObjectId, tops: Ahead },
    Block { pointer: BlockPointer, at: Bookmark, dnode: Arc<Dnode>, block: Result<Block> },
}

/// Blocks that were read ahead, by their index among their siblings.
pub(super) type Ahead = VecDeque<(usize, Result<Block>)>;

/// A dnode, its error, or `None` for a free slot.
pub(super) type Slot = (ObjectId, Result<Option<Arc<Dnode>>>);

/// The children of one block or dnode that are not visited yet.
pub(super) enum Frame {
    Slots(Slots),
    Pointers(Pointers),
}

/// The dnodes of one block.
pub(super) struct Slots {
    /// The pointer to the block.
    pub(super) pointer: BlockPointer,
    pub(super) slots: VecDeque<Slot>,
    /// The top blocks of the next dnodes.
    pub(super) tops: VecDeque<(ObjectId, Ahead)>,
}

/// The pointers of one dnode or of one indirect block.
pub(super) struct Pointers {
    pub(super) dnode: Arc<Dnode>,
    pub(super) object: ObjectId,
    /// The level of the blocks that the pointers refer to.
    pub(super) level: u8,
    /// The number of the first block.
    pub(super) first: u64,
    /// The indirect block; `None` for the pointers of the dnode.
    pub(super) indirect: Option<Block>,
    pub(super) next: usize,
    pub(super) ahead: Ahead,
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
pub(super) struct Context<'a> {
    pub(super) reader: &'a dyn ReadBlock,
    pub(super) objset: u64,
    pub(super) options: &'a Options,
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
    pub(super) fn of_dnode(object: ObjectId, dnode: Arc<Dnode>, ahead: Ahead) -> Self {
        Self { object, level: dnode.levels - 1, first: 0, indirect: None, next: 0, ahead, dnode }
    }

    /// Returns the visit of the next pointer, and its children.
    pub(super) fn step(&mut self, context: &Context<'_>) -> Option<(Visit, Option<Below>)> {
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
    pub(super) fn step(&mut self, context: &Context<'_>) -> Option<Result<(Visit, Option<Below>)>> {
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
pub(super) fn slots(block: &[u8], first: u64) -> VecDeque<Slot> {
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
