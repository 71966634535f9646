//! The blocks of block reference tables or deduplication tables during a check.
//!
//! A block takes the 24 bytes of an [`Entry`], so that a million shared blocks take 24 MB.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use zstream_dmu::blkptr::{BlockKind, BlockPointer};

/// The last word of a pointer that determines how its block is stored: the sizes and functions.
const PROPERTIES: usize = 6;

/// The address of the first copy of a block: vdev and offset.
pub(super) type Address = (u32, u64);

/// Returns the address by which the references to a block are counted; `None` for blocks that are not cloned.
pub(super) fn address(pointer: &BlockPointer) -> Option<Address> {
    let is_content = pointer.kind() == BlockKind::Normal
        && pointer.level() == 0
        && (!pointer.object_type().is_metadata() || pointer.is_dedup());
    is_content.then(|| (pointer.dva(0).vdev(), pointer.dva(0).offset()))
}

/// Returns a number for all that determines where the copies of a block are and which bytes they must have: addresses,
/// sizes, functions, birth and checksum. The key of the hash is random, so that two pointers of a pool cannot have the
/// same number by intention.
pub(super) fn fingerprint(hasher: &RandomState, pointer: &BlockPointer) -> u64 {
    let stored = &pointer.words()[..=PROPERTIES];
    hasher.hash_one((stored, pointer.physical_birth().0, pointer.checksum()))
}

/// A block of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    offset: u64,
    /// The references in the table, at most `i64::MAX`, without those that were found: 0 in the end if the table is
    /// right.
    left: i64,
    state: State,
}

impl Entry {
    /// Records a reference. If it is the first one, returns the number of references in the table.
    pub(super) fn refer(&mut self) -> Option<u64> {
        let recorded = self.left.unsigned_abs();
        self.left -= 1;
        let is_first = self.state == State::NEW;
        if is_first {
            self.state = State::REFERENCED;
        }
        is_first.then_some(recorded)
    }

    /// Returns the offset.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of references in the table without those that were found.
    pub(super) fn left(&self) -> i64 {
        self.left
    }

    /// Returns whether a reference was found.
    pub(super) fn is_referenced(&self) -> bool {
        self.state != State::NEW
    }

    /// Returns whether the block was read and all copies are intact for pointers with this fingerprint.
    pub(super) fn is_intact(&self, fingerprint: impl FnOnce() -> u64) -> bool {
        self.state > State::DAMAGED && self.state == State::intact(fingerprint())
    }

    /// Records that the block was read by a pointer with this fingerprint. Returns `true` if the result is that of
    /// another reference.
    pub(super) fn record(&mut self, fingerprint: u64, is_intact: bool) -> bool {
        let new = if is_intact { State::intact(fingerprint) } else { State::DAMAGED };
        if self.state < State::DAMAGED {
            self.state = new;
            return false;
        }
        self.state == new
    }
}

/// The state of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State(u64);

impl State {
    /// No reference was found.
    const NEW: Self = Self(0);
    /// A reference was found.
    const REFERENCED: Self = Self(1);
    /// The block is damaged. It is read for each reference, so that the damage is reported for each.
    const DAMAGED: Self = Self(2);

    /// All copies are intact for pointers with this fingerprint.
    fn intact(fingerprint: u64) -> Self {
        Self(fingerprint.max(Self::DAMAGED.0 + 1))
    }
}

/// The blocks of tables.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    vdevs: BTreeMap<u32, OfVdev>,
}

/// The blocks of a vdev.
#[derive(Debug, Default)]
struct OfVdev {
    /// The blocks in the order of their offsets.
    entries: Vec<Entry>,
    /// The index of the block after the one that was found last. The blocks of a file mostly follow each other.
    next: usize,
}

impl OfVdev {
    fn find(&mut self, offset: u64) -> Option<&mut Entry> {
        if self.entries.get(self.next).is_none_or(|entry| entry.offset != offset) {
            self.next = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        }
        self.next += 1;
        self.entries.get_mut(self.next - 1)
    }
}

impl Blocks {
    /// Adds a block with its number of references in the table. [`sort`](Self::sort) comes after the last one.
    pub(super) fn add(&mut self, (vdev, offset): Address, references: u64) {
        let left = i64::try_from(references).unwrap_or(i64::MAX);
        self.vdevs.entry(vdev).or_default().entries.push(Entry { offset, left, state: State::NEW });
    }

