//! Why a block could not be compressed or decompressed.

use crate::algorithm::CompressionType;

/// A block that could not be compressed or decompressed. Positions are bytes from the start of the payload,
/// headers included; the caller adds where the block lies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{algorithm}: {fault}")]
pub struct CodecError {
    /// The algorithm that was asked for.
    pub algorithm: CompressionType,
    /// What is wrong.
    pub fault: CodecFault,
}

/// What is wrong with a block or with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecFault {
    /// The number stands for no algorithm that a stored block can have.
    #[error("not an algorithm of stored blocks")]
    NotAnAlgorithm,
    /// The algorithm is known, its code was left out of this build.
    #[error("not compiled in, needs the cargo feature `{feature}` of zstream-format")]
    NotCompiledIn {
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// An uncompressed block whose stored size is not its logical size.
    #[error("{have} bytes stored, expected {expected}")]
    PlainSize {
        /// Bytes stored.
        have: usize,
        /// Bytes of the logical block.
        expected: usize,
    },
    /// The payload is shorter than the algorithm's header.
    #[error("header is {need} bytes, have {have}")]
    NoHeader {
        /// Size of the header.
        need: usize,
        /// Size of the payload.
        have: usize,
    },
    /// The length in the header goes past the end of the payload.
    #[error("header says {said} bytes follow, have {have}")]
    HeaderLength {
        /// The length in the header.
        said: usize,
        /// Bytes behind the header.
        have: usize,
    },
    /// The second word of a zstd header has the zero byte of the version in neither place.
    #[error("header has version and level {word:#010x}, of no known byte order")]
    ZstdVersion {
        /// The word, first byte highest.
        word: u32,
    },
    /// A level that ZFS does not define.
    #[error("header has level {cookie}, not a level of zstd in zfs")]
    ZstdLevel {
        /// The level's number.
        cookie: u8,
    },
    /// The payload ends before the block is complete.
    #[error("payload ends at byte {at} with {made} of {expected} bytes made")]
    Truncated {
        /// Where the payload ends.
        at: usize,
        /// Bytes made until then.
        made: usize,
        /// Bytes of the logical block.
        expected: usize,
    },
    /// The payload is complete, the block is not.
    #[error("payload of {at} bytes makes {made} bytes, expected {expected}")]
    Short {
        /// Where the payload ends.
        at: usize,
        /// Bytes made.
        made: usize,
        /// Bytes of the logical block.
        expected: usize,
    },
    /// The payload makes more than the block.
    #[error("what begins at byte {at} makes more than the {expected} bytes expected")]
    Overlong {
        /// Where the part of the payload begins that does not fit.
        at: usize,
        /// Bytes of the logical block.
        expected: usize,
    },
    /// A copy from before the block's start, or from its own position.
    #[error("what begins at byte {at} copies from {distance} bytes back with {made} bytes made")]
    Distance {
        /// Where the part of the payload begins that does it.
        at: usize,
        /// How far back it copies from.
        distance: usize,
        /// Bytes made until then.
        made: usize,
    },
    /// What the library that decodes says.
    #[error("{reason} (behind byte {at})")]
    Damaged {
        /// The library's reason.
        reason: String,
        /// How many bytes of the payload are known to be in order.
        at: usize,
    },
    /// The library that compresses failed for another reason than lack of room.
    #[error("{reason}")]
    Library {
        /// The library's reason.
        reason: String,
    },
    /// A block that is larger than ZFS's largest.
    #[error("block of {size} bytes, at most {limit} can be compressed")]
    TooLarge {
        /// Size of the block.
        size: usize,
        /// The largest that is taken.
        limit: usize,
    },
}
