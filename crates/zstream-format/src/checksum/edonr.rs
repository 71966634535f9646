//! Edon-R-512, in the tweaked form of the second round of the SHA-3 competition, which ZFS uses.
//!
//! The state is a double pipe of two halves of 8 words, and a message block is two halves as well. The
//! compression applies one operation `*` on halves, a quasigroup of order 2^512, in four rows of two (`^`
//! marks a half whose words are in reverse order), and feeds the block and the old pipe forward:
//!
//! ```text
//! row 1   a = block 1 ^ * block 0      b = a * block 1
//! row 2   c = pipe 1 * a               d = c * b
//! row 3   e = c * pipe 0               f = d * e
//! row 4   g = block 0 ^ * e            h = g * f
//! tweak   pipe 0 = pipe 0 xor block 1 xor g       pipe 1 = pipe 1 xor block 0 xor h
//! ```
//!
//! The message is padded with a 1 bit, zeros, and its length in bits as a `u64`; all words are
//! little-endian. The digest is the last pipe's second half.
//!
//! Described by D. Gligoroski, R. S. Ødegård, M. Mihova, S. J. Knapskog, L. Kocarev, A. Drápal and
//! V. Klima in "Cryptographic Hash Function EDON-R'"; compared with OpenZFS's implementation at every
//! message length from 0 to 599.

type Half = [u64; 8];

/// The size of a message block in bytes.
const BLOCK_BYTES: usize = 128;

/// The offset of the length in the last block.
const LENGTH_AT: usize = BLOCK_BYTES - 8;

/// The pipe before the first block: its bytes, in big-endian order, count from 0x80 to 0xff.
const INITIAL: [Half; 2] = {
    let mut pipe = [[0; 8]; 2];
    let mut word = 0;
    while word < 16 {
        pipe[word / 8][word % 8] = 0x8081_8283_8485_8687 + word as u64 * 0x0808_0808_0808_0808;
        word += 1;
    }
    pipe
};

/// A constant that keeps the linear parts of the quasigroup from having a fixed point at zero.
const CONSTANT: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// The state of Edon-R after complete blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdonR {
    pipe: [Half; 2],
    blocks: u64,
}

impl EdonR {
    /// The state before any block.
    pub(super) const NEW: Self = Self { pipe: INITIAL, blocks: 0 };

