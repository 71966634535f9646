//! Intent logs: the chains of blocks that hold what was written synchronously and is not in the tree yet.
//!
//! ```text
//!             zilog2                                zilog, in pools of old
//!    0    8   zero                                  records
//!    8  128   pointer of the next block             ...
//!  136    8   bytes used, this header with them     pointer of the next block      at the end - 184
//!  144   40   embedded checksum                     bytes used, by the records
//!  184        records                               embedded checksum
//! ```
//!
//! The checksum words of a log block's pointer are no checksum: they name the log (two words), the dataset and the number
//! of the block, and the embedded checksum covers them. Each block's next pointer has the number that follows. A chain has
//! no other end than the first block that is not what its pointer says, so one that was never claimed cannot tell damage
//! from its end; of a claimed one the number of the last block is known.
//!
//! Records of type `TX_WRITE` may point at a block of data. Its pointer is readable without a key too.

use std::collections::VecDeque;

use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::{Checksum, EmbeddedChecksum, checksum};
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use crate::blkptr::{BlockKind, BlockPointer};
use crate::block::ReadBlock;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};

/// The sum is over a multiple of this (`ZIL_MIN_BLKSZ`).
const SUMMED_BYTES: usize = 4096;
/// The word of a log pointer's checksum that numbers the block (`ZIL_ZC_SEQ`).
const SEQUENCE: usize = 3;

/// Blocks without records that are passed in search of one.
const EMPTY_BLOCKS_MAX: usize = 1 << 16;
/// Flag of a header: records were found when the log was claimed (`ZIL_REPLAY_NEEDED`).
const REPLAY_NEEDED: u64 = 1;

/// The type of a record that writes (`TX_WRITE`); the top bit of a type says something else.
const TX_WRITE: u64 = 9;
const TYPE_MASK: u64 = !(1 << 63);

structure! {
    /// The header of a dataset's intent log (`zil_header_t`).
    pub ZilHeader[192] {
        /// Transaction group in which the log's blocks were claimed, 0 before that.
        claim_txg: Txg,
        /// Highest record that was replayed.
        replay_seq: u64,
        /// First block of the log; a hole when there is none.
        log: BlockPointer,
        /// Highest claimed block.
        claim_block_seq: u64,
        /// Flags: 1 replay needed, 2 the next field is valid.
        flags: u64,
        /// Highest claimed record.
        claim_record_seq: u64,
        /// Zero.
        pad: [u64; 3],
    }

    /// The header of a log block (`zil_chain_t`).
    ChainHeader[184] {
        pad: u64,
        /// Pointer of the next block.
        next: BlockPointer,
        /// Number of bytes used.
        used: u64,
        embedded: EmbeddedChecksum,
    }

    /// What all records begin with (`lr_t`).
    LogRecord[32] {
        kind: u64,
        len: u64,
        txg: Txg,
        number: u64,
    }

    /// A record that writes (`lr_write_t`).
    LogWrite[192] {
        record: LogRecord,
        object: ObjectId,
        /// Where in the object, in bytes.
        offset: u64,
        len: u64,
        /// Where in the block, in bytes.
        block_offset: u64,
        pointer: BlockPointer,
    }
}

impl ZilHeader {
    /// Whether there is a log whose records may be newer than the dataset's blocks. In a snapshot the
    /// header means nothing.
    #[must_use]
    pub fn has_log(&self) -> bool {
        !self.log.is_hole()
    }
}

/// The header of a log block, as far as it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    order: ByteOrder,
    next: BlockPointer,
    /// Where the embedded sum is.
    sum_at: usize,
    /// How many bytes are summed.
    summed: usize,
    /// Where the records are.
    records: (usize, usize),
}

