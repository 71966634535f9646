//! Keyed Skein-512 with 256 bits of output, on the Threefish-512 block cipher.
//!
//! Skein chains calls of UBI, which turns a message of any length into a state of 8 words. Each call has a
//! type:
//!
//! ```text
//! 0 -> UBI(key, type 0) -> UBI(configuration, 4) -> UBI(message, 48) -> UBI(counter 0, 63) -> digest
//! ```
//!
//! UBI encrypts each 64-byte block with the state as the key and adds (exclusive-or) the block. The
//! tweak contains the number of bytes so far, the type, and flags for the first and the last block:
//!
//! ```text
//! tweak word 0: position    tweak word 1: 63 last | 62 first | 56..61 type | ...
//! ```
//!
//! Specified in "The Skein Hash Function Family", version 1.3.

use super::threefish;

const BLOCK_BYTES: usize = 64;
const FIRST: u64 = 1 << 62;
const LAST: u64 = 1 << 63;

/// The type of a call of UBI, at its position in the tweak.
#[derive(Clone, Copy)]
struct Type(u64);

impl Type {
    const KEY: Self = Self(0);
    const CONFIGURATION: Self = Self(4 << 56);
    const MESSAGE: Self = Self(48 << 56);
    const OUTPUT: Self = Self(63 << 56);
}

/// The state of Skein-512-256 after the key and the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skein {
    state: [u64; 8],
}

impl Skein {
    /// Returns the state for messages under `key`.
    pub(super) fn keyed(key: &[u8; 32]) -> Self {
        // "SHA3", version 1; bits of output; no tree.
        let mut configuration = [0; 32];
        configuration[..4].copy_from_slice(b"SHA3");
        configuration[4] = 1;
        configuration[8..16].copy_from_slice(&256u64.to_le_bytes());

        let mut state = [0; 8];
        ubi(&mut state, Type::KEY, key);
        ubi(&mut state, Type::CONFIGURATION, &configuration);
        Self { state }
    }

    /// Returns the digest of `message`.
    pub(super) fn digest(self, message: &[u8]) -> [u8; 32] {
        let mut state = self.state;
        ubi(&mut state, Type::MESSAGE, message);
        ubi(&mut state, Type::OUTPUT, &0u64.to_le_bytes());
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }
}

fn ubi(state: &mut [u64; 8], kind: Type, message: &[u8]) {
    // The last block, full or not, has the flag; an empty message has one block.
    let whole = message.len().saturating_sub(1) / BLOCK_BYTES;
    let (blocks, rest) = message.split_at(whole * BLOCK_BYTES);
    let mut position = 0;
    let mut first = FIRST;
    for block in blocks.as_chunks().0 {
        position += BLOCK_BYTES as u64;
        encrypt(state, [position, kind.0 | first], block);
        first = 0;
    }
    let mut last = [0; BLOCK_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    encrypt(state, [position + rest.len() as u64, kind.0 | first | LAST], &last);
}

fn encrypt(state: &mut [u64; 8], tweak: [u64; 2], block: &[u8; BLOCK_BYTES]) {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let plain = words;
    threefish::encrypt(state, tweak, &mut words);
    for i in 0..8 {
        state[i] = words[i] ^ plain[i];
    }
}
