//! Zeros after the last END: tapes and block devices are written in whole blocks, and the last one is filled up.
//!
//! Receivers stop at END and never see them. A reader of files accepts them where nothing but zeros follows to the end of the input. A BEGIN
//! starts with zeros itself, so a few of them may be all that is left of another stream: they count as padding
//! only if they fill up a block.

use std::io::{self, Read};

/// The most zeros with which a BEGIN can start: its type, an empty list, and the upper bytes of a big-endian magic.
const BEGIN_ZEROS: u64 = 11;

/// Blocks are multiples of this.
const BLOCK_BYTES: u64 = 512;

/// True if `len` zeros at `offset`, after which the input ends, are padding.
pub(super) fn is_padding(offset: u64, len: u64) -> bool {
    len > BEGIN_ZEROS || (len > 0 && offset.saturating_add(len).is_multiple_of(BLOCK_BYTES))
}

/// True if all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Reads to the end of the input, or to the first byte that is not zero. Returns the number of zeros before the end; `None` if there is
/// another byte.
pub(super) fn zeros_to_end(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Option<u64>> {
    let (mut buffer, mut zeros) = (vec![0; 64 << 10], 0);
    loop {
        match read(&mut buffer)? {
            0 => return Ok(Some(zeros)),
            got if is_zero(&buffer[..got]) => zeros += got as u64,
            _ => return Ok(None),
        }
    }
}

/// The same of a source.
pub(super) fn zeros_of(source: &mut impl Read) -> io::Result<Option<u64>> {
    zeros_to_end(|buffer| super::reader::read_full(source, buffer))
}
