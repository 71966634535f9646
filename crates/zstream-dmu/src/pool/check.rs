//! Verifying every copy of every block, like a scrub that only reads.
//!
//! An object set is traversed; the blocks it reports are read in batches on all cores, each copy on each member, with
//! parity. Blocks that belong to an older snapshot are left out by the floor, so that checking a chain of snapshots reads
//! each block once.

use std::sync::Arc;

use rayon::prelude::*;

use crate::blkptr::{BlockKind, BlockPointer};
use crate::error::{Error, Result};
use crate::ids::Bookmark;
use crate::traverse::{Options, Traverse, VisitKind};
use crate::zio::{BlockCheck, BlockReader, ReadBlock};

/// Stored bytes that are checked together.
const BATCH_BYTES: u64 = 32 << 20;

/// Blocks that are checked together.
const BATCH_BLOCKS: usize = 1024;

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

/// Checks an object set, tells `found` of everything wrong and `progress` of the totals after each batch. Gives the totals
/// with those of `before` added. Stops early when `progress` answers `false`.
pub fn check(
    reader: &Arc<BlockReader>,
    target: &Target,
    before: Totals,
    found: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(&Totals) -> bool,
) -> Totals {
    let mut totals = before;
    let mut batch = Vec::new();
    let mut bytes = 0;
    let blocks: Arc<dyn ReadBlock> = Arc::clone(reader) as _;
    for visit in Traverse::new(blocks, target.objset, target.root, target.options.clone()) {
        match visit {
            Ok(visit) if visit.pointer.kind() == BlockKind::Normal && visit.kind != VisitKind::Dnode => {
                bytes += visit.pointer.psize();
                batch.push((visit.pointer, visit.at));
            }
            Ok(_) => {}
            Err(error) => found(Finding::Unreachable(error)),
        }
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_BLOCKS {
            check_batch(reader, &mut batch, &mut totals, found);
            bytes = 0;
            if !progress(&totals) {
                return totals;
            }
        }
    }
    check_batch(reader, &mut batch, &mut totals, found);
    progress(&totals);
    totals
}

fn check_batch(
    reader: &BlockReader,
    batch: &mut Vec<(BlockPointer, Bookmark)>,
    totals: &mut Totals,
    found: &mut dyn FnMut(Finding),
) {
    let checks: Vec<Result<BlockCheck>> =
        batch.par_iter().map(|(bp, at)| reader.check_block(bp, *at)).collect();
    for ((pointer, at), result) in batch.drain(..).zip(checks) {
        totals.blocks += 1;
        match result {
            Ok(check) => {
                totals.copies += check.copies as u64;
                totals.bytes += check.copies as u64 * pointer.psize();
                totals.bad_copies += check.bad.len() as u64;
                totals.lost_blocks += u64::from(check.readable == 0);
                if !check.bad.is_empty() || check.readable == 0 {
                    found(Finding::Block { at, pointer, check });
                }
            }
            Err(error) => {
                totals.lost_blocks += 1;
                found(Finding::Unreachable(error));
            }
        }
    }
}
