//! Fletcher-4 with NEON: 4 lanes of words in vectors of 16 bytes.
//!
//! NEON adds 32-bit words to 64-bit sums in one instruction, so each half of the vector has its own
//! four sums and nothing is left to be separated at the end.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::lanes::{LaneOrder, LaneSums, Weights};

const LANES: usize = 4;
static WEIGHTS: Weights<LANES> = Weights::new(LaneOrder::Straight);

/// Bytes in a vector.
pub(super) const STEP: usize = 16;

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    /// The sum of whole vectors, from the zero state on. `SWAP`: the words are big-endian.
    pub(super) fn sum<const SWAP: bool>(self, data: &[[u8; STEP]]) -> [u64; 4] {
        // SAFETY: `self` comes from `detect`, which saw NEON.
        unsafe { sum::<SWAP>(data) }
    }
}

#[target_feature(enable = "neon")]
fn sum<const SWAP: bool>(data: &[[u8; STEP]]) -> [u64; 4] {
    let mut low = [vdupq_n_u64(0); 4];
    let mut high = [vdupq_n_u64(0); 4];
    for vector in data {
        // SAFETY: `vector` is 16 readable bytes; the load asks for no alignment.
        let mut bytes = unsafe { vld1q_u8(vector.as_ptr()) };
        if SWAP {
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
    let mut sums: LaneSums<LANES> = [[0; LANES]; 4];
    for ((sums, low), high) in sums.iter_mut().zip(low).zip(high) {
        let (lows, highs) = sums.split_at_mut(LANES / 2);
        // SAFETY: each half holds 2 elements of 64 bits, 16 writable bytes; the stores ask for no alignment.
        unsafe {
            vst1q_u64(lows.as_mut_ptr(), low);
            vst1q_u64(highs.as_mut_ptr(), high);
        }
    }
    WEIGHTS.merge(&sums)
}
