//! One object of a snapshot: its last OBJECT record, and its content.
//!
//! Content is a map from offsets to [`Extent`]s that do not overlap; a range without an extent is a hole. An extent
//! is the block of a WRITE, or the part of it that later records left: the block size of an object may change from one
//! increment to the next (`zfs send` with and without `-L`), and a FREE may end inside a block.
//!
//! The effects of a record on an existing object are those of a receive ([`zstream_format::effect`]), with one
//! exception: a file that is sent with smaller blocks is shown, since no block on disk must be split.

use std::collections::BTreeMap;

use zstream_format::effect::{self, NoGeneration, Present};
use zstream_format::flags::ObjectFlags;
use zstream_format::ids::ObjectId;
use zstream_format::judge::Terms;
use zstream_format::record;

use crate::log::{Content, ObjectOp, Stored};

/// A range of an object with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The length in bytes.
    pub(crate) len: u64,
    /// The content.
    pub(crate) content: Content,
}

impl Extent {
    /// Returns the rest of the extent after its first `by` bytes.
    fn after(mut self, by: u64) -> Self {
        self.len -= by;
        if let Content::Stored(stored) = &mut self.content {
            // A block is at most 16 MiB.
            stored.skip += by as u32;
        }
        self
    }
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The last OBJECT, with the block size that the object would have after a receive.
    pub(crate) op: ObjectOp,
    /// The highest block that the object would have after a receive so far.
    last_block: u64,
    /// The start of the FREE up to the end of the object, which follows its last block.
    pub(crate) tail: Option<u64>,
    /// The content, by offset.
    extents: BTreeMap<u64, Extent>,
    /// The spill block.
    pub(crate) spill: Option<Content>,
}

impl Entry {
    pub(crate) fn new(op: ObjectOp) -> Self {
        let last_block = op.raw.map_or(0, |shape| shape.max_block);
        Self { op, last_block, tail: None, extents: BTreeMap::new(), spill: None }
    }

    /// The end of the last block, in bytes.
    pub(crate) fn end(&self) -> u64 {
        let known = self.extents.iter().next_back().map(|(start, extent)| match extent.content {
            // Its end is unknown.
            Content::Absent => *start,
            _ => start.saturating_add(extent.len),
        });
        known.unwrap_or(0).max(self.tail.unwrap_or(0))
    }

    /// Returns the first extent that ends after `at`, with its start.
    pub(crate) fn from(&self, at: u64) -> Option<(u64, Extent)> {
        let before = self.extents.range(..at).next_back();
        let reaching = before.filter(|(start, extent)| start.saturating_add(extent.len) > at);
        reaching.or_else(|| self.extents.range(at..).next()).map(|(start, extent)| (*start, *extent))
    }

