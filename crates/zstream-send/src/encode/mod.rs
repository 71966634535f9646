//! Encoding of ranges as records (`do_dump` and the functions that it calls).
//!
//! Adjacent frees of one object, free objects and redactions are merged into one record. At most one such record is
//! pending; a record of another kind writes it first.

mod blocks;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::dnode::Dnode;
use zstream_dmu::error::Error as DmuError;
use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_format::checksum::Checksum;
use zstream_format::flags::{FeatureFlags, ObjectFlags, RangeFlags};
use zstream_format::record::{End, Free, FreeObjects, Object, ObjectRange, Redact, TO_OBJECT_END};

use crate::error::{Error, Result};
use crate::form::{OLD_BLOCK_BYTES_MAX, ORDER};
use crate::load::{Loaded, LoadedBatch};
use crate::output::{Output, Payload};
use crate::progress::{Replaced, Sent};
use crate::range::{Range, What};

/// A pending record that may grow.
enum Pending {
    Free(Free),
    FreeObjects(FreeObjects),
    Redact(Redact),
}

/// A writer of ranges as records.
pub(crate) struct Encoder<'a> {
    output: Output<'a>,
    pending: Option<Pending>,
    features: FeatureFlags,
    to_guid: Guid,
    /// The transaction group up to which spill blocks are unmodified.
    unmodified_spill: Option<Txg>,
    /// The exclusive end of the object numbers for which the source has room.
    objects_end: u64,
    replaced: Vec<Replaced>,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder of records for `to_guid`. Spill blocks born up to `unmodified_spill` are marked as unmodified;
    /// `objects_end` is the exclusive end of the object numbers.
    pub(crate) fn new(
        output: Output<'a>,
        features: FeatureFlags,
        to_guid: Guid,
        unmodified_spill: Option<Txg>,
        objects_end: u64,
    ) -> Self {
        Self { output, pending: None, features, to_guid, unmodified_spill, objects_end, replaced: Vec::new() }
    }

    /// Writes the records of a batch of ranges, including those before an error.
    pub(crate) fn encode(&mut self, batch: &mut LoadedBatch) -> Result<()> {
        let LoadedBatch { ranges, bytes } = batch;
        let outcome = ranges.drain(..).try_for_each(|loaded| self.range(loaded, bytes));
        let written = self.output.write_batch(&batch.bytes);
        outcome.and(written)
    }

    /// Writes the records of a range.
    fn range(&mut self, loaded: Loaded, buffer: &[u8]) -> Result<()> {
        let range = &loaded.range;
        let object = ObjectId(range.object);
        match &range.what {
            What::ObjectRange { pointer } => self.object_range(pointer, range.start),
            What::Object { dnode: None, .. } => self.free_objects(range.object, 1),
            What::Object { pointer, dnode: Some(dnode) } => self.object(pointer, object, dnode),
            What::Hole { block_bytes } if range.object == 0 => {
                let slots = block_bytes / zstream_dmu::dnode::DNODE_SLOT_BYTES as u64;
                let first = range.start.saturating_mul(slots);
                self.free_objects(first, range.end.saturating_mul(slots) - first)
            }
            What::Hole { block_bytes } => self.hole(range, *block_bytes),
            What::Redact { block_bytes } => self.redact(range, *block_bytes),
            What::Data { pointer, object_type, block_bytes } => {
                let (pointer, object_type, block_bytes) = (*pointer, *object_type, *block_bytes);
                self.data(loaded, buffer, &pointer, object_type, block_bytes)
            }
            What::PreviouslyRedacted => Err(Error::internal("a previously redacted range was not looked up")),
        }
    }

    /// Writes the pending record, and END unless the stream is the saved state of a receive.
    pub(crate) fn finish(mut self, unfinished: bool) -> Result<Sent> {
        self.write_pending()?;
        if !unfinished {
            self.output.record(End { checksum: Checksum::ZERO, to_guid: self.to_guid })?;
        }
        let sent = Sent { bytes: self.output.bytes, records: self.output.records, replaced: self.replaced };
        self.output.flush()?;
        Ok(sent)
    }

    /// Flushes the output after an error: the start of the stream.
    pub(crate) fn give_up(self) {
        // The error that ended the stream is more important.
        let _ = self.output.flush();
    }

    fn is_raw(&self) -> bool {
        self.features.contains(FeatureFlags::RAW)
    }

    fn write_pending(&mut self) -> Result<()> {
        match self.pending.take() {
            Some(Pending::Free(free)) => self.output.record(free),
            Some(Pending::FreeObjects(free)) => self.output.record(free),
            Some(Pending::Redact(redact)) => self.output.record(redact),
            None => Ok(()),
        }
    }

    /// Frees a range of an object (`dump_free`).
    fn free(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()> {
        let end = offset.checked_add(length);
        if let Some(Pending::Free(free)) = &mut self.pending
            && free.object == object
            && free.offset.wrapping_add(free.length) == offset
        {
            let grown = end.filter(|_| length != TO_OBJECT_END).and(free.length.checked_add(length));
            free.length = grown.unwrap_or(TO_OBJECT_END);
            return Ok(());
        }
        self.write_pending()?;
        let to_end = length == TO_OBJECT_END;
        let length = if end.is_some() { length } else { TO_OBJECT_END };
        let free = Free { object, offset, length, to_guid: self.to_guid };
        if to_end {
            return self.output.record(free);
        }
        self.pending = Some(Pending::Free(free));
        Ok(())
    }

    fn hole(&mut self, range: &Range, block_bytes: u64) -> Result<()> {
        // A range past the largest offset was always a hole.
        let Some(offset) = range.start.checked_mul(block_bytes) else { return Ok(()) };
        let end = range.end.saturating_mul(block_bytes);
        self.free(ObjectId(range.object), offset, end.saturating_sub(offset))
    }

    /// Marks a range of an object as redacted (`dump_redact`).
    fn redact(&mut self, range: &Range, block_bytes: u64) -> Result<()> {
        let object = ObjectId(range.object);
        let bounds = (range.start.checked_mul(block_bytes), range.end.checked_mul(block_bytes));
        let (Some(offset), Some(end)) = bounds else {
            let detail = format!(
                "blocks {} to {} of object {object}, each of {block_bytes} bytes, end past 2^64",
                range.start, range.end
            );
            return Err(DmuError::corrupt("redaction list", detail).into());
        };
        let length = end - offset;
        if let Some(Pending::Redact(redact)) = &mut self.pending
            && redact.object == object
            && redact.offset + redact.length == offset
        {
            redact.length += length;
            return Ok(());
        }
        self.write_pending()?;
        self.pending = Some(Pending::Redact(Redact { object, offset, length, to_guid: self.to_guid }));
        Ok(())
    }

    /// Frees objects (`dump_freeobjects`) up to the end of the object numbers of the source, because receivers before 0.7
    /// are extremely slow with more.
    fn free_objects(&mut self, first: u64, count: u64) -> Result<()> {
        if first >= self.objects_end {
            return Ok(());
        }
        let count = count.min(self.objects_end - first);
        if let Some(Pending::FreeObjects(free)) = &mut self.pending
            && free.first_object.0 + free.object_count == first
        {
            free.object_count += count;
            return Ok(());
        }
        self.write_pending()?;
        self.pending = Some(Pending::FreeObjects(FreeObjects {
            first_object: ObjectId(first),
            object_count: count,
            to_guid: self.to_guid,
        }));
        Ok(())
    }

    /// Writes an object, and frees the range after its last block (`dump_dnode`).
    fn object(&mut self, pointer: &BlockPointer, object: ObjectId, dnode: &Dnode) -> Result<()> {
        self.write_pending()?;
        let block_bytes = if self.features.contains(FeatureFlags::LARGE_BLOCKS) {
            dnode.block_bytes()
        } else {
            dnode.block_bytes().min(OLD_BLOCK_BYTES_MAX)
        };
        let mut record = Object {
            object,
            object_type: dnode.object_type,
            bonus_type: dnode.bonus_type,
            block_size: block_bytes as u32,
            bonus_len: u32::from(dnode.bonus_len),
            checksum_type: dnode.checksum_type,
            compression: dnode.compression,
            dnode_slots: dnode.slots() as u8,
            flags: ObjectFlags::empty(),
            raw_bonus_len: 0,
            to_guid: self.to_guid,
            indirect_block_shift: 0,
            levels: 0,
            block_pointers: 0,
            pad: [0; 5],
            max_block_id: 0,
        };
        let area = dnode.bonus_area();
        let mut bonus = &area[..area.len().min(usize::from(dnode.bonus_len).next_multiple_of(8))];
        if self.is_raw() {
            if pointer.byte_order() != ORDER {
                // The bonus was swapped when it was read, but encrypted bytes must not be swapped.
                return Err(DmuError::unsupported(
                    "a raw stream of an encrypted dataset in the other byte order",
                )
                .into());
            }
            record.max_block_id = dnode.max_block.0;
            record.indirect_block_shift = dnode.indirect_shift;
            record.levels = dnode.levels;
            record.block_pointers = dnode.pointers().len() as u8;
            // The whole bonus area is encrypted, so the bytes after the bonus are significant, too.
            if dnode.bonus_len != 0 {
                record.raw_bonus_len = area.len() as u32;
                bonus = area;
            }
        }
        record.flags.set(ObjectFlags::SPILL, dnode.spill().is_some());
        self.output.record_with(record, Payload::from(bonus))?;
        let end = dnode.max_block.0.checked_add(1).and_then(|blocks| blocks.checked_mul(dnode.block_bytes()));
        match end {
            Some(end) => self.free(object, end, TO_OBJECT_END),
            // There is nothing after such an end.
            None => Ok(()),
        }
    }

    /// Announces a dnode block (`dump_object_range`).
    fn object_range(&mut self, pointer: &BlockPointer, block: u64) -> Result<()> {
        self.write_pending()?;
        let slots = pointer.lsize() / zstream_dmu::dnode::DNODE_SLOT_BYTES as u64;
        let crypt = Crypt::of(pointer);
        let mut flags = RangeFlags::empty();
        flags.set(RangeFlags::RAW_BYTESWAP, pointer.byte_order() != ORDER);
        self.output.record(ObjectRange {
            first_object: ObjectId(block.saturating_mul(slots)),
            slot_count: slots,
            to_guid: self.to_guid,
            salt: crypt.salt,
            iv: crypt.iv,
            mac: crypt.mac,
            flags,
            pad: [0; 3],
        })
    }
}

/// The encryption parameters of a block; zero if it is only authenticated.
struct Crypt {
    salt: [u8; 8],
    iv: [u8; 12],
    mac: [u8; 16],
}

impl Crypt {
    fn of(pointer: &BlockPointer) -> Self {
        Self {
            salt: pointer.salt().unwrap_or_default(),
            iv: pointer.iv().unwrap_or_default(),
            mac: pointer.mac().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
