//! Does a stored block match the checksum in its pointer.

use sha2::{Digest, Sha256};
use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::Checksum;
use zstream_format::fletcher::fletcher4;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blkptr::BlockPointer;
use crate::error::{Error, Fault, Result};

/// Size of a pool's salt.
pub const SALT_BYTES: usize = 32;

/// The checksum of one block pointer, ready to be compared with candidates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verifier<'a> {
    kind: ChecksumType,
    order: ByteOrder,
    expected: Checksum,
    /// Encryption took the last two words for a MAC.
    truncated: bool,
    salt: Option<&'a [u8; SALT_BYTES]>,
}

impl<'a> Verifier<'a> {
    /// The verifier of what `bp` points at, in a pool with this salt.
    ///
    /// # Errors
    /// The checksum function is not one for ordinary blocks, or needs a salt that is not known.
    pub(super) fn new(bp: &BlockPointer, salt: Option<&'a [u8; SALT_BYTES]>) -> Result<Self> {
        let kind = bp.checksum_type();
        match kind {
            ChecksumType::SKEIN | ChecksumType::EDONR | ChecksumType::BLAKE3 if salt.is_none() => {
                return Err(Error::corrupt("pool", format!("a block summed with {kind}, but no salt")));
            }
            ChecksumType::OFF
            | ChecksumType::NOPARITY
            | ChecksumType::FLETCHER_2
            | ChecksumType::FLETCHER_4 => {}
            ChecksumType::SHA256 | ChecksumType::SHA512 => {}
            ChecksumType::SKEIN | ChecksumType::EDONR | ChecksumType::BLAKE3 => {}
            other => {
                return Err(Error::corrupt(
                    "block pointer",
                    format!("checksum {other} of an ordinary block"),
                ));
            }
        }
        let truncated = bp.uses_crypt() && bp.object_type() != ObjectType::OBJSET;
        Ok(Self { kind, order: bp.byte_order(), expected: Checksum(bp.checksum()), truncated, salt })
    }

    /// Accepts the stored bytes of the block.
    ///
    /// # Errors
    /// [`Fault::Checksum`] for any others.
    pub(super) fn verify(&self, stored: &[u8]) -> Result<()> {
        let Some(mut found) = block_checksum(self.kind, self.order, self.salt, stored)? else {
            return Ok(());
        };
        let mut expected = self.expected;
        if self.truncated {
            let [a, b, c, d] = found.0;
            // The words that are cut off are folded in where the function is too weak to lose them.
            found = if self.kind.is_dedup_capable() {
                Checksum([a, b, 0, 0])
            } else {
                Checksum([a ^ c, b ^ d, 0, 0])
            };
            expected = Checksum([expected.0[0], expected.0[1], 0, 0]);
        }
        if found == expected { Ok(()) } else { Err(mismatch(&self.kind.to_string(), found, expected)) }
    }
}

/// The checksum of a stored block; `None` where there is none.
fn block_checksum(
    kind: ChecksumType,
    order: ByteOrder,
    _salt: Option<&[u8; SALT_BYTES]>,
    stored: &[u8],
) -> Result<Option<Checksum>> {
    Ok(Some(match kind {
        ChecksumType::OFF | ChecksumType::NOPARITY => return Ok(None),
        ChecksumType::FLETCHER_4 => fletcher4(stored, order),
        ChecksumType::SHA256 => sha256(&[stored]),
        other => return Err(Error::unsupported(format!("checksum {other}"))),
    }))
}

/// SHA-256 of the parts one after the other.
pub(super) fn sha256(parts: &[&[u8]]) -> Checksum {
    let mut sha256 = Sha256::new();
    for part in parts {
        sha256.update(part);
    }
    Checksum::from_bytes(&sha256.finalize().into(), ByteOrder::Big)
}

pub(super) fn mismatch(algorithm: &str, found: Checksum, expected: Checksum) -> Error {
    Fault::Checksum {
        algorithm: algorithm.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
    .into()
}
