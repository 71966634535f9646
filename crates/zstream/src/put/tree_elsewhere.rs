//! Files of the host on systems other than Unix: they have neither the modes and owners nor the numbers of files that a
//! filesystem of ZFS keeps.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;

use super::Putting;
use super::extents::SharedExtents;
use crate::error::PutFault;

/// Puts directories and files, which this system does not support.
pub(super) struct Tree;

impl Tree {
    /// Creates a tree.
    pub(super) fn new(_: Option<Arc<dyn SharedExtents>>) -> Self {
        Self
    }

    /// Fails.
    ///
    /// # Errors
    /// Always: files of the host cannot be put here.
    pub(super) fn put(
        &mut self,
        _: &mut Putting<'_, '_>,
        source: &Path,
        _: ObjectId,
        _: &[u8],
        _: Option<&[u8]>,
    ) -> Result<(), PutFault> {
        let why = "files and directories of the host can be put on Unix only; put a tar archive instead";
        let path = source.as_os_str().as_encoded_bytes().to_vec();
        Err(PutFault::Source { path, source: io::Error::new(io::ErrorKind::Unsupported, why) })
    }
}

/// False: holes of files are not reported here. Zeros become holes anyway.
pub(super) fn has_holes(_: &Metadata) -> bool {
    false
}

/// The next data range of a file: all that is left.
pub(super) fn next_data(_: &File, from: u64, size: u64, _: bool) -> io::Result<Option<(u64, u64)>> {
    Ok((from < size).then_some((from, size)))
}
