//! From the sums of interleaved lanes to the sum of the whole.
//!
//! A vector kernel deals the words out to `L` lanes like cards and runs the fletcher loop in each:
//! lane `i` sums words `i`, `L + i`, `2L + i`, ... In the whole, the word that stands `m` words
//! before the end (the last word has `m` = 1) counts
//!
//! ```text
//! 1 times in a,  m times in b,  T2(m) = m(m+1)/2 times in c,  T3(m) = m(m+1)(m+2)/6 times in d
//! ```
//!
//! and in its lane the same with `k`, its rank from the lane's end, where `m = L k - i`. T2(L k - i)
//! and T3(L k - i) are polynomials in `k`, so they are sums of T3(k), T2(k), k and 1 with fixed
//! weights, found here by setting `k` to 0, -1 and -2, where the others vanish in turn.

/// The order in which a kernel stores its lanes.
#[derive(Clone, Copy)]
pub(super) enum LaneOrder {
    /// Lane 0, 1, 2, ...
    Straight,
    /// The even lanes, then the odd ones: low and high halves of 64-bit elements.
    EvenOdd,
}

/// The fletcher-4 state of each of `L` lanes, each from zero on: all a, all b, all c, all d.
pub(super) type LaneSums<const L: usize> = [[u64; L]; 4];

/// The weights of a lane's a, b and c in the whole; of one's own kind it is L, L² and L³.
pub(super) struct Weights<const L: usize> {
    a_in_b: [u64; L],
    a_in_c: [u64; L],
    b_in_c: [u64; L],
    a_in_d: [u64; L],
    b_in_d: [u64; L],
    c_in_d: [u64; L],
}

impl<const L: usize> Weights<L> {
    /// The weights for lanes stored in `order`.
    pub(super) const fn new(order: LaneOrder) -> Self {
        let zero = [0; L];
        let mut weights =
            Self { a_in_b: zero, a_in_c: zero, b_in_c: zero, a_in_d: zero, b_in_d: zero, c_in_d: zero };
        let lanes = L as i64;
        let mut slot = 0;
        while slot < L {
            let lane = match order {
                LaneOrder::Straight => slot,
                LaneOrder::EvenOdd if slot < L / 2 => 2 * slot,
                LaneOrder::EvenOdd => 2 * (slot - L / 2) + 1,
            } as i64;
            weights.a_in_b[slot] = -lane as u64;
            weights.a_in_c[slot] = t2(-lane) as u64;
            weights.b_in_c[slot] = (t2(-lane) - t2(-lanes - lane)) as u64;
            let (at_0, at_1, at_2) = (t3(-lane), t3(-lanes - lane), t3(-2 * lanes - lane));
            weights.a_in_d[slot] = at_0 as u64;
            weights.b_in_d[slot] = (at_0 - at_1) as u64;
            weights.c_in_d[slot] = (at_0 - 2 * at_1 + at_2) as u64;
            slot += 1;
        }
        weights
    }

    /// The sum of the whole, from the zero state on.
    // Inlined into the kernels, where the compiler has their instruction set for the loops.
    #[inline(always)]
    pub(super) fn merge(&self, sums: &LaneSums<L>) -> [u64; 4] {
        let [a, b, c, d] = sums;
        let lanes = L as u64;
        [
            total(a),
            lanes.wrapping_mul(total(b)).wrapping_add(dot(a, &self.a_in_b)),
            (lanes * lanes)
                .wrapping_mul(total(c))
                .wrapping_add(dot(b, &self.b_in_c))
                .wrapping_add(dot(a, &self.a_in_c)),
            (lanes * lanes * lanes)
                .wrapping_mul(total(d))
                .wrapping_add(dot(c, &self.c_in_d))
                .wrapping_add(dot(b, &self.b_in_d))
                .wrapping_add(dot(a, &self.a_in_d)),
        ]
    }
}

#[inline(always)]
fn total<const L: usize>(values: &[u64; L]) -> u64 {
    values.iter().fold(0, |sum, value| sum.wrapping_add(*value))
}

#[inline(always)]
fn dot<const L: usize>(values: &[u64; L], weights: &[u64; L]) -> u64 {
    values.iter().zip(weights).fold(0, |sum, (value, weight)| sum.wrapping_add(value.wrapping_mul(*weight)))
}

/// n(n+1)/2, the number of times a word n words before the end counts in c.
const fn t2(n: i64) -> i64 {
    n * (n + 1) / 2
}

/// n(n+1)(n+2)/6, the number of times a word n words before the end counts in d.
const fn t3(n: i64) -> i64 {
    n * (n + 1) * (n + 2) / 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fletcher::portable;

    /// The formula of the weights, with no vector instruction in between.
    #[test]
    fn lanes_merge_to_the_whole() {
        fn check<const L: usize>(order: LaneOrder, slot_of: impl Fn(usize) -> usize) {
            let words: Vec<u32> = (0..L as u32 * 33).map(|i| i.wrapping_mul(0x9e37_79b9) ^ i << 7).collect();
            let mut sums = [[0; L]; 4];
            for lane in 0..L {
                let dealt: Vec<u8> =
                    words.iter().skip(lane).step_by(L).flat_map(|word| word.to_le_bytes()).collect();
                let mut state = [0; 4];
                portable::update::<false>(&mut state, &dealt);
                for (kind, value) in state.into_iter().enumerate() {
                    sums[kind][slot_of(lane)] = value;
                }
            }
            let mut whole = [0; 4];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            portable::update::<false>(&mut whole, &bytes);
            assert_eq!(Weights::<L>::new(order).merge(&sums), whole);
        }
        check::<1>(LaneOrder::Straight, |lane| lane);
        check::<4>(LaneOrder::Straight, |lane| lane);
        check::<8>(LaneOrder::EvenOdd, |lane| lane / 2 + lane % 2 * 4);
        check::<16>(LaneOrder::EvenOdd, |lane| lane / 2 + lane % 2 * 8);
    }
}
