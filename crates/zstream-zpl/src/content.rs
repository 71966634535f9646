//! The content of a file or volume: the data of an object up to a size that is stored elsewhere.

use std::ops::Range;

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;

/// The maximum size of a file or volume in bytes: the maximum of a signed 64-bit offset.
pub(crate) const SIZE_MAX: u64 = i64::MAX as u64;

/// The content of one file or volume.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    set: &'a dyn ObjectSet,
    object: ObjectId,
    size: u64,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content(object {}, {} bytes)", self.object, self.size)
    }
}

impl<'a> Content<'a> {
    /// Creates the content of the first `size` bytes of an object.
    pub(crate) fn new(set: &'a dyn ObjectSet, object: ObjectId, size: u64) -> Result<Self> {
        if size > SIZE_MAX {
            return Err(Error::corrupt(
                "size",
                format!("object {object} is {size:#x} bytes, at most {SIZE_MAX:#x} are possible"),
            ));
        }
        Ok(Self { set, object, size })
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The object that contains the bytes.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Reads the content at `offset` into `out`, and returns the number of bytes, which is smaller than `out` only at
    /// the end. Holes are read as zeros.
    ///
    /// # Errors
    /// Fails if a block of the range cannot be read.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let out = match out.len().min(left) {
            0 => return Ok(0),
            length => &mut out[..length],
        };
        self.set.read(self.object, offset, out)?;
        Ok(out.len())
    }

    /// Returns the next range with blocks at or after `offset`, or `None` if only holes follow. Ranges have the
    /// granularity of blocks, and end at the end of the content.
    ///
    /// # Errors
    /// Fails if the block tree of the object cannot be read.
    pub fn next_range(&self, offset: u64) -> Result<Option<Range<u64>>> {
        if offset >= self.size {
            return Ok(None);
        }
        let Some(start) = self.set.next_data(self.object, offset)?.filter(|start| *start < self.size) else {
            return Ok(None);
        };
        let end = self.set.next_hole(self.object, start)?.min(self.size);
        // Otherwise a caller that iterates over the ranges would never reach the end.
        if start < offset || end <= start {
            return Err(Error::corrupt(
                "object",
                format!(
                    "object {} has data at {start:#x} to {end:#x}, expected after {offset:#x}",
                    self.object
                ),
            ));
        }
        Ok(Some(start..end))
    }

    /// Returns an iterator over all ranges with blocks, in order. It ends after the first error.
    pub fn ranges(&self) -> impl Iterator<Item = Result<Range<u64>>> + use<'a> {
        let (content, mut at) = (*self, Some(0));
        std::iter::from_fn(move || {
            let next = content.next_range(at?).transpose();
            at = match &next {
                Some(Ok(range)) => Some(range.end),
                _ => None,
            };
            next
        })
    }

    /// Reads the whole content, which must not be larger than `limit`.
    pub(crate) fn small(&self, what: &'static str, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(zstream_dmu::error::Fault::TooLarge { what, size: self.size, limit }.into());
        }
        let mut bytes = vec![0; self.size as usize];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }
}
