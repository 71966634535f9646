//! The shapes of new top-level vdevs: their number of members and their size.

use std::fmt;
use std::ops::RangeInclusive;

use super::raidz;

/// The layout of a new top-level vdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A single member, which is the top-level vdev itself.
    Single,
    /// A mirror: every member has all data.
    Mirror,
    /// Raidz with this number of parity columns: as many members may be missing.
    Raidz(usize),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("single"),
            Self::Mirror => f.write_str("mirror"),
            Self::Raidz(parity) => write!(f, "raidz{parity}"),
        }
    }
}

impl Shape {
    /// Returns the type and the parity for the config of a vdev with children; `None` for a single member.
    #[must_use]
    pub fn kind(self) -> Option<(&'static str, Option<u64>)> {
        match self {
            Self::Single => None,
            Self::Mirror => Some(("mirror", None)),
            Self::Raidz(parity) => Some(("raidz", Some(parity as u64))),
        }
    }

    /// Returns the allowed number of members.
    #[must_use]
    pub fn members(self) -> RangeInclusive<usize> {
        match self {
            Self::Single => 1..=1,
            Self::Mirror => 2..=usize::MAX,
            Self::Raidz(parity) => parity + 1..=raidz::MEMBERS_MAX,
        }
    }

    /// Returns how many of `members` may be missing.
    #[must_use]
    pub(crate) fn losses_allowed(self, members: usize) -> usize {
        match self {
            Self::Single => 0,
            Self::Mirror => members.saturating_sub(1),
            Self::Raidz(parity) => parity,
        }
    }

    /// Returns the size in bytes, parity included, of a top-level vdev whose members have these sizes (`vdev_asize`).
    #[must_use]
    pub fn asize(self, members: &[u64]) -> u64 {
        let least = members.iter().copied().min().unwrap_or(0);
        match self {
            Self::Single | Self::Mirror => least,
            Self::Raidz(_) => least.saturating_mul(members.len() as u64),
        }
    }
}
