//! Holds: tags that keep a snapshot from being destroyed.

use zstream_dmu::error::Result;

use crate::dataset::Dataset;

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its tag.
    pub tag: String,
    /// When it was put on, in seconds since 1970.
    pub time: u64,
}

/// The holds of a snapshot, by tag.
pub(crate) fn list(snapshot: &Dataset) -> Result<Vec<Hold>> {
    let entries = snapshot.dsl().entries(snapshot.phys().holds)?;
    entries.into_iter().map(|(tag, time)| Ok(Hold { tag, time: time.u64()? })).collect()
}
