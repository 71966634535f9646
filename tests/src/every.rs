//! Tests that change one byte after the other, of which there is time for some only.

/// How many times as many bytes as otherwise are taken: a number. With 1000 it is every byte.
pub const VARIABLE: &str = "ZSTREAM_THOROUGH";

/// How far apart the bytes are that a test takes: `sampled`, or less where more are asked for.
///
/// # Panics
/// What is asked for is no number.
#[must_use]
pub fn step(sampled: usize) -> usize {
    let times = std::env::var(VARIABLE).map_or(1, |times| times.parse().expect("a number"));
    (sampled / std::cmp::max(1, times)).max(1)
}
