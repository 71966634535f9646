//! Blocks of a deflate stream, with the decisions and the output of zlib's `_tr_flush_block`.
//!
//! ```text
//! 1 bit    last block or not
//! 2 bits   0 stored: to the next byte, u16 length, its complement, the bytes
//!          1 fixed codes: symbols, end of block
//!          2 own codes: 5 bits literal and length codes - 257, 5 bits distance codes - 1, 4 bits length
//!            codes - 4, 3 bits each length code's length in the order ORDER, the code lengths, symbols, end
//! ```
//!
//! Numbers are written lowest bit first, codes first bit first (RFC 1951, 3.2).

use super::codes::{Alphabet, Code, canonical};

/// The maximum number of symbols in a block: zlib flushes its buffer for 16384 when it has one entry left.
const MAX_SYMBOLS: usize = (16 << 10) - 1;
const END_OF_BLOCK: usize = 256;
const LITERAL_CODES: usize = 286;
const DISTANCE_CODES: usize = 30;
const LENGTH_CODES: usize = 19;

/// The code length symbol that repeats the last length 3 to 6 times (2 bits).
const REPEAT: usize = 16;
/// The code length symbol for 3 to 10 zeros (3 bits).
const ZEROS: usize = 17;
/// The code length symbol for 11 to 138 zeros (7 bits).
const MANY_ZEROS: usize = 18;
/// The order in which the lengths of the length codes are written.
const ORDER: [usize; LENGTH_CODES] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const LITERALS: Alphabet = Alphabet {
    len: LITERAL_CODES,
    max_bits: 15,
    extra: |symbol| if symbol > END_OF_BLOCK { length_base(symbol - 257).1 } else { 0 },
    fixed: |symbol| u32::from(fixed_length(symbol)),
};
const DISTANCES: Alphabet =
    Alphabet { len: DISTANCE_CODES, max_bits: 15, extra: |symbol| distance_base(symbol).1, fixed: |_| 5 };
const LENGTHS: Alphabet = Alphabet {
    len: LENGTH_CODES,
    max_bits: 7,
    extra: |symbol| match symbol {
        REPEAT => 2,
        ZEROS => 3,
        MANY_ZEROS => 7,
        _ => 0,
    },
    fixed: |_| 0,
};

/// The number of bits of a literal or length in the fixed code.
fn fixed_length(symbol: usize) -> u8 {
    match symbol {
        0..=143 => 8,
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    }
}

/// The shortest match of the length code `257 + code`, less 3, and its extra bits.
fn length_base(code: usize) -> (usize, u32) {
    match code {
        0..=7 => (code, 0),
        28 => (255, 0),
        _ => {
            let extra = (code - 4) / 4;
            ((4 + code % 4) << extra, extra as u32)
        }
    }
}

/// The smallest distance of a distance code, less 1, and its extra bits.
fn distance_base(code: usize) -> (usize, u32) {
    match code {
        0..=3 => (code, 0),
        _ => {
            let extra = (code - 2) / 2;
            ((2 + code % 2) << extra, extra as u32)
        }
    }
}

/// The length code, less 257, of a match's length less 3.
fn length_code(len: usize) -> usize {
    match len {
        0..=7 => len,
        255 => 28,
        _ => {
            let extra = (len.ilog2() - 2) as usize;
            4 * extra + (len >> extra)
        }
    }
}

/// The code of a distance less 1.
fn distance_code(distance: usize) -> usize {
    match distance {
        0..=3 => distance,
        _ => {
            let extra = (distance.ilog2() - 1) as usize;
            2 * extra + (distance >> extra)
        }
    }
}

/// A symbol that the matcher finds.
#[derive(Clone, Copy)]
pub(super) enum Symbol {
    /// A literal byte.
    Literal(u8),
    /// A copy of earlier bytes: length less 3, distance less 1.
    Match { len: u8, distance: u16 },
}

impl Symbol {
    /// Creates a match of 3 to 258 bytes, 1 to 32768 bytes back.
    pub(super) fn matched(len: usize, distance: usize) -> Self {
        Self::Match { len: (len - 3) as u8, distance: (distance - 1) as u16 }
    }
}

/// A writer that collects symbols into blocks and encodes them as bytes.
pub(super) struct BlockWriter {
    bits: BitWriter,
    symbols: Vec<Symbol>,
    literal_counts: [u16; LITERAL_CODES],
    distance_counts: [u16; DISTANCE_CODES],
}

