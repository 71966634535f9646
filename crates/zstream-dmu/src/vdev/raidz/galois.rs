//! Arithmetic of raidz parity: the field GF(2^8) with polynomial 0x11d, in which 2 generates all non-zero elements.
//!
//! Addition is xor. The parity columns P, Q and R of data columns `d[0] .. d[n-1]` are the sums of `g^(n-1-i) * d[i]`
//! for g = 1, 2 and 4, byte by byte. Shorter columns count as padded with zeros.

/// The maximum number of parity columns: P, Q and R. Parity column k sums powers of 2^k.
pub(crate) const PARITY_COLUMNS_MAX: usize = 3;

const EXP: [u8; 255] = exponentials();
const LOG: [u8; 256] = logarithms();

const fn exponentials() -> [u8; 255] {
    let mut table = [0; 255];
    let mut value = 1_u8;
    let mut i = 0;
    while i < 255 {
        table[i] = value;
        value = double(value);
        i += 1;
    }
    table
}

const fn logarithms() -> [u8; 256] {
    let exp = exponentials();
    let mut table = [0; 256];
    let mut i = 0;
    while i < 255 {
        table[exp[i] as usize] = i as u8;
        i += 1;
    }
    table
}

const fn double(value: u8) -> u8 {
    (value << 1) ^ if value & 0x80 != 0 { 0x1d } else { 0 }
}

/// Returns the product of `a` and `b`.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[(usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)])) % 255]
}

/// Returns the multiplicative inverse of `a`, which is not 0.
fn inverse(a: u8) -> u8 {
    debug_assert_ne!(a, 0);
    EXP[(255 - usize::from(LOG[usize::from(a)])) % 255]
}

/// Returns the coefficient of data column `column` of `columns` in parity column `parity` (0 P, 1 Q, 2 R).
pub(super) fn coefficient(parity: usize, column: usize, columns: usize) -> u8 {
    EXP[(parity * (columns - 1 - column)) % 255]
}

/// Adds `from` to `into`: `into[i] ^= from[i]`, over the length of `from`, which is at most that of `into`.
pub(super) fn add(into: &mut [u8], from: &[u8]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a ^= b;
    }
}

/// Doubles eight bytes.
fn double_each(word: u64) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const REST: u64 = 0xfefe_fefe_fefe_fefe;
    // Every byte that overflows yields a mask byte 0xff, which selects the polynomial.
    let over = word & HIGH;
    let mask = (over << 1).wrapping_sub(over >> 7);
    ((word << 1) & REST) ^ (mask & 0x1d1d_1d1d_1d1d_1d1d)
}

/// Multiplies every byte by 2^`power` (`power` is 0, 1 or 2), eight bytes at a time.
pub(super) fn shift(bytes: &mut [u8], power: usize) {
    for _ in 0..power {
        let (words, tail) = bytes.as_chunks_mut::<8>();
        for chunk in words {
            *chunk = double_each(u64::from_ne_bytes(*chunk)).to_ne_bytes();
        }
        for byte in tail {
            *byte = double(*byte);
        }
    }
}

/// Multiplies every byte of `into` by 2^`power`, and adds `from`, which may be shorter.
pub(super) fn shift_add(into: &mut [u8], power: usize, from: &[u8]) {
    let (into, rest) = into.split_at_mut(from.len());
    shift(rest, power);
    match power {
        0 => add(into, from),
        1 => combine(into, from, double_each),
        2 => combine(into, from, |word| double_each(double_each(word))),
        _ => {
            shift(into, power);
            add(into, from);
        }
    }
}

/// Replaces every eight bytes of `into` by `multiple` of them plus `from`, which has the same length.
fn combine(into: &mut [u8], from: &[u8], multiple: impl Fn(u64) -> u64) {
    let (words, tail) = into.as_chunks_mut::<8>();
    let (sources, rest) = from.as_chunks::<8>();
    for (word, source) in words.iter_mut().zip(sources) {
        *word = (multiple(u64::from_ne_bytes(*word)) ^ u64::from_ne_bytes(*source)).to_ne_bytes();
    }
    for (byte, source) in tail.iter_mut().zip(rest) {
        *byte = multiple(u64::from(*byte)) as u8 ^ source;
    }
}

