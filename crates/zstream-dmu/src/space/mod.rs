//! The allocated and the free space of vdevs.

mod allocator;
mod capacity;
mod claim;
mod dedup;
mod free_space;
pub(crate) mod kept;
mod metaslab;
pub(crate) mod missed_txgs;
mod obsolete;
mod release;
pub(crate) mod space_map;
mod space_map_write;
#[cfg(test)]
mod tests;
mod top;
mod vdev_map;
pub(crate) mod vdev_space;

pub use self::allocator::{Allocator, MapForm};
pub use self::capacity::Capacity;
pub use self::dedup::{dedup_totals, wrong_dedup_histograms};
pub use self::vdev_space::{LogSpaceMaps, VdevSpace};

/// The part of a pool that an allocation must leave free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reserve {
    /// The slop space: the limit for ordinary writes (`ZFS_SPACE_CHECK_NORMAL`).
    #[default]
    Slop,
    /// Half of the slop space: the limit for operations that finally free more than they allocate
    /// (`ZFS_SPACE_CHECK_RESERVED`).
    HalfSlop,
    /// Nothing: for writes that are required to complete a transaction group.
    Nothing,
}

/// The space of a pool in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceUse {
    /// The size of all metaslabs, including parity.
    pub capacity: u64,
    /// The allocated part of it.
    pub allocated: u64,
    /// The size of the normal class in deflated bytes, as datasets count them.
    pub room: Capacity,
    /// The used part of that.
    pub used: u64,
}

impl SpaceUse {
    /// Returns the space that datasets can still use.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.room.usable().saturating_sub(self.used)
    }
}

/// The changes to the MOS from writing space maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceMaps {
    /// Whether any map was written.
    pub changed: bool,
    /// The number of new maps.
    pub created: u64,
    /// The number of new maps of obsolete ranges of removed vdevs among them.
    pub created_obsolete: u64,
}
