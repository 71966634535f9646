//! Prefix codes for the symbols of one block, as zlib's `trees.c` builds them.
//!
//! The code lengths are Huffman's, limited to the maximum of the alphabet. Several codes may be equally
//! short; the choice depends on the depths of the symbols and on the order of the entries in the heap, so
//! the heap operations follow zlib step by step.

/// The maximum number of nodes in a tree: the leaves and inner nodes of the literal and length alphabet.
const HEAP_LEN: usize = 2 * 286 + 1;
/// The length of the longest code of any alphabet, in bits.
const MAX_BITS: usize = 15;

/// An alphabet: the number of its symbols, and their costs besides the codes.
pub(super) struct Alphabet {
    /// The number of symbols.
    pub(super) len: usize,
    /// The maximum length of a code, in bits.
    pub(super) max_bits: usize,
    /// The number of extra bits after the code, by symbol.
    pub(super) extra: fn(usize) -> u32,
    /// The length of the fixed code, by symbol; 0 if there is none.
    pub(super) fixed: fn(usize) -> u32,
}

/// A code: the length and the bits for each symbol.
pub(super) struct Code {
    /// The code length of each symbol in bits, 0 for symbols without a code.
    pub(super) lengths: Vec<u8>,
    /// The code of each symbol, with its first bit lowest.
    pub(super) bits: Vec<u16>,
    /// The last symbol with a code.
    pub(super) max_symbol: usize,
    /// The size of all symbols in bits, extra bits included.
    pub(super) cost: u64,
    /// The size of all symbols in bits with the fixed code.
    pub(super) fixed_cost: u64,
}

impl Code {
    /// Builds the code for symbols that occur `counts` times. At least two symbols get a code, as old decoders
    /// require.
    pub(super) fn build(alphabet: &Alphabet, counts: &[u16]) -> Self {
        let mut tree = Tree {
            counts: counts.iter().map(|count| u32::from(*count)).collect(),
            depths: vec![0; HEAP_LEN],
            heap: Vec::with_capacity(alphabet.len + 1),
        };
        tree.counts.resize(HEAP_LEN, 0);
        // zlib's heap starts at 1.
        tree.heap.push(0);
        tree.heap.extend((0..alphabet.len).filter(|symbol| counts[*symbol] != 0));
        let mut max_symbol = tree.heap[1..].last().copied();
        while tree.heap.len() < 3 {
            let symbol = match max_symbol {
                None => 0,
                Some(max) if max < 2 => max + 1,
                Some(_) => 0,
            };
            max_symbol = max_symbol.max(Some(symbol));
            tree.counts[symbol] = 1;
            tree.heap.push(symbol);
        }
        let max_symbol = max_symbol.unwrap_or(0);
        let lengths = tree.lengths(alphabet, max_symbol);

        let (mut cost, mut fixed_cost) = (0, 0);
        for (symbol, (length, count)) in lengths.iter().zip(counts).enumerate() {
            let count = u64::from(*count);
            cost += count * u64::from(u32::from(*length) + (alphabet.extra)(symbol));
            fixed_cost += count * u64::from((alphabet.fixed)(symbol) + (alphabet.extra)(symbol));
        }
        let bits = canonical(&lengths);
        Self { lengths, bits, max_symbol, cost, fixed_cost }
    }
}

/// Returns the bits of the canonical code with these lengths (RFC 1951, 3.2.2).
pub(super) fn canonical(lengths: &[u8]) -> Vec<u16> {
    let mut next = [0_u16; MAX_BITS + 2];
    for length in lengths.iter().filter(|length| **length != 0) {
        next[usize::from(*length) + 1] += 1;
    }
    for bits in 1..next.len() {
        next[bits] = (next[bits] + next[bits - 1]) << 1;
    }
    // next[n] is now the first code of n bits: the one after the codes of n - 1 bits, with a 0 appended.
    lengths
        .iter()
        .map(|length| match u32::from(*length) {
            0 => 0,
            length => {
                let code = &mut next[length as usize];
                *code += 1;
                (*code - 1).reverse_bits() >> (16 - length)
            }
        })
        .collect()
}

