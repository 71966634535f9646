//! Object sets made in memory, for tests: every block is stored as it is, by its address.

pub(crate) mod pool;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::order::ByteOrder;

use crate::blkptr::{BlockKind, BlockPointer, Dva, NormalBlock};
use crate::block::{Block, ReadBlock};
use crate::dnode::{DNODE_SLOT_BYTES, DnodeFlags};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};
use crate::object_set::{ObjectInfo, ObjectSet};

pub(crate) use self::store::Store;

/// A pool without vdevs.
#[derive(Default)]
pub(crate) struct Memory {
    blocks: Mutex<HashMap<u64, Block>>,
    read: Mutex<Vec<Bookmark>>,
}

/// An object to make.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) object_type: ObjectType,
    pub(crate) block_bytes: usize,
    pub(crate) indirect_shift: u8,
    pub(crate) levels: u8,
    pub(crate) pointers: u8,
    pub(crate) slots: usize,
    pub(crate) max_block: u64,
    /// Pointers of data blocks; what is not here is a hole that was never written.
    pub(crate) data: BTreeMap<u64, BlockPointer>,
    pub(crate) bonus_type: ObjectType,
    pub(crate) bonus: Vec<u8>,
    pub(crate) spill: Option<BlockPointer>,
}

impl Spec {
    /// An empty file with blocks of 512 bytes and 8 pointers in an indirect block.
    pub(crate) fn file() -> Self {
        Self {
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            block_bytes: 512,
            indirect_shift: 10,
            levels: 1,
            pointers: 1,
            slots: 1,
            max_block: 0,
            data: BTreeMap::new(),
            bonus_type: ObjectType::NONE,
            bonus: Vec::new(),
            spill: None,
        }
    }
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Stores a block, born in `birth`.
    pub(crate) fn store(
        &self,
        content: &[u8],
        object_type: ObjectType,
        level: u8,
        birth: u64,
        fill: u64,
    ) -> BlockPointer {
        let mut blocks = self.blocks.lock().unwrap();
        let offset = (blocks.len() as u64 + 1) << 20;
        blocks.insert(offset, content.into());
        BlockPointer::normal(&NormalBlock {
            dvas: [Dva::new(0, offset, content.len() as u64, false), Dva::default(), Dva::default()],
            lsize: content.len() as u64,
            psize: content.len() as u64,
            compression: CompressionType::OFF,
            checksum_type: ChecksumType::OFF,
            object_type,
            level,
            dedup: false,
            uses_crypt: false,
            byte_order: ByteOrder::Little,
            logical_birth: Txg(birth),
            physical_birth: Txg(0),
            fill,
            checksum: [0; 4],
        })
    }

    /// Stores a file block.
    pub(crate) fn data(&self, content: &[u8], birth: u64) -> BlockPointer {
        self.store(content, ObjectType::PLAIN_FILE_CONTENTS, 0, birth, 1)
    }

    /// Stores the tree of `spec` and gives its dnode. A block is born when its youngest child is.
    pub(crate) fn dnode(&self, spec: &Spec) -> Vec<u8> {
        let per_block = 1_u64 << (spec.indirect_shift - 7);
        let mut pointers = spec.data.clone();
        for level in 1..spec.levels {
            let mut parents: BTreeMap<u64, (Vec<u8>, u64, u64)> = BTreeMap::new();
            for (id, pointer) in pointers {
                let (block, birth, fill) = parents
                    .entry(id / per_block)
                    .or_insert_with(|| (vec![0; 1 << spec.indirect_shift], 0, 0));
                let at = (id % per_block) as usize * 128;
                block[at..at + 128].copy_from_slice(&pointer.encode(ByteOrder::Little));
                *birth = pointer.birth().0.max(*birth);
                *fill += pointer.fill();
            }
            pointers = parents
                .into_iter()
                .map(|(id, (block, birth, fill))| {
                    (id, self.store(&block, spec.object_type, level, birth, fill))
                })
                .collect();
        }
        let mut out = vec![0; spec.slots * DNODE_SLOT_BYTES];
        let flags = if spec.spill.is_some() { DnodeFlags::SPILL_POINTER } else { DnodeFlags::empty() };
        out[..8].copy_from_slice(&[
            spec.object_type.0 as u8,
            spec.indirect_shift,
            spec.levels,
            spec.pointers,
            spec.bonus_type.0 as u8,
            0,
            0,
            flags.bits(),
        ]);
        ByteOrder::Little.put_u16(&mut out[8..], (spec.block_bytes / 512) as u16);
        ByteOrder::Little.put_u16(&mut out[10..], spec.bonus.len() as u16);
        out[12] = spec.slots as u8 - 1;
        ByteOrder::Little.put_u64(&mut out[16..], spec.max_block);
        for (id, pointer) in pointers {
            let at = 64 + 128 * id as usize;
            out[at..at + 128].copy_from_slice(&pointer.encode(ByteOrder::Little));
        }
        let bonus = 64 + 128 * usize::from(spec.pointers);
        out[bonus..bonus + spec.bonus.len()].copy_from_slice(&spec.bonus);
        if let Some(spill) = spec.spill {
            let at = out.len() - 128;
            out[at..].copy_from_slice(&spill.encode(ByteOrder::Little));
        }
        out
    }

