//! Reservations of volumes.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::vdev::TYPICAL_BYTES;
use zstream_dmu::zap::Value;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::stored_number;
use zstream_dsl::write::{Setting, WritablePool};
use zstream_format::errno::Errno;
use zstream_zpl::volume;

use crate::error::Cause;

/// The number of pointers in an indirect block of 128 KiB, and its size.
const POINTERS_PER_BLOCK: u64 = 1024;
const INDIRECT_BYTES: u64 = 128 << 10;

/// The number of bytes to reserve so that a volume can be written completely: its data, with the overhead of raidz
/// for small blocks, and its metadata (`zvol_volsize_to_reservation`).
#[must_use]
pub(crate) fn volume_reservation(pool: &WritablePool, size: u64, block: u64, copies: u64) -> u64 {
    let blocks = size / block;
    let data = pool
        .pool()
        .vdevs()
        .tops()
        .iter()
        .filter_map(|top| {
            let kind = &top.config().kind;
            let typical = kind.striped_asize(TYPICAL_BYTES)? >> 9;
            let all = blocks.checked_mul(kind.striped_asize(block)?)?;
            Some(all.checked_div(typical)?.saturating_mul(TYPICAL_BYTES >> 9))
        })
        .max()
        .unwrap_or(size);
    let (mut left, mut metadata) = (blocks, 7);
    while left > 1 {
        left = left.div_ceil(POINTERS_PER_BLOCK);
        metadata += left;
    }
    let metadata = metadata * (copies + 1).min(3) * INDIRECT_BYTES;
    data.saturating_mul(copies).saturating_add(metadata)
}

/// Changes the size of a volume, and its reservation if that is the default for the old size.
///
/// # Errors
/// The volume is read-only or incompletely received; it cannot have this size; the pool cannot be written.
pub fn resize_volume(pool: &mut WritablePool, head: ObjectId, size: u64) -> Result<(), Cause> {
    let reserved = {
        let volume = pool.dsl().dataset_by_object(head)?;
        if stored_number(&volume, "readonly")? == Some(1) {
            return Err(DatasetError::refused(Errno::EROFS, "the volume is read-only").into());
        }
        volume.check_not_filled()?;
        volume.dir().own_number("refreservation")?.unwrap_or(0)
    };
    let mut set = pool.open_head(head)?;
    let old = volume::content(&set)?.size();
    let block = set.info(volume::DATA)?.block_bytes;
    zstream_zpl::create::resize_volume(&mut set, size)?;
    let copies = u64::from(set.properties().copies);
    let needed = |pool: &WritablePool, size| volume_reservation(pool, size, block, copies);
    let follows = reserved != 0 && reserved == needed(pool, old);
    if follows {
        let bytes = needed(pool, size);
        pool.tx().set_property(head, "refreservation", &Setting::Local(Value::word(bytes)))?;
    }
    pool.sync(head, &mut set)?;
    Ok(())
}
