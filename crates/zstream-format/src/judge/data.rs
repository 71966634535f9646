//! The rules for the records of a substream, one function for each type.

use super::{
    BLKPTR_BYTES, Breach, DNODE_CORE_BYTES, MAX_BLOCK_POINTERS, MAX_OBJECT, MIN_BLOCK_BYTES, SLOT_BYTES,
    SLOTS_PER_BLOCK, Terms,
};
use crate::algorithm::{ChecksumType, CompressionType};
use crate::flags::{BeginFlags, ObjectFlags, SpillFlags};
use crate::object_type::ObjectType;
use crate::record::{
    Free, FreeObjects, MAX_EMBEDDED_BYTES, Object, ObjectRange, Redact, Spill, TO_OBJECT_END, Write,
    WriteEmbedded,
};

/// The maximum number of levels of a block tree (`DN_MAX_LEVELS`).
const MAX_LEVELS: u64 = 12;
/// log2 of the size of the largest indirect block that receivers accept (`SPA_MAXBLOCKSHIFT`).
const MAX_INDIRECT_SHIFT: u64 = 24;
/// The number of kinds of embedded blocks (`NUM_BP_EMBEDDED_TYPES`).
const EMBEDDED_TYPES: u64 = 3;

fn at_most(field: &'static str, found: impl Into<u64>, limit: u64) -> Result<(), Breach> {
    match found.into() {
        found if found > limit => Err(Breach::Above { field, found, limit }),
        _ => Ok(()),
    }
}

fn valid_type(field: &'static str, found: ObjectType) -> Result<(), Breach> {
    if found.is_valid() { Ok(()) } else { Err(Breach::Type { field, found }) }
}

fn no_wrap(start: u64, length: u64) -> Result<(), Breach> {
    match start.checked_add(length) {
        Some(_) => Ok(()),
        None => Err(Breach::Wraps { start, length }),
    }
}

/// Validates the compression of a block: `off` or an algorithm, not a setting.
fn block_compression(found: CompressionType) -> Result<(), Breach> {
    let setting = matches!(found, CompressionType::ON | CompressionType::EMPTY);
    if found.is_known() && !setting { Ok(()) } else { Err(Breach::Compression(found)) }
}

/// Validates an OBJECT (`receive_object`).
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn object(body: &Object, terms: &Terms) -> Result<(), Breach> {
    let limits = &terms.limits;
    if !(1..MAX_OBJECT).contains(&body.object.0) {
        return Err(Breach::Value { field: "drr_object", found: body.object.0, expected: "1 to 2^48 - 1" });
    }
    if body.object_type == ObjectType::NONE || !body.object_type.is_valid() {
        return Err(Breach::Type { field: "drr_type", found: body.object_type });
    }
    valid_type("drr_bonustype", body.bonus_type)?;
    if !body.checksum_type.is_known() {
        at_most("drr_checksumtype", body.checksum_type.0, u64::from(ChecksumType::BLAKE3.0))?;
    }
    if !body.compression.is_known() {
        at_most("drr_compress", body.compression.0, u64::from(CompressionType::ZSTD.0))?;
    }
    if body.block_size < MIN_BLOCK_BYTES || !body.block_size.is_multiple_of(MIN_BLOCK_BYTES) {
        let expected = "a multiple of 512 other than 0";
        return Err(Breach::Value { field: "drr_blksz", found: body.block_size.into(), expected });
    }
    at_most("drr_blksz", body.block_size, limits.max_block_bytes.into())?;
    at_most("drr_bonuslen", body.bonus_len, limits.max_bonus_bytes())?;
    at_most("drr_dn_slots", body.dnode_slots, limits.max_dnode_slots.into())?;
    if terms.is_raw() { raw_object(body) } else { plain_object(body, terms) }
}

fn plain_object(body: &Object, terms: &Terms) -> Result<(), Breach> {
    let spill_known = terms.flags.contains(BeginFlags::SPILL_BLOCK);
    let allowed = if spill_known { ObjectFlags::SPILL } else { ObjectFlags::empty() };
    if !body.flags.difference(allowed).is_empty() {
        let expected = if spill_known {
            "0 or 4 (has a spill block)"
        } else {
            "0 without the spill block flag of the stream"
        };
        return Err(Breach::Value { field: "drr_flags", found: body.flags.bits().into(), expected });
    }
    let raw_only = [
        ("drr_raw_bonuslen", u64::from(body.raw_bonus_len)),
        ("drr_nblkptr", body.block_pointers.into()),
        ("drr_indblkshift", body.indirect_block_shift.into()),
        ("drr_nlevels", body.levels.into()),
    ];
    match raw_only.into_iter().find(|(_, found)| *found != 0) {
        Some((field, found)) => {
            Err(Breach::Value { field, found, expected: "0 in a stream that is not raw" })
        }
        None => Ok(()),
    }
}

