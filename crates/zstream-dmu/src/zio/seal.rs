//! Checksums embedded in what they cover (`zio_eck_t`), as labels and gang headers have them.
//!
//! The last 40 bytes of the structure are a magic number and four checksum words. The checksum is the SHA-256 of the whole
//! structure while the place of the checksum holds a *verifier*, which says where the structure lies; so a structure that is
//! whole but in the wrong place is refused too.
//!
//! ```text
//!  n-40  u64     magic 0x0210da7ab10c7a11, in the byte order of the writer, which is that of the whole structure
//!  n-32  u64[4]  the verifier while summing, then the checksum
//! ```

use zstream_format::checksum::Checksum;
use zstream_format::order::ByteOrder;

use super::verify::{mismatch, sha256};
use crate::error::{Error, Result};

/// Magic number of an embedded checksum (`ZEC_MAGIC`).
pub const MAGIC: u64 = 0x0210_da7a_b10c_7a11;

/// Size of an embedded checksum.
pub const SEAL_BYTES: usize = 40;

/// The embedded checksum of a structure at one place.
#[derive(Debug, Clone, Copy)]
pub struct Seal {
    verifier: Checksum,
}

impl Seal {
    /// A seal with this verifier.
    #[must_use]
    pub fn new(verifier: Checksum) -> Self {
        Self { verifier }
    }

    /// The seal of a part of a label: byte `offset` of the device is where it starts.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        Self::new(Checksum([offset, 0, 0, 0]))
    }

    /// Says in which byte order the structure was written, if the checksum at its end holds.
    ///
    /// # Errors
    /// There is no checksum, or it does not hold.
    pub fn verify(&self, structure: &[u8]) -> Result<ByteOrder> {
        let Some((content, seal)) = structure.split_last_chunk::<SEAL_BYTES>() else {
            return Err(Error::corrupt("embedded checksum", format!("{} bytes in all", structure.len())));
        };
        let orders = [ByteOrder::Little, ByteOrder::Big];
        let Some(order) = orders.into_iter().find(|order| order.u64(seal) == MAGIC) else {
            let found = ByteOrder::Little.u64(seal);
            return Err(Error::corrupt(
                "embedded checksum",
                format!("magic {found:#x}, expected {MAGIC:#x}"),
            ));
        };
        let expected = Checksum(std::array::from_fn(|word| order.u64(&seal[8 + 8 * word..])));
        let found = self.sum(content, order);
        if found == expected { Ok(order) } else { Err(mismatch("label", found, expected)) }
    }

    /// Writes the checksum into the last 40 bytes of the structure.
    ///
    /// # Panics
    /// The structure has fewer bytes.
    pub fn write(&self, structure: &mut [u8], order: ByteOrder) {
        let (content, seal) = structure.split_last_chunk_mut::<SEAL_BYTES>().expect("room for the checksum");
        let sum = self.sum(content, order);
        seal.copy_from_slice(&trailer(sum, order));
    }

    fn sum(&self, content: &[u8], order: ByteOrder) -> Checksum {
        sha256(&[content, &trailer(self.verifier, order)])
    }
}

fn trailer(sum: Checksum, order: ByteOrder) -> [u8; SEAL_BYTES] {
    let mut bytes = [0; SEAL_BYTES];
    order.put_u64(&mut bytes, MAGIC);
    bytes[8..].copy_from_slice(&sum.to_bytes(order));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_in_its_place_only() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut structure = vec![9; 512];
            Seal::at(0x4000).write(&mut structure, order);
            assert_eq!(Seal::at(0x4000).verify(&structure).unwrap(), order);
            assert!(Seal::at(0x8000).verify(&structure).is_err());
            for byte in 0..512 {
                structure[byte] ^= 1;
                assert!(Seal::at(0x4000).verify(&structure).is_err(), "byte {byte}");
                structure[byte] ^= 1;
            }
        }
        assert!(Seal::at(0).verify(&[0; 39]).is_err());
    }
}
