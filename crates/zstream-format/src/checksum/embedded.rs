//! Checksums embedded in the structure that they cover: labels, uberblocks and gang headers.
//!
//! ```text
//!  0                                     len - 40          len - 32                          len
//!  +-------------------------------------+-----------------+---------------------------------+
//!  | the structure                       | magic (u64)     | SHA-256 as 4 u64                |
//!  +-------------------------------------+-----------------+---------------------------------+
//!                                         `zio_eck_t`, in the byte order of the machine that wrote
//! ```
//!
//! The checksum covers all bytes. While it is computed, its field contains a *verifier*, the location of
//! the structure, so that a structure read from the wrong place fails verification:
//!
//! * labels, boot environments and uberblocks: byte offset on the device, 0, 0, 0
//! * gang headers: vdev, byte offset, transaction group of birth, 0, as in the block pointer's first DVA
//!
//! The words of the digest are big-endian, as in every SHA-256 of ZFS.
//!
//! The checksum in the gang header of an encrypted block is *folded*, like the checksum in the block pointer: the
//! second half is combined into the first with exclusive-or and replaced by zeros ([`verify_folded`], [`seal_folded`]).

use super::{Checksum, EmbeddedError, Error, digest};
use crate::order::ByteOrder;
use crate::structure;

/// The magic number of an embedded checksum (`ZEC_MAGIC`).
pub const MAGIC: u64 = 0x0210_da7a_b10c_7a11;

/// The size of an embedded checksum at the end of its structure, in bytes.
pub const SIZE: usize = EmbeddedChecksum::LEN;

structure! {
    /// A checksum at the end of the structure that it covers (`zio_eck_t`).
    pub EmbeddedChecksum[40] {
        /// [`EMBEDDED_MAGIC`](MAGIC).
        magic: u64,
        /// The checksum, or while it is computed, the verifier.
        checksum: Checksum,
    }
}

impl EmbeddedChecksum {
    /// Reads it from its [`SIZE`] bytes, and in which order it was written; `None` without its magic number.
    #[must_use]
    pub fn find(bytes: &[u8]) -> Option<(Self, ByteOrder)> {
        let orders = [ByteOrder::Little, ByteOrder::Big].into_iter();
        let mut found = orders.filter_map(|order| Some((Self::read(bytes, order)?, order)));
        found.find(|(embedded, _)| embedded.magic == MAGIC)
    }
}

/// Verifies the embedded checksum of `structure`, whose location is `verifier`.
///
/// Returns the byte order in which the structure was written.
///
/// # Errors
///
/// Returns an [`EmbeddedError`] if the structure has no checksum, if the checksum does not match, or if the
/// feature `block-checksums` is not enabled.
pub fn verify_embedded(structure: &[u8], verifier: [u64; 4]) -> Result<ByteOrder, EmbeddedError> {
    verify(structure, verifier, false)
}

/// Verifies like [`verify_embedded`] a structure whose checksum is folded: the second half is not compared.
///
/// # Errors
///
/// Fails like [`verify_embedded`].
pub fn verify_folded(structure: &[u8], verifier: [u64; 4]) -> Result<ByteOrder, EmbeddedError> {
    verify(structure, verifier, true)
}

fn verify(structure: &[u8], verifier: [u64; 4], is_folded: bool) -> Result<ByteOrder, EmbeddedError> {
    let too_short = EmbeddedError::TooShort { have: structure.len() };
    let tail = structure.last_chunk::<SIZE>().ok_or(too_short)?;
    let (EmbeddedChecksum { checksum: mut stored, .. }, order) =
        EmbeddedChecksum::find(tail).ok_or(EmbeddedError::NoMagic { found: ByteOrder::Little.u64(tail) })?;
    let covered = &structure[..structure.len() - Checksum::SIZE];
    let mut computed = sum(covered, verifier, order)?;
    if is_folded {
        computed = fold(computed);
        stored.0[2..].fill(0);
    }
    if stored == computed { Ok(order) } else { Err(EmbeddedError::Mismatch { stored, computed }) }
}

