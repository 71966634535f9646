//! The search for matches, with the results of zlib's `deflate_fast` (levels 1 to 3) and `deflate_slow` (4 to 9).
//!
//! Positions are hashed by their 3 bytes; `head` has the last position of each hash, `prev` the one before
//! each position. zlib copies the input into a window of 64 KiB that it slides by 32 KiB. Here the input is
//! not copied; only the start of the window is tracked, because it limits the matches: position 0 of the
//! window means "none", so neither it nor an earlier position is ever a match.

use super::block::{BlockWriter, Symbol};

const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
/// The size in bytes of the half of the window that matches refer to.
const WINDOW: usize = 32 << 10;
/// The number of bytes ahead below which zlib reads more input.
const MIN_LOOKAHEAD: usize = MAX_MATCH + MIN_MATCH + 1;
/// The maximum distance of a match.
const MAX_DISTANCE: usize = WINDOW - MIN_LOOKAHEAD;
/// The distance beyond which a match of [`MIN_MATCH`] bytes costs more than literals.
const TOO_FAR: usize = 4096;
const HASH_BITS: u32 = 15;

/// The search parameters of a level.
#[derive(Clone, Copy)]
pub(super) struct Tuning {
    /// The length of a previous match from which only a quarter of the chain is searched.
    good: usize,
    /// The length of a match that is used without a search for a better one a byte later; at fast levels, the
    /// longest match whose positions are inserted.
    lazy: usize,
    /// The length of a match that ends the search.
    nice: usize,
    /// The maximum number of positions compared in a search.
    chain: usize,
    /// `true` if the matcher searches for a better match a byte later.
    slow: bool,
}

/// Returns the parameters from zlib's table of levels.
pub(super) fn tuning(level: u8) -> Tuning {
    let (good, lazy, nice, chain) = match level {
        1 => (4, 4, 8, 4),
        2 => (4, 5, 16, 8),
        3 => (4, 6, 32, 32),
        4 => (4, 4, 16, 16),
        5 => (8, 16, 32, 32),
        6 => (8, 16, 128, 128),
        7 => (8, 32, 128, 256),
        8 => (32, 128, 258, 1024),
        9 => (32, 258, 258, 4096),
        other => panic!("deflate level is {other}, expected 1 to 9"),
    };
    Tuning { good, lazy, nice, chain, slow: level >= 4 }
}

/// Encodes `input` as symbols.
pub(super) fn run(tuning: Tuning, input: &[u8], out: &mut BlockWriter) {
    assert!(u32::try_from(input.len()).is_ok(), "deflate input must be smaller than 4 GiB");
    let matcher = Matcher {
        tuning,
        input,
        out,
        at: 0,
        window_start: 0,
        read_end: 0,
        block_start: 0,
        head: vec![0; 1 << HASH_BITS],
        prev: vec![0; WINDOW],
    };
    if tuning.slow { matcher.slow() } else { matcher.fast() }
}

/// A match: the position and the length of the earlier bytes.
#[derive(Clone, Copy)]
struct Match {
    start: usize,
    len: usize,
}

/// The absence of a match: one that is too short.
const NO_MATCH: Match = Match { start: 0, len: MIN_MATCH - 1 };

/// The length of the common prefix of two slices of equal length.
fn common_len(left: &[u8], right: &[u8]) -> usize {
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, right_rest) = right.as_chunks::<8>();
    for (index, (left, right)) in left_words.iter().zip(right_words).enumerate() {
        let differing = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if differing != 0 {
            return index * 8 + differing.trailing_zeros() as usize / 8;
        }
    }
    let rest = left_rest.iter().zip(right_rest).take_while(|(left, right)| left == right);
    left_words.len() * 8 + rest.count()
}

struct Matcher<'a> {
    tuning: Tuning,
    input: &'a [u8],
    out: &'a mut BlockWriter,
    /// The position of the next byte to encode.
    at: usize,
    /// The start of zlib's window, a multiple of [`WINDOW`].
    window_start: usize,
    /// The end of the input that zlib has read into its window.
    read_end: usize,
    /// The start of the current block.
    block_start: usize,
    head: Vec<u32>,
    prev: Vec<u32>,
}

