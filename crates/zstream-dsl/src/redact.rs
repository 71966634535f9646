//! Redaction lists: the blocks that a redaction bookmark leaves out (`redaction_list_phys_t`).
//!
//! The list is an object of the MOS. Its header is the bonus buffer, or the spill block where there are
//! many redaction snapshots; the guids of the snapshots follow it. The data are entries, sorted by object and block.

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
        /// Last object that the list covers; all ones when it is complete.
        last_object: u64,
        /// Last block that the list covers; all ones when it is complete.
        last_block: u64,
        /// How many runs of blocks it has.
        entries: u64,
        /// How many guids of redaction snapshots follow.
        snapshots: u64,
    }

    /// A run of blocks (`redact_block_phys_t`).
    pub(crate) ListEntry[32] {
        object: ObjectId,
        block: BlockId,
        /// Size of each block in sectors from bit 48 on, number of blocks less one below.
        size_and_count: u64,
        pad: u64,
    }
}

const ENTRY_BYTES: usize = ListEntry::LEN;
/// Entries that are read at a time.
const ENTRIES_PER_READ: u64 = 4096;
/// Redaction snapshots of one bookmark: what a spill block holds.
const SNAPSHOTS_MAX: u64 = (128 << 10) / 8;

/// Consecutive blocks of one object that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedactedBlocks {
    /// The object.
    pub object: ObjectId,
    /// The first block.
    pub block: BlockId,
    /// How many.
    pub count: u64,
    /// Size of each in bytes.
    pub block_bytes: u64,
}

/// A redaction list.
pub struct RedactionList {
    mos: Arc<Objset>,
    object: ObjectId,
    /// Last object and block that the list covers; all ones when it is complete.
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
            spill = mos
                .spill(object)?
                .ok_or_else(|| Error::corrupt("redaction list", "neither bonus nor spill"))?;
            &spill
        } else {
            bonus
        };
        let short = || Error::corrupt("redaction list", format!("header of {} bytes", header.len()));
        let head = ListHeader::read(header, ByteOrder::Little).ok_or_else(short)?;
        if head.snapshots > SNAPSHOTS_MAX {
            return Err(Error::corrupt("redaction list", format!("{} redaction snapshots", head.snapshots)));
        }
        let guids = header[ListHeader::LEN..].get(..8 * head.snapshots as usize).ok_or_else(short)?;
        let snapshots = guids.chunks_exact(8).map(|guid| ByteOrder::Little.u64(guid)).collect();
        let list =
            Self { last: (head.last_object, head.last_block), entries: head.entries, snapshots, mos, object };
        let room = info.end() / ENTRY_BYTES as u64;
        if list.entries > room {
            return Err(Error::corrupt(
                "redaction list",
                format!("{} entries in room for {room}", list.entries),
            ));
        }
        Ok(list)
    }

    /// Guids of the redaction snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &[u64] {
        &self.snapshots
    }

    /// How many runs of blocks it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether the list was made to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.last == (u64::MAX, u64::MAX)
    }

    /// The runs, sorted, from the first that does not end before `block` of `object`.
    ///
    /// # Errors
    /// Each item is an error when the list cannot be read or is not sorted; nothing follows one.
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

    /// All runs, sorted.
    pub fn blocks(&self) -> impl Iterator<Item = Result<RedactedBlocks>> + '_ {
        self.blocks_from(ObjectId(0), BlockId(0))
    }

    /// Index of the first run that does not end before this block.
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
