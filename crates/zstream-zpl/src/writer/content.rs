//! Content of files and volumes.

use std::io::Read;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;

use super::{Writer, attributes};
use crate::error::{Error, Result};
use crate::sa::Attribute;
use crate::volume;

/// Calls `part` for runs of `bytes`, which lie at byte `offset` of an object with blocks of `block` bytes: whole blocks of
/// zeros by themselves, everything else together.
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
    /// The file cannot be written.
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

    /// Sets the size of a file that was written.
    ///
    /// # Errors
    ///
    /// Its attributes cannot be changed.
    pub fn finish(&self, set: &mut dyn ObjectStore, object: ObjectId, size: u64) -> Result<()> {
        attributes::patch(set, &self.registry, object, &[(Attribute::Size, vec![size])])
    }
}

/// What went wrong when an image was written to a volume.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image cannot be read.
    #[error("{0}")]
    Image(#[from] std::io::Error),
    /// The volume cannot be written, or is smaller than the image.
    #[error("{0}")]
    Volume(#[from] Error),
}

impl From<zstream_dmu::error::Error> for ImageError {
    fn from(error: zstream_dmu::error::Error) -> Self {
        Self::Volume(error.into())
    }
}

/// Writes a raw image, or the next part of one, to a volume from byte `start` on, and gives the number of bytes. Blocks of
/// zeros become holes; behind the image the volume stays as it was.
///
/// # Errors
///
/// The image cannot be read or reaches beyond the volume; the volume cannot be written.
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

/// Makes a range of a volume a hole, as one is in an image.
///
/// # Errors
///
/// The range reaches beyond the volume; the volume cannot be written.
pub fn write_hole(set: &mut dyn ObjectStore, start: u64, bytes: u64) -> Result<()> {
    let size = volume::content(set)?.size();
    if start.saturating_add(bytes) > size {
        return Err(too_large(size));
    }
    Ok(set.free_range(volume::DATA, start, bytes)?)
}

fn too_large(size: u64) -> Error {
    Error::bad_request(format!("the image is larger than the volume, which has {size} bytes"))
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
