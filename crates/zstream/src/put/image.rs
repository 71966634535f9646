//! Images that are put into a volume.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;

use zstream_zpl::writer::{write_hole, write_image};

use super::ahead::ReadAhead;
use super::tree::{has_holes, next_data};
use super::{Target, target};
use crate::control::Control;
use crate::error::PutFault;
use crate::place::source::CHUNK_BYTES;

/// The number of bytes of an image between two checks whether the transaction group is full.
const IMAGE_PART_BYTES: u64 = 64 << 20;

impl Target {
    /// Writes an image that is read ahead.
    pub(super) fn image(
        &mut self,
        name: &[u8],
        image: io::Result<ReadAhead>,
        control: &mut Control<'_>,
    ) -> Result<(), PutFault> {
        let mut image = image.map_err(|source| PutFault::Source { path: name.to_vec(), source })?;
        self.image_part(name, &mut image, 0, CHUNK_BYTES, control).map(drop)
    }

    /// Writes an image with holes, which are not read.
    pub(super) fn sparse_image(
        &mut self,
        name: &[u8],
        mut file: &File,
        size: u64,
        control: &mut Control<'_>,
    ) -> Result<(), PutFault> {
        let of_source = |source| PutFault::Source { path: name.to_vec(), source };
        let mut at = 0;
        while at < size {
            // After the last data there is a hole up to the end.
            let (start, end) = next_data(file, at, size, true).map_err(of_source)?.unwrap_or((size, size));
            if start > at {
                write_hole(&mut self.set, at, start - at).map_err(|error| target(b"", error))?;
                self.wrote(None, 0).map_err(|error| target(b"", error))?;
            }
            if start == end {
                break;
            }
            file.seek(io::SeekFrom::Start(start)).map_err(of_source)?;
            let chunk_bytes = CHUNK_BYTES.min(usize::try_from(end - start).unwrap_or(CHUNK_BYTES));
            let mut part = file.take(end - start);
            if self.image_part(name, &mut part, start, chunk_bytes, control)? != end - start {
                return Err(of_source(io::Error::other("it was truncated while it was read")));
            }
            at = end;
        }
        Ok(())
    }

    /// Writes an image, or a part of one, at offset `start` of the volume, and returns the number of bytes.
    fn image_part(
        &mut self,
        name: &[u8],
        image: &mut impl Read,
        start: u64,
        chunk_bytes: usize,
        control: &mut Control<'_>,
    ) -> Result<u64, PutFault> {
        let mut done = 0;
        loop {
            if control.is_cancelled() {
                return Err(PutFault::Cancelled);
            }
            // The writer of the image and the completion of transaction groups borrow the set in turns.
            let mut part = image.take(IMAGE_PART_BYTES);
            let bytes = match write_image(&mut self.set, &mut part, start + done, chunk_bytes) {
                Ok(0) => return Ok(done),
                Ok(bytes) => bytes,
                Err(error) => {
                    return Err(match error.into_image() {
                        Ok(source) => PutFault::Source { path: name.to_vec(), source },
                        Err(error) => target(b"", error),
                    });
                }
            };
            done += bytes;
            self.wrote(None, bytes as usize).map_err(|error| target(b"", error))?;
            control.did(bytes as usize);
        }
    }
}

/// A file with holes, and its size.
pub(super) fn sparse(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = File::open(path)?;
    let data = file.metadata()?;
    Ok((data.is_file() && has_holes(&data)).then_some((file, data.len())))
}
