//! Encoding of space maps: the entries of a change, and the header.

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::free_space::Histogram;
use super::space_map::{HEADER_BYTES_MIN, SpaceChange, SpaceMapPhys};
use crate::dnode::NewObject;
use crate::error::Result;
use crate::ids::{ObjectId, Txg};
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;

/// The block size of space maps (`zfs_metaslab_sm_blksz_no_log`).
pub(super) const BLOCK_BYTES: u32 = 16 << 10;

/// The logarithm of the size of the indirect blocks of space maps (`space_map_ibs`).
const INDIRECT_SHIFT: u8 = 14;

/// Returns the length of a header with or without a histogram.
fn header_bytes(with_histogram: bool) -> usize {
    if with_histogram { SpaceMapPhys::LEN } else { HEADER_BYTES_MIN }
}

/// The maximum run of an entry of one word in units (`SM_RUN_MAX`).
const RUN_MAX: u64 = 1 << 15;

/// The end of the offsets of an entry of one word.
const OFFSET_END: u64 = 1 << 47;

/// The maximum run of an entry of two words in units (`SM2_RUN_MAX`).
const RUN2_MAX: u64 = 1 << 36;

/// The encoding of the entries of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The start of the metaslab on its vdev in bytes.
    pub(super) start: u64,
    /// The logarithm of the unit.
    pub(super) shift: u8,
    /// Whether entries of two words may be used (feature `spacemap_v2`).
    pub(super) two_words: bool,
    /// The block size of the map.
    pub(super) block_bytes: u64,
}

/// Allocates the object of a map.
///
/// # Errors
///
/// Fails if the store cannot allocate it.
pub(super) fn create(mos: &mut dyn ObjectStore, with_histogram: bool) -> Result<ObjectId> {
    create_with_blocks(mos, with_histogram, BLOCK_BYTES)
}

/// Allocates the object of a map with blocks of this size.
///
/// # Errors
///
/// Fails if the store cannot allocate it.
pub(super) fn create_with_blocks(
    mos: &mut dyn ObjectStore,
    with_histogram: bool,
    block_bytes: u32,
) -> Result<ObjectId> {
    let header = header_bytes(with_histogram) as u16;
    mos.allocate(&NewObject {
        indirect_shift: INDIRECT_SHIFT,
        ..NewObject::new(ObjectType::SPACE_MAP, block_bytes).with_bonus(ObjectType::SPACE_MAP_HEADER, header)
    })
}

impl Form {
    /// Encodes `change` of `ranges` as entries, for the byte offset `at` of the map.
    pub(super) fn entries(
        &self,
        at: u64,
        ranges: &RangeSet,
        change: SpaceChange,
        txg: Txg,
        pass: u16,
    ) -> Vec<u8> {
        let mut words = Vec::new();
        if ranges.is_empty() {
            return words;
        }
        let bit = u64::from(change == SpaceChange::Free);
        let mut put = |word: u64| words.extend(word.to_le_bytes());
        let mut at = at;
        put(0b10 << 62 | bit << 60 | u64::from(pass & 0x3ff) << 50 | txg.0 & ((1 << 50) - 1));
        at += 8;
        for (start, end) in ranges.iter() {
            let (mut offset, mut left) = ((start - self.start) >> self.shift, (end - start) >> self.shift);
            while left > 0 {
                // As in OpenZFS, two words are used only if one is not enough.
                let long = self.two_words && (offset >= OFFSET_END || left > RUN_MAX);
                let run = left.min(if long { RUN2_MAX } else { RUN_MAX });
                if long {
                    if (at + 8).is_multiple_of(self.block_bytes) {
                        // An entry of two words must not cross a block boundary: an empty debug entry fills the gap.
                        put(0b10 << 62);
                        at += 8;
                    }
                    // The vdev is not used in the map of a metaslab.
                    put(0b11 << 62 | (run - 1) << 24);
                    put(bit << 63 | offset);
                    at += 16;
                } else {
                    put(offset << 16 | bit << 15 | (run - 1));
                    at += 8;
                }
                offset += run;
                left -= run;
            }
        }
        words
    }
}

/// Encodes the header of a map. It includes the histogram only if the map has one.
pub(super) fn header(
    object: ObjectId,
    length: u64,
    alloc: u64,
    histogram: Option<(&Histogram, u8)>,
) -> Vec<u8> {
    let alloc = alloc.cast_signed();
    let mut phys = SpaceMapPhys { object, length, alloc, ..SpaceMapPhys::default() };
    if let Some((histogram, shift)) = histogram {
        for (size, &count) in histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
            let entry = size.saturating_sub(usize::from(shift));
            let last = phys.histogram.len() - 1;
            // A range beyond the last entry is counted there as the number of ranges of that size that it equals.
            phys.histogram[entry.min(last)] += count << entry.saturating_sub(last);
        }
    }
    phys.to_bytes(ByteOrder::Little)[..header_bytes(histogram.is_some())].to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::made::Objects;
    use crate::space::space_map::SpaceMap;

    fn replayed(form: Form, size: u64, bytes: &[u8], header: &[u8]) -> RangeSet {
        let blocks = bytes.chunks(form.block_bytes as usize);
        let blocks = blocks.map(|block| {
            let mut block = block.to_vec();
            block.resize(form.block_bytes as usize, 0);
            block
        });
        let mut objects = Objects::default();
        objects.add(7, ObjectType::SPACE_MAP, ObjectType::SPACE_MAP_HEADER, header, blocks.collect());
        let map = SpaceMap::open(&objects, ObjectId(7)).unwrap();
        assert_eq!(map.length, bytes.len() as u64);
        let mut allocated = RangeSet::default();
        map.replay(&objects, form.start, size, form.shift, &mut allocated).unwrap();
        assert_eq!(allocated.bytes() as i64, map.alloc);
        allocated
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            allocs in proptest::collection::vec((0_u64..1 << 20, 1_u64..100_000), 1..60),
            frees in proptest::collection::vec(any::<prop::sample::Index>(), 0..20), two_words: bool, shift in 9_u8..17,
        ) {
            let form = Form { start: 5 << 40, shift, two_words, block_bytes: 64 };
            let mut first = RangeSet::default();
            for (offset, run) in allocs {
                // Overlapping ranges are skipped.
                let start = form.start + (offset << shift);
                let _ = first.add(start, start + (run << shift));
            }
            let mut bytes = form.entries(0, &first, SpaceChange::Alloc, Txg(4), 1);
            let mut freed = RangeSet::default();
            let mut left = first.clone();
            let all: Vec<_> = first.iter().collect();
            for index in frees {
                let (start, end) = *index.get(&all);
                if left.contains(start, end) {
                    left.remove(start, end).unwrap();
                    freed.add(start, end).unwrap();
                }
            }
            bytes.extend(form.entries(bytes.len() as u64, &freed, SpaceChange::Free, Txg(5), 2));
            let header = header(ObjectId(7), bytes.len() as u64, left.bytes(), None);
            prop_assert_eq!(replayed(form, 1 << 40, &bytes, &header), left);
        }
    }

    #[test]
    fn histograms_count_from_the_unit_on_and_fold_what_is_too_large() {
        let mut histogram = [0; 64];
        (histogram[12], histogram[13], histogram[45]) = (3, 1, 1);
        let header = header(ObjectId(9), 16, 4096, Some((&histogram, 12)));
        let word = |n: usize| ByteOrder::Little.u64(&header[8 * n..]);
        assert_eq!(header.len(), 320);
        assert_eq!([0, 1, 2, 3, 8, 9, 10, 39].map(word), [9, 16, 4096, 0, 3, 1, 0, 4]);
    }
}
