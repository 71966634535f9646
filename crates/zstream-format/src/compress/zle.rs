//! ZLE, zero length encoding, which compresses runs of zeros only.
//!
//! ```text
//! b < 64   | b | b + 1 literal bytes
//! b >= 64  | b |                       means b - 63 zeros (1 to 192)
//! ```
//!
//! There is no length and no end mark: the decoder stops when the block is full.

use super::CodecFault;

/// The longest run of literals. Control bytes below this announce literals, the others zeros.
const LITERAL_MAX: usize = 64;
/// The longest run of zeros.
const ZEROS_MAX: usize = 192;

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

/// Compresses `src` to the output of OpenZFS in a buffer of the size of `dst`. Returns `None` if it gives up, which it
/// does when the remaining room is less than a control byte and, before literals, the longest run of them.
pub(super) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let (mut pos, mut made) = (0, 0);
    while pos < src.len() {
        let room = dst.len() - made;
        if room < 2 {
            return None;
        }
        let rest = &src[pos..];
        if rest[0] == 0 {
            let zeros = rest.iter().take(ZEROS_MAX).take_while(|&&byte| byte == 0).count();
            // At most 255, as ZEROS_MAX + LITERAL_MAX is 256.
            dst[made] = (zeros - 1 + LITERAL_MAX) as u8;
            made += 1;
            pos += zeros;
        } else {
            if room - 1 < LITERAL_MAX {
                return None;
            }
            let literals = literals(rest);
            dst[made] = (literals - 1) as u8;
            dst[made + 1..made + 1 + literals].copy_from_slice(&rest[..literals]);
            made += 1 + literals;
            pos += literals;
        }
    }
    Some(made)
}

/// The number of literals at the start of `rest`, whose first byte is not zero. They end before two zeros in a
/// row, or before a zero that would be the last of the run.
fn literals(rest: &[u8]) -> usize {
    let window = &rest[..rest.len().min(LITERAL_MAX)];
    let pairs = window.windows(2).take_while(|pair| pair[0] | pair[1] != 0).count();
    if window[pairs] == 0 { pairs } else { pairs + 1 }
}
