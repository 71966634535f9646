//! Fletcher-4 with AVX-512: 16 lanes of words in vectors of 64 bytes.
//!
//! The loop is that of AVX2, twice as wide: sums over pairs of words and over the odd words alone,
//! and the even words' sums as their difference. AVX-512BW is needed to reverse the bytes of words,
//! AVX-512DQ multiplies 64-bit elements when the lanes are merged.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{LaneOrder, LaneSums, Weights};

const LANES: usize = 16;
static WEIGHTS: Weights<LANES> = Weights::new(LaneOrder::EvenOdd);

/// Bytes in a vector.
pub(super) const STEP: usize = 64;

/// Proof that the processor has AVX-512 F, BW and DQ.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq"))
        .then_some(Self(()))
    }

    /// The sum of whole vectors, from the zero state on. `SWAP`: the words are big-endian.
    pub(super) fn sum<const SWAP: bool>(self, data: &[[u8; STEP]]) -> [u64; 4] {
        // SAFETY: `self` comes from `detect`, which saw each of the enabled features.
        unsafe { sum::<SWAP>(data) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
fn sum<const SWAP: bool>(data: &[[u8; STEP]]) -> [u64; 4] {
    let reversed = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let mut raw = [_mm512_setzero_si512(); 4];
    let mut odd = [_mm512_setzero_si512(); 4];
    for vector in data {
        // SAFETY: `vector` is 64 readable bytes; the load asks for no alignment.
        let mut words = unsafe { _mm512_loadu_si512(vector.as_ptr().cast()) };
        if SWAP {
            words = _mm512_shuffle_epi8(words, reversed);
        }
        raw[0] = _mm512_add_epi64(raw[0], words);
        raw[1] = _mm512_add_epi64(raw[1], raw[0]);
        raw[2] = _mm512_add_epi64(raw[2], raw[1]);
        raw[3] = _mm512_add_epi64(raw[3], raw[2]);
        odd[0] = _mm512_add_epi64(odd[0], _mm512_srli_epi64::<32>(words));
        odd[1] = _mm512_add_epi64(odd[1], odd[0]);
        odd[2] = _mm512_add_epi64(odd[2], odd[1]);
        odd[3] = _mm512_add_epi64(odd[3], odd[2]);
    }
    let mut sums: LaneSums<LANES> = [[0; LANES]; 4];
    for ((sums, raw), odd) in sums.iter_mut().zip(raw).zip(odd) {
        let even = _mm512_sub_epi64(raw, _mm512_slli_epi64::<32>(odd));
        let (evens, odds) = sums.split_at_mut(LANES / 2);
        // SAFETY: each half holds 8 elements of 64 bits, 64 writable bytes; the stores ask for no alignment.
        unsafe {
            _mm512_storeu_si512(evens.as_mut_ptr().cast(), even);
            _mm512_storeu_si512(odds.as_mut_ptr().cast(), odd);
        }
    }
    WEIGHTS.merge(&sums)
}
