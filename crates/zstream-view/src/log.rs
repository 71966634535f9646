//! The log of a substream: its records in order, without their payloads, each as an [`Op`] of 48 bytes.
//!
//! Only bonus buffers are stored, as they are small. A log is replayed when its snapshot is opened
//! ([`crate::objects`]), so a hundred increments do not require a hundred maps of objects. The encryption parameters
//! of a block in a raw stream (salt, IV, MAC) are not stored: they are read again from the header before the block.
//!
//! Invariants of a log: each record complies with the rules of receivers ([`zstream_format::judge`]), sizes are
//! within their limits, references (WRITE_BYREF) are resolved, and bonus buffers are little-endian.

use std::sync::Arc;

use zstream_dmu::zio::crypt::{CryptParams, KeyData};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::effect::is_disguised_spill;
use zstream_format::flags::{BeginFlags, FeatureFlags, SpillFlags};
use zstream_format::ids::Guid;
use zstream_format::object_type::{ObjectType, ObjsetType, SwapClass};
use zstream_format::order::ByteOrder;
use zstream_format::record::TO_OBJECT_END;

/// The snapshot of a substream, described by its BEGIN, and the extent of the substream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The full name at the sender, `pool/fs@snap`.
    pub name: String,
    /// The guid of the snapshot.
    pub guid: Guid,
    /// The guid of the snapshot that the stream starts from; 0 for a full stream.
    pub from_guid: Guid,
    /// The creation time in seconds since 1970.
    pub creation_time: u64,
    /// The type of the object set.
    pub objset_type: ObjsetType,
    /// The flags of the stream.
    pub flags: BeginFlags,
    /// The features of the stream.
    pub features: FeatureFlags,
    /// The end of the stream, if it was cut short.
    pub cut: Option<Cut>,
}

/// The end of a stream that was cut short. Objects below `object` are complete, and `object` itself is complete before
/// `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Cut {
    /// The first object that is incomplete.
    pub object: u64,
    /// The first byte of that object that is missing.
    pub offset: u64,
}

/// The way to convert a block to little-endian byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// The block is already little-endian.
    No,
    /// Swap by this class.
    Class(SwapClass),
    /// Swap by the type of the object of the block.
    ByObject,
    /// The block is from a raw stream. The header of its record, which is little-endian and precedes the payload, has its
    /// byte order, type, salt, IV and MAC.
    RawLittle,
    /// The block is from a raw stream, and its header is big-endian. (Two variants without a field keep the size of this
    /// type at one byte.)
    RawBig,
}

impl Swap {
    pub(crate) fn raw(order: ByteOrder) -> Self {
        match order {
            ByteOrder::Little => Self::RawLittle,
            ByteOrder::Big => Self::RawBig,
        }
    }

    /// The byte order of the header of the record, for a block of a raw stream.
    pub(crate) fn raw_order(self) -> Option<ByteOrder> {
        match self {
            Self::RawLittle => Some(ByteOrder::Little),
            Self::RawBig => Some(ByteOrder::Big),
            Self::No | Self::Class(_) | Self::ByObject => None,
        }
    }
}

/// The location of a block in a file, and the way to decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The offset of the payload in the file.
    pub(crate) place: u64,
    /// The size of the payload in bytes.
    pub(crate) physical: u32,
    /// The size of the block in bytes.
    pub(crate) logical: u32,
    /// The number of bytes at the start of the block that later records overwrote.
    pub(crate) skip: u32,
    /// The index of the file.
    pub(crate) file: u16,
    /// The compression of the payload.
    pub(crate) compression: CompressionType,
    /// The byte swapping of the block.
    pub(crate) swap: Swap,
}

/// The content of a range of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A block in a file, or part of it.
    Stored(Stored),
    /// Redacted content.
    Redacted,
    /// Content after the point at which the stream was cut short.
    Absent,
}

/// The content of an OBJECT record.
#[derive(Clone, Debug)]
pub(crate) struct ObjectOp {
    pub(crate) object: u64,
    pub(crate) object_type: ObjectType,
    pub(crate) bonus_type: ObjectType,
    pub(crate) bonus: Box<[u8]>,
    pub(crate) block_bytes: u32,
    pub(crate) checksum_type: ChecksumType,
    pub(crate) compression: CompressionType,
    pub(crate) slots: u8,
    pub(crate) has_spill: bool,
    /// The fields that only raw streams have. With them, `bonus` is the whole bonus area as stored, until it is decrypted.
    pub(crate) raw: Option<RawShape>,
}

/// The shape of an object in a raw stream: the fields that the MAC of its dnode covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawShape {
    pub(crate) bonus_len: u16,
    pub(crate) indirect_shift: u8,
    pub(crate) levels: u8,
    pub(crate) pointers: u8,
    pub(crate) max_block: u64,
}

