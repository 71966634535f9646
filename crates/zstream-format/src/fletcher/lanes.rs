//! Merging the sums of interleaved lanes into the total sum.
//!
//! A vector kernel distributes the words to lanes in turn and runs the fletcher loop in each. Then the
//! number of lanes is halved until one is left: if the words of a sequence went to two lanes in turn,
//! the sum of the sequence follows from those of the lanes. A word with `m` - 1 words after it in the
//! sequence (the last has `m` = 1) counts
//!
//! ```text
//! 1 times in a,  m times in b,  T2(m) = m(m+1)/2 times in c,  T3(m) = m(m+1)(m+2)/6 times in d
//! ```
//!
//! and in its lane the same with its rank `k` there, where `m` = 2k in the first lane and 2k - 1 in
//! the second. So the total sum follows from the lanes with the polynomials
//!
//! ```text
//! T2(2k)   = 4 T2(k) - k      T3(2k)   = 8 T3(k) - 4 T2(k)
//! T2(2k-1) = 4 T2(k) - 3k     T3(2k-1) = 8 T3(k) - 8 T2(k) + k
//! ```
//!
//! Zero words before a sequence change nothing, so a kernel can pad its first vector with them.

/// Defines a function that merges two lanes (or vectors of lanes) into one, with additions, subtractions
/// and left shifts on a type. Each word of the second lane follows the one of the first.
macro_rules! define_halve {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($type:ty: $add:path, $sub:path, $shl1:expr, $shl2:expr, $shl3:expr)) => {
        $(#[$meta])*
        $vis fn $name([a0, b0, c0, d0]: [$type; 4], [a1, b1, c1, d1]: [$type; 4]) -> [$type; 4] {
            let (b, c, d) = ($add(b0, b1), $add(c0, c1), $add(d0, d1));
            [
                $add(a0, a1),
                $sub($shl1(b), a1),
                $sub($shl2(c), $add(b, $shl1(b1))),
                $add($sub($shl3(d), $shl2($add(c, c1))), b1),
            ]
        }
    };
}
pub(super) use define_halve;

define_halve! {
    /// Merges two lanes in ordinary registers; see [`define_halve`].
    #[inline]
    pub(super) fn halve(u64: u64::wrapping_add, u64::wrapping_sub, |x| x << 1, |x| x << 2, |x| x << 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fletcher::portable;

    #[test]
    fn two_lanes_are_one_sequence() {
        let words: Vec<[u8; 4]> =
            (0..500u32).map(|i| (i.wrapping_mul(0x9e37_79b9) ^ i << 7).to_le_bytes()).collect();
        let sum = |skip: usize, step: usize| {
            let dealt: Vec<u8> = words.iter().skip(skip).step_by(step).flatten().copied().collect();
            let mut state = [0; 4];
            portable::update::<false>(&mut state, &dealt);
            state
        };
        assert_eq!(halve(sum(0, 2), sum(1, 2)), sum(0, 1));
    }
}
