//! The 256-bit result of every checksum function of ZFS.
//!
//! ```text
//!  0        8        16       24       32
//!  +--------+--------+--------+--------+
//!  | word 0 | word 1 | word 2 | word 3 |    each a u64 in the byte order of the stream or
//!  +--------+--------+--------+--------+    block pointer
//! ```

use std::fmt;

use crate::order::ByteOrder;

/// A checksum of four 64-bit words (`zio_cksum_t`).
///
/// It is displayed as in ZFS: the words in lower-case hexadecimal without padding, joined by `/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Checksum(pub [u64; 4]);

impl Checksum {
    /// The size of a stored checksum in bytes.
    pub const SIZE: usize = 32;

    /// Four zero words. At the end of a record header they mean that there is no checksum.
    pub const ZERO: Self = Self([0; 4]);

    /// Returns `true` if all words are zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Reads the four words, each in `order`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE], order: ByteOrder) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = order.u64(bytes);
        }
        Self(words)
    }

    /// Writes the four words, each in `order`.
    #[must_use]
    pub fn to_bytes(self, order: ByteOrder) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            order.put_u64(bytes, word);
        }
        bytes
    }

    /// Reverses the bytes of each word; the words keep their positions.
    #[must_use]
    pub fn swap_bytes(self) -> Self {
        Self(self.0.map(u64::swap_bytes))
    }
}

crate::wire::field_by_newtype! { Checksum as [u64; 4] }

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:x}/{b:x}/{c:x}/{d:x}")
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: Checksum = Checksum([0x0102_0304_0506_0708, 0, u64::MAX, 0xa]);

    #[test]
    fn displays_unpadded_words() {
        assert_eq!(SUM.to_string(), "102030405060708/0/ffffffffffffffff/a");
    }

    #[test]
    fn bytes_round_trip_in_both_orders() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            assert_eq!(Checksum::from_bytes(&SUM.to_bytes(order), order), SUM);
            assert_eq!(Checksum::from_bytes(&SUM.to_bytes(order), order.swapped()), SUM.swap_bytes());
        }
        assert_eq!(SUM.to_bytes(ByteOrder::Big)[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn only_four_zero_words_are_zero() {
        assert!(Checksum::ZERO.is_zero());
        assert!(!Checksum([0, 0, 0, 1]).is_zero());
    }
}
