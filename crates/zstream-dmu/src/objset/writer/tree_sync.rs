//! The sync of the block tree of one object, from the lowest level to the highest.
//!
//! ```text
//! level 0   written blocks                freed ranges, walked from the top: the largest subtrees inside them
//!              \                               |
//! level 1    parents: old content + changes  <-+      a hole if all children are holes, otherwise written
//!              \                               |
//! ...        parents                         <-+
//! dnode      pointers
//! ```
//!
//! If levels were added, the old pointers of the dnode become the first children of a new indirect block.

use std::collections::BTreeMap;

use zstream_format::order::ByteOrder;

use super::overlay::{Dirty, Overlay, Source};
use super::policy::SetProperties;
use crate::blkptr::{BLOCK_POINTER_BYTES, BlockKind, BlockPointer};
use crate::dnode::Dnode;
use crate::error::{Error, Result};
use crate::ids::{BlockId, ObjectId};
use crate::range_set::RangeSet;
use crate::tree::{Tree, child, shift_left, shift_right};
use crate::zio::write::{Content, Ledger, WriteRequest};

/// The limit for the number of indirect blocks that are kept in memory and written together.
const BATCH_BLOCKS: usize = 64;

/// New pointers of one level, by block number.
type Changes = BTreeMap<u64, BlockPointer>;

/// The space accounting of an object, which also passes born and killed blocks to the ledger.
pub(super) struct Account<'a> {
    pub(super) source: &'a Source,
    pub(super) ledger: &'a mut dyn Ledger,
    pub(super) born: u64,
    pub(super) killed: u64,
    /// Whether any block was born or killed.
    pub(super) has_changed: bool,
}

impl<'a> Account<'a> {
    pub(super) fn new(source: &'a Source, ledger: &'a mut dyn Ledger) -> Self {
        Self { source, ledger, born: 0, killed: 0, has_changed: false }
    }

    pub(super) fn born(&mut self, pointer: &BlockPointer) -> Result<()> {
        if is_told(pointer) {
            self.has_changed = true;
            self.born += self.source.writer.dsize(pointer);
            self.ledger.born(pointer)?;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self, pointer: &BlockPointer) -> Result<()> {
        if is_told(pointer) {
            self.has_changed = true;
            self.killed += self.source.writer.dsize(pointer);
            self.ledger.killed(pointer)?;
        }
        Ok(())
    }
}

fn is_told(pointer: &BlockPointer) -> bool {
    matches!(pointer.kind(), BlockKind::Normal | BlockKind::Embedded)
}

/// Kills a block and all blocks below it.
pub(super) fn kill_subtree(
    account: &mut Account<'_>,
    tree: Tree<'_>,
    pointer: &BlockPointer,
    level: u8,
    id: u64,
) -> Result<()> {
    if pointer.is_hole() {
        return Ok(());
    }
    if level > 0 {
        let block = tree.indirect(pointer, level, BlockId(id))?;
        let count = (block.len() / BLOCK_POINTER_BYTES) as u64;
        for (n, below) in (0..count).zip(children(&block)) {
            // Block numbers are only used in errors here.
            kill_subtree(account, tree, &below, level - 1, id.wrapping_mul(count).wrapping_add(n))?;
        }
    }
    account.kill(pointer)
}

/// Kills all blocks of a dnode except the spill block.
pub(super) fn kill_tree(account: &mut Account<'_>, object: ObjectId, dnode: &Dnode) -> Result<()> {
    let source = account.source;
    let tree = source.tree(object, dnode);
    for (id, pointer) in (0..).zip(dnode.pointers()) {
        kill_subtree(account, tree, pointer, dnode.levels - 1, id)?;
    }
    Ok(())
}

fn children(block: &[u8]) -> impl Iterator<Item = BlockPointer> + '_ {
    (0..block.len() / BLOCK_POINTER_BYTES).map(|n| child(block, n))
}

/// The sync of one block tree.
pub(super) struct TreeSync<'a> {
    pub(super) source: &'a Source,
    pub(super) properties: &'a SetProperties,
    pub(super) object: ObjectId,
}

