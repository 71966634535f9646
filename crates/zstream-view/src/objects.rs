//! The objects of one snapshot, built by replaying the logs of its streams in order.
//!
//! Memory: 40 bytes for each block and the overhead of the map, and the bonus of each object.

use std::collections::BTreeMap;

use zstream_format::effect::{self, NoGeneration, SpillEffect};
use zstream_format::flags::BeginFlags;
use zstream_format::ids::Guid;
use zstream_format::judge::{Limits, Terms};
use zstream_format::record::TO_OBJECT_END;

use crate::entry::Entry;
use crate::log::{Content, Cut, Log, Lost, ObjectOp, Op, RangeOp, Stored, Swap};

/// The number of slots in a dnode block.
pub(crate) const SLOTS_PER_BLOCK: u64 = 32;

/// An error from replaying a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The record has data for an object that does not exist.
    #[error("{record} is for object {object}, which does not exist")]
    NoObject {
        /// The type of the record.
        record: &'static str,
        /// The object.
        object: u64,
    },
    /// It is unknown whether the file is the one that had its number before.
    #[error(transparent)]
    NoGeneration(#[from] NoGeneration),
    /// The object is in a slot of another object.
    #[error("object {0} is inside another object")]
    Interior(u64),
}

/// The subjects of the latest records of a log: an object, a spill block, a dnode block.
#[derive(Default)]
struct Last {
    object: Option<u64>,
    spill: Option<u64>,
    range: Option<u64>,
}

/// All objects of a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    entries: BTreeMap<u64, Entry>,
    /// The encryption parameters of dnode blocks in raw streams, by their first objects.
    ranges: BTreeMap<u64, RangeOp>,
    /// The end of the known part.
    cut: Option<Cut>,
}

impl Objects {
    /// Returns the entry of an object, or `Err` if the stream was cut short before it.
    pub(crate) fn get(&self, object: u64) -> Result<Option<&Entry>, Cut> {
        let entry = self.entries.get(&object);
        match self.cut {
            Some(cut) if object > cut.object || object == cut.object && entry.is_none() => Err(cut),
            _ => Ok(entry),
        }
    }

    /// Returns the lowest object that is at least `from`.
    pub(crate) fn next(&self, from: u64) -> Option<u64> {
        let (&object, _) = self.entries.range(from..).next()?;
        self.cut.is_none_or(|cut| object <= cut.object).then_some(object)
    }

