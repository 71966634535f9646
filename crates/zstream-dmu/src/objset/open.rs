//! Object sets that are open for reading.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use zstream_format::object_type::{ObjectType, ObjsetType};

use super::{
    GROUP_USED_OBJECT, OBJECTS_MAX, ObjsetPhys, PROJECT_USED_OBJECT, USER_USED_OBJECT, allocated_slots,
    read_meta,
};
use crate::blkptr::BlockPointer;
use crate::block::{Block, ReadBlock, StoredBlock};
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::lock::lock;
use crate::object_set::{ObjectInfo, ObjectSet, pieces};
use crate::tree::{Seek, Tree};

/// The limit for the bytes of blocks that one read has in flight.
const READ_WINDOW_BYTES: u64 = 32 << 20;

/// The number of parsed dnodes that an open set caches.
const DNODES_KEPT: usize = 512;

/// A read-only object set of a pool, as of its root pointer.
pub struct Objset {
    reader: Arc<dyn ReadBlock>,
    id: u64,
    root: BlockPointer,
    phys: ObjsetPhys,
    locked: bool,
    dnodes: Mutex<HashMap<ObjectId, Arc<Dnode>>>,
    /// The last used block of dnodes: objects are mostly read in order.
    last: Mutex<Option<(BlockId, Block)>>,
}

impl Objset {
    /// Opens the set whose objset block is at `root`. `id` is the object of the dataset in the MOS, 0 for the MOS
    /// itself.
    ///
    /// # Errors
    ///
    /// Fails if the objset block cannot be read or is corrupt. Returns [`Fault::Hole`] if the set was never written.
    pub fn open(reader: Arc<dyn ReadBlock>, id: u64, root: BlockPointer) -> Result<Self> {
        Self::open_as(reader, id, root, false)
    }

    /// Opens an encrypted set without its key. The objset block and the blocks of dnodes are read in stored form, with
    /// only their checksums verified, and encrypted content stays encrypted. Bonus buffers of encrypted types and data
    /// are not accessible, but the shape of every object is.
    ///
    /// # Errors
    ///
    /// Fails as [`Objset::open`].
    pub fn open_locked(reader: Arc<dyn ReadBlock>, id: u64, root: BlockPointer) -> Result<Self> {
        Self::open_as(reader, id, root, true)
    }

    fn open_as(reader: Arc<dyn ReadBlock>, id: u64, root: BlockPointer, locked: bool) -> Result<Self> {
        let at = Bookmark::root(id);
        let place = |error: Error| error.at_bookmark(at);
        if root.is_hole() {
            return Err(place(Fault::Hole.into()));
        }
        if root.object_type() != ObjectType::OBJSET || root.level() != 0 {
            let detail = format!(
                "pointer is of level {} and type {}, expected level 0 of an objset",
                root.level(),
                root.object_type()
            );
            return Err(place(Error::corrupt("block pointer", detail)));
        }
        let block = read_meta(&*reader, &root, at, locked)?;
        let phys = ObjsetPhys::parse(&block).map_err(place)?;
        Ok(Self { reader, id, root, phys, locked, dnodes: Mutex::default(), last: Mutex::default() })
    }

    /// Creates a set that was just written, whose objset block does not need to be read.
    pub(super) fn written(
        reader: Arc<dyn ReadBlock>,
        id: u64,
        root: BlockPointer,
        phys: ObjsetPhys,
        locked: bool,
    ) -> Self {
        Self { reader, id, root, phys, locked, dnodes: Mutex::default(), last: Mutex::default() }
    }

    /// The pointer to the objset block.
    #[must_use]
    pub fn root(&self) -> &BlockPointer {
        &self.root
    }

    /// The objset block.
    #[must_use]
    pub fn phys(&self) -> &ObjsetPhys {
        &self.phys
    }

