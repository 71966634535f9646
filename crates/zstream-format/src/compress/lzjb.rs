//! LZJB, ZFS's first compression.
//!
//! ```text
//! control | item 0 | ... | item 7 | control | ...
//! ```
//!
//! Bit n of a control byte, lowest first, is the kind of the following item n. 0 is one literal byte; 1 is a copy,
//! encoded in two bytes `llllllDD dddddddd`: `l` + 3 bytes (3 to 66) from `D,d` bytes back (1 to 1023). There is no
//! length and no end mark: the decoder stops when the block is full, even within a group.

use super::CodecFault;

/// The length of the shortest copy in bytes.
const MATCH_MIN: usize = 3;
/// The length of the longest copy in bytes.
const MATCH_MAX: usize = 66;
/// The bits of the first byte of a copy that belong to the distance.
const DISTANCE_HIGH: u8 = 0x3;
/// All bits of a distance.
const DISTANCE_MASK: usize = 0x3ff;
/// The size of the largest group, a control byte and eight copies, in bytes.
const GROUP_MAX: usize = 1 + 2 * 8;
/// The number of entries in the encoder's table of positions, by hash of three bytes.
const TABLE: usize = 1024;

pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    let expected = dst.len();
    let (mut at, mut made) = (0, 0);
    while made < expected {
        let Some(&control) = src.get(at) else {
            return Err(CodecFault::Truncated { at, made, expected });
        };
        at += 1;
        // Eight literals in a row are common in data that hardly compresses.
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

/// Copies `length` bytes from `distance` back to `made`; the caller has checked both ranges.
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

/// Compresses `src` to the output of OpenZFS in a buffer of the size of `dst` at an address that is a multiple of
/// 1 KiB (OpenZFS's table contains low bits of addresses). Returns `None` if it gives up, which it does when the
/// remaining room is less than a full group of copies.
pub(super) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    // The low bits of the last position with each hash. Positions are known modulo 1024 only, so an entry that
    // was never set means the last multiple of 1024. The bytes are compared in any case.
    let mut last = [0_u16; TABLE];
    let mut made = 0;
    let mut pos = 0;
    while pos < src.len() {
        if made + GROUP_MAX >= dst.len() {
            return None;
        }
        let (control, items) = dst[made..made + GROUP_MAX].split_first_mut()?;
        *control = 0;
        let mut used = 0;
        for item in 0..8 {
            if pos == src.len() {
                break;
            }
            match find(src, pos, &mut last) {
                Some((distance, length)) => {
                    *control |= 1 << item;
                    // Both halves fit: the length takes 6 bits, the distance 10.
                    items[used] = ((length - MATCH_MIN) << 2 | distance >> 8) as u8;
                    items[used + 1] = distance as u8;
                    used += 2;
                    pos += length;
                }
                None => {
                    items[used] = src[pos];
                    used += 1;
                    pos += 1;
                }
            }
        }
        made += 1 + used;
    }
    Some(made)
}

/// Finds a copy for the bytes at `pos`, as (distance, length). There is none near the end, so the comparison
/// needs no bounds check.
fn find(src: &[u8], pos: usize, last: &mut [u16; TABLE]) -> Option<(usize, usize)> {
    let here = src.get(pos..pos + MATCH_MAX)?;
    let mut hash = usize::from(here[0]) << 16 | usize::from(here[1]) << 8 | usize::from(here[2]);
    hash += hash >> 9;
    hash += hash >> 5;
    let entry = &mut last[hash % TABLE];
    let distance = pos.wrapping_sub(usize::from(*entry)) & DISTANCE_MASK;
    *entry = (pos & DISTANCE_MASK) as u16;
    if distance == 0 || distance > pos {
        return None;
    }
    let there = &src[pos - distance..][..MATCH_MAX];
    if here[..MATCH_MIN] != there[..MATCH_MIN] {
        return None;
    }
    let more = here[MATCH_MIN..].iter().zip(&there[MATCH_MIN..]).take_while(|(a, b)| a == b).count();
    Some((distance, MATCH_MIN + more))
}
