//! Space maps: logs of the allocations and frees of a metaslab.
//!
//! ```text
//!  entry   10 action:2 pass:10 txg:50                       debug, txg 0: padding
//!          0 offset:47 type:1 run-1:15                      one word
//!          11 pad:2 run-1:36 vdev:24   type:1 offset:63     two words
//! ```
//!
//! Offsets and runs are in sectors of the vdev, relative to the start of the metaslab. In log space maps
//! ([`vdev_space`](super::vdev_space)) they are in units of 512 bytes, relative to the start of the vdev.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use crate::block::Block;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId, Txg};
use crate::object_set::ObjectSet;
use crate::range_set::RangeSet;

/// The change of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceChange {
    /// The range was allocated.
    Alloc,
    /// The range was freed.
    Free,
}

impl SpaceChange {
    /// Applies the change to a set of allocated ranges.
    ///
    /// # Errors
    ///
    /// Fails as [`RangeSet::add`] and [`RangeSet::remove`].
    pub fn apply(self, allocated: &mut RangeSet, start: u64, end: u64) -> Result<()> {
        match self {
            Self::Alloc => allocated.add(start, end),
            Self::Free => allocated.remove(start, end),
        }
    }
}

/// An entry of a space map, in its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceMapEntry {
    /// A description of the following entries, which is ignored on replay.
    Debug {
        /// The transaction group of the following entries; 0 for padding.
        txg: Txg,
        /// The sync pass.
        pass: u16,
        /// The change.
        change: SpaceChange,
    },
    /// A range that was allocated or freed.
    Range {
        /// The change.
        change: SpaceChange,
        /// The vdev, in entries of two words. It is not used in the map of a metaslab.
        vdev: Option<u32>,
        /// The start of the range in units.
        offset: u64,
        /// The length of the range in units.
        run: u64,
    },
}

structure! {
    /// The header of a space map (`space_map_phys_t`). Without the feature `spacemap_histogram` it ends before the
    /// padding.
    pub(super) SpaceMapPhys[320] {
        /// The object of the map.
        object: ObjectId,
        /// The length of the entries in bytes.
        length: u64,
        /// The allocated bytes, minus the freed ones.
        alloc: i64,
        pad: [u64; 5],
        /// The number of free segments by size.
        histogram: [u64; 32],
    }
}

/// The size of a header without a histogram (`SPACE_MAP_SIZE_V0`).
pub(super) const HEADER_BYTES_MIN: usize = SpaceMapPhys::offset_of("pad");

/// The size of a header with a histogram.
pub(super) const HAS_HISTOGRAM_BYTES: usize = SpaceMapPhys::LEN;

/// The header of a space map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceMap {
    /// The object of the map.
    pub object: ObjectId,
    /// The length of the entries in bytes.
    pub length: u64,
    /// The allocated bytes, minus the freed ones.
    pub alloc: i64,
    /// The number of free segments by size: entry `k` counts those from `2^(k + shift)` bytes to below twice that. Old
    /// maps have no histogram.
    pub histogram: Option<Vec<u64>>,
    block_bytes: u64,
}

impl SpaceMap {
    /// Reads the header of the map in `object`.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, if it is not a space map, and if it has more entries than it can contain.
    pub fn open(set: &dyn ObjectSet, object: ObjectId) -> Result<Self> {
        let info = set.info(object)?;
        let place = |error: Error| error.at_bookmark(bookmark(set, object, 0));
        info.expect_type(ObjectType::SPACE_MAP).map_err(place)?;
        let bonus = info.bonus()?;
        if bonus.len() < HEADER_BYTES_MIN {
            return Err(place(Error::corrupt(
                "space map",
                format!("bonus is {} bytes, expected {HEADER_BYTES_MIN}", bonus.len()),
            )));
        }
        let SpaceMapPhys { length, alloc, histogram, .. } =
            SpaceMapPhys::read_short(bonus, ByteOrder::Little);
        if length > info.end() || length % 8 != 0 {
            let detail = format!("entries are {length} bytes, the object ends at {}", info.end());
            return Err(place(Error::corrupt("space map", detail)));
        }
        Ok(Self {
            object,
            length,
            alloc,
            histogram: (bonus.len() >= SpaceMapPhys::LEN).then(|| histogram.to_vec()),
            block_bytes: info.block_bytes,
        })
    }

