//! Numbers for random histories.

/// Numbers that follow from a seed (xorshift).
#[derive(Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % end.max(1) as u64) as usize
    }

    /// One of a list; none of an empty one.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        list.get(self.below(list.len())).cloned()
    }

    /// Content that compresses hardly, well, or to nearly nothing.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let end = [256, 20, 2][self.below(3)];
        (0..len).map(|_| self.below(end) as u8).collect()
    }
}
