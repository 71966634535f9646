//! The objects of one snapshot, as logs make them when they are replayed one on top of the other.
//!
//! Content is a map from offsets to [`Extent`]s that do not overlap; what no extent covers is a hole. An extent is
//! the block of a WRITE, or what later records left of it: block sizes of an object may have changed from one
//! increment to the next (`zfs send` with and without `-L`), and a FREE may end inside a block. Memory: 40 bytes
//! for each block and what the map needs, and the bonus of each object.
//!
//! What a record does to an object that is there already is what `dmu_recv.c` does, but for one thing: block sizes
//! are those of the sender always, as no block on disk has to be kept.

use std::collections::BTreeMap;

use zstream_format::flags::BeginFlags;
use zstream_format::ids::Guid;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::TO_OBJECT_END;

use crate::index::{Content, Cut, Log, ObjectOp, Op, RangeOp, Stored};

/// Bytes for bonus and further block pointers in a dnode of one slot.
const BONUS_ROOM: usize = 320;
/// Dnode slots in a block of dnodes.
pub(crate) const SLOTS_PER_BLOCK: u64 = 32;
/// Bytes of a block pointer.
const BLKPTR_BYTES: usize = 128;

/// A range of an object with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its bytes.
    pub(crate) len: u64,
    /// What it holds.
    pub(crate) content: Content,
}

impl Extent {
    /// The rest of it, behind its first `by` bytes.
    fn behind(mut self, by: u64) -> Self {
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
    /// What the last OBJECT said.
    pub(crate) op: ObjectOp,
    /// Where the FREE to the object's end begins: behind its last block.
    tail: Option<u64>,
    /// The content, by offset.
    extents: BTreeMap<u64, Extent>,
    /// The spill block.
    pub(crate) spill: Option<Content>,
}

impl Entry {
    fn new(op: ObjectOp) -> Self {
        Self { op, tail: None, extents: BTreeMap::new(), spill: None }
    }

    /// The end of the last block, in bytes.
    pub(crate) fn end(&self) -> u64 {
        let known = self.extents.iter().next_back().map(|(start, extent)| match extent.content {
            // Ends anywhere.
            Content::Absent => *start,
            _ => start.saturating_add(extent.len),
        });
        known.unwrap_or(0).max(self.tail.unwrap_or(0))
    }

    /// The first extent that reaches beyond `at`: its start, and itself.
    pub(crate) fn from(&self, at: u64) -> Option<(u64, Extent)> {
        let before = self.extents.range(..at).next_back();
        let reaching = before.filter(|(start, extent)| start.saturating_add(extent.len) > at);
        reaching.or_else(|| self.extents.range(at..).next()).map(|(start, extent)| (*start, *extent))
    }

    /// The extents in the range, in order, cut to it: where each begins, and itself.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Extent)> + '_ {
        let mut at = start;
        std::iter::from_fn(move || {
            let (mut from, mut extent) = self.from(at).filter(|(from, _)| *from < end && at < end)?;
            if from < at {
                extent = extent.behind(at - from);
                from = at;
            }
            extent.len = extent.len.min(end - from);
            at = from.saturating_add(extent.len);
            Some((from, extent))
        })
    }

    /// Makes a hole of the range.
    fn free(&mut self, start: u64, end: u64) {
        let before = self.extents.range_mut(..start).next_back();
        if let Some((&from, extent)) = before {
            let past = from.saturating_add(extent.len);
            if past > start {
                let rest = (past > end).then(|| extent.behind(end - from));
                extent.len = start - from;
                if let Some(rest) = rest {
                    self.extents.insert(end, rest);
                }
            }
        }
        while let Some((&from, &extent)) = self.extents.range(start..end).next() {
            self.extents.remove(&from);
            if from.saturating_add(extent.len) > end {
                self.extents.insert(end, extent.behind(end - from));
            }
        }
    }

    /// Puts content into a range.
    fn put(&mut self, start: u64, len: u64, content: Content) {
        let end = start.saturating_add(len);
        if end > start {
            self.free(start, end);
            self.extents.insert(start, Extent { len: end - start, content });
        }
    }

    /// Takes what a later OBJECT says.
    fn change(&mut self, op: &ObjectOp, full: bool, spill_flags: bool) {
        let old = &self.op;
        let resized = old.block_bytes != op.block_bytes && !self.keeps_blocks(op, full);
        if old.slots != op.slots {
            *self = Self::new(op.clone());
            return;
        }
        if resized || block_pointers(op) < block_pointers(old) {
            self.extents.clear();
            self.tail = None;
        }
        if spill_flags && !op.has_spill {
            self.spill = None;
        }
        self.op = op.clone();
    }

