//! Reads from a set with its changes.

use zstream_format::object_type::ObjsetType;

use super::ObjsetWriter;
use super::overlay::Spill;
use crate::block::Block;
use crate::error::{Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_set::{ObjectInfo, ObjectSet, pieces};
use crate::objset::{OBJECTS_MAX, Objset};

impl ObjsetWriter {
    fn synced_set(&self, object: ObjectId) -> Result<&Objset> {
        #[cfg(feature = "testing")]
        crate::failpoint::step()?;
        self.base.as_ref().ok_or_else(|| Fault::NoObject(object).into())
    }
}

impl ObjectSet for ObjsetWriter {
    fn objset_id(&self) -> u64 {
        self.source.id
    }

    fn objset_type(&self) -> ObjsetType {
        self.phys.objset_type
    }

    fn info(&self, object: ObjectId) -> Result<ObjectInfo> {
        let Some(overlay) = self.objects.get(&object.0) else { return self.synced_set(object)?.info(object) };
        let dnode = overlay.dnode(object)?;
        let hidden = self.source.locked && dnode.bonus_type.is_encrypted();
        let mut info = ObjectInfo::of(object, dnode, hidden);
        match &overlay.spill {
            Spill::Kept => {}
            Spill::Gone => info.has_spill = false,
            Spill::New(_) => info.has_spill = true,
        }
        Ok(info)
    }

    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>> {
        let changed = self
            .objects
            .range(from.0.min(OBJECTS_MAX)..OBJECTS_MAX)
            .find(|(_, overlay)| overlay.dnode.is_some())
            .map(|(object, _)| *object);
        let mut at = from;
        let kept = loop {
            let Some(base) = &self.base else { break None };
            let Some(found) = base.next_object(at)? else { break None };
            if changed.is_some_and(|changed| changed <= found.0) {
                break None;
            }
            if !self.objects.contains_key(&found.0) {
                break Some(found.0);
            }
            at = ObjectId(found.0 + 1);
        };
        Ok(kept.or(changed).map(ObjectId))
    }

    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>> {
        match self.objects.get(&object.0) {
            Some(overlay) => overlay.block(&self.source, object, block.0),
            None => self.synced_set(object)?.block(object, block),
        }
    }

    fn read(&self, object: ObjectId, offset: u64, out: &mut [u8]) -> Result<()> {
        let Some(overlay) = self.objects.get(&object.0) else {
            return self.synced_set(object)?.read(object, offset, out);
        };
        for piece in pieces(overlay.dnode(object)?.block_bytes(), offset, out) {
            match overlay.block(&self.source, object, piece.block.0)? {
                Some(block) => piece.fill(&block)?,
                None => piece.out.fill(0),
            }
        }
        Ok(())
    }

    fn next_data(&self, object: ObjectId, offset: u64) -> Result<Option<u64>> {
        let Some(overlay) = self.objects.get(&object.0) else {
            return self.synced_set(object)?.next_data(object, offset);
        };
        let size = overlay.dnode(object)?.block_bytes();
        let found = overlay.next_data(&self.source, object, offset / size)?;
        Ok(found.and_then(|block| block.checked_mul(size)).map(|start| start.max(offset)))
    }

    fn next_hole(&self, object: ObjectId, offset: u64) -> Result<u64> {
        let Some(overlay) = self.objects.get(&object.0) else {
            return self.synced_set(object)?.next_hole(object, offset);
        };
        let dnode = overlay.dnode(object)?;
        let size = dnode.block_bytes();
        let end = dnode.max_block.0.saturating_add(1).saturating_mul(size);
        let found = overlay.next_hole(&self.source, object, offset / size)?;
        Ok(found.map_or(end, |block| block.saturating_mul(size)).max(offset))
    }

    fn spill(&self, object: ObjectId) -> Result<Option<Block>> {
        let Some(overlay) = self.objects.get(&object.0) else {
            return self.synced_set(object)?.spill(object);
        };
        overlay.dnode(object)?;
        match &overlay.spill {
            Spill::Kept => self.synced_set(object)?.spill(object),
            Spill::Gone => Ok(None),
            Spill::New(dirty) => dirty.read(&self.source, self.source.at(object, 0, Bookmark::SPILL.0)),
        }
    }
}
