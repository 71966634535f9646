//! The tree of block pointers under a dnode.
//!
//! A pointer at level L covers `e^L` data blocks, if an indirect block has `e` pointers. The pointers of the dnode are
//! the top of the tree, at level `levels - 1`. A hole at any level represents all blocks below it.
//!
//! The level decreases with every step down, and each block must have the level and the size that its parent expects.
//! So a walk ends whatever the pointers are.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blkptr::{BLOCK_POINTER_BYTES, BlockKind, BlockPointer};
use crate::block::{Block, ReadBlock};
use crate::dnode::Dnode;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};

/// The target of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// A block with content.
    Data,
    /// A hole.
    Hole,
}

/// The tree of one object.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    reader: &'a dyn ReadBlock,
    dnode: &'a Dnode,
    objset: u64,
    object: ObjectId,
}

impl<'a> Tree<'a> {
    /// Returns the tree under `dnode`, which is that of `object` in `objset`.
    #[must_use]
    pub fn new(reader: &'a dyn ReadBlock, dnode: &'a Dnode, objset: u64, object: ObjectId) -> Self {
        Self { reader, dnode, objset, object }
    }

    /// Returns the bookmark of a block of this object.
    #[must_use]
    pub fn bookmark(&self, level: u8, block: BlockId) -> Bookmark {
        Bookmark { objset: self.objset, object: self.object, level: level as i8, block }
    }

    /// Returns the pointer of `block` at `level`. Under a hole it is the pointer of that hole, whose level is higher.
    /// Outside the tree it is [`BlockPointer::EMPTY`].
    ///
    /// # Errors
    ///
    /// Fails if an indirect block on the path cannot be read or differs from its parent's description.
    pub fn pointer(&self, level: u8, block: BlockId) -> Result<BlockPointer> {
        let top = self.dnode.levels - 1;
        if level > top {
            return Ok(BlockPointer::EMPTY);
        }
        let step = self.dnode.pointers_per_block_shift();
        let above = |depth: u8| shift_right(block.0, u32::from(depth - level) * step);
        let Some(mut pointer) =
            usize::try_from(above(top)).ok().and_then(|n| self.dnode.pointers().get(n)).copied()
        else {
            return Ok(BlockPointer::EMPTY);
        };
        for depth in (level + 1..=top).rev() {
            if pointer.is_hole() {
                break;
            }
            let indirect = self.indirect(&pointer, depth, BlockId(above(depth)))?;
            pointer = child(&indirect, (above(depth - 1) & self.index_mask()) as usize);
        }
        Ok(pointer)
    }

    /// Returns the pointers of `count` data blocks, starting at `first`. Blocks under a hole or outside the tree are
    /// holes.
    ///
    /// # Errors
    ///
    /// Fails as [`Tree::pointer`].
    pub fn data_pointers(&self, first: BlockId, count: usize) -> Result<Vec<BlockPointer>> {
        let mut pointers = Vec::with_capacity(count);
        while pointers.len() < count {
            let Some(block) = first.0.checked_add(pointers.len() as u64) else {
                pointers.resize(count, BlockPointer::EMPTY);
                break;
            };
            let left = count - pointers.len();
            if self.dnode.levels == 1 {
                pointers.push(self.pointer(0, BlockId(block))?);
                continue;
            }
            let index = (block & self.index_mask()) as usize;
            let here = left.min(self.index_mask() as usize + 1 - index);
            let parent_id = BlockId(block >> self.dnode.pointers_per_block_shift());
            let parent = self.pointer(1, parent_id)?;
            if parent.is_hole() {
                pointers.resize(pointers.len() + here, parent);
            } else {
                let indirect = self.indirect(&parent, 1, parent_id)?;
                pointers.extend((index..index + here).map(|n| child(&indirect, n)));
            }
        }
        Ok(pointers)
    }

    /// Returns the first data block at or after `from`, up to the last of the object, that has content or is a hole.
    ///
    /// # Errors
    ///
    /// Fails as [`Tree::pointer`].
    pub fn next(&self, seek: Seek, from: BlockId) -> Result<Option<BlockId>> {
        let max = self.dnode.max_block.0;
        let top = self.dnode.levels - 1;
        for (n, pointer) in (0..).zip(self.dnode.pointers()) {
            if let Some(found) = self.search(seek, pointer, top, n, from.0)? {
                return Ok((found <= max).then_some(BlockId(found)));
            }
        }
        // The rest of the object after the last pointer is a hole.
        let span = u32::from(top) * self.dnode.pointers_per_block_shift();
        let end = shift_left(self.dnode.pointers().len() as u64, span);
        let beyond = from.0.max(end.unwrap_or(u64::MAX));
        Ok((seek == Seek::Hole && end.is_some() && beyond <= max).then_some(BlockId(beyond)))
    }