    /// Whether an object whose block size changes is still the same one, sent with and without large blocks.
    fn keeps_blocks(&self, op: &ObjectOp, full: bool) -> bool {
        let file = ObjectType::PLAIN_FILE_CONTENTS;
        let both_files = self.op.object_type == file && op.object_type == file;
        let several = self.end() > self.op.block_bytes.into();
        let generation = generation(op);
        // A raw receive frees the content whenever the block size changes.
        !full
            && op.raw.is_none()
            && both_files
            && several
            && generation.is_some()
            && generation == self::generation(&self.op)
    }
}

/// Block pointers in a dnode (`deduce_nblkptr`).
fn block_pointers(op: &ObjectOp) -> usize {
    match op.bonus_type {
        ObjectType::SA => 1,
        _ => 1 + (BONUS_ROOM - op.bonus.len().min(BONUS_ROOM)) / BLKPTR_BYTES,
    }
}

/// The generation of a file, by which one is told from another that had its number before.
fn generation(op: &ObjectOp) -> Option<u64> {
    /// `zp_gen` in a znode.
    const IN_ZNODE: usize = 64;
    /// In the attributes of a file, which begin behind a header of a size of its own.
    const IN_ATTRIBUTES: usize = 16;
    let at = match op.bonus_type {
        ObjectType::ZNODE => IN_ZNODE,
        ObjectType::SA => {
            let layout = ByteOrder::Little.u16(op.bonus.get(4..6)?);
            usize::from(layout >> 10) * 8 + IN_ATTRIBUTES
        }
        _ => return None,
    };
    op.bonus.get(at..at + 8).map(|bytes| ByteOrder::Little.u64(bytes))
}

/// A record that cannot be replayed: its object is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{record} for object {object}, which does not exist")]
pub struct NoObject {
    /// The record's type.
    pub record: &'static str,
    /// The object.
    pub object: u64,
}

/// All objects of a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    entries: BTreeMap<u64, Entry>,
    /// Raw streams: how the blocks of dnodes were encrypted, by their first objects.
    ranges: BTreeMap<u64, RangeOp>,
    /// What is not known.
    cut: Option<Cut>,
}

impl Objects {
    /// The entry of an object. `Err` where the stream was cut short before it.
    pub(crate) fn get(&self, object: u64) -> Result<Option<&Entry>, Cut> {
        let entry = self.entries.get(&object);
        match self.cut {
            Some(cut) if object > cut.object || object == cut.object && entry.is_none() => Err(cut),
            _ => Ok(entry),
        }
    }

    /// The lowest object from a number on.
    pub(crate) fn next(&self, from: u64) -> Option<u64> {
        let (&object, _) = self.entries.range(from..).next()?;
        self.cut.is_none_or(|cut| object <= cut.object).then_some(object)
    }

    /// Replays a log on top of what is there.
    pub(crate) fn replay(&mut self, log: &Log) -> Result<(), NoObject> {
        let full = log.snapshot.from_guid == Guid(0);
        let spill_flags = log.snapshot.flags.contains(BeginFlags::SPILL_BLOCK);
        let (mut last_object, mut last_spill, mut last_range) = (None, None, None);
        for op in &log.ops {
            match *op {
                Op::Object(ref op) => {
                    self.object(op, full, spill_flags);
                    last_object = Some(op.object);
                }
                Op::FreeObjects { first, count } => {
                    let end = first.saturating_add(count);
                    while let Some((&object, _)) = self.entries.range(first..end).next() {
                        self.entries.remove(&object);
                    }
                    // A block of dnodes that is gone is not announced.
                    let gone = |(at, _): (&u64, &RangeOp)| {
                        (last_range != Some(*at) && at.saturating_add(SLOTS_PER_BLOCK) <= end).then_some(*at)
                    };
                    while let Some(at) = self.ranges.range(first..end).find_map(gone) {
                        self.ranges.remove(&at);
                    }
                }
                Op::Write { object, offset, block } => {
                    self.entry(object, "WRITE")?.put(offset, block.logical.into(), Content::Stored(block));
                }
                Op::Embedded { object, offset, block } => {
                    let entry = self.entry(object, "WRITE_EMBEDDED")?;
                    // Senders write a spill block so that is small enough to be embedded: openzfs/zfs#18239.
                    let length = u64::from(block.logical);
                    if entry.op.has_spill && length > 0 && offset == 0u64.wrapping_sub(2 * length) {
                        entry.spill = Some(Content::Stored(Stored { swap: crate::index::Swap::No, ..block }));
                        last_spill = Some(object);
                    } else {
                        entry.put(offset, block.logical.into(), Content::Stored(block));
                    }
                }
                Op::Free { object, offset, length } => {
                    let entry = self.entry(object, "FREE")?;
                    if length == TO_OBJECT_END {
                        entry.tail = Some(offset);
                    }
                    entry.free(offset, offset.saturating_add(length));
                }
                Op::Redact { object, offset, length } => {
                    self.entry(object, "REDACT")?.put(offset, length, Content::Redacted);
                }
                Op::Spill { object, unmodified, block } => {
                    let entry = self.entry(object, "SPILL")?;
                    if !(unmodified && spill_flags && entry.spill.is_some()) {
                        entry.spill = Some(Content::Stored(block));
                    }
                    last_spill = Some(object);
                }
                Op::Range(ref range) => {
                    self.ranges.insert(range.first, **range);
                    last_range = Some(range.first);
                }
            }
        }
        self.cut = log.snapshot.cut;
        if let Some(cut) = self.cut {
            if last_object != Some(cut.object) {
                // What there is of it is from before this stream.
                self.entries.remove(&cut.object);
            }
            self.leave_off(cut, last_spill);
        }
        Ok(())
    }

