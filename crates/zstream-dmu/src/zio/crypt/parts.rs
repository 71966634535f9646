//! The parts of a block that is encrypted in some areas only.

use std::ops::Range;

/// A block, split into its parts.
#[derive(Default)]
pub(super) struct Parts {
    /// The parts that are only authenticated.
    pub(super) authenticated: Vec<u8>,
    /// The areas that are encrypted, in order, as one message.
    pub(super) message: Vec<u8>,
    areas: Vec<Range<usize>>,
}

impl Parts {
    /// Adds an area of `block` to the message.
    pub(super) fn encrypt(&mut self, block: &[u8], area: Range<usize>) {
        self.message.extend(&block[area.clone()]);
        self.areas.push(area);
    }

    /// Copies the message back into the block.
    pub(super) fn put_back(&self, block: &mut [u8]) {
        let mut message = &self.message[..];
        for area in &self.areas {
            let (front, rest) = message.split_at(area.len());
            block[area.clone()].copy_from_slice(front);
            message = rest;
        }
    }
}
