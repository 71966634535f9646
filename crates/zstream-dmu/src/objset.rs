//! Object sets (`objset_phys_t`): a dataset's objects, or the pool's own (the MOS).
//!
//! ```text
//!     0  meta-dnode: its data is an array of dnodes, object n in slot n   512
//!   512  intent log header                                                192
//!   704  type u64   flags u64   portable MAC [32]   local MAC [32]
//!   784  padding, end of the first version at 1024
//!  1024  dnode of space used by user   512    (object -1)
//!  1536  by group                      512    (object -2), end of the second version at 2048
//!  2048  by project                    512    (object -3)
//!  2560  padding up to 4096
//! ```
//!
//! A missing tail reads as zero.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bitflags::bitflags;
use zstream_format::object_type::{ObjectType, ObjsetType, SwapClass};
use zstream_format::order::ByteOrder;

use crate::blkptr::{BLOCK_POINTER_BYTES, BlockPointer, CryptKind};
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};
use crate::object_set::{ObjectInfo, ObjectSet, pieces};
use crate::tree::{Seek, Tree};
use crate::zio::{Block, ReadBlock};

/// One above the highest object number (`DN_MAX_OBJECT`).
pub const OBJECTS_MAX: u64 = 1 << 48;

/// The object in which a set counts its users' space (`DMU_USERUSED_OBJECT`).
pub const USER_USED_OBJECT: ObjectId = ObjectId(u64::MAX);
/// The object in which a set counts its groups' space (`DMU_GROUPUSED_OBJECT`).
pub const GROUP_USED_OBJECT: ObjectId = ObjectId(u64::MAX - 1);
/// The object in which a set counts its projects' space (`DMU_PROJECTUSED_OBJECT`).
pub const PROJECT_USED_OBJECT: ObjectId = ObjectId(u64::MAX - 2);

/// Sizes that an objset block may have.
const OBJSET_BYTES: [usize; 3] = [1024, 2048, 4096];

/// Bytes of blocks that one read has in flight.
const READ_WINDOW_BYTES: u64 = 32 << 20;

/// Parsed dnodes that an open set remembers.
const DNODES_KEPT: usize = 512;

bitflags! {
    /// Flags of an object set (`OBJSET_FLAG_*`). Unknown ones are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ObjsetFlags: u64 {
        /// The space used by users and groups is counted.
        const USER_ACCOUNTING_COMPLETE = 1;
        /// The objects of users and groups are counted.
        const USER_OBJECT_ACCOUNTING_COMPLETE = 2;
        /// The space and objects of projects are counted.
        const PROJECT_QUOTA_COMPLETE = 4;
        const _ = !0;
    }
}

/// The header of a dataset's intent log (`zil_header_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZilHeader {
    /// Transaction group in which the log's blocks were claimed, 0 before that.
    pub claim_txg: Txg,
    /// Highest record that was replayed.
    pub replay_seq: u64,
    /// First block of the log; a hole when there is none.
    pub log: BlockPointer,
    /// Highest claimed block.
    pub claim_block_seq: u64,
    /// Flags: 1 replay needed, 2 the next field is valid.
    pub flags: u64,
    /// Highest claimed record.
    pub claim_record_seq: u64,
}

impl ZilHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |offset| bytes.get(offset..offset + 8).map(|bytes| ByteOrder::Little.u64(bytes));
        Some(Self {
            claim_txg: Txg(word(0)?),
            replay_seq: word(8)?,
            log: BlockPointer::parse_at(bytes, 16, ByteOrder::Little)?,
            claim_block_seq: word(16 + BLOCK_POINTER_BYTES)?,
            flags: word(24 + BLOCK_POINTER_BYTES)?,
            claim_record_seq: word(32 + BLOCK_POINTER_BYTES)?,
        })
    }

    /// Whether there is a log whose records may be newer than the dataset's blocks. In a snapshot the
    /// header means nothing.
    #[must_use]
    pub fn has_log(&self) -> bool {
        !self.log.is_hole()
    }
}