    /// Replays a log on top of the current objects.
    pub(crate) fn replay(&mut self, log: &Log) -> Result<(), Unfit> {
        let full = log.snapshot.from_guid == Guid(0);
        let snapshot = &log.snapshot;
        let terms = Terms { features: snapshot.features, flags: snapshot.flags, limits: Limits::default() };
        let mut last = Last::default();
        for op in &log.ops {
            self.apply(op, &terms, full, &mut last)?;
        }
        self.cut = log.snapshot.cut;
        if let Some(cut) = self.cut {
            if last.object != Some(cut.object) {
                // The entry is from before this stream.
                self.entries.remove(&cut.object);
            }
            self.leave_off(cut, last.spill, &terms);
            match log.lost {
                Some(Lost::Object(object)) => drop(self.entries.remove(&object)),
                Some(Lost::Spill(object)) => {
                    if let Some(entry) = self.entries.get_mut(&object) {
                        entry.spill = Some(Content::Absent);
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Applies one record.
    fn apply(&mut self, op: &Op, terms: &Terms, full: bool, last: &mut Last) -> Result<(), Unfit> {
        match *op {
            Op::Object(ref op) => {
                self.object(op, terms, full)?;
                last.object = Some(op.object);
            }
            Op::FreeObjects { first, count } => self.free_objects(first, count, last.range),
            Op::Write { object, offset, block } => {
                self.entry(object, "WRITE")?.write_recorded(offset, block);
            }
            Op::Embedded { object, offset, block } => {
                let entry = self.entry(object, "WRITE_EMBEDDED")?;
                let length = block.logical.into();
                if effect::is_disguised_spill(entry.op.bonus_type, offset, length) {
                    entry.spill = Some(Content::Stored(Stored { swap: Swap::No, ..block }));
                    last.spill = Some(object);
                } else {
                    entry.write_recorded(offset, block);
                }
            }
            Op::Free { object, offset, length } => {
                let entry = self.entry(object, "FREE")?;
                if length == TO_OBJECT_END {
                    entry.tail = Some(offset);
                }
                entry.free_recorded(offset, length);
            }
            Op::Redact { object, offset, length } => {
                let entry = self.entry(object, "REDACT")?;
                // A receive frees the range.
                entry.free_recorded(offset, length);
                entry.put(offset, length, Content::Redacted);
            }
            Op::Spill { object, flags, block } => {
                let has_spill = self.entries.get(&object).map(|entry| entry.spill.is_some());
                match effect::spill(terms, flags, has_spill) {
                    SpillEffect::Stored => {
                        self.entry(object, "SPILL")?.spill = Some(Content::Stored(block));
                    }
                    SpillEffect::Ignored => {}
                    SpillEffect::NoObject => {
                        return Err(Unfit::NoObject { record: "SPILL", object });
                    }
                }
                last.spill = Some(object);
            }
            Op::Range(ref range) => {
                self.ranges.insert(range.first, **range);
                last.range = Some(range.first);
            }
        }
        Ok(())
    }

    /// Frees a range of objects. The dnode block that was announced last is not freed with them.
    fn free_objects(&mut self, first: u64, count: u64, last_range: Option<u64>) {
        let end = first.saturating_add(count);
        while let Some((&object, _)) = self.entries.range(first..end).next() {
            self.entries.remove(&object);
        }
        // Freed dnode blocks are not announced.
        let gone = |(at, _): (&u64, &RangeOp)| {
            (last_range != Some(*at) && at.saturating_add(SLOTS_PER_BLOCK) <= end).then_some(*at)
        };
        while let Some(at) = self.ranges.range(first..end).find_map(gone) {
            self.ranges.remove(&at);
        }
    }

    /// The encryption parameters of dnode blocks in raw streams, in order.
    pub(crate) fn ranges(&self) -> &BTreeMap<u64, RangeOp> {
        &self.ranges
    }

    /// Returns the objects of the dnode block that starts with `first`.
    pub(crate) fn in_block(&self, first: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let end = first.saturating_add(SLOTS_PER_BLOCK);
        self.entries.range(first..end).map(|(object, entry)| (*object, entry))
    }

    /// Sets the decrypted bonus of an object.
    pub(crate) fn set_bonus(&mut self, object: u64, bonus: Box<[u8]>) {
        if let Some(entry) = self.entries.get_mut(&object) {
            entry.op.bonus = bonus;
        }
    }

    /// Returns `true` if the stream was cut short.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Moves the end of a raw stream to the start of its last dnode block, because an incomplete block cannot be decrypted.
    pub(crate) fn leave_off_block(&mut self) {
        let Some(cut) = &mut self.cut else { return };
        *cut = Cut { object: cut.object - cut.object % SLOTS_PER_BLOCK, offset: 0 };
        let first = cut.object;
        self.entries.retain(|object, _| *object < first);
        self.ranges.retain(|at, _| *at < first);
    }

    /// Returns an object that is not in an announced dnode block.
    pub(crate) fn outside_ranges(&self) -> Option<u64> {
        let first = |object: u64| object - object % SLOTS_PER_BLOCK;
        self.entries.keys().copied().find(|object| !self.ranges.contains_key(&first(*object)))
    }

    fn entry(&mut self, object: u64, record: &'static str) -> Result<&mut Entry, Unfit> {
        self.entries.get_mut(&object).ok_or(Unfit::NoObject { record, object })
    }

    fn object(&mut self, op: &ObjectOp, terms: &Terms, full: bool) -> Result<(), Unfit> {
        if let Some((&before, entry)) = self.entries.range(..op.object).next_back()
            && before + u64::from(entry.op.slots) > op.object
        {
            return Err(Unfit::Interior(op.object));
        }
        // Objects in slots into which the dnode grows.
        for inner in op.object + 1..op.object + u64::from(op.slots) {
            self.entries.remove(&inner);
        }
        match self.entries.get_mut(&op.object) {
            Some(entry) => entry.change(op, terms, full)?,
            None => {
                self.entries.insert(op.object, Entry::new(op.clone()));
            }
        }
        Ok(())
    }

    /// Marks the content after the point at which the stream was cut short.
    fn leave_off(&mut self, cut: Cut, last_spill: Option<u64>, terms: &Terms) {
        let Some(entry) = self.entries.get_mut(&cut.object) else { return };
        let end = entry.tail.unwrap_or(u64::MAX);
        if cut.offset < end {
            entry.put(cut.offset, end - cut.offset, Content::Absent);
        }
        // Old streams do not state whether there is one.
        let may_change = !terms.flags.contains(BeginFlags::SPILL_BLOCK) && entry.spill.is_some();
        if (entry.op.has_spill || may_change) && last_spill != Some(cut.object) {
            entry.spill = Some(Content::Absent);
        }
    }
}
