//! Reading the records of a log, for replay.
//!
//! A log that was claimed has a known end. Whatever cannot be read before it is an error: its records would be lost. The
//! end of another log is the first block that does not belong to it.

use zstream_format::order::ByteOrder;

use super::{Chain, LogRecord, Record, SEQUENCE, ZilHeader};
use crate::blkptr::{BLOCK_BYTES_MAX, BlockKind, BlockPointer};
use crate::block::{Block, ReadBlock};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};

/// Returns the location of a log block of an object set.
pub(crate) fn bookmark(objset: u64, pointer: &BlockPointer) -> Bookmark {
    let block = BlockId(pointer.checksum()[SEQUENCE]);
    Bookmark { objset, object: ObjectId(0), level: Bookmark::LEVEL_ZIL, block }
}

/// Reads a log block and checks that the next one is of the same log. It is decrypted if `decrypt`; the headers of
/// records and their block pointers are readable without.
///
/// # Errors
/// Fails if the block cannot be read or decrypted, and if it does not belong to the log.
pub(crate) fn read_block(
    reader: &dyn ReadBlock,
    objset: u64,
    pointer: &BlockPointer,
    decrypt: bool,
) -> Result<(Block, Chain)> {
    let at = bookmark(objset, pointer);
    let block = if decrypt { reader.read_compressed(pointer, at) } else { reader.read_stored(pointer, at) }?;
    let chain = Chain::parse(pointer.checksum_type(), &block).map_err(|error| error.at_bookmark(at))?;
    if !chain.continues(pointer) {
        let what = "the pointer of the next block is that of another log";
        return Err(Error::corrupt("log block", what).at_bookmark(at));
    }
    Ok((block, chain))
}

/// Returns the first record of `records`, its header, and the number of bytes it occupies.
///
/// # Errors
/// Fails if the record exceeds the block.
pub(crate) fn split(records: &[u8], order: ByteOrder) -> Result<(LogRecord, &[u8])> {
    let bad = |what: String| Error::corrupt("log block", what);
    let header = LogRecord::read(records, order)
        .ok_or_else(|| bad(format!("record starts {} bytes before the end", records.len())))?;
    let whole = usize::try_from(header.len).ok().filter(|len| *len >= LogRecord::LEN);
    let whole = whole.and_then(|len| records.get(..len)).ok_or_else(|| {
        let LogRecord { number, len, .. } = header;
        bad(format!("record {number} has {len} bytes, the block has {}", records.len()))
    })?;
    Ok((header, whole))
}

/// Returns an iterator over the records of a log that have to be replayed, in order. The key of an encrypted dataset has
/// to be loaded.
pub fn records<'a>(reader: &'a dyn ReadBlock, objset: u64, header: &ZilHeader) -> Records<'a> {
    let next = Some(header.log).filter(|pointer| !pointer.is_hole());
    Records { reader, objset, header: *header, next, current: None, last: 0 }
}

/// An iterator over the records of a log. It ends after an error.
pub struct Records<'a> {
    reader: &'a dyn ReadBlock,
    objset: u64,
    header: ZilHeader,
    next: Option<BlockPointer>,
    current: Option<Current>,
    /// The number of the last record.
    last: u64,
}

/// The block whose records are next.
struct Current {
    block: Block,
    at: Bookmark,
    order: ByteOrder,
    /// The range of the records that remain.
    rest: (usize, usize),
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records(objset {}, after record {})", self.objset, self.last)
    }
}

impl Records<'_> {
    fn has_end(&self) -> bool {
        self.header.is_claimed() && self.header.has_end()
    }

    /// Reads the next block. Returns `false` at the end of the log.
    fn load(&mut self) -> Result<bool> {
        let Some(pointer) = self.next.take() else { return Ok(false) };
        let sequence = pointer.checksum()[SEQUENCE];
        let last_block = if self.header.is_claimed() { self.header.claim_block_seq } else { u64::MAX };
        let is_reserved = self.has_end() && self.header.is_reserved(sequence, self.last);
        if pointer.kind() != BlockKind::Normal || sequence > last_block || is_reserved {
            return Ok(false);
        }
        match read_block(self.reader, self.objset, &pointer, true) {
            Ok((block, chain)) => {
                let at = bookmark(self.objset, &pointer);
                self.current = Some(Current { block, at, order: chain.order, rest: chain.records });
                self.next = Some(chain.next);
                Ok(true)
            }
            Err(error) if matches!(error.fault(), Fault::Encrypted { .. }) => Err(error),
            Err(_) if !self.has_end() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the next record; `None` at the end of the block or the log.
    fn record(&mut self) -> Result<Option<Record>> {
        let last = if self.has_end() { self.header.claim_record_seq } else { u64::MAX };
        let Some(current) = &mut self.current else { return Ok(None) };
        let Some(records) = current.block.get(current.rest.0..current.rest.1) else { return Ok(None) };
        if records.is_empty() {
            self.current = None;
            return Ok(None);
        }
        let (header, bytes) = split(records, current.order)?;
        if header.number > last {
            (self.current, self.next) = (None, None);
            return Ok(None);
        }
        current.rest.0 += bytes.len();
        self.last = header.number;
        if header.txg < self.header.claim_txg || header.number <= self.header.replay_seq {
            return Ok(None);
        }
        Record::parse(bytes, current.order).map(Some)
    }

    fn step(&mut self) -> Result<Option<Record>> {
        loop {
            if self.current.is_none() && !self.load()? {
                return Ok(None);
            }
            let at = self.current.as_ref().map(|current| current.at);
            let record = self.record().map_err(|error| match at {
                Some(at) => error.at_bookmark(at),
                None => error,
            });
            if let Some(record) = record? {
                return Ok(Some(record));
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.step().transpose();
        if matches!(result, Some(Err(_)) | None) {
            (self.current, self.next) = (None, None);
        }
        result
    }
}

/// Reads the block that was written for a write record of `len` bytes at byte `offset`. It contains the whole block of
/// the object.
///
/// # Errors
/// Fails if the block cannot be read, and if the range exceeds it.
pub fn read_content(
    reader: &dyn ReadBlock,
    objset: u64,
    object: ObjectId,
    (offset, len): (u64, u64),
    pointer: &BlockPointer,
) -> Result<Vec<u8>> {
    let bytes = pointer.lsize();
    let at = Bookmark { objset, object, level: Bookmark::LEVEL_ZIL, block: BlockId(offset / bytes.max(1)) };
    let limit = if pointer.is_hole() { BLOCK_BYTES_MAX } else { bytes };
    if len > limit || bytes > BLOCK_BYTES_MAX {
        let what = format!("record writes {len} bytes, its block has {bytes}");
        return Err(Error::corrupt("log record", what).at_bookmark(at));
    }
    if pointer.is_hole() {
        return Ok(vec![0; bytes.max(len) as usize]);
    }
    Ok(reader.read_once(pointer, at)?.to_vec())
}
