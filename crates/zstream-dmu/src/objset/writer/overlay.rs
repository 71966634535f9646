//! The pending changes of one object.
//!
//! The object on disk (`base`) stays unchanged until it is synced. Reads find blocks in this order:
//!
//! ```text
//! dirty    written blocks                      first
//! freed    ranges of blocks that became holes  second
//! base     all other blocks, up to the last block of the new dnode
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_format::algorithm::CompressionType;
use zstream_format::compress::decompress;

use crate::blkptr::{BLOCK_BYTES_MAX, BlockPointer};
use crate::block::StoredBlock;
use crate::block::{Block, ReadBlock};
use crate::dnode::Dnode;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::objset::read_meta;
use crate::range_set::RangeSet;
use crate::tree::{Seek, Tree, check_len};
use crate::zio::write::{WriteBlock, Written};

/// The source and the destination of blocks.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) reader: Arc<dyn ReadBlock>,
    pub(super) writer: Arc<dyn WriteBlock>,
    pub(super) id: u64,
    /// Whether blocks of dnodes are read in stored form.
    pub(super) locked: bool,
}

impl Source {
    pub(super) fn at(&self, object: ObjectId, level: u8, block: u64) -> Bookmark {
        Bookmark { objset: self.id, object, level: level as i8, block: BlockId(block) }
    }

    pub(super) fn tree<'a>(&'a self, object: ObjectId, dnode: &'a Dnode) -> Tree<'a> {
        Tree::new(&*self.reader, dnode, self.id, object)
    }
}

/// A dirty block.
#[derive(Clone, Debug)]
pub(super) enum Dirty {
    /// The content.
    Data(Block),
    /// The content in stored form.
    Stored(Arc<StoredBlock>),
    /// A block that is already on disk, without a reference to it. It is boxed because the nodes of small maps have
    /// space for many entries.
    Written(Box<Written>),
}

impl Dirty {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Data(block) => block.len(),
            Self::Stored(stored) => stored.bytes.len(),
            Self::Written(_) => 0,
        }
    }

    /// Returns the content, or `None` for a hole.
    pub(super) fn read(&self, source: &Source, at: Bookmark) -> Result<Option<Block>> {
        match self {
            Self::Data(block) => Ok(Some(Arc::clone(block))),
            Self::Stored(stored) => expand(stored).map(Some).map_err(|error| error.at_bookmark(at)),
            Self::Written(written) if written.pointer.is_hole() => Ok(None),
            Self::Written(written) => source.reader.read_block(&written.pointer, at).map(Some),
        }
    }
}

/// Decompresses the content of a block in stored form.
fn expand(stored: &StoredBlock) -> Result<Block> {
    if stored.crypt.is_some() {
        return Err(Fault::Encrypted { what: "block received raw".to_owned() }.into());
    }
    if stored.compression == CompressionType::OFF {
        return Ok(stored.bytes[..].into());
    }
    let mut content = vec![0; stored.logical_bytes as usize];
    decompress(stored.compression, &stored.bytes, &mut content).map_err(Fault::from)?;
    Ok(content.into())
}

/// The change of the spill block.
#[derive(Clone, Debug, Default)]
pub(super) enum Spill {
    /// None: the spill block of the base remains.
    #[default]
    Kept,
    /// The spill block is removed.
    Gone,
    /// The spill block is replaced.
    New(Dirty),
}

/// The changes of one object.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// The object on disk, if an object of this number exists.
    pub(super) base: Option<Arc<Dnode>>,
    /// The new object; `None` if it is freed. Until the sync, its pointers are those of the base, or empty if
    /// `is_base_gone`.
    pub(super) dnode: Option<Dnode>,
    /// Whether all blocks of the base are freed, regardless of the other fields.
    pub(super) is_base_gone: bool,
    /// Whether the object is not the one of the base, so that its used space starts at zero.
    pub(super) is_new: bool,
    pub(super) freed: RangeSet,
    pub(super) dirty: BTreeMap<u64, Dirty>,
    pub(super) spill: Spill,
    /// The size of `dirty` in bytes.
    pub(super) dirty_bytes: usize,
}

impl Overlay {
    /// Returns an overlay without changes to an object on disk.
    pub(super) fn over(base: Arc<Dnode>) -> Self {
        Self { dnode: Some((*base).clone()), base: Some(base), ..Self::default() }
    }

    /// Replaces the object with a new one.
    pub(super) fn replace(&mut self, dnode: Dnode, writer: &dyn WriteBlock) {
        self.clear(writer);
        self.dnode = Some(dnode);
        self.is_new = true;
    }

    /// Frees the object.
    pub(super) fn clear(&mut self, writer: &dyn WriteBlock) {
        self.drop_dirty(0, u64::MAX, writer);
        self.set_spill(Spill::Gone, writer);
        self.freed = RangeSet::default();
        self.is_base_gone = true;
        self.dnode = None;
    }

