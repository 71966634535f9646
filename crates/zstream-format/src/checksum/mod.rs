//! Checksums of blocks, and checksums embedded in structures.
//!
//! A block pointer contains a [`Checksum`] of the bytes as they are stored: compressed, encrypted, before
//! parity. [`checksum`] computes it by the number of the function. The words of the input (fletcher) and of
//! the result are in the byte order of the block pointer. Labels, uberblocks and gang headers embed their
//! own ([`verify_embedded`], [`seal_embedded`]), gang headers of encrypted blocks half of one
//! ([`verify_folded`], [`seal_folded`]).
//!
//! The cryptographic functions require the cargo feature `block-checksums`; without it they return an
//! error that names it. The sums of [`fletcher`](crate::fletcher) are always available.

mod digest;
#[cfg(feature = "block-checksums")]
mod edonr;
mod embedded;
mod error;
mod salt;
#[cfg(feature = "block-checksums")]
mod skein;
#[cfg(feature = "block-checksums")]
mod threefish;

pub use embedded::{
    EmbeddedChecksum, MAGIC as EMBEDDED_MAGIC, SIZE as EMBEDDED_SIZE, find_location, seal_embedded,
    seal_folded, verify_embedded, verify_folded,
};
pub use error::{EmbeddedError, Error};
pub use salt::Salt;

pub use crate::sum::Checksum;

use crate::algorithm::ChecksumType;
use crate::fletcher::{fletcher2, fletcher4};
use crate::order::ByteOrder;

/// Computes the checksum `kind` of the stored bytes `data` of a block whose block pointer is in byte
/// order `order`.
///
/// `salt` is the salt of the pool; skein, edonr and blake3 require it, the others ignore it. The results
/// of off and noparity are four zero words.
///
/// OpenZFS (2.3) does not compute edonr for a pool in the other byte order; this function computes the
/// checksum that a machine of that byte order writes.
///
/// # Errors
///
/// Returns an [`Error`] if `kind` is not a function over a block, if it requires a salt and `salt` is
/// `None`, and if this build does not include it.
pub fn checksum(
    kind: ChecksumType,
    data: &[u8],
    order: ByteOrder,
    salt: Option<&Salt>,
) -> Result<Checksum, Error> {
    let salted = || salt.ok_or(Error::NoSalt(kind));
    match kind {
        ChecksumType::OFF | ChecksumType::NOPARITY => Ok(Checksum::ZERO),
        ChecksumType::FLETCHER_2 => Ok(fletcher2(data, order)),
        ChecksumType::FLETCHER_4 => Ok(fletcher4(data, order)),
        ChecksumType::SHA256 => digest::sha256(&[data]),
        ChecksumType::SHA512 => digest::sha512_256(data, order),
        ChecksumType::SKEIN => digest::skein(data, order, salted()?),
        ChecksumType::EDONR => digest::edonr(data, order, salted()?),
        ChecksumType::BLAKE3 => digest::blake3(data, order, salted()?),
        _ => Err(Error::NotForBlocks(kind)),
    }
}

#[cfg(all(test, not(feature = "block-checksums")))]
mod tests {
    use super::*;

    #[test]
    fn functions_left_out_are_named() {
        let salt = Salt::new([1; 32]);
        for kind in [
            ChecksumType::SHA256,
            ChecksumType::SHA512,
            ChecksumType::SKEIN,
            ChecksumType::EDONR,
            ChecksumType::BLAKE3,
        ] {
            let result = checksum(kind, b"", ByteOrder::Little, Some(&salt));
            assert_eq!(result, Err(Error::NotBuilt(kind)));
        }
        assert_eq!(
            Error::NotBuilt(ChecksumType::BLAKE3).to_string(),
            "checksum blake3 requires the cargo feature `block-checksums`, which this build does not include"
        );
    }

    #[test]
    fn nothing_is_sealed_without_sha256() {
        let mut structure = [7; 64];
        let result = seal_embedded(&mut structure, [0; 4], ByteOrder::Little);
        assert_eq!(result, Err(EmbeddedError::NotBuilt(Error::NotBuilt(ChecksumType::SHA256))));
        assert_eq!(structure, [7; 64]);
    }
}