    /// Absorbs one block.
    pub(super) fn absorb(&mut self, block: &[u8; BLOCK_BYTES]) {
        let mut halves = [[0; 8]; 2];
        for (word, bytes) in halves.as_flattened_mut().iter_mut().zip(block.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        compress(&mut self.pipe, halves);
        self.blocks += 1;
    }

    /// Returns the digest of the absorbed blocks followed by `data`.
    pub(super) fn finish(mut self, data: &[u8]) -> [u8; 64] {
        let (blocks, rest) = data.as_chunks();
        for block in blocks {
            self.absorb(block);
        }
        let bits = (self.blocks * BLOCK_BYTES as u64 + rest.len() as u64).wrapping_mul(8);
        let mut last = [0; BLOCK_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        if rest.len() >= LENGTH_AT {
            self.absorb(&last);
            last = [0; BLOCK_BYTES];
        }
        last[LENGTH_AT..].copy_from_slice(&bits.to_le_bytes());
        self.absorb(&last);

        let mut digest = [0; 64];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.pipe[1]) {
            *bytes = word.to_le_bytes();
        }
        digest
    }
}

fn compress(pipe: &mut [Half; 2], block: [Half; 2]) {
    let a = multiply(reversed(block[1]), block[0]);
    let b = multiply(a, block[1]);
    let c = multiply(pipe[1], a);
    let d = multiply(c, b);
    let e = multiply(c, pipe[0]);
    let f = multiply(d, e);
    let g = multiply(reversed(block[0]), e);
    let h = multiply(g, f);
    for i in 0..8 {
        pipe[0][i] ^= block[1][i] ^ g[i];
        pipe[1][i] ^= block[0][i] ^ h[i];
    }
}

fn reversed(mut half: Half) -> Half {
    half.reverse();
    half
}

/// Applies the quasigroup operation. Each operand is mixed into rotated sums of 5 of its words; each result
/// is the sum of two exclusive-ors of 3 of these. The columns of two orthogonal Latin squares select the
/// words: the first 5 rows of a column are added, the last 3 combined.
#[inline]
fn multiply(x: Half, y: Half) -> Half {
    let s = mix_left(x);
    let t = mix_right(y);
    [
        (s[0] ^ s[1] ^ s[4]).wrapping_add(t[0] ^ t[1] ^ t[5]),
        (s[0] ^ s[4] ^ s[7]).wrapping_add(t[2] ^ t[6] ^ t[7]),
        (s[1] ^ s[6] ^ s[7]).wrapping_add(t[0] ^ t[1] ^ t[3]),
        (s[2] ^ s[3] ^ s[4]).wrapping_add(t[0] ^ t[3] ^ t[4]),
        (s[0] ^ s[1] ^ s[7]).wrapping_add(t[1] ^ t[2] ^ t[5]),
        (s[3] ^ s[5] ^ s[6]).wrapping_add(t[3] ^ t[4] ^ t[6]),
        (s[2] ^ s[5] ^ s[6]).wrapping_add(t[2] ^ t[5] ^ t[7]),
        (s[2] ^ s[3] ^ s[5]).wrapping_add(t[4] ^ t[6] ^ t[7]),
    ]
}

#[inline]
fn mix_left(x: Half) -> Half {
    let outer = sum([x[0], x[1], x[4], x[7]]);
    let inner = sum([x[2], x[3], x[5], x[6]]);
    [
        sum([CONSTANT, outer, x[2]]),
        sum([outer, x[3]]).rotate_left(5),
        sum([outer, x[6]]).rotate_left(15),
        sum([inner, x[7]]).rotate_left(22),
        sum([inner, x[1]]).rotate_left(31),
        sum([x[0], x[2], x[3], x[4], x[5]]).rotate_left(40),
        sum([x[0], x[1], x[5], x[6], x[7]]).rotate_left(50),
        sum([inner, x[4]]).rotate_left(59),
    ]
}

#[inline]
fn mix_right(y: Half) -> Half {
    let (y01, y25, y34, y67) = (sum([y[0], y[1]]), sum([y[2], y[5]]), sum([y[3], y[4]]), sum([y[6], y[7]]));
    [
        sum([!CONSTANT, y01, y25, y[7]]),
        sum([y01, y34, y[6]]).rotate_left(10),
        sum([y01, y25, y[3]]).rotate_left(19),
        sum([y34, y67, y[2]]).rotate_left(29),
        sum([y01, y34, y[5]]).rotate_left(36),
        sum([y25, y67, y[4]]).rotate_left(44),
        sum([y25, y67, y[1]]).rotate_left(48),
        sum([y34, y67, y[0]]).rotate_left(55),
    ]
}

#[inline]
fn sum<const N: usize>(words: [u64; N]) -> u64 {
    words.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 64]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Digests by OpenZFS's libzpool (2.3.2) of the first bytes of `i * i * 7 + i`, around the lengths
    /// at which the padding fills a block of its own.
    #[test]
    fn digests_are_openzfs_s() {
        let message: Vec<u8> = (0..600u32).map(|i| (i * i * 7 + i) as u8).collect();
        for (len, digest) in [
            (
                0,
                "c57f7e17fdc1ce5074cc748c9bd38f9f51ebe88fbe6eda3190c4314cafb1abb2980fac582d6e4ba8c641947d944bc56b74fb15de5546ad4f77934fca00052719",
            ),
            (
                119,
                "b6bb1aedaebca69735bb9ef12399ff201b710afdc8ef3d6c39869a22e7223dcd96e031728157169be1c08b6eab2008a4c039cb2e45236984c4a9641a2a8a50b1",
            ),
            (
                120,
                "9cc29e77db1c656907323ce4ef6242ca6d8b31cb39f6822548897e9e61c0fb41fd2fdadb8530924782e75e13c5abb07c6e218f20a94a011d434f1ea6aff797a2",
            ),
            (
                127,
                "9d59f6fccb0311c13671145c16a28af9af246ea6ce4e79229a71c476381a8a5191fe57c6cf01ee51293672f389d9536961e3dfafcd6090f2032f17cf7f6e4ff0",
            ),
            (
                128,
                "dd75fcbe978db4000185ffa67d4791922ba0789735c2438252de182c60e76e8adc7ce6542b72ec6df661281fb00ace783b6fa68e4023d374366cedebd2a8aefa",
            ),
            (
                599,
                "94358200cc9803253d423e2702351c9ab196ece57f794c740236b715d8935edb0149ebb4056e0c1c5a549fc72196f9b17c0527d58b3aaa36667b6659f13c850c",
            ),
        ] {
            assert_eq!(hex(EdonR::NEW.finish(&message[..len])), digest, "{len} bytes");
        }
        assert_eq!(
            hex(EdonR::NEW.finish(b"abc")),
            "1b14db155f1d406594b8cef70a4362ec6b5de6a5daf50ec999e987c19d3049e2de5977bb05b1bb220050a1ea5b46a9f1740acafbf6b45032adc90c628372c22b"
        );
    }

    #[test]
    fn absorbed_blocks_are_part_of_the_message() {
        let message: Vec<u8> = (0..500u32).map(|i| (i * 11) as u8).collect();
        let mut state = EdonR::NEW;
        let (block, rest) = message.split_first_chunk().unwrap();
        state.absorb(block);
        assert_eq!(state.finish(rest), EdonR::NEW.finish(&message));
    }
}
