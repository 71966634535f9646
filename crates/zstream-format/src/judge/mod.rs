//! The rules that receivers apply to records, beyond structure and checksums (`dmu_recv.c`).
//!
//! Parsing and validation are separate: decoding cannot fail, and the valid values are defined here, in
//! one function for each record type. [`Judge`] adds the rules that depend on earlier records; it
//! stores a few numbers for each substream, never a list.
//!
//! The rules depend only on the stream and on the limits of the receiving pool. They do not cover the
//! existence of objects at the receiver.

mod begin;
mod data;
mod error;

pub use begin::{begin, begin_list, crypt_keydata};
pub use data::{free, free_objects, object, object_range, redact, spill, write, write_embedded};
pub use error::Breach;

use crate::flags::{BeginFlags, FeatureFlags};
use crate::ids::ObjectId;
use crate::record::{Begin, Body};

/// The number of slots in a dnode block, and so in an OBJECT_RANGE (`DNODES_PER_BLOCK`).
pub const SLOTS_PER_BLOCK: u64 = 32;
/// The size of a dnode slot in bytes (`DNODE_MIN_SIZE`).
pub const SLOT_BYTES: u64 = 512;
/// The size of a dnode before its block pointers in bytes (`DNODE_CORE_SIZE`).
pub const DNODE_CORE_BYTES: u64 = 64;
/// The size of a block pointer in bytes (`sizeof (blkptr_t)`).
pub(crate) const BLKPTR_BYTES: u64 = 128;
/// The maximum number of block pointers in a dnode (`DN_MAX_NBLKPTR`).
pub(crate) const MAX_BLOCK_POINTERS: u64 = 3;
/// The exclusive upper limit of object numbers (`DN_MAX_OBJECT`).
pub(crate) const MAX_OBJECT: u64 = 1 << 48;
/// The minimum block size in bytes (`SPA_MINBLOCKSIZE`).
pub const MIN_BLOCK_BYTES: u32 = 512;

/// The limits of the receiving pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum block size in bytes: 128 KiB, or 16 MiB with the feature large_blocks.
    pub max_block_bytes: u32,
    /// The maximum number of slots of a dnode: 1, or 32 with the feature large_dnode.
    pub max_dnode_slots: u8,
}

impl Default for Limits {
    /// Returns the limits of a pool with every feature.
    fn default() -> Self {
        Self { max_block_bytes: crate::record::MAX_BLOCK_BYTES as u32, max_dnode_slots: 32 }
    }
}

impl Limits {
    /// The maximum size of a bonus buffer in bytes: that of the largest dnode, with one block pointer.
    #[must_use]
    pub(crate) fn max_bonus_bytes(&self) -> u64 {
        bonus_room(self.max_dnode_slots)
    }
}

/// Returns the size in bytes that is available for the bonus buffer in a dnode with this number of slots and
/// one block pointer.
#[must_use]
pub fn bonus_room(slots: u8) -> u64 {
    u64::from(slots.max(1)) * SLOT_BYTES - DNODE_CORE_BYTES - BLKPTR_BYTES
}

/// The parameters of the rules for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The features of the stream.
    pub features: FeatureFlags,
    /// The flags of the stream.
    pub flags: BeginFlags,
    /// The limits of the pool.
    pub limits: Limits,
}

impl Terms {
    /// Returns the parameters of a stream with this BEGIN, for a pool with these limits.
    #[must_use]
    pub fn new(begin: &Begin, limits: Limits) -> Self {
        Self { features: begin.version_info.features(), flags: begin.flags, limits }
    }

    /// Returns `true` if blocks are encrypted, as stored on disk.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.features.contains(FeatureFlags::RAW)
    }
}

/// Checks a record by itself, without those before it.
///
/// # Errors
/// The first rule that it breaks.
pub fn alone(body: &Body, terms: &Terms) -> Result<(), Breach> {
    match body {
        Body::Object(body) => object(body, terms),
        Body::FreeObjects(body) => free_objects(body),
        Body::Write(body) => write(body, terms),
        Body::Free(body) => free(body),
        Body::Spill(body) => spill(body, terms),
        Body::WriteEmbedded(body) => write_embedded(body, terms),
        Body::ObjectRange(body) => object_range(body, terms),
        Body::Redact(body) => redact(body),
        // WRITE_BYREF belongs to deduplicated streams, which are accepted or refused as a whole.
        Body::Begin(_) | Body::End(_) | Body::WriteByref(_) => Ok(()),
    }
}

/// A validator for the records of one substream, in order.
#[derive(Clone, Debug)]
pub struct Judge {
    terms: Terms,
    /// The object and the offset of the last WRITE.
    last_write: Option<(ObjectId, u64)>,
    /// The first object of the last OBJECT_RANGE.
    range: Option<ObjectId>,
}

impl Judge {
    /// Creates a validator for the records after a BEGIN.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, last_write: None, range: None }
    }

    /// Validates the next record after BEGIN.
    ///
    /// # Errors
    /// Returns the first rule that it breaks.
    pub fn record(&mut self, body: &Body) -> Result<(), Breach> {
        alone(body, &self.terms)?;
        match body {
            Body::Object(body) => self.in_range(body.object),
            Body::Write(body) => self.in_order(body.object, body.offset),
            Body::ObjectRange(body) => {
                self.range = Some(body.first_object);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Checks that an object of a raw stream is in the last announced dnode block.
    fn in_range(&self, object: ObjectId) -> Result<(), Breach> {
        if !self.terms.is_raw() {
            return Ok(());
        }
        match self.range {
            Some(first) if (first.0..first.0 + SLOTS_PER_BLOCK).contains(&object.0) => Ok(()),
            range => Err(Breach::OutsideRange { object, range }),
        }
    }

    /// Checks that WRITEs are ordered by object, then offset; an exact repetition is allowed.
    fn in_order(&mut self, object: ObjectId, offset: u64) -> Result<(), Breach> {
        let last = self.last_write.replace((object, offset));
        match last {
            Some(last) if (object, offset) < last => Err(Breach::Order { object, offset, last }),
            _ => Ok(()),
        }
    }
}
