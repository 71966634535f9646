//! The space of a pool that datasets share (`spa_get_dspace`, `spa_get_slop_space`).

use zstream_dmu::bpobj::BpObj;
use zstream_dmu::error::Result;
use zstream_dmu::mos::features::Features;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{Pool, allocation_class, directory_object};
use zstream_dmu::vdev::Vdev;
use zstream_dmu::vdev::config::{VdevConfig, VdevType};
use zstream_dmu::zap::Zap;

/// Pools keep one part in `2^5` back.
const SLOP_SHIFT: u32 = 5;
/// The least and most that a pool keeps back, unless the least were more than half of it.
const SLOP_BYTES: (u64, u64) = (128 << 20, 128 << 30);
/// A vdev with more metaslabs than this gives one of them to its intent log.
const METASLABS_WITHOUT_LOG: u64 = 64;

/// How much of a pool datasets can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpace {
    /// Bytes for all datasets together, what they use already included.
    pub usable_bytes: u64,
}

impl PoolSpace {
    /// The space of a pool. None where it depends on more than sizes and counts: with allocation classes,
    /// deduplicated or cloned blocks, a checkpoint, or an expanded raidz.
    ///
    /// # Errors
    /// When the properties of a vdev cannot be read.
    pub fn of(pool: &Pool) -> Result<Option<Self>> {
        Self::over(&**pool.mos(), pool.vdevs().tops(), pool.features())
    }

    /// The space of a pool with this MOS, these top-level vdevs and features, as [`of`](Self::of) has it.
    ///
    /// # Errors
    /// When the properties of a vdev cannot be read.
    pub fn over(mos: &dyn ObjectSet, tops: &[Vdev], features: &Features) -> Result<Option<Self>> {
        let uncounted = ["block_cloning", "zpool_checkpoint", "raidz_expansion"];
        if uncounted.iter().any(|feature| features.is_active(feature))
            || !zap_is_empty(mos, "DDT-statistics")?
        {
            return Ok(None);
        }
        // Pools from before version 3 count the parity of raidz as space like any other.
        let is_deflated = directory_object(mos, "deflate")?.is_some();
        let (mut normal, mut log) = (0_u64, 0_u64);
        for top in tops {
            let config = top.config();
            if config.is_log || matches!(config.kind, VdevType::Hole | VdevType::Indirect) {
                continue;
            }
            if allocation_class(mos, top)?.is_some() {
                return Ok(None);
            }
            let Some((space, logged)) = vdev_space(config, is_deflated) else { return Ok(None) };
            normal = normal.saturating_add(space);
            log = log.saturating_add(logged);
        }
        let slop = slop(normal, log);
        Ok(Some(Self { usable_bytes: normal.saturating_sub(slop) }.without_deferred(mos)?))
    }

    /// The space without what is freed but is still in the list of what the next transaction group gives back.
    fn without_deferred(self, mos: &dyn ObjectSet) -> Result<Self> {
        let deferred = match directory_object(mos, "sync_bplist")? {
            Some(list) => BpObj::open(mos, list)?.bytes,
            None => 0,
        };
        Ok(Self { usable_bytes: self.usable_bytes.saturating_sub(deferred) })
    }
}

/// Whether the MOS has no such ZAP, or nothing in it.
fn zap_is_empty(mos: &dyn ObjectSet, name: &str) -> Result<bool> {
    let Some(object) = directory_object(mos, name)? else { return Ok(true) };
    let zap = Zap::open(mos, object)?;
    let first = zap.entries().next().transpose()?;
    Ok(first.is_none())
}

/// What the pool keeps back for its own work, given the space for ordinary blocks and for embedded logs.
fn slop(normal: u64, log: u64) -> u64 {
    let slop = (normal >> SLOP_SHIFT).min(SLOP_BYTES.1);
    let slop = slop - log.min(slop >> 1);
    slop.max(SLOP_BYTES.0.min(normal >> 1))
}

/// Bytes for ordinary blocks and for the embedded log of a top-level vdev: as data without parity, if it is deflated.
fn vdev_space(config: &VdevConfig, is_deflated: bool) -> Option<(u64, u64)> {
    let ashift = u32::from(config.ashift?);
    let shift = u32::try_from(config.metaslab_shift?).ok()?;
    let metaslabs = config.asize?.checked_shr(shift)?;
    let logs = u64::from(metaslabs > METASLABS_WITHOUT_LOG);
    let ratio = if is_deflated { deflate_ratio(config, ashift)? } else { 1 << 9 };
    let deflated = |count: u64| Some((count.checked_shl(shift)? >> 9).saturating_mul(ratio));
    Some((deflated(metaslabs - logs)?, deflated(logs)?))
}

/// Bytes of data in each 512 bytes of a vdev, as a block of 128 KiB has them (`vdev_deflate_ratio`).
fn deflate_ratio(config: &VdevConfig, ashift: u32) -> Option<u64> {
    const BLOCK_BYTES: u64 = 1 << 17;
    let asize = match &config.kind {
        VdevType::Raidz(geometry) => {
            let (width, parity) = (geometry.children as u64, geometry.parity as u64);
            let data = BLOCK_BYTES.checked_shr(ashift)?;
            let sectors = data + parity * data.div_ceil(width.checked_sub(parity).filter(|&n| n > 0)?);
            sectors.next_multiple_of(parity + 1).checked_shl(ashift)?
        }
        _ => BLOCK_BYTES,
    };
    BLOCK_BYTES.checked_div(asize >> 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pools_keep_half_and_large_ones_a_part() {
        assert_eq!(slop(100 << 20, 0), 50 << 20);
        assert_eq!(slop(1 << 30, 0), 128 << 20);
        assert_eq!(slop(64 << 30, 0), 2 << 30);
        assert_eq!(slop(64 << 30, 512 << 20), (2 << 30) - (512 << 20));
        assert_eq!(slop(64 << 30, 4 << 30), 1 << 30);
        assert_eq!(slop(1 << 50, 0), 128 << 30);
    }
}
