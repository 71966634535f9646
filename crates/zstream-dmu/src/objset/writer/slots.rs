//! The slots of blocks of dnodes, and their allocation.

use super::{DNODE_BLOCK_BYTES, FIRST_OBJECT, ObjsetWriter};
use crate::dnode::{DNODE_SLOT_BYTES, Dnode};
use crate::error::{Error, Result};
use crate::ids::{BlockId, ObjectId};
use crate::objset::{OBJECTS_MAX, allocated_slots, slots_taken};

/// The number of slots of a block.
pub(super) const SLOTS: u64 = DNODE_BLOCK_BYTES as u64 / DNODE_SLOT_BYTES as u64;

/// The limit for the number of dnodes in a block that is searched for free slots, unless it is the last one. It is a
/// quarter, as in OpenZFS, because large dnodes occupy several slots.
const FILL_SPARSE: u64 = SLOTS / 4;

/// Returns the slots of a block that are occupied by dnodes as bits.
fn taken(block: &[u8]) -> u32 {
    allocated_slots(block)
        .map(|slot| mask(slot as u64, slots_taken(&block[slot * DNODE_SLOT_BYTES..]) as u64))
        .fold(0, |all, one| all | one)
}

fn mask(slot: u64, count: u64) -> u32 {
    let bits = if count >= SLOTS { u32::MAX } else { (1 << count) - 1 };
    bits.checked_shl(slot as u32).unwrap_or(0)
}

impl ObjsetWriter {
    fn taken_slots(&self, block: u64) -> Result<u32> {
        let content = self.meta.block(&self.source, ObjectId(0), block)?;
        Ok(content.map_or(0, |content| taken(&content)))
    }

    /// Validates that an object of this number may have these slots and that they are free. `own` is the number of
    /// slots that it already has.
    pub(super) fn check_slots(&self, object: ObjectId, count: u64, own: u64) -> Result<()> {
        if object.0 == 0 || object.0 >= OBJECTS_MAX {
            return Err(Error::bad_shape(format!(
                "object number is {object}, expected 1 to {}",
                OBJECTS_MAX - 1
            )));
        }
        let slot = object.0 % SLOTS;
        if slot + count > SLOTS {
            return Err(Error::bad_shape(format!(
                "object {object} of {count} slots would cross the end of a block of dnodes"
            )));
        }
        let wanted = mask(slot, count) & !mask(slot, own);
        if self.taken_slots(object.0 / SLOTS)? & wanted != 0 {
            return Err(Error::bad_shape(format!(
                "object {object} of {count} slots would overwrite another object"
            )));
        }
        Ok(())
    }

    /// Finds free slots for a dnode of `count` slots.
    pub(super) fn find_slots(&mut self, count: u64) -> Result<ObjectId> {
        let last = self.meta.dnode(ObjectId(0))?.max_block.0;
        let mut from = self.cursor;
        while from < OBJECTS_MAX {
            let block = from / SLOTS;
            let slot = from % SLOTS;
            if !self.is_crowded(block, last)? {
                let taken = self.taken_slots(block)?;
                let fits = |slot: &u64| slot + count <= SLOTS && taken & mask(*slot, count) == 0;
                if let Some(slot) = (slot..SLOTS).find(fits) {
                    let object = block * SLOTS + slot;
                    self.cursor = object + count;
                    return Ok(ObjectId(object));
                }
            }
            from = (block + 1) * SLOTS;
        }
        Err(Error::bad_shape("no object number is left"))
    }

    fn is_crowded(&self, block: u64, last: u64) -> Result<bool> {
        if block >= last || self.meta.dirty.contains_key(&block) {
            return Ok(false);
        }
        Ok(self.meta.before(&self.source, ObjectId(0), block)?.fill() > FILL_SPARSE)
    }

    /// Makes the next search start from the first object if objects were freed.
    pub(super) fn rescan(&mut self) {
        if std::mem::take(&mut self.has_freed) {
            self.cursor = FIRST_OBJECT;
        }
    }

    /// Writes a dnode into its block.
    pub(super) fn put_dnode(&mut self, object: ObjectId, dnode: &Dnode) -> Result<()> {
        self.put_slots(object, &dnode.encode())
    }

    /// Writes bytes into slots, starting at that of `object`.
    pub(super) fn put_slots(&mut self, object: ObjectId, bytes: &[u8]) -> Result<()> {
        let (block, slot) = (object.0 / SLOTS, (object.0 % SLOTS) as usize);
        let meta = self.meta.dnode_mut(ObjectId(0))?;
        let levels = meta.levels_for(BlockId(block))?;
        let content = self.meta.block_mut(&self.source, ObjectId(0), block, false)?;
        let at = slot * DNODE_SLOT_BYTES;
        content[at..at + bytes.len()].copy_from_slice(bytes);
        let meta = self.meta.dnode_mut(ObjectId(0))?;
        meta.max_block = meta.max_block.max(BlockId(block));
        meta.levels = meta.levels.max(levels);
        Ok(())
    }
}