    /// Returns the extents in a range, clipped to it, with their starts and in order.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Extent)> + '_ {
        let mut at = start;
        std::iter::from_fn(move || {
            let (mut from, mut extent) = self.from(at).filter(|(from, _)| *from < end && at < end)?;
            if from < at {
                extent = extent.after(at - from);
                from = at;
            }
            extent.len = extent.len.min(end - from);
            at = from.saturating_add(extent.len);
            Some((from, extent))
        })
    }

    /// Punches a hole.
    fn free(&mut self, start: u64, end: u64) {
        let before = self.extents.range_mut(..start).next_back();
        if let Some((&from, extent)) = before {
            let past = from.saturating_add(extent.len);
            if past > start {
                let rest = (past > end).then(|| extent.after(end - from));
                extent.len = start - from;
                if let Some(rest) = rest {
                    self.extents.insert(end, rest);
                }
            }
        }
        while let Some((&from, &extent)) = self.extents.range(start..end).next() {
            self.extents.remove(&from);
            if from.saturating_add(extent.len) > end {
                self.extents.insert(end, extent.after(end - from));
            }
        }
    }

    /// Sets the content of a range.
    pub(crate) fn put(&mut self, start: u64, len: u64, content: Content) {
        let end = start.saturating_add(len);
        if end > start {
            self.free(start, end);
            self.extents.insert(start, Extent { len: end - start, content });
        }
    }

    /// Frees the range of a record, and updates the highest block.
    pub(crate) fn free_recorded(&mut self, offset: u64, length: u64) {
        self.free(offset, offset.saturating_add(length));
        // Raw streams state the last block.
        if self.op.raw.is_none() {
            let block_bytes = self.op.block_bytes.into();
            self.last_block = effect::last_block_freed(self.last_block, block_bytes, offset, length);
        }
    }

    /// Writes the block of a record, and updates the highest block.
    pub(crate) fn write_recorded(&mut self, offset: u64, block: Stored) {
        let length = block.logical.into();
        self.put(offset, length, Content::Stored(block));
        let block_bytes = self.op.block_bytes.into();
        self.last_block = effect::last_block_written(self.last_block, block_bytes, offset, length);
    }

    /// Returns the state of the object before a record.
    fn present(&self) -> Present<'_> {
        let op = &self.op;
        Present {
            object_type: op.object_type,
            bonus_type: op.bonus_type,
            bonus: op.raw.is_none().then_some(&*op.bonus),
            block_bytes: op.block_bytes.into(),
            slots: op.slots,
            pointers: effect::pointer_count(op.bonus_type, op.bonus_len(), op.slots),
            indirect_bytes: op.raw.and_then(|shape| 1_u64.checked_shl(shape.indirect_shift.into())),
            levels: op.raw.map_or(1, |shape| shape.levels),
            last_block: self.last_block,
        }
    }

    /// Applies a later OBJECT.
    pub(crate) fn change(&mut self, op: &ObjectOp, terms: &Terms, full: bool) -> Result<(), NoGeneration> {
        let change = effect::object(terms, full, &self.present(), &op.record(), &op.bonus)?;
        let mut op = op.clone();
        op.block_bytes = change.block_bytes;
        if change.make_anew {
            *self = Self::new(op);
            return Ok(());
        }
        if !change.keep_content {
            self.extents.clear();
            (self.tail, self.last_block) = (None, 0);
        }
        if let Some(end) = change.free_from {
            self.free(end, u64::MAX);
        }
        if !change.keep_spill {
            self.spill = None;
        }
        if let Some(shape) = op.raw {
            self.last_block = shape.max_block;
        }
        self.op = op;
        Ok(())
    }
}

impl ObjectOp {
    /// The number of bytes in use in the bonus.
    fn bonus_len(&self) -> u32 {
        // The size was validated: it fits in a dnode.
        self.raw.map_or(self.bonus.len() as u32, |shape| shape.bonus_len.into())
    }

