//! The space of a pool that datasets share (`dsl_pool_adjustedsize`).

use zstream_dmu::bpobj::BpObj;
use zstream_dmu::brt::Totals;
use zstream_dmu::mos::Features;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{Pool, directory_object};
use zstream_dmu::space::{Capacity, VdevSpace, dedup_totals};
use zstream_dmu::vdev::Vdev;
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
    /// or an expanded raidz.
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
        let uncounted = ["raidz_expansion"];
        if uncounted.iter().any(|feature| features.is_active(feature)) {
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
        // Datasets use the space of a cloned or deduplicated block once for each reference.
        let saved = match features.is_active("block_cloning") {
            true => Totals::of(mos, tops.len() as u32)?.saved_bytes,
            false => 0,
        };
        let saved = saved.saturating_add(dedup_totals(mos, tops)?.saved_bytes());
        let usable_bytes = room.usable().saturating_add(saved);
        // Space that only the checkpoint uses is not used by any dataset. Parity counts here.
        let mut kept = 0_u64;
        for (space, _) in &spaces {
            kept = kept.saturating_add(space.checkpoint_bytes(mos)?);
        }
        let usable_bytes = usable_bytes.saturating_sub(kept);
        Ok(Some(Self { usable_bytes }.without_deferred(mos)?))
    }

    /// Returns the space after cloned and deduplicated blocks, which saved `before` bytes, save `now` bytes.
    #[must_use]
    pub(crate) fn saving(self, before: u64, now: u64) -> Self {
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
