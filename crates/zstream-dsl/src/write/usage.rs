//! Space accounting up the tree of directories (`dsl_dir_diduse_space` and related functions).
//!
//! A directory counts for its parent with the space that it uses or reserves, whichever is more:
//!
//! ```text
//! parent:  used = HEAD + SNAP + CHILD + CHILD_RSRV + REFRSRV
//!                               |       `- reserved by children and not used
//!                               `- used by children
//! ```

use zstream_dmu::ids::ObjectId;

use super::Tx;
use crate::error::{Error, Result};
use crate::phys::{DirPhys, UsedBreakdown};

/// A change of space, in three measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes allocated.
    pub used: i64,
    /// Bytes as stored.
    pub compressed: i64,
    /// Bytes before compression.
    pub uncompressed: i64,
}

impl Change {
    /// Returns the change that adds this space.
    #[must_use]
    pub fn of(space: &crate::bookmark::Space) -> Self {
        Self {
            used: space.used_bytes as i64,
            compressed: space.compressed_bytes as i64,
            uncompressed: space.uncompressed_bytes as i64,
        }
    }

    /// Returns the opposite change.
    #[must_use]
    pub(crate) fn negated(self) -> Self {
        Self { used: -self.used, compressed: -self.compressed, uncompressed: -self.uncompressed }
    }

    /// Returns the sum of two changes.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            used: self.used + other.used,
            compressed: self.compressed + other.compressed,
            uncompressed: self.uncompressed + other.uncompressed,
        }
    }
}

/// The use of a directory's space (`dd_used_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The head dataset.
    Head,
    /// Snapshots.
    Snapshots,
    /// Children.
    Children,
    /// Space that children have reserved and not used.
    ChildReservations,
    /// Space that is reserved for the head dataset's refreservation.
    Refreservation,
}

impl UsedBreakdown {
    fn of(&mut self, what: Use) -> &mut u64 {
        match what {
            Use::Head => &mut self.head,
            Use::Snapshots => &mut self.snapshots,
            Use::Children => &mut self.children,
            Use::ChildReservations => &mut self.child_reservations,
            Use::Refreservation => &mut self.refreservation,
        }
    }
}

/// Returns the change of a reserved part when the used space changes.
#[must_use]
pub(super) fn accounted_change(used: u64, reserved: u64, change: i64) -> i64 {
    let after = used.wrapping_add_signed(change).max(reserved);
    after.wrapping_sub(used.max(reserved)).cast_signed()
}

/// Adds to a sum of the pool. Old pools have wrong sums: a negative result wraps, as in OpenZFS.
pub(super) fn add(sum: &mut u64, change: i64) {
    *sum = sum.wrapping_add_signed(change);
}

/// Counts the change in one directory, and returns the change for its parent.
fn count(dir: &mut DirPhys, change: Change, parts: &[(Use, i64)]) -> i64 {
    let up = accounted_change(dir.used_bytes, dir.reserved_bytes, change.used);
    add(&mut dir.used_bytes, change.used);
    add(&mut dir.compressed_bytes, change.compressed);
    add(&mut dir.uncompressed_bytes, change.uncompressed);
    if dir.has_breakdown() {
        for (part, change) in parts {
            add(dir.breakdown.of(*part), *change);
        }
    }
    up
}

impl Tx<'_> {
    /// Charges space to one use of a directory, and up the tree (`dsl_dir_diduse_space`).
    ///
    /// # Errors
    /// Fails if a directory on the way up cannot be read.
    pub fn use_space(&mut self, dir: ObjectId, what: Use, change: Change) -> Result<()> {
        self.count_up(dir, change, &[(what, change.used)])
    }

    /// Charges space, of which `to` is used by `new`, while `old` makes up for the rest
    /// (`dsl_dir_diduse_transfer_space`).
    ///
    /// # Errors
    /// Fails if a directory on the way up cannot be read.
    pub(crate) fn use_reserved_space(
        &mut self,
        dir: ObjectId,
        change: Change,
        to: i64,
        old: Use,
        new: Use,
    ) -> Result<()> {
        self.count_up(dir, change, &[(old, change.used - to), (new, to)])
    }

    fn count_up(&mut self, dir: ObjectId, change: Change, parts: &[(Use, i64)]) -> Result<()> {
        if change == Change::default() && parts.iter().all(|(_, change)| *change == 0) {
            return Ok(());
        }
        let (mut at, mut change, mut parts) = (dir, change, parts.to_vec());
        for _ in 0..crate::reader::DEPTH_MAX {
            let (up, parent) = self.change_dir(at, |dir| (count(dir, change, &parts), dir.parent))?;
            let Some(parent) = parent else { return Ok(()) };
            parts = vec![(Use::ChildReservations, up - change.used), (Use::Children, change.used)];
            (at, change) = (parent, Change { used: up, ..change });
        }
        Err(Error::corrupt("DSL directory", format!("{dir} is in a loop of directories")))
    }

    /// Moves space of a directory from one use to another (`dsl_dir_transfer_space`).
    ///
    /// # Errors
    /// Fails if the directory cannot be read.
    pub(crate) fn move_space(&mut self, dir: ObjectId, bytes: i64, from: Use, to: Use) -> Result<()> {
        self.change_dir(dir, |dir| {
            if dir.has_breakdown() {
                add(dir.breakdown.of(from), -bytes);
                add(dir.breakdown.of(to), bytes);
            }
        })
    }

    /// Charges the blocks of the MOS itself to `$MOS` (`dsl_pool_mos_diduse_space`).
    ///
    /// # Errors
    /// Fails if the directories cannot be read.
    pub(crate) fn use_mos_space(&mut self, change: Change) -> Result<()> {
        match self.read().child(self.read().root_dir()?, "$MOS")? {
            Some(dir) => self.use_space(dir, Use::Head, change),
            None => Ok(()),
        }
    }
}
