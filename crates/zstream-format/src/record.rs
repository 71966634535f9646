//! The eleven record types of a send stream (`dmu_replay_record_t`), each declared once.
//!
//! A record is a header of 312 bytes and, for some types, a payload directly after it:
//!
//! ```text
//!    0    4    8                                            280        312
//!    +----+----+---------------------------------------------+----------+----------
//!    |type|plen| body, the rest of it zero                   | checksum | payload ...
//!    +----+----+---------------------------------------------+----------+----------
//! ```
//!
//! `plen` (`drr_payloadlen`) is used in BEGIN only; in other records the length follows from the body. In
//! BEGIN the last 32 bytes are not a checksum but the end of the name.

use std::fmt;

use crate::algorithm::{ChecksumType, CompressionType};
use crate::checksum::Checksum;
use crate::flags::{BeginFlags, ObjectFlags, RangeFlags, SpillFlags, VersionInfo, WriteFlags};
use crate::ids::{Guid, ObjectId};
use crate::object_type::ObjectType;
use crate::order::ByteOrder;
use crate::structure;
use crate::wire::Field;

/// The size of the header of a record in bytes.
pub const HEADER_LEN: usize = 312;
/// The offset of the body.
pub const BODY_OFFSET: usize = 8;
/// The offset of the checksum in every record except BEGIN.
pub const TRAILER_OFFSET: usize = 280;
/// The magic number at the start of the body of every BEGIN.
pub const BEGIN_MAGIC: u64 = 0x0000_0002_F5BA_CBAC;
/// The `length` of a FREE up to the end of the object (`DMU_OBJECT_END`).
pub const TO_OBJECT_END: u64 = u64::MAX;
/// The maximum block size of ZFS, and so the maximum payload of WRITE and SPILL (`SPA_MAXBLOCKSIZE`).
pub const MAX_BLOCK_BYTES: u64 = 16 << 20;
/// The maximum payload of a block pointer with embedded data (`BPE_PAYLOAD_SIZE`).
pub const MAX_EMBEDDED_BYTES: u32 = 112;
/// The limit for a bonus buffer: the size of the largest dnode, 16 KiB. Raw streams contain the whole area.
pub const MAX_BONUS_BYTES: u32 = 16 << 10;
/// The maximum size of the nvlist after a BEGIN, as in OpenZFS.
pub const MAX_BEGIN_PAYLOAD_BYTES: u32 = 256 << 20;

/// The type of a record (`drr_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum RecordType {
    /// Starts a substream or a package.
    Begin = 0,
    /// Allocates or changes an object.
    Object = 1,
    /// Frees a range of objects.
    FreeObjects = 2,
    /// Writes a block.
    Write = 3,
    /// Frees a range of an object.
    Free = 4,
    /// Ends a substream or a package.
    End = 5,
    /// Writes a block that an earlier WRITE contains.
    WriteByref = 6,
    /// Writes the spill block of an object.
    Spill = 7,
    /// Writes a block that is embedded in its block pointer.
    WriteEmbedded = 8,
    /// Announces a dnode block of a raw stream.
    ObjectRange = 9,
    /// Marks a range of an object as redacted.
    Redact = 10,
}

impl RecordType {
    /// Every type, in the order of the numbers.
    pub const ALL: [Self; 11] = [
        Self::Begin,
        Self::Object,
        Self::FreeObjects,
        Self::Write,
        Self::Free,
        Self::End,
        Self::WriteByref,
        Self::Spill,
        Self::WriteEmbedded,
        Self::ObjectRange,
        Self::Redact,
    ];

