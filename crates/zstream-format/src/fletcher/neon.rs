//! Fletcher-4 with NEON: 4 lanes of words in vectors of 16 bytes.
//!
//! NEON adds 32-bit words to 64-bit sums in one instruction, so each half of the vector has its own
//! four sums, and no separation is necessary at the end.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::lanes::{define_halve, halve};

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    /// Computes the sum of complete vectors, starting from zero. `BIG`: the words are big-endian.
    pub(super) fn sum<const BIG: bool>(self, vectors: &[[u8; 16]]) -> [u64; 4] {
        // SAFETY: `self` was created by `detect`, which found NEON.
        unsafe { sum::<BIG>(vectors) }
    }
}

#[target_feature(enable = "neon")]
fn sum<const BIG: bool>(vectors: &[[u8; 16]]) -> [u64; 4] {
    let mut low = [vdupq_n_u64(0); 4];
    let mut high = [vdupq_n_u64(0); 4];
    for vector in vectors {
        // SAFETY: `vector` is 16 readable bytes; the load requires no alignment.
        let mut bytes = unsafe { vld1q_u8(vector.as_ptr()) };
        if BIG {
            bytes = vrev32q_u8(bytes);
        }
        let words = vreinterpretq_u32_u8(bytes);
        low[0] = vaddw_u32(low[0], vget_low_u32(words));
        low[1] = vaddq_u64(low[1], low[0]);
        low[2] = vaddq_u64(low[2], low[1]);
        low[3] = vaddq_u64(low[3], low[2]);
        high[0] = vaddw_high_u32(high[0], words);
        high[1] = vaddq_u64(high[1], high[0]);
        high[2] = vaddq_u64(high[2], high[1]);
        high[3] = vaddq_u64(high[3], high[2]);
    }
    // Words 0, 1 with 2, 3, then 0 with 1.
    let [a, b, c, d] = halve_128(low, high);
    halve(
        [vgetq_lane_u64::<0>(a), vgetq_lane_u64::<0>(b), vgetq_lane_u64::<0>(c), vgetq_lane_u64::<0>(d)],
        [vgetq_lane_u64::<1>(a), vgetq_lane_u64::<1>(b), vgetq_lane_u64::<1>(c), vgetq_lane_u64::<1>(d)],
    )
}

define_halve! {
    /// Halves 2 pairs of lanes, like [`halve`].
    #[inline]
    #[target_feature(enable = "neon")]
    fn halve_128(
        uint64x2_t: vaddq_u64,
        vsubq_u64,
        |x| vshlq_n_u64::<1>(x),
        |x| vshlq_n_u64::<2>(x),
        |x| vshlq_n_u64::<3>(x)
    )
}
