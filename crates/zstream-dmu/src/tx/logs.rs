//! Retiring the log space maps that OpenZFS left.
//!
//! The allocator takes over what they hold when the pool is opened, and the first transaction group writes it to the maps of
//! the metaslabs. From then on nothing needs the logs. OpenZFS makes new ones when it writes to the pool again.

use crate::error::Result;
use crate::ids::ObjectId;
use crate::mos::DIRECTORY_OBJECT;
use crate::object_store::ObjectStore;
use crate::space::Allocator;
use crate::space::vdev_space::{LOG_SPACE_MAPS, LogSpaceMaps, UNFLUSHED_TXGS};
use crate::tx::features;
use crate::zap::{Zap, ZapMut};

/// Frees the logs, and what says since when each metaslab needs them. Does nothing where there are none.
pub(super) fn retire(mos: &mut dyn ObjectStore, space: &Allocator) -> Result<()> {
    if !space.has_logs() {
        return Ok(());
    }
    let logs = LogSpaceMaps::open(&*mos)?;
    if let Some(zap) = Zap::open(&*mos, DIRECTORY_OBJECT)?.lookup_u64(LOG_SPACE_MAPS)? {
        for (_, log) in logs.maps() {
            mos.free(log.object)?;
        }
        let with_histogram = logs.maps().iter().filter(|(_, log)| log.histogram.is_some()).count();
        if with_histogram > 0 {
            features::add(mos, "spacemap_histogram", -(with_histogram as i64))?;
        }
        mos.free(ObjectId(zap))?;
        ZapMut::open(mos, DIRECTORY_OBJECT)?.remove(LOG_SPACE_MAPS)?;
        features::add(mos, "log_spacemap", -1)?;
    }
    for top in space.vdevs().tops() {
        let Some(zap) = top.config().zap.filter(|zap| *zap != 0).map(ObjectId) else { continue };
        if let Some(array) = Zap::open(&*mos, zap)?.lookup_u64(UNFLUSHED_TXGS)? {
            mos.free(ObjectId(array))?;
            ZapMut::open(mos, zap)?.remove(UNFLUSHED_TXGS)?;
        }
    }
    space.forget_logs();
    Ok(())
}
