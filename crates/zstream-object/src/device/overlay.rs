//! Bytes that were written and are not in an object yet.

use std::collections::{BTreeMap, HashMap};

/// The written bytes by their addresses. No piece crosses the border of a chunk.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pieces: BTreeMap<u64, Vec<u8>>,
    /// The number of bytes in each chunk.
    chunks: HashMap<u64, u64>,
    chunk_bytes: u64,
    bytes: u64,
}

impl Overlay {
    pub(super) fn new(chunk_bytes: u64) -> Self {
        Self { chunk_bytes, ..Self::default() }
    }

    /// Returns the number of bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes bytes. Returns the chunks that are now complete.
    pub(super) fn write(&mut self, mut address: u64, mut bytes: &[u8]) -> Vec<u64> {
        let mut complete = Vec::new();
        while !bytes.is_empty() {
            let chunk = address / self.chunk_bytes;
            let room = ((chunk + 1) * self.chunk_bytes - address).min(bytes.len() as u64) as usize;
            let (part, rest) = bytes.split_at(room);
            self.put(chunk, address, part);
            if self.chunks.get(&chunk) == Some(&self.chunk_bytes) {
                complete.push(chunk);
            }
            address += room as u64;
            bytes = rest;
        }
        complete
    }

    fn added(&mut self, chunk: u64, bytes: usize) {
        *self.chunks.entry(chunk).or_default() += bytes as u64;
        self.bytes += bytes as u64;
    }

    fn put(&mut self, chunk: u64, address: u64, bytes: &[u8]) {
        let end = address + bytes.len() as u64;
        let before = self.pieces.range_mut(chunk * self.chunk_bytes..=address).next_back();
        if let Some((start, piece)) = before
            && start + piece.len() as u64 >= address
        {
            let skip = (address - start) as usize;
            let covered = (piece.len() - skip).min(bytes.len());
            piece[skip..skip + covered].copy_from_slice(&bytes[..covered]);
            if covered < bytes.len() {
                let start = *start;
                self.remove(address + covered as u64, end);
                if let Some(piece) = self.pieces.get_mut(&start) {
                    piece.extend(&bytes[covered..]);
                }
                self.added(chunk, bytes.len() - covered);
            }
            return;
        }
        self.remove(address, end);
        self.pieces.insert(address, bytes.to_vec());
        self.added(chunk, bytes.len());
    }

    /// Removes everything in `from..to`.
    pub(super) fn remove(&mut self, from: u64, to: u64) {
        while let Some((start, _)) = self.pieces.range(..to).next_back() {
            let start = *start;
            let Some(piece) = self.pieces.get_mut(&start) else { return };
            let end = start + piece.len() as u64;
            if end <= from {
                return;
            }
            let tail = (end > to).then(|| piece[(to - start) as usize..].to_vec());
            let removed = end.min(to) - start.max(from);
            if start < from {
                piece.truncate((from - start) as usize);
            } else {
                self.pieces.remove(&start);
            }
            if let Some(tail) = tail {
                self.pieces.insert(to, tail);
            }
            self.bytes -= removed;
            let chunk = start / self.chunk_bytes;
            if let Some(count) = self.chunks.get_mut(&chunk) {
                *count -= removed;
                if *count == 0 {
                    self.chunks.remove(&chunk);
                }
            }
            if start < from {
                return;
            }
        }
    }

    /// Copies what lies in the range of `out`, which starts at `address`, and calls `gap` with the other ranges.
    pub(super) fn read(&self, address: u64, out: &mut [u8], gap: &mut dyn FnMut(u64, u64)) {
        let end = address + out.len() as u64;
        let first = self.pieces.range(..address).next_back().map_or(address, |(start, _)| *start);
        let mut at = address;
        for (start, piece) in self.pieces.range(first..end) {
            let (from, to) = ((*start).max(address), (start + piece.len() as u64).min(end));
            if from >= to {
                continue;
            }
            if at < from {
                gap(at, from);
            }
            let (to_out, from_piece) = ((from - address) as usize, (from - start) as usize);
            let count = (to - from) as usize;
            out[to_out..to_out + count].copy_from_slice(&piece[from_piece..from_piece + count]);
            at = to;
        }
        if at < end {
            gap(at, end);
        }
    }

