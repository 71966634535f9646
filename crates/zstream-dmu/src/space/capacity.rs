//! How much of a pool datasets can use (`spa_update_dspace`, `spa_get_slop_space`).
//!
//! ```text
//! |<----------------- metaslabs of vdevs for ordinary blocks, deflated ---------------->|
//! |<------------------------------- normal ------------------------------->|<---log---->|
//! |<------------------- usable ------------------->|<-------- slop ------->|
//! |<-- used -->|<----------- available ----------->|
//! ```
//!
//! A vdev of many metaslabs gives one of them to its intent log. What is allocated on vdevs for special blocks is used, and adds
//! as much to what there is; it is left out of both here. All are deflated bytes, as datasets count them (see
//! [`arithmetic`]): the allocator refuses a block where `available` ends.

use super::Reserve;
use super::vdev_space::VdevSpace;
use crate::vdev::arithmetic::{self, deflated};
use crate::vdev::config::VdevConfig;
use crate::zio::AllocationClass;

/// The part of a pool that is kept free of data is one of `2^5` (`spa_slop_shift`).
const SLOP_SHIFT: u32 = 5;

/// Least and most that is kept free; never more than half (`spa_min_slop`, `spa_max_slop`).
const SLOP_BYTES: (u64, u64) = (128 << 20, 128 << 30);

/// A vdev with more metaslabs than this gives one of them to its intent log (`zfs_embedded_slog_min_ms`).
const METASLABS_WITHOUT_LOG: u64 = 64;

/// The room of a pool for ordinary blocks, in deflated bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// That of metaslabs for all blocks.
    pub normal: u64,
    /// That of metaslabs for intent logs.
    pub log: u64,
}

impl Capacity {
    /// The room on these top-level vdevs, each with its part of the config. Pools from before version 3 are not deflated.
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
            let metaslabs = space.metaslabs();
            let logs = u64::from(metaslabs > METASLABS_WITHOUT_LOG);
            let ratio = ratio(config, is_deflated);
            let bytes = |count: u64| {
                deflated(count.checked_shl(u32::from(space.metaslab_shift)).unwrap_or(u64::MAX), ratio)
            };
            // What is on a vdev that nothing may be taken from is used all the same.
            if space.class.is_some() {
                all.normal = all.normal.saturating_add(bytes(metaslabs - logs));
            }
            all.log = all.log.saturating_add(bytes(logs));
        }
        all
    }

    /// What the pool keeps back for its own work (`spa_get_slop_space`).
    #[must_use]
    pub fn slop(&self) -> u64 {
        let (least, most) = SLOP_BYTES;
        let slop = (self.normal >> SLOP_SHIFT).min(most);
        let slop = slop - self.log.min(slop >> 1);
        slop.max(least.min(self.normal >> 1))
    }

    /// What datasets can use together, what they use already included.
    #[must_use]
    pub fn usable(&self) -> u64 {
        self.normal - self.slop()
    }

    /// How much may be used so that so much stays free (`dsl_pool_adjustedsize`).
    #[must_use]
    pub fn limit(&self, reserve: Reserve) -> u64 {
        match reserve {
            Reserve::Slop => self.usable(),
            Reserve::HalfSlop => self.normal - self.slop() / 2,
            // As far as there is room.
            Reserve::Nothing => u64::MAX,
        }
    }
}

/// What each sector of 512 bytes on a top-level vdev counts for.
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