    /// Returns an iterator over the entries in the order in which they were written. It ends after the first error.
    #[must_use]
    pub fn entries<'a>(&self, set: &'a dyn ObjectSet) -> SpaceMapEntries<'a> {
        SpaceMapEntries { set, map: self.clone(), next: 0, block: None }
    }

    /// Applies the map of a metaslab to `allocated`. `start` is the start of the metaslab on its vdev and `size` its
    /// size, both in bytes. `shift` is the logarithm of the unit of the map.
    ///
    /// # Errors
    ///
    /// Fails if the map cannot be read, if a range is outside the metaslab, and if an allocated range is allocated or
    /// a free one freed.
    pub fn replay(
        &self,
        set: &dyn ObjectSet,
        start: u64,
        size: u64,
        shift: u8,
        allocated: &mut RangeSet,
    ) -> Result<()> {
        let place = |error: Error| error.at_bookmark(bookmark(set, self.object, 0));
        for entry in self.entries(set) {
            let SpaceMapEntry::Range { change, offset, run, .. } = entry? else { continue };
            let range = scaled(offset, run, shift).filter(|(_, end)| *end <= size);
            let (first, end) = range.ok_or_else(|| {
                place(Error::corrupt(
                    "space map",
                    format!("{run} units at {offset} extend beyond {size} bytes"),
                ))
            })?;
            change.apply(allocated, start + first, start + end).map_err(place)?;
        }
        Ok(())
    }
}

pub(super) fn bookmark(set: &dyn ObjectSet, object: ObjectId, block: u64) -> Bookmark {
    Bookmark { objset: set.objset_id(), object, level: 0, block: BlockId(block) }
}

/// Returns the start and the end in bytes of a range in units.
pub(super) fn scaled(offset: u64, run: u64, shift: u8) -> Option<(u64, u64)> {
    let unit = 1_u64.checked_shl(u32::from(shift))?;
    let start = offset.checked_mul(unit)?;
    Some((start, start.checked_add(run.checked_mul(unit)?)?))
}

/// The entries of a space map.
pub struct SpaceMapEntries<'a> {
    set: &'a dyn ObjectSet,
    map: SpaceMap,
    /// The byte offset of the next entry; after an error it is after the end.
    next: u64,
    block: Option<(u64, Block)>,
}

impl SpaceMapEntries<'_> {
    fn word(&mut self) -> Result<u64> {
        let (number, at) = (self.next / self.map.block_bytes, (self.next % self.map.block_bytes) as usize);
        let place = bookmark(self.set, self.map.object, number);
        let block = match &self.block {
            Some((kept, block)) if *kept == number => block,
            _ => {
                let block = self.set.block(self.map.object, BlockId(number))?.ok_or_else(|| {
                    Error::corrupt("space map", format!("entry at byte {} is in a hole", self.next))
                        .at_bookmark(place)
                })?;
                &self.block.insert((number, block)).1
            }
        };
        let bytes = block.get(at..at + 8).ok_or_else(|| {
            Error::corrupt("space map", format!("block is {} bytes, too short for its entries", block.len()))
                .at_bookmark(place)
        })?;
        self.next += 8;
        Ok(ByteOrder::Little.u64(bytes))
    }

    fn entry(&mut self) -> Result<SpaceMapEntry> {
        let word = self.word()?;
        let change = |bit: u64| if bit & 1 == 0 { SpaceChange::Alloc } else { SpaceChange::Free };
        Ok(match word >> 62 {
            0b10 => SpaceMapEntry::Debug {
                txg: Txg(word & ((1 << 50) - 1)),
                pass: (word >> 50 & 0x3ff) as u16,
                change: change(word >> 60),
            },
            0b11 => {
                if self.next >= self.map.length || self.next.is_multiple_of(self.map.block_bytes) {
                    let detail = format!("entry of two words at byte {} has only one", self.next - 8);
                    let place = bookmark(self.set, self.map.object, (self.next - 8) / self.map.block_bytes);
                    return Err(Error::corrupt("space map", detail).at_bookmark(place));
                }
                let second = self.word()?;
                SpaceMapEntry::Range {
                    change: change(second >> 63),
                    vdev: Some((word & 0xff_ffff) as u32),
                    offset: second & (u64::MAX >> 1),
                    run: (word >> 24 & ((1 << 36) - 1)) + 1,
                }
            }
            _ => SpaceMapEntry::Range {
                change: change(word >> 15),
                vdev: None,
                offset: word >> 16,
                run: (word & 0x7fff) + 1,
            },
        })
    }
}