    /// Takes the pieces of a chunk out, in order.
    pub(super) fn take_chunk(&mut self, chunk: u64) -> Vec<(u64, Vec<u8>)> {
        let mut taken = self.pieces.split_off(&(chunk * self.chunk_bytes));
        self.pieces.append(&mut taken.split_off(&((chunk + 1) * self.chunk_bytes)));
        self.bytes -= self.chunks.remove(&chunk).unwrap_or_default();
        taken.into_iter().collect()
    }

    /// Takes the first pieces out, in order: at least `bytes` bytes, if there are as many.
    pub(super) fn take_first(&mut self, bytes: u64) -> Vec<(u64, Vec<u8>)> {
        let mut taken = Vec::new();
        let mut sum = 0;
        while sum < bytes
            && let Some((address, piece)) = self.pieces.pop_first()
        {
            let len = piece.len() as u64;
            sum += len;
            self.bytes -= len;
            let chunk = address / self.chunk_bytes;
            if let Some(count) = self.chunks.get_mut(&chunk) {
                *count -= len;
                if *count == 0 {
                    self.chunks.remove(&chunk);
                }
            }
            taken.push((address, piece));
        }
        taken
    }

    /// Takes all pieces out, in order.
    pub(super) fn take_all(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.chunks.clear();
        self.bytes = 0;
        std::mem::take(&mut self.pieces).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    #[test]
    fn reads_return_the_last_write() {
        const SIZE: u64 = 256;
        for seed in 0..30 {
            let mut numbers = Numbers::new(seed);
            let mut overlay = Overlay::new(32);
            let mut plain: Vec<Option<u8>> = vec![None; SIZE as usize];
            for step in 0..200_u32 {
                let from = numbers.below(SIZE);
                let bytes = 1 + numbers.below((SIZE - from).min(50));
                let range = from as usize..(from + bytes) as usize;
                match numbers.below(12) {
                    0 | 1 => {
                        overlay.remove(from, from + bytes);
                        plain[range].fill(None);
                    }
                    2 => {
                        let chunk = from / 32;
                        for (address, piece) in overlay.take_chunk(chunk) {
                            for (n, byte) in piece.iter().enumerate() {
                                assert_eq!(plain[address as usize + n].take(), Some(*byte));
                            }
                        }
                        let range = chunk as usize * 32..(chunk as usize + 1) * 32;
                        assert!(plain[range].iter().all(Option::is_none));
                    }
                    _ => {
                        let new: Vec<u8> = (0..bytes).map(|n| (step + n as u32) as u8).collect();
                        let complete = overlay.write(from, &new);
                        plain[range].iter_mut().zip(new).for_each(|(place, byte)| *place = Some(byte));
                        for chunk in complete {
                            let range = chunk as usize * 32..(chunk as usize + 1) * 32;
                            assert!(plain[range].iter().all(Option::is_some));
                        }
                    }
                }
                if numbers.below(10) == 0 {
                    for (address, piece) in overlay.take_first(numbers.below(60)) {
                        plain[address as usize..][..piece.len()].fill(None);
                    }
                }
                let mut out = vec![0; SIZE as usize];
                let mut gaps = Vec::new();
                overlay.read(0, &mut out, &mut |from, to| gaps.push((from, to)));
                let is_gap = |n: u64| gaps.iter().any(|(from, to)| (*from..*to).contains(&n));
                for n in 0..SIZE {
                    let seen = (!is_gap(n)).then_some(out[n as usize]);
                    assert_eq!(seen, plain[n as usize], "seed {seed}, step {step}, byte {n}");
                }
                assert_eq!(overlay.bytes(), plain.iter().flatten().count() as u64);
            }
        }
    }
}
