//! The parts of files of the host that share storage with other files.

use std::fmt;
use std::fs::File;
use std::io;

/// A part of a file whose storage other files may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The length in bytes.
    pub length: u64,
    /// The address of the storage: the same for all files that share it.
    pub address: u64,
}

impl Extent {
    /// Creates an extent.
    #[must_use]
    pub fn new(offset: u64, length: u64, address: u64) -> Self {
        Self { offset, length, address }
    }
}

/// Finds the parts of files that share storage with other files of their filesystem.
///
/// This is only a hint where to look: parts are taken for equal only if their content is.
pub trait SharedExtents: fmt::Debug + Send + Sync {
    /// Returns the shared parts of a file, in the order of their offsets. A filesystem that does not know them has
    /// none.
    ///
    /// # Errors
    /// The file cannot be read.
    fn of(&self, file: &File) -> io::Result<Vec<Extent>>;
}

/// The extents that the filesystem of a file reports (`FIEMAP`). None on systems other than Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostExtents;

#[cfg(target_os = "linux")]
impl SharedExtents for HostExtents {
    fn of(&self, file: &File) -> io::Result<Vec<Extent>> {
        use fiemap::{Fiemap, FiemapExtentFlags, FiemapFlags};
        use rustix::io::Errno;

        let no_address =
            FiemapExtentFlags::UNKNOWN | FiemapExtentFlags::DELALLOC | FiemapExtentFlags::DATA_INLINE;
        let mut found = Vec::new();
        for extent in Fiemap::with_flags(file, FiemapFlags::SYNC) {
            let extent = match extent {
                Ok(extent) => extent,
                // The filesystem has no extents, or does not report them.
                Err(error)
                    if [Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL]
                        .iter()
                        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
                {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            };
            let flags = extent.fe_flags;
            if flags.contains(FiemapExtentFlags::SHARED) && !flags.intersects(no_address) {
                found.push(Extent::new(extent.fe_logical, extent.fe_length, extent.fe_physical));
            }
        }
        Ok(found)
    }
}

#[cfg(not(target_os = "linux"))]
impl SharedExtents for HostExtents {
    fn of(&self, _: &File) -> io::Result<Vec<Extent>> {
        Ok(Vec::new())
    }
}