/// A tree under construction: nodes are numbered symbols first, then inner nodes.
struct Tree {
    counts: Vec<u32>,
    depths: Vec<u32>,
    /// The nodes without a parent, with the rarest at 1; entry 0 is not used.
    heap: Vec<usize>,
}

impl Tree {
    /// Returns `true` if `left` sorts before `right`: it occurs less often, or is the root of a lower tree.
    fn rarer(&self, left: usize, right: usize) -> bool {
        (self.counts[left], self.depths[left]) <= (self.counts[right], self.depths[right])
    }

    /// Moves the entry at `at` down until neither of its children is rarer.
    fn sift(&mut self, mut at: usize) {
        let node = self.heap[at];
        let len = self.heap.len();
        while 2 * at < len {
            let mut below = 2 * at;
            if below + 1 < len && self.rarer(self.heap[below + 1], self.heap[below]) {
                below += 1;
            }
            if self.rarer(node, self.heap[below]) {
                break;
            }
            self.heap[at] = self.heap[below];
            at = below;
        }
        self.heap[at] = node;
    }

    /// Joins the two rarest nodes until one is left, and returns the code length of each symbol.
    fn lengths(mut self, alphabet: &Alphabet, max_symbol: usize) -> Vec<u8> {
        for at in (1..=(self.heap.len() - 1) / 2).rev() {
            self.sift(at);
        }
        // Nodes in the order in which they were joined; the root is last.
        let mut joined = Vec::with_capacity(HEAP_LEN);
        let mut parents = vec![0; HEAP_LEN];
        let mut node = alphabet.len;
        loop {
            let rarest = self.heap[1];
            self.heap.swap_remove(1);
            self.sift(1);
            let second = self.heap[1];
            joined.extend([rarest, second]);
            self.counts[node] = self.counts[rarest] + self.counts[second];
            self.depths[node] = self.depths[rarest].max(self.depths[second]) + 1;
            parents[rarest] = node;
            parents[second] = node;
            self.heap[1] = node;
            node += 1;
            self.sift(1);
            if self.heap.len() <= 2 {
                break;
            }
        }
        let root = self.heap[1];

        let mut lengths = vec![0_usize; HEAP_LEN];
        let mut per_length = [0_usize; MAX_BITS + 1];
        let mut too_long = 0_usize;
        for node in joined.iter().rev().copied() {
            debug_assert_ne!(node, root);
            let mut bits = lengths[parents[node]] + 1;
            if bits > alphabet.max_bits {
                bits = alphabet.max_bits;
                too_long += 1;
            }
            lengths[node] = bits;
            if node <= max_symbol {
                per_length[bits] += 1;
            }
        }
        if too_long > 0 {
            shorten(&mut per_length, too_long, alphabet.max_bits);
            // The rarest symbols get the longest codes.
            let mut leaves = joined.iter().copied().filter(|node| *node <= max_symbol);
            for bits in (1..=alphabet.max_bits).rev() {
                for leaf in leaves.by_ref().take(per_length[bits]) {
                    lengths[leaf] = bits;
                }
            }
        }
        // Symbols that are not in the tree have length 0; no length is above 15.
        lengths[..alphabet.len].iter().map(|bits| *bits as u8).collect()
    }
}

/// Makes room for the codes that were limited to `max_bits`: a shorter code becomes two that are one bit longer.
fn shorten(per_length: &mut [usize], mut too_long: usize, max_bits: usize) {
    loop {
        let mut bits = max_bits - 1;
        while per_length[bits] == 0 {
            bits -= 1;
        }
        per_length[bits] -= 1;
        per_length[bits + 1] += 2;
        per_length[max_bits] -= 1;
        if too_long <= 2 {
            break;
        }
        too_long -= 2;
    }
}
