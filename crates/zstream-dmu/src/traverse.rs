//! Visiting every block of an object set in the canonical order (`traverse_dataset`).
//!
//! The order is that of a walk over the tree which reports a block before what is below it:
//!
//! ```text
//! objset block
//! └ meta-dnode: its indirect blocks and blocks of dnodes
//!   └ each dnode, free slots too
//!     ├ its indirect and data blocks, level by level downwards, by block number
//!     └ its spill block
//! └ dnodes of the space used by projects, groups and users
//! ```
//!
//! Send depends on it: two traversals of different snapshots can be merged, and a resumed one starts
//! where an interrupted one ended.
//!
//! With a floor, what was born at or before it is left out with everything below: a block's birth is
//! never older than that of its children. Holes without a birth are always reported: pools without
//! the feature `hole_birth` make them at any time, and what remembers its birth can be an object that
//! took another's number (OpenZFS does the same unless told otherwise).
//!
//! Memory is bounded by the depth of the tree: each level holds one block and a window of those that
//! come next, which are read together. Data blocks are reported, never read.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;
use zstream_format::object_type::ObjectType;

use crate::blkptr::BlockPointer;
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};
use crate::objset::{
    GROUP_USED_OBJECT, ObjsetPhys, PROJECT_USED_OBJECT, USER_USED_OBJECT, read_meta, slots_taken,
};
use crate::tree::{Tree, check_indirect, check_len, child};
use crate::zio::{Block, ReadBlock};

/// Bytes of metadata blocks that are read together, at each level.
const WINDOW_BYTES: u64 = 2 << 20;

/// Metadata blocks that are read together, at each level.
const WINDOW_BLOCKS: u64 = 64;

/// Objects whose first indirect blocks are read together.
const WINDOW_OBJECTS: usize = 16;

/// How to traverse.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What was born in this transaction group or earlier is left out. 0 leaves out nothing.
    pub floor: Txg,
    /// Where to resume: a block at level 0. Everything that comes before it is left out, but for the
    /// blocks and the dnode on the way to it.
    pub resume: Option<Bookmark>,
    /// Whether the set is encrypted and its key not loaded: dnodes are then taken as stored.
    pub locked: bool,
}

/// What a visit is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitKind {
    /// The objset block.
    Root,
    /// A slot of a block of dnodes: an object, or, without a dnode, a free slot. The pointer is that of the
    /// block of dnodes (for the meta-dnode and the dnodes of used space: of the objset block).
    Dnode,
    /// An indirect or data block or a hole, of an object or (object 0) of the meta-dnode.
    Block,
}

/// One block or dnode.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What it is.
    pub kind: VisitKind,
    /// Where it is.
    pub at: Bookmark,
    /// Its pointer; a hole when it has no content.
    pub pointer: BlockPointer,
    /// The dnode of the object it belongs to. `None` for the objset block and for free slots.
    pub dnode: Option<Arc<Dnode>>,
}

impl Visit {
    /// Whether this is a block of an object's data, or a hole at that level.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.kind == VisitKind::Block && self.at.level == 0 && self.at.object.0 != 0
    }

    /// Whether this is a spill block.
    #[must_use]
    pub fn is_spill(&self) -> bool {
        self.is_data() && self.at.block == Bookmark::SPILL
    }
}

/// A traversal under way: an iterator over its visits.
///
/// A block that cannot be read gives an error in place of what is below it; the traversal goes on
/// behind it unless the caller stops.
pub struct Traverse {
    reader: Arc<dyn ReadBlock>,
    objset: u64,
    options: Options,
    root: Option<BlockPointer>,
    frames: Vec<Frame>,
    /// What lies below the last visit, not yet entered.
    below: Option<Below>,
}

enum Below {
    Objset { pointer: BlockPointer },
    Dnode { dnode: Arc<Dnode>, object: ObjectId, tops: Ahead },
    Block { pointer: BlockPointer, at: Bookmark, dnode: Arc<Dnode>, block: Result<Block> },
}