fn raw_object(body: &Object) -> Result<(), Breach> {
    if body.raw_bonus_len < body.bonus_len {
        let expected = "at least drr_bonuslen";
        return Err(Breach::Value { field: "drr_raw_bonuslen", found: body.raw_bonus_len.into(), expected });
    }
    at_most("drr_indblkshift", body.indirect_block_shift, MAX_INDIRECT_SHIFT)?;
    at_most("drr_nlevels", body.levels, MAX_LEVELS)?;
    at_most("drr_nblkptr", body.block_pointers, MAX_BLOCK_POINTERS)?;
    let room = u64::from(body.slots()) * SLOT_BYTES;
    let taken = DNODE_CORE_BYTES + u64::from(body.block_pointers) * BLKPTR_BYTES;
    at_most("drr_raw_bonuslen", body.raw_bonus_len, room.saturating_sub(taken))
}

/// Validates a FREEOBJECTS (`receive_freeobjects`).
///
/// # Errors
/// Fails if the range ends past 2^64.
pub fn free_objects(body: &FreeObjects) -> Result<(), Breach> {
    no_wrap(body.first_object.0, body.object_count)
}

/// Validates a WRITE (`receive_process_write_record`). OpenZFS 2.3 does not check sizes and compression
/// here and fails later, or crashes; this function checks them as later versions do.
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn write(body: &Write, terms: &Terms) -> Result<(), Breach> {
    no_wrap(body.offset, body.logical_size)?;
    valid_type("drr_type", body.object_type)?;
    if body.logical_size < MIN_BLOCK_BYTES.into() {
        let expected = "at least 512";
        return Err(Breach::Value { field: "drr_logical_size", found: body.logical_size, expected });
    }
    at_most("drr_logical_size", body.logical_size, terms.limits.max_block_bytes.into())?;
    if !body.is_compressed() {
        return Ok(());
    }
    block_compression(body.compression)?;
    if body.compressed_size == 0 {
        let expected = "not 0 if the payload is compressed";
        return Err(Breach::Value { field: "drr_compressed_size", found: 0, expected });
    }
    at_most("drr_compressed_size", body.compressed_size, body.logical_size)
}

/// Validates a WRITE_EMBEDDED (`receive_write_embedded`).
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn write_embedded(body: &WriteEmbedded, terms: &Terms) -> Result<(), Breach> {
    no_wrap(body.offset, body.length)?;
    at_most("drr_psize", body.physical_size, MAX_EMBEDDED_BYTES.into())?;
    at_most("drr_etype", body.embedded_type, EMBEDDED_TYPES - 1)?;
    if !body.compression.is_known() {
        return Err(Breach::Compression(body.compression));
    }
    at_most("drr_lsize", body.logical_size, terms.limits.max_block_bytes.into())?;
    if terms.is_raw() { Err(Breach::NotRaw("WRITE_EMBEDDED")) } else { Ok(()) }
}

/// Validates a SPILL (`receive_spill`).
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn spill(body: &Spill, terms: &Terms) -> Result<(), Breach> {
    if body.length < MIN_BLOCK_BYTES.into() {
        return Err(Breach::Value { field: "drr_length", found: body.length, expected: "at least 512" });
    }
    at_most("drr_length", body.length, terms.limits.max_block_bytes.into())?;
    let skipped =
        body.flags.contains(SpillFlags::UNMODIFIED) && terms.flags.contains(BeginFlags::SPILL_BLOCK);
    if skipped || !terms.is_raw() {
        return Ok(());
    }
    valid_type("drr_type", body.object_type)?;
    block_compression(body.compression)?;
    if body.compressed_size == 0 {
        let expected = "not 0 in a raw stream";
        return Err(Breach::Value { field: "drr_compressed_size", found: 0, expected });
    }
    Ok(())
}

/// Validates a FREE (`receive_free`).
///
/// # Errors
/// Fails for object 0, and for a range that ends past 2^64.
pub fn free(body: &Free) -> Result<(), Breach> {
    range_of_object(body.object.0, body.offset, body.length)
}

/// Validates a REDACT (`receive_redact`).
///
/// # Errors
/// Fails like [`free`].
pub fn redact(body: &Redact) -> Result<(), Breach> {
    range_of_object(body.object.0, body.offset, body.length)
}

fn range_of_object(object: u64, offset: u64, length: u64) -> Result<(), Breach> {
    if object == 0 {
        return Err(Breach::Value { field: "drr_object", found: 0, expected: "not 0" });
    }
    if length == TO_OBJECT_END { Ok(()) } else { no_wrap(offset, length) }
}

/// Validates an OBJECT_RANGE (`receive_object_range`).
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn object_range(body: &ObjectRange, terms: &Terms) -> Result<(), Breach> {
    if body.slot_count != SLOTS_PER_BLOCK {
        return Err(Breach::Value { field: "drr_numslots", found: body.slot_count, expected: "32" });
    }
    let first = body.first_object.0;
    if !first.is_multiple_of(SLOTS_PER_BLOCK) {
        return Err(Breach::Value { field: "drr_firstobj", found: first, expected: "a multiple of 32" });
    }
    no_wrap(first, SLOTS_PER_BLOCK)?;
    if terms.is_raw() { Ok(()) } else { Err(Breach::OnlyRaw("OBJECT_RANGE")) }
}
