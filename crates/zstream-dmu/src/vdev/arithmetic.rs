//! The allocated size of blocks, and the part of it that is accounted.
//!
//! ```text
//! bytes of a block      psize
//! bytes allocated       asize      whole sectors, with parity and padding
//! bytes accounted       deflated   asize / 512 * ratio, about psize for a typical block
//! ```
//!
//! The used space of datasets, quotas and the space of the pool are in deflated bytes.

use super::config::{ASHIFT_RANGE, VdevConfig};
use crate::blkptr::SECTOR_BYTES;
use crate::ids::Txg;

/// The size of a typical block in bytes (`1 << 17` in `vdev_set_deflate_ratio`).
pub const TYPICAL_BYTES: u64 = 128 << 10;

/// The deflate ratio of pools before version 3, which count parity like data.
pub(crate) const RATIO_WITHOUT_DEFLATION: u64 = SECTOR_BYTES;

impl VdevConfig {
    /// Returns the allocated size of a block of `psize` bytes, born in `birth`, on this top-level vdev
    /// (`vdev_psize_to_asize_txg`).
    #[must_use]
    pub fn asize_of(&self, psize: u64, birth: Txg) -> u64 {
        self.kind.asize(self.sector_shift(), psize, birth)
    }

    /// Returns the binary logarithm of the sector size, or the minimum if it is unknown.
    #[must_use]
    pub(crate) fn sector_shift(&self) -> u8 {
        self.ashift.unwrap_or(*ASHIFT_RANGE.start() as u8)
    }

    /// Returns the size of gang headers with the feature `dynamic_gang_header`: the content of the smallest allocation
    /// on this top-level vdev (`vdev_gang_header_psize`).
    #[must_use]
    pub(crate) fn gang_header_bytes(&self) -> usize {
        self.kind.content_sectors_min() << self.sector_shift()
    }

    /// Returns the number of bytes that are accounted for each allocated 512 bytes on this top-level vdev: 512
    /// without parity, 0 if the vdev cannot have blocks (`vdev_set_deflate_ratio`).
    #[must_use]
    pub fn deflate_ratio(&self) -> u64 {
        if self.ashift.is_none() {
            return 0;
        }
        // The ratio is that of the vdev as it was created: an expansion does not change it.
        TYPICAL_BYTES / (self.asize_of(TYPICAL_BYTES, Txg(0)) / SECTOR_BYTES)
    }

    /// Returns the bytes that are accounted for `bytes` allocated bytes on this top-level vdev.
    #[must_use]
    pub fn accounted(&self, bytes: u64) -> u64 {
        deflated(bytes, self.deflate_ratio())
    }
}

/// Returns the accounted size of `bytes` allocated bytes (`vdev_deflated_space`).
#[must_use]
pub fn deflated(bytes: u64, ratio: u64) -> u64 {
    (bytes / SECTOR_BYTES).saturating_mul(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Guid;
    use crate::vdev::config::VdevType;
    use crate::vdev::raidz::{Expansion, Geometry};

    fn ratio(kind: VdevType, ashift: u8) -> u64 {
        VdevConfig { ashift: Some(ashift), ..VdevConfig::bare(kind, 0, Guid(1)) }.deflate_ratio()
    }

    fn raidz(children: usize, parity: usize, ashift: u8, expansion: Expansion) -> u64 {
        ratio(VdevType::Raidz(Geometry { children, parity, ashift, expansion }), ashift)
    }

    #[test]
    fn a_typical_block_counts_for_what_it_holds() {
        for kind in [VdevType::File, VdevType::Disk, VdevType::Mirror] {
            assert_eq!([9, 12, 16].map(|ashift| ratio(kind.clone(), ashift)), [512; 3]);
        }
        // Blocks of 128 KiB with parity, padded to a multiple of the parity plus one, are 342, 44, 54, 64 and 34
        // sectors.
        let none = Expansion::default;
        assert_eq!(raidz(4, 1, 9, none()), (128 << 10) / 342);
        assert_eq!(raidz(4, 1, 12, none()), (128 << 10) / (44 * 8));
        assert_eq!(raidz(5, 2, 12, none()), (128 << 10) / (54 * 8));
        assert_eq!(raidz(6, 3, 12, none()), (128 << 10) / (68 * 8));
        // It was created with three members, and two were attached later.
        let expanded = Expansion { done_txgs: vec![100, 200], reflowed_to: None };
        assert_eq!(raidz(5, 1, 12, expanded), raidz(3, 1, 12, none()));
        assert_eq!(VdevConfig::bare(VdevType::Hole, 0, Guid(0)).deflate_ratio(), 0);
        assert_eq!(deflated(54 * 4096, 303), 54 * 8 * 303);
    }
}