    /// Returns the record with the fields that determine its effect on an object.
    fn record(&self) -> record::Object {
        let plain = record::Object {
            object: ObjectId(self.object),
            object_type: self.object_type,
            bonus_type: self.bonus_type,
            block_size: self.block_bytes,
            bonus_len: self.bonus_len(),
            dnode_slots: self.slots,
            flags: if self.has_spill { ObjectFlags::SPILL } else { ObjectFlags::empty() },
            ..record::Object::default()
        };
        match self.raw {
            None => plain,
            Some(shape) => record::Object {
                indirect_block_shift: shape.indirect_shift,
                levels: shape.levels,
                block_pointers: shape.pointers,
                max_block_id: shape.max_block,
                ..plain
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zstream_format::algorithm::{ChecksumType, CompressionType};
    use zstream_format::flags::{BeginFlags, FeatureFlags};
    use zstream_format::judge::Limits;
    use zstream_format::object_type::ObjectType;

    use crate::log::Swap;

    const PLAIN: Terms = Terms {
        features: FeatureFlags::empty(),
        flags: BeginFlags::SPILL_BLOCK,
        limits: Limits { max_block_bytes: 16 << 20, max_dnode_slots: 32 },
    };

    fn object(block_bytes: u32, generation: u64) -> ObjectOp {
        let mut bonus = vec![0; 168];
        bonus[..4].copy_from_slice(&0x002F_505A_u32.to_le_bytes());
        bonus[4..6].copy_from_slice(&(1u16 << 10 | 2).to_le_bytes());
        bonus[24..32].copy_from_slice(&generation.to_le_bytes());
        ObjectOp {
            object: 9,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            bonus_type: ObjectType::SA,
            bonus: bonus.into(),
            block_bytes,
            checksum_type: ChecksumType(0),
            compression: CompressionType(0),
            slots: 1,
            has_spill: false,
            raw: None,
        }
    }

    fn stored(place: u64, logical: u32) -> Content {
        Content::Stored(Stored {
            place,
            physical: logical,
            logical,
            skip: 0,
            file: 0,
            compression: CompressionType::OFF,
            swap: Swap::No,
        })
    }

    /// Returns the origin of each byte, 0 for a hole.
    fn bytes(entry: &Entry, end: u64) -> Vec<u64> {
        let mut bytes = vec![0; end as usize];
        let mut last = 0;
        for (start, extent) in entry.within(0, end) {
            assert!(start >= last && extent.len > 0, "extents in order, none empty");
            last = start + extent.len;
            let Content::Stored(stored) = extent.content else { panic!("only stored ones") };
            for n in 0..extent.len {
                bytes[(start + n) as usize] = stored.place + u64::from(stored.skip) + n;
            }
        }
        bytes
    }

    proptest! {
        /// Each byte is determined by the last operation on it, for any order of writes and frees.
        #[test]
        fn the_last_record_of_a_byte_counts(steps in proptest::collection::vec((0u64..60, 1u64..40, any::<bool>()), 0..30)) {
            let mut entry = Entry::new(object(512, 1));
            let mut model = vec![0; 100];
            for (n, (start, len, write)) in (1..).zip(steps) {
                let place = n * 1000;
                if write {
                    entry.put(start, len, stored(place, len as u32));
                } else {
                    entry.free(start, start + len);
                }
                for at in 0..len {
                    model[(start + at) as usize] = if write { place + at } else { 0 };
                }
            }
            prop_assert_eq!(bytes(&entry, 100), model);
        }
    }

    fn written(place: u64, logical: u32) -> Stored {
        let Content::Stored(stored) = stored(place, logical) else { unreachable!("it is stored") };
        stored
    }

    /// openzfs/zfs#6224: an increment with `-L` on top of a stream without it keeps what did not change.
    #[test]
    fn blocks_outlive_a_change_of_size_in_the_same_file_only() {
        let filled = || {
            let mut entry = Entry::new(object(131_072, 7));
            entry.write_recorded(0, written(1, 131_072));
            entry.write_recorded(131_072, written(2, 131_072));
            entry
        };
        // A receive refuses smaller blocks of the same file; a view shows them.
        for (block_bytes, generation, full, extents, afterwards) in [
            (1 << 20, 7, false, 2, 131_072),
            (1 << 20, 8, false, 0, 1 << 20),
            (1 << 20, 7, true, 0, 1 << 20),
            (4096, 7, false, 2, 131_072),
            (4096, 8, false, 0, 4096),
        ] {
            let mut entry = filled();
            entry.change(&object(block_bytes, generation), &PLAIN, full).unwrap();
            let found = (entry.extents.len(), entry.op.block_bytes);
            assert_eq!(found, (extents, afterwards), "{block_bytes} {generation} {full}");
        }
        // One block is always sent whole, though blocks at the end were holes.
        let mut one = Entry::new(object(131_072, 7));
        one.write_recorded(0, written(1, 131_072));
        one.tail = Some(10 * 131_072);
        one.change(&object(1 << 20, 7), &PLAIN, false).unwrap();
        assert_eq!((one.extents.len(), one.op.block_bytes), (0, 1 << 20));
    }

    #[test]
    fn ranges_at_the_end_of_all_addresses_do_not_wrap() {
        let mut entry = Entry::new(object(512, 1));
        entry.put(u64::MAX - 10, 100, Content::Redacted);
        assert_eq!(entry.end(), u64::MAX);
        entry.free(u64::MAX - 5, u64::MAX);
        assert_eq!(entry.end(), u64::MAX - 5);
        assert_eq!(entry.from(u64::MAX - 5), None);
    }
}