/// The encryption parameters of a dnode block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeOp {
    /// The first of its 32 objects.
    pub(crate) first: u64,
    pub(crate) params: CryptParams,
    /// The byte order in which it was written.
    pub(crate) order: ByteOrder,
}

/// A record without its payload.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Object(Box<ObjectOp>),
    FreeObjects { first: u64, count: u64 },
    Write { object: u64, offset: u64, block: Stored },
    Embedded { object: u64, offset: u64, block: Stored },
    Free { object: u64, offset: u64, length: u64 },
    Redact { object: u64, offset: u64, length: u64 },
    Spill { object: u64, flags: SpillFlags, block: Stored },
    Range(Box<RangeOp>),
}

impl Op {
    /// Returns the end of the complete part of a stream that ends with this record. If `trusted` is not set, the record
    /// itself is not part of it.
    fn cut(&self, trusted: bool) -> Option<Cut> {
        let (object, start, length) = match *self {
            Self::Object(ref op) => (op.object, 0, 0),
            Self::FreeObjects { first, count } => (first.saturating_add(count), 0, 0),
            // It may precede or follow the data.
            Self::Spill { .. } => return None,
            Self::Embedded { offset, block, .. } if is_spill(offset, block) => return None,
            Self::Write { object, offset, block } | Self::Embedded { object, offset, block } => {
                (object, offset, block.logical.into())
            }
            // The FREE of the range after the last block precedes all data.
            Self::Free { object, length: TO_OBJECT_END, .. } => (object, 0, 0),
            Self::Free { object, offset, length } | Self::Redact { object, offset, length } => {
                (object, offset, length)
            }
            Self::Range(ref range) => (range.first, 0, 0),
        };
        Some(Cut { object, offset: if trusted { start.saturating_add(length) } else { start } })
    }
}

/// Returns `true` if an embedded block may be a spill block in disguise, depending on its object.
fn is_spill(offset: u64, block: Stored) -> bool {
    is_disguised_spill(ObjectType::SA, offset, block.logical.into())
}

/// A part of an object that is replaced by a record whose payload no checksum covers. The record is ignored, and the part
/// is marked as lost so that its previous content is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The object with its bonus.
    Object(u64),
    /// The spill block of the object.
    Spill(u64),
}

impl Lost {
    fn of(op: &Op) -> Option<Self> {
        match *op {
            Op::Object(ref op) => Some(Self::Object(op.object)),
            Op::Spill { object, .. } => Some(Self::Spill(object)),
            Op::Embedded { object, offset, block } if is_spill(offset, block) => Some(Self::Spill(object)),
            // Content after the cut is not shown.
            _ => None,
        }
    }
}

/// The records of a substream.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) snapshot: Snapshot,
    pub(crate) ops: Vec<Op>,
    /// The point at which the stream resumes, if it is the continuation of one that was cut short.
    pub(crate) resume: Option<Cut>,
    /// The part that is lost in addition to the content after the cut.
    pub(crate) lost: Option<Lost>,
    /// The wrapped keys of a raw stream.
    pub(crate) keys: Option<Arc<KeyData>>,
    /// `true` if the stream is the saved state of a receive: the records have another guid than BEGIN.
    pub(crate) saved: bool,
}

impl Log {
    /// Sets the end of a log without END. No checksum has covered the payload of the record at `unvouched`, if there is
    /// one.
    pub(crate) fn cut(&mut self, unvouched: Option<usize>) {
        // A record whose payload no checksum covers only shows that everything before it is complete.
        let unvouched = unvouched.and_then(|first| self.ops.drain(first..).next());
        self.lost = unvouched.as_ref().and_then(Lost::of);
        let limit = unvouched.as_ref().and_then(|op| op.cut(false));
        let known =
            |is_known: fn(&&Op) -> bool| self.ops.iter().rev().filter(is_known).find_map(|op| op.cut(true));
        let cut = match limit {
            // In the saved state of a receive, records that free later objects only mean that they were not received yet.
            _ if self.saved => {
                let data = known(|op| !matches!(op, Op::FreeObjects { .. } | Op::Free { .. }));
                data.map(|cut| limit.map_or(cut, |limit| cut.min(limit)))
            }
            Some(limit) => Some(limit),
            None => known(|_| true),
        };
        self.snapshot.cut = Some(cut.unwrap_or(Cut { object: 0, offset: 0 }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes in the documentation of the modules.
    #[test]
    fn the_index_is_small() {
        assert_eq!(size_of::<Op>(), 48);
        assert_eq!(size_of::<crate::entry::Extent>(), 32);
    }
}
