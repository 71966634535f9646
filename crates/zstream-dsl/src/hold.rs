//! Holds: tags that keep a snapshot from being destroyed.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::reader::Mos;

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its tag.
    pub tag: String,
    /// When it was put on, in seconds since 1970.
    pub time: u64,
}

impl<M: Mos> Dataset<M> {
    /// The holds of a snapshot, by tag.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn holds(&self) -> Result<Vec<Hold>> {
        let entries = self.dsl().read().entries(self.phys().holds)?;
        entries.into_iter().map(|(tag, time)| Ok(Hold { tag, time: time.u64()? })).collect()
    }

    /// Whether a snapshot has the hold `tag`.
    ///
    /// # Errors
    /// When its holds cannot be read.
    pub fn has_hold(&self, tag: &str) -> Result<bool> {
        Ok(self.dsl().read().lookup(self.phys().holds, tag)?.is_some())
    }
}
