//! The space of a pool that datasets can use (`spa_update_dspace`, `spa_get_slop_space`).
//!
//! ```text
//! |<----------------- metaslabs of vdevs for ordinary blocks, deflated ---------------->|
//! |<------------------------------- normal ------------------------------->|<---log---->|
//! |<------------------- usable ------------------->|<-------- slop ------->|
//! |<-- used -->|<----------- available ----------->|
//! ```
//!
//! A vdev with many metaslabs reserves one of them for its intent log. Space allocated on special vdevs counts as
//! used, and increases the total by the same amount, so it is omitted from both here. All values are deflated bytes,
//! as datasets count them (see [`arithmetic`]). Allocation fails where `available` ends.

use super::Reserve;
use super::vdev_space::VdevSpace;
use crate::vdev::arithmetic::{self, deflated};
use crate::vdev::config::VdevConfig;
use crate::zio::AllocationClass;

/// The shift for the slop space: `1 / 2^5` of the pool (`spa_slop_shift`).
const SLOP_SHIFT: u32 = 5;

/// The minimum and the maximum of the slop space. It is never more than half of the pool (`spa_min_slop`,
/// `spa_max_slop`).
const SLOP_BYTES: (u64, u64) = (128 << 20, 128 << 30);

/// The number of metaslabs above which a vdev reserves one for its intent log (`zfs_embedded_slog_min_ms`).
const METASLABS_WITHOUT_LOG: u64 = 64;

/// The size of the normal class of a pool in deflated bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// The size of the metaslabs for all blocks.
    pub normal: u64,
    /// The size of the metaslabs for intent logs.
    pub log: u64,
}

impl Capacity {
    /// Returns the size of these top-level vdevs, each with its part of the config. Pools before version 3 are not
    /// deflated.
    #[must_use]
    pub fn of<'a>(
        vdevs: impl IntoIterator<Item = (&'a VdevSpace, &'a VdevConfig)>,
        is_deflated: bool,
    ) -> Self {
        let mut all = Self::default();
        for (space, config) in vdevs {
            if space.belongs_to != Some(AllocationClass::Normal) {
                continue;
            }
            let has_log = space.metaslabs() > METASLABS_WITHOUT_LOG;
            // The first metaslab of a new vdev is reserved. Later it is the emptiest, which has about the same size.
            let log = if has_log { space.metaslab(0).1 } else { 0 };
            let ratio = ratio(config, is_deflated);
            // A vdev that must not be allocated from adds no space, although its data counts as used.
            if space.class.is_some() {
                all.normal = all.normal.saturating_add(deflated(space.capacity() - log, ratio));
            }
            all.log = all.log.saturating_add(deflated(log, ratio));
        }
        all
    }

    /// Returns the slop space, which the pool reserves for its own operations (`spa_get_slop_space`).
    #[must_use]
    pub(crate) fn slop(&self) -> u64 {
        let (least, most) = SLOP_BYTES;
        let slop = (self.normal >> SLOP_SHIFT).min(most);
        let slop = slop - self.log.min(slop >> 1);
        slop.max(least.min(self.normal >> 1))
    }

    /// Returns the space that all datasets can use, including the space already in use.
    #[must_use]
    pub fn usable(&self) -> u64 {
        self.normal - self.slop()
    }

    /// Returns the limit for used space that leaves the reserve free (`dsl_pool_adjustedsize`).
    #[must_use]
    pub fn limit(&self, reserve: Reserve) -> u64 {
        match reserve {
            Reserve::Slop => self.usable(),
            Reserve::HalfSlop => self.normal - self.slop() / 2,
            // Limited only by the free space.
            Reserve::Nothing => u64::MAX,
        }
    }
}

/// Returns the deflated bytes per sector of 512 bytes of a top-level vdev.
pub(super) fn ratio(config: &VdevConfig, is_deflated: bool) -> u64 {
    match config.deflate_ratio() {
        0 => 0,
        ratio if is_deflated => ratio,
        _ => arithmetic::RATIO_WITHOUT_DEFLATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slop(normal: u64, log: u64) -> u64 {
        Capacity { normal, log }.slop()
    }

    #[test]
    fn small_pools_keep_half_and_large_ones_a_part() {
        assert_eq!(slop(100 << 20, 0), 50 << 20);
        assert_eq!(slop(1 << 30, 0), 128 << 20);
        assert_eq!(slop(64 << 30, 0), 2 << 30);
        assert_eq!(slop(64 << 30, 512 << 20), (2 << 30) - (512 << 20));
        assert_eq!(slop(64 << 30, 4 << 30), 1 << 30);
        assert_eq!(slop(1 << 50, 0), 128 << 30);
        assert_eq!(slop(0, 0), 0);
    }
}
