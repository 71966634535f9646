//! Writing the content of files and volumes.

use std::io::Read;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;

use super::{Writer, attributes};
use crate::error::{Error, Result};
use crate::sa::Attribute;
use crate::volume;

/// Calls `part` for runs of `bytes`, which start at `offset` in an object with blocks of `block` bytes. Complete blocks of
/// zeros are separate from all other bytes.
fn runs(
    offset: u64,
    bytes: &[u8],
    block: u64,
    mut part: impl FnMut(u64, &[u8], bool) -> Result<()>,
) -> Result<()> {
    let (mut start, mut at) = (0, 0);
    let mut was_zero = false;
    while at < bytes.len() {
        let left = block - (offset + at as u64) % block;
        let end = at + usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
        let is_zero = (end - at) as u64 == block && bytes[at..end].iter().all(|byte| *byte == 0);
        if is_zero != was_zero {
            if start < at {
                part(offset + start as u64, &bytes[start..at], was_zero)?;
            }
            (start, was_zero) = (at, is_zero);
        }
        at = end;
    }
    if start < at { part(offset + start as u64, &bytes[start..at], was_zero) } else { Ok(()) }
}

impl Writer {
    /// Writes content of a new file. Blocks of zeros stay holes.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn write(
        &self,
        set: &mut dyn ObjectStore,
        object: ObjectId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<()> {
        let block = set.info(object)?.block_bytes;
        runs(
            offset,
            bytes,
            block,
            |offset, bytes, is_zero| {
                if is_zero { Ok(()) } else { Ok(set.write(object, offset, bytes)?) }
            },
        )
    }

    /// Sets the size of a file after its content was written.
    ///
    /// # Errors
    ///
    /// Fails if its attributes cannot be changed.
    pub fn finish(&self, set: &mut dyn ObjectStore, object: ObjectId, size: u64) -> Result<()> {
        attributes::patch(set, &self.registry, object, &[(Attribute::Size, vec![size])])
    }
}

/// An error from writing an image to a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Reading the image failed.
    #[error("{0}")]
    Image(#[from] std::io::Error),
    /// Writing the volume failed, or the volume is smaller than the image.
    #[error("{0}")]
    Volume(#[from] Error),
}

impl ImageError {
    /// The error of the image, or that of the volume.
    ///
    /// # Errors
    /// It is that of the volume.
    pub fn into_image(self) -> Result<std::io::Error> {
        match self {
            Self::Image(error) => Ok(error),
            Self::Volume(error) => Err(error),
        }
    }
}

impl From<zstream_dmu::error::Error> for ImageError {
    fn from(error: zstream_dmu::error::Error) -> Self {
        Self::Volume(error.into())
    }
}

/// Writes a raw image, or the next part of one, to a volume at byte `start`, and returns the number of bytes. Blocks of
/// zeros become holes; the volume does not change after the end of the image.
///
/// # Errors
///
/// Fails if the image cannot be read or is larger than the volume, and if the volume cannot be written.
pub fn write_image(
    set: &mut dyn ObjectStore,
    image: &mut dyn Read,
    start: u64,
    chunk_bytes: usize,
) -> std::result::Result<u64, ImageError> {
    let size = volume::content(set)?.size();
    let block = set.info(volume::DATA)?.block_bytes;
    let mut buffer = vec![0; chunk_bytes.max(1)];
    let mut offset = start;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match image.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = &buffer[..filled];
        if offset.saturating_add(filled as u64) > size {
            return Err(too_large(size).into());
        }
        runs(offset, bytes, block, |offset, bytes, is_zero| {
            if is_zero {
                Ok(set.free_range(volume::DATA, offset, bytes.len() as u64)?)
            } else {
                Ok(set.write(volume::DATA, offset, bytes)?)
            }
        })?;
        offset += filled as u64;
        if filled < buffer.len() {
            return Ok(offset - start);
        }
    }
}

/// Punches a hole in a volume, for a hole in an image.
///
/// # Errors
///
/// Fails if the range extends past the end of the volume, and if the volume cannot be written.
pub fn write_hole(set: &mut dyn ObjectStore, start: u64, bytes: u64) -> Result<()> {
    let size = volume::content(set)?.size();
    if start.saturating_add(bytes) > size {
        return Err(too_large(size));
    }
    Ok(set.free_range(volume::DATA, start, bytes)?)
}

fn too_large(size: u64) -> Error {
    Error::bad_request(format!("the image is larger than the volume, which is {size} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_zeros_are_holes() {
        let mut bytes = vec![0; 4096];
        (bytes[0], bytes[2100]) = (1, 1);
        let mut found = Vec::new();
        runs(512, &bytes, 1024, |offset, bytes, is_zero| {
            found.push((offset, bytes.len(), is_zero));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            found,
            [
                (512, 512, false),
                (1024, 1024, true),
                (2048, 1024, false),
                (3072, 1024, true),
                (4096, 512, false)
            ]
        );
    }
}