    /// Raw streams: how the blocks of dnodes were encrypted, in order.
    pub(crate) fn ranges(&self) -> &BTreeMap<u64, RangeOp> {
        &self.ranges
    }

    /// The objects of the block of dnodes that begins with `first`.
    pub(crate) fn in_block(&self, first: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let end = first.saturating_add(SLOTS_PER_BLOCK);
        self.entries.range(first..end).map(|(object, entry)| (*object, entry))
    }

    /// Sets the bonus of an object, decrypted now.
    pub(crate) fn set_bonus(&mut self, object: u64, bonus: Box<[u8]>) {
        if let Some(entry) = self.entries.get_mut(&object) {
            entry.op.bonus = bonus;
        }
    }

    /// Whether the stream was cut short.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Raw streams: leaves off at the start of the block of dnodes in which the stream was cut: of half a block nothing
    /// can be decrypted.
    pub(crate) fn leave_off_block(&mut self) {
        let Some(cut) = &mut self.cut else { return };
        *cut = Cut { object: cut.object - cut.object % SLOTS_PER_BLOCK, offset: 0 };
        let first = cut.object;
        self.entries.retain(|object, _| *object < first);
        self.ranges.retain(|at, _| *at < first);
    }

    /// An object that no announced block of dnodes holds.
    pub(crate) fn outside_ranges(&self) -> Option<u64> {
        let first = |object: u64| object - object % SLOTS_PER_BLOCK;
        self.entries.keys().copied().find(|object| !self.ranges.contains_key(&first(*object)))
    }

    fn entry(&mut self, object: u64, record: &'static str) -> Result<&mut Entry, NoObject> {
        self.entries.get_mut(&object).ok_or(NoObject { record, object })
    }

    fn object(&mut self, op: &ObjectOp, full: bool, spill_flags: bool) {
        // The slots that the dnode grows into.
        for inner in op.object + 1..op.object + u64::from(op.slots) {
            self.entries.remove(&inner);
        }
        match self.entries.get_mut(&op.object) {
            Some(entry) => entry.change(op, full, spill_flags),
            None => {
                self.entries.insert(op.object, Entry::new(op.clone()));
            }
        }
    }

    /// Marks what would have come behind the point at which the stream was cut.
    fn leave_off(&mut self, cut: Cut, last_spill: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&cut.object) else { return };
        let end = entry.tail.unwrap_or(u64::MAX);
        if cut.offset < end {
            entry.put(cut.offset, end - cut.offset, Content::Absent);
        }
        if entry.op.has_spill && last_spill != Some(cut.object) {
            entry.spill = Some(Content::Absent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zstream_format::algorithm::{ChecksumType, CompressionType};

    use crate::index::Swap;

    fn object(block_bytes: u32, generation: u64) -> ObjectOp {
        let mut bonus = vec![0; 168];
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

    /// What each byte is: the place it comes from, 0 for a hole.
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
        /// Whatever order ranges are written and freed in, each byte is what touched it last.
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

    /// openzfs/zfs#6224: an increment with `-L` on top of a stream without it keeps what did not change.
    #[test]
    fn blocks_outlive_a_change_of_size_in_the_same_file_only() {
        let filled = || {
            let mut entry = Entry::new(object(131_072, 7));
            entry.put(0, 131_072, stored(1, 131_072));
            entry.put(131_072, 131_072, stored(2, 131_072));
            entry
        };
        let mut same = filled();
        same.change(&object(1 << 20, 7), false, true);
        assert_eq!(same.extents.len(), 2);
        let mut another = filled();
        another.change(&object(1 << 20, 8), false, true);
        assert_eq!(another.extents.len(), 0);
        let mut full = filled();
        full.change(&object(1 << 20, 7), true, true);
        assert_eq!(full.extents.len(), 0);
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
