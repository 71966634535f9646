//! Fletcher-2, the first checksum of ZFS: two sums over the even and two over the odd `u64`.

use crate::order::ByteOrder;
use crate::sum::Checksum;

/// Computes the fletcher-2 sum of `data`: over pairs (x, y) of words, `a0 += x; a1 += y; b0 += a0; b1 += a1`.
///
/// The bytes after the last complete pair (16 bytes) are ignored.
#[must_use]
pub fn fletcher2(data: &[u8], order: ByteOrder) -> Checksum {
    match order {
        ByteOrder::Little => sum(data, u64::from_le_bytes),
        ByteOrder::Big => sum(data, u64::from_be_bytes),
    }
}

#[inline(always)]
fn sum(data: &[u8], word: impl Fn([u8; 8]) -> u64) -> Checksum {
    let (mut a, mut b) = ([0u64; 2], [0u64; 2]);
    for pair in data.as_chunks::<8>().0.as_chunks::<2>().0 {
        for i in 0..2 {
            a[i] = a[i].wrapping_add(word(pair[i]));
            b[i] = b[i].wrapping_add(a[i]);
        }
    }
    Checksum([a[0], a[1], b[0], b[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_pairs_and_ignores_the_rest() {
        let mut data = Vec::new();
        for word in [1u64, 2, u64::MAX, 4] {
            data.extend(word.to_le_bytes());
        }
        let sum = Checksum([0, 6, 1, 8]);
        assert_eq!(fletcher2(&data, ByteOrder::Little), sum);
        data.extend([0xff; 15]);
        assert_eq!(fletcher2(&data, ByteOrder::Little), sum);
        for word in data.chunks_mut(8) {
            word.reverse();
        }
        assert_eq!(fletcher2(&data, ByteOrder::Big), sum);
    }
}
