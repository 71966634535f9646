//! The kinds of vdevs, and the properties that depend on the kind alone.
//!
//! Every match here and in the vdev tree names every kind, so that the compiler points to each place that a new kind
//! needs: here, `Kind` of the tree, and a module of its own for the layout of its blocks.

use super::draid;
use super::raidz::Geometry;
use crate::ids::Txg;

/// The kind of a vdev.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VdevType {
    /// The pool as a whole.
    Root,
    /// A file.
    File,
    /// A disk or partition.
    Disk,
    /// A mirror: every child has the same data.
    Mirror,
    /// A mirror of a member and its replacement.
    Replacing,
    /// A mirror of a member and the hot spare that replaces it temporarily.
    Spare,
    /// Raidz: data and parity columns across the children.
    Raidz(Geometry),
    /// Declustered raidz: groups of data and parity columns across the children, with distributed spares.
    Draid(draid::Geometry),
    /// A distributed spare, by its number, in place of a member of dRAID. It has no device.
    DraidSpare(usize),
    /// The slot of a removed log device.
    Hole,
    /// A vdev about which nothing is known.
    Missing,
    /// A removed vdev. A mapping has the new locations of its blocks.
    Indirect,
}

impl VdevType {
    /// Returns the name of this kind in the output of `zpool`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Root => "root".to_owned(),
            Self::File => "file".to_owned(),
            Self::Disk => "disk".to_owned(),
            Self::Mirror => "mirror".to_owned(),
            Self::Replacing => "replacing".to_owned(),
            Self::Spare => "spare".to_owned(),
            Self::Raidz(geometry) => format!("raidz{}", geometry.parity),
            Self::Draid(geometry) => geometry.name(),
            Self::DraidSpare(_) => "dspare".to_owned(),
            Self::Hole => "hole".to_owned(),
            Self::Missing => "missing".to_owned(),
            Self::Indirect => "indirect".to_owned(),
        }
    }

    /// Returns `true` if the vdev is a device.
    #[must_use]
    pub(crate) fn is_leaf(&self) -> bool {
        match self {
            Self::File | Self::Disk => true,
            Self::Root
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Raidz(_)
            | Self::Draid(_)
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => false,
        }
    }

    /// Returns the allocated size of a block of `psize` bytes, born in `birth`, on a top-level vdev with sectors of
    /// `1 << ashift` bytes (`vdev_psize_to_asize_txg`).
    #[must_use]
    pub fn asize(&self, ashift: u8, psize: u64, birth: Txg) -> u64 {
        match self {
            Self::Raidz(geometry) => geometry.asize(psize, geometry.logical_width(birth.0)),
            Self::Draid(geometry) => geometry.asize(psize),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => psize.next_multiple_of(1 << ashift),
        }
    }

    /// Returns the allocated size of a block of `psize` bytes over the current number of members, if it depends on
    /// the number of members; otherwise `None`.
    #[must_use]
    pub fn striped_asize(&self, psize: u64) -> Option<u64> {
        match self {
            Self::Raidz(geometry) => Some(geometry.asize(psize, geometry.children)),
            Self::Draid(geometry) => Some(geometry.asize(psize)),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => None,
        }
    }

    /// Returns the number of members that hold data of a block, without those for parity.
    #[must_use]
    pub(crate) fn data_disks(&self) -> u64 {
        match self {
            Self::Raidz(geometry) => (geometry.children - geometry.parity) as u64,
            Self::Draid(geometry) => (geometry.disks() - geometry.parity) as u64,
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => 1,
        }
    }

    /// Returns how many of `children` may be missing; `None` for a vdev about which nothing is known.
    #[must_use]
    pub(crate) fn losses_allowed(&self, children: usize) -> Option<usize> {
        match self {
            Self::Raidz(geometry) => Some(geometry.parity),
            Self::Draid(geometry) => Some(geometry.parity),
            Self::Mirror | Self::Replacing | Self::Spare => Some(children.saturating_sub(1)),
            Self::Root | Self::File | Self::Disk | Self::DraidSpare(_) | Self::Hole | Self::Indirect => {
                Some(0)
            }
            Self::Missing => None,
        }
    }

    /// Returns the size in bytes that each member needs for a vdev of `asize` bytes (`vdev_op_min_asize`).
    #[must_use]
    pub(crate) fn member_bytes(&self, asize: u64) -> u64 {
        match self {
            Self::Raidz(geometry) => asize.div_ceil(geometry.children as u64),
            Self::Draid(geometry) => geometry.member_bytes(asize),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => asize,
        }
    }

    /// Returns the number of sectors with content, without parity, in the smallest allocation.
    #[must_use]
    pub(crate) fn content_sectors_min(&self) -> usize {
        match self {
            Self::Draid(geometry) => geometry.numbers().data,
            Self::Raidz(_)
            | Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => 1,
        }
    }

    /// Returns the number of bytes of which the offset and the allocated size of every block are multiples, besides
    /// sectors (`vdev_draid_get_astart`).
    #[must_use]
    pub(crate) fn block_alignment(&self) -> u64 {
        match self {
            Self::Draid(geometry) => geometry.stripe_bytes(),
            Self::Raidz(_)
            | Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => 1,
        }
    }

    /// Returns `true` if no blocks are stored on such a vdev itself.
    #[must_use]
    pub fn holds_nothing(&self) -> bool {
        match self {
            Self::Hole | Self::Indirect => true,
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Raidz(_)
            | Self::Draid(_)
            | Self::DraidSpare(_)
            | Self::Missing => false,
        }
    }

    /// Returns `true` if a raidz expansion is in progress.
    #[must_use]
    pub(crate) fn is_expanding(&self) -> bool {
        match self {
            Self::Raidz(geometry) => geometry.expansion.reflowed_to.is_some(),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Draid(_)
            | Self::DraidSpare(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => false,
        }
    }

    /// Returns the reason why a pool with such a vdev is read-only, as a clause to append to its name; `None` if it
    /// is writable.
    #[must_use]
    pub(crate) fn why_not_written(&self) -> Option<&'static str> {
        match self {
            Self::DraidSpare(_) => Some(", which is in use"),
            Self::Raidz(_)
            | Self::Draid(_)
            | Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Hole
            | Self::Indirect
            | Self::Missing => None,
        }
    }
}