/// The head of an object set (`objset_phys_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjsetPhys {
    /// The dnode whose data is all other dnodes.
    pub meta_dnode: Arc<Dnode>,
    /// The intent log.
    pub zil: ZilHeader,
    /// What the set is for.
    pub objset_type: ObjsetType,
    /// Flags.
    pub flags: ObjsetFlags,
    /// MAC over what a raw send carries, zero without encryption.
    pub portable_mac: [u8; 32],
    /// MAC over what stays in this pool, zero without encryption.
    pub local_mac: [u8; 32],
    /// Dnode of [`USER_USED_OBJECT`].
    pub user_used: Option<Arc<Dnode>>,
    /// Dnode of [`GROUP_USED_OBJECT`].
    pub group_used: Option<Arc<Dnode>>,
    /// Dnode of [`PROJECT_USED_OBJECT`].
    pub project_used: Option<Arc<Dnode>>,
    /// Size of the block, in bytes: 1024, 2048 or 4096 by the pool's version.
    pub phys_bytes: usize,
}

impl ObjsetPhys {
    /// Reads an objset block, little-endian.
    ///
    /// # Errors
    ///
    /// The block has another size than the three that exist, there is no meta-dnode, or a dnode is bad.
    pub fn parse(block: &[u8]) -> Result<Self> {
        if !OBJSET_BYTES.contains(&block.len()) {
            return Err(bad(format!("{} bytes, expected one of {OBJSET_BYTES:?}", block.len())));
        }
        let dnode = |offset: usize| -> Result<Option<Arc<Dnode>>> {
            match block.get(offset..offset + DNODE_SLOT_BYTES) {
                Some(bytes) => Ok(Dnode::parse(bytes)?.map(Arc::new)),
                None => Ok(None),
            }
        };
        let word = |offset: usize| ByteOrder::Little.u64(&block[offset..]);
        let mac = |offset: usize| block[offset..].first_chunk().copied().unwrap_or_default();
        let meta_dnode = dnode(0)?.ok_or_else(|| bad("no meta-dnode".into()))?;
        if meta_dnode.object_type != ObjectType::DNODE {
            return Err(bad(format!("meta-dnode of type {}", meta_dnode.object_type)));
        }
        let objset_type = u32::try_from(word(704)).map_err(|_| bad(format!("type {:#x}", word(704))))?;
        Ok(Self {
            meta_dnode,
            zil: ZilHeader::parse(&block[512..]).ok_or_else(|| bad("no intent log header".into()))?,
            objset_type: ObjsetType(objset_type),
            flags: ObjsetFlags::from_bits_retain(word(712)),
            portable_mac: mac(720),
            local_mac: mac(752),
            user_used: dnode(1024)?,
            group_used: dnode(1536)?,
            project_used: dnode(2048)?,
            phys_bytes: block.len(),
        })
    }
}

fn bad(detail: String) -> Error {
    Error::corrupt("objset", detail)
}

/// An object set of a pool, open for reading as it stood when its root pointer was read.
pub struct Objset {
    reader: Arc<dyn ReadBlock>,
    id: u64,
    root: BlockPointer,
    phys: ObjsetPhys,
    locked: bool,
    dnodes: Mutex<HashMap<ObjectId, Arc<Dnode>>>,
}

impl Objset {
    /// Opens the set whose objset block `root` points at. `id` is the dataset's object number in the
    /// MOS, 0 for the MOS itself.
    ///
    /// # Errors
    ///
    /// The objset block cannot be read or is bad; [`Fault::Hole`] when the set was never written.
    pub fn open(reader: Arc<dyn ReadBlock>, id: u64, root: BlockPointer) -> Result<Self> {
        Self::open_as(reader, id, root, false)
    }

