//! Verifying every copy of every block, like a scrub that only reads.
//!
//! Blocks come from [tree_blocks] (an object set), from [log_blocks] and from [listed_blocks]. They are read in batches on
//! all cores, each copy on each member, with parity, while the next batch is gathered. Within a batch they are read in the
//! order in which they lie. Blocks that belong to an older snapshot are left out by the floor, so that checking a chain of
//! snapshots reads each block once.

use std::sync::Arc;

use rayon::prelude::*;

use crate::blkptr::{BlockKind, BlockPointer};
use crate::block::ReadBlock;
use crate::bpobj::BpObj;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark};
use crate::intent_log;
use crate::intent_log::ZilHeader;
use crate::object_set::ObjectSet;
use crate::traverse::{Options, Traverse, VisitKind};
use crate::zio::{BlockCheck, BlockReader};

/// Stored bytes that are checked together.
const BATCH_BYTES: u64 = 32 << 20;

/// Blocks that are checked together.
const BATCH_BLOCKS: usize = 4096;

/// What was checked so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks that are on vdevs.
    pub blocks: u64,
    /// Their copies.
    pub copies: u64,
    /// Copies that are damaged, or that could not be read at all.
    pub bad_copies: u64,
    /// Blocks of which no copy could be read.
    pub lost_blocks: u64,
    /// Stored bytes of all copies, without parity.
    pub bytes: u64,
    /// Parts of trees that could not be followed.
    pub unreachable: u64,
}

impl Totals {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.bad_copies == 0 && self.lost_blocks == 0 && self.unreachable == 0
    }
}

/// Something that is wrong.
#[derive(Debug)]
pub enum Finding {
    /// A block has bad copies, and perhaps no good one.
    Block {
        /// Where it is.
        at: Bookmark,
        /// Its pointer.
        pointer: BlockPointer,
        /// What was found.
        check: BlockCheck,
    },
    /// A part of the tree cannot be followed: what is below was not checked.
    Unreachable(Error),
}

/// An object set to check.
#[derive(Debug, Clone)]
pub struct Target {
    /// The dataset's object in the MOS, 0 for the MOS.
    pub objset: u64,
    /// Pointer of its objset block.
    pub root: BlockPointer,
    /// What to leave out, and whether the set is locked.
    pub options: Options,
}

/// A block to check.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Its pointer, which is to a block on vdevs.
    pub pointer: BlockPointer,
    /// Where it belongs.
    pub at: Bookmark,
    /// Whether nothing is lost when it cannot be read: the end of an intent log, which may never have been written, and
    /// what is to be freed.
    pub is_expendable: bool,
}

/// The blocks of an object set.
pub fn tree_blocks(
    reader: &Arc<BlockReader>,
    target: &Target,
) -> impl Iterator<Item = Result<Item>> + Send + use<> {
    let blocks: Arc<dyn ReadBlock> = Arc::clone(reader) as _;
    Traverse::new(blocks, target.objset, target.root, target.options.clone()).filter_map(|visit| {
        let visit = match visit {
            Ok(visit) => visit,
            Err(error) => return Some(Err(error)),
        };
        let is_stored = visit.pointer.kind() == BlockKind::Normal && visit.kind != VisitKind::Dnode;
        is_stored.then_some(Ok(Item { pointer: visit.pointer, at: visit.at, is_expendable: false }))
    })
}

/// The blocks of an intent log.
pub fn log_blocks<'a>(
    reader: &'a BlockReader,
    objset: u64,
    header: &ZilHeader,
) -> impl Iterator<Item = Result<Item>> + Send + 'a {
    intent_log::blocks(reader, objset, header)
        .map(|block| Ok(Item { pointer: block.pointer, at: block.at, is_expendable: !block.is_claimed }))
}

/// The blocks that a list in the MOS names.
pub fn listed_blocks<'a>(
    mos: &'a dyn ObjectSet,
    list: &BpObj,
) -> impl Iterator<Item = Result<Item>> + Send + 'a {
    let object = list.object;
    (0..).zip(list.entries(mos)).filter_map(move |(n, entry)| {
        let at = Bookmark { objset: mos.objset_id(), object, level: 0, block: BlockId(n) };
        let pointer = match entry {
            Ok(entry) => entry.pointer,
            Err(error) => return Some(Err(error)),
        };
        let is_stored = pointer.kind() == BlockKind::Normal;
        is_stored.then_some(Ok(Item { pointer, at, is_expendable: true }))
    })
}

#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    unreachable: Vec<Error>,
}

impl Batch {
    fn gather(blocks: &mut impl Iterator<Item = Result<Item>>) -> Self {
        let (mut batch, mut bytes) = (Self::default(), 0);
        for block in blocks {
            match block {
                Ok(item) => {
                    bytes += item.pointer.psize() * item.pointer.dvas().count() as u64;
                    batch.items.push(item);
                }
                Err(error) => batch.unreachable.push(error),
            }
            if bytes >= BATCH_BYTES || batch.items.len() + batch.unreachable.len() >= BATCH_BLOCKS {
                break;
            }
        }
        batch.items.sort_by_key(|item| (item.pointer.dva(0).vdev(), item.pointer.dva(0).offset()));
        batch
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.unreachable.is_empty()
    }

    fn check(&self, reader: &BlockReader) -> Vec<Result<BlockCheck>> {
        self.items.par_iter().map(|item| reader.check_block(&item.pointer, item.at)).collect()
    }
}

/// Checks blocks, adds them to `totals`, tells `found` of everything wrong and `progress` of the totals after each batch.
/// Stops early when `progress` answers `false`.
pub fn check(
    reader: &BlockReader,
    mut blocks: impl Iterator<Item = Result<Item>> + Send,
    totals: &mut Totals,
    found: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(&Totals) -> bool,
) {
    let mut batch = Batch::gather(&mut blocks);
    while !batch.is_empty() {
        let (checks, next) = rayon::join(|| batch.check(reader), || Batch::gather(&mut blocks));
        for (item, check) in batch.items.iter().zip(checks) {
            count(item, check, totals, found);
        }
        for error in batch.unreachable {
            totals.unreachable += 1;
            found(Finding::Unreachable(error));
        }
        if !progress(totals) {
            return;
        }
        batch = next;
    }
}

fn count(item: &Item, check: Result<BlockCheck>, totals: &mut Totals, found: &mut dyn FnMut(Finding)) {
    let check = match check {
        Ok(check) if item.is_expendable && check.readable == 0 => return,
        Err(_) if item.is_expendable => return,
        Ok(check) => check,
        Err(error) => BlockCheck { copies: 0, readable: 0, bad: vec![], fault: Some(error) },
    };
    totals.blocks += 1;
    totals.copies += check.copies as u64;
    totals.bytes += check.copies as u64 * item.pointer.psize();
    totals.bad_copies += check.bad.len() as u64;
    totals.lost_blocks += u64::from(check.readable == 0);
    if !check.bad.is_empty() || check.readable == 0 {
        found(Finding::Block { at: item.at, pointer: item.pointer, check });
    }
}