    /// Sorts the blocks, so that they can be found.
    pub(super) fn sort(&mut self) {
        for OfVdev { entries, .. } in self.vdevs.values_mut() {
            entries.sort_unstable_by_key(|entry| entry.offset);
            entries.shrink_to_fit();
        }
    }

    /// Returns the block at an address.
    pub(super) fn get_mut(&mut self, (vdev, offset): Address) -> Option<&mut Entry> {
        self.vdevs.get_mut(&vdev)?.find(offset)
    }

    /// Returns whether there are no blocks.
    pub(super) fn is_empty(&self) -> bool {
        self.vdevs.is_empty()
    }

    /// Returns the blocks with their addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, &Entry)> {
        let each = self.vdevs.iter().flat_map(|(vdev, of)| of.entries.iter().map(|entry| (*vdev, entry)));
        each.map(|(vdev, entry)| ((vdev, entry.offset), entry))
    }

    /// Returns the blocks of a vdev.
    pub(super) fn of_vdev(&self, vdev: u32) -> &[Entry] {
        self.vdevs.get(&vdev).map_or(&[], |of| &of.entries)
    }
}

#[cfg(test)]
mod tests {
    use zstream_dmu::blkptr::{Dva, NormalBlock};
    use zstream_dmu::ids::Txg;
    use zstream_format::algorithm::{ChecksumType, CompressionType};
    use zstream_format::object_type::ObjectType;
    use zstream_format::order::ByteOrder;

    use super::*;

    fn block() -> NormalBlock {
        NormalBlock {
            dvas: [Dva::new(1, 8192, 4096, false), Dva::default(), Dva::default()],
            lsize: 8192,
            psize: 4096,
            compression: CompressionType::LZ4,
            checksum_type: ChecksumType::FLETCHER_4,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: ByteOrder::Little,
            logical_birth: Txg(7),
            physical_birth: Txg(0),
            fill: 1,
            checksum: [1, 2, 3, 4],
        }
    }

    /// A pointer of the same address counts as that of the same block only if it demands the same bytes.
    #[test]
    fn only_equal_pointers_have_the_same_fingerprint() {
        let hasher = RandomState::new();
        let own = BlockPointer::normal(&block());
        let of = |change: &dyn Fn(&mut NormalBlock)| {
            let mut changed = block();
            change(&mut changed);
            let pointer = BlockPointer::normal(&changed);
            assert_eq!(address(&pointer), address(&own));
            fingerprint(&hasher, &pointer)
        };
        let same = fingerprint(&hasher, &own);
        assert_eq!(fingerprint(&hasher, &own.cloned(Txg(9))), same);
        let changes: [&dyn Fn(&mut NormalBlock); 10] = [
            &|block| block.dvas[1] = Dva::new(0, 512, 4096, false),
            &|block| block.dvas[0] = Dva::new(1, 8192, 4608, false),
            &|block| block.dvas[0] = Dva::new(1, 8192, 4096, true),
            &|block| block.psize = 3584,
            &|block| block.checksum_type = ChecksumType::SHA256,
            &|block| block.checksum[3] = 5,
            &|block| block.uses_crypt = true,
            &|block| block.byte_order = ByteOrder::Big,
            &|block| block.logical_birth = Txg(8),
            &|block| block.physical_birth = Txg(6),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert_ne!(of(change), same, "change {n}");
        }
    }

    #[test]
    fn a_block_is_read_until_it_is_intact() {
        let mut blocks = Blocks::default();
        for offset in [1024, 512, 4096] {
            blocks.add((3, offset), 2);
        }
        blocks.sort();
        assert!(blocks.get_mut((2, 512)).is_none() && blocks.get_mut((3, 1)).is_none());
        let entry = blocks.get_mut((3, 512)).expect("an entry");
        assert!(!entry.is_referenced() && !entry.is_intact(|| 0));
        assert_eq!((entry.refer(), entry.refer(), entry.left()), (Some(2), None, 0));
        assert!(!entry.is_intact(|| 0) && !entry.record(10, true) && entry.is_intact(|| 10));
        // Another pointer to the same address.
        assert!(!entry.is_intact(|| 11) && !entry.record(11, true) && entry.record(10, true));
        let damaged = blocks.get_mut((3, 1024)).expect("an entry");
        assert!(!damaged.record(10, false) && damaged.record(10, false));
        assert!((0..5).all(|fingerprint| !damaged.is_intact(|| fingerprint)));
    }
}
