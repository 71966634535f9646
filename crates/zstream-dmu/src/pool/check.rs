//! Verification of every copy of every block, like a scrub that only reads.
//!
//! Blocks are enumerated by [tree_blocks] (an object set), [log_blocks] and [listed_blocks]. They are read in batches
//! on all cores, each copy on each member, with parity, while the next batch is gathered. Within a batch they are read
//! in the order of their offsets. The floor excludes blocks of an older snapshot, so that the check of a chain of
//! snapshots reads each block once. Blocks that pointers share in other ways, by cloning or deduplication, are read once
//! if the caller knows them ([`SharedBlocks`]).

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

/// The limit for the stored bytes of a batch.
const BATCH_BYTES: u64 = 32 << 20;

/// The limit for the blocks of a batch.
const BATCH_BLOCKS: usize = 4096;

/// The limit for the blocks of a batch that are not read again.
const BATCH_REPEATED: u64 = 64 << 10;

/// The totals of a check so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of blocks on vdevs.
    pub blocks: u64,
    /// The number of their copies.
    pub copies: u64,
    /// The number of copies that are corrupt or unreadable.
    pub bad_copies: u64,
    /// The number of blocks without a readable copy.
    pub lost_blocks: u64,
    /// The stored bytes of all copies, without parity.
    pub bytes: u64,
    /// The number of subtrees that could not be read.
    pub unreachable: u64,
    /// The number of further references to blocks that were already checked.
    pub repeated: u64,
    /// The stored bytes that these references have in common with the first one.
    pub repeated_bytes: u64,
}

impl Totals {
    /// Returns whether the check found no damage.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.bad_copies == 0 && self.lost_blocks == 0 && self.unreachable == 0
    }
}

/// Damage that a check found.
#[derive(Debug)]
pub enum Finding {
    /// A block with corrupt copies, and possibly without an intact one.
    Block {
        /// The position of the block.
        at: Bookmark,
        /// The pointer to the block.
        pointer: BlockPointer,
        /// The result of the check.
        check: Arc<BlockCheck>,
        /// Whether the damage of the block was already found by another reference to it.
        is_repeated: bool,
    },
    /// A subtree that cannot be read. Blocks below it were not checked.
    Unreachable(Error),
}

/// An object set to check.
#[derive(Debug, Clone)]
pub struct Target {
    /// The object of the dataset in the MOS, 0 for the MOS.
    pub objset: u64,
    /// The pointer to its objset block.
    pub root: BlockPointer,
    /// The blocks to exclude, and whether the object set is locked.
    pub options: Options,
}

/// A block to check.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Item {
    /// The pointer, which must refer to a block on vdevs.
    pub pointer: BlockPointer,
    /// The position of the block.
    pub at: Bookmark,
    /// Whether nothing is lost if the block cannot be read. This holds for the end of an intent log, which may never
    /// have been written, and for blocks that are about to be freed.
    pub is_expendable: bool,
}

impl Item {
    /// Creates an item for a block at a position.
    #[must_use]
    pub fn new(pointer: BlockPointer, at: Bookmark, is_expendable: bool) -> Self {
        Self { pointer, at, is_expendable }
    }
}

/// The blocks to which several pointers refer, and whether they are intact.
pub trait SharedBlocks: Send {
    /// Records a reference, before the block is read. Returns `true` if all its copies are known to be intact, so that
    /// it need not be read.
    fn refer(&mut self, item: &Item) -> bool;

    /// Records that a block was read, and whether all its copies are intact. Returns `true` if it was already read for
    /// another reference.
    fn record(&mut self, item: &Item, is_intact: bool) -> bool;
}

/// No blocks are known to be shared: each is read for each reference.
#[derive(Clone, Copy, Debug)]
pub struct NotShared;

impl SharedBlocks for NotShared {
    fn refer(&mut self, _: &Item) -> bool {
        false
    }

    fn record(&mut self, _: &Item, _: bool) -> bool {
        false
    }
}

/// Returns an iterator over the blocks of an object set.
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

