//! Checksums of blocks, and of the structures that carry their own.
//!
//! A block pointer holds a [`Checksum`] of the bytes as they are stored: compressed, encrypted, before
//! parity. [`checksum`] computes it by the function's number. Words of the input (fletcher) and of the
//! result are in the byte order of the block pointer. Labels, uberblocks and gang headers hold their
//! own: [`verify_embedded`], [`seal_embedded`]; gang headers of encrypted blocks half of one: [`verify_folded`], [`seal_folded`].
//!
//! The cryptographic functions are behind the cargo feature `block-checksums`; a build without it
//! says so when one is asked for. The sums of [`fletcher`](crate::fletcher) are always there.

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
    EmbeddedChecksum, MAGIC as EMBEDDED_MAGIC, SIZE as EMBEDDED_SIZE, seal_embedded, seal_folded,
    verify_embedded, verify_folded,
};
pub use error::{EmbeddedError, Error};
pub use salt::Salt;

pub use crate::sum::Checksum;

use crate::algorithm::ChecksumType;
use crate::fletcher::{fletcher2, fletcher4};
use crate::order::ByteOrder;

/// The checksum that function `kind` gives for the stored bytes `data` of a block whose block
/// pointer is in `order`.
///
/// `salt` is the pool's; skein, edonr and blake3 need it, the others do not look at it. Off and
/// noparity are four zero words.
///
/// OpenZFS (2.3) does not compute edonr for a pool of the other byte order; what is computed here is
/// what a machine of that order writes.
///
/// # Errors
///
/// [`Error`] when `kind` is no function over a block, when it needs a salt and has none, and when
/// this build leaves it out.
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
            "checksum blake3 needs the cargo feature `block-checksums`, which this build leaves out"
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