impl Matcher<'_> {
    /// Reads more input if little is ahead. Returns `false` at the end of the input.
    fn fill(&mut self) -> bool {
        while self.read_end - self.at < MIN_LOOKAHEAD {
            if self.at - self.window_start >= WINDOW + MAX_DISTANCE {
                self.window_start += WINDOW;
            }
            if self.read_end == self.input.len() {
                break;
            }
            self.read_end = self.input.len().min(self.window_start + 2 * WINDOW);
        }
        self.at < self.input.len()
    }

    /// Inserts `at` and returns the previous position with the same hash, if it is in the window.
    fn insert(&mut self, at: usize) -> Option<usize> {
        let &[a, b, c] = self.input[at..].first_chunk::<MIN_MATCH>()?;
        let hash = (u32::from(a) << 10 ^ u32::from(b) << 5 ^ u32::from(c)) & ((1 << HASH_BITS) - 1);
        let head = &mut self.head[hash as usize];
        let last = *head;
        self.prev[at % WINDOW] = last;
        // Positions are below 4 GiB.
        *head = at as u32;
        let last = last as usize;
        (last > self.window_start).then_some(last)
    }

    /// Returns the longest match for the current position along the chain from `first`, or `best` if none is
    /// longer.
    fn longest(&self, first: usize, mut best: Match) -> Match {
        let ahead = self.input.len() - self.at;
        let max_len = ahead.min(MAX_MATCH);
        let nice = self.tuning.nice.min(ahead);
        let limit = self.window_start.max(self.at.saturating_sub(MAX_DISTANCE));
        let mut chain = self.tuning.chain;
        if best.len >= self.tuning.good {
            chain /= 4;
        }
        let scan = &self.input[self.at..self.at + max_len];
        let mut candidate = first;
        while best.len < max_len {
            let found = &self.input[candidate..candidate + max_len];
            // These bytes are equal in every longer match; most candidates fail here.
            if found[best.len] == scan[best.len] && found[best.len - 1] == scan[best.len - 1] {
                let len = common_len(found, scan);
                if len > best.len {
                    best = Match { start: candidate, len };
                    if len >= nice {
                        break;
                    }
                }
            }
            candidate = self.prev[candidate % WINDOW] as usize;
            chain -= 1;
            if candidate <= limit || chain == 0 {
                break;
            }
        }
        best
    }

    /// Adds a symbol and ends the block when it is full. As in zlib, the bytes before `end` can be stored
    /// uncompressed only if they are still in the window.
    fn add(&mut self, symbol: Symbol, end: usize) {
        if self.out.add(symbol) {
            self.end_block(end, false);
        }
    }

    fn end_block(&mut self, end: usize, last: bool) {
        let block = &self.input[self.block_start..end];
        self.out.end_block((self.block_start >= self.window_start).then_some(block), last);
        self.block_start = end;
    }

    fn fast(mut self) {
        while self.fill() {
            let mut found = NO_MATCH;
            if let Some(first) = self.insert(self.at)
                && self.at - first <= MAX_DISTANCE
            {
                found = self.longest(first, NO_MATCH);
            }
            if found.len < MIN_MATCH {
                self.at += 1;
                self.add(Symbol::Literal(self.input[self.at - 1]), self.at);
                continue;
            }
            let start = self.at;
            if found.len <= self.tuning.lazy {
                for at in start + 1..start + found.len {
                    self.insert(at);
                }
            }
            self.at += found.len;
            self.add(Symbol::matched(found.len, start - found.start), self.at);
        }
        self.end_block(self.at, true);
    }

    fn slow(mut self) {
        let mut found = NO_MATCH;
        // `true` if the byte before `at` is neither part of a match nor added yet.
        let mut pending = false;
        while self.fill() {
            let first = self.insert(self.at);
            let previous = std::mem::replace(&mut found, NO_MATCH);
            if let Some(first) = first
                && previous.len < self.tuning.lazy
                && self.at - first <= MAX_DISTANCE
            {
                found = self.longest(first, Match { start: previous.start, len: previous.len });
                if found.len == MIN_MATCH && self.at - found.start > TOO_FAR {
                    found.len = MIN_MATCH - 1;
                }
            }
            if previous.len >= MIN_MATCH && found.len <= previous.len {
                let start = self.at - 1;
                let end = start + previous.len;
                for at in self.at + 1..end {
                    self.insert(at);
                }
                self.at = end;
                pending = false;
                found = NO_MATCH;
                self.add(Symbol::matched(previous.len, start - previous.start), end);
            } else {
                if pending {
                    self.add(Symbol::Literal(self.input[self.at - 1]), self.at);
                }
                pending = true;
                self.at += 1;
            }
        }
        if pending {
            self.out.add(Symbol::Literal(self.input[self.at - 1]));
        }
        self.end_block(self.at, true);
    }
}
