//! Fletcher-4 word by word: the oracle of the other kernels, and the fastest for short inputs.

/// Adds the complete words of `data`, which are big-endian if `BIG`.
pub(super) fn update<const BIG: bool>(state: &mut [u64; 4], data: &[u8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for word in data.as_chunks().0 {
        let word = if BIG { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
        a = a.wrapping_add(u64::from(word));
        b = b.wrapping_add(a);
        c = c.wrapping_add(b);
        d = d.wrapping_add(c);
    }
    *state = [a, b, c, d];
}
