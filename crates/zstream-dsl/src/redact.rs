//! Redaction lists: the blocks that a redaction bookmark omits (`redaction_list_phys_t`).
//!
//! The list is an object of the MOS. Its header is the bonus buffer, or the spill block if there are many redaction
//! snapshots. The guids of the snapshots follow it. The data are entries, sorted by object and block.

use std::fmt;
use std::sync::Arc;

use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use crate::error::{Error, Result};

structure! {
    /// The header of a list (`redaction_list_phys_t`).
    pub(crate) ListHeader[32] {
        /// The last object that the list covers; all ones if the list is complete.
        last_object: u64,
        /// The last block that the list covers; all ones if the list is complete.
        last_block: u64,
        /// The number of runs of blocks in the list.
        entries: u64,
        /// The number of guids of redaction snapshots that follow.
        snapshots: u64,
    }

    /// A run of blocks (`redact_block_phys_t`).
    pub(crate) ListEntry[32] {
        object: ObjectId,
        block: BlockId,
        /// The size of each block in sectors from bit 48, and the number of blocks less one in the bits below.
        size_and_count: u64,
        pad: u64,
    }
}

const ENTRY_BYTES: usize = ListEntry::LEN;
/// The number of entries in one read.
const ENTRIES_PER_READ: u64 = 4096;
/// The limit on redaction snapshots of one bookmark: as many as fit into a spill block.
const SNAPSHOTS_MAX: u64 = (128 << 10) / 8;

/// Consecutive blocks of one object that are omitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct RedactedBlocks {
    /// The object.
    pub object: ObjectId,
    /// The first block.
    pub block: BlockId,
    /// The number of blocks.
    pub count: u64,
    /// The size of each block, in bytes.
    pub block_bytes: u64,
}

/// A redaction list.
pub struct RedactionList {
    mos: Arc<Objset>,
    object: ObjectId,
    /// The last object and block that the list covers; all ones if the list is complete.
    last: (u64, u64),
    entries: u64,
    snapshots: Vec<u64>,
}

impl fmt::Debug for RedactionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedactionList({} entries, snapshots {:x?})", self.entries, self.snapshots)
    }
}

impl RedactionList {
    pub(crate) fn open(mos: Arc<Objset>, object: ObjectId) -> Result<Self> {
        let info = mos.info(object)?;
        let bonus = info.bonus()?;
        let spill;
        let header: &[u8] = if bonus.is_empty() {
            spill = mos.spill(object)?.ok_or_else(|| {
                Error::corrupt("redaction list", "it has neither a bonus nor a spill block")
            })?;
            &spill
        } else {
            bonus
        };
        let short = || {
            Error::corrupt("redaction list", format!("header is {} bytes, which is too short", header.len()))
        };
        let head = ListHeader::read(header, ByteOrder::Little).ok_or_else(short)?;
        if head.snapshots > SNAPSHOTS_MAX {
            return Err(Error::corrupt(
                "redaction list",
                format!("it has {} redaction snapshots, which is too many", head.snapshots),
            ));
        }
        let guids = header[ListHeader::LEN..].get(..8 * head.snapshots as usize).ok_or_else(short)?;
        let snapshots = guids.chunks_exact(8).map(|guid| ByteOrder::Little.u64(guid)).collect();
        let list =
            Self { last: (head.last_object, head.last_block), entries: head.entries, snapshots, mos, object };
        let room = info.end() / ENTRY_BYTES as u64;
        if list.entries > room {
            return Err(Error::corrupt(
                "redaction list",
                format!("it has {} entries, but room for {room}", list.entries),
            ));
        }
        Ok(list)
    }

    /// Returns the guids of the redaction snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &[u64] {
        &self.snapshots
    }

    /// Returns the number of runs of blocks.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Returns `true` if no block is omitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Returns `true` if the list is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.last == (u64::MAX, u64::MAX)
    }

    /// Returns the runs, sorted, from the first that does not end before `block` of `object`.
    ///
    /// # Errors
    /// Fails, as an item, if the list cannot be read or is not sorted. Nothing follows an error.
    pub fn blocks_from(
        &self,
        object: ObjectId,
        block: BlockId,
    ) -> impl Iterator<Item = Result<RedactedBlocks>> + '_ {
        let mut runs = Runs { list: self, next: 0, buffer: Vec::new(), at: 0, last: None, failed: false };
        let start = self.search(object, block);
        match start {
            Ok(index) => runs.next = index,
            Err(error) => return Start::Failed(Some(error)),
        }
        Start::Runs(runs)
    }

    /// Returns all runs, sorted.
    pub fn blocks(&self) -> impl Iterator<Item = Result<RedactedBlocks>> + '_ {
        self.blocks_from(ObjectId(0), BlockId(0))
    }

    /// Returns the index of the first run that does not end before this block.
    fn search(&self, object: ObjectId, block: BlockId) -> Result<u64> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut bytes = [0; ENTRY_BYTES];
            self.mos.read(self.object, middle * ENTRY_BYTES as u64, &mut bytes)?;
            let run = parse(&bytes);
            let end = run.block.0.saturating_add(run.count);
            if run.object < object || run.object == object && end <= block.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

fn parse(bytes: &[u8]) -> RedactedBlocks {
    let ListEntry { object, block, size_and_count, .. } = ListEntry::parse(bytes, ByteOrder::Little);
    let count = (size_and_count & ((1 << 48) - 1)) + 1;
    RedactedBlocks { object, block, count, block_bytes: (size_and_count >> 48) * 512 }
}

enum Start<'a> {
    Runs(Runs<'a>),
    Failed(Option<Error>),
}

impl Iterator for Start<'_> {
    type Item = Result<RedactedBlocks>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Runs(runs) => runs.next(),
            Self::Failed(error) => error.take().map(Err),
        }
    }
}

struct Runs<'a> {
    list: &'a RedactionList,
    next: u64,
    buffer: Vec<u8>,
    at: usize,
    last: Option<RedactedBlocks>,
    failed: bool,
}

impl Runs<'_> {
    fn fill(&mut self) -> Result<()> {
        let count = (self.list.entries - self.next).min(ENTRIES_PER_READ);
        self.buffer.resize(count as usize * ENTRY_BYTES, 0);
        self.at = 0;
        Ok(self.list.mos.read(self.list.object, self.next * ENTRY_BYTES as u64, &mut self.buffer)?)
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<RedactedBlocks>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.list.entries {
            return None;
        }
        if self.at == self.buffer.len()
            && let Err(error) = self.fill()
        {
            self.failed = true;
            return Some(Err(error));
        }
        let run = parse(&self.buffer[self.at..self.at + ENTRY_BYTES]);
        self.at += ENTRY_BYTES;
        self.next += 1;
        if self.last.is_some_and(|last| {
            (run.object, run.block.0) < (last.object, last.block.0.saturating_add(last.count))
        }) {
            self.failed = true;
            return Some(Err(Error::corrupt(
                "redaction list",
                format!("entry {} is out of order", self.next - 1),
            )));
        }
        self.last = Some(run);
        Some(Ok(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_less_one_and_sizes_in_sectors() {
        let mut bytes = [0; ENTRY_BYTES];
        for (at, word) in [(0, 7), (8, 3), (16, 256 << 48 | 4)] {
            ByteOrder::Little.put_u64(&mut bytes[at..], word);
        }
        let expected =
            RedactedBlocks { object: ObjectId(7), block: BlockId(3), count: 5, block_bytes: 128 << 10 };
        assert_eq!(parse(&bytes), expected);
    }

    zstream_format::round_trips! { ListHeader, ListEntry }
}
