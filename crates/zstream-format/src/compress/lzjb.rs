//! LZJB, ZFS's first compression.
//!
//! ```text
//! control | item 0 | ... | item 7 | control | ...
//! ```
//!
//! Bit n of a control byte, lowest first, tells what item n behind it is: 0 one literal byte; 1 a copy of two
//! bytes `llllllDD dddddddd`, that is `l` + 3 bytes (3 to 66) from `D,d` bytes back (1 to 1023). There is no
//! length and no end mark: the decoder stops when the block is full, mid-group if need be.

use super::CodecFault;

/// Shortest copy.
const MATCH_MIN: usize = 3;
/// Low bits of the first byte of a copy that belong to the distance.
const DISTANCE_HIGH: u8 = 0x3;

pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    let expected = dst.len();
    let (mut at, mut made) = (0, 0);
    while made < expected {
        let Some(&control) = src.get(at) else {
            return Err(CodecFault::Truncated { at, made, expected });
        };
        at += 1;
        // Eight literals in a row are the common case of data that hardly compresses.
        if control == 0
            && let (Some(from), Some(to)) = (src.get(at..at + 8), dst.get_mut(made..made + 8))
        {
            to.copy_from_slice(from);
            at += 8;
            made += 8;
            continue;
        }
        for item in 0..8 {
            if made == expected {
                break;
            }
            if control >> item & 1 == 0 {
                let Some(&literal) = src.get(at) else {
                    return Err(CodecFault::Truncated { at, made, expected });
                };
                dst[made] = literal;
                at += 1;
                made += 1;
                continue;
            }
            let Some(&[high, low]) = src.get(at..at + 2) else {
                return Err(CodecFault::Truncated { at: src.len(), made, expected });
            };
            let length = usize::from(high >> 2) + MATCH_MIN;
            let distance = usize::from(high & DISTANCE_HIGH) << 8 | usize::from(low);
            if distance == 0 || distance > made {
                return Err(CodecFault::Distance { at, distance, made });
            }
            if length > expected - made {
                return Err(CodecFault::Overlong { at, expected });
            }
            copy_back(dst, made, distance, length);
            at += 2;
            made += length;
        }
    }
    Ok(())
}

/// Repeats `length` bytes from `distance` back at `made`; both ranges are known to lie in `dst`.
fn copy_back(dst: &mut [u8], made: usize, distance: usize, length: usize) {
    let start = made - distance;
    if distance >= length {
        dst.copy_within(start..start + length, made);
    } else {
        for to in made..made + length {
            dst[to] = dst[to - distance];
        }
    }
}