    /// Returns the type with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The name of the type in the dumps of OpenZFS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Object => "OBJECT",
            Self::FreeObjects => "FREEOBJECTS",
            Self::Write => "WRITE",
            Self::Free => "FREE",
            Self::End => "END",
            Self::WriteByref => "WRITE_BYREF",
            Self::Spill => "SPILL",
            Self::WriteEmbedded => "WRITE_EMBEDDED",
            Self::ObjectRange => "OBJECT_RANGE",
            Self::Redact => "REDACT",
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

structure! {
    /// Starts a substream or a package (`struct drr_begin`).
    pub Begin[304] {
        /// [`BEGIN_MAGIC`]; its byte order is that of the stream.
        magic: u64,
        /// The header type and the feature flags.
        version_info: VersionInfo,
        /// The creation time of the snapshot in seconds since 1970; 0 in the header of a package.
        creation_time: u64,
        /// The type of the object set (`dmu_objset_type_t`); 0 in the header of a package.
        objset_type: u32,
        /// The flags of the stream.
        flags: BeginFlags,
        /// The guid of the snapshot; 0 in the header of a package.
        to_guid: Guid,
        /// The guid of the incremental source; 0 for a full stream.
        from_guid: Guid,
        /// The full name of the snapshot, `pool/fs@snap`, padded with NUL.
        to_name: [u8; 256],
    }
}

structure! {
    /// Allocates or changes an object (`struct drr_object`). Payload: the bonus buffer.
    pub Object[56] {
        /// The object.
        object: ObjectId,
        /// The type of its data.
        object_type: ObjectType,
        /// The type of its bonus buffer.
        bonus_type: ObjectType,
        /// The size of its data blocks in bytes.
        block_size: u32,
        /// The size of its bonus buffer in bytes.
        bonus_len: u32,
        /// The checksum setting of the dnode.
        checksum_type: ChecksumType,
        /// The compression setting of the dnode.
        compression: CompressionType,
        /// The size of the dnode in units of 512 bytes; 0 means 1.
        dnode_slots: u8,
        /// The flags of the record.
        flags: ObjectFlags,
        /// The size of the whole bonus area in bytes, as stored; in raw streams.
        raw_bonus_len: u32,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// log2 of the size of an indirect block; in raw streams.
        indirect_block_shift: u8,
        /// The number of levels of the block tree; in raw streams.
        levels: u8,
        /// The number of block pointers in the dnode; in raw streams.
        block_pointers: u8,
        /// Zero.
        pad: [u8; 5],
        /// The highest block id; in raw streams.
        max_block_id: u64,
    }
}

structure! {
    /// Frees a range of objects (`struct drr_freeobjects`).
    pub FreeObjects[24] {
        /// The first object.
        first_object: ObjectId,
        /// The number of objects.
        object_count: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
    }
}

structure! {
    /// Writes a block (`struct drr_write`). Payload: the block.
    pub Write[132] {
        /// The object.
        object: ObjectId,
        /// The type of the data.
        object_type: ObjectType,
        /// Zero.
        pad: [u8; 4],
        /// The offset in the object, in bytes.
        offset: u64,
        /// The logical size of the block in bytes.
        logical_size: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The checksum function of [`key_checksum`](Self::key_checksum).
        checksum_type: ChecksumType,
        /// The flags of the record.
        flags: WriteFlags,
        /// The compression of the payload; 0 (inherit) if it is not compressed.
        compression: CompressionType,
        /// Zero.
        pad2: [u8; 5],
        /// The checksum of the block at the source (`ddk_cksum`).
        key_checksum: Checksum,
        /// The sizes and the compression of the block at the source (`ddk_prop`).
        key_prop: u64,
        /// The size of the payload in bytes if it is compressed, otherwise 0.
        compressed_size: u64,
        /// The salt of the block key; in raw streams.
        salt: [u8; 8],
        /// The initialization vector; in raw streams.
        iv: [u8; 12],
        /// The message authentication code; in raw streams.
        mac: [u8; 16],
    }
}

structure! {
    /// Frees a range of an object (`struct drr_free`).
    pub Free[32] {
        /// The object.
        object: ObjectId,
        /// The start of the range, in bytes.
        offset: u64,
        /// The length of the range in bytes, or [`TO_OBJECT_END`].
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
    }
}

structure! {
    /// Ends a substream or a package (`struct drr_end`).
    pub End[40] {
        /// The fletcher-4 sum from BEGIN up to this record; zero at the end of a package.
        checksum: Checksum,
        /// The guid of the snapshot; zero for packages.
        to_guid: Guid,
    }
}

structure! {
    /// Writes a block that an earlier WRITE contains (`struct drr_write_byref`).
    pub WriteByref[104] {
        /// The object.
        object: ObjectId,
        /// The offset in the object, in bytes.
        offset: u64,
        /// The size of the block in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The guid of the snapshot whose substream contains the block.
        ref_guid: Guid,
        /// The object of the earlier WRITE.
        ref_object: ObjectId,
        /// The offset of the earlier WRITE.
        ref_offset: u64,
        /// The checksum function of [`key_checksum`](Self::key_checksum).
        checksum_type: ChecksumType,
        /// The flags of the record.
        flags: WriteFlags,
        /// Zero.
        pad: [u8; 6],
        /// The checksum of the block at the source (`ddk_cksum`).
        key_checksum: Checksum,
        /// The sizes and the compression of the block at the source (`ddk_prop`).
        key_prop: u64,
    }
}

structure! {
    /// Writes the spill block of an object (`struct drr_spill`). Payload: the block.
    pub Spill[80] {
        /// The object.
        object: ObjectId,
        /// The logical size of the block in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The flags of the record.
        flags: SpillFlags,
        /// The compression of the payload; in raw streams.
        compression: CompressionType,
        /// Zero.
        pad: [u8; 6],
        /// The size of the payload in bytes; in raw streams.
        compressed_size: u64,
        /// The salt of the block key; in raw streams.
        salt: [u8; 8],
        /// The initialization vector; in raw streams.
        iv: [u8; 12],
        /// The message authentication code; in raw streams.
        mac: [u8; 16],
        /// The type of the data; senders leave it 0.
        object_type: ObjectType,
    }
}

structure! {
    /// Writes a block that is embedded in its block pointer (`struct drr_write_embedded`).
    /// Payload: the block as embedded, padded to 8 bytes.
    pub WriteEmbedded[48] {
        /// The object.
        object: ObjectId,
        /// The offset in the object, in bytes.
        offset: u64,
        /// The size of the block in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The compression of the payload.
        compression: CompressionType,
        /// The kind of embedded content (`BP_EMBEDDED_TYPE_*`); 0 is data.
        embedded_type: u8,
        /// Zero.
        pad: [u8; 6],
        /// The logical size of the payload in bytes.
        logical_size: u32,
        /// The size of the payload as embedded, in bytes.
        physical_size: u32,
    }
}

structure! {
    /// Announces a dnode block of a raw stream (`struct drr_object_range`).
    pub ObjectRange[64] {
        /// The first object of the block, a multiple of 32.
        first_object: ObjectId,
        /// The number of slots in the block: 32.
        slot_count: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The salt of the block key.
        salt: [u8; 8],
        /// The initialization vector.
        iv: [u8; 12],
        /// The message authentication code.
        mac: [u8; 16],
        /// The flags of the record.
        flags: RangeFlags,
        /// Zero.
        pad: [u8; 3],
    }
}

structure! {
    /// Marks a range of an object as redacted (`struct drr_redact`).
    pub Redact[32] {
        /// The object.
        object: ObjectId,
        /// The start of the range, in bytes.
        offset: u64,
        /// The length of the range in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
    }
}

impl Begin {
    /// The name up to the first NUL, or all 256 bytes if there is none.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let end = self.to_name.iter().position(|&b| b == 0).unwrap_or(self.to_name.len());
        &self.to_name[..end]
    }

