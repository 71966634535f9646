//! What is allocated on a vdev and what is free.

mod allocator;
mod free_space;
mod metaslab;
pub mod space_map;
mod space_map_write;
#[cfg(test)]
mod tests;
mod top;

pub use self::allocator::{Allocator, MapForm};

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

/// How much space a pool has, in bytes, parity included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceUse {
    /// What all metaslabs have.
    pub capacity: u64,
    /// What is allocated of it.
    pub allocated: u64,
    /// What must stay free.
    pub slop: u64,
}

/// What writing space maps did to the MOS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceMaps {
    /// Whether anything was written.
    pub changed: bool,
    /// How many maps were made.
    pub created: u64,
}
