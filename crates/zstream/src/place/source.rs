//! Sources of files: a dataset of a pool, or a snapshot in stored streams.

use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::intent_log;
use zstream_dmu::object_set::ObjectSet;
use zstream_format::object_type::ObjsetType;
use zstream_view::{Options, Padded, Streams};
use zstream_zpl::Filesystem;

use super::keys::{self, Keys};
use super::pool::PoolPlace;
use crate::control::{Control, Warning};
use crate::error::{Error, Request, Result};

/// The size of a read, in bytes: enough blocks to keep all cores decompressing.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Stored streams, in order: a full stream and its increments, or packages. They are read as if they were a pool.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StreamPlace {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Read the available part of a truncated stream, instead of failing.
    pub partial: bool,
}

impl StreamPlace {
    /// Streams in these files.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item: Into<PathBuf>>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), partial: false }
    }

    /// Opens the streams and validates their checksums.
    ///
    /// # Errors
    /// As [`Streams::open`].
    pub fn open(&self) -> Result<Streams> {
        Ok(Streams::open(&self.paths, &Options { partial: self.partial, ..Options::default() })?)
    }
}

/// An open filesystem, volume or snapshot.
pub struct Source {
    name: String,
    set: Arc<dyn ObjectSet>,
    /// Only a part of it is available: the stream is cut short, or its receive is incomplete.
    is_cut: bool,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source {
    /// A snapshot in streams, by its number.
    ///
    /// # Errors
    /// The snapshot cannot be viewed; its key is not available.
    pub fn in_streams(
        mut streams: Streams,
        number: usize,
        keys: &dyn Keys,
        control: &mut Control<'_>,
    ) -> Result<Self> {
        for Padded { file, bytes, .. } in streams.padded() {
            control.warn(Warning::Padding { file: file.clone(), bytes: *bytes });
        }
        if streams.is_locked(number) {
            let name = streams.snapshots().nth(number).map_or_else(String::new, |it| it.name.clone());
            streams.unlock(number, &keys::key(keys, &name)?)?;
        }
        let view = streams.view(number)?;
        let snapshot = view.snapshot();
        let (name, is_cut) = (snapshot.name.clone(), snapshot.cut.is_some());
        if is_cut {
            control.warn(Warning::StreamCut { snapshot: name.clone() });
        }
        Ok(Self { name, set: Arc::new(view), is_cut })
    }

    /// A dataset of a pool, unlocked if it is encrypted.
    ///
    /// # Errors
    /// The dataset does not exist; its key is not available; the pool cannot be read.
    pub fn in_pool(
        place: &PoolPlace,
        name: &str,
        keys: &dyn Keys,
        control: &mut Control<'_>,
    ) -> Result<Self> {
        let open = place.open(Some(name), control)?;
        let members = open.missing();
        // Otherwise a notice says what is lost.
        if !members.is_empty() && open.pool.vdevs().lost().next().is_none() {
            control.warn(Warning::MembersMissing { pool: open.pool.name().to_owned(), members });
        }
        let dataset = open.dsl.dataset(name)?;
        keys::unlock(&dataset, keys)?;
        let set = dataset.objset()?;
        let dataset_name = || name.to_owned();
        // Snapshots have the header of a log that is of their head alone.
        if !dataset.is_snapshot()
            && intent_log::has_records(&**set.reader(), dataset.object().0, &set.phys().zil)
        {
            control.warn(Warning::LogNotReplayed { dataset: dataset_name() });
        }
        if dataset.is_inconsistent() {
            control.warn(Warning::ReceiveIncomplete { dataset: dataset_name() });
        }
        Ok(Self { name: dataset_name(), set, is_cut: dataset.is_inconsistent() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its objects.
    #[must_use]
    pub fn set(&self) -> &dyn ObjectSet {
        &*self.set
    }

    /// The filesystem in it.
    ///
    /// # Errors
    /// There is no filesystem, or not enough of it can be read.
    pub fn filesystem(&self) -> Result<Filesystem<'_>> {
        Filesystem::open(&*self.set).map_err(|error| match self.is_cut {
            true => Error::Cut { name: self.name.clone(), source: error.into() },
            false => error.into(),
        })
    }

    /// True for a volume.
    #[must_use]
    pub fn is_volume(&self) -> bool {
        self.set.objset_type() == ObjsetType::ZVOL
    }
}

/// A path with another one below it; either may be empty.
#[must_use]
pub fn joined(path: &[u8], below: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    match (path, below) {
        (b"", below) => below.to_vec(),
        (path, b"") => path.to_vec(),
        (path, below) => [path, b"/", below].concat(),
    }
}

/// The parts of a path from the root of a filesystem.
///
/// # Errors
/// [`Request::PathLeadsUp`]
pub fn parts(path: &[u8]) -> Result<Vec<&[u8]>> {
    let parts: Vec<_> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(Request::PathLeadsUp(path.to_vec()).into());
    }
    Ok(parts)
}