    /// Returns the field for a name, or `None` if it does not fit with its NUL.
    #[must_use]
    pub fn name_field(name: &[u8]) -> Option<[u8; 256]> {
        let mut field = [0; 256];
        if name.len() >= field.len() {
            return None;
        }
        field[..name.len()].copy_from_slice(name);
        Some(field)
    }
}

impl Object {
    /// The size of the payload in bytes: the whole bonus area in raw streams, otherwise the size of the bonus
    /// rounded up to 8. It saturates for sizes that are not valid in a dnode.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        if self.raw_bonus_len != 0 {
            self.raw_bonus_len
        } else {
            self.bonus_len.checked_next_multiple_of(8).unwrap_or(u32::MAX)
        }
    }

    /// The number of slots of 512 bytes in the dnode. Old senders wrote 0, which means 1.
    #[must_use]
    pub fn slots(&self) -> u8 {
        self.dnode_slots.max(1)
    }
}

impl Write {
    /// Creates a WRITE of a block that is neither compressed nor encrypted, without a key for deduplication.
    #[must_use]
    pub fn plain(object: ObjectId, object_type: ObjectType, offset: u64, bytes: u64, to_guid: Guid) -> Self {
        Self {
            object,
            object_type,
            pad: [0; 4],
            offset,
            logical_size: bytes,
            to_guid,
            checksum_type: ChecksumType::OFF,
            flags: WriteFlags::empty(),
            compression: CompressionType::INHERIT,
            pad2: [0; 5],
            key_checksum: Checksum::ZERO,
            key_prop: 0,
            compressed_size: 0,
            salt: [0; 8],
            iv: [0; 12],
            mac: [0; 16],
        }
    }

