//! A deflate encoder that makes the bytes zlib makes.
//!
//! Deflate (RFC 1951) leaves the choice of matches, blocks and codes to the encoder. ZFS uses zlib, and
//! what zlib chose shows: a resume token is the text of its output. Encoders that are not zlib (zlib-rs
//! and zlib-ng, miniz, libdeflate) choose otherwise, so this one follows zlib's decisions, one by one, for
//! levels 1 to 9, a window of 32 KiB and memory level 8, with the whole input given at once.
//!
//! ```text
//! input --> matcher: literals and (length, distance) pairs, up to 16383 per block
//!       --> block: stored, fixed codes or its own codes, whichever is shortest
//!       --> bits, behind 2 bytes of zlib header and before the Adler-32 of the input
//! ```
//!
//! Decoding is not here: any inflate will do.

mod block;
mod codes;
mod matcher;

use block::BlockWriter;

/// The effort that tokens are made with, and zlib's own default.
pub(crate) const DEFAULT_LEVEL: u8 = 6;

/// The zlib stream (RFC 1950) that zlib makes of `input` at `level`, 1 to 9.
///
/// Panics at other levels, and when `input` has 4 GiB.
pub(crate) fn zlib(level: u8, input: &[u8]) -> Vec<u8> {
    let mut writer = BlockWriter::new(header(level).to_vec());
    matcher::run(matcher::tuning(level), input, &mut writer);
    let mut out = writer.finish();
    out.extend_from_slice(&adler32(input).to_be_bytes());
    out
}

/// Method deflate, window of 32 KiB, zlib's hint at the level, no dictionary, and a check value.
fn header(level: u8) -> [u8; 2] {
    let hint: u16 = match level {
        0..=1 => 0,
        2..=5 => 1,
        6 => 2,
        _ => 3,
    };
    let unchecked = 0x7800 | hint << 6;
    (unchecked + 31 - unchecked % 31).to_be_bytes()
}

fn adler32(data: &[u8]) -> u32 {
    /// As many bytes as `b` can take in before it has to be reduced.
    const CHUNK: usize = 5552;
    const MODULUS: u32 = 65521;
    let (mut a, mut b) = (1_u32, 0_u32);
    for chunk in data.chunks(CHUNK) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests;