impl Chain {
    fn parse(kind: ChecksumType, block: &[u8]) -> Result<Self> {
        let at_end = kind == ChecksumType::ZILOG;
        let bad = |what: &str| Error::corrupt("log block", what);
        let at = if at_end { block.len().checked_sub(ChainHeader::LEN) } else { Some(0) };
        let Some(at) = at.filter(|at| block.len() - at >= ChainHeader::LEN) else {
            return Err(bad("too short"));
        };
        let embedded_at = at + ChainHeader::offset_of("embedded");
        let (_, order) =
            EmbeddedChecksum::find(&block[embedded_at..]).ok_or_else(|| bad("no embedded checksum"))?;
        let header = ChainHeader::parse(&block[at..], order);
        let used = usize::try_from(header.used).unwrap_or(usize::MAX);
        let room = if at_end { 0..=at } else { ChainHeader::LEN..=block.len() };
        if !room.contains(&used) {
            return Err(bad(&format!("{used} bytes used of {}", block.len())));
        }
        let sum_at = embedded_at + EmbeddedChecksum::offset_of("checksum");
        let summed = if at_end { block.len() } else { used.next_multiple_of(SUMMED_BYTES).min(block.len()) };
        let records = if at_end { (0, used) } else { (ChainHeader::LEN, used) };
        Ok(Self { order, next: header.next, sum_at, summed, records })
    }

    /// The embedded checksum and what it should be, for a block whose pointer has these checksum words.
    ///
    /// # Errors
    /// There is no header.
    pub(crate) fn sums(kind: ChecksumType, block: &[u8], words: [u64; 4]) -> Result<(Checksum, Checksum)> {
        let chain = Self::parse(kind, block)?;
        let mut summed = block[..chain.summed].to_vec();
        let place = summed.get_mut(chain.sum_at..).and_then(|rest| rest.first_chunk_mut());
        let place = place.ok_or_else(|| Error::corrupt("log block", "too short for its header"))?;
        let embedded = Checksum::from_bytes(place, chain.order);
        *place = Checksum(words).to_bytes(chain.order);
        let function = match kind {
            ChecksumType::ZILOG => ChecksumType::FLETCHER_2,
            _ => ChecksumType::FLETCHER_4,
        };
        Ok((checksum(function, &summed, chain.order, None)?, embedded))
    }
}

/// A block that a log owns.
#[derive(Clone, Copy, Debug)]
pub struct LogBlock {
    /// Its pointer.
    pub pointer: BlockPointer,
    /// Where it belongs: at [`Bookmark::LEVEL_ZIL`].
    pub at: Bookmark,
    /// Whether it has to be readable: it was claimed when the pool was imported. One that was not may never have been
    /// written.
    pub is_claimed: bool,
}

/// The blocks of a log, in order, each followed by the data blocks that its records point at. The last one may be one that
/// was only allocated.
pub fn blocks<'a>(
    reader: &'a dyn ReadBlock,
    objset: u64,
    header: &ZilHeader,
) -> impl Iterator<Item = LogBlock> + Send + 'a {
    Log { reader, objset, header: *header, next: Some(header.log), data: VecDeque::new() }
}

/// Whether a log may hold records that are not in the tree yet. A log that was closed in order has none: what is left of it
/// is a block that was reserved and never written, or is empty, and stays for the next who mounts the dataset.
pub fn has_records(reader: &dyn ReadBlock, objset: u64, header: &ZilHeader) -> bool {
    let mut log = Log { reader, objset, header: *header, next: None, data: VecDeque::new() };
    let mut next = Some(header.log).filter(|pointer| !pointer.is_hole());
    for _ in 0..EMPTY_BLOCKS_MAX {
        let Some(pointer) = next else { return header.flags & REPLAY_NEEDED != 0 };
        let Some(found) = log.block(pointer) else { return header.flags & REPLAY_NEEDED != 0 };
        let chain = reader
            .read_stored(&pointer, found.at)
            .and_then(|block| Chain::parse(pointer.checksum_type(), &block));
        match chain {
            Ok(chain) if chain.records.0 < chain.records.1 => return true,
            Ok(_) => next = log.next.take(),
            // The end, unless it was known to be further behind.
            Err(_) => return found.is_claimed || header.flags & REPLAY_NEEDED != 0,
        }
    }
    true
}

