//! The parts of the Threefish-512 block cipher that Skein uses: encryption, one block for each key.
//!
//! The block is 8 words. In each of 72 rounds four pairs of them are mixed (add, rotate, exclusive-or)
//! and the words are permuted; before every fourth round, and at the end, words of the key, the tweak
//! and a counter are added. Here the permutation is in the indices of the pairs: after four rounds each
//! word is back at its index, so the rounds are unrolled by eight, after which the rotations repeat.
//!
//! The crate `threefish` is the oracle of the tests. It loops over tables and is less than half as fast.

/// The rotation of each pair in each of 8 rounds.
const ROTATIONS: [[u32; 4]; 8] = [
    [46, 36, 19, 37],
    [33, 27, 14, 42],
    [17, 49, 36, 39],
    [44, 9, 54, 56],
    [39, 30, 34, 24],
    [13, 50, 10, 17],
    [25, 29, 39, 43],
    [8, 35, 56, 22],
];

/// The pairs of words that are mixed in each of 4 rounds.
const PAIRS: [[(usize, usize); 4]; 4] = [
    [(0, 1), (2, 3), (4, 5), (6, 7)],
    [(2, 1), (4, 7), (6, 5), (0, 3)],
    [(4, 1), (6, 3), (0, 5), (2, 7)],
    [(6, 1), (0, 7), (2, 5), (4, 3)],
];

/// The constant that gives the ninth word of a key when combined with the other eight.
const PARITY: u64 = 0x1bd1_1bda_a9fc_1a22;

/// Encrypts `block` with `key` and `tweak`.
pub(super) fn encrypt(key: &[u64; 8], tweak: [u64; 2], block: &mut [u64; 8]) {
    let mut keys = [PARITY; 9];
    keys[..8].copy_from_slice(key);
    keys[8] = key.iter().fold(PARITY, |parity, word| parity ^ word);
    let tweaks = [tweak[0], tweak[1], tweak[0] ^ tweak[1]];

    let mut words = *block;
    // 18 times four rounds; the key's words repeat after 9, the tweak's after 3.
    macro_rules! twice_four_rounds {
        ($($at:literal)*) => { $(
            add_key(&mut words, &keys, &tweaks, 2 * $at);
            four_rounds::<0>(&mut words);
            add_key(&mut words, &keys, &tweaks, 2 * $at + 1);
            four_rounds::<4>(&mut words);
        )* };
    }
    twice_four_rounds!(0 1 2 3 4 5 6 7 8);
    add_key(&mut words, &keys, &tweaks, 18);
    *block = words;
}

#[inline(always)]
fn add_key(words: &mut [u64; 8], keys: &[u64; 9], tweaks: &[u64; 3], at: usize) {
    for i in 0..8 {
        words[i] = words[i].wrapping_add(keys[(at + i) % 9]);
    }
    words[5] = words[5].wrapping_add(tweaks[at % 3]);
    words[6] = words[6].wrapping_add(tweaks[(at + 1) % 3]);
    words[7] = words[7].wrapping_add(at as u64);
}

#[inline(always)]
fn four_rounds<const FROM: usize>(words: &mut [u64; 8]) {
    for round in 0..4 {
        for pair in 0..4 {
            let (x, y) = PAIRS[round][pair];
            words[x] = words[x].wrapping_add(words[y]);
            words[y] = words[y].rotate_left(ROTATIONS[FROM + round][pair]) ^ words[x];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use threefish::Threefish512;

    proptest! {
        #[test]
        fn blocks_are_those_of_the_crate(key: [u64; 8], tweak: [u64; 2], block: [u64; 8]) {
            let (mut ours, mut theirs) = (block, block);
            super::encrypt(&key, tweak, &mut ours);
            Threefish512::new_with_tweak_u64(&key, &tweak).encrypt_block_u64(&mut theirs);
            prop_assert_eq!(ours, theirs);
        }
    }
}
