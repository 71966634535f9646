//! Putting what a file system holds somewhere else: into a directory ([`tree`]) or an archive ([`archive`]).

pub(crate) mod archive;
pub(crate) mod tree;

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, Mode, OFlags};
use zstream_zpl::content::Content;

use crate::failure::Failure;
use crate::files::CHUNK_BYTES;
use crate::progress::Meter;
use crate::text::{Count, file_name};

/// Collects what could not be restored.
pub(crate) struct Report {
    failures: u64,
    /// Shows how much was copied.
    pub(crate) meter: Meter,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { failures: 0, meter: Meter::new(None) }
    }

    /// Says that something at `path` could not be restored, and why.
    pub(crate) fn failed(&mut self, path: &[u8], why: impl Display) {
        self.failures += 1;
        let path = if path.is_empty() { "/".to_owned() } else { file_name(path) };
        self.meter.line(&format!("zstream: {path}: {why}"));
    }

    /// The outcome of all.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.failures {
            0 => Ok(()),
            count => Err(Failure::new(format_args!("{} could not be restored", Count(count, "thing")))),
        }
    }
}

/// Why content was not copied.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It cannot be read.
    Read(zstream_dmu::error::Error),
    /// It cannot be written.
    Write(io::Error),
}

impl Display for CopyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Write(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl From<zstream_dmu::error::Error> for CopyError {
    fn from(error: zstream_dmu::error::Error) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Makes a file that was not there before.
pub(crate) fn create(directory: &File, name: &[u8], mode: u32) -> Result<File, CopyError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
    Ok(file.into())
}

/// Removes a file that could not be completed.
pub(crate) fn remove(directory: &File, name: &[u8]) {
    // The reason why it is incomplete is told; that it is still there as well would add nothing to that.
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
}

/// Copies content into an empty file; holes stay holes.
pub(crate) fn copy(content: &Content<'_>, file: &File, meter: &mut Meter) -> Result<(), CopyError> {
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(content.size()).unwrap_or(CHUNK_BYTES))];
    for range in content.ranges() {
        let range = range?;
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let length = content.read(at, &mut buffer[..length])?;
            file.write_all_at(&buffer[..length], at)?;
            meter.add(length);
            at += length as u64;
        }
    }
    // The end may be a hole.
    file.set_len(content.size())?;
    Ok(())
}

/// The name under which Linux has an extended attribute: what other systems wrote has no name space, and is the user's.
pub(crate) fn xattr_name(stored: &[u8]) -> Vec<u8> {
    const SPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if SPACES.iter().any(|space| stored.starts_with(space)) {
        stored.to_vec()
    } else {
        [b"user.", stored].concat()
    }
}