/// Blocks that were read before their turn, by their index among their siblings.
type Ahead = VecDeque<(usize, Result<Block>)>;

/// A dnode or what is wrong with it; a free slot has neither.
type Slot = (ObjectId, Result<Option<Arc<Dnode>>>);

enum Frame {
    Slots(Slots),
    Pointers(Pointers),
}

/// Dnodes that lie in one block.
struct Slots {
    /// The block's pointer.
    pointer: BlockPointer,
    slots: VecDeque<Slot>,
    /// Top blocks of the dnodes that come next.
    tops: VecDeque<(ObjectId, Ahead)>,
}

/// Pointers that lie in one dnode or in one indirect block.
struct Pointers {
    dnode: Arc<Dnode>,
    object: ObjectId,
    /// Level of what is pointed at.
    level: u8,
    /// Number of the first block pointed at.
    first: u64,
    /// The indirect block; without one, the pointers are the dnode's.
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

/// What all steps of a traversal need to know.
struct Context<'a> {
    reader: &'a dyn ReadBlock,
    objset: u64,
    options: &'a Options,
}

impl Context<'_> {
    fn at(&self, object: ObjectId, level: u8, block: u64) -> Bookmark {
        Bookmark { objset: self.objset, object, level: level as i8, block: BlockId(block) }
    }

    fn is_old(&self, pointer: &BlockPointer) -> bool {
        let birth = pointer.logical_birth();
        birth.0 != 0 && birth <= self.options.floor
    }

    fn is_wanted(&self, dnode: &Dnode, pointer: &BlockPointer, at: Bookmark) -> bool {
        !self.is_old(pointer)
            && !self.options.resume.is_some_and(|resume| subtree_precedes(dnode, at, resume))
    }

    fn is_object_wanted(&self, object: ObjectId) -> bool {
        object.0 == 0 || self.options.resume.is_none_or(|resume| object >= resume.object)
    }

    /// Reads an indirect block or a block of dnodes, which must be what the dnode says.
    fn load(&self, dnode: &Dnode, pointer: &BlockPointer, at: Bookmark) -> Result<Block> {
        let place = |error: Error| error.at_bookmark(at);
        if at.level > 0 {
            check_indirect(dnode, pointer, at.level as u8).map_err(place)?;
            let block = self.reader.read_block(pointer, at)?;
            check_len(&block, dnode.indirect_bytes()).map_err(place)?;
            return Ok(block);
        }
        Tree::new(self.reader, dnode, at.objset, at.object).check_data(pointer, at.block)?;
        read_meta(self.reader, pointer, at, self.options.locked)
    }

    /// Reads those of the pointers from `from` on that will be entered, a window of them.
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

    /// Reads the top blocks of the dnodes at the front of `slots`, a window of them.
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

    /// The next pointer to visit, and what lies below it.
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
        // The spill block, once.
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
    /// The next slot to visit, and the object below it.
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

