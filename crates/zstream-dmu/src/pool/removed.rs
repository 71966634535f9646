//! Removed vdevs of a pool that is written.
//!
//! | entry of the MOS's directory | content |
//! | --- | --- |
//! | `com.delphix:removing` | the last removal: state, vdev, previously removed vdev, times, bytes |
//! | `com.delphix:condensing_indirect` | the condensing of a mapping that is under way |
//! | `com.delphix:obsolete_bpobj` | blocks that become obsolete with the next transaction group |
//!
//! The feature `obsolete_counts` counts the objects that describe obsolete ranges: for each removed vdev its counts, the
//! map, and whether the counts are precise; the list above; and the list of remapped blocks of each dataset.

use super::{Pool, directory_object};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::DIRECTORY_OBJECT;
use crate::object_set::ObjectSet as _;
use crate::vdev::config::VdevType;
use crate::vdev::indirect::{MappingPhys, OBSOLETE_MAP};
use crate::zap::Zap;
use zstream_format::order::ByteOrder;

/// The entry of the vdev's ZAP that exists if its counts are precise.
const PRECISE: &str = "com.delphix:obsolete_counts_are_precise";

/// The entry of the MOS's directory with the last removal.
const REMOVING: &str = "com.delphix:removing";

/// The state of a removal that is under way (`DSS_SCANNING`).
const SCANNING: u64 = 1;

/// Refuses a pool from which a vdev is being removed, and one in which datasets have lists of remapped blocks.
///
/// # Errors
/// Fails for such a pool, and if the MOS cannot be read.
pub(super) fn check_removed(pool: &Pool) -> Result<()> {
    let mos = &**pool.mos();
    let directory = Zap::open(mos, DIRECTORY_OBJECT)?;
    if let Some(removing) = directory.lookup(REMOVING)?
        && removing.u64s().first() == Some(&SCANNING)
    {
        return Err(Error::unsupported("writing to a pool from which a vdev is being removed"));
    }
    let mut known = u64::from(directory_object(mos, "com.delphix:obsolete_bpobj")?.is_some());
    for top in &pool.config().vdev_tree.children {
        if top.kind != VdevType::Indirect {
            continue;
        }
        if let Some(object) = top.indirect_object.filter(|object| *object != 0) {
            let info = mos.info(ObjectId(object))?;
            let bonus = info.bonus()?;
            let counts = MappingPhys::read_short(bonus, ByteOrder::Little).counts_object;
            known += u64::from(bonus.len() >= MappingPhys::LEN && counts != 0);
        }
        let Some(zap) = top.zap.filter(|zap| *zap != 0) else { continue };
        let zap = Zap::open(mos, ObjectId(zap))?;
        for name in [OBSOLETE_MAP, PRECISE] {
            known += u64::from(zap.lookup_u64(name)?.is_some_and(|value| value != 0));
        }
    }
    let counted = pool.features().count("obsolete_counts");
    if counted == known {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "writing to a pool in which datasets have lists of remapped blocks (obsolete_counts is {counted}, {known} belong \
         to removed vdevs)"
    )))
}
