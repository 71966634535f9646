//! The number of entries in each region of a vdev.

use std::collections::{BTreeMap, BTreeSet};

use zstream_format::order::ByteOrder;

use super::COUNTS_BLOCK_BYTES;
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object_set::ObjectSet;

/// The number of counts in a block.
const BLOCK_COUNTS: u64 = COUNTS_BLOCK_BYTES as u64 / 2;

/// The counts by region. Only blocks with counts other than zero are in memory, so that memory is limited by the data
/// on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    blocks: BTreeMap<u64, Vec<u16>>,
    dirty: BTreeSet<u64>,
}

impl Counts {
    /// Reads the counts of `regions` regions from the object of a table.
    pub(super) fn read(
        mos: &dyn ObjectSet,
        object: ObjectId,
        regions: u64,
        order: ByteOrder,
    ) -> Result<Self> {
        let mut counts = Self::default();
        let end = regions.saturating_mul(2).min(mos.info(object)?.end());
        let mut at = 0;
        while let Some(data) = mos.next_data(object, at)?.filter(|data| *data < end) {
            let block = data / u64::from(COUNTS_BLOCK_BYTES);
            let mut bytes = vec![0; COUNTS_BLOCK_BYTES as usize];
            mos.read(object, block * u64::from(COUNTS_BLOCK_BYTES), &mut bytes)?;
            let words = bytes.chunks_exact(2).map(|pair| {
                let pair = [pair[0], pair[1]];
                match order {
                    ByteOrder::Little => u16::from_le_bytes(pair),
                    ByteOrder::Big => u16::from_be_bytes(pair),
                }
            });
            let words: Vec<u16> = words.collect();
            if words.iter().any(|word| *word != 0) {
                counts.blocks.insert(block, words);
            }
            at = (block + 1) * u64::from(COUNTS_BLOCK_BYTES);
        }
        Ok(counts)
    }

    /// Returns the count of a region.
    pub(super) fn get(&self, region: u64) -> u16 {
        let block = self.blocks.get(&(region / BLOCK_COUNTS));
        block.map_or(0, |block| block[(region % BLOCK_COUNTS) as usize])
    }

    /// Adds `change`, 1 or -1, to the count of a region.
    pub(super) fn add(&mut self, region: u64, change: i16) -> Result<()> {
        let old = self.get(region);
        let new = old.checked_add_signed(change).ok_or_else(|| {
            Error::corrupt(
                "block reference table",
                format!("region {region} has {old} entries, cannot change it by {change}"),
            )
        })?;
        let block = region / BLOCK_COUNTS;
        let words = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK_COUNTS as usize]);
        words[(region % BLOCK_COUNTS) as usize] = new;
        self.dirty.insert(block);
        Ok(())
    }

    /// Returns the regions with entries, and their number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u16)> + '_ {
        let all =
            self.blocks.iter().flat_map(|(block, words)| (block * BLOCK_COUNTS..).zip(words.iter().copied()));
        all.filter(|(_, count)| *count != 0)
    }

    /// Returns the changed blocks, each with its offset in the object. After that, none has changed.
    pub(super) fn take_dirty(&mut self, order: ByteOrder) -> Vec<(u64, Vec<u8>)> {
        let encode = |block: &u64| {
            let words = self.blocks.get(block).map_or(&[][..], |words| &words[..]);
            let bytes = words.iter().flat_map(|word| match order {
                ByteOrder::Little => word.to_le_bytes(),
                ByteOrder::Big => word.to_be_bytes(),
            });
            (block * u64::from(COUNTS_BLOCK_BYTES), bytes.collect())
        };
        let dirty = self.dirty.iter().map(encode).collect();
        self.dirty.clear();
        dirty
    }
}
