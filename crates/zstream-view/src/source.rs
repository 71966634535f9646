//! The files that streams lie in, read at any place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use zstream_format::stream::parallel::ReadAt;

/// A file of streams, or bytes in memory that stand for one.
pub struct Source {
    name: String,
    bytes: Box<dyn ReadAt + Send + Sync>,
    len: u64,
}

impl Source {
    /// Opens a regular file. It must not change for as long as it is viewed.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or is a pipe or device, which cannot be read at any place.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let message = "not a regular file: only those can be read at any place";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self { name: path.display().to_string(), bytes: Box::new(file), len: metadata.len() })
    }

    /// Streams in memory; `name` is for errors.
    #[must_use]
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), len: bytes.len() as u64, bytes: Box::new(Arc::new(bytes)) }
    }

    /// The file's path, or the name that was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes, for readers that read from several places at once.
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

    /// A reader from the start.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { source: self, at: 0 }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.len)
    }
}

/// A source from its start to its end.
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
