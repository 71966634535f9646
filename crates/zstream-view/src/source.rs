//! The files of streams, which are read at any offset.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use zstream_format::stream::ReadAt;

/// A file of streams, or bytes in memory.
pub struct Source {
    name: String,
    bytes: Box<dyn ReadAt + Send + Sync>,
    len: u64,
}

impl Source {
    /// Opens a regular file. It must not change while it is viewed.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened, and if it is a pipe or device, which cannot be read at any offset.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let message = "this is not a regular file, and only those can be read at any offset";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self { name: path.display().to_string(), bytes: Box::new(file), len: metadata.len() })
    }

    /// Creates a source from bytes in memory; `name` is used in errors.
    #[must_use]
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), len: bytes.len() as u64, bytes: Box::new(Arc::new(bytes)) }
    }

    /// The path of the file, or the name of the bytes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source for readers that read at several offsets at once.
    pub(crate) fn positioned(&self) -> &(dyn ReadAt + Sync) {
        &*self.bytes
    }

    /// Fills `out` with the bytes at `offset`.
    pub(crate) fn read_exact(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        while !out.is_empty() {
            match self.bytes.read_at(out, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(have) => {
                    out = &mut out[have..];
                    at += have as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns a reader from the start.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { source: self, at: 0 }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.len)
    }
}

/// A sequential reader of a source.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    source: &'a Source,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let have = self.source.bytes.read_at(buf, self.at)?;
        self.at += have as u64;
        Ok(have)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
