//! Cloning of blocks: references to blocks that other objects have, instead of copies (`dmu_read_l0_bps`,
//! `dmu_brt_clone`).

use std::fmt;

use super::ObjsetWriter;
use super::overlay::{Dirty, Overlay};
use super::store::grow;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::error::{Error, Result};
use crate::ids::{BlockId, ObjectId, Txg};
use crate::object_set::ObjectSet as _;
use crate::object_store::CloneStore;
use crate::objset::Objset;
use crate::tree::Seek;
use crate::zio::write::Written;

/// Blocks to clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneRange {
    /// The object that has the blocks.
    pub from: ObjectId,
    /// The first block in it.
    pub from_block: BlockId,
    /// The object that gets them.
    pub to: ObjectId,
    /// The first block in it.
    pub to_block: BlockId,
    /// The number of blocks.
    pub count: u64,
}

/// The reason for which a block cannot be cloned. Its content can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloneRefusal {
    /// The sizes of the blocks of the two objects differ.
    BlockSize {
        /// The size in the object that has the blocks, in bytes.
        from: u64,
        /// The size in the other one.
        to: u64,
    },
    /// The block was changed in the open transaction group.
    Changed,
    /// The block is deduplicated.
    Deduplicated,
    /// The block was redacted.
    Redacted,
    /// The block is metadata.
    Metadata,
}

impl fmt::Display for CloneRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize { from, to } => write!(f, "its blocks are {from} bytes, those of the copy {to}"),
            Self::Changed => f.write_str("it was changed in the open transaction group"),
            Self::Deduplicated => f.write_str("it has deduplicated blocks"),
            Self::Redacted => f.write_str("it has redacted blocks"),
            Self::Metadata => f.write_str("it is metadata"),
        }
    }
}

/// Returns the reason for which a block cannot be cloned in transaction group `txg`, if there is one.
fn refusal(pointer: &BlockPointer, txg: Txg) -> Option<CloneRefusal> {
    match pointer.kind() {
        BlockKind::Hole | BlockKind::Embedded => None,
        BlockKind::Redacted | BlockKind::UnknownEmbedded(_) => Some(CloneRefusal::Redacted),
        BlockKind::Normal if pointer.object_type().is_metadata() => Some(CloneRefusal::Metadata),
        BlockKind::Normal if pointer.is_dedup() => Some(CloneRefusal::Deduplicated),
        BlockKind::Normal if pointer.physical_birth() >= txg => Some(CloneRefusal::Changed),
        BlockKind::Normal => None,
    }
}

impl ObjsetWriter {
    /// Replaces blocks of an object with references to the blocks of an object of `source`, which is an object set of
    /// the same pool in its current state. Holes and embedded blocks are copied. The sets must be readable with the
    /// same key.
    ///
    /// Returns the number of blocks that were cloned, and if these are not all, the reason that refuses the next one.
    ///
    /// # Errors
    ///
    /// Fails if one of the objects does not exist, and if a block pointer or a count of references cannot be read.
    /// Some blocks may be cloned then.
    pub fn clone_range(&mut self, source: &Objset, range: CloneRange) -> Result<(u64, Option<CloneRefusal>)> {
        let CloneRange { from, from_block, to, to_block, count } = range;
        let dnode = source.dnode(from)?;
        let is_own = source.objset_id() == self.source.id;
        if is_own && self.objects.get(&from.0).is_some_and(Overlay::has_changed_blocks) {
            return Ok((0, Some(CloneRefusal::Changed)));
        }
        let sizes = (dnode.block_bytes(), self.touch(to)?.dnode(to)?.block_bytes());
        if sizes.0 != sizes.1 {
            return Ok((0, Some(CloneRefusal::BlockSize { from: sizes.0, to: sizes.1 })));
        }
        let tree = source.tree(from, &dnode);
        let mut done = 0;
        while done < count {
            let here = BlockId(from_block.0 + done);
            let there = to_block.0 + done;
            let pointer = if here <= dnode.max_block { tree.pointer(0, here)? } else { BlockPointer::EMPTY };
            if let Some(refusal) = refusal(&pointer, self.source.writer.txg()) {
                return Ok((done, Some(refusal)));
            }
            let run = if pointer.is_hole() {
                let data = if here <= dnode.max_block { tree.next(Seek::Data, here)? } else { None };
                let run = data.map_or(count - done, |data| (data.0 - here.0).max(1).min(count - done));
                self.land_before(to, there, there.saturating_add(run))?;
                self.change(to, |overlay, source| {
                    overlay.free(there, there.saturating_add(run), &*source.writer);
                    Ok(())
                })?;
                run
            } else {
                tree.check_data(&pointer, here)?;
                self.clone_block(to, there, &pointer)?;
                1
            };
            done += run;
        }
        Ok((done, None))
    }

    fn clone_block(&mut self, to: ObjectId, block: u64, pointer: &BlockPointer) -> Result<()> {
        self.land_before(to, block, block)?;
        self.change(to, |overlay, source| {
            grow(overlay, to, block)?;
            let pointer = source.writer.clone_block(pointer)?;
            overlay.put(
                block,
                Dirty::Written(Box::new(Written { pointer, in_place: false })),
                &*source.writer,
            );
            Ok(())
        })
    }
}

impl CloneStore for ObjsetWriter {
    fn put_clones(&mut self, to: ObjectId, first: BlockId, pointers: &[BlockPointer]) -> Result<()> {
        let bytes = self.touch(to)?.dnode(to)?.block_bytes();
        for (block, pointer) in (first.0..).zip(pointers) {
            let why = match pointer.kind() {
                BlockKind::Hole => {
                    self.land_before(to, block, block.saturating_add(1))?;
                    self.change(to, |overlay, source| {
                        overlay.free(block, block.saturating_add(1), &*source.writer);
                        Ok(())
                    })?;
                    continue;
                }
                _ if pointer.lsize() != bytes => format!("it is {} bytes, expected {bytes}", pointer.lsize()),
                _ => match refusal(pointer, self.source.writer.txg()) {
                    None | Some(CloneRefusal::Deduplicated) => {
                        self.clone_block(to, block, pointer)?;
                        continue;
                    }
                    Some(refusal) => refusal.to_string(),
                },
            };
            return Err(Error::corrupt("cloned block", format!("block {block} of object {to}: {why}")));
        }
        Ok(())
    }
}
