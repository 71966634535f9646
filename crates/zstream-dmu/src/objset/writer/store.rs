//! Changes to objects.

use std::sync::Arc;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::effect;
use zstream_format::object_type::ObjectType;

use super::ObjsetWriter;
use super::overlay::{Dirty, Overlay, Source, Spill, zeros};
use crate::blkptr::{BLOCK_BYTES_MAX, SECTOR_BYTES};
use crate::block::StoredBlock;
use crate::dnode::{DNODE_SLOT_BYTES, Dnode, LEVELS_MAX, NewObject};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};
use crate::object_set::ObjectSet;
use crate::object_store::{Kept, ObjectStore};
use crate::objset::OBJECTS_MAX;
use crate::zio::write::Protection;

impl ObjsetWriter {
    /// Requests read-ahead of the pointer of a block that is overwritten, if the object is on disk.
    fn ask_ahead(&mut self, object: ObjectId, block: impl FnOnce(&Dnode) -> u64) {
        if let Some(base) = self.objects.get(&object.0).and_then(Overlay::live_base) {
            self.ahead.ask(&self.source, object, base, block(base));
        }
    }

    fn make(&mut self, object: ObjectId, new: &NewObject) -> Result<()> {
        let dnode = Dnode::new(new)?;
        self.put_dnode(object, &dnode)?;
        let base = match &self.base {
            // A previously freed object still exists on disk.
            Some(base) if !self.objects.contains_key(&object.0) => match base.dnode(object) {
                Ok(dnode) => Some(dnode),
                Err(error) if matches!(error.fault(), Fault::NoObject(_)) => None,
                Err(error) => return Err(error),
            },
            _ => None,
        };
        let overlay = self.objects.entry(object.0).or_insert_with(|| Overlay { base, ..Overlay::default() });
        overlay.replace(dnode, &*self.source.writer);
        Ok(())
    }
}

impl ObjectStore for ObjsetWriter {
    fn txg(&self) -> Txg {
        self.source.writer.txg()
    }

    fn allocate(&mut self, new: &NewObject) -> Result<ObjectId> {
        self.start_change()?;
        // The description is validated before an object number is allocated.
        let slots = Dnode::new(new)?.slots() as u64;
        let object = self.find_slots(slots)?;
        self.make(object, new)?;
        Ok(object)
    }

    fn claim(&mut self, object: ObjectId, new: &NewObject) -> Result<()> {
        self.start_change()?;
        self.check_slots(object, u64::from(new.dn_slots.max(1)), 0)?;
        self.make(object, new)
    }

    fn reclaim(&mut self, object: ObjectId, new: &NewObject, kept: Kept) -> Result<()> {
        self.start_change()?;
        self.land_before(object, 0, u64::MAX)?;
        let old = self.touch(object)?.dnode(object)?.clone();
        let mut dnode = Dnode::new(new)?;
        self.check_slots(object, dnode.slots() as u64, old.slots() as u64)?;
        let has_spill = self.info(object)?.has_spill;
        if kept.spill && has_spill {
            // Fails if there is no space for its pointer.
            dnode.set_spill(Some(old.spill().copied().unwrap_or_default()))?;
        }
        let keeps_content =
            kept.content && dnode.object_type == old.object_type && dnode.block_bytes() == old.block_bytes();
        let writer = Arc::clone(&self.source.writer);
        self.change(object, |overlay, _| {
            if keeps_content {
                take_tree(&mut dnode, &old, overlay.live_base())?;
            } else {
                let spill = std::mem::take(&mut overlay.spill);
                overlay.clear(&*writer);
                overlay.spill = spill;
            }
            dnode.used = old.used;
            dnode.flags.insert(old.flags.difference(crate::dnode::DnodeFlags::SPILL_POINTER));
            if !kept.spill {
                overlay.set_spill(Spill::Gone, &*writer);
            }
            overlay.dnode = Some(dnode.clone());
            Ok(())
        })?;
        if old.slots() > dnode.slots() {
            let freed = ObjectId(object.0 + dnode.slots() as u64);
            self.put_slots(freed, &vec![0; (old.slots() - dnode.slots()) * DNODE_SLOT_BYTES])?;
        }
        self.put_dnode(object, &dnode)
    }

    fn free(&mut self, object: ObjectId) -> Result<()> {
        self.start_change()?;
        if object.0 >= OBJECTS_MAX {
            return Err(Error::bad_request("accounting objects cannot be freed"));
        }
        self.land_before(object, 0, u64::MAX)?;
        let slots = self.touch(object)?.dnode(object)?.slots();
        self.put_slots(object, &vec![0; slots * DNODE_SLOT_BYTES])?;
        self.change(object, |overlay, source| {
            overlay.clear(&*source.writer);
            Ok(())
        })?;
        self.has_freed = true;
        if self.objects.get(&object.0).is_some_and(|overlay| overlay.base.is_none()) {
            self.objects.remove(&object.0);
        }
        Ok(())
    }