    /// Returns whether the blocks of the object differ from those on disk.
    pub(super) fn has_changed_blocks(&self) -> bool {
        self.is_base_gone || self.is_new || !self.dirty.is_empty() || self.freed.iter().next().is_some()
    }

    /// Returns the new dnode.
    ///
    /// # Errors
    ///
    /// Fails if the object is freed.
    pub(super) fn dnode(&self, object: ObjectId) -> Result<&Dnode> {
        self.dnode.as_ref().ok_or_else(|| Fault::NoObject(object).into())
    }

    /// Returns the new dnode for changes.
    pub(super) fn dnode_mut(&mut self, object: ObjectId) -> Result<&mut Dnode> {
        self.dnode.as_mut().ok_or_else(|| Fault::NoObject(object).into())
    }

    /// Returns the dnode on disk, unless all of its blocks are freed.
    pub(super) fn live_base(&self) -> Option<&Arc<Dnode>> {
        self.base.as_ref().filter(|_| !self.is_base_gone)
    }

    /// Returns the dnode on disk if this block is read from its tree.
    pub(super) fn base_of(&self, block: u64) -> Option<&Arc<Dnode>> {
        let base = self.live_base()?;
        let last = self.dnode.as_ref()?.max_block.min(base.max_block);
        (block <= last.0 && !self.freed.overlaps(block, block.saturating_add(1))).then_some(base)
    }

    /// Returns the pointer on disk at this position, even if it was overwritten or freed. Under a hole it is the
    /// pointer of that hole.
    pub(super) fn before(&self, source: &Source, object: ObjectId, block: u64) -> Result<BlockPointer> {
        match self.live_base() {
            Some(base) => source.tree(object, base).pointer(0, BlockId(block)),
            None => Ok(BlockPointer::EMPTY),
        }
    }

    /// Returns the content of a block, or `None` for a hole.
    pub(super) fn block(&self, source: &Source, object: ObjectId, block: u64) -> Result<Option<Block>> {
        let dnode = self.dnode(object)?;
        let at = source.at(object, 0, block);
        if let Some(dirty) = self.dirty.get(&block) {
            return dirty.read(source, at);
        }
        let Some(base) = self.base_of(block) else { return Ok(None) };
        let tree = source.tree(object, base);
        let pointer = tree.pointer(0, BlockId(block))?;
        if pointer.is_hole() {
            return Ok(None);
        }
        tree.check_data(&pointer, BlockId(block))?;
        let content = if object.0 == 0 {
            read_meta(&*source.reader, &pointer, at, source.locked)?
        } else {
            source.reader.read_block(&pointer, at)?
        };
        check_len(&content, dnode.block_bytes()).map_err(|error| error.at_bookmark(at))?;
        Ok(Some(content))
    }

    /// Returns a block in the form in which a raw stream contained it, or `None` for a hole.
    pub(super) fn stored_block(
        &self,
        source: &Source,
        object: ObjectId,
        block: u64,
    ) -> Result<Option<StoredBlock>> {
        self.dnode(object)?;
        let at = source.at(object, 0, block);
        let pointer = match (self.dirty.get(&block), self.base_of(block)) {
            (Some(Dirty::Stored(stored)), _) => return Ok(Some(StoredBlock::clone(stored))),
            (Some(Dirty::Data(_)), _) => {
                return Err(Error::bad_request("block was not received encrypted").at_bookmark(at));
            }
            (Some(Dirty::Written(written)), _) => written.pointer,
            (None, None) => return Ok(None),
            (None, Some(base)) => {
                let tree = source.tree(object, base);
                let pointer = tree.pointer(0, BlockId(block))?;
                if !pointer.is_hole() {
                    tree.check_data(&pointer, BlockId(block))?;
                }
                pointer
            }
        };
        if pointer.is_hole() {
            return Ok(None);
        }
        StoredBlock::read(&*source.reader, &pointer, at).map(Some)
    }

    /// Returns the content of a block for changes. It is zeros for a hole, and if the whole block will be overwritten.
    pub(super) fn block_mut(
        &mut self,
        source: &Source,
        object: ObjectId,
        block: u64,
        is_whole: bool,
    ) -> Result<&mut [u8]> {
        let bytes = self.dnode(object)?.block_bytes();
        if !matches!(self.dirty.get(&block), Some(Dirty::Data(_))) {
            let content = if is_whole { None } else { self.block(source, object, block)? };
            let content = content.unwrap_or_else(|| zeros(bytes));
            self.put(block, Dirty::Data(content), &*source.writer);
        }
        match self.dirty.get_mut(&block) {
            Some(Dirty::Data(content)) => Ok(Arc::make_mut(content)),
            _ => Err(Error::internal(format!("block {block} was just inserted, but is missing"))),
        }
    }