/// Returns the location at which the embedded checksum of `structure` is valid: the first of `locations` whose verifier
/// matches. It takes a few hundred nanoseconds for each.
///
/// # Errors
///
/// Fails if the structure has no checksum, or if the feature `block-checksums` is not enabled.
pub fn find_location(
    structure: &[u8],
    mut locations: impl Iterator<Item = u64> + Clone,
) -> Result<Option<u64>, EmbeddedError> {
    let tail = structure.last_chunk::<SIZE>().ok_or(EmbeddedError::TooShort { have: structure.len() })?;
    let (EmbeddedChecksum { checksum, .. }, order) =
        EmbeddedChecksum::find(tail).ok_or(EmbeddedError::NoMagic { found: ByteOrder::Little.u64(tail) })?;
    let tails = locations.clone().map(|at| Checksum([at, 0, 0, 0]).to_bytes(order));
    let covered = &structure[..structure.len() - Checksum::SIZE];
    let found = digest::sha256_find(covered, tails, checksum)?;
    Ok(found.and_then(|n| locations.nth(n)))
}

/// Writes the magic number and the embedded checksum to the last [`SIZE`] bytes of `structure`,
/// whose location is `verifier`, in byte order `order`.
///
/// # Errors
///
/// Returns [`EmbeddedError::TooShort`] if there is no room, or an error if the feature `block-checksums` is
/// not enabled; nothing is written then.
pub fn seal_embedded(
    structure: &mut [u8],
    verifier: [u64; 4],
    order: ByteOrder,
) -> Result<(), EmbeddedError> {
    seal(structure, verifier, order, false)
}

/// Writes a folded checksum, otherwise like [`seal_embedded`].
///
/// # Errors
///
/// Fails like [`seal_embedded`].
pub fn seal_folded(structure: &mut [u8], verifier: [u64; 4], order: ByteOrder) -> Result<(), EmbeddedError> {
    seal(structure, verifier, order, true)
}

fn seal(
    structure: &mut [u8],
    verifier: [u64; 4],
    order: ByteOrder,
    is_folded: bool,
) -> Result<(), EmbeddedError> {
    if structure.len() < SIZE {
        return Err(EmbeddedError::TooShort { have: structure.len() });
    }
    let at = structure.len() - SIZE;
    let before = EmbeddedChecksum::parse(&structure[at..], order);
    let mut embedded = EmbeddedChecksum { magic: MAGIC, ..before };
    embedded.encode(&mut structure[at..], order);
    match sum(&structure[..structure.len() - Checksum::SIZE], verifier, order) {
        Ok(checksum) => {
            embedded.checksum = if is_folded { fold(checksum) } else { checksum };
            embedded.encode(&mut structure[at..], order);
            Ok(())
        }
        Err(error) => {
            before.encode(&mut structure[at..], order);
            Err(error.into())
        }
    }
}

fn fold(Checksum([a, b, c, d]): Checksum) -> Checksum {
    Checksum([a ^ c, b ^ d, 0, 0])
}

fn sum(covered: &[u8], verifier: [u64; 4], order: ByteOrder) -> Result<Checksum, Error> {
    digest::sha256(&[covered, &Checksum(verifier).to_bytes(order)])
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::round_trips! { EmbeddedChecksum }

    #[test]
    fn the_location_is_found_among_others() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut bytes: Vec<u8> = (0..4096_u32).map(|n| (n * 7) as u8).collect();
            seal_embedded(&mut bytes, [640, 0, 0, 0], order).unwrap();
            let locations = (0..100).map(|n| n * 64);
            assert_eq!(find_location(&bytes, locations.clone()), Ok(Some(640)));
            assert_eq!(find_location(&bytes, locations.clone().skip(11)), Ok(None));
            bytes[7] ^= 1;
            assert_eq!(find_location(&bytes, locations.clone()), Ok(None));
            bytes.truncate(4000);
            assert!(matches!(find_location(&bytes, locations), Err(EmbeddedError::NoMagic { .. })));
        }
    }
}