impl TreeSync<'_> {
    /// Applies `overlay` to the tree on disk, and sets the new pointers in its dnode. The data blocks must already be
    /// written.
    pub(super) fn sync(&self, overlay: &mut Overlay, account: &mut Account<'_>) -> Result<()> {
        let base = overlay.live_base().cloned();
        let base = base.as_deref();
        let mut dnode = overlay.dnode(self.object)?.clone();
        let top = usize::from(dnode.levels - 1);
        let mut levels = vec![Changes::new(); top + 1];
        if let Some(base) = base {
            self.free(base, overlay, &mut levels, account)?;
        }
        for (block, dirty) in &overlay.dirty {
            let Dirty::Written(written) = dirty else {
                return Err(Error::internal(format!("block {block} is synced before it is written")));
            };
            if !written.in_place {
                account.born(&written.pointer)?;
                if let Some(base) = base {
                    let old = self.source.tree(self.object, base).pointer(0, BlockId(*block))?;
                    account.kill(&old)?;
                }
            }
            levels[0].insert(*block, written.pointer);
        }
        if let Some(base) = base.filter(|base| base.levels < dnode.levels) {
            for (id, pointer) in (0..).zip(base.pointers()) {
                if *pointer != BlockPointer::EMPTY {
                    levels[usize::from(base.levels - 1)].entry(id).or_insert(*pointer);
                }
            }
            dnode.pointers_mut().fill(BlockPointer::EMPTY);
        }
        for level in 0..top {
            let changes = std::mem::take(&mut levels[level]);
            self.parents(base, &dnode, level as u8 + 1, changes, &mut levels[level + 1], account)?;
        }
        for (id, pointer) in &levels[top] {
            let place = usize::try_from(*id).ok().and_then(|id| dnode.pointers_mut().get_mut(id));
            *place.ok_or_else(|| {
                Error::internal(format!("dnode has no pointer for block {id} of level {top}"))
            })? = *pointer;
        }
        overlay.dnode = Some(dnode);
        Ok(())
    }

    /// Writes the parents, at `level`, of changed blocks.
    fn parents(
        &self,
        base: Option<&Dnode>,
        dnode: &Dnode,
        level: u8,
        changes: Changes,
        above: &mut Changes,
        account: &mut Account<'_>,
    ) -> Result<()> {
        let step = dnode.pointers_per_block_shift();
        let mut changes = changes.into_iter().peekable();
        let mut batch: Vec<(u64, BlockPointer, Vec<u8>, u64)> = Vec::new();
        while let Some(id) = changes.peek().map(|(below, _)| below >> step) {
            let old = match base {
                Some(base) if level < base.levels => {
                    self.source.tree(self.object, base).pointer(level, BlockId(id))?
                }
                _ => BlockPointer::EMPTY,
            };
            let mut content = self.content(base, dnode, &old, level, id)?;
            while let Some((below, pointer)) = changes.next_if(|(below, _)| below >> step == id) {
                let at = (below & ((1 << step) - 1)) as usize * BLOCK_POINTER_BYTES;
                content[at..at + BLOCK_POINTER_BYTES].copy_from_slice(&pointer.encode(ByteOrder::Little));
            }
            let mut fill = 0_u64;
            let mut is_empty = true;
            for below in children(&content) {
                fill = fill.saturating_add(below.fill());
                is_empty &= below.is_hole();
            }
            if is_empty {
                let hole = self.source.writer.hole(&old, dnode.object_type, level, dnode.indirect_bytes());
                above.insert(id, hole);
                account.kill(&old)?;
            } else {
                batch.push((id, old, content, fill));
            }
            if batch.len() == BATCH_BLOCKS {
                self.write(dnode, level, &mut batch, above, account)?;
            }
        }
        self.write(dnode, level, &mut batch, above, account)
    }

    /// Returns the content of an indirect block. For a hole it is holes with the same birth
    /// (`dbuf_handle_indirect_hole`).
    fn content(
        &self,
        base: Option<&Dnode>,
        dnode: &Dnode,
        old: &BlockPointer,
        level: u8,
        id: u64,
    ) -> Result<Vec<u8>> {
        if let Some(base) = base.filter(|_| !old.is_hole()) {
            return Ok(self.source.tree(self.object, base).indirect(old, level, BlockId(id))?.to_vec());
        }
        let mut content = vec![0; dnode.indirect_bytes() as usize];
        if old.logical_birth().0 != 0 {
            let lsize = if level == 1 { dnode.block_bytes() } else { dnode.indirect_bytes() };
            let hole = BlockPointer::hole(dnode.object_type, level - 1, lsize, old.logical_birth());
            for pointer in content.chunks_exact_mut(BLOCK_POINTER_BYTES) {
                pointer.copy_from_slice(&hole.encode(ByteOrder::Little));
            }
        }
        Ok(content)
    }

    fn write(
        &self,
        dnode: &Dnode,
        level: u8,
        batch: &mut Vec<(u64, BlockPointer, Vec<u8>, u64)>,
        above: &mut Changes,
        account: &mut Account<'_>,
    ) -> Result<()> {
        let requests: Vec<WriteRequest<'_>> = batch
            .iter()
            .map(|(id, old, content, fill)| WriteRequest {
                content: Content::Logical(content),
                props: {
                    let mut props = self.properties.of_object(dnode, level);
                    props.fill = *fill;
                    props
                },
                at: self.source.at(self.object, level, *id),
                before: *old,
            })
            .collect();
        let written = self.source.writer.write_blocks(&requests)?;
        for ((id, old, ..), written) in batch.drain(..).zip(written) {
            if !written.in_place {
                account.born(&written.pointer)?;
                account.kill(&old)?;
            }
            above.insert(id, written.pointer);
        }
        Ok(())
    }

    /// Frees the ranges: subtrees inside them are killed and replaced by holes.
    fn free(
        &self,
        base: &Dnode,
        overlay: &Overlay,
        levels: &mut [Changes],
        account: &mut Account<'_>,
    ) -> Result<()> {
        if overlay.freed.iter().next().is_none() {
            return Ok(());
        }
        let walk = FreeWalk { sync: self, base, overlay };
        for (id, pointer) in (0..).zip(base.pointers()) {
            walk.visit(pointer, base.levels - 1, id, levels, account)?;
        }
        Ok(())
    }
}

