//! A deflate encoder with the same output as zlib.
//!
//! Deflate (RFC 1951) leaves the choice of matches, blocks and codes to the encoder. ZFS uses zlib, and
//! its choices are visible: a resume token is its output in hexadecimal. Other encoders (zlib-rs, zlib-ng,
//! miniz, libdeflate) choose differently, so this one repeats each decision of zlib, for levels 1 to 9, a
//! window of 32 KiB and memory level 8, with the whole input given at once.
//!
//! ```text
//! input --> matcher: literals and (length, distance) pairs, up to 16383 per block
//!       --> block: stored, fixed codes or its own codes, whichever is shortest
//!       --> bits, after 2 bytes of zlib header and before the Adler-32 of the input
//! ```
//!
//! There is no decoder here: any inflate decodes the output.

mod block;
mod codes;
mod matcher;

use block::BlockWriter;

/// The level of resume tokens, which is also the default of zlib.
pub(crate) const DEFAULT_LEVEL: u8 = 6;

/// Compresses `input` to the zlib stream (RFC 1950) that zlib writes at `level`, 1 to 9.
///
/// Panics at other levels, and if `input` is 4 GiB or more.
pub(crate) fn zlib(level: u8, input: &[u8]) -> Vec<u8> {
    let mut writer = BlockWriter::new(header(level).to_vec());
    matcher::run(matcher::tuning(level), input, &mut writer);
    let mut out = writer.finish();
    out.extend_from_slice(&adler32(input).to_be_bytes());
    out
}

/// Returns the header: method deflate, window of 32 KiB, a hint at the level, no dictionary, and a check value.
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
    /// The number of bytes that can be added before `b` must be reduced.
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
