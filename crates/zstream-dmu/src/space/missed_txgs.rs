//! Dirty time logs: the transaction groups that a member missed, as a space map in the MOS (`vdev_dtl_sync`).
//!
//! The units of such a map are transaction groups. It has only allocations, and is written anew when it changes.

use zstream_format::object_type::ObjectType;

use super::MapForm;
use super::space_map::{HAS_HISTOGRAM_BYTES, SpaceChange, SpaceMap};
use super::space_map_write::{self, Form};
use crate::error::Result;
use crate::ids::ObjectId;
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;

/// The block size of new logs (`zfs_vdev_dtl_sm_blksz`).
const BLOCK_BYTES: u32 = 4 << 10;

/// Reads the log in `object`.
///
/// # Errors
/// Fails if the object is not a space map, or if it cannot be read.
pub fn read(mos: &dyn ObjectSet, object: ObjectId) -> Result<RangeSet> {
    let mut txgs = RangeSet::default();
    SpaceMap::open(mos, object)?.replay(mos, 0, u64::MAX, 0, &mut txgs)?;
    Ok(txgs)
}

/// Allocates the object of a log.
///
/// # Errors
/// Fails if the store cannot allocate it.
pub(crate) fn create(mos: &mut dyn ObjectStore, form: MapForm) -> Result<ObjectId> {
    space_map_write::create_with_blocks(mos, form.histogram, BLOCK_BYTES)
}

/// Replaces the content of the log in `object`.
///
/// # Errors
/// Fails if the object is not a space map, or if it cannot be changed.
pub(crate) fn write(
    mos: &mut dyn ObjectStore,
    object: ObjectId,
    txgs: &RangeSet,
    form: MapForm,
) -> Result<()> {
    let info = mos.info(object)?;
    info.expect_type(ObjectType::SPACE_MAP)?;
    let has_histogram = info.bonus()?.len() >= HAS_HISTOGRAM_BYTES;
    let form = Form { start: 0, shift: 0, two_words: form.two_words, block_bytes: info.block_bytes };
    let entries = form.entries(0, txgs, SpaceChange::Alloc, mos.txg(), 1);
    mos.free_range(object, 0, u64::MAX)?;
    mos.write(object, 0, &entries)?;
    let histogram = has_histogram.then_some((&[0; 64], 0));
    let header = space_map_write::header(object, entries.len() as u64, txgs.bytes(), histogram);
    mos.set_bonus(object, ObjectType::SPACE_MAP_HEADER, &header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::Store;

    #[test]
    fn a_log_is_read_as_it_was_written_last() {
        for histogram in [false, true] {
            for two_words in [false, true] {
                let mut mos = Store::default();
                let form = MapForm { two_words, histogram };
                let log = create(&mut mos, form).unwrap();
                assert!(read(&mos, log).unwrap().is_empty());
                let mut txgs = RangeSet::default();
                for (start, end) in [(4, 5), (1000, 2_000_000), (3_000_000, 3_000_001)] {
                    txgs.cover(start, end);
                    write(&mut mos, log, &txgs, form).unwrap();
                    assert_eq!(read(&mos, log).unwrap(), txgs);
                }
                let mut less = RangeSet::default();
                less.cover(7, 8);
                write(&mut mos, log, &less, form).unwrap();
                assert_eq!(read(&mos, log).unwrap(), less);
            }
        }
    }
}
