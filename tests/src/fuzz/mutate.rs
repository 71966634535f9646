//! Ways to damage bytes.

use super::Rng;

/// Values at the edges of what fields hold, sizes are checked against and sums overflow at.
const EDGES: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    511,
    512,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    128 << 10,
    16 << 20,
    (16 << 20) + 1,
    256 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 48,
    (1 << 56) - 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// The largest input a mutation makes.
const MAX_INPUT_BYTES: usize = 1 << 20;

/// Damages `input` in one to eight places; `others` is what splices are taken from.
pub fn bytes(input: &mut Vec<u8>, rng: &mut Rng, others: &[Vec<u8>]) {
    let times = 1 << rng.below(4);
    for _ in 0..times {
        one(input, rng, others);
    }
    input.truncate(MAX_INPUT_BYTES);
}

fn one(input: &mut Vec<u8>, rng: &mut Rng, others: &[Vec<u8>]) {
    let at = place(input.len(), rng);
    match rng.below(12) {
        0 | 1 if !input.is_empty() => input[at] ^= 1 << rng.below(8),
        2 if !input.is_empty() => input[at] = rng.u64() as u8,
        3..=5 => edge(input, rng),
        6 => input.truncate(at),
        7 => {
            // a chunk once more
            let chunk = input[range(input.len(), rng)].to_vec();
            input.splice(at..at, chunk);
        }
        8 => {
            input.drain(range(input.len(), rng));
        }
        9 => {
            // a chunk of another input
            let other = rng.pick(others);
            let chunk = other[range(other.len(), rng)].to_vec();
            let end = if rng.one_in(2) { at } else { (at + chunk.len()).min(input.len()) };
            input.splice(at..end, chunk);
        }
        10 => {
            let value = *rng.pick(&[0, 0xff, 0x80, 0x41]);
            let range = range(input.len(), rng);
            input[range].fill(value);
        }
        _ => {
            // two chunks change places, or some bytes are added
            let more = rng.below(32);
            input.extend((0..more).map(|_| rng.u64() as u8));
        }
    }
}

/// A place in `len` bytes; headers are at the front, so small offsets are liked.
fn place(len: usize, rng: &mut Rng) -> usize {
    if rng.one_in(3) { rng.below(len.min(400)) } else { rng.below(len) }
}

/// A range of mostly short length.
fn range(len: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let at = place(len, rng);
    let most = 1 << rng.below(13);
    at..(at + 1 + rng.below(most)).min(len).max(at)
}

/// Overwrites an aligned integer by an edge value, or by itself plus or minus a little.
fn edge(input: &mut [u8], rng: &mut Rng) {
    let width = *rng.pick(&[1usize, 2, 4, 4, 8, 8]);
    if input.len() < width {
        return;
    }
    let at = place(input.len() - width + 1, rng);
    let at = if rng.one_in(4) { at } else { at / width * width };
    let field = &mut input[at..at + width];
    let big = rng.one_in(2);
    let mut value = [0u8; 8];
    if rng.one_in(3) {
        value[..width].copy_from_slice(field);
        if big {
            value[..width].reverse();
        }
        let by = 1 + rng.below(16) as u64;
        let old = u64::from_le_bytes(value);
        value = if rng.one_in(2) { old.wrapping_add(by) } else { old.wrapping_sub(by) }.to_le_bytes();
    } else {
        value = rng.pick(EDGES).to_le_bytes();
    }
    field.copy_from_slice(&value[..width]);
    if big {
        field.reverse();
    }
}

/// Damages text that consists of tokens: like [`bytes`], but often stays printable.
pub fn text(input: &mut Vec<u8>, rng: &mut Rng, others: &[Vec<u8>]) {
    const LIKED: &[u8] = b"0123456789abcdefABCDEF---x +\0g";
    if rng.one_in(3) {
        return bytes(input, rng, others);
    }
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(input.len() + 1);
        match rng.below(3) {
            0 if at < input.len() => input[at] = *rng.pick(LIKED),
            1 => input.insert(at, *rng.pick(LIKED)),
            _ if at < input.len() => drop(input.remove(at)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same seed gives the same bytes, another gives others, and no mutation panics on small inputs.
    #[test]
    fn mutations_are_deterministic() {
        let others = vec![vec![], b"abcdefgh".to_vec(), vec![7; 1000]];
        let mut changed = 0;
        for iteration in 0..3000 {
            let make = |seed| {
                let mut rng = Rng::new(seed, "test", iteration);
                let mut input = rng.pick(&others).clone();
                bytes(&mut input, &mut rng, &others);
                text(&mut input, &mut rng, &others);
                input
            };
            assert_eq!(make(1), make(1));
            changed += usize::from(make(1) != make(2));
        }
        assert!(changed > 2500, "{changed}");
    }
}