impl BlockWriter {
    /// Creates a writer that appends to `out`.
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self {
            bits: BitWriter { out, pending: 0, pending_len: 0 },
            symbols: Vec::with_capacity(MAX_SYMBOLS),
            literal_counts: [0; LITERAL_CODES],
            distance_counts: [0; DISTANCE_CODES],
        }
    }

    /// Adds a symbol. Returns `true` if the block is full.
    pub(super) fn add(&mut self, symbol: Symbol) -> bool {
        match symbol {
            Symbol::Literal(byte) => self.literal_counts[usize::from(byte)] += 1,
            Symbol::Match { len, distance } => {
                self.literal_counts[257 + length_code(usize::from(len))] += 1;
                self.distance_counts[distance_code(usize::from(distance))] += 1;
            }
        }
        self.symbols.push(symbol);
        self.symbols.len() == MAX_SYMBOLS
    }

    /// Writes the block in its shortest form. `plain` is its content, if the block can be stored uncompressed.
    pub(super) fn end_block(&mut self, plain: Option<&[u8]>, last: bool) {
        self.literal_counts[END_OF_BLOCK] = 1;
        let literals = Code::build(&LITERALS, &self.literal_counts);
        let distances = Code::build(&DISTANCES, &self.distance_counts);
        let mut runs = Vec::new();
        length_runs(&literals.lengths[..=literals.max_symbol], &mut runs);
        length_runs(&distances.lengths[..=distances.max_symbol], &mut runs);
        let mut run_counts = [0_u16; LENGTH_CODES];
        for (code, _) in &runs {
            run_counts[*code] += 1;
        }
        let lengths = Code::build(&LENGTHS, &run_counts);
        let sent = ORDER.iter().rposition(|code| lengths.lengths[*code] != 0).unwrap_or(0).max(3) + 1;

        let bytes = |bits: u64| (bits + 3).div_ceil(8);
        let own = bytes(literals.cost + distances.cost + lengths.cost + 14 + 3 * sent as u64);
        let fixed = bytes(literals.fixed_cost + distances.fixed_cost);
        let shortest = own.min(fixed);
        let last = u32::from(last);
        match plain {
            Some(plain) if plain.len() as u64 + 4 <= shortest => {
                self.bits.put(last, 3);
                self.bits.align();
                // Not more than 64 KiB, or codes would have been shorter.
                let len = plain.len() as u16;
                self.bits.out.extend_from_slice(&len.to_le_bytes());
                self.bits.out.extend_from_slice(&(!len).to_le_bytes());
                self.bits.out.extend_from_slice(plain);
            }
            _ if fixed <= own => {
                self.bits.put(1 << 1 | last, 3);
                let literal_lengths: Vec<u8> = (0..LITERAL_CODES + 2).map(fixed_length).collect();
                let distance_lengths = [5; DISTANCE_CODES];
                self.symbols(
                    (&literal_lengths, &canonical(&literal_lengths)),
                    (&distance_lengths, &canonical(&distance_lengths)),
                );
            }
            _ => {
                self.bits.put(2 << 1 | last, 3);
                self.bits.put((literals.max_symbol + 1 - 257) as u32, 5);
                self.bits.put(distances.max_symbol as u32, 5);
                self.bits.put((sent - 4) as u32, 4);
                for code in &ORDER[..sent] {
                    self.bits.put(u32::from(lengths.lengths[*code]), 3);
                }
                for (code, extra) in runs {
                    self.bits.code((&lengths.lengths, &lengths.bits), code);
                    self.bits.put(extra, (LENGTHS.extra)(code));
                }
                self.symbols((&literals.lengths, &literals.bits), (&distances.lengths, &distances.bits));
            }
        }
        self.symbols.clear();
        self.literal_counts.fill(0);
        self.distance_counts.fill(0);
    }

    /// Returns the output, with the last byte padded with zero bits.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bits.align();
        self.bits.out
    }

    /// Writes the symbols of the block and the end-of-block symbol.
    fn symbols(&mut self, literals: CodeRef<'_>, distances: CodeRef<'_>) {
        for symbol in &self.symbols {
            match *symbol {
                Symbol::Literal(byte) => self.bits.code(literals, usize::from(byte)),
                Symbol::Match { len, distance } => {
                    let (len, distance) = (usize::from(len), usize::from(distance));
                    let code = length_code(len);
                    let (base, extra) = length_base(code);
                    self.bits.code(literals, 257 + code);
                    self.bits.put((len - base) as u32, extra);
                    let code = distance_code(distance);
                    let (base, extra) = distance_base(code);
                    self.bits.code(distances, code);
                    self.bits.put((distance - base) as u32, extra);
                }
            }
        }
        self.bits.code(literals, END_OF_BLOCK);
    }
}

/// Encodes code lengths as they are written: a length or a repetition, and the extra bits of the repetition.
/// The runs of one alphabet do not continue into the next.
fn length_runs(lengths: &[u8], runs: &mut Vec<(usize, u32)>) {
    let mut previous = None;
    let mut rest = lengths;
    while let Some(length) = rest.first().copied() {
        let same = rest.iter().take_while(|other| **other == length).count();
        // A new run writes its length once; a continued run repeats the previous length.
        let first = previous != Some(length);
        let max = match (length, first) {
            (0, _) => 138,
            (_, true) => 7,
            (_, false) => 6,
        };
        let count = same.min(max);
        rest = &rest[count..];
        let repeated = usize::from(length);
        let min = if length == 0 || !first { 3 } else { 4 };
        if count < min {
            runs.extend(std::iter::repeat_n((repeated, 0), count));
        } else if length != 0 {
            let repeats = if first {
                runs.push((repeated, 0));
                count - 1
            } else {
                count
            };
            runs.push((REPEAT, (repeats - 3) as u32));
        } else if count <= 10 {
            runs.push((ZEROS, (count - 3) as u32));
        } else {
            runs.push((MANY_ZEROS, (count - 11) as u32));
        }
        previous = Some(length);
    }
}

/// The lengths and the bits of a code.
type CodeRef<'a> = (&'a [u8], &'a [u16]);

/// A writer that packs bits into bytes, lowest bit first.
struct BitWriter {
    out: Vec<u8>,
    pending: u64,
    pending_len: u32,
}

impl BitWriter {
    /// Appends the lowest `len` bits of `value`; all others must be zero.
    fn put(&mut self, value: u32, len: u32) {
        self.pending |= u64::from(value) << self.pending_len;
        self.pending_len += len;
        while self.pending_len >= 8 {
            self.out.push(self.pending as u8);
            self.pending >>= 8;
            self.pending_len -= 8;
        }
    }

    fn code(&mut self, (lengths, bits): CodeRef<'_>, symbol: usize) {
        self.put(u32::from(bits[symbol]), u32::from(lengths[symbol]));
    }

    /// Appends zero bits up to the next byte.
    fn align(&mut self) {
        if self.pending_len > 0 {
            self.put(0, 8 - self.pending_len);
        }
    }
}