/// Adds a multiple of `from` to `into`: `into[i] ^= factor * from[i]`.
pub(super) fn add_multiple(into: &mut [u8], from: &[u8], factor: u8) {
    match factor {
        0 => {}
        1 => add(into, from),
        _ => {
            let mut table = [0; 256];
            for (value, product) in (0..=255).zip(&mut table) {
                *product = multiply(factor, value);
            }
            for (a, b) in into.iter_mut().zip(from) {
                *a ^= table[usize::from(*b)];
            }
        }
    }
}

/// Inverts a square matrix of up to three rows by elimination. Returns `None` if it is singular.
pub(super) fn invert(rows: &[[u8; PARITY_COLUMNS_MAX]]) -> Option<Vec<[u8; PARITY_COLUMNS_MAX]>> {
    let n = rows.len();
    let mut left = rows.to_vec();
    let mut right: Vec<_> = (0..n)
        .map(|i| {
            let mut row = [0; PARITY_COLUMNS_MAX];
            row[i] = 1;
            row
        })
        .collect();
    for pivot in 0..n {
        let from = (pivot..n).find(|&i| left[i][pivot] != 0)?;
        left.swap(pivot, from);
        right.swap(pivot, from);
        let factor = inverse(left[pivot][pivot]);
        for k in 0..n {
            left[pivot][k] = multiply(left[pivot][k], factor);
            right[pivot][k] = multiply(right[pivot][k], factor);
        }
        for i in (0..n).filter(|&i| i != pivot) {
            let factor = left[i][pivot];
            for k in 0..n {
                left[i][k] ^= multiply(left[pivot][k], factor);
                right[i][k] ^= multiply(right[pivot][k], factor);
            }
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplication_is_the_fields() {
        // Multiplication by shifting and reducing, which is the definition.
        fn slow(mut a: u8, mut b: u8) -> u8 {
            let mut product = 0;
            while b != 0 {
                if b & 1 != 0 {
                    product ^= a;
                }
                a = double(a);
                b >>= 1;
            }
            product
        }
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), slow(a, b), "{a} * {b}");
            }
            if a != 0 {
                assert_eq!(multiply(a, inverse(a)), 1);
            }
        }
    }

    #[test]
    fn shifting_words_equals_shifting_bytes() {
        let bytes: Vec<u8> = (0..=255).chain(0..5).collect();
        for (power, factor) in [(0, 1), (1, 2), (2, 4)] {
            let mut shifted = bytes.clone();
            shift(&mut shifted, power);
            let expected: Vec<u8> = bytes.iter().map(|&byte| multiply(byte, factor)).collect();
            assert_eq!(shifted, expected);
            let from: Vec<u8> = bytes.iter().rev().take(77).map(|byte| byte ^ 0x5a).collect();
            let sums = expected.iter().enumerate().map(|(n, byte)| byte ^ from.get(n).unwrap_or(&0));
            let mut sum = bytes.clone();
            shift_add(&mut sum, power, &from);
            assert_eq!(sum, sums.collect::<Vec<u8>>());
        }
    }

    /// For any lost columns and any remaining parity, the equations have one solution.
    #[test]
    fn every_choice_of_parity_and_columns_can_be_solved() {
        for columns in [3, 4, 9, 60, 252] {
            for (a, b, c) in [(0, 1, 2), (0, 1, columns - 1), (0, columns / 2, columns - 1)] {
                if !(a < b && b < c) {
                    continue;
                }
                for parities in [vec![0, 1, 2], vec![0, 1], vec![0, 2], vec![1, 2], vec![0], vec![1], vec![2]]
                {
                    let lost = &[a, b, c][..parities.len()];
                    let rows: Vec<_> = parities
                        .iter()
                        .map(|&parity| {
                            let mut row = [0; 3];
                            for (cell, &column) in row.iter_mut().zip(lost) {
                                *cell = coefficient(parity, column, columns);
                            }
                            row
                        })
                        .collect();
                    let inverse = invert(&rows).expect("solvable");
                    for (i, row) in rows.iter().enumerate() {
                        let product = |j: usize| {
                            row.iter().zip(&inverse).fold(0, |sum, (a, line)| sum ^ multiply(*a, line[j]))
                        };
                        let identity: Vec<u8> = (0..rows.len()).map(|j| u8::from(i == j)).collect();
                        assert_eq!((0..rows.len()).map(product).collect::<Vec<_>>(), identity);
                    }
                }
            }
        }
    }
}