    /// Stores a set of the objects in `dnodes` and gives its root. A block of dnodes is born in `births`
    /// of its index, or in 1.
    pub(crate) fn objset(
        &self,
        dnodes: &BTreeMap<u64, Vec<u8>>,
        births: &BTreeMap<u64, u64>,
    ) -> BlockPointer {
        let mut blocks: BTreeMap<u64, (Vec<u8>, u64)> = BTreeMap::new();
        for (object, dnode) in dnodes {
            let (block, fill) = blocks.entry(object / 32).or_insert_with(|| (vec![0; 16384], 0));
            let at = (object % 32) as usize * DNODE_SLOT_BYTES;
            block[at..at + dnode.len()].copy_from_slice(dnode);
            *fill += 1;
        }
        let data: BTreeMap<_, _> = blocks
            .into_iter()
            .map(|(id, (block, fill))| {
                let birth = births.get(&id).copied().unwrap_or(1);
                (id, self.store(&block, ObjectType::DNODE, 0, birth, fill))
            })
            .collect();
        let birth = data.values().map(|pointer| pointer.logical_birth().0).max().unwrap_or(1);
        let meta = self.dnode(&Spec {
            object_type: ObjectType::DNODE,
            block_bytes: 16384,
            levels: 3,
            max_block: data.keys().max().copied().unwrap_or(0),
            data,
            ..Spec::file()
        });
        let mut objset = vec![0; 4096];
        objset[..512].copy_from_slice(&meta);
        ByteOrder::Little.put_u64(&mut objset[704..], u64::from(ObjsetType::ZFS.0));
        self.store(&objset, ObjectType::OBJSET, 0, birth, dnodes.len() as u64)
    }

    /// Places of the blocks read since the last call.
    pub(crate) fn take_reads(&self) -> Vec<Bookmark> {
        std::mem::take(&mut self.read.lock().unwrap())
    }
}

impl ReadBlock for Memory {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.read.lock().unwrap().push(at);
        match bp.kind() {
            BlockKind::Normal => {
                let blocks = self.blocks.lock().unwrap();
                let block = blocks.get(&bp.dva(0).offset()).cloned();
                block
                    .ok_or_else(|| Error::from(Fault::NoVdev(format!("block {}", bp.dva(0)))).at_bookmark(at))
            }
            BlockKind::Hole => Err(Error::from(Fault::Hole).at_bookmark(at)),
            BlockKind::Redacted => Err(Error::from(Fault::Redacted).at_bookmark(at)),
            BlockKind::Embedded => {
                let mut content = bp.embedded_payload().expect("tests embed what fits");
                content.resize(bp.lsize() as usize, 0);
                Ok(content.into())
            }
            BlockKind::UnknownEmbedded(_) => Err(Error::corrupt("block pointer", "unknown embedded type")),
        }
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.read_block(bp, at)
    }
}

/// An object set of plain arrays of blocks.
#[derive(Default)]
pub(crate) struct Objects {
    objects: BTreeMap<u64, (ObjectInfo, Vec<Option<Block>>)>,
}

impl Objects {
    /// Adds an object whose blocks are all as long as the first.
    pub(crate) fn add(
        &mut self,
        object: u64,
        object_type: ObjectType,
        bonus_type: ObjectType,
        bonus: &[u8],
        blocks: Vec<Vec<u8>>,
    ) {
        let info = ObjectInfo {
            object: ObjectId(object),
            object_type,
            bonus_type,
            bonus: Some(bonus.into()),
            block_bytes: blocks.first().map_or(512, |block| block.len() as u64),
            indirect_bytes: None,
            levels: None,
            max_block: BlockId((blocks.len() as u64).saturating_sub(1)),
            dn_slots: 1,
            has_spill: false,
            checksum_type: ChecksumType::INHERIT,
            compression: CompressionType::INHERIT,
            used_bytes: None,
        };
        let blocks = blocks.into_iter().map(|block| Some(block.into())).collect();
        self.objects.insert(object, (info, blocks));
    }

    fn get(&self, object: ObjectId) -> Result<&(ObjectInfo, Vec<Option<Block>>)> {
        self.objects.get(&object.0).ok_or_else(|| Fault::NoObject(object).into())
    }
}

impl ObjectSet for Objects {
    fn objset_id(&self) -> u64 {
        0
    }

    fn objset_type(&self) -> ObjsetType {
        ObjsetType::OTHER
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        Ok(self.get(object)?.0.clone())
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        Ok(self.objects.range(from.0..).next().map(|(object, _)| ObjectId(*object)))
    }

    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>> {
        Ok(self.get(object)?.1.get(block.0 as usize).cloned().flatten())
    }

    fn next_data(&self, _: ObjectId, offset: u64) -> Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn next_hole(&self, object: ObjectId, _: u64) -> Result<u64> {
        Ok(self.get(object)?.0.end())
    }

    fn spill(&self, _: ObjectId) -> Result<Option<Block>> {
        Ok(None)
    }
}