    /// Replaces a block.
    pub(super) fn put(&mut self, block: u64, dirty: Dirty, writer: &dyn WriteBlock) {
        self.dirty_bytes += dirty.bytes();
        if let Some(old) = self.dirty.insert(block, dirty) {
            self.forget(&old, writer);
        }
    }

    /// Records that a block is on disk.
    pub(super) fn put_written(&mut self, block: u64, written: Written) {
        if let Some(dirty) = self.dirty.get_mut(&block) {
            self.dirty_bytes -= dirty.bytes();
            *dirty = Dirty::Written(Box::new(written));
        }
    }

    fn forget(&mut self, old: &Dirty, writer: &dyn WriteBlock) {
        self.dirty_bytes -= old.bytes();
        give_back(old, writer);
    }

    /// Drops the dirty blocks from `start` up to `end`.
    fn drop_dirty(&mut self, start: u64, end: u64, writer: &dyn WriteBlock) {
        let gone: Vec<u64> = self.dirty.range(start..end).map(|(block, _)| *block).collect();
        for block in gone {
            if let Some(old) = self.dirty.remove(&block) {
                self.forget(&old, writer);
            }
        }
    }

    /// Sets the change of the spill block.
    pub(super) fn set_spill(&mut self, spill: Spill, writer: &dyn WriteBlock) {
        if let Spill::New(old) = &self.spill {
            give_back(old, writer);
        }
        self.spill = spill;
    }

    /// Frees the blocks from `start` up to `end`.
    pub(super) fn free(&mut self, start: u64, end: u64, writer: &dyn WriteBlock) {
        self.drop_dirty(start, end, writer);
        if let Some(base) = self.live_base() {
            let end = end.min(base.max_block.0.saturating_add(1));
            self.freed.cover(start, end);
        }
    }

    /// Returns whether a block may have content.
    pub(super) fn has_content(&self, source: &Source, object: ObjectId, block: u64) -> Result<bool> {
        match self.dirty.get(&block) {
            Some(Dirty::Written(written)) => Ok(!written.pointer.is_hole()),
            Some(_) => Ok(true),
            None => match self.base_of(block) {
                Some(base) => Ok(!source.tree(object, base).pointer(0, BlockId(block))?.is_hole()),
                None => Ok(false),
            },
        }
    }

    /// Returns the first block at or after `from` that has content.
    pub(super) fn next_data(&self, source: &Source, object: ObjectId, from: u64) -> Result<Option<u64>> {
        let written = |dirty: &Dirty| !matches!(dirty, Dirty::Written(written) if written.pointer.is_hole());
        let dirty = self.dirty.range(from..).find(|(_, dirty)| written(dirty)).map(|(block, _)| *block);
        let mut at = from;
        let old = loop {
            let Some(base) = self.live_base() else { break None };
            let found = source.tree(object, base).next(Seek::Data, BlockId(at))?;
            let Some(found) = found.map(|block| block.0) else { break None };
            if dirty.is_some_and(|dirty| dirty <= found) {
                break None;
            }
            if self.base_of(found).is_some() && !self.dirty.contains_key(&found) {
                break Some(found);
            }
            at = match self.freed.end_of(found) {
                Some(end) => end,
                None if self.dnode(object)?.max_block.0 < found => break None,
                None => found + 1,
            };
        };
        Ok(match (dirty, old) {
            (Some(dirty), Some(old)) => Some(dirty.min(old)),
            (dirty, old) => dirty.or(old),
        })
    }

    /// Returns the first block at or after `from`, up to the last, that has no content.
    pub(super) fn next_hole(&self, source: &Source, object: ObjectId, from: u64) -> Result<Option<u64>> {
        let last = self.dnode(object)?.max_block.0;
        let mut at = from;
        while at <= last {
            if !self.has_content(source, object, at)? {
                return Ok(Some(at));
            }
            // A run of blocks without changes and frees is skipped at once.
            let run = match self.base_of(at).filter(|_| !self.dirty.contains_key(&at)) {
                Some(base) => {
                    let found = source.tree(object, base).next(Seek::Hole, BlockId(at))?;
                    found.map_or(base.max_block.0.saturating_add(1), |block| block.0)
                }
                None => at + 1,
            };
            let dirty = self.dirty.range(at + 1..).next().map_or(u64::MAX, |(block, _)| *block);
            let freed = self.freed.next_start(at + 1).unwrap_or(u64::MAX);
            at = run.min(dirty).min(freed).max(at + 1);
        }
        Ok(None)
    }
}

/// Frees the space of a block to which no reference was written. A block that was written in place of the base is
/// freed with the base.
pub(super) fn give_back(dirty: &Dirty, writer: &dyn WriteBlock) {
    match dirty {
        Dirty::Written(written) if !written.in_place => writer.discard(&written.pointer),
        _ => {}
    }
}

/// Returns a block of zeros.
pub(super) fn zeros(bytes: u64) -> Block {
    std::iter::repeat_n(0, bytes.min(BLOCK_BYTES_MAX) as usize).collect()
}