    /// Returns `true` if the payload is compressed, or is an uncompressed block of a raw stream.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.compression != CompressionType::INHERIT
    }

    /// The size of the payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        if self.is_compressed() { self.compressed_size } else { self.logical_size }
    }
}

impl Spill {
    /// The size of the payload in bytes. Unlike in WRITE, the size field decides, not the algorithm.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        if self.compressed_size != 0 { self.compressed_size } else { self.length }
    }
}

impl WriteEmbedded {
    /// The size of the payload in bytes: the physical size rounded up to 8, saturating.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.physical_size.checked_next_multiple_of(8).unwrap_or(u32::MAX)
    }
}

/// The body of a record of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is documented with its structure")]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and BEGIN is rare")]
pub enum Body {
    Begin(Begin),
    Object(Object),
    FreeObjects(FreeObjects),
    Write(Write),
    Free(Free),
    End(End),
    WriteByref(WriteByref),
    Spill(Spill),
    WriteEmbedded(WriteEmbedded),
    ObjectRange(ObjectRange),
    Redact(Redact),
}

/// Evaluates the same expression for the structure of each record type.
macro_rules! each_type {
    ($kind:expr, $T:ident => $body:expr) => {
        match $kind {
            RecordType::Begin => {
                type $T = Begin;
                $body
            }
            RecordType::Object => {
                type $T = Object;
                $body
            }
            RecordType::FreeObjects => {
                type $T = FreeObjects;
                $body
            }
            RecordType::Write => {
                type $T = Write;
                $body
            }
            RecordType::Free => {
                type $T = Free;
                $body
            }
            RecordType::End => {
                type $T = End;
                $body
            }
            RecordType::WriteByref => {
                type $T = WriteByref;
                $body
            }
            RecordType::Spill => {
                type $T = Spill;
                $body
            }
            RecordType::WriteEmbedded => {
                type $T = WriteEmbedded;
                $body
            }
            RecordType::ObjectRange => {
                type $T = ObjectRange;
                $body
            }
            RecordType::Redact => {
                type $T = Redact;
                $body
            }
        }
    };
}

