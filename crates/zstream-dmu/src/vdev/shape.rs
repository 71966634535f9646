//! The shapes of new vdevs: how many members they need, and how large they then are.

use std::fmt;
use std::ops::RangeInclusive;

use super::raidz;

/// How the members of a top-level vdev hold its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// There is one, which is the vdev.
    Single,
    /// Each holds all of it.
    Mirror,
    /// Each holds a part of it; this many may be missing.
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
    /// The type of a vdev with members below it, and its parity, as its list says them; `None` for one that is a member.
    #[must_use]
    pub fn kind(self) -> Option<(&'static str, Option<u64>)> {
        match self {
            Self::Single => None,
            Self::Mirror => Some(("mirror", None)),
            Self::Raidz(parity) => Some(("raidz", Some(parity as u64))),
        }
    }

    /// How many members it may have.
    #[must_use]
    pub fn members(self) -> RangeInclusive<usize> {
        match self {
            Self::Single => 1..=1,
            Self::Mirror => 2..=usize::MAX,
            Self::Raidz(parity) => parity + 1..=raidz::MEMBERS_MAX,
        }
    }

    /// How many of `members` may be missing.
    #[must_use]
    pub fn losses_allowed(self, members: usize) -> usize {
        match self {
            Self::Single => 0,
            Self::Mirror => members.saturating_sub(1),
            Self::Raidz(parity) => parity,
        }
    }

    /// Bytes of a top-level vdev whose members have these: parity counts (`vdev_asize`).
    #[must_use]
    pub fn asize(self, members: &[u64]) -> u64 {
        let least = members.iter().copied().min().unwrap_or(0);
        match self {
            Self::Single | Self::Mirror => least,
            Self::Raidz(_) => least.saturating_mul(members.len() as u64),
        }
    }
}
