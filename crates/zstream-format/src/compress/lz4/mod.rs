//! LZ4 with ZFS's header.
//!
//! ```text
//! 0  u32 BE   n, bytes of the LZ4 block
//! 4  n bytes  sequences: token | literal length ... | literals | u16 LE distance | match length ...
//! ```
//!
//! The high half of the token is the number of literals, the low half the match length less 4. A value of 15 in
//! either continues in bytes that are added, up to the first that is not 255. The last sequence has literals only.

mod encode;

use super::CodecFault;

/// The size of the ZFS header in bytes.
const HEADER: usize = 4;
/// The length of the shortest match in bytes.
const MATCH_MIN: usize = 4;

/// Compresses `src` to the output of OpenZFS in a buffer of the size of `dst`, or gives up where OpenZFS does.
pub(super) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let (header, room) = dst.split_first_chunk_mut::<HEADER>()?;
    let made = encode::compress(src, room)?;
    // The caller limits a block to 16 MiB.
    *header = (made as u32).to_be_bytes();
    Some(made + HEADER)
}

pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    let Some((header, rest)) = src.split_first_chunk::<HEADER>() else {
        return Err(CodecFault::NoHeader { need: HEADER, have: src.len() });
    };
    let said = u32::from_be_bytes(*header) as usize;
    let Some(block) = rest.get(..said) else {
        return Err(CodecFault::HeaderLength { said, have: rest.len() });
    };
    let expected = dst.len();
    match lz4_flex::block::decompress_into(block, dst) {
        Ok(made) if made == expected => Ok(()),
        Ok(made) => Err(CodecFault::Short { at: src.len() - rest.len() + said, made, expected }),
        Err(error) => Err(locate(block, expected)
            .unwrap_or_else(|| CodecFault::Damaged { reason: error.to_string(), at: HEADER })),
    }
}

/// Finds the fault by walking the sequences without output: the decoder does not report where it failed.
fn locate(block: &[u8], expected: usize) -> Option<CodecFault> {
    let (mut at, mut made) = (0, 0);
    loop {
        let cut = CodecFault::Truncated { at: HEADER + block.len(), made, expected };
        let start = at;
        let Some(&token) = block.get(at) else { return Some(cut) };
        at += 1;
        let Some(literals) = run(block, &mut at, token >> 4) else { return Some(cut) };
        if literals > block.len() - at {
            return Some(cut);
        }
        if literals > expected - made {
            return Some(CodecFault::Overlong { at: HEADER + start, expected });
        }
        at += literals;
        made += literals;
        if at == block.len() {
            return None;
        }
        let cut = CodecFault::Truncated { at: HEADER + block.len(), made, expected };
        let Some(&[low, high]) = block.get(at..at + 2) else { return Some(cut) };
        let distance = usize::from(low) | usize::from(high) << 8;
        at += 2;
        let Some(length) = run(block, &mut at, token & 15) else { return Some(cut) };
        if distance == 0 || distance > made {
            return Some(CodecFault::Distance { at: HEADER + start, distance, made });
        }
        if length + MATCH_MIN > expected - made {
            return Some(CodecFault::Overlong { at: HEADER + start, expected });
        }
        made += length + MATCH_MIN;
    }
}

/// Reads a length whose first four bits are `nibble`. Returns `None` if the block ends within it.
fn run(block: &[u8], at: &mut usize, nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let more = *block.get(*at)?;
            *at += 1;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}
