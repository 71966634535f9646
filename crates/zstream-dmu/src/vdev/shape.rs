//! The shapes of new top-level vdevs: their number of members and their size.

use std::fmt;
use std::ops::RangeInclusive;

use super::{draid, raidz};

/// The layout of a new top-level vdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A single member, which is the top-level vdev itself.
    Single,
    /// A mirror: every member has all data.
    Mirror,
    /// Raidz with this number of parity columns: as many members may be missing.
    Raidz(usize),
    /// Declustered raidz.
    Draid(draid::Numbers),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("single"),
            Self::Mirror => f.write_str("mirror"),
            Self::Raidz(parity) => write!(f, "raidz{parity}"),
            Self::Draid(numbers) => f.write_str(&numbers.name()),
        }
    }
}

impl Shape {
    /// Returns the type in the config of a vdev with children; `None` for a single member.
    #[must_use]
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::Single => None,
            Self::Mirror => Some("mirror"),
            Self::Raidz(_) => Some("raidz"),
            Self::Draid(_) => Some("draid"),
        }
    }

    /// Returns the numbers that define the layout in the config, in the order of OpenZFS.
    #[must_use]
    pub fn numbers(self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Single | Self::Mirror => Vec::new(),
            Self::Raidz(parity) => vec![("nparity", parity as u64)],
            Self::Draid(numbers) => vec![
                ("nparity", numbers.parity as u64),
                ("draid_ndata", numbers.data as u64),
                ("draid_nspares", numbers.spares as u64),
                ("draid_ngroups", numbers.groups_min() as u64),
            ],
        }
    }

    /// Returns the number of distributed spares.
    #[must_use]
    pub(crate) fn spares(self) -> usize {
        match self {
            Self::Single | Self::Mirror | Self::Raidz(_) => 0,
            Self::Draid(numbers) => numbers.spares,
        }
    }

    /// Returns the number of bytes of which all allocations are multiples, besides sectors of `1 << ashift` bytes.
    #[must_use]
    pub(crate) fn alignment(self, ashift: u8) -> u64 {
        match self {
            Self::Single | Self::Mirror | Self::Raidz(_) => 1,
            Self::Draid(numbers) => ((numbers.data + numbers.parity) as u64) << ashift,
        }
    }

    /// Returns the allowed number of members.
    #[must_use]
    pub fn members(self) -> RangeInclusive<usize> {
        match self {
            Self::Single => 1..=1,
            Self::Mirror => 2..=usize::MAX,
            Self::Raidz(parity) => parity + 1..=raidz::MEMBERS_MAX,
            Self::Draid(numbers) => numbers.children..=numbers.children,
        }
    }

    /// Returns how many of `members` may be missing.
    #[must_use]
    pub(crate) fn losses_allowed(self, members: usize) -> usize {
        match self {
            Self::Single => 0,
            Self::Mirror => members.saturating_sub(1),
            Self::Raidz(parity) => parity,
            Self::Draid(numbers) => numbers.parity,
        }
    }

    /// Returns the size in bytes, parity included, of a top-level vdev whose members have these sizes (`vdev_asize`).
    #[must_use]
    pub fn asize(self, members: &[u64]) -> u64 {
        let least = members.iter().copied().min().unwrap_or(0);
        match self {
            Self::Single | Self::Mirror => least,
            Self::Raidz(_) => least.saturating_mul(members.len() as u64),
            Self::Draid(numbers) => numbers.vdev_bytes(least),
        }
    }
}
