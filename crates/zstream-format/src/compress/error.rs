//! Errors from compressing and decompressing blocks.

use crate::algorithm::CompressionType;

/// An error from compressing or decompressing a block. Positions are offsets in the payload, headers
/// included; the caller adds the location of the block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{algorithm}: {fault}")]
#[non_exhaustive]
pub struct CodecError {
    /// The requested algorithm.
    pub algorithm: CompressionType,
    /// The fault.
    pub fault: CodecFault,
}

/// A fault in a block or in a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecFault {
    /// The number is not that of an algorithm for stored blocks.
    #[error("blocks cannot be stored with this algorithm")]
    NotAnAlgorithm,
    /// The algorithm is known, but this build does not include it.
    #[error("this build does not include the cargo feature `{feature}` of zstream-format")]
    NotCompiledIn {
        /// The cargo feature that enables it.
        feature: &'static str,
    },
    /// The stored size of an uncompressed block differs from its logical size.
    #[error("stored size is {have} bytes, expected {expected}")]
    PlainSize {
        /// The stored size in bytes.
        have: usize,
        /// The logical size in bytes.
        expected: usize,
    },
    /// The payload is shorter than the algorithm's header.
    #[error("payload is {have} bytes, the header requires {need}")]
    NoHeader {
        /// The size of the header in bytes.
        need: usize,
        /// The size of the payload in bytes.
        have: usize,
    },
    /// The length in the header exceeds the payload.
    #[error("length in the header is {said} bytes, {have} follow")]
    HeaderLength {
        /// The length in the header.
        said: usize,
        /// The number of bytes after the header.
        have: usize,
    },
    /// The second word of a zstd header has the zero byte of the version in neither position.
    #[error("version and level in the header are {word:#010x}, which is valid in neither byte order")]
    ZstdVersion {
        /// The word, read as big-endian.
        word: u32,
    },
    /// ZFS does not define the level.
    #[error("level in the header is {cookie}, which zfs does not define")]
    ZstdLevel {
        /// The number of the level.
        cookie: u8,
    },
    /// The payload ends before the block is complete.
    #[error("payload ends at byte {at} after {made} of {expected} decompressed bytes")]
    Truncated {
        /// The offset of the end of the payload.
        at: usize,
        /// The number of bytes decompressed so far.
        made: usize,
        /// The logical size in bytes.
        expected: usize,
    },
    /// The payload is complete, but decompresses to less than the block.
    #[error("payload of {at} bytes decompresses to {made} bytes, expected {expected}")]
    Short {
        /// The offset of the end of the payload.
        at: usize,
        /// The number of decompressed bytes.
        made: usize,
        /// The logical size in bytes.
        expected: usize,
    },
    /// The payload decompresses to more than the block.
    #[error("sequence at byte {at} decompresses to more than the expected {expected} bytes")]
    Overlong {
        /// The offset of the sequence that does not fit.
        at: usize,
        /// The logical size in bytes.
        expected: usize,
    },
    /// A copy from before the start of the block, or from its own position.
    #[error("sequence at byte {at} copies from {distance} bytes back, only {made} are decompressed")]
    Distance {
        /// The offset of the sequence that copies.
        at: usize,
        /// The distance that it copies from, in bytes.
        distance: usize,
        /// The number of bytes decompressed so far.
        made: usize,
    },
    /// The decompression library reported an error.
    #[error("{reason} (after byte {at})")]
    Damaged {
        /// The message of the library.
        reason: String,
        /// The number of bytes of the payload that are known to be intact.
        at: usize,
    },
    /// The compression library failed for a reason other than lack of room.
    #[error("{reason}")]
    Library {
        /// The message of the library.
        reason: String,
    },
    /// The block exceeds the maximum block size of ZFS.
    #[error("block is {size} bytes, at most {limit} can be compressed")]
    TooLarge {
        /// The size of the block in bytes.
        size: usize,
        /// The maximum size in bytes.
        limit: usize,
    },
}
