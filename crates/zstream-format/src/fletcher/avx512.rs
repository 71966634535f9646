//! Fletcher-4 with AVX-512: 16 lanes of words in vectors of 64 bytes.
//!
//! The loop is that of AVX2, twice as wide: sums over pairs of words and over the odd words alone,
//! with the words that do not fill a vector first. The lanes are halved once, then the AVX2 code merges
//! them. Reversing the bytes of words requires AVX-512BW.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::{self, halve_256, prefetch};

/// Proof that the processor has AVX-512 F and BW.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw"))
        .then_some(Self(()))
    }

    /// Computes the sum of `data`, starting from zero. `BIG`: the words are big-endian.
    pub(super) fn sum<const BIG: bool>(self, data: &[u8]) -> [u64; 4] {
        // SAFETY: `self` was created by `detect`, which found each of the enabled features.
        unsafe { sum::<BIG>(data.as_chunks().0) }
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn sum<const BIG: bool>(words: &[[u8; 4]]) -> [u64; 4] {
    let (front, words) = words.split_at(words.len() % 16);
    let (vectors, _) = words.as_chunks::<16>();
    let mut raw = [_mm512_setzero_si512(); 4];
    let mut odd = [_mm512_setzero_si512(); 4];

    if !front.is_empty() {
        let last = !(u16::MAX >> front.len());
        // SAFETY: the mask has `front.len()` bits, and as many words are read from `front`.
        let front = unsafe { _mm512_maskz_expandloadu_epi32(last, front.as_ptr().cast()) };
        round::<BIG>(&mut raw, &mut odd, front);
    }
    for vector in vectors {
        prefetch(vector);
        // SAFETY: `vector` is 64 readable bytes; the load requires no alignment.
        let vector = unsafe { _mm512_loadu_si512(vector.as_ptr().cast()) };
        round::<BIG>(&mut raw, &mut odd, vector);
    }

    avx2::merge(halve_512(raw), halve_512(odd))
}

/// Combines the first 8 words of a vector with the other 8, in the same way for pairs and odd words.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn halve_512([a, b, c, d]: [__m512i; 4]) -> [__m256i; 4] {
    halve_256(
        [
            _mm512_castsi512_si256(a),
            _mm512_castsi512_si256(b),
            _mm512_castsi512_si256(c),
            _mm512_castsi512_si256(d),
        ],
        [
            _mm512_extracti64x4_epi64::<1>(a),
            _mm512_extracti64x4_epi64::<1>(b),
            _mm512_extracti64x4_epi64::<1>(c),
            _mm512_extracti64x4_epi64::<1>(d),
        ],
    )
}

/// One step of fletcher in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn round<const BIG: bool>(raw: &mut [__m512i; 4], odd: &mut [__m512i; 4], mut words: __m512i) {
    if BIG {
        let reversed = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        words = _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(reversed));
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
