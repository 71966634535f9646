//! Joining the fletcher-4 sums of parts.
//!
//! Each word after a part is another round of the loop on the state of the part. `n` rounds that add
//! zero words take (a, b, c, d) to
//!
//! ```text
//! a,  b + n a,  c + n b + n(n+1)/2 a,  d + n c + n(n+1)/2 b + n(n+1)(n+2)/6 a
//! ```
//!
//! and as the loop is linear, the sum of the `n` words, starting from zero, is simply added.

use crate::sum::Checksum;

/// Computes the fletcher-4 sum of `A` followed by `B` from the sum of `A`, the sum of `B` starting from
/// zero, and the length of `B` in bytes.
///
/// `second_len` is rounded down to a multiple of 4, as in the sum.
#[must_use]
pub fn join(first: Checksum, second: Checksum, second_len: u64) -> Checksum {
    Checksum(joined(first.0, second.0, second_len))
}

/// Joins bare states like [`join`].
#[inline]
pub(super) fn joined(first: [u64; 4], second: [u64; 4], second_len: u64) -> [u64; 4] {
    let mut state = advance(first, second_len / 4);
    for (word, more) in state.iter_mut().zip(second) {
        *word = word.wrapping_add(more);
    }
    state
}

/// Returns the state after `words` more words, all zero.
#[inline]
fn advance([a, b, c, d]: [u64; 4], words: u64) -> [u64; 4] {
    let (n, n2, n3) = rounds(words);
    let mul = u64::wrapping_mul;
    [
        a,
        b.wrapping_add(mul(n, a)),
        c.wrapping_add(mul(n, b)).wrapping_add(mul(n2, a)),
        d.wrapping_add(mul(n, c)).wrapping_add(mul(n2, b)).wrapping_add(mul(n3, a)),
    ]
}

/// The inverse of 3 mod 2^64: multiplying by it divides a multiple of 3, wrapped or not.
const THIRD: u64 = 0xaaaa_aaaa_aaaa_aaab;

/// Returns n, n(n+1)/2 and n(n+1)(n+2)/6, mod 2^64.
///
/// The even one of n and n+1 is halved before anything wraps. `n` counts words of 4 bytes, so
/// n + 2 does not wrap.
fn rounds(n: u64) -> (u64, u64, u64) {
    let n2 = if n.is_multiple_of(2) { (n / 2).wrapping_mul(n + 1) } else { n.wrapping_mul(n / 2 + 1) };
    let n3 = n2.wrapping_mul(n + 2).wrapping_mul(THIRD);
    (n, n2, n3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fletcher::{Fletcher4, fletcher4};
    use crate::order::ByteOrder;

    #[test]
    fn parts_join_to_the_whole() {
        let data: Vec<u8> =
            (0..4000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let whole = fletcher4(&data, ByteOrder::Little);
        for cut in (0..=data.len()).step_by(4) {
            let (first, second) = data.split_at(cut);
            let mut sum = Fletcher4::new(ByteOrder::Little);
            sum.update(first);
            sum.append(fletcher4(second, ByteOrder::Little), second.len() as u64);
            assert_eq!(sum.value(), whole, "cut at {cut}");
        }
    }

    /// With 2^62 - 1 words, n(n+1)(n+2) exceeds 2^128; two steps of half the words must give the same state.
    #[test]
    fn counts_do_not_overflow() {
        let state = [0x0123_4567_89ab_cdef, 1, u64::MAX, 7];
        let most = u64::MAX / 4;
        let twice = advance(advance(state, most / 2), most - most / 2);
        assert_eq!(advance(state, most), twice);
        let thirds = advance(advance(advance(state, most / 3), 1), most - most / 3 - 1);
        assert_eq!(advance(state, most), thirds);
    }
}
