//! The encrypted and the authenticated parts of a block of an intent log.
//!
//! ```text
//! block:    header 184 | record | record ...      pad, next pointer and size are authenticated; the MAC is in the
//!                                                 last two words of the embedded checksum
//! record:   header 32 | fields ...                the header is authenticated, the rest is encrypted
//! write:    header 32 | fields | pointer | data   the block pointer is authenticated, not encrypted
//! clone:    header 32 | fields | count, pointers  so are the number of block pointers and the pointers
//! ```
//!
//! The encrypted parts, in order, are one message.

use std::ops::Range;

use super::MAC_BYTES;
use crate::blkptr::BLOCK_POINTER_BYTES;
use crate::error::{Error, Result};
use crate::intent_log::{
    Chain, LogClone, LogRecord, LogWrite, TX_CLONE_RANGE, TX_WRITE, embedded_checksum_at, split,
};

/// The offset of the MAC in the embedded checksum.
const MAC_OFFSET: usize = 16;

/// A log block, split into its parts.
pub(super) struct Split {
    /// The parts that are only authenticated.
    pub(super) authenticated: Vec<u8>,
    /// The parts that are encrypted.
    pub(super) message: Vec<u8>,
    /// The message authentication code.
    pub(super) mac: [u8; MAC_BYTES],
    areas: Vec<Range<usize>>,
}

impl Split {
    /// Splits a block. Only the newer form of log blocks is encrypted.
    pub(super) fn new(block: &[u8]) -> Result<Self> {
        let chain = Chain::parse(zstream_format::algorithm::ChecksumType::ZILOG2, block)?;
        let (embedded, sum) = embedded_checksum_at();
        let mac = block.get(sum + MAC_OFFSET..).and_then(|rest| rest.first_chunk());
        let mac = *mac.ok_or_else(|| Error::corrupt("log block", "block is too short for its header"))?;
        let mut this =
            Self { authenticated: block[..embedded].to_vec(), message: Vec::new(), mac, areas: Vec::new() };
        let (mut at, end) = chain.records;
        while at < end {
            let (header, record) = split(&block[at..end], chain.order)?;
            this.add(header.kind, record, at);
            at += record.len();
        }
        for area in &this.areas {
            this.message.extend(&block[area.clone()]);
        }
        Ok(this)
    }

    fn add(&mut self, kind: u64, record: &[u8], at: usize) {
        let end = record.len();
        // The kind is compared with the flag for names in it, which these kinds do not have.
        let plain = match kind {
            TX_WRITE => {
                let start = LogWrite::offset_of("pointer");
                start..start + BLOCK_POINTER_BYTES
            }
            TX_CLONE_RANGE => LogClone::offset_of("count")..end,
            _ => end..end,
        };
        let plain = plain.start.min(end)..plain.end.min(end);
        self.authenticated.extend(&record[..LogRecord::LEN]);
        self.authenticated.extend(&record[plain.clone()]);
        for area in [LogRecord::LEN..plain.start, plain.end..end] {
            if area.start < area.end {
                self.areas.push(at + area.start..at + area.end);
            }
        }
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
