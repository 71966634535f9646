//! The bytes of a file or volume: an object's data up to a size that stands elsewhere.

use std::ops::Range;

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;

/// The largest size of a file or volume: what a signed 64-bit offset reaches.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// The bytes of one file or volume.
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
    /// The first `size` bytes of an object.
    pub(crate) fn new(set: &'a dyn ObjectSet, object: ObjectId, size: u64) -> Result<Self> {
        if size > SIZE_MAX {
            return Err(Error::corrupt(
                "size",
                format!("{size:#x} bytes in object {object}, at most {SIZE_MAX:#x} are possible"),
            ));
        }
        Ok(Self { set, object, size })
    }

    /// The size, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The object that holds the bytes.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Fills `out` with what is at `offset`, up to the end, and says how much that was. Holes are zeros.
    ///
    /// # Errors
    /// A block of the range cannot be read.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let out = match out.len().min(left) {
            0 => return Ok(0),
            length => &mut out[..length],
        };
        self.set.read(self.object, offset, out)?;
        Ok(out.len())
    }

    /// The next range with blocks at or after `offset`, or `None` when only holes follow. Ranges are as coarse as blocks
    /// are, and cut where the content ends.
    ///
    /// # Errors
    /// The object's tree cannot be read.
    pub fn next_range(&self, offset: u64) -> Result<Option<Range<u64>>> {
        if offset >= self.size {
            return Ok(None);
        }
        let Some(start) = self.set.next_data(self.object, offset)?.filter(|start| *start < self.size) else {
            return Ok(None);
        };
        let end = self.set.next_hole(self.object, start)?.min(self.size);
        // Else a caller that goes from range to range would never come to the end.
        if start < offset || end <= start {
            return Err(Error::corrupt(
                "object",
                format!("object {}: data at {start:#x} to {end:#x}, asked for from {offset:#x}", self.object),
            ));
        }
        Ok(Some(start..end))
    }

    /// All ranges with blocks, in order. The first error ends them.
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

    /// All of it, where it is small.
    pub(crate) fn small(&self, what: &'static str, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(zstream_dmu::error::Fault::TooLarge { what, size: self.size, limit }.into());
        }
        let mut bytes = vec![0; self.size as usize];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }
}
