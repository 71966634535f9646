//! Errors from computing and verifying checksums.

use thiserror::Error;

use super::Checksum;
use crate::algorithm::ChecksumType;

/// An error from computing the checksum of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The number is not that of a function over a block: it is a value of properties only, the function
    /// embeds its checksum in the block, or no version defines the number.
    #[error("checksum {0} cannot be computed over a block")]
    NotForBlocks(ChecksumType),
    /// The function requires the pool's salt, which is missing.
    #[error("checksum {0} requires the salt of the pool, which is missing")]
    NoSalt(ChecksumType),
    /// This build does not include the function.
    #[error("checksum {0} requires the cargo feature `block-checksums`, which this build does not include")]
    NotBuilt(ChecksumType),
}

/// An error from verifying or writing an embedded checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The structure is too short for the checksum.
    #[error(
        "structure is {have} bytes, an embedded checksum requires {need}",
        need = super::embedded::SIZE
    )]
    TooShort {
        /// The size of the structure in bytes.
        have: usize,
    },
    /// The magic number is missing in both byte orders.
    #[error(
        "embedded checksum is missing: magic is {found:#018x}, expected {expected:#018x} in either byte order",
        expected = super::embedded::MAGIC
    )]
    NoMagic {
        /// The value in place of the magic number, read as little-endian.
        found: u64,
    },
    /// The checksum does not match: the structure is corrupt or was read from another location.
    #[error("embedded checksum is {stored}, computed {computed}")]
    Mismatch {
        /// The checksum in the structure.
        stored: Checksum,
        /// The checksum of the structure and its verifier.
        computed: Checksum,
    },
    /// This build does not include SHA-256.
    #[error(transparent)]
    NotBuilt(#[from] Error),
}