    /// The reader of the set's blocks.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn ReadBlock> {
        &self.reader
    }

    /// Returns whether the set was opened without its key.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Returns whether the set has an intent log that was not replayed.
    #[must_use]
    pub fn has_intent_log(&self) -> bool {
        self.phys.zil.has_log()
    }

    /// The number of allocated objects, which is the fill count of the root pointer.
    #[must_use]
    pub fn object_count(&self) -> u64 {
        self.root.fill()
    }

    /// Returns the block tree of `dnode`, which is that of `object`.
    #[must_use]
    pub fn tree<'a>(&'a self, object: ObjectId, dnode: &'a Dnode) -> Tree<'a> {
        Tree::new(&*self.reader, dnode, self.id, object)
    }

    /// Returns the dnode of `object`. That of object 0 is the meta-dnode.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::NoObject`] if the object does not exist, and [`Fault::Corrupt`] if its dnode is invalid.
    pub fn dnode(&self, object: ObjectId) -> Result<Arc<Dnode>> {
        let missing = || Error::from(Fault::NoObject(object));
        match object {
            ObjectId(0) => return Ok(Arc::clone(&self.phys.meta_dnode)),
            USER_USED_OBJECT => return self.phys.user_used.clone().ok_or_else(missing),
            GROUP_USED_OBJECT => return self.phys.group_used.clone().ok_or_else(missing),
            PROJECT_USED_OBJECT => return self.phys.project_used.clone().ok_or_else(missing),
            _ if object.0 >= OBJECTS_MAX => return Err(missing()),
            _ => {}
        }
        if let Some(dnode) = lock(&self.dnodes).get(&object) {
            return Ok(Arc::clone(dnode));
        }
        let slots = self.slots_per_block();
        let (block_id, slot) = (BlockId(object.0 / slots), (object.0 % slots) as usize);
        let Some(block) = self.dnode_block(block_id)? else { return Err(missing()) };
        if !allocated_slots(&block).any(|start| start == slot) {
            return Err(missing());
        }
        let dnode = Dnode::parse(&block[slot * DNODE_SLOT_BYTES..])
            .map_err(|error| error.at_bookmark(self.dnode_bookmark(object)))?
            .ok_or_else(missing)?;
        let dnode = Arc::new(dnode);
        let mut kept = lock(&self.dnodes);
        if kept.len() >= DNODES_KEPT {
            kept.clear();
        }
        kept.insert(object, Arc::clone(&dnode));
        Ok(dnode)
    }

    /// Returns the pointer to a block of the set, including indirect blocks, spill blocks, blocks of dnodes (object 0)
    /// and the objset block. Returns a hole if the block does not exist.
    ///
    /// # Errors
    ///
    /// Fails as [`Objset::dnode`], and if an indirect block cannot be read.
    pub fn pointer(&self, at: Bookmark) -> Result<BlockPointer> {
        let Ok(level) = u8::try_from(at.level) else {
            return Ok(if at.level == Bookmark::LEVEL_ROOT { self.root } else { BlockPointer::EMPTY });
        };
        let dnode = self.dnode(at.object)?;
        if level == 0 && at.block == Bookmark::SPILL {
            return Ok(dnode.spill().copied().unwrap_or(BlockPointer::EMPTY));
        }
        self.tree(at.object, &dnode).pointer(level, at.block)
    }

    /// Returns a data block of an encrypted set in the form in which a raw receive stores it, or `None` for holes and
    /// after the end of the object.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be read, and if it is neither encrypted nor authenticated.
    pub fn stored_block(&self, object: ObjectId, block: BlockId) -> Result<Option<StoredBlock>> {
        let dnode = self.dnode(object)?;
        let Some((pointer, at)) = self.data_pointer(object, &dnode, block)? else { return Ok(None) };
        StoredBlock::read(&*self.reader, &pointer, at).map(Some)
    }

    /// Returns the pointer to a data block and the place of the block, or `None` for holes and after the end of the
    /// object.
    fn data_pointer(
        &self,
        object: ObjectId,
        dnode: &Dnode,
        block: BlockId,
    ) -> Result<Option<(BlockPointer, Bookmark)>> {
        if block > dnode.max_block {
            return Ok(None);
        }
        let pointer = self.pointers(object, dnode, block, 1)?[0];
        Ok((!pointer.is_hole()).then(|| (pointer, self.tree(object, dnode).bookmark(0, block))))
    }

    fn dnode_bookmark(&self, object: ObjectId) -> Bookmark {
        Bookmark { objset: self.id, object, level: Bookmark::LEVEL_DNODE, block: BlockId(0) }
    }

    fn slots_per_block(&self) -> u64 {
        self.phys.meta_dnode.block_bytes() / DNODE_SLOT_BYTES as u64
    }

    /// Reads a block of dnodes, or returns `None` for a hole.
    fn dnode_block(&self, block: BlockId) -> Result<Option<Block>> {
        let meta = &self.phys.meta_dnode;
        if block > meta.max_block {
            return Ok(None);
        }
        if let Some((kept, content)) = &*lock(&self.last)
            && *kept == block
        {
            return Ok(Some(Arc::clone(content)));
        }
        let tree = self.tree(ObjectId(0), meta);
        let pointer = tree.pointer(0, block)?;
        if pointer.is_hole() {
            return Ok(None);
        }
        tree.check_data(&pointer, block)?;
        let content = read_meta(&*self.reader, &pointer, tree.bookmark(0, block), self.locked)?;
        *lock(&self.last) = Some((block, Arc::clone(&content)));
        Ok(Some(content))
    }

    /// Returns the validated pointers to the data blocks of `object` in the range.
    fn pointers(
        &self,
        object: ObjectId,
        dnode: &Dnode,
        first: BlockId,
        count: usize,
    ) -> Result<Vec<BlockPointer>> {
        let tree = self.tree(object, dnode);
        let pointers = tree.data_pointers(first, count)?;
        for (n, pointer) in (first.0..).zip(&pointers) {
            if !pointer.is_hole() {
                tree.check_data(pointer, BlockId(n))?;
            }
        }
        Ok(pointers)
    }

    /// Validates that `block` has the block size of the object.
    fn checked(&self, dnode: &Dnode, block: Block, at: Bookmark) -> Result<Block> {
        crate::tree::check_len(&block, dnode.block_bytes()).map_err(|error| error.at_bookmark(at))?;
        Ok(block)
    }
}