/// The slots of a block of dnodes, the first of which is object `first`.
fn slots(block: &[u8], first: u64) -> VecDeque<Slot> {
    let count = block.len() / DNODE_SLOT_BYTES;
    let mut slots = VecDeque::new();
    let mut next = 0;
    while next < count {
        let bytes = &block[next * DNODE_SLOT_BYTES..];
        let object = ObjectId(first + next as u64);
        // Object 0 is the meta-dnode itself. Were its slot taken for an object, its blocks would be
        // blocks of dnodes, and a walk could go in circles.
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
    /// Starts a traversal of the set that `root` points at. `objset` is the dataset's number in the
    /// MOS, 0 for the MOS.
    #[must_use]
    pub fn new(reader: Arc<dyn ReadBlock>, objset: u64, root: BlockPointer, options: Options) -> Self {
        Self { reader, objset, options, root: Some(root), frames: Vec::new(), below: None }
    }

    /// Leaves out what lies below the last visit: the blocks of an object after its dnode, the children
    /// of an indirect block, the objects of a block of dnodes.
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
                let (level, count) = match u8::try_from(at.level - 1) {
                    Ok(level) => (level, 1_u64 << dnode.pointers_per_block_shift()),
                    Err(_) => (0, (block.len() / DNODE_SLOT_BYTES) as u64),
                };
                // The numbers of the last block's children must fit too.
                let first = at.block.0.checked_mul(count).filter(|first| first.checked_add(count).is_some());
                let first = first.ok_or_else(|| {
                    let detail = "what it points at is beyond the last block that has a number";
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
            let context = Context { reader: &*self.reader, objset: self.objset, options: &self.options };
            if context.is_old(&pointer) {
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

/// Whether everything at and below `at`, of the object of `dnode`, comes before `resume`, a block at
/// level 0 (`zbookmark_subtree_completed`).
fn subtree_precedes(dnode: &Dnode, at: Bookmark, resume: Bookmark) -> bool {
    let span = u32::from(at.level.unsigned_abs()) * dnode.pointers_per_block_shift();
    // 2^64 blocks of 2^63 children each at most, so that this fits.
    let end = (u128::from(at.block.0) + 1).checked_shl(span.min(63)).unwrap_or(u128::MAX);
    let end = match at.object.0 {
        0 => (end.saturating_mul(u128::from(dnode.block_sectors)), 0),
        object => (u128::from(object), end),
    };
    end <= (u128::from(resume.object.0), u128::from(resume.block.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::error::Fault;
    use crate::testing::{Memory, Spec};

    /// Objects 1, 2, 8 and 9 are born in 4; 40, with two slots, in 6; 2000 in 9. Object 9 has four levels, of which
    /// only one path is newer than 5, and a hole born in 8; object 8 has a spill.
    fn sample() -> (Arc<Memory>, BlockPointer) {
        let memory = Memory::new();
        let data = |ids: &[(u64, u64)]| -> BTreeMap<_, _> {
            ids.iter().map(|&(id, birth)| (id, memory.data(&[1; 512], birth))).collect()
        };
        let mut nine = data(&[(0, 3), (1, 4), (9, 3), (64, 7), (65, 3), (511, 2)]);
        nine.insert(70, BlockPointer::hole(ObjectType::PLAIN_FILE_CONTENTS, 0, 512, Txg(8)));
        let dnodes: BTreeMap<_, _> = [
            (1, Spec { data: data(&[(0, 4)]), ..Spec::file() }),
            (
                2,
                Spec {
                    pointers: 3,
                    levels: 2,
                    max_block: 17,
                    data: data(&[(0, 4), (17, 4)]),
                    ..Spec::file()
                },
            ),
            (
                8,
                Spec {
                    data: data(&[(0, 4)]),
                    spill: Some(memory.store(&[5; 512], ObjectType::SA, 0, 4, 1)),
                    ..Spec::file()
                },
            ),
            (9, Spec { levels: 4, max_block: 511, data: nine, ..Spec::file() }),
            (40, Spec { slots: 2, data: data(&[(0, 6)]), ..Spec::file() }),
            (2000, Spec { data: data(&[(0, 9)]), ..Spec::file() }),
        ]
        .into_iter()
        .map(|(object, spec)| (object, memory.dnode(&spec)))
        .collect();
        let root = memory.objset(&dnodes, &[(0, 8), (1, 6), (62, 9)].into());
        (memory, root)
    }

    fn traverse(memory: &Arc<Memory>, root: BlockPointer, options: Options) -> Vec<Visit> {
        Traverse::new(memory.clone(), 54, root, options).collect::<Result<_>>().unwrap()
    }

    fn text(visits: &[Visit]) -> Vec<String> {
        visits.iter().filter(|visit| !visit.pointer.is_hole()).map(name).collect()
    }

    fn name(visit: &Visit) -> String {
        let Bookmark { object, level, block, .. } = visit.at;
        let (object, block) = (object.0 as i64, block.0 as i64);
        match visit.kind {
            VisitKind::Root => "root".to_owned(),
            VisitKind::Dnode if visit.dnode.is_none() => format!("{object} free"),
            VisitKind::Dnode => format!("{object} dnode"),
            VisitKind::Block => format!("{object} L{level} {block}"),
        }
    }

    #[test]
    fn the_order_is_that_of_a_walk_from_the_top_by_number() {
        let (memory, root) = sample();
        let visits = text(&traverse(&memory, root, Options::default()));
        let without_free: Vec<_> =
            visits.iter().filter(|name| !name.contains("free")).map(String::as_str).collect();
        assert_eq!(
            without_free,
            [
                "root",
                "0 dnode",
                "0 L2 0",
                "0 L1 0",
                "0 L0 0", // the first 32 objects
                "1 dnode",
                "1 L0 0",
                "2 dnode",
                "2 L1 0",
                "2 L0 0",
                "2 L1 2",
                "2 L0 17",
                "8 dnode",
                "8 L0 0",
                "8 L0 -2",
                "9 dnode",
                "9 L3 0",
                "9 L2 0",
                "9 L1 0",
                "9 L0 0",
                "9 L0 1",
                "9 L1 1",
                "9 L0 9",
                "9 L2 1",
                "9 L1 8",
                "9 L0 64",
                "9 L0 65",
                "9 L2 7",
                "9 L1 63",
                "9 L0 511",
                "0 L0 1",
                "40 dnode",
                "40 L0 0",
                "0 L1 7",
                "0 L0 62",
                "2000 dnode",
                "2000 L0 0",
            ]
        );
        // Slot 0 and the second slot of 40 are none.
        let free = visits.iter().filter(|name| name.contains("free")).count();
        assert_eq!(free, 27 + 30 + 31);
    }

    #[test]
    fn a_floor_leaves_out_what_is_older_with_all_below() {
        let (memory, root) = sample();
        let options = Options { floor: Txg(5), ..Options::default() };
        memory.take_reads();
        let visits = text(&traverse(&memory, root, options));
        let blocks: Vec<_> = visits.iter().filter(|name| name.contains(" L")).map(String::as_str).collect();
        assert_eq!(
            blocks,
            [
                "0 L2 0",
                "0 L1 0",
                "0 L0 0",
                "9 L3 0",
                "9 L2 1",
                "9 L1 8",
                "9 L0 64",
                "0 L0 1",
                "40 L0 0",
                "0 L1 7",
                "0 L0 62",
                "2000 L0 0"
            ]
        );
        let read = memory.take_reads();
        assert!(read.iter().all(|at| at.level != 0 || at.object.0 == 0), "data is never read");
        assert_eq!(read.len(), 10, "old blocks are not read: {read:?}");
    }

    #[test]
    fn holes_are_reported_unless_they_remember_an_old_birth() {
        let (memory, root) = sample();
        let holes = |floor| -> Vec<_> {
            traverse(&memory, root, Options { floor: Txg(floor), ..Options::default() })
                .iter()
                .filter(|visit| visit.pointer.is_hole() && visit.at.object.0 == 9)
                .map(name)
                .collect()
        };
        let all = holes(0);
        assert_eq!(all.iter().filter(|name| name.contains("L2")).count(), 5);
        assert!(all.contains(&"9 L0 70".to_owned()));
        assert!(holes(7).contains(&"9 L0 70".to_owned()));
        assert!(holes(8).is_empty(), "the whole object is older");
    }

    #[test]
    fn resuming_anywhere_gives_the_rest() {
        let (memory, root) = sample();
        let whole = traverse(&memory, root, Options::default());
        let data: Vec<_> = whole.iter().filter(|visit| visit.is_data()).collect();
        for (n, from) in data.iter().enumerate() {
            let options = Options { resume: Some(from.at), ..Options::default() };
            let resumed = traverse(&memory, root, options);
            let rest: Vec<_> = resumed.iter().filter(|visit| visit.is_data()).map(name).collect();
            let expected: Vec<_> = data[n..].iter().map(|visit| name(visit)).collect();
            assert_eq!(rest, expected, "from {}", name(from));
            let dnodes: Vec<_> = resumed.iter().filter(|visit| visit.kind == VisitKind::Dnode).collect();
            assert_eq!(dnodes[1].at.object, from.at.object, "the object itself comes again");
        }
    }

    #[test]
    fn pruning_leaves_out_what_lies_below_the_last_visit() {
        let (memory, root) = sample();
        let mut traverse = Traverse::new(memory, 54, root, Options::default());
        let mut seen = Vec::new();
        while let Some(visit) = traverse.next() {
            let visit = visit.unwrap();
            let name = name(&visit);
            if ["2 dnode", "9 L2 0", "0 L1 7"].contains(&&*name) {
                traverse.prune();
            }
            if visit.at.object.0 != 0 && !visit.pointer.is_hole() && visit.kind == VisitKind::Block {
                seen.push(name);
            }
        }
        assert_eq!(
            seen,
            [
                "1 L0 0", "8 L0 0", "8 L0 -2", "9 L3 0", "9 L2 0", "9 L2 1", "9 L1 8", "9 L0 64", "9 L0 65",
                "9 L2 7", "9 L1 63", "9 L0 511", "40 L0 0"
            ]
        );
    }

    #[test]
    fn damage_is_reported_and_the_rest_still_visited() {
        let memory = Memory::new();
        let lost = BlockPointer::normal(&crate::blkptr::NormalBlock {
            dvas: [crate::blkptr::Dva::new(0, 1 << 40, 1024, false), Default::default(), Default::default()],
            lsize: 1024,
            psize: 1024,
            compression: zstream_format::algorithm::CompressionType::OFF,
            checksum_type: zstream_format::algorithm::ChecksumType::OFF,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            level: 1,
            dedup: false,
            uses_crypt: false,
            byte_order: zstream_format::order::ByteOrder::Little,
            logical_birth: Txg(4),
            physical_birth: Txg(0),
            fill: 1,
            checksum: [0; 4],
        });
        let mut first = memory.dnode(&Spec { data: [(0, lost)].into(), ..Spec::file() });
        first[2] = 2;
        let mut second = memory.dnode(&Spec::file());
        second[3] = 9;
        let third = memory.dnode(&Spec { data: [(0, memory.data(&[7; 512], 4))].into(), ..Spec::file() });
        let root = memory.objset(&[(1, first), (2, second), (3, third)].into(), &BTreeMap::new());
        let (visits, errors): (Vec<_>, Vec<_>) =
            Traverse::new(memory, 54, root, Options::default()).partition(Result::is_ok);
        assert!(visits.iter().any(|visit| name(visit.as_ref().unwrap()) == "3 L0 0"));
        let errors: Vec<_> = errors.into_iter().map(Result::unwrap_err).collect();
        assert!(matches!(errors[0].fault(), Fault::NotFound { .. }), "{}", errors[0]);
        assert_eq!(errors[0].place().bookmark.map(|at| (at.object.0, at.level)), Some((1, 1)));
        assert!(matches!(errors[1].fault(), Fault::Corrupt { what: "dnode", .. }), "{}", errors[1]);
        assert_eq!(errors[1].place().bookmark.map(|at| at.object.0), Some(2));
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn block_numbers_that_overflow_are_errors() {
        let memory = Memory::new();
        // Twelve levels of ten bits: the children of the last pointers have no numbers.
        let mut pointer = memory.data(&[1; 512], 4);
        for level in 1..12 {
            let mut block = vec![0; 1 << 17];
            block[1023 * 128..].copy_from_slice(&pointer.encode(zstream_format::order::ByteOrder::Little));
            pointer = memory.store(&block, ObjectType::PLAIN_FILE_CONTENTS, level, 4, 1);
        }
        let spec =
            Spec { data: [(0, pointer)].into(), indirect_shift: 17, max_block: u64::MAX, ..Spec::file() };
        let mut dnode = memory.dnode(&spec);
        dnode[2] = 12;
        let root = memory.objset(&[(1, dnode)].into(), &BTreeMap::new());
        let errors: Vec<_> =
            Traverse::new(memory.clone(), 54, root, Options::default()).filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("beyond the last block"), "{}", errors[0]);
    }
}
