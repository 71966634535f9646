//! The kinds of vdevs, and what depends on the kind alone.
//!
//! Every match here and in the tree of vdevs names every kind, so that a new one is added where the compiler asks for it: here,
//! in `Kind` of the tree, and in a module of its own for where its blocks lie.

use super::raidz::Geometry;
use crate::ids::Txg;

/// What a vdev is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VdevType {
    /// The pool as a whole.
    Root,
    /// A file.
    File,
    /// A disk or partition.
    Disk,
    /// The same data on every child.
    Mirror,
    /// A mirror of an old member and the one that replaces it.
    Replacing,
    /// A mirror of a member and the hot spare that stands in for it.
    Spare,
    /// Data and parity columns over the children.
    Raidz(Geometry),
    /// Declustered raidz; not readable by zstream. The text is its full name, like `draid2:4d:10c:1s`.
    Draid(String),
    /// The place of a log device that was removed.
    Hole,
    /// A vdev that is not known at all.
    Missing,
    /// A removed vdev whose blocks have been moved; a mapping says where to.
    Indirect,
}

impl VdevType {
    /// The name that `zpool` gives vdevs of this type.
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
            Self::Draid(name) => name.clone(),
            Self::Hole => "hole".to_owned(),
            Self::Missing => "missing".to_owned(),
            Self::Indirect => "indirect".to_owned(),
        }
    }

    /// Whether the vdev is a device.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        match self {
            Self::File | Self::Disk => true,
            Self::Root
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Raidz(_)
            | Self::Draid(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => false,
        }
    }

    /// Bytes that a block of `psize` bytes, born in `birth`, takes on a top-level vdev with sectors of `1 << ashift` bytes
    /// (`vdev_psize_to_asize_txg`).
    #[must_use]
    pub fn asize(&self, ashift: u8, psize: u64, birth: Txg) -> u64 {
        match self {
            Self::Raidz(geometry) => geometry.asize(psize, geometry.logical_width(birth.0)),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Draid(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => psize.next_multiple_of(1 << ashift),
        }
    }

    /// Bytes that a block of `psize` bytes takes where they depend on the members that it is striped over, as many as there are
    /// now; `None` where it takes its own sectors only.
    #[must_use]
    pub fn striped_asize(&self, psize: u64) -> Option<u64> {
        match self {
            Self::Raidz(geometry) => Some(geometry.asize(psize, geometry.children)),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Draid(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => None,
        }
    }

    /// Disks that hold data of a block, parity not counted.
    #[must_use]
    pub fn data_disks(&self) -> u64 {
        match self {
            Self::Raidz(geometry) => (geometry.children - geometry.parity) as u64,
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Draid(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => 1,
        }
    }

    /// How many of `children` may be missing; `None` for what is not known at all.
    #[must_use]
    pub fn losses_allowed(&self, children: usize) -> Option<usize> {
        match self {
            Self::Raidz(geometry) => Some(geometry.parity),
            Self::Mirror | Self::Replacing | Self::Spare => Some(children.saturating_sub(1)),
            Self::Root | Self::File | Self::Disk | Self::Draid(_) | Self::Hole | Self::Indirect => Some(0),
            Self::Missing => None,
        }
    }

    /// Whether no block lies on such a vdev itself.
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
            | Self::Missing => false,
        }
    }

    /// Whether it is being widened by a member.
    #[must_use]
    pub fn is_expanding(&self) -> bool {
        match self {
            Self::Raidz(geometry) => geometry.expansion.reflowed_to.is_some(),
            Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Replacing
            | Self::Spare
            | Self::Draid(_)
            | Self::Hole
            | Self::Missing
            | Self::Indirect => false,
        }
    }

    /// A clause that says why a pool with it cannot be written to.
    #[must_use]
    pub fn why_not_written(&self) -> Option<&'static str> {
        match self {
            Self::Replacing | Self::Spare => Some(", which is being replaced"),
            Self::Indirect => Some(", which was removed"),
            Self::Draid(_) => Some(""),
            Self::Raidz(_) if self.is_expanding() => Some(", which is being expanded"),
            Self::Raidz(_)
            | Self::Root
            | Self::File
            | Self::Disk
            | Self::Mirror
            | Self::Hole
            | Self::Missing => None,
        }
    }
}