    /// Opens an encrypted set without its key: the objset block and the blocks of dnodes are taken as
    /// stored, unverified but for their checksum, and what is encrypted stays so. Bonus buffers of
    /// encrypted types, and data, are then not to be had, but the shape of every object is.
    ///
    /// # Errors
    ///
    /// As for [`Objset::open`].
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
                "level {} of type {}, expected level 0 of an objset",
                root.level(),
                root.object_type()
            );
            return Err(place(Error::corrupt("block pointer", detail)));
        }
        let block = read_meta(&*reader, &root, at, locked)?;
        let phys = ObjsetPhys::parse(&block).map_err(place)?;
        Ok(Self { reader, id, root, phys, locked, dnodes: Mutex::new(HashMap::new()) })
    }

    /// The pointer of the objset block.
    #[must_use]
    pub fn root(&self) -> &BlockPointer {
        &self.root
    }

    /// The objset block.
    #[must_use]
    pub fn phys(&self) -> &ObjsetPhys {
        &self.phys
    }

    /// What reads the set's blocks.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn ReadBlock> {
        &self.reader
    }

    /// Whether the set was opened without its key.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Whether an intent log is there whose records were not replayed.
    #[must_use]
    pub fn has_intent_log(&self) -> bool {
        self.phys.zil.has_log()
    }

    /// Number of allocated objects, as counted by the root pointer.
    #[must_use]
    pub fn object_count(&self) -> u64 {
        self.root.fill()
    }

    /// The tree of blocks under `dnode`, which is that of `object`.
    #[must_use]
    pub fn tree<'a>(&'a self, object: ObjectId, dnode: &'a Dnode) -> Tree<'a> {
        Tree::new(&*self.reader, dnode, self.id, object)
    }

    /// The dnode of `object`; that of object 0 is the meta-dnode.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is no such object, [`Fault::Corrupt`] when its dnode is bad.
    pub fn dnode(&self, object: ObjectId) -> Result<Arc<Dnode>> {
        let missing = || Error::not_found("object", object);
        match object {
            ObjectId(0) => return Ok(Arc::clone(&self.phys.meta_dnode)),
            USER_USED_OBJECT => return self.phys.user_used.clone().ok_or_else(missing),
            GROUP_USED_OBJECT => return self.phys.group_used.clone().ok_or_else(missing),
            PROJECT_USED_OBJECT => return self.phys.project_used.clone().ok_or_else(missing),
            _ if object.0 >= OBJECTS_MAX => return Err(missing()),
            _ => {}
        }
        if let Some(dnode) = self.kept().get(&object) {
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
        let mut kept = self.kept();
        if kept.len() >= DNODES_KEPT {
            kept.clear();
        }
        kept.insert(object, Arc::clone(&dnode));
        Ok(dnode)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectId, Arc<Dnode>>> {
        self.dnodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dnode_bookmark(&self, object: ObjectId) -> Bookmark {
        Bookmark { objset: self.id, object, level: Bookmark::LEVEL_DNODE, block: BlockId(0) }
    }

    fn slots_per_block(&self) -> u64 {
        self.phys.meta_dnode.block_bytes() / DNODE_SLOT_BYTES as u64
    }

    /// A block of dnodes, or `None` for a hole.
    fn dnode_block(&self, block: BlockId) -> Result<Option<Block>> {
        let meta = &self.phys.meta_dnode;
        if block > meta.max_block {
            return Ok(None);
        }
        let tree = self.tree(ObjectId(0), meta);
        let pointer = tree.pointer(0, block)?;
        if pointer.is_hole() {
            return Ok(None);
        }
        tree.check_data(&pointer, block)?;
        read_meta(&*self.reader, &pointer, tree.bookmark(0, block), self.locked).map(Some)
    }

    /// Pointers of the data blocks of `object` in the range, checked.
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

    /// Checks that `block` is as long as the object's blocks are.
    fn checked(&self, dnode: &Dnode, block: Block, at: Bookmark) -> Result<Block> {
        crate::tree::check_len(&block, dnode.block_bytes()).map_err(|error| error.at_bookmark(at))?;
        Ok(block)
    }
}

/// Reads a block of dnodes or an objset block: without a key, as it is stored.
pub(crate) fn read_meta(
    reader: &dyn ReadBlock,
    pointer: &BlockPointer,
    at: Bookmark,
    locked: bool,
) -> Result<Block> {
    let block = if locked && pointer.crypt_kind() != CryptKind::Plain {
        // OpenZFS compresses neither of the two in an encrypted set, so that the stored bytes are the logical ones.
        let stored = reader.read_stored(pointer, at)?;
        if pointer.byte_order() == ByteOrder::Big { swapped(pointer, &stored, at)? } else { stored }
    } else {
        reader.read_block(pointer, at)?
    };
    crate::tree::check_len(&block, pointer.lsize()).map_err(|error| error.at_bookmark(at))?;
    Ok(block)
}

fn swapped(pointer: &BlockPointer, stored: &[u8], at: Bookmark) -> Result<Block> {
    let class = pointer.object_type().swap_class().unwrap_or(SwapClass::U8);
    let mut bytes = stored.to_vec();
    zstream_format::byteswap::swap(class, &mut bytes, ByteOrder::Big)
        .map_err(|fault| Error::corrupt("block", fault.to_string()).at_bookmark(at))?;
    Ok(bytes.into())
}

/// Slots up to the next dnode, whose block holds at least one slot.
pub(crate) fn slots_taken(dnode: &[u8]) -> usize {
    1 + if dnode[0] == 0 { 0 } else { usize::from(dnode[12]) }
}

/// The slots of a block of dnodes in which an allocated dnode starts.
pub(crate) fn allocated_slots(block: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let slots = block.len() / DNODE_SLOT_BYTES;
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < slots {
            let slot = next;
            let dnode = &block[slot * DNODE_SLOT_BYTES..];
            next += slots_taken(dnode);
            if dnode[0] != 0 {
                return Some(slot);
            }
        }
        None
    })
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
            return Err(Error::not_found("object", object));
        }
        let dnode = self.dnode(object)?;
        let hidden = self.locked && dnode.bonus_type.is_encrypted() && self.root.uses_crypt();
        Ok(ObjectInfo {
            object,
            object_type: dnode.object_type,
            bonus_type: dnode.bonus_type,
            bonus: (!hidden).then(|| dnode.bonus().into()),
            block_bytes: dnode.block_bytes(),
            indirect_bytes: Some(dnode.indirect_bytes()),
            levels: Some(dnode.levels),
            max_block: dnode.max_block,
            dn_slots: dnode.extra_slots + 1,
            has_spill: dnode.spill().is_some(),
            checksum_type: dnode.checksum_type,
            compression: dnode.compression,
            used_bytes: Some(dnode.used_bytes()),
        })
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
        if block > dnode.max_block {
            return Ok(None);
        }
        let pointer = self.pointers(object, &dnode, block, 1)?[0];
        if pointer.is_hole() {
            return Ok(None);
        }
        let at = self.tree(object, &dnode).bookmark(0, block);
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
            let detail = format!("level {} at a spill block", pointer.level());
            return Err(Error::corrupt("block pointer", detail).at_bookmark(at));
        }
        self.reader.read_block(pointer, at).map(Some)
    }

    fn prefetch(&self, object: ObjectId, offset: u64, length: u64) {
        // What fails here fails again, and is reported, when it is read.
        let Ok(dnode) = self.dnode(object) else { return };
        let size = dnode.block_bytes();
        let first = offset / size;
        let last = dnode.max_block.0.min(offset.saturating_add(length.max(1) - 1) / size);
        if first > last {
            return;
        }
        let count = (last - first + 1).min((READ_WINDOW_BYTES / size).max(1)) as usize;
        let (reader, id) = (Arc::clone(&self.reader), self.id);
        rayon::spawn(move || {
            let tree = Tree::new(&*reader, &dnode, id, object);
            let Ok(pointers) = tree.data_pointers(BlockId(first), count) else { return };
            let wanted: Vec<_> = (first..)
                .zip(pointers)
                .filter(|(_, pointer)| !pointer.is_hole() && !pointer.is_redacted())
                .map(|(n, pointer)| (pointer, tree.bookmark(0, BlockId(n))))
                .collect();
            drop(reader.read_blocks(&wanted));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{Memory, Spec};

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; 512]
    }

    /// Object 5 has blocks 0, 3 and 70 of 100, 8 pointers in each indirect block; 8 takes two slots;
    /// 1000 is alone in its block; 7 has a redacted block and a spill.
    fn sample() -> (Arc<Memory>, Objset) {
        let memory = Memory::new();
        let file = memory.dnode(&Spec {
            levels: 4,
            max_block: 99,
            data: [(0, 1), (3, 3), (70, 7)]
                .into_iter()
                .map(|(id, byte)| (id, memory.data(&block(byte), 4)))
                .collect(),
            ..Spec::file()
        });
        let redacted = memory.dnode(&Spec {
            data: [(0, BlockPointer::redacted(ObjectType::PLAIN_FILE_CONTENTS, 512, Txg(4)))].into(),
            spill: Some(memory.store(&block(0x5b), ObjectType::SA, 0, 4, 1)),
            ..Spec::file()
        });
        // The second slot's bonus looks like a dnode.
        let wide = memory.dnode(&Spec {
            slots: 2,
            bonus_type: ObjectType::SA,
            bonus: vec![19; 800],
            ..Spec::file()
        });
        let last = memory.dnode(&Spec::file());
        let dnodes: BTreeMap<_, _> = [(5, file), (7, redacted), (8, wide), (1000, last)].into();
        let root = memory.objset(&dnodes, &BTreeMap::new());
        let set = Objset::open(memory.clone(), 54, root).unwrap();
        (memory, set)
    }

    const FILE: ObjectId = ObjectId(5);

    #[test]
    fn objects_are_found_in_order_and_slots_inside_of_others_are_none() {
        let (_, set) = sample();
        let mut found = Vec::new();
        let mut from = ObjectId(0);
        while let Some(object) = set.next_object(from).unwrap() {
            found.push(object.0);
            from = ObjectId(object.0 + 1);
        }
        assert_eq!(found, [5, 7, 8, 1000]);
        assert_eq!((set.object_count(), set.objset_type()), (4, ObjsetType::ZFS));
        for absent in [0, 6, 9, 999, 1001, 4096, 1 << 40, 1 << 60, u64::MAX] {
            let error = set.info(ObjectId(absent)).unwrap_err();
            assert!(matches!(error.fault(), Fault::NotFound { .. }), "object {absent}: {error}");
        }
        let wide = set.info(ObjectId(8)).unwrap();
        assert_eq!((wide.dn_slots, wide.bonus().unwrap().len()), (2, 800));
    }

    #[test]
    fn ranges_read_data_holes_and_what_lies_beyond() {
        let (_, set) = sample();
        let mut whole = vec![0xff; 101 * 512];
        set.read(FILE, 0, &mut whole).unwrap();
        let mut expected = vec![0; 101 * 512];
        for (id, byte) in [(0, 1), (3, 3), (70, 7)] {
            expected[id * 512..][..512].fill(byte);
        }
        assert!(whole == expected);
        for (offset, length) in [(0, 1), (511, 2), (1535, 514), (35_839, 600), (50_000, 3000)] {
            let mut part = vec![0xff; length];
            set.read(FILE, offset as u64, &mut part).unwrap();
            let padded: Vec<u8> =
                (offset..offset + length).map(|n| expected.get(n).copied().unwrap_or(0)).collect();
            assert_eq!(part, padded, "{length} bytes at {offset}");
        }
        let mut far = [0xff; 16];
        set.read(FILE, u64::MAX - 8, &mut far).unwrap();
        assert_eq!(far, [0; 16]);
        assert!(set.block(FILE, BlockId(1)).unwrap().is_none());
        assert_eq!(&*set.block(FILE, BlockId(70)).unwrap().unwrap(), &block(7));
    }

    #[test]
    fn data_and_holes_are_found_from_every_block() {
        let (_, set) = sample();
        for from in 0..101_u64 {
            let data = [0, 3, 70].into_iter().find(|&id| id >= from).map(|id| id * 512);
            assert_eq!(set.next_data(FILE, from * 512).unwrap(), data, "data from block {from}");
            let hole = (from..).find(|id| ![0, 3, 70].contains(id)).map(|id| id * 512);
            assert_eq!(Some(set.next_hole(FILE, from * 512).unwrap()), hole, "hole from block {from}");
        }
        assert_eq!(set.next_data(FILE, 3 * 512 + 9).unwrap(), Some(3 * 512 + 9));
        assert_eq!(set.next_data(FILE, u64::MAX).unwrap(), None);
        assert_eq!(set.next_hole(FILE, u64::MAX).unwrap(), u64::MAX);
    }

    #[test]
    fn redacted_content_is_its_own_error_and_spill_is_read() {
        let (_, set) = sample();
        let error = set.read(ObjectId(7), 0, &mut [0; 9]).unwrap_err();
        assert!(matches!(error.fault(), Fault::Redacted), "{error}");
        assert!(set.info(ObjectId(7)).unwrap().has_spill);
        assert_eq!(&*set.spill(ObjectId(7)).unwrap().unwrap(), &block(0x5b));
        assert_eq!(set.spill(FILE).unwrap(), None);
    }

    #[test]
    fn a_range_reads_each_indirect_block_once() {
        let (memory, set) = sample();
        set.info(FILE).unwrap();
        memory.take_reads();
        set.read(FILE, 0, &mut vec![0; 8 * 512]).unwrap();
        let levels: Vec<_> = memory.take_reads().iter().map(|at| at.level).collect();
        assert_eq!(levels, [3, 2, 1, 0, 0]);
    }

    #[test]
    fn pointers_that_disagree_with_the_dnode_are_errors() {
        let memory = Memory::new();
        let level_one = memory.store(&block(1), ObjectType::PLAIN_FILE_CONTENTS, 1, 4, 1);
        let long = memory.data(&[1; 1024], 4);
        let dnodes: BTreeMap<_, _> = [(1, level_one), (2, long)]
            .into_iter()
            .map(|(object, pointer)| {
                (object, memory.dnode(&Spec { data: [(0, pointer)].into(), ..Spec::file() }))
            })
            .chain([(
                // Claims two levels above its data.
                3,
                memory.dnode(&Spec { data: [(0, memory.data(&block(1), 4))].into(), ..Spec::file() }),
            )])
            .map(|(object, mut dnode)| {
                if object == 3 {
                    dnode[2] = 3;
                }
                (object, dnode)
            })
            .collect();
        let set = Objset::open(memory.clone(), 1, memory.objset(&dnodes, &BTreeMap::new())).unwrap();
        for object in 1..=3 {
            let error = set.read(ObjectId(object), 0, &mut [0; 8]).unwrap_err();
            assert!(matches!(error.fault(), Fault::Corrupt { what: "block pointer", .. }), "{error}");
            assert_eq!(error.place().bookmark.map(|at| at.object), Some(ObjectId(object)));
        }
    }

    #[test]
    fn searches_end_where_indirect_blocks_point_at_one_child_again_and_again() {
        let memory = Memory::new();
        let mut pointer = memory.store(&[0; 1024], ObjectType::PLAIN_FILE_CONTENTS, 1, 4, 1);
        for level in 2..12 {
            let full = pointer.encode(ByteOrder::Little).repeat(8);
            pointer = memory.store(&full, ObjectType::PLAIN_FILE_CONTENTS, level, 4, 1);
        }
        let mut dnode =
            memory.dnode(&Spec { data: [(0, pointer)].into(), max_block: u64::MAX, ..Spec::file() });
        dnode[2] = 12;
        let set =
            Objset::open(memory.clone(), 1, memory.objset(&[(1, dnode)].into(), &BTreeMap::new())).unwrap();
        memory.take_reads();
        let error = set.next_data(ObjectId(1), 0).unwrap_err();
        assert!(error.to_string().contains("no data block below"), "{error}");
        assert!(memory.take_reads().len() < 100);
        assert_eq!(set.next_hole(ObjectId(1), 0).unwrap(), 0);
    }

    #[test]
    fn an_objset_of_each_size_is_read_and_others_are_not() {
        let memory = Memory::new();
        let root = memory.objset(&BTreeMap::new(), &BTreeMap::new());
        let block = memory.read_block(&root, Bookmark::root(1)).unwrap();
        for size in OBJSET_BYTES {
            assert_eq!(ObjsetPhys::parse(&block[..size]).unwrap().phys_bytes, size);
        }
        assert!(ObjsetPhys::parse(&block[..3072]).is_err());
        let mut bad = block.to_vec();
        bad[0] = 19;
        assert!(ObjsetPhys::parse(&bad).unwrap_err().to_string().contains("meta-dnode of type 19"));
        bad[0] = 0;
        assert!(ObjsetPhys::parse(&bad).unwrap_err().to_string().contains("no meta-dnode"));
        let error = Objset::open(memory, 1, BlockPointer::EMPTY).err().unwrap();
        assert!(matches!(error.fault(), Fault::Hole));
    }
}
