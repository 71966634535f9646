//! Intent logs: the chains of blocks with synchronous writes that are not in the block tree yet.
//!
//! ```text
//!             zilog2                                zilog, in old pools
//!    0    8   zero                                  records
//!    8  128   pointer of the next block             ...
//!  136    8   bytes used, including this header     pointer of the next block      at the end - 184
//!  144   40   embedded checksum                     bytes used by records
//!  184        records                               embedded checksum
//! ```
//!
//! The checksum words of the pointer of a log block are not a checksum. They contain the id of the log (two words),
//! the dataset and the sequence number of the block, and the embedded checksum covers them. The next pointer of a
//! block has the next sequence number. A chain ends at the first block that does not match its pointer, so in a log
//! that was never claimed, damage cannot be distinguished from the end. For a claimed log the number of the last
//! block is known.
//!
//! Records of type `TX_WRITE` can point to a data block. Its pointer can be read without a key, too.

mod read;
mod record;

use std::collections::{HashSet, VecDeque};

use zstream_format::algorithm::ChecksumType;
use zstream_format::checksum::{Checksum, EmbeddedChecksum, checksum};
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use crate::blkptr::{BLOCK_POINTER_BYTES, BlockKind, BlockPointer};
use crate::block::ReadBlock;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, Txg};

pub use self::read::{Records, read_content, records};
pub(crate) use self::read::{bookmark, read_block, split};
pub use self::record::{
    Change, Content, Created, CreatedKind, NodeOf, OptionalAttributes, Record, RecordKind, SetAttributes,
};
pub(crate) use self::record::{LogClone, LogWrite};

/// The checksum covers a multiple of this size (`ZIL_MIN_BLKSZ`).
const SUMMED_BYTES: usize = 4096;
/// The word of the checksum of a log pointer with the sequence number of the block (`ZIL_ZC_SEQ`).
const SEQUENCE: usize = 3;

/// The maximum number of blocks without records that are skipped in search of one.
const EMPTY_BLOCKS_MAX: usize = 1 << 16;
/// The flag of a header that there were records when the log was claimed (`ZIL_REPLAY_NEEDED`).
pub(crate) const REPLAY_NEEDED: u64 = 1;
/// The flag of a header that the number of the last record is valid (`ZIL_CLAIM_LR_SEQ_VALID`).
pub(crate) const HAS_LAST_RECORD: u64 = 2;

/// The type of a write record (`TX_WRITE`). The top bit of the type is a flag.
pub(crate) const TX_WRITE: u64 = 9;
/// The type of a record of cloned blocks (`TX_CLONE_RANGE`).
pub(crate) const TX_CLONE_RANGE: u64 = 24;
pub(crate) const TYPE_MASK: u64 = !(1 << 63);

structure! {
    /// The header of the intent log of a dataset (`zil_header_t`).
    pub ZilHeader[192] {
        /// The transaction group in which the blocks of the log were claimed; 0 before.
        claim_txg: Txg,
        /// The highest record that was replayed.
        replay_seq: u64,
        /// The first block of the log; a hole if there is none.
        log: BlockPointer,
        /// The highest claimed block.
        claim_block_seq: u64,
        /// The flags: 1 replay needed, 2 the next field is valid.
        flags: u64,
        /// The highest claimed record.
        claim_record_seq: u64,
        /// Zero.
        pad: [u64; 3],
    }

    /// The header of a log block (`zil_chain_t`).
    ChainHeader[184] {
        pad: u64,
        /// The pointer of the next block.
        next: BlockPointer,
        /// The number of bytes used.
        used: u64,
        embedded: EmbeddedChecksum,
    }

    /// The start of all records (`lr_t`).
    pub(crate) LogRecord[32] {
        kind: u64,
        len: u64,
        txg: Txg,
        number: u64,
    }
}

impl ZilHeader {
    /// Returns `true` if the blocks of the log are allocated in the space maps, and its end is known.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.claim_txg != Txg(0)
    }

    /// Returns `true` if the numbers of the last block and record were set by the claim.
    fn has_end(&self) -> bool {
        self.flags & HAS_LAST_RECORD != 0
    }

    /// Returns `true` if a block of a log with an end was only reserved, and may never have been written. `last` is the
    /// number of the last record in the blocks before it.
    fn is_reserved(&self, sequence: u64, last: u64) -> bool {
        last == self.claim_record_seq && sequence >= self.claim_block_seq
    }

    /// Returns `true` if there is a log, whose records may be newer than the blocks of the dataset. The header of a
    /// snapshot has no meaning.
    #[must_use]
    pub(crate) fn has_log(&self) -> bool {
        !self.log.is_hole()
    }
}

