//! What goes wrong on purpose. A harness that does not notice is blind, and the run fails.

/// A few bytes that all canaries accept as they are.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    vec![(0..32).collect(), vec![0; 64]]
}

/// Indexes past the end of a short input.
pub(super) fn panics(input: &[u8]) {
    if input.first() == Some(&0) {
        std::hint::black_box(input[2]);
    }
}

/// Claims that the sum of the bytes is the one that the corpus has.
pub(super) fn unequal(input: &[u8]) {
    let sum: u64 = input.iter().map(|b| u64::from(*b)).sum();
    assert!(sum == 0 || sum == 496, "a sum of {sum}");
}

/// Believes a length of four bytes, and writes to all of it.
pub(super) fn greedy(input: &[u8]) {
    if let Some(Ok(length)) = input.get(32..36).map(<[u8; 4]>::try_from) {
        let length = u32::from_le_bytes(length).min(64 << 20) as usize;
        std::hint::black_box(vec![1u8; length]);
    }
}