/// Returns an iterator over the blocks of an intent log.
pub fn log_blocks<'a>(
    reader: &'a BlockReader,
    objset: u64,
    header: &ZilHeader,
) -> impl Iterator<Item = Result<Item>> + Send + 'a {
    intent_log::blocks(reader, objset, header)
        .map(|block| Ok(Item { pointer: block.pointer, at: block.at, is_expendable: !block.is_claimed }))
}

/// Returns an iterator over the blocks in a list of the MOS.
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
    /// The blocks that are not read again, and their stored bytes.
    repeated: u64,
    repeated_bytes: u64,
}

impl Batch {
    fn gather(blocks: &mut impl Iterator<Item = Result<Item>>, shared: &mut dyn SharedBlocks) -> Self {
        let (mut batch, mut bytes) = (Self::default(), 0);
        for block in blocks {
            match block {
                Ok(item) if shared.refer(&item) => {
                    batch.repeated += 1;
                    batch.repeated_bytes += stored_bytes(&item);
                }
                Ok(item) => {
                    bytes += stored_bytes(&item);
                    batch.items.push(item);
                }
                Err(error) => batch.unreachable.push(error),
            }
            let is_full = batch.items.len() + batch.unreachable.len() >= BATCH_BLOCKS;
            if bytes >= BATCH_BYTES || is_full || batch.repeated >= BATCH_REPEATED {
                break;
            }
        }
        batch.items.sort_by_key(|item| (item.pointer.dva(0).vdev(), item.pointer.dva(0).offset()));
        batch
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.unreachable.is_empty() && self.repeated == 0
    }

    fn check(&self, reader: &BlockReader) -> Vec<Result<BlockCheck>> {
        self.items.par_iter().map(|item| reader.check_block(&item.pointer, item.at)).collect()
    }
}

fn stored_bytes(item: &Item) -> u64 {
    item.pointer.psize() * item.pointer.dvas().count() as u64
}

/// Checks blocks and adds them to `totals`. Blocks that `shared` knows to be intact are not read again. Reports damage
/// to `found`, for each reference to a damaged block, and the totals to `progress` after each batch. Stops when
/// `progress` returns `false`.
pub fn check(
    reader: &BlockReader,
    mut blocks: impl Iterator<Item = Result<Item>> + Send,
    shared: &mut dyn SharedBlocks,
    totals: &mut Totals,
    found: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(&Totals) -> bool,
) {
    let mut batch = Batch::gather(&mut blocks, shared);
    while !batch.is_empty() {
        let (checks, next) = rayon::join(|| batch.check(reader), || Batch::gather(&mut blocks, shared));
        for (item, check) in batch.items.iter().zip(checks) {
            count(item, check, shared, totals, found);
        }
        totals.repeated += batch.repeated;
        totals.repeated_bytes += batch.repeated_bytes;
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

fn count(
    item: &Item,
    check: Result<BlockCheck>,
    shared: &mut dyn SharedBlocks,
    totals: &mut Totals,
    found: &mut dyn FnMut(Finding),
) {
    let check = match check {
        Ok(check) if item.is_expendable && check.readable == 0 => return,
        Err(_) if item.is_expendable => return,
        Ok(check) => check,
        Err(error) => BlockCheck { copies: 0, readable: 0, bad: vec![], fault: Some(error) },
    };
    let is_intact = check.bad.is_empty() && check.readable > 0;
    let is_repeated = shared.record(item, is_intact);
    if is_repeated {
        totals.repeated += 1;
        totals.repeated_bytes += stored_bytes(item);
    } else {
        totals.blocks += 1;
        totals.copies += check.copies as u64;
        totals.bytes += check.copies as u64 * item.pointer.psize();
        totals.bad_copies += check.bad.len() as u64;
        totals.lost_blocks += u64::from(check.readable == 0);
    }
    if !is_intact {
        found(Finding::Block { at: item.at, pointer: item.pointer, check: Arc::new(check), is_repeated });
    }
}
