//! The block reference tables, which are written before the MOS is synced (`brt_sync`).

use zstream_format::order::ByteOrder;

use crate::brt::{
    COUNTS_BLOCK_BYTES, COUNTS_TYPE, ENTRIES_SHIFT, ENTRIES_TYPE, Pending, References, TablePhys,
    directory_name,
};
use crate::dnode::NewObject;
use crate::error::{Error, Result};
use crate::ids::{Guid, ObjectId};
use crate::mos::DIRECTORY_OBJECT;
use crate::object_store::ObjectStore;
use crate::random::Random;
use crate::space::Allocator;
use crate::tx::features;
use crate::zap::{self, NewZap, NormFlags, Value, ZapFlags, ZapMut};

/// The feature whose count is the number of tables.
const FEATURE: &str = "block_cloning";
/// The feature that determines the encoding of entries.
const ENDIAN: &str = "block_cloning_endian";

/// Writes the tables that changed. A table is created with the first entry of its vdev, and destroyed with the last.
pub(super) fn write(mos: &mut dyn ObjectStore, space: &Allocator) -> Result<()> {
    let Some(mut references) = space.take_references()? else { return Ok(()) };
    write_all(mos, space.vdevs().guid(), &mut references)?;
    space.put_references(references)
}

fn write_all(mos: &mut dyn ObjectStore, pool: Guid, references: &mut References) -> Result<()> {
    references.dirty().try_for_each(|pending| write_table(mos, pool, pending))
}

fn write_table(mos: &mut dyn ObjectStore, pool: Guid, pending: &mut Pending) -> Result<()> {
    if pending.is_empty() {
        if let Some((table, entries)) = pending.objects() {
            destroy(mos, pending.vdev, table, entries)?;
        }
        pending.destroyed();
        return Ok(());
    }
    let (table, entries) = match pending.objects() {
        Some(objects) => objects,
        None => {
            let (table, entries) = create(mos, pool, pending.vdev)?;
            pending.created(table, entries);
            (table, entries)
        }
    };
    let is_word = features::count(&*mos, ENDIAN)?.is_some_and(|count| count > 0);
    let mut zap = ZapMut::open(mos, entries)?;
    for (offset, count) in pending.take_entries() {
        let key = &[offset][..];
        match count {
            0 => drop(zap.remove_if_there(key)?),
            count if is_word => zap.update(key, &Value::word(count))?,
            count => zap.update(key, &Value::from_bytes(&count.to_le_bytes()))?,
        }
    }
    let (blocks, phys) = pending.take_counts();
    for (offset, block) in blocks {
        mos.write(table, offset, &block)?;
    }
    mos.set_bonus(table, COUNTS_TYPE, &phys.to_bytes(ByteOrder::Little))
}

/// Creates an empty table (`brt_vdev_create`).
fn create(mos: &mut dyn ObjectStore, pool: Guid, vdev: u32) -> Result<(ObjectId, ObjectId)> {
    let tables = features::count(&*mos, FEATURE)?
        .ok_or_else(|| Error::unsupported("block cloning in a pool without the feature block_cloning"))?;
    let seed = pool.0 ^ mos.txg().0.rotate_left(32) ^ u64::from(vdev);
    let new = NewZap {
        salt: Random::from_seed(seed).u64()?,
        norm_flags: NormFlags::empty(),
        flags: ZapFlags::LONG_HASH | ZapFlags::WORD_KEYS,
    };
    let of_entries =
        NewObject { indirect_shift: ENTRIES_SHIFT, ..NewObject::new(ENTRIES_TYPE, 1 << ENTRIES_SHIFT) };
    let entries = zap::write::create_with(mos, &of_entries, &new)?;
    let of_table =
        NewObject::new(COUNTS_TYPE, COUNTS_BLOCK_BYTES).with_bonus(COUNTS_TYPE, TablePhys::LEN as u16);
    let table = mos.allocate(&of_table)?;
    ZapMut::open(mos, DIRECTORY_OBJECT)?.add(directory_name(vdev), &Value::word(table.0))?;
    // Entries of tables that exist keep their encoding.
    match features::count(&*mos, ENDIAN)? {
        Some(0) if tables == 0 => features::add(mos, ENDIAN, 1)?,
        None | Some(0) => {}
        Some(_) => features::add(mos, ENDIAN, 1)?,
    }
    features::add(mos, FEATURE, 1)?;
    Ok((table, entries))
}

/// Destroys a table without entries (`brt_vdev_destroy`).
fn destroy(mos: &mut dyn ObjectStore, vdev: u32, table: ObjectId, entries: ObjectId) -> Result<()> {
    mos.free(entries)?;
    mos.free(table)?;
    ZapMut::open(mos, DIRECTORY_OBJECT)?.remove(directory_name(vdev))?;
    features::add(mos, FEATURE, -1)?;
    if features::count(&*mos, ENDIAN)?.is_some_and(|count| count > 0) {
        features::add(mos, ENDIAN, -1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
