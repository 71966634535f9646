//! Declustered raidz (dRAID): groups of data and parity columns that are spread over more members than they have, and
//! spares that are distributed over all of them.
//!
//! A distributed spare is a child in the tree in place of a member that failed, and has no device. Its space is that of
//! the columns of each slice that no group has. In another slice this is another member, which may itself have been
//! replaced by another spare.

pub(super) mod config;
mod geometry;
mod permutations;
mod seeds;

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock, Weak};

pub(crate) use self::geometry::{Geometry, Numbers};
use super::Vdev;
use crate::error::{Error, Result};

/// The numbers of members of a dRAID vdev (`VDEV_DRAID_MIN_CHILDREN`, `VDEV_DRAID_MAX_CHILDREN`).
pub(crate) const MEMBERS: RangeInclusive<usize> = 2..=255;

/// The maximum number of distributed spares.
pub(crate) const SPARES_MAX: usize = 100;

/// The maximum number of data columns of a group if the number is not specified.
pub(crate) const DATA_DEFAULT_MAX: usize = 8;

/// The height of a row: the maximum block size, so that a group with one data column holds any block.
const ROW_BYTES: u64 = 16 << 20;

/// A dRAID vdev with its children.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) geometry: Geometry,
    pub(super) children: Vec<Vdev>,
}

/// The family to which the distributed spares below it refer. It is set after the children were built.
#[derive(Clone, Debug, Default)]
pub(super) struct Home(Arc<OnceLock<Weak<Family>>>);

impl Home {
    /// Creates the family of these children, which were built with this home.
    pub(super) fn settle(&self, geometry: Geometry, children: Vec<Vdev>) -> Arc<Family> {
        let family = Arc::new(Family { geometry, children });
        let _ = self.0.set(Arc::downgrade(&family));
        family
    }
}

/// A distributed spare in place of a member.
#[derive(Debug)]
pub(super) struct DistributedSpare {
    pub(super) home: Home,
    pub(super) id: usize,
}

impl DistributedSpare {
    /// Calls `act` with the member that has the content at byte `offset`.
    ///
    /// A chain of spares ends: the config has each spare once, so none leads back to where the chain began.
    pub(super) fn with_member<R>(&self, offset: u64, act: impl FnOnce(&Vdev) -> Result<R>) -> Result<R> {
        let family = self.home.0.get().and_then(Weak::upgrade);
        let family = family.ok_or_else(|| Error::internal("distributed spare without its vdev"))?;
        act(&family.children[family.geometry.spare_member(self.id, offset)])
    }
}

#[cfg(test)]
mod tests;
