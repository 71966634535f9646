//! Does a stored block match the checksum in its pointer.

use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::{Checksum, Salt, checksum};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::blkptr::BlockPointer;
use crate::error::{Fault, Result};
use crate::intent_log;

/// The checksum of one block pointer, ready to be compared with candidates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verifier<'a> {
    kind: ChecksumType,
    order: ByteOrder,
    expected: Checksum,
    /// Encryption took the last two words for a MAC.
    truncated: bool,
    salt: Option<&'a Salt>,
}

impl<'a> Verifier<'a> {
    /// The verifier of what `bp` points at, in a pool with this salt.
    ///
    /// # Errors
    /// The checksum function is not one for ordinary blocks, or needs a salt that is not known.
    pub(super) fn new(bp: &BlockPointer, salt: Option<&'a Salt>) -> Result<Self> {
        let kind = bp.checksum_type();
        if !intent_log::is_log(kind) {
            // Whether there is such a function, and a salt if it needs one, does not depend on the bytes.
            checksum(kind, &[], bp.byte_order(), salt)?;
        }
        let (expected, truncated) = (Checksum(bp.checksum()), is_cut(bp.uses_crypt(), bp.object_type()));
        Ok(Self { kind, order: bp.byte_order(), expected, truncated, salt })
    }

    /// Whether there is a checksum at all: without one, any bytes are accepted.
    pub(super) fn tells_apart(&self) -> bool {
        !matches!(self.kind, ChecksumType::OFF | ChecksumType::NOPARITY)
    }

    /// Accepts the stored bytes of the block.
    ///
    /// # Errors
    /// [`Fault::Checksum`] for any others.
    pub(super) fn verify(&self, stored: &[u8]) -> Result<()> {
        if !self.tells_apart() {
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

/// Whether the checksum of a block is cut to its first half, because a MAC takes the place of the second one. An objset block
/// holds its MACs itself.
pub(super) fn is_cut(uses_crypt: bool, object_type: ObjectType) -> bool {
    uses_crypt && object_type != ObjectType::OBJSET
}

/// The half of a checksum that a pointer with a MAC has room for.
pub(super) fn truncated(kind: ChecksumType, sum: Checksum) -> Checksum {
    let [a, b, c, d] = sum.0;
    // The words that are cut off are folded in where the function is too weak to lose them.
    if kind.is_dedup_capable() { Checksum([a, b, 0, 0]) } else { Checksum([a ^ c, b ^ d, 0, 0]) }
}
