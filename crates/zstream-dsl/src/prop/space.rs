//! The space of a pool that datasets share (`dsl_pool_adjustedsize`).

use zstream_dmu::bpobj::BpObj;
use zstream_dmu::brt::Totals;
use zstream_dmu::mos::Features;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{Pool, directory_object};
use zstream_dmu::space::{Capacity, VdevSpace};
use zstream_dmu::vdev::Vdev;
use zstream_dmu::zap::Zap;
use zstream_dmu::zio::AllocationClass;

use crate::error::Result;

/// The space of a pool for datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSpace {
    /// Bytes for all datasets together, including the space that they already use.
    pub usable_bytes: u64,
}

impl PoolSpace {
    /// Returns the space of a pool. `None` if it depends on more than sizes and counts: with allocation classes,
    /// deduplicated blocks, a checkpoint, or an expanded raidz.
    ///
    /// # Errors
    /// Fails if the properties of a vdev cannot be read.
    pub fn of(pool: &Pool) -> Result<Option<Self>> {
        Self::over(&**pool.mos(), pool.vdevs().tops(), pool.features())
    }

    /// Returns the space of a pool with this MOS, these top-level vdevs and features, like [`of`](Self::of).
    ///
    /// # Errors
    /// Fails if the properties of a vdev cannot be read.
    pub fn over(mos: &dyn ObjectSet, tops: &[Vdev], features: &Features) -> Result<Option<Self>> {
        let uncounted = ["zpool_checkpoint", "raidz_expansion"];
        if uncounted.iter().any(|feature| features.is_active(feature))
            || !zap_is_empty(mos, "DDT-statistics")?
        {
            return Ok(None);
        }
        let mut spaces = Vec::new();
        for top in tops {
            let config = top.config();
            match VdevSpace::find(mos, config)? {
                Some(space) => spaces.push((space, config)),
                None if config.kind.holds_nothing() => {}
                None => return Ok(None),
            }
        }
        let is_other = |class| class != Some(AllocationClass::Normal);
        if spaces.iter().any(|(space, config)| !config.is_log && is_other(space.belongs_to)) {
            return Ok(None);
        }
        let is_deflated = directory_object(mos, "deflate")?.is_some();
        let room = Capacity::of(spaces.iter().map(|(space, config)| (space, *config)), is_deflated);
        // Datasets use the space of a cloned block once for each reference.
        let saved = match features.is_active("block_cloning") {
            true => Totals::of(mos, tops.len() as u32)?.saved_bytes,
            false => 0,
        };
        let usable_bytes = room.usable().saturating_add(saved);
        Ok(Some(Self { usable_bytes }.without_deferred(mos)?))
    }

    /// Returns the space after cloned blocks, which saved `before` bytes, save `now` bytes.
    #[must_use]
    pub fn saving(self, before: u64, now: u64) -> Self {
        Self { usable_bytes: self.usable_bytes.saturating_sub(before).saturating_add(now) }
    }

    /// Returns the space without the freed blocks on the list that the next transaction group processes.
    fn without_deferred(self, mos: &dyn ObjectSet) -> Result<Self> {
        let deferred = match directory_object(mos, "sync_bplist")? {
            Some(list) => BpObj::open(mos, list)?.bytes,
            None => 0,
        };
        Ok(Self { usable_bytes: self.usable_bytes.saturating_sub(deferred) })
    }
}

/// Returns `true` if the MOS does not have this ZAP, or if it is empty.
fn zap_is_empty(mos: &dyn ObjectSet, name: &str) -> Result<bool> {
    let Some(object) = directory_object(mos, name)? else { return Ok(true) };
    let zap = Zap::open(mos, object)?;
    let first = zap.entries().next().transpose()?;
    Ok(first.is_none())
}