struct FreeWalk<'a> {
    sync: &'a TreeSync<'a>,
    base: &'a Dnode,
    overlay: &'a Overlay,
}

impl FreeWalk<'_> {
    fn visit(
        &self,
        pointer: &BlockPointer,
        level: u8,
        id: u64,
        levels: &mut [Changes],
        account: &mut Account<'_>,
    ) -> Result<()> {
        let freed: &RangeSet = &self.overlay.freed;
        let step = self.base.pointers_per_block_shift();
        let span = u32::from(level) * step;
        let Some(start) = shift_left(id, span) else { return Ok(()) };
        let end = start.saturating_add(shift_left(1, span).unwrap_or(u64::MAX));
        if pointer.is_hole() || !freed.overlaps(start, end) {
            return Ok(());
        }
        let is_written = self.overlay.dirty.range(start..end).next().is_some();
        // There are no blocks after the last one, so a subtree that extends beyond it is freed as a whole.
        let last = end.min(self.base.max_block.0.saturating_add(1));
        if freed.contains(start, last) && !is_written {
            let tree = self.sync.source.tree(self.sync.object, self.base);
            kill_subtree(account, tree, pointer, level, id)?;
            let hole = self.sync.source.writer.hole(pointer, self.base.object_type, level, pointer.lsize());
            levels[usize::from(level)].insert(id, hole);
            return Ok(());
        }
        if level == 0 {
            // It is replaced by the written block.
            return Ok(());
        }
        let tree = self.sync.source.tree(self.sync.object, self.base);
        let block = tree.indirect(pointer, level, BlockId(id))?;
        let below = level - 1;
        // Only the children in the ranges are visited.
        let mut next = 0;
        for (from, to) in freed.overlapping(start, end) {
            let first = shift_right(from.max(start), span - step).max(next);
            let last = shift_right(to.min(end) - 1, span - step);
            for number in first..=last {
                let pointer = child(&block, (number & ((1 << step) - 1)) as usize);
                self.visit(&pointer, below, number, levels, account)?;
            }
            next = last + 1;
        }
        Ok(())
    }
}