impl ObjectSet for Objset {
    fn objset_id(&self) -> u64 {
        self.id
    }

    fn objset_type(&self) -> ObjsetType {
        self.phys.objset_type
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        if object.0 == 0 {
            return Err(Fault::NoObject(object).into());
        }
        let dnode = self.dnode(object)?;
        let hidden = self.locked && dnode.bonus_type.is_encrypted() && self.root.uses_crypt();
        Ok(ObjectInfo::of(object, &dnode, hidden))
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        let slots = self.slots_per_block();
        let meta = &self.phys.meta_dnode;
        let tree = self.tree(ObjectId(0), meta);
        let mut from = from.0.max(1);
        while from < OBJECTS_MAX {
            let Some(block_id) = tree.next(Seek::Data, BlockId(from / slots))? else { break };
            let Some(first) = block_id.0.checked_mul(slots) else { break };
            let Some(block) = self.dnode_block(block_id)? else { break };
            let found =
                allocated_slots(&block).map(|slot| first + slot as u64).find(|&object| object >= from);
            if let Some(object) = found {
                return Ok((object < OBJECTS_MAX).then_some(ObjectId(object)));
            }
            from = first + slots;
        }
        Ok(None)
    }

    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>> {
        let dnode = self.dnode(object)?;
        let Some((pointer, at)) = self.data_pointer(object, &dnode, block)? else { return Ok(None) };
        let content = self.reader.read_block(&pointer, at)?;
        self.checked(&dnode, content, at).map(Some)
    }

    fn read(&self, object: ObjectId, offset: u64, out: &mut [u8]) -> Result<()> {
        let dnode = self.dnode(object)?;
        let block_bytes = dnode.block_bytes();
        let end = dnode.max_block.0.saturating_add(1).saturating_mul(block_bytes);
        let inside = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (out, beyond) = out.split_at_mut(inside);
        beyond.fill(0);
        let window = (READ_WINDOW_BYTES / block_bytes).max(1) as usize;
        let mut pieces = pieces(block_bytes, offset, out).into_iter().peekable();
        while let Some(first) = pieces.peek().map(|piece| piece.block) {
            let batch: Vec<_> = pieces.by_ref().take(window).collect();
            let pointers = self.pointers(object, &dnode, first, batch.len())?;
            let tree = self.tree(object, &dnode);
            let wanted: Vec<_> = batch
                .iter()
                .zip(&pointers)
                .filter(|(_, pointer)| !pointer.is_hole())
                .map(|(piece, pointer)| (*pointer, tree.bookmark(0, piece.block)))
                .collect();
            let mut blocks = self.reader.read_blocks(&wanted).into_iter();
            for (piece, pointer) in batch.into_iter().zip(&pointers) {
                if pointer.is_hole() {
                    piece.out.fill(0);
                    continue;
                }
                let at = tree.bookmark(0, piece.block);
                let block = blocks.next().unwrap_or_else(|| Err(Fault::Hole.into()))?;
                piece.fill(&self.checked(&dnode, block, at)?)?;
            }
        }
        Ok(())
    }

    fn next_data(&self, object: ObjectId, offset: u64) -> Result<Option<u64>> {
        let dnode = self.dnode(object)?;
        let size = dnode.block_bytes();
        let found = self.tree(object, &dnode).next(Seek::Data, BlockId(offset / size))?;
        Ok(found.and_then(|block| block.0.checked_mul(size)).map(|start| start.max(offset)))
    }

    fn next_hole(&self, object: ObjectId, offset: u64) -> Result<u64> {
        let dnode = self.dnode(object)?;
        let size = dnode.block_bytes();
        let end = dnode.max_block.0.saturating_add(1).saturating_mul(size);
        let found = self.tree(object, &dnode).next(Seek::Hole, BlockId(offset / size))?;
        Ok(found.map_or(end, |block| block.0.saturating_mul(size)).max(offset))
    }

    fn spill(&self, object: ObjectId) -> Result<Option<Block>> {
        let dnode = self.dnode(object)?;
        let Some(pointer) = dnode.spill().filter(|pointer| !pointer.is_hole()) else { return Ok(None) };
        let at = Bookmark { objset: self.id, object, level: 0, block: Bookmark::SPILL };
        if pointer.level() != 0 {
            let detail = format!("level of a spill block is {}, expected 0", pointer.level());
            return Err(Error::corrupt("block pointer", detail).at_bookmark(at));
        }
        self.reader.read_block(pointer, at).map(Some)
    }
}
