//! Finds what repeats, as zlib's `deflate_fast` (levels 1 to 3) and `deflate_slow` (4 to 9) do.
//!
//! Positions are hashed by their 3 bytes; `head` has the last position of each hash, `prev` the one before
//! each position. zlib keeps the input in a window of 64 KiB that it slides by 32 KiB; here the input stays
//! where it is and only the window's start is followed, because it decides what can be found: position 0
//! of the window stands for "none", so whatever lies there, and before, is never a match.

use super::block::{BlockWriter, Symbol};

const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
/// Bytes of the window that matches reach back into; it is twice as long.
const WINDOW: usize = 32 << 10;
/// With less than this ahead, zlib reads more input.
const MIN_LOOKAHEAD: usize = MAX_MATCH + MIN_MATCH + 1;
/// No match lies further back.
const MAX_DISTANCE: usize = WINDOW - MIN_LOOKAHEAD;
/// Matches of [`MIN_MATCH`] bytes further back than this cost more than literals.
const TOO_FAR: usize = 4096;
const HASH_BITS: u32 = 15;

/// How hard a level tries.
#[derive(Clone, Copy)]
pub(super) struct Tuning {
    /// From a previous match of this length on, only a quarter of the chain is searched.
    good: usize,
    /// A match of this length is taken without looking for a better one a byte later; at fast levels, the
    /// longest match whose positions are entered.
    lazy: usize,
    /// A match of this length ends the search.
    nice: usize,
    /// Positions looked at per search.
    chain: usize,
    /// Whether to look for a better match a byte later at all.
    slow: bool,
}

/// zlib's table of levels.
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
        other => panic!("deflate has levels 1 to 9, not {other}"),
    };
    Tuning { good, lazy, nice, chain, slow: level >= 4 }
}

/// Turns `input` into symbols.
pub(super) fn run(tuning: Tuning, input: &[u8], out: &mut BlockWriter) {
    assert!(u32::try_from(input.len()).is_ok(), "deflate is for inputs below 4 GiB");
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

/// A match: where it begins and how long it is.
#[derive(Clone, Copy)]
struct Match {
    start: usize,
    len: usize,
}

/// A match too short to be one.
const NO_MATCH: Match = Match { start: 0, len: MIN_MATCH - 1 };

/// How many bytes two slices of one length have in common from their start.
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
    /// The next byte to be dealt with.
    at: usize,
    /// Where zlib's window begins, a multiple of [`WINDOW`].
    window_start: usize,
    /// Up to where zlib has read input into its window.
    read_end: usize,
    /// Where the current block begins.
    block_start: usize,
    head: Vec<u32>,
    prev: Vec<u32>,
}

impl Matcher<'_> {
    /// Reads on when little is ahead; false at the end of the input.
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

    /// Enters `at` and returns the last position of the same hash, if it is in reach.
    fn insert(&mut self, at: usize) -> Option<usize> {
        let &[a, b, c] = self.input[at..].first_chunk::<MIN_MATCH>()?;
        let hash = (u32::from(a) << 10 ^ u32::from(b) << 5 ^ u32::from(c)) & ((1 << HASH_BITS) - 1);
        let head = &mut self.head[hash as usize];
        let last = *head;
        self.prev[at % WINDOW] = last;
        // Below 4 GiB, as all positions.
        *head = at as u32;
        let last = last as usize;
        (last > self.window_start).then_some(last)
    }

    /// The longest match for the current position along the chain that begins at `first`, if one is longer
    /// than `best`.
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
            // A longer match has these bytes in common: most candidates end here.
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

    /// Adds a symbol and ends the block when it is full. Whether the bytes before `end` can still be
    /// stored as they are depends on the window, as in zlib.
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
        // The byte before `at` is neither part of a match nor added yet.
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
