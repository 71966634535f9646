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

use zstream_format::algorithm::ChecksumType;

use super::MAC_BYTES;
use super::parts::Parts;
use crate::blkptr::BLOCK_POINTER_BYTES;
use crate::error::{Error, Result};
use crate::intent_log::{
    Chain, LogClone, LogRecord, LogWrite, TX_CLONE_RANGE, TX_WRITE, embedded_checksum_at, split,
};

/// The offset of the MAC in the embedded checksum.
const MAC_OFFSET: usize = 16;

/// Splits a log block, and returns its message authentication code, too. Only the newer form of log blocks is encrypted.
pub(super) fn split_block(block: &[u8]) -> Result<(Parts, [u8; MAC_BYTES])> {
    let chain = Chain::parse(ChecksumType::ZILOG2, block)?;
    let (embedded, sum) = embedded_checksum_at();
    let mac = block.get(sum + MAC_OFFSET..).and_then(|rest| rest.first_chunk());
    let mac = *mac.ok_or_else(|| Error::corrupt("log block", "block is too short for its header"))?;
    let mut parts = Parts::default();
    parts.authenticated.extend(&block[..embedded]);
    let (mut at, end) = chain.records;
    while at < end {
        let (header, record) = split(&block[at..end], chain.order)?;
        let plain = plain(header.kind, record.len());
        parts.authenticated.extend(&record[..LogRecord::LEN]);
        parts.authenticated.extend(&record[plain.clone()]);
        for area in [LogRecord::LEN..plain.start, plain.end..record.len()] {
            if area.start < area.end {
                parts.encrypt(block, at + area.start..at + area.end);
            }
        }
        at += record.len();
    }
    Ok((parts, mac))
}

/// Returns the part of a record after its header that is not encrypted.
fn plain(kind: u64, end: usize) -> Range<usize> {
    // The kind is compared with the flag for names in it, which these kinds do not have.
    let plain = match kind {
        TX_WRITE => {
            let start = LogWrite::offset_of("pointer");
            start..start + BLOCK_POINTER_BYTES
        }
        TX_CLONE_RANGE => LogClone::offset_of("count")..end,
        _ => end..end,
    };
    plain.start.min(end)..plain.end.min(end)
}
