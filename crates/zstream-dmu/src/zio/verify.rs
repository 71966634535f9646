//! Verification of a stored block with the checksum in its pointer.

use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::{Checksum, Salt, checksum};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blkptr::BlockPointer;
use crate::error::{Fault, Result};
use crate::intent_log;

/// The checksum of one block pointer, prepared for comparison with candidates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verifier<'a> {
    kind: ChecksumType,
    order: ByteOrder,
    expected: Checksum,
    /// `true` if the last two words hold a MAC of encryption.
    truncated: bool,
    salt: Option<&'a Salt>,
}

impl<'a> Verifier<'a> {
    /// Creates the verifier for the block of `bp`, in a pool with this salt.
    ///
    /// # Errors
    /// Fails if the checksum function is not one for ordinary blocks, or if it requires a salt that is not known.
    pub(super) fn new(bp: &BlockPointer, salt: Option<&'a Salt>) -> Result<Self> {
        let kind = bp.checksum_type();
        if !intent_log::is_log(kind) {
            // The existence of the function, and of a salt if it requires one, does not depend on the bytes.
            checksum(kind, &[], bp.byte_order(), salt)?;
        }
        let (expected, truncated) = (Checksum(bp.checksum()), is_cut(bp.uses_crypt(), bp.object_type()));
        Ok(Self { kind, order: bp.byte_order(), expected, truncated, salt })
    }

    /// Returns `true` if there is a checksum. Without one, any bytes are accepted.
    pub(super) fn detects_damage(&self) -> bool {
        !matches!(self.kind, ChecksumType::OFF | ChecksumType::NOPARITY)
    }

    /// Verifies the stored bytes of the block.
    ///
    /// # Errors
    /// Returns [`Fault::Checksum`] if they do not match.
    pub(super) fn verify(&self, stored: &[u8]) -> Result<()> {
        if !self.detects_damage() {
            return Ok(());
        }
        let (mut found, mut expected) = if intent_log::is_log(self.kind) {
            intent_log::Chain::sums(self.kind, stored, self.expected.0)?
        } else {
            (checksum(self.kind, stored, self.order, self.salt)?, self.expected)
        };
        if self.truncated {
            found = truncated(self.kind, found);
            expected = Checksum([expected.0[0], expected.0[1], 0, 0]);
        }
        if found == expected {
            return Ok(());
        }
        Err(Fault::Checksum { function: self.kind, found, expected }.into())
    }
}

/// Returns `true` if the checksum of a block is truncated to its first half, with a MAC in place of the second. An
/// objset block stores its MACs itself.
pub(super) fn is_cut(uses_crypt: bool, object_type: ObjectType) -> bool {
    uses_crypt && object_type != ObjectType::OBJSET
}

/// Returns the half of a checksum that is stored in a pointer with a MAC.
pub(super) fn truncated(kind: ChecksumType, sum: Checksum) -> Checksum {
    let [a, b, c, d] = sum.0;
    // If the function is too weak for truncation, the other half is folded in.
    if kind.is_dedup_capable() { Checksum([a, b, 0, 0]) } else { Checksum([a ^ c, b ^ d, 0, 0]) }
}
