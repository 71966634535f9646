//! Why a block checksum could not be computed or does not hold.

use thiserror::Error;

use super::Checksum;
use crate::algorithm::ChecksumType;

/// Why the checksum of a block could not be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The number stands for no function over a block: one of properties, one whose checksum lies in
    /// the block itself, or one that no version defines.
    #[error("checksum {0} is not a function over a block's bytes")]
    NotForBlocks(ChecksumType),
    /// The function needs the pool's salt and there is none.
    #[error("checksum {0} needs the pool's salt, and there is none")]
    NoSalt(ChecksumType),
    /// The function is left out of this build.
    #[error("checksum {0} needs the cargo feature `block-checksums`, which this build leaves out")]
    NotBuilt(ChecksumType),
}

/// Why a structure with a checksum embedded in it is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// There is no room for the checksum.
    #[error("need {need} bytes for an embedded checksum, have {have}", need = super::embedded::SIZE)]
    TooShort {
        /// Bytes in the structure.
        have: usize,
    },
    /// The magic number is not there, in neither order.
    #[error(
        "no embedded checksum: found magic {found:#018x}, expected {expected:#018x} in either byte order",
        expected = super::embedded::MAGIC
    )]
    NoMagic {
        /// What is there, read as little-endian.
        found: u64,
    },
    /// The bytes are not those that were summed, or they belong elsewhere.
    #[error("embedded checksum is {stored}, the bytes give {computed}")]
    Mismatch {
        /// The checksum in the structure.
        stored: Checksum,
        /// The checksum of the structure and its verifier.
        computed: Checksum,
    },
    /// SHA-256 is left out of this build.
    #[error(transparent)]
    NotBuilt(#[from] Error),
}