    fn write(&mut self, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<()> {
        self.start_change()?;
        if bytes.is_empty() {
            self.touch(object)?;
            return Ok(());
        }
        self.land_before_bytes(object, offset, bytes.len() as u64)?;
        self.change(object, |overlay, source| write(overlay, source, object, offset, bytes))?;
        self.ask_ahead(object, |dnode| offset / dnode.block_bytes());
        self.bound_memory()
    }

    fn write_stored(&mut self, object: ObjectId, block: BlockId, stored: StoredBlock) -> Result<()> {
        self.start_change()?;
        self.land_before(object, block.0, block.0)?;
        self.change(object, |overlay, source| {
            let dnode = overlay.dnode(object)?;
            let bytes = dnode.block_bytes();
            if u64::from(stored.logical_bytes) != bytes {
                return Err(Error::bad_shape(format!(
                    "block is {} bytes, expected {bytes}, the block size of object {object}",
                    stored.logical_bytes
                )));
            }
            grow(overlay, object, block.0)?;
            overlay.put(block.0, dirty(stored)?, &*source.writer);
            Ok(())
        })?;
        self.ask_ahead(object, |_| block.0);
        self.bound_memory()
    }

    fn free_range(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()> {
        self.start_change()?;
        // The last block of an object that is received raw is part of its description and covered by a MAC. It does
        // not change if that block becomes a hole because it contains zeros.
        let is_kept = self.properties.protection == Protection::Kept;
        self.land_before_bytes(object, offset, length)?;
        self.change(object, |overlay, source| {
            let last = overlay.dnode(object)?.max_block;
            free_range(overlay, source, object, offset, length)?;
            if is_kept {
                overlay.dnode_mut(object)?.max_block = last;
            }
            Ok(())
        })
    }

    fn set_bonus(&mut self, object: ObjectId, bonus_type: ObjectType, bytes: &[u8]) -> Result<()> {
        self.start_change()?;
        self.change(object, |overlay, _| overlay.dnode_mut(object)?.set_bonus(bonus_type, bytes))
    }

    fn set_block_size(&mut self, object: ObjectId, block_bytes: u32, indirect_shift: u8) -> Result<()> {
        self.start_change()?;
        self.land_before(object, 0, 0)?;
        self.change(object, |overlay, source| {
            set_block_size(overlay, source, object, block_bytes, indirect_shift)
        })
    }

    fn set_algorithms(
        &mut self,
        object: ObjectId,
        checksum: ChecksumType,
        compression: CompressionType,
    ) -> Result<()> {
        self.start_change()?;
        self.change(object, |overlay, _| {
            let dnode = overlay.dnode_mut(object)?;
            dnode.checksum_type = checksum;
            dnode.compression = compression;
            Ok(())
        })
    }

    fn set_spill(&mut self, object: ObjectId, content: Option<StoredBlock>) -> Result<()> {
        self.start_change()?;
        self.land_before(object, Bookmark::SPILL.0, Bookmark::SPILL.0)?;
        self.change(object, |overlay, source| {
            let spill = match content {
                Some(stored) => {
                    let bytes = u64::from(stored.logical_bytes);
                    if bytes == 0 || bytes > BLOCK_BYTES_MAX || bytes % SECTOR_BYTES != 0 {
                        return Err(Error::bad_shape(format!(
                            "spill block is {bytes} bytes, expected a multiple of {SECTOR_BYTES} up to \
                             {BLOCK_BYTES_MAX}"
                        )));
                    }
                    Spill::New(dirty(stored)?)
                }
                None => Spill::Gone,
            };
            let dnode = overlay.dnode_mut(object)?;
            match (&spill, dnode.spill().copied()) {
                (Spill::New(_), before) => dnode.set_spill(Some(before.unwrap_or_default()))?,
                _ => dnode.set_spill(None)?,
            }
            overlay.set_spill(spill, &*source.writer);
            Ok(())
        })
    }
}

/// Moves the tree of `old` to a dnode with a new description. If its pointers do not fit, a level is added, and they
/// become children of a new indirect block.
fn take_tree(dnode: &mut Dnode, old: &Dnode, base: Option<&Arc<Dnode>>) -> Result<()> {
    dnode.indirect_shift = old.indirect_shift;
    dnode.max_block = old.max_block;
    let mut levels = old.levels.max(dnode.levels_for(old.max_block)?);
    let room = dnode.pointers().len();
    let is_lost = |base: &Arc<Dnode>| {
        base.levels == levels && base.pointers().iter().skip(room).any(|pointer| !pointer.is_hole())
    };
    if base.is_some_and(is_lost) {
        levels += 1;
    }
    if levels > LEVELS_MAX {
        return Err(Error::bad_shape(format!(
            "block tree has {levels} levels, expected at most {LEVELS_MAX}"
        )));
    }
    dnode.levels = levels;
    for (new, old) in dnode.pointers_mut().iter_mut().zip(old.pointers()) {
        *new = *old;
    }
    Ok(())
}

/// Content that is neither compressed nor encrypted is compressed as the object requires. Other content is stored as
/// it is.
fn dirty(stored: StoredBlock) -> Result<Dirty> {
    if stored.compression != CompressionType::OFF || stored.embedded || stored.crypt.is_some() {
        return Ok(Dirty::Stored(Arc::new(stored)));
    }
    if stored.bytes.len() as u64 != u64::from(stored.logical_bytes) {
        return Err(Error::bad_shape(format!(
            "uncompressed block is {} bytes, expected {}",
            stored.bytes.len(),
            stored.logical_bytes
        )));
    }
    Ok(Dirty::Data(stored.bytes.into()))
}

/// Extends the object up to `block`.
pub(super) fn grow(overlay: &mut Overlay, object: ObjectId, block: u64) -> Result<()> {
    let dnode = overlay.dnode_mut(object)?;
    if block > 0 && !dnode.block_bytes().is_power_of_two() {
        return Err(Error::bad_shape(format!(
            "block {block} of object {object} cannot be written: a block of {} bytes must be the only one",
            dnode.block_bytes()
        )));
    }
    dnode.levels = dnode.levels.max(dnode.levels_for(BlockId(block))?);
    dnode.max_block = dnode.max_block.max(BlockId(block));
    Ok(())
}

fn write(overlay: &mut Overlay, source: &Source, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<()> {
    let size = overlay.dnode(object)?.block_bytes();
    let last = offset.checked_add(bytes.len() as u64 - 1).ok_or_else(|| {
        Error::bad_shape(format!("{} bytes at offset {offset} exceed the maximum offset", bytes.len()))
    })?;
    // Partially overwritten blocks are read first, so that an error changes nothing.
    for at in [offset, last] {
        let block = at / size;
        let is_whole = block * size >= offset && last - block * size >= size - 1;
        if !is_whole && overlay.has_content(source, object, block)? {
            overlay.block_mut(source, object, block, false)?;
        }
    }
    grow(overlay, object, last / size)?;
    let mut rest = bytes;
    for block in offset / size..=last / size {
        let start = if block == offset / size { (offset % size) as usize } else { 0 };
        let (part, behind) = rest.split_at(rest.len().min(size as usize - start));
        if part.len() as u64 == size {
            overlay.put(block, Dirty::Data(part.into()), &*source.writer);
        } else {
            let content = overlay.block_mut(source, object, block, false)?;
            content[start..start + part.len()].copy_from_slice(part);
        }
        rest = behind;
    }
    Ok(())
}

/// Fills a part of a block with zeros if it has content (`dnode_free_range`).
fn zero_part(
    overlay: &mut Overlay,
    source: &Source,
    object: ObjectId,
    block: u64,
    range: std::ops::Range<u64>,
) -> Result<()> {
    if !range.is_empty() && overlay.has_content(source, object, block)? {
        let content = overlay.block_mut(source, object, block, false)?;
        content[range.start as usize..range.end as usize].fill(0);
    }
    Ok(())
}

fn free_range(
    overlay: &mut Overlay,
    source: &Source,
    object: ObjectId,
    offset: u64,
    length: u64,
) -> Result<()> {
    let dnode = overlay.dnode(object)?;
    let size = dnode.block_bytes();
    let last = dnode.max_block.0;
    let end = offset.saturating_add(length);
    let reaches_end = length == u64::MAX || end / size > last;
    let (first, head) = (offset / size, offset % size);
    if length == 0 || first > last {
        return Ok(());
    }
    if first == end / size && !reaches_end {
        return zero_part(overlay, source, object, first, head..end % size);
    }
    let mut start = first;
    if head > 0 {
        zero_part(overlay, source, object, first, head..size)?;
        start += 1;
    }
    let stop = if reaches_end { last.saturating_add(1) } else { end / size };
    if !reaches_end {
        zero_part(overlay, source, object, stop, 0..end % size)?;
    }
    overlay.free(start, stop, &*source.writer);
    let now_last = effect::last_block_freed(last, size, offset, length);
    if now_last != last {
        overlay.dnode_mut(object)?.max_block = BlockId(now_last);
    }
    Ok(())
}

fn set_block_size(
    overlay: &mut Overlay,
    source: &Source,
    object: ObjectId,
    block_bytes: u32,
    indirect_shift: u8,
) -> Result<()> {
    let mut dnode = overlay.dnode(object)?.clone();
    if dnode.max_block.0 != 0 {
        return Err(Error::bad_shape(format!(
            "cannot change the block size of object {object}: it has {} blocks",
            dnode.max_block.0.saturating_add(1)
        )));
    }
    dnode.set_block_bytes(block_bytes)?;
    if indirect_shift != 0 && indirect_shift != dnode.indirect_shift {
        if dnode.levels != 1 {
            return Err(Error::bad_shape(format!(
                "cannot change the indirect block size of object {object}: it has {} levels",
                dnode.levels
            )));
        }
        dnode.set_indirect_shift(indirect_shift);
    }
    let size = dnode.block_bytes();
    if size != overlay.dnode(object)?.block_bytes()
        && let Some(old) = overlay.block(source, object, 0)?
    {
        let mut content = zeros(size);
        let kept = content.len().min(old.len());
        Arc::make_mut(&mut content)[..kept].copy_from_slice(&old[..kept]);
        overlay.put(0, Dirty::Data(content), &*source.writer);
    }
    overlay.dnode = Some(dnode);
    Ok(())
}
