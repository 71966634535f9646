//! From a name to what has it.

use std::sync::Arc;

use zstream_format::errno::Errno;

use crate::bookmark::Bookmark;
use crate::dataset::Dataset;
use crate::error::{Error, Kind, Result};
use crate::name::{Name, Suffix};
use crate::pool::Dsl;

/// A dataset, snapshot or bookmark that a name led to.
#[derive(Debug)]
pub enum Found {
    /// A filesystem, volume or snapshot.
    Dataset(Dataset),
    /// A bookmark.
    Bookmark(Bookmark),
}

impl Dsl {
    /// What a name leads to.
    ///
    /// # Errors
    /// When the name is not one, nothing has it, or the way there cannot be read.
    pub fn find(self: &Arc<Self>, name: &str) -> Result<Found> {
        let parsed = Name::parse(name)?;
        let head = self.dir(&parsed.filesystem)?.head()?;
        match &parsed.suffix {
            Suffix::None => Ok(Found::Dataset(head)),
            Suffix::Snapshot(snapshot) => Ok(Found::Dataset(
                head.snapshot(snapshot)?.ok_or_else(|| Error::not_found(Kind::Snapshot, name))?,
            )),
            Suffix::Bookmark(bookmark) => Ok(Found::Bookmark(
                head.bookmark(bookmark)?.ok_or_else(|| Error::not_found(Kind::Bookmark, name))?,
            )),
        }
    }

    /// The filesystem, volume or snapshot of this name.
    ///
    /// # Errors
    /// As [`find`](Self::find); also when it is the name of a bookmark.
    pub fn dataset(self: &Arc<Self>, name: &str) -> Result<Dataset> {
        match self.find(name)? {
            Found::Dataset(dataset) => Ok(dataset),
            Found::Bookmark(_) => Err(Error::refused(Errno::EINVAL, format!("{name} is a bookmark"))),
        }
    }
}
