//! Tests that change one byte after the other: all of them, or in a shorter time some.

/// Set to anything, it makes tests take every byte that they otherwise take samples of. `cargo xtask interop` does.
pub const VARIABLE: &str = "ZSTREAM_EVERY_BYTE";

/// How far apart the bytes are that a test takes: `sampled`, or 1 where every byte is asked for.
#[must_use]
pub fn step(sampled: usize) -> usize {
    if std::env::var_os(VARIABLE).is_some() { 1 } else { sampled }
}