/// The parsed header of a log block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) order: ByteOrder,
    pub(crate) next: BlockPointer,
    /// The offset of the embedded checksum.
    sum_at: usize,
    /// The number of bytes that the checksum covers.
    summed: usize,
    /// The range of the records.
    pub(crate) records: (usize, usize),
}

impl Chain {
    pub(crate) fn parse(kind: ChecksumType, block: &[u8]) -> Result<Self> {
        let at_end = kind == ChecksumType::ZILOG;
        let bad = |what: &str| Error::corrupt("log block", what);
        let at = if at_end { block.len().checked_sub(ChainHeader::LEN) } else { Some(0) };
        let Some(at) = at.filter(|at| block.len() - at >= ChainHeader::LEN) else {
            return Err(bad("block is too short"));
        };
        let embedded_at = at + ChainHeader::offset_of("embedded");
        let (_, order) = EmbeddedChecksum::find(&block[embedded_at..])
            .ok_or_else(|| bad("block has no embedded checksum"))?;
        let header = ChainHeader::parse(&block[at..], order);
        let used = usize::try_from(header.used).unwrap_or(usize::MAX);
        let room = if at_end { 0..=at } else { ChainHeader::LEN..=block.len() };
        if !room.contains(&used) {
            return Err(bad(&format!("block has {used} bytes used of {}", block.len())));
        }
        let sum_at = embedded_at + EmbeddedChecksum::offset_of("checksum");
        let summed = if at_end { block.len() } else { used.next_multiple_of(SUMMED_BYTES).min(block.len()) };
        let records = if at_end { (0, used) } else { (ChainHeader::LEN, used) };
        Ok(Self { order, next: header.next, sum_at, summed, records })
    }

    /// Returns `true` if the next block is of the same log as the block of `pointer`.
    fn continues(&self, pointer: &BlockPointer) -> bool {
        let mut expected = pointer.checksum();
        expected[SEQUENCE] = expected[SEQUENCE].wrapping_add(1);
        self.next.checksum() == expected
    }

    /// Returns the computed and the embedded checksum of a block whose pointer has these checksum words.
    ///
    /// # Errors
    /// Fails if there is no header.
    pub(crate) fn sums(kind: ChecksumType, block: &[u8], words: [u64; 4]) -> Result<(Checksum, Checksum)> {
        let chain = Self::parse(kind, block)?;
        let mut summed = block[..chain.summed].to_vec();
        let place = summed.get_mut(chain.sum_at..).and_then(|rest| rest.first_chunk_mut());
        let place = place.ok_or_else(|| Error::corrupt("log block", "block is too short for its header"))?;
        let embedded = Checksum::from_bytes(place, chain.order);
        *place = Checksum(words).to_bytes(chain.order);
        let function = match kind {
            ChecksumType::ZILOG => ChecksumType::FLETCHER_2,
            _ => ChecksumType::FLETCHER_4,
        };
        Ok((checksum(function, &summed, chain.order, None)?, embedded))
    }
}

/// Returns the offsets of the embedded checksum in the newer form of log blocks: of its structure, and of its words.
pub(crate) fn embedded_checksum_at() -> (usize, usize) {
    let embedded = ChainHeader::offset_of("embedded");
    (embedded, embedded + EmbeddedChecksum::offset_of("checksum"))
}

/// A block that belongs to a log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LogBlock {
    /// The pointer.
    pub pointer: BlockPointer,
    /// The location, at [`Bookmark::LEVEL_ZIL`].
    pub at: Bookmark,
    /// `true` if the block must be readable because it was claimed when the pool was imported. Other blocks may never
    /// have been written.
    pub is_claimed: bool,
}

/// Returns an iterator over the blocks of a log, in order, each followed by the data blocks to which its records
/// point. The last block may be allocated but not written.
pub fn blocks<'a>(
    reader: &'a dyn ReadBlock,
    objset: u64,
    header: &ZilHeader,
) -> impl Iterator<Item = LogBlock> + Send + 'a {
    let (data, seen) = (VecDeque::new(), HashSet::new());
    Log { reader, objset, header: *header, next: Some(header.log), data, seen, last: 0 }
}

