//! The tree of block pointers under a dnode.
//!
//! A pointer at level L covers `e^L` data blocks, where an indirect block holds `e` pointers. The
//! dnode's pointers are the tree's top, at level `levels - 1`. A hole at any level stands for every
//! block below it.
//!
//! Levels strictly fall on the way down and each block must say the level and size that its parent
//! expects, so a walk ends whatever the pointers say.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blkptr::{BLOCK_POINTER_BYTES, BlockKind, BlockPointer};
use crate::block::{Block, ReadBlock};
use crate::dnode::Dnode;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};

/// What a search looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// A block that has content.
    Data,
    /// A block that has none.
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
    /// The tree under `dnode`, which is that of `object` in `objset`.
    #[must_use]
    pub fn new(reader: &'a dyn ReadBlock, dnode: &'a Dnode, objset: u64, object: ObjectId) -> Self {
        Self { reader, dnode, objset, object }
    }

    /// The bookmark of a block of this object.
    #[must_use]
    pub fn bookmark(&self, level: u8, block: BlockId) -> Bookmark {
        Bookmark { objset: self.objset, object: self.object, level: level as i8, block }
    }

    /// The pointer of `block` at `level`. Under a hole it is that hole's pointer, which then has a
    /// higher level; outside of the tree it is [`BlockPointer::EMPTY`].
    ///
    /// # Errors
    ///
    /// An indirect block on the way cannot be read or is not what its parent says.
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

    /// The pointers of `count` data blocks from `first` on. Blocks under a hole or outside of the tree
    /// get a hole.
    ///
    /// # Errors
    ///
    /// As for [`Tree::pointer`].
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

    /// The first data block from `from` on, up to the object's last, that has (or has not) content.
    ///
    /// # Errors
    ///
    /// As for [`Tree::pointer`].
    pub fn next(&self, seek: Seek, from: BlockId) -> Result<Option<BlockId>> {
        let max = self.dnode.max_block.0;
        let top = self.dnode.levels - 1;
        for (n, pointer) in (0..).zip(self.dnode.pointers()) {
            if let Some(found) = self.search(seek, pointer, top, n, from.0)? {
                return Ok((found <= max).then_some(BlockId(found)));
            }
        }
        // Beyond the last pointer there is nothing.
        let span = u32::from(top) * self.dnode.pointers_per_block_shift();
        let end = shift_left(self.dnode.pointers().len() as u64, span);
        let beyond = from.0.max(end.unwrap_or(u64::MAX));
        Ok((seek == Seek::Hole && end.is_some() && beyond <= max).then_some(BlockId(beyond)))
    }

    /// Looks under one pointer, which covers the blocks `id << span ..`, for one at or after `from`.
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
        // A block number that does not fit into 64 bits is in no object.
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
        // Fill counts blocks, so that it tells where a search cannot succeed. Those of the meta-dnode
        // count dnodes.
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
        // A whole subtree without what its fill promises: were that let pass, a few blocks pointed at
        // again and again would make a search that never ends.
        if from <= start && (seek == Seek::Data || counts_blocks) {
            let wanted = if seek == Seek::Data { "data block" } else { "hole" };
            return Err(Error::corrupt(
                "indirect block",
                format!("fill count {fill}, but no {wanted} below"),
            )
            .at_bookmark(self.bookmark(level, BlockId(id))));
        }
        Ok(None)
    }

    /// The content of the indirect block that `pointer` points at.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its level or size is not that of an indirect block at this place.
    pub fn indirect(&self, pointer: &BlockPointer, level: u8, block: BlockId) -> Result<Block> {
        let at = self.bookmark(level, block);
        check_indirect(self.dnode, pointer, level).map_err(|error| error.at_bookmark(at))?;
        let indirect = self.reader.read_block(pointer, at)?;
        check_len(&indirect, self.dnode.indirect_bytes()).map_err(|error| error.at_bookmark(at))?;
        Ok(indirect)
    }

    /// Checks that a pointer to a data block agrees with the dnode.
    ///
    /// # Errors
    ///
    /// The pointer's level or size is not that of a data block of this object.
    pub fn check_data(&self, pointer: &BlockPointer, block: BlockId) -> Result<()> {
        let (level, size) = (pointer.level(), pointer.lsize());
        let expected = self.dnode.block_bytes();
        if level != 0 || size != expected {
            return Err(Error::corrupt(
                "block pointer",
                format!("level {level} and {size} bytes, expected level 0 and the object's {expected}"),
            )
            .at_bookmark(self.bookmark(0, block)));
        }
        Ok(())
    }

    fn index_mask(&self) -> u64 {
        (1 << self.dnode.pointers_per_block_shift()) - 1
    }
}

/// Checks that `pointer` is one to an indirect block of the object, before it is read.
pub(crate) fn check_indirect(dnode: &Dnode, pointer: &BlockPointer, level: u8) -> Result<()> {
    let expected = dnode.indirect_bytes();
    if pointer.level() != level || pointer.lsize() != expected {
        return Err(Error::corrupt(
            "block pointer",
            format!(
                "level {} and {} bytes, expected an indirect block of level {level} and {expected} bytes",
                pointer.level(),
                pointer.lsize()
            ),
        ));
    }
    if pointer.kind() == BlockKind::Embedded {
        return Err(Error::corrupt("block pointer", "an indirect block is embedded"));
    }
    Ok(())
}

/// Checks that a reader gave as many bytes as the structure needs.
pub(crate) fn check_len(block: &[u8], expected: u64) -> Result<()> {
    if block.len() as u64 != expected {
        return Err(Error::corrupt("block", format!("{} bytes, expected {expected}", block.len())));
    }
    Ok(())
}

/// The pointer at `index` of an indirect block, whose length was checked.
pub(crate) fn child(indirect: &[u8], index: usize) -> BlockPointer {
    BlockPointer::parse_at(indirect, index * BLOCK_POINTER_BYTES, ByteOrder::Little)
        .expect("an index below the number of pointers in the block")
}

/// `value << shift`, or `None` where bits would be lost.
pub(crate) fn shift_left(value: u64, shift: u32) -> Option<u64> {
    if value == 0 {
        return Some(0);
    }
    (shift <= value.leading_zeros()).then(|| value << shift)
}

/// `value >> shift` for any shift.
pub(crate) fn shift_right(value: u64, shift: u32) -> u64 {
    value.checked_shr(shift).unwrap_or(0)
}
