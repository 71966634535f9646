//! Block compression: the algorithms of `enum zio_compress`, and the rules by which ZFS uses or discards their
//! output.
//!
//! A compressed block has no header except, for two algorithms, a small one; the number of the algorithm
//! and both sizes are in the block pointer or in the WRITE record. The stored form (*payload*) is padded with
//! zeros to the physical size:
//!
//! ```text
//! lzjb, zle   | items ...                                          | 0 ...   ends where lsize bytes are made
//! gzip-1..9   | zlib stream (RFC 1950)                             | 0 ...   ends with the zlib stream
//! lz4         | u32 BE n | LZ4 block, n bytes                      | 0 ...
//! zstd        | u32 BE n | level, version | zstd frame, n bytes    | 0 ...   the frame has no magic number
//! ```
//!
//! These invariants hold: decompression fills the buffer of the caller exactly or fails; no number from a payload
//! sets the size of an allocation; no input panics.
//!
//! lzjb and zle are always included. `lz4`, `gzip` and `zstd` are cargo features of this crate; without one,
//! its algorithms fail with an error that names the feature.

mod error;
#[cfg(feature = "gzip")]
mod gzip;
mod keep;
mod level;
#[cfg(feature = "lz4")]
mod lz4;
mod lzjb;
mod zle;
#[cfg(feature = "zstd")]
mod zstd;

pub use error::{CodecError, CodecFault};
pub use keep::{DiskForm, EMBEDDED_PAYLOAD_MAX, compress_for_disk, compress_for_stream};
pub use level::{Compression, UnknownCompression, ZstdLevel};

use crate::algorithm::CompressionType;

/// Decompresses one stored block.
///
/// `src` is the payload with or without its padding; `dst` is as long as the logical block (`lsize`) and is
/// filled completely. After an error its content is unspecified. `OFF` copies. Bytes after the payload are
/// ignored, as in OpenZFS.
///
/// # Errors
///
/// Fails if `src` is corrupt or truncated, if it does not decompress to exactly `dst.len()` bytes, and if `kind` is
/// not an algorithm of stored blocks (`inherit`, `on`, `empty`, unknown numbers) or is not included in this build.
pub fn decompress(kind: CompressionType, src: &[u8], dst: &mut [u8]) -> Result<(), CodecError> {
    let outcome = match kind {
        CompressionType::OFF => copy(src, dst),
        CompressionType::LZJB => lzjb::decompress(src, dst),
        CompressionType::ZLE => zle::decompress(src, dst),
        #[cfg(feature = "gzip")]
        _ if is_gzip(kind) => gzip::decompress(src, dst),
        #[cfg(feature = "lz4")]
        CompressionType::LZ4 => lz4::decompress(src, dst),
        #[cfg(feature = "zstd")]
        CompressionType::ZSTD => zstd::decompress(src, dst),
        _ => Err(refusal(kind)),
    };
    outcome.map_err(|fault| CodecError { algorithm: kind, fault })
}

/// The maximum size of a block (`SPA_MAXBLOCKSIZE`) in bytes.
pub const MAX_BLOCK: usize = 16 << 20;

/// Compresses one block into `dst`, and returns the size of the payload in bytes, without padding.
///
/// Returns `None` if the payload does not fit into `dst`: the caller sets the maximum useful size with the length
/// of `dst`, which may be 0. `level` applies to zstd only, where `None` is the default level. The output of lzjb,
/// zle and lz4 is that of OpenZFS in a buffer of the same size; they give up where OpenZFS does, a little before
/// the last byte. The output of gzip and zstd is that of current libraries. `OFF` and `EMPTY` always return `None`.
///
/// # Errors
///
/// Fails if `kind` is not a concrete algorithm (`inherit`, `on`, unknown numbers) or is not included in this build,
/// if `src` is longer than [`MAX_BLOCK`], and if the library fails for a reason other than lack of room.
pub fn compress_into(
    kind: CompressionType,
    level: Option<ZstdLevel>,
    src: &[u8],
    dst: &mut [u8],
) -> Result<Option<usize>, CodecError> {
    let outcome = match kind {
        _ if src.len() > MAX_BLOCK => Err(CodecFault::TooLarge { size: src.len(), limit: MAX_BLOCK }),
        CompressionType::OFF | CompressionType::EMPTY => Ok(None),
        CompressionType::LZJB => Ok(lzjb::compress(src, dst)),
        CompressionType::ZLE => Ok(zle::compress(src, dst)),
        #[cfg(feature = "gzip")]
        _ if is_gzip(kind) => gzip::compress(u32::from(kind.0 - CompressionType::GZIP_1.0) + 1, src, dst),
        #[cfg(feature = "lz4")]
        CompressionType::LZ4 => Ok(lz4::compress(src, dst)),
        #[cfg(feature = "zstd")]
        CompressionType::ZSTD => zstd::compress(level.unwrap_or_default(), src, dst),
        _ => Err(refusal(kind)),
    };
    // Without zstd nothing uses the level.
    let _ = level;
    outcome.map_err(|fault| CodecError { algorithm: kind, fault })
}

/// Compresses one block into a vector of at most `limit` bytes; otherwise like [`compress_into`].
///
/// # Errors
///
/// Fails like [`compress_into`].
pub fn compress(
    kind: CompressionType,
    level: Option<ZstdLevel>,
    src: &[u8],
    limit: usize,
) -> Result<Option<Vec<u8>>, CodecError> {
    // A payload longer than the block is useless; the slack is for blocks of a few bytes.
    let mut payload = vec![0; limit.min(src.len().saturating_add(src.len() / 8 + 256))];
    let made = compress_into(kind, level, src, &mut payload)?;
    Ok(made.map(|made| {
        payload.truncate(made);
        payload
    }))
}

/// Compresses one block with gzip to the output of zlib, and so of OpenZFS. [`compress`] is several times as fast; its
/// output differs, but has about the same length. Returns `None` for all algorithms but gzip-1 to gzip-9, and for
/// input longer than [`MAX_BLOCK`].
#[cfg(feature = "gzip")]
#[must_use]
pub fn compress_as_zlib(kind: CompressionType, src: &[u8]) -> Option<Vec<u8>> {
    (is_gzip(kind) && src.len() <= MAX_BLOCK)
        .then(|| crate::deflate::zlib(kind.0 - CompressionType::GZIP_1.0 + 1, src))
}

fn is_gzip(kind: CompressionType) -> bool {
    (CompressionType::GZIP_1..=CompressionType::GZIP_9).contains(&kind)
}

/// The error for an algorithm that this build cannot apply.
fn refusal(kind: CompressionType) -> CodecFault {
    match kind {
        CompressionType::LZ4 => CodecFault::NotCompiledIn { feature: "lz4" },
        CompressionType::ZSTD => CodecFault::NotCompiledIn { feature: "zstd" },
        _ if is_gzip(kind) => CodecFault::NotCompiledIn { feature: "gzip" },
        _ => CodecFault::NotAnAlgorithm,
    }
}

fn copy(src: &[u8], dst: &mut [u8]) -> Result<(), CodecFault> {
    if src.len() != dst.len() {
        return Err(CodecFault::PlainSize { have: src.len(), expected: dst.len() });
    }
    dst.copy_from_slice(src);
    Ok(())
}
