//! Fletcher-4 with AVX2: 8 lanes of words in vectors of 32 bytes.
//!
//! A vector is treated as 4 elements of 64 bits, each a pair of words: `raw` = even word + 2^32 odd
//! word. Two loops of additions run in parallel, one over `raw`, one over the odd words alone. As
//! everything is linear mod 2^64, the sums of the even words are the difference, `raw - (odd << 32)`,
//! computed once at the end: that takes one shift in each round, separating both would take two.
//!
//! The words that do not fill a vector are summed first, after zeros.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{define_halve, halve};

/// Proof that the processor has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Computes the sum of `data`, starting from zero. `BIG`: the words are big-endian.
    ///
    /// Returns `None` if `data` is shorter than a vector.
    pub(super) fn sum<const BIG: bool>(self, data: &[u8]) -> Option<[u64; 4]> {
        let first = data.first_chunk()?;
        let (words, _) = data.as_chunks();
        // SAFETY: `self` was created by `detect`, which found AVX2.
        Some(unsafe { sum::<BIG>(first, words) })
    }
}

/// The positions of the words of the first vector, by their number `n`: the 8 indices from `n` put
/// words 0 to n - 1 last and nothing (-1) before them.
static PLACES: [i32; 15] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6];

/// Computes the sum of `words`, the first 8 of which are also `first`.
#[target_feature(enable = "avx2")]
fn sum<const BIG: bool>(first: &[u8; 32], words: &[[u8; 4]]) -> [u64; 4] {
    let (front, words) = words.split_at(words.len() % 8);
    let (vectors, _) = words.as_chunks::<8>();
    let mut raw = [_mm256_setzero_si256(); 4];
    let mut odd = [_mm256_setzero_si256(); 4];

    if !front.is_empty() {
        let places: &[i32; 8] = PLACES[front.len()..].first_chunk().expect("at most 7 words in front");
        // SAFETY: both are 32 readable bytes; the loads require no alignment.
        let (first, places) = unsafe {
            (_mm256_loadu_si256(first.as_ptr().cast()), _mm256_loadu_si256(places.as_ptr().cast()))
        };
        let placed = _mm256_permutevar8x32_epi32(first, places);
        let filled = _mm256_cmpgt_epi32(places, _mm256_set1_epi32(-1));
        round::<BIG>(&mut raw, &mut odd, _mm256_and_si256(placed, filled));
    }
    for vector in vectors {
        prefetch(vector);
        // SAFETY: `vector` is 32 readable bytes; the load requires no alignment.
        let vector = unsafe { _mm256_loadu_si256(vector.as_ptr().cast()) };
        round::<BIG>(&mut raw, &mut odd, vector);
    }

    merge(raw, odd)
}

/// The distance at which bytes are prefetched. It is more than a page, because the processor does not prefetch
/// across the end of a page. If memory is the bottleneck, as in a mapped file, this is a third faster.
const PREFETCH_BYTES: usize = 4096 + 1024;

/// Prefetches the bytes [`PREFETCH_BYTES`] after `here`, if there are any.
#[inline(always)]
pub(super) fn prefetch<T>(here: &T) {
    let ahead = (&raw const *here).cast::<i8>().wrapping_byte_add(PREFETCH_BYTES);
    // SAFETY: this is a hint and valid for any address; nothing is read.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
}

/// One step of fletcher in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn round<const BIG: bool>(raw: &mut [__m256i; 4], odd: &mut [__m256i; 4], mut words: __m256i) {
    if BIG {
        let reversed = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        words = _mm256_shuffle_epi8(words, _mm256_broadcastsi128_si256(reversed));
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

/// Computes the total sum from the sums over `raw` pairs and `odd` words, of 4 elements each.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn merge(raw: [__m256i; 4], odd: [__m256i; 4]) -> [u64; 4] {
    let mut even = raw;
    for (even, odd) in even.iter_mut().zip(odd) {
        *even = _mm256_sub_epi64(*even, _mm256_slli_epi64::<32>(odd));
    }
    // Words 0, 2 with 4, 6 and words 1, 3 with 5, 7 in parallel; then 0, 1 with 2, 3.
    let mut low = even;
    let mut high = even;
    for i in 0..4 {
        low[i] = _mm256_permute2x128_si256::<0x20>(even[i], odd[i]);
        high[i] = _mm256_permute2x128_si256::<0x31>(even[i], odd[i]);
    }
    let quarter = halve_256(low, high);
    let mut low = quarter;
    let mut high = quarter;
    for i in 0..4 {
        low[i] = _mm256_unpacklo_epi64(quarter[i], quarter[i]);
        high[i] = _mm256_unpackhi_epi64(quarter[i], quarter[i]);
    }
    let [a, b, c, d] = halve_256(low, high);
    halve(
        [first_element(a), first_element(b), first_element(c), first_element(d)],
        [third_element(a), third_element(b), third_element(c), third_element(d)],
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn first_element(vector: __m256i) -> u64 {
    _mm256_extract_epi64::<0>(vector) as u64
}

#[inline]
#[target_feature(enable = "avx2")]
fn third_element(vector: __m256i) -> u64 {
    _mm256_extract_epi64::<2>(vector) as u64
}

define_halve! {
    /// Halves 4 pairs of lanes, like [`halve`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn halve_256(
        __m256i: _mm256_add_epi64,
        _mm256_sub_epi64,
        |x| _mm256_slli_epi64::<1>(x),
        |x| _mm256_slli_epi64::<2>(x),
        |x| _mm256_slli_epi64::<3>(x)
    )
}
