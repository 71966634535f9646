//! Sources that several threads read at once.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A source that can be read at any offset, by several threads at once.
pub trait ReadAt {
    /// Reads bytes at `offset` into `buf` and returns their number, which is 0 only at the end.
    ///
    /// # Errors
    /// Returns the errors of the source.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns a view of the `len` bytes at `offset` without a copy, or of fewer bytes if the source ends before
    /// that. Returns `None` if the bytes must be read.
    fn view(&self, offset: u64, len: usize) -> Option<View> {
        let _ = (offset, len);
        None
    }
}

/// A view of bytes in a source, which keeps their owner alive.
#[derive(Clone)]
pub struct View {
    holder: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl View {
    /// Creates a view of the `len` bytes at `offset` in `holder`, or of as many as there are.
    pub fn new(holder: Arc<dyn AsRef<[u8]> + Send + Sync>, offset: u64, len: usize) -> Self {
        let end = (*holder).as_ref().len();
        let start = usize::try_from(offset).unwrap_or(end).min(end);
        Self { range: start..start.saturating_add(len).min(end), holder }
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.holder).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({:?})", self.range)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

impl ReadAt for Arc<Vec<u8>> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }

    fn view(&self, offset: u64, len: usize) -> Option<View> {
        Some(View::new(self.clone(), offset, len))
    }
}

#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }
}

#[cfg(windows)]
impl ReadAt for std::fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buf, offset)
    }
}

/// Reads until `buf` is full or the source ends. Returns the number of bytes.
pub(super) fn read_full_at(source: &dyn ReadAt, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < buf.len() {
        match source.read_at(&mut buf[have..], offset.saturating_add(have as u64)) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