macro_rules! body_conversions {
    ($($name:ident),*) => {
        impl Body {
            /// The type of the record.
            #[must_use]
            pub fn record_type(&self) -> RecordType {
                match self { $(Self::$name(_) => RecordType::$name,)* }
            }

            fn encode(&self, bytes: &mut [u8], order: ByteOrder) {
                match self { $(Self::$name(body) => body.encode(bytes, order),)* }
            }

            fn parse(kind: RecordType, bytes: &[u8], order: ByteOrder) -> Self {
                match kind { $(RecordType::$name => Self::$name($name::parse(bytes, order)),)* }
            }
        }

        $(impl From<$name> for Body {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}

body_conversions!(
    Begin,
    Object,
    FreeObjects,
    Write,
    Free,
    End,
    WriteByref,
    Spill,
    WriteEmbedded,
    ObjectRange,
    Redact
);

impl Body {
    /// The guid of the snapshot to which the record belongs.
    #[must_use]
    pub fn to_guid(&self) -> Guid {
        match self {
            Self::Begin(b) => b.to_guid,
            Self::Object(b) => b.to_guid,
            Self::FreeObjects(b) => b.to_guid,
            Self::Write(b) => b.to_guid,
            Self::Free(b) => b.to_guid,
            Self::End(b) => b.to_guid,
            Self::WriteByref(b) => b.to_guid,
            Self::Spill(b) => b.to_guid,
            Self::WriteEmbedded(b) => b.to_guid,
            Self::ObjectRange(b) => b.to_guid,
            Self::Redact(b) => b.to_guid,
        }
    }
}

/// The 312 bytes of the header of a record as in the stream, and their byte order.
///
/// The bytes are authoritative: fields are read from them and written to them, so that bytes that are
/// unknown to this crate do not change.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    order: ByteOrder,
}

impl Header {
    /// Creates a header with this body; all other bytes are zero.
    #[must_use]
    pub fn new(body: impl Into<Body>, order: ByteOrder) -> Self {
        let body = body.into();
        let mut header = Self { bytes: [0; HEADER_LEN], order };
        order.put_u32(&mut header.bytes, body.record_type() as u32);
        body.encode(&mut header.bytes[BODY_OFFSET..], order);
        header
    }

    /// Creates a header from the bytes of a stream in this byte order.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER_LEN], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    /// Returns the byte order of a BEGIN with these bytes, or `None` if the magic number is invalid.
    #[must_use]
    pub fn begin_order(bytes: &[u8; HEADER_LEN]) -> Option<ByteOrder> {
        [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find(|order| order.u64(&bytes[BODY_OFFSET..]) == BEGIN_MAGIC)
    }

    /// The bytes of the header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// The byte order of the header.
    #[must_use]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// `drr_type` as stored.
    #[must_use]
    pub fn type_number(&self) -> u32 {
        self.order.u32(&self.bytes)
    }

    /// The type of the record; `None` for a number that does not exist.
    #[must_use]
    pub fn record_type(&self) -> Option<RecordType> {
        RecordType::from_number(self.type_number())
    }

    /// `drr_payloadlen` as stored; it is used in BEGIN only.
    #[must_use]
    pub fn payload_len_field(&self) -> u32 {
        self.order.u32(&self.bytes[4..])
    }

    /// Sets `drr_payloadlen`.
    pub fn set_payload_len_field(&mut self, len: u32) {
        self.order.put_u32(&mut self.bytes[4..], len);
    }

    /// The body; `None` for a type that does not exist.
    #[must_use]
    pub fn body(&self) -> Option<Body> {
        self.record_type().map(|kind| Body::parse(kind, &self.bytes[BODY_OFFSET..], self.order))
    }

    /// Overwrites the body, and sets the type of the record accordingly.
    pub fn set_body(&mut self, body: impl Into<Body>) {
        let body = body.into();
        self.order.put_u32(&mut self.bytes, body.record_type() as u32);
        body.encode(&mut self.bytes[BODY_OFFSET..], self.order);
    }

    /// The checksum at the end. In BEGIN these bytes belong to the name.
    #[must_use]
    pub fn trailer(&self) -> Checksum {
        Checksum::get(&self.bytes[TRAILER_OFFSET..], self.order)
    }

    /// Sets the checksum at the end.
    pub fn set_trailer(&mut self, checksum: Checksum) {
        checksum.put(&mut self.bytes[TRAILER_OFFSET..], self.order);
    }

    /// The size of the payload in bytes as stated in the record, without validation. It is 0 for a type
    /// that does not exist.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        // Parse only the structures with a size, because this runs several times for every record.
        let (bytes, order) = (&self.bytes[BODY_OFFSET..], self.order);
        match self.record_type() {
            Some(RecordType::Begin) => self.payload_len_field().into(),
            Some(RecordType::Object) => Object::parse(bytes, order).payload_len().into(),
            Some(RecordType::Write) => Write::parse(bytes, order).payload_len(),
            Some(RecordType::Spill) => Spill::parse(bytes, order).payload_len(),
            Some(RecordType::WriteEmbedded) => WriteEmbedded::parse(bytes, order).payload_len().into(),
            _ => 0,
        }
    }

    /// Converts the header to the other byte order. The payload and bytes outside of fields do not change.
    pub fn byteswap(&mut self) {
        if let Some(kind) = self.record_type() {
            let body = &mut self.bytes[BODY_OFFSET..];
            each_type!(kind, T => T::byteswap(body));
            if kind != RecordType::Begin {
                Checksum::swap(&mut self.bytes[TRAILER_OFFSET..]);
            }
        }
        u32::swap(&mut self.bytes[..4]);
        u32::swap(&mut self.bytes[4..8]);
        self.order = self.order.swapped();
    }

    /// The bytes between the end of the body and the checksum, which senders leave zero. It is empty for
    /// BEGIN and for a type that does not exist.
    #[must_use]
    pub fn unused(&self) -> &[u8] {
        match self.record_type() {
            None => &[],
            // The body of BEGIN extends into the bytes of the checksum.
            Some(kind) => each_type!(kind, T => {
                self.bytes[..TRAILER_OFFSET].get(BODY_OFFSET + T::LEN..).unwrap_or_default()
            }),
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.body() {
            Some(body) => write!(f, "{body:?}"),
            None => write!(f, "record of type {}", self.type_number()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    crate::round_trips! {
        Begin, Object, FreeObjects, Write, Free, End, WriteByref, Spill, WriteEmbedded, ObjectRange, Redact,
    }

    #[test]
    fn fields_lie_where_the_format_says() {
        // Offsets in the record of 312 bytes.
        let mut raw = [0; HEADER_LEN];
        ByteOrder::Little.put_u32(&mut raw, RecordType::Write as u32);
        for (at, value) in [(8, 1), (24, 2), (32, 3), (40, 4), (56, 5), (88, 6), (96, 7)] {
            ByteOrder::Little.put_u64(&mut raw[at..], value);
        }
        raw[48..51].copy_from_slice(&[7, 1, 15]);
        raw[104] = 0xaa;
        raw[112] = 0xbb;
        raw[124] = 0xcc;
        let Some(Body::Write(write)) = Header::from_bytes(raw, ByteOrder::Little).body() else {
            panic!("not a WRITE")
        };
        assert_eq!((write.object.0, write.offset, write.logical_size, write.to_guid.0), (1, 2, 3, 4));
        assert_eq!((write.key_checksum.0[0], write.key_prop, write.compressed_size), (5, 6, 7));
        assert_eq!((write.checksum_type.0, write.flags.bits(), write.compression.0), (7, 1, 15));
        assert_eq!((write.salt[0], write.iv[0], write.mac[0]), (0xaa, 0xbb, 0xcc));
    }

    #[test]
    fn spill_type_is_at_84_and_range_flags_at_68() {
        let mut raw = [0; HEADER_LEN];
        raw[0] = RecordType::Spill as u8;
        raw[84] = 44;
        let Some(Body::Spill(spill)) = Header::from_bytes(raw, ByteOrder::Little).body() else { panic!() };
        assert_eq!(spill.object_type, ObjectType::SA);
        raw[0] = RecordType::ObjectRange as u8;
        raw[68] = 2;
        let Some(Body::ObjectRange(range)) = Header::from_bytes(raw, ByteOrder::Little).body() else {
            panic!()
        };
        assert_eq!(range.flags, RangeFlags::RAW_BYTESWAP);
    }

    #[test]
    fn payload_length_goes_by_type_in_write_and_by_size_in_spill() {
        let zero = [0; HEADER_LEN];
        let mut write = Write::parse(&zero, ByteOrder::Little);
        (write.logical_size, write.compressed_size) = (4096, 512);
        assert_eq!(write.payload_len(), 4096, "not compressed: the size field does not count");
        write.compression = CompressionType::OFF;
        assert_eq!(write.payload_len(), 512, "raw blocks that are not compressed say so by type 2");
        let mut spill = Spill::parse(&zero, ByteOrder::Little);
        (spill.length, spill.compressed_size) = (4096, 512);
        assert_eq!(spill.payload_len(), 512);
    }

    #[test]
    fn lengths_near_the_top_do_not_wrap() {
        let mut embedded = WriteEmbedded::parse(&[0; HEADER_LEN], ByteOrder::Little);
        embedded.physical_size = u32::MAX - 3;
        assert_eq!(embedded.payload_len(), u32::MAX);
        let mut object = Object::parse(&[0; HEADER_LEN], ByteOrder::Little);
        object.bonus_len = u32::MAX;
        assert_eq!(object.payload_len(), u32::MAX);
    }

    proptest! {
        #[test]
        fn parse_then_encode_and_two_swaps_are_the_identity(kind in 0u32..11, big: bool, bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN)) {
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            let mut raw: [u8; HEADER_LEN] = bytes.try_into().unwrap();
            order.put_u32(&mut raw, kind);
            let header = Header::from_bytes(raw, order);
            let body = header.body().unwrap();

            let mut again = header.clone();
            again.set_body(body);
            prop_assert_eq!(again.as_bytes(), &raw);

            let mut swapped = header.clone();
            swapped.byteswap();
            prop_assert_eq!(swapped.body().unwrap(), body, "the same values in the other order");
            swapped.byteswap();
            prop_assert_eq!(swapped.as_bytes(), &raw);
        }
    }
}