/// Returns `true` if a log may have records that are not in the block tree yet. A log that was closed cleanly has
/// none: it consists of a block that was reserved and never written, or of empty blocks, and remains for the next
/// mount.
pub fn has_records(reader: &dyn ReadBlock, objset: u64, header: &ZilHeader) -> bool {
    let (data, seen) = (VecDeque::new(), HashSet::new());
    let mut log = Log { reader, objset, header: *header, next: None, data, seen, last: 0 };
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
            // This is the end, unless the log is known to be longer.
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
    /// The first addresses of the data blocks, since several records may point to the same block.
    seen: HashSet<(u32, u64)>,
    /// The number of the last record that was claimed, as far as it was read.
    last: u64,
}

impl Log<'_> {
    fn is_claimed(&self) -> bool {
        self.header.is_claimed()
    }

    /// Returns the block of `pointer`, and records the next block and the data blocks.
    fn block(&mut self, pointer: BlockPointer) -> Option<LogBlock> {
        let sequence = pointer.checksum()[SEQUENCE];
        let is_behind = self.header.has_end() && sequence > self.header.claim_block_seq;
        if pointer.kind() != BlockKind::Normal || is_behind {
            return None;
        }
        let at = bookmark(self.objset, &pointer);
        // Without a known last number, even the end of a claimed log is not damage. Nor is a reserved block.
        let is_reserved = self.header.is_reserved(sequence, self.last);
        let is_claimed = self.is_claimed() && self.header.has_end() && !is_reserved;
        let found = LogBlock { pointer, at, is_claimed };
        let read = self.reader.read_stored(&pointer, at);
        // The last block of a log is allocated before it is written.
        let Ok(block) = read else { return Some(found) };
        let Ok(chain) = Chain::parse(pointer.checksum_type(), &block) else { return Some(found) };
        // The last pointer is that of a reserved block, which belongs to the log after it is written.
        self.next = chain.continues(&pointer).then_some(chain.next);
        let records = block.get(chain.records.0..chain.records.1).unwrap_or_default();
        self.records(records, chain.order);
        Some(found)
    }

    /// Adds the blocks of a record of cloned blocks. A claimed log has a reference to each of them.
    fn clones(&mut self, record: &[u8], order: ByteOrder) {
        let Some(clone) = LogClone::read(record, order).filter(|_| self.is_claimed()) else { return };
        let pointers = record[LogClone::LEN..].chunks_exact(BLOCK_POINTER_BYTES);
        let count = usize::try_from(clone.count).unwrap_or(usize::MAX);
        for (n, pointer) in (0..).zip(pointers.take(count)) {
            let Some(pointer) = BlockPointer::parse_at(pointer, 0, order) else { return };
            if pointer.kind() != BlockKind::Normal {
                continue;
            }
            let block = (clone.offset / pointer.lsize().max(1)).saturating_add(n);
            let at = Bookmark {
                objset: self.objset,
                object: clone.object,
                level: Bookmark::LEVEL_ZIL,
                block: BlockId(block),
            };
            self.data.push_back(LogBlock { pointer, at, is_claimed: true });
        }
    }

    fn records(&mut self, mut records: &[u8], order: ByteOrder) {
        let last = if self.header.has_end() { self.header.claim_record_seq } else { u64::MAX };
        while let Some(record) = LogRecord::read(records, order) {
            let whole = usize::try_from(record.len).ok().and_then(|len| records.get(..len));
            let Some(whole) = whole else { return };
            if whole.len() < LogRecord::LEN || record.number > last {
                return;
            }
            records = &records[whole.len()..];
            self.last = record.number;
            if record.kind & TYPE_MASK == TX_CLONE_RANGE {
                self.clones(whole, order);
                continue;
            }
            let Some(write) = LogWrite::read(whole, order).filter(|_| record.kind & TYPE_MASK == TX_WRITE)
            else {
                continue;
            };
            let pointer = write.pointer;
            // Blocks that were written before the log was claimed are in the block tree.
            let is_claimed = self.is_claimed();
            if pointer.kind() != BlockKind::Normal || is_claimed && pointer.birth() < self.header.claim_txg {
                continue;
            }
            if !self.seen.insert((pointer.dva(0).vdev(), pointer.dva(0).offset())) {
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

/// Returns `true` if the checksum is one of log blocks.
pub(crate) fn is_log(kind: ChecksumType) -> bool {
    matches!(kind, ChecksumType::ZILOG | ChecksumType::ZILOG2)
}

#[cfg(test)]
#[path = "intent_log/tests.rs"]
mod tests;
