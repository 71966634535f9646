//! Fletcher-4 with AVX2: 8 lanes of words in vectors of 32 bytes.
//!
//! A vector is taken as 4 elements of 64 bits, each a pair of words: `raw` = even word + 2^32 odd
//! word. Two loops of additions run side by side, one over `raw`, one over the odd words alone.
//! As everything is linear mod 2^64, the even words' sums are the difference, `raw - (odd << 32)`,
//! taken once at the end: that is one shift in each round, where separating both would be two.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{LaneOrder, LaneSums, Weights};

const LANES: usize = 8;
static WEIGHTS: Weights<LANES> = Weights::new(LaneOrder::EvenOdd);

/// Bytes in a vector.
pub(super) const STEP: usize = 32;

/// Proof that the processor has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// The sum of whole vectors, from the zero state on. `SWAP`: the words are big-endian.
    pub(super) fn sum<const SWAP: bool>(self, data: &[[u8; STEP]]) -> [u64; 4] {
        // SAFETY: `self` comes from `detect`, which saw AVX2.
        unsafe { sum::<SWAP>(data) }
    }
}

#[target_feature(enable = "avx2")]
fn sum<const SWAP: bool>(data: &[[u8; STEP]]) -> [u64; 4] {
    let reversed = _mm256_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, //
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    );
    let mut raw = [_mm256_setzero_si256(); 4];
    let mut odd = [_mm256_setzero_si256(); 4];
    for vector in data {
        // SAFETY: `vector` is 32 readable bytes; the load asks for no alignment.
        let mut words = unsafe { _mm256_loadu_si256(vector.as_ptr().cast()) };
        if SWAP {
            words = _mm256_shuffle_epi8(words, reversed);
        }
        raw[0] = _mm256_add_epi64(raw[0], words);
        raw[1] = _mm256_add_epi64(raw[1], raw[0]);
        raw[2] = _mm256_add_epi64(raw[2], raw[1]);
        raw[3] = _mm256_add_epi64(raw[3], raw[2]);
        odd[0] = _mm256_add_epi64(odd[0], _mm256_srli_epi64::<32>(words));
        odd[1] = _mm256_add_epi64(odd[1], odd[0]);
        odd[2] = _mm256_add_epi64(odd[2], odd[1]);
        odd[3] = _mm256_add_epi64(odd[3], odd[2]);
    }
    let mut sums: LaneSums<LANES> = [[0; LANES]; 4];
    for ((sums, raw), odd) in sums.iter_mut().zip(raw).zip(odd) {
        let even = _mm256_sub_epi64(raw, _mm256_slli_epi64::<32>(odd));
        let (evens, odds) = sums.split_at_mut(LANES / 2);
        // SAFETY: each half holds 4 elements of 64 bits, 32 writable bytes; the stores ask for no alignment.
        unsafe {
            _mm256_storeu_si256(evens.as_mut_ptr().cast(), even);
            _mm256_storeu_si256(odds.as_mut_ptr().cast(), odd);
        }
    }
    WEIGHTS.merge(&sums)
}
