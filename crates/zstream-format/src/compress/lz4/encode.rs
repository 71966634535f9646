//! An LZ4 encoder with the output of the one in ZFS: the same bytes for the same block and buffer size.
//!
//! It makes one pass with one candidate per hash of four bytes. Blocks shorter than [`SMALL_BELOW`] use a table
//! of 8192 positions of 16 bits, longer ones 4096 of 32 bits. It does not search for more or better matches, and
//! the step between attempts grows by one after each [`ATTEMPTS_PER_STEP`] failures. Each of these choices
//! determines the output, so a faster search would give other bytes.
//!
//! Decoders rely on the end of the block: no match starts in the last 12 bytes, and the last 5 are literals.

use super::MATCH_MIN;

/// The size in bytes below which 16 bits suffice for all positions in the table.
const SMALL_BELOW: usize = (1 << 16) + NO_MATCH_AT_END - 1;
/// The number of bytes at the end in which no match starts.
const NO_MATCH_AT_END: usize = 12;
/// The number of bytes at the end that are always literals.
const LAST_LITERALS: usize = 5;
/// The size of the shortest block that can have a match.
const SHORTEST: usize = NO_MATCH_AT_END + 1;
const DISTANCE_MAX: usize = 65535;
const ATTEMPTS_PER_STEP: usize = 64;
/// The start value of the count of attempts in each search.
const FIRST_ATTEMPT: usize = ATTEMPTS_PER_STEP + 3;
/// The value in half of a token that marks a length as continued in further bytes.
const NIBBLE: usize = 15;

/// A table of the last position for each hash; 0, which is also a real position, if there was none.
trait Table {
    const HASH_BITS: u32;
    fn new() -> Self;
    /// Sets the last position with this hash to `pos` and returns the previous one.
    fn replace(&mut self, hash: usize, pos: usize) -> usize;
}

impl Table for [u16; 1 << 13] {
    const HASH_BITS: u32 = 13;
    fn new() -> Self {
        [0; 1 << 13]
    }
    fn replace(&mut self, hash: usize, pos: usize) -> usize {
        usize::from(std::mem::replace(&mut self[hash], pos as u16))
    }
}

impl Table for [u32; 1 << 12] {
    const HASH_BITS: u32 = 12;
    fn new() -> Self {
        [0; 1 << 12]
    }
    fn replace(&mut self, hash: usize, pos: usize) -> usize {
        std::mem::replace(&mut self[hash], pos as u32) as usize
    }
}

/// Compresses `src` into `dst`. Returns `None` if the encoder gives up because there is not enough room.
pub(super) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let mut out = Output { dst, made: 0 };
    let literals_from = if src.len() < SHORTEST {
        0
    } else if src.len() < SMALL_BELOW {
        sequences::<[u16; 1 << 13]>(src, &mut out)?
    } else {
        sequences::<[u32; 1 << 12]>(src, &mut out)?
    };
    out.last_literals(&src[literals_from..])?;
    Some(out.made)
}

/// Writes all sequences that have a match and returns the position of the literals after the last one.
fn sequences<T: Table>(src: &[u8], out: &mut Output<'_>) -> Option<usize> {
    let mut table = T::new();
    let last_start = src.len() - NO_MATCH_AT_END;
    let match_end = src.len() - LAST_LITERALS;
    let hash = |word: u32| (word.wrapping_mul(2_654_435_761) >> (32 - T::HASH_BITS)) as usize;

    let mut literals_from = 0;
    table.replace(hash(word(src, 0)), 0);
    let mut pos = 1;
    loop {
        let (mut start, mut from) = {
            let mut attempt = FIRST_ATTEMPT;
            let mut next = pos;
            let mut next_word = word(src, pos);
            loop {
                let (here, here_word) = (next, next_word);
                next = here + attempt / ATTEMPTS_PER_STEP;
                attempt += 1;
                // Gives up one step early: a position is tried only if the next one exists.
                if next > last_start {
                    return Some(literals_from);
                }
                next_word = word(src, next);
                let from = table.replace(hash(here_word), here);
                if here - from <= DISTANCE_MAX && word(src, from) == here_word {
                    break (here, from);
                }
            }
        };
        while start > literals_from && from > 0 && src[start - 1] == src[from - 1] {
            start -= 1;
            from -= 1;
        }
        let mut token = out.literals(&src[literals_from..start])?;
        loop {
            let distance = start - from;
            let behind = start + MATCH_MIN;
            let more = common(&src[behind..match_end], &src[from + MATCH_MIN..]);
            out.matched(token, distance, more)?;
            pos = behind + more;
            literals_from = pos;
            if pos > last_start {
                return Some(literals_from);
            }
            let here_word = word(src, pos);
            table.replace(hash(word(src, pos - 2)), pos - 2);
            from = table.replace(hash(here_word), pos);
            if pos - from > DISTANCE_MAX || word(src, from) != here_word {
                break;
            }
            // Another match follows directly: a sequence without literals.
            token = out.token()?;
            start = pos;
        }
        pos += 1;
    }
}

