//! ZLE, zero length encoding: only runs of zeros are shortened.
//!
//! ```text
//! b < 64   | b | b + 1 bytes as they are
//! b >= 64  | b |                            stands for b - 63 zeros (1 to 192)
//! ```
//!
//! There is no length and no end mark: the decoder stops when the block is full.

use super::CodecFault;

/// Control bytes below this announce literals, the others zeros.
const LITERAL_MAX: usize = 64;

pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    let expected = dst.len();
    let (mut at, mut made) = (0, 0);
    while made < expected {
        let Some(&control) = src.get(at) else {
            return Err(CodecFault::Truncated { at, made, expected });
        };
        let control = usize::from(control);
        let length = if control < LITERAL_MAX { control + 1 } else { control + 1 - LITERAL_MAX };
        let Some(to) = dst.get_mut(made..made + length) else {
            return Err(CodecFault::Overlong { at, expected });
        };
        at += 1;
        if control < LITERAL_MAX {
            let Some(from) = src.get(at..at + length) else {
                return Err(CodecFault::Truncated { at: src.len(), made, expected });
            };
            to.copy_from_slice(from);
            at += length;
        } else {
            to.fill(0);
        }
        made += length;
    }
    Ok(())
}