impl Iterator for SpaceMapEntries<'_> {
    type Item = Result<SpaceMapEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.map.length {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.next = u64::MAX;
        }
        Some(entry)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::made::Objects;

    fn one_word(change: u64, offset: u64, run: u64) -> u64 {
        offset << 16 | change << 15 | (run - 1)
    }

    /// Returns a map of these words in object 7.
    pub(in crate::space) fn map(words: &[u64]) -> Objects {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let blocks = bytes.chunks(64).map(|block| [block, &[0; 64]].concat()[..64].to_vec()).collect();
        let bonus: Vec<u8> =
            [7, bytes.len() as u64, 4096].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        let mut objects = Objects::default();
        objects.add(7, ObjectType::SPACE_MAP, ObjectType::SPACE_MAP_HEADER, &bonus, blocks);
        objects
    }

    fn replayed(objects: &Objects) -> Result<Vec<(u64, u64)>> {
        let mut allocated = RangeSet::default();
        SpaceMap::open(objects, ObjectId(7))?.replay(objects, 0x10_0000, 0x10_0000, 9, &mut allocated)?;
        Ok(allocated.iter().collect())
    }

    #[test]
    fn entries_of_each_form_are_replayed_in_order() {
        let debug = 0b10 << 62 | 1 << 60 | 3 << 50 | 77;
        let objects = map(&[debug, one_word(0, 0, 16), one_word(1, 4, 2), 0b11 << 62 | 7 << 24 | 5, 1024]);
        let map = SpaceMap::open(&objects, ObjectId(7)).unwrap();
        let entries: Vec<_> = map.entries(&objects).map(Result::unwrap).collect();
        assert_eq!(entries[0], SpaceMapEntry::Debug { txg: Txg(77), pass: 3, change: SpaceChange::Free });
        let (change, vdev) = (SpaceChange::Alloc, Some(5));
        assert_eq!(entries[3], SpaceMapEntry::Range { change, vdev, offset: 1024, run: 8 });
        assert_eq!((map.alloc, map.histogram), (4096, None));
        assert_eq!(
            replayed(&objects).unwrap(),
            [(0x10_0000, 0x10_0800), (0x10_0c00, 0x10_2000), (0x18_0000, 0x18_1000)]
        );
    }

    #[test]
    fn maps_that_contradict_themselves_are_errors() {
        for (words, text) in [
            (vec![one_word(0, 0, 4), one_word(0, 3, 1)], "allocated twice"),
            (vec![one_word(0, 0, 4), one_word(1, 3, 2)], "freed, but not allocated"),
            (vec![one_word(0, 2047, 2)], "beyond 1048576 bytes"),
            (vec![0b11 << 62 | 1 << 24, u64::MAX >> 1], "beyond 1048576 bytes"),
            (vec![0b11 << 62], "has only one"),
            // Entries of two words must not cross a block boundary; blocks have eight words here.
            ([vec![0b10 << 62; 7], vec![0b11 << 62, 0]].concat(), "has only one"),
        ] {
            let error = replayed(&map(&words)).unwrap_err();
            assert!(error.to_string().contains(text), "{error}, expected {text:?}");
            assert_eq!(error.place().bookmark.map(|at| at.object), Some(ObjectId(7)));
        }
    }

    zstream_format::round_trips! { SpaceMapPhys }
}