    /// Searches under a pointer, which covers the blocks `id << span ..`, for a block at or after `from`.
    fn search(
        &self,
        seek: Seek,
        pointer: &BlockPointer,
        level: u8,
        id: u64,
        from: u64,
    ) -> Result<Option<u64>> {
        let step = self.dnode.pointers_per_block_shift();
        let span = u32::from(level) * step;
        // No object has block numbers that do not fit into 64 bits.
        let Some(start) = shift_left(id, span) else { return Ok(None) };
        if shift_right(from, span) > id {
            return Ok(None);
        }
        if pointer.is_hole() {
            return Ok((seek == Seek::Hole).then_some(start.max(from)));
        }
        if level == 0 {
            return Ok((seek == Seek::Data).then_some(start));
        }
        // The fill is the number of data blocks, and excludes subtrees without a match. The fill of the meta-dnode is
        // the number of dnodes.
        let counts_blocks = self.dnode.object_type != ObjectType::DNODE;
        let fill = pointer.fill();
        let futile = match seek {
            Seek::Data => fill == 0,
            Seek::Hole => counts_blocks && shift_left(1, span) == Some(fill),
        };
        if futile {
            return Ok(None);
        }
        let indirect = self.indirect(pointer, level, BlockId(id))?;
        let first_child = (id << step).max(shift_right(from, span - step));
        for child_id in first_child..=(id << step | self.index_mask()) {
            let pointer = child(&indirect, (child_id & self.index_mask()) as usize);
            if let Some(found) = self.search(seek, &pointer, level - 1, child_id, from)? {
                return Ok(Some(found));
            }
        }
        // The subtree contradicts its fill. This must be an error: otherwise a few blocks with many references would
        // cause an endless search.
        if from <= start && (seek == Seek::Data || counts_blocks) {
            let wanted = if seek == Seek::Data { "data block" } else { "hole" };
            return Err(Error::corrupt(
                "indirect block",
                format!("fill is {fill}, but there is no {wanted} below"),
            )
            .at_bookmark(self.bookmark(level, BlockId(id))));
        }
        Ok(None)
    }

    /// Reads the indirect block of `pointer`.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be read, and if its level or size is not that of an indirect block at this position.
    pub(crate) fn indirect(&self, pointer: &BlockPointer, level: u8, block: BlockId) -> Result<Block> {
        let at = self.bookmark(level, block);
        check_indirect(self.dnode, pointer, level).map_err(|error| error.at_bookmark(at))?;
        let indirect = self.reader.read_block(pointer, at)?;
        check_len(&indirect, self.dnode.indirect_bytes()).map_err(|error| error.at_bookmark(at))?;
        Ok(indirect)
    }

    /// Validates that a pointer to a data block agrees with the dnode.
    ///
    /// # Errors
    ///
    /// Fails if the level or size of the pointer is not that of a data block of this object.
    pub fn check_data(&self, pointer: &BlockPointer, block: BlockId) -> Result<()> {
        let (level, size) = (pointer.level(), pointer.lsize());
        let expected = self.dnode.block_bytes();
        if level != 0 || size != expected {
            return Err(Error::corrupt(
                "block pointer",
                format!("level is {level} and size {size} bytes, expected level 0 and {expected} bytes"),
            )
            .at_bookmark(self.bookmark(0, block)));
        }
        Ok(())
    }

    fn index_mask(&self) -> u64 {
        (1 << self.dnode.pointers_per_block_shift()) - 1
    }
}

/// Validates a pointer to an indirect block of the object before it is read.
pub(crate) fn check_indirect(dnode: &Dnode, pointer: &BlockPointer, level: u8) -> Result<()> {
    let expected = dnode.indirect_bytes();
    if pointer.level() != level || pointer.lsize() != expected {
        return Err(Error::corrupt(
            "block pointer",
            format!(
                "level is {} and size {} bytes, expected an indirect block of level {level} and {expected} bytes",
                pointer.level(),
                pointer.lsize()
            ),
        ));
    }
    if pointer.kind() == BlockKind::Embedded {
        return Err(Error::corrupt("block pointer", "indirect block is embedded"));
    }
    Ok(())
}

/// Validates the length of a block from a reader.
pub(crate) fn check_len(block: &[u8], expected: u64) -> Result<()> {
    if block.len() as u64 != expected {
        return Err(Error::corrupt("block", format!("size is {} bytes, expected {expected}", block.len())));
    }
    Ok(())
}

/// Returns the pointer at `index` of an indirect block, whose length must be validated.
pub(crate) fn child(indirect: &[u8], index: usize) -> BlockPointer {
    BlockPointer::parse_at(indirect, index * BLOCK_POINTER_BYTES, ByteOrder::Little)
        .expect("an index below the number of pointers in the block")
}

/// Returns `value << shift`, or `None` if bits would be lost.
pub(crate) fn shift_left(value: u64, shift: u32) -> Option<u64> {
    if value == 0 {
        return Some(0);
    }
    (shift <= value.leading_zeros()).then(|| value << shift)
}

/// Returns `value >> shift` for any shift.
pub(crate) fn shift_right(value: u64, shift: u32) -> u64 {
    value.checked_shr(shift).unwrap_or(0)
}
