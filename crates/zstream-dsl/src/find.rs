//! Lookup by name.

use std::fmt;
use std::sync::Arc;

use zstream_dmu::objset::Objset;
use zstream_format::errno::Errno;

use crate::bookmark::Bookmark;
use crate::dataset::Dataset;
use crate::error::{Error, Kind, Result};
use crate::name::{Name, Suffix};
use crate::pool::Dsl;
use crate::reader::Mos;

/// A dataset, snapshot or bookmark that was found by name.
pub enum Named<M = Arc<Objset>> {
    /// A filesystem, volume or snapshot.
    Dataset(Dataset<M>),
    /// A bookmark.
    Bookmark(Bookmark),
}

impl<M> fmt::Debug for Named<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataset(dataset) => dataset.fmt(f),
            Self::Bookmark(bookmark) => bookmark.fmt(f),
        }
    }
}

impl<M: Mos> Dsl<M> {
    /// Returns the dataset, snapshot or bookmark with this name.
    ///
    /// # Errors
    /// Fails if the name is not valid or does not exist, and if the path to it cannot be read.
    pub fn find(self: &Arc<Self>, name: &str) -> Result<Named<M>> {
        let parsed = Name::parse(name)?;
        let head = self.dir(&parsed.filesystem)?.head()?;
        match &parsed.suffix {
            Suffix::None => Ok(Named::Dataset(head)),
            Suffix::Snapshot(snapshot) => Ok(Named::Dataset(
                head.snapshot(snapshot)?.ok_or_else(|| Error::not_found(Kind::Snapshot, name))?,
            )),
            Suffix::Bookmark(bookmark) => Ok(Named::Bookmark(
                head.bookmark(bookmark)?.ok_or_else(|| Error::not_found(Kind::Bookmark, name))?,
            )),
        }
    }

    /// Returns the filesystem, volume or snapshot with this name.
    ///
    /// # Errors
    /// Fails like [`find`](Self::find), and if it is the name of a bookmark.
    pub fn dataset(self: &Arc<Self>, name: &str) -> Result<Dataset<M>> {
        match self.find(name)? {
            Named::Dataset(dataset) => Ok(dataset),
            Named::Bookmark(_) => Err(Error::refused(Errno::EINVAL, format!("{name} is a bookmark"))),
        }
    }

    /// Returns the head dataset with this name.
    ///
    /// # Errors
    /// Fails if it does not exist, and if the path to it cannot be read.
    pub fn head(self: &Arc<Self>, name: &str) -> Result<Dataset<M>> {
        self.find_head(name)?.ok_or_else(|| Error::not_found(Kind::Dataset, name))
    }

    /// Returns the head dataset with this name, if it exists.
    ///
    /// # Errors
    /// Fails if the path to it cannot be read.
    pub fn find_head(self: &Arc<Self>, name: &str) -> Result<Option<Dataset<M>>> {
        let dir = self.find_dir(name)?.filter(|dir| dir.phys().head.is_some());
        dir.map(|dir| dir.head()).transpose()
    }

    /// Returns the snapshot with this name.
    ///
    /// # Errors
    /// Fails with `EINVAL` if it is not the name of a snapshot, if the snapshot does not exist, and if the path to it
    /// cannot be read.
    pub fn snapshot(self: &Arc<Self>, name: &str) -> Result<Dataset<M>> {
        let (head, short) = self.split_snapshot(name)?;
        head.snapshot(&short)?.ok_or_else(|| Error::not_found(Kind::Snapshot, name))
    }

    /// Splits the full name of a snapshot into its head and its short name.
    pub(crate) fn split_snapshot(self: &Arc<Self>, name: &str) -> Result<(Dataset<M>, String)> {
        let parsed = Name::parse(name)?;
        match parsed.suffix {
            Suffix::Snapshot(short) => Ok((self.head(&parsed.filesystem)?, short)),
            _ => Err(Error::bad_name(format!("{name} is not the name of a snapshot"))),
        }
    }

    /// Returns the bookmark with this name, with its head.
    ///
    /// # Errors
    /// Fails with `EINVAL` if it is not the name of a bookmark, if the bookmark does not exist, and if the path to it
    /// cannot be read.
    pub fn bookmark(self: &Arc<Self>, name: &str) -> Result<(Dataset<M>, Bookmark)> {
        let (head, short) = self.split_bookmark(name)?;
        let mark = head.bookmark(&short)?.ok_or_else(|| Error::not_found(Kind::Bookmark, name))?;
        Ok((head, mark))
    }

    /// Splits the full name of a bookmark into its head and its short name.
    pub(crate) fn split_bookmark(self: &Arc<Self>, name: &str) -> Result<(Dataset<M>, String)> {
        let parsed = Name::parse(name)?;
        match parsed.suffix {
            Suffix::Bookmark(short) => Ok((self.head(&parsed.filesystem)?, short)),
            _ => Err(Error::bad_name(format!("{name} is not the name of a bookmark"))),
        }
    }
}
