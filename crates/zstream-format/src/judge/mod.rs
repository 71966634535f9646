//! The rules that a receiver holds records to, beyond shape and checksums (`dmu_recv.c`).
//!
//! Parse, then judge: decoding cannot fail, and what a value may be is said here, one function per
//! record type. [`Judge`] adds the rules that need to remember what came before; it keeps a few
//! numbers per substream, never a list.
//!
//! Only what follows from the stream and from the limits of the receiving pool is judged. Whether an
//! object exists at the receiver is the receiver's own question.

mod begin;
mod data;
mod error;

pub use begin::{begin, begin_list, crypt_keydata};
pub use data::{free, free_objects, object, object_range, redact, spill, write, write_embedded};
pub use error::{Breach, Errno};

use crate::flags::{BeginFlags, FeatureFlags};
use crate::ids::ObjectId;
use crate::record::{Begin, Body};

/// Slots of a dnode block, and so of an OBJECT_RANGE (`DNODES_PER_BLOCK`).
pub const SLOTS_PER_BLOCK: u64 = 32;
/// Bytes of one dnode slot (`DNODE_MIN_SIZE`).
pub const SLOT_BYTES: u64 = 512;
/// Bytes of a dnode before its block pointers (`DNODE_CORE_SIZE`).
pub const DNODE_CORE_BYTES: u64 = 64;
/// Bytes of a block pointer (`sizeof (blkptr_t)`).
pub const BLKPTR_BYTES: u64 = 128;
/// The most block pointers of a dnode (`DN_MAX_NBLKPTR`).
pub const MAX_BLOCK_POINTERS: u64 = 3;
/// Object numbers are below this (`DN_MAX_OBJECT`).
pub const MAX_OBJECT: u64 = 1 << 48;
/// The smallest block (`SPA_MINBLOCKSIZE`).
pub const MIN_BLOCK_BYTES: u32 = 512;

/// What the pool that receives allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest block in bytes: 128 KiB, or 16 MiB with the feature large_blocks.
    pub max_block_bytes: u32,
    /// The most slots of a dnode: 1, or 32 with the feature large_dnode.
    pub max_dnode_slots: u8,
}

impl Default for Limits {
    /// A pool with every feature.
    fn default() -> Self {
        Self { max_block_bytes: 16 << 20, max_dnode_slots: 32 }
    }
}

impl Limits {
    /// The most bytes of a bonus buffer: that of the largest dnode with one block pointer.
    #[must_use]
    pub fn max_bonus_bytes(&self) -> u64 {
        bonus_room(self.max_dnode_slots)
    }
}

/// Bytes for the bonus buffer in a dnode of so many slots with one block pointer.
#[must_use]
pub fn bonus_room(slots: u8) -> u64 {
    u64::from(slots.max(1)) * SLOT_BYTES - DNODE_CORE_BYTES - BLKPTR_BYTES
}

/// What the rules for records depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The stream's features.
    pub features: FeatureFlags,
    /// The stream's flags.
    pub flags: BeginFlags,
    /// What the pool allows.
    pub limits: Limits,
}

impl Terms {
    /// What a BEGIN says, for a pool with these limits.
    #[must_use]
    pub fn new(begin: &Begin, limits: Limits) -> Self {
        Self { features: begin.version_info.features(), flags: begin.flags, limits }
    }

    /// Whether blocks are as they lie on disk, encrypted.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.features.contains(FeatureFlags::RAW)
    }
}

/// Judges a record by itself, without those before it.
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
        // WRITE_BYREF belongs to deduplicated streams, which are judged as a whole.
        Body::Begin(_) | Body::End(_) | Body::WriteByref(_) => Ok(()),
    }
}

/// Judges the records of one substream, in order.
#[derive(Clone, Debug)]
pub struct Judge {
    terms: Terms,
    /// Object and offset of the last WRITE.
    last_write: Option<(ObjectId, u64)>,
    /// First object of the last OBJECT_RANGE.
    range: Option<ObjectId>,
}

impl Judge {
    /// A judge of what follows a BEGIN.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, last_write: None, range: None }
    }

    /// Judges the next record behind BEGIN.
    ///
    /// # Errors
    /// The first rule that it breaks.
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

    /// Raw streams: the object lies in the dnode block announced last.
    fn in_range(&self, object: ObjectId) -> Result<(), Breach> {
        if !self.terms.is_raw() {
            return Ok(());
        }
        match self.range {
            Some(first) if (first.0..first.0 + SLOTS_PER_BLOCK).contains(&object.0) => Ok(()),
            range => Err(Breach::OutsideRange { object, range }),
        }
    }

    /// WRITEs come by object, then offset; an exact repeat is taken.
    fn in_order(&mut self, object: ObjectId, offset: u64) -> Result<(), Breach> {
        let last = self.last_write.replace((object, offset));
        match last {
            Some(last) if (object, offset) < last => Err(Breach::Order { object, offset, last }),
            _ => Ok(()),
        }
    }
}
