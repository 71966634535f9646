//! What is allocated on a vdev and what is free.

mod allocator;
mod capacity;
mod free_space;
mod metaslab;
pub mod space_map;
mod space_map_write;
#[cfg(test)]
mod tests;
mod top;
pub mod vdev_space;

pub use self::allocator::{Allocator, MapForm};
pub use self::capacity::Capacity;

/// How much of a pool must stay free when space is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reserve {
    /// The slop space: what users fill ends here (`ZFS_SPACE_CHECK_NORMAL`).
    #[default]
    Slop,
    /// Half of it: for what frees more than it takes in the end (`ZFS_SPACE_CHECK_RESERVED`).
    HalfSlop,
    /// Nothing: for what must be written so that a transaction group can be completed.
    Nothing,
}

/// How much space a pool has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceUse {
    /// What all metaslabs have, parity included.
    pub capacity: u64,
    /// What is allocated of it.
    pub allocated: u64,
    /// What there is for ordinary blocks, as datasets count it.
    pub room: Capacity,
    /// What is used of that.
    pub used: u64,
}

impl SpaceUse {
    /// What datasets can still use.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.room.usable().saturating_sub(self.used)
    }
}

/// What writing space maps did to the MOS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceMaps {
    /// Whether anything was written.
    pub changed: bool,
    /// How many maps were made.
    pub created: u64,
}