fn word(src: &[u8], pos: usize) -> u32 {
    let bytes = src[pos..].first_chunk().expect("positions end 12 bytes before the block");
    u32::from_le_bytes(*bytes)
}

/// The length of the common prefix of `a` and `b`; `b` must not be shorter than `a`.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, _) = b[..a.len()].as_chunks::<8>();
    for (index, (x, y)) in a8.iter().zip(b8).enumerate() {
        let different = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if different != 0 {
            return index * 8 + different.trailing_zeros() as usize / 8;
        }
    }
    let done = a8.len() * 8;
    done + a_rest.iter().zip(&b[done..]).take_while(|(x, y)| x == y).count()
}

/// The output buffer, of which the first `made` bytes are written. The size checks match those of the encoder
/// in ZFS and decide when it gives up. They are stricter than necessary except for runs of more than half a
/// megabyte, so each write is also checked.
struct Output<'a> {
    dst: &'a mut [u8],
    made: usize,
}

impl Output<'_> {
    /// Reserves a byte for a token and returns its position.
    fn token(&mut self) -> Option<usize> {
        let token = self.made;
        *self.dst.get_mut(token)? = 0;
        self.made += 1;
        Some(token)
    }

    fn literals(&mut self, literals: &[u8]) -> Option<usize> {
        let length = literals.len();
        let worst = length + length / 256 + 2 + 1 + LAST_LITERALS;
        if self.made + 1 + worst > self.dst.len() {
            return None;
        }
        self.run(literals)
    }

    /// Writes a match of [`MATCH_MIN`] + `more` bytes.
    fn matched(&mut self, token: usize, distance: usize, more: usize) -> Option<()> {
        // At most DISTANCE_MAX.
        self.copy(&(distance as u16).to_le_bytes())?;
        if self.made + 1 + LAST_LITERALS + more / 256 > self.dst.len() {
            return None;
        }
        self.dst[token] |= more.min(NIBBLE) as u8;
        self.more(more)
    }

    fn last_literals(&mut self, literals: &[u8]) -> Option<()> {
        let length = literals.len();
        if self.made + 1 + length + (length + 255 - NIBBLE) / 255 > self.dst.len() {
            return None;
        }
        self.run(literals).map(drop)
    }

    /// Writes a token with the number of `literals`, and the literals.
    fn run(&mut self, literals: &[u8]) -> Option<usize> {
        let token = self.token()?;
        self.dst[token] = (literals.len().min(NIBBLE) as u8) << 4;
        self.more(literals.len())?;
        self.copy(literals)?;
        Some(token)
    }

    /// Writes the part of a length that exceeds the token.
    fn more(&mut self, length: usize) -> Option<()> {
        let Some(rest) = length.checked_sub(NIBBLE) else { return Some(()) };
        let (last, full) = self.dst.get_mut(self.made..)?.get_mut(..=rest / 255)?.split_last_mut()?;
        full.fill(255);
        *last = (rest % 255) as u8;
        self.made += rest / 255 + 1;
        Some(())
    }

    fn copy(&mut self, bytes: &[u8]) -> Option<()> {
        self.dst.get_mut(self.made..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.made += bytes.len();
        Some(())
    }
}
