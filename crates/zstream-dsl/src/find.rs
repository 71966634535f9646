//! From a name to what has it.

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

/// A dataset, snapshot or bookmark that a name led to.
pub enum Found<M = Arc<Objset>> {
    /// A filesystem, volume or snapshot.
    Dataset(Dataset<M>),
    /// A bookmark.
    Bookmark(Bookmark),
}

impl<M> fmt::Debug for Found<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataset(dataset) => dataset.fmt(f),
            Self::Bookmark(bookmark) => bookmark.fmt(f),
        }
    }
}

impl<M: Mos> Dsl<M> {
    /// What a name leads to.
    ///
    /// # Errors
    /// When the name is not one, nothing has it, or the way there cannot be read.
    pub fn find(self: &Arc<Self>, name: &str) -> Result<Found<M>> {
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
    pub fn dataset(self: &Arc<Self>, name: &str) -> Result<Dataset<M>> {
        match self.find(name)? {
            Found::Dataset(dataset) => Ok(dataset),
            Found::Bookmark(_) => Err(Error::refused(Errno::EINVAL, format!("{name} is a bookmark"))),
        }
    }

    /// The head dataset of this name.
    ///
    /// # Errors
    /// When there is none, or the way there cannot be read.
    pub fn head(self: &Arc<Self>, name: &str) -> Result<Dataset<M>> {
        self.find_head(name)?.ok_or_else(|| Error::not_found(Kind::Dataset, name))
    }

    /// The head dataset of this name; none where there is none.
    ///
    /// # Errors
    /// When the way there cannot be read.
    pub fn find_head(self: &Arc<Self>, name: &str) -> Result<Option<Dataset<M>>> {
        let dir = self.find_dir(name)?.filter(|dir| dir.phys().head.is_some());
        dir.map(|dir| dir.head()).transpose()
    }

    /// The snapshot of this name.
    ///
    /// # Errors
    /// `EINVAL` when it is not the name of a snapshot; when there is none, or the way there cannot be read.
    pub fn snapshot(self: &Arc<Self>, name: &str) -> Result<Dataset<M>> {
        let (head, short) = self.split_snapshot(name)?;
        head.snapshot(&short)?.ok_or_else(|| Error::not_found(Kind::Snapshot, name))
    }

    /// The head and the short name that the full name of a snapshot names.
    pub(crate) fn split_snapshot(self: &Arc<Self>, name: &str) -> Result<(Dataset<M>, String)> {
        let parsed = Name::parse(name)?;
        match parsed.suffix {
            Suffix::Snapshot(short) => Ok((self.head(&parsed.filesystem)?, short)),
            _ => Err(Error::bad_name(format!("{name} is not the name of a snapshot"))),
        }
    }

    /// The bookmark of this name, with its head.
    ///
    /// # Errors
    /// `EINVAL` when it is not the name of a bookmark; when there is none, or the way there cannot be read.
    pub fn bookmark(self: &Arc<Self>, name: &str) -> Result<(Dataset<M>, Bookmark)> {
        let (head, short) = self.split_bookmark(name)?;
        let mark = head.bookmark(&short)?.ok_or_else(|| Error::not_found(Kind::Bookmark, name))?;
        Ok((head, mark))
    }

    /// The head and the short name that the full name of a bookmark names.
    pub(crate) fn split_bookmark(self: &Arc<Self>, name: &str) -> Result<(Dataset<M>, String)> {
        let parsed = Name::parse(name)?;
        match parsed.suffix {
            Suffix::Bookmark(short) => Ok((self.head(&parsed.filesystem)?, short)),
            _ => Err(Error::bad_name(format!("{name} is not the name of a bookmark"))),
        }
    }
}
