//! The label regions of an open device.

use std::collections::BTreeMap;

use crate::format::{LABEL_BLOCK, LABEL_BYTES};

/// The blocks of the label regions that are not zeros, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Labels {
    blocks: BTreeMap<u32, Box<[u8; LABEL_BLOCK]>>,
}

impl Labels {
    pub(super) fn new(blocks: BTreeMap<u32, Box<[u8; LABEL_BLOCK]>>) -> Self {
        Self { blocks }
    }

    pub(super) fn blocks(&self) -> &BTreeMap<u32, Box<[u8; LABEL_BLOCK]>> {
        &self.blocks
    }

    /// Reads from `offset` in the label regions.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        each(offset, out.len(), &mut |number, within, range| {
            let out = &mut out[range];
            match self.blocks.get(&number) {
                Some(block) => out.copy_from_slice(&block[within..within + out.len()]),
                None => out.fill(0),
            }
        });
    }

    /// Writes to `offset` in the label regions.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        each(offset, bytes.len(), &mut |number, within, range| {
            let bytes = &bytes[range];
            let block = self.blocks.entry(number).or_insert_with(|| Box::new([0; LABEL_BLOCK]));
            block[within..within + bytes.len()].copy_from_slice(bytes);
            if block.iter().all(|byte| *byte == 0) {
                self.blocks.remove(&number);
            }
        });
    }
}

/// Calls `act` for each block in a range: its number, the first byte in it, and the part of the range.
fn each(offset: u64, bytes: usize, act: &mut dyn FnMut(u32, usize, std::ops::Range<usize>)) {
    debug_assert!(offset + bytes as u64 <= LABEL_BYTES);
    let mut done = 0;
    while done < bytes {
        let at = offset + done as u64;
        let within = at as usize % LABEL_BLOCK;
        let count = (LABEL_BLOCK - within).min(bytes - done);
        act((at / LABEL_BLOCK as u64) as u32, within, done..done + count);
        done += count;
    }
}
