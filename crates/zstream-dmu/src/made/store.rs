//! An object set in memory that can be changed.

use std::collections::BTreeMap;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::block::Block;
use crate::block::StoredBlock;
use crate::dnode::NewObject;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, ObjectId, Txg};
use crate::object_set::{ObjectInfo, ObjectSet};
use crate::object_store::{Kept, ObjectStore};

/// Objects whose blocks lie in maps.
#[derive(Clone)]
pub(crate) struct Store {
    objects: BTreeMap<u64, Object>,
    pub(crate) txg: Txg,
}

#[derive(Clone)]
struct Object {
    info: ObjectInfo,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Default for Store {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), txg: Txg(4) }
    }
}

impl Store {
    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Changes bytes behind the back of everyone.
    pub(crate) fn damage(&mut self, object: ObjectId, offset: usize, value: u8) {
        let object = self.objects.get_mut(&object.0).unwrap();
        let size = object.info.block_bytes as usize;
        if let Some(block) = object.blocks.get_mut(&((offset / size) as u64)) {
            block[offset % size] = value;
        }
    }

    fn get(&self, object: ObjectId) -> Result<&Object> {
        self.objects.get(&object.0).ok_or_else(|| Fault::NoObject(object).into())
    }

    fn get_mut(&mut self, object: ObjectId) -> Result<&mut Object> {
        self.objects.get_mut(&object.0).ok_or_else(|| Fault::NoObject(object).into())
    }
}

impl ObjectSet for Store {
    fn objset_id(&self) -> u64 {
        0
    }

    fn objset_type(&self) -> ObjsetType {
        ObjsetType::META
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        Ok(self.get(object)?.info.clone())
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        Ok(self.objects.range(from.0..).next().map(|(object, _)| ObjectId(*object)))
    }

    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>> {
        Ok(self.get(object)?.blocks.get(&block.0).map(|block| block.as_slice().into()))
    }

    fn next_data(&self, _: ObjectId, offset: u64) -> Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn next_hole(&self, object: ObjectId, _: u64) -> Result<u64> {
        Ok(self.get(object)?.info.end())
    }

    fn spill(&self, _: ObjectId) -> Result<Option<Block>> {
        Ok(None)
    }
}

impl ObjectStore for Store {
    fn txg(&self) -> Txg {
        self.txg
    }

    fn allocate(&mut self, new: &NewObject) -> Result<ObjectId> {
        let object = ObjectId(self.objects.keys().last().map_or(1, |last| last + 1));
        self.claim(object, new)?;
        Ok(object)
    }

    fn claim(&mut self, object: ObjectId, new: &NewObject) -> Result<()> {
        let info = ObjectInfo {
            object,
            object_type: new.object_type,
            bonus_type: new.bonus_type,
            bonus: Some(vec![0; usize::from(new.bonus_len)].into()),
            block_bytes: u64::from(new.block_bytes).max(512),
            indirect_bytes: None,
            levels: None,
            max_block: BlockId(0),
            dn_slots: new.dn_slots.max(1),
            has_spill: false,
            checksum_type: ChecksumType::INHERIT,
            compression: CompressionType::INHERIT,
            used_bytes: None,
        };
        match self.objects.insert(object.0, Object { info, blocks: BTreeMap::new() }) {
            None => Ok(()),
            Some(_) => Err(Error::exists("object", object)),
        }
    }

    fn reclaim(&mut self, object: ObjectId, new: &NewObject, kept: Kept) -> Result<()> {
        let old = self.objects.remove(&object.0).ok_or(Fault::NoObject(object))?;
        self.claim(object, new)?;
        let now = self.get_mut(object)?;
        let shape = |info: &ObjectInfo| (info.object_type, info.block_bytes);
        if kept.content && shape(&old.info) == shape(&now.info) {
            now.blocks = old.blocks;
            now.info.max_block = old.info.max_block;
        }
        Ok(())
    }

    fn free(&mut self, object: ObjectId) -> Result<()> {
        self.objects.remove(&object.0).map(drop).ok_or_else(|| Fault::NoObject(object).into())
    }

    fn write(&mut self, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<()> {
        let object = self.get_mut(object)?;
        let size = object.info.block_bytes;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let start = (at % size) as usize;
            let (part, tail) = rest.split_at(rest.len().min(size as usize - start));
            let block = object.blocks.entry(at / size).or_insert_with(|| vec![0; size as usize]);
            block[start..start + part.len()].copy_from_slice(part);
            object.info.max_block = object.info.max_block.max(BlockId(at / size));
            (at, rest) = (at + part.len() as u64, tail);
        }
        Ok(())
    }

    fn write_stored(&mut self, _: ObjectId, _: BlockId, _: StoredBlock) -> Result<()> {
        Err(Error::unsupported("stored blocks in a set in memory"))
    }

    fn free_range(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()> {
        let object = self.get_mut(object)?;
        let size = object.info.block_bytes;
        let end = offset.saturating_add(length);
        object.blocks.retain(|block, _| block * size < offset || (block + 1) * size > end);
        Ok(())
    }

    fn set_bonus(&mut self, object: ObjectId, bonus_type: ObjectType, bytes: &[u8]) -> Result<()> {
        let object = self.get_mut(object)?;
        object.info.bonus_type = bonus_type;
        object.info.bonus = Some(bytes.into());
        Ok(())
    }

    fn set_block_size(&mut self, object: ObjectId, block_bytes: u32, _: u8) -> Result<()> {
        let object = self.get_mut(object)?;
        if object.info.max_block.0 > 0 {
            return Err(Error::bad_shape("the object has more than one block"));
        }
        object.info.block_bytes = u64::from(block_bytes);
        if let Some(block) = object.blocks.get_mut(&0) {
            block.resize(block_bytes as usize, 0);
        }
        Ok(())
    }

    fn set_algorithms(
        &mut self,
        object: ObjectId,
        checksum: ChecksumType,
        compression: CompressionType,
    ) -> Result<()> {
        let object = self.get_mut(object)?;
        (object.info.checksum_type, object.info.compression) = (checksum, compression);
        Ok(())
    }

    fn set_spill(&mut self, object: ObjectId, content: Option<StoredBlock>) -> Result<()> {
        self.get_mut(object)?.info.has_spill = content.is_some();
        Ok(())
    }
}