struct Log<'a> {
    reader: &'a dyn ReadBlock,
    objset: u64,
    header: ZilHeader,
    next: Option<BlockPointer>,
    data: VecDeque<LogBlock>,
}

impl Log<'_> {
    fn is_claimed(&self) -> bool {
        self.header.claim_txg != Txg(0)
    }

    /// Whether claiming set the numbers of the last block and record.
    fn has_end(&self) -> bool {
        /// `ZIL_CLAIM_LR_SEQ_VALID`
        const VALID: u64 = 2;
        self.header.flags & VALID != 0
    }

    /// The block at `pointer`, whose records and successor are noted.
    fn block(&mut self, pointer: BlockPointer) -> Option<LogBlock> {
        let sequence = pointer.checksum()[SEQUENCE];
        let is_behind = self.has_end() && sequence > self.header.claim_block_seq;
        if pointer.kind() != BlockKind::Normal || is_behind {
            return None;
        }
        let at = Bookmark {
            objset: self.objset,
            object: ObjectId(0),
            level: Bookmark::LEVEL_ZIL,
            block: BlockId(sequence),
        };
        // Without a number to go by, even a claimed log just ends.
        let is_claimed = self.is_claimed() && self.has_end();
        let found = LogBlock { pointer, at, is_claimed };
        let read = self.reader.read_stored(&pointer, at);
        // The last block of a log is allocated before it is written.
        let Ok(block) = read else { return Some(found) };
        let Ok(chain) = Chain::parse(pointer.checksum_type(), &block) else { return Some(found) };
        let mut expected = pointer.checksum();
        expected[SEQUENCE] = expected[SEQUENCE].wrapping_add(1);
        // The last pointer leads to a block that was reserved; it counts once it was written.
        self.next = (chain.next.checksum() == expected).then_some(chain.next);
        let records = block.get(chain.records.0..chain.records.1).unwrap_or_default();
        self.records(records, chain.order);
        Some(found)
    }

    fn records(&mut self, mut records: &[u8], order: ByteOrder) {
        let last = if self.has_end() { self.header.claim_record_seq } else { u64::MAX };
        while let Some(record) = LogRecord::read(records, order) {
            let whole = usize::try_from(record.len).ok().and_then(|len| records.get(..len));
            let Some(whole) = whole else { return };
            if whole.len() < LogRecord::LEN || record.number > last {
                return;
            }
            records = &records[whole.len()..];
            let Some(write) = LogWrite::read(whole, order).filter(|_| record.kind & TYPE_MASK == TX_WRITE)
            else {
                continue;
            };
            let pointer = write.pointer;
            // What was written before the log was claimed is in the tree.
            let is_claimed = self.is_claimed();
            if pointer.kind() != BlockKind::Normal || is_claimed && pointer.birth() < self.header.claim_txg {
                continue;
            }
            let block = write.offset / pointer.lsize().max(1);
            let at = Bookmark {
                objset: self.objset,
                object: write.object,
                level: Bookmark::LEVEL_ZIL,
                block: BlockId(block),
            };
            self.data.push_back(LogBlock { pointer, at, is_claimed });
        }
    }
}

impl Iterator for Log<'_> {
    type Item = LogBlock;

    fn next(&mut self) -> Option<LogBlock> {
        if let Some(data) = self.data.pop_front() {
            return Some(data);
        }
        let pointer = self.next.take()?;
        self.block(pointer)
    }
}

/// Whether a checksum is one of log blocks.
pub(crate) fn is_log(kind: ChecksumType) -> bool {
    matches!(kind, ChecksumType::ZILOG | ChecksumType::ZILOG2)
}

#[cfg(test)]
#[path = "intent_log/tests.rs"]
mod tests;
