//! Holds: tags that prevent the destruction of a snapshot.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::reader::Mos;

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hold {
    /// Its tag.
    pub tag: String,
    /// The time of its creation, in seconds since 1970.
    pub time: u64,
}

impl<M: Mos> Dataset<M> {
    /// Returns the holds of a snapshot, by tag.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn holds(&self) -> Result<Vec<Hold>> {
        let entries = self.dsl().read().entries(self.phys().holds)?;
        entries.into_iter().map(|(tag, time)| Ok(Hold { tag, time: time.u64()? })).collect()
    }

    /// Returns `true` if a snapshot has the hold `tag`.
    ///
    /// # Errors
    /// Fails if its holds cannot be read.
    pub fn has_hold(&self, tag: &str) -> Result<bool> {
        Ok(self.dsl().read().lookup(self.phys().holds, tag)?.is_some())
    }
}
