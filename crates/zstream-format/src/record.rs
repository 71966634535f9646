//! The eleven record types of a send stream (`dmu_replay_record_t`), each declared once.
//!
//! A record is a header of 312 bytes and, for some types, a payload right behind it:
//!
//! ```text
//!    0    4    8                                            280        312
//!    +----+----+---------------------------------------------+----------+----------
//!    |type|plen| body, the rest of it zero                   | checksum | payload ...
//!    +----+----+---------------------------------------------+----------+----------
//! ```
//!
//! `plen` (`drr_payloadlen`) counts in BEGIN only; elsewhere the length follows from the body. In
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

/// Bytes of a record's header.
pub const HEADER_LEN: usize = 312;
/// Where the body begins.
pub const BODY_OFFSET: usize = 8;
/// Where the checksum begins, in every record but BEGIN.
pub const TRAILER_OFFSET: usize = 280;
/// The number that begins the body of every BEGIN.
pub const BEGIN_MAGIC: u64 = 0x0000_0002_F5BA_CBAC;
/// A `length` of FREE that means "to the end of the object" (`DMU_OBJECT_END`).
pub const TO_OBJECT_END: u64 = u64::MAX;
/// The largest block of ZFS, and so the largest payload of WRITE and SPILL (`SPA_MAXBLOCKSIZE`).
pub const MAX_BLOCK_BYTES: u64 = 16 << 20;
/// The largest payload of a block pointer that embeds its data (`BPE_PAYLOAD_SIZE`).
pub const MAX_EMBEDDED_BYTES: u32 = 112;
/// The largest bonus buffer: a dnode of 16 KiB. Raw streams carry the whole area.
pub const MAX_BONUS_BYTES: u32 = 16 << 10;
/// The largest nvlist behind a BEGIN that is read, as in OpenZFS.
pub const MAX_BEGIN_PAYLOAD_BYTES: u32 = 256 << 20;

/// What a record is (`drr_type`).
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
    /// Writes a block that an earlier WRITE carried.
    WriteByref = 6,
    /// Writes the spill block of an object.
    Spill = 7,
    /// Writes a block small enough to live in its block pointer.
    WriteEmbedded = 8,
    /// Announces a dnode block of a raw stream.
    ObjectRange = 9,
    /// Says that a range of an object was left out on purpose.
    Redact = 10,
}

impl RecordType {
    /// Every type, by number.
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

    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Its name in OpenZFS's dumps.
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
        /// [`BEGIN_MAGIC`]; the order it is stored in is that of the stream.
        magic: u64,
        /// Header type and feature flags.
        version_info: VersionInfo,
        /// Creation time of the snapshot, seconds since 1970; 0 in a package's header.
        creation_time: u64,
        /// Type of the object set (`dmu_objset_type_t`); 0 in a package's header.
        objset_type: u32,
        /// Flags of the stream.
        flags: BeginFlags,
        /// Guid of the snapshot that is sent; 0 in a package's header.
        to_guid: Guid,
        /// Guid of the incremental source; 0 for a full stream.
        from_guid: Guid,
        /// `pool/fs@snap`, padded with NUL.
        to_name: [u8; 256],
    }
}

structure! {
    /// Allocates or changes an object (`struct drr_object`). Payload: the bonus buffer.
    pub Object[56] {
        /// The object.
        object: ObjectId,
        /// Type of its data.
        object_type: ObjectType,
        /// Type of its bonus buffer.
        bonus_type: ObjectType,
        /// Size of its data blocks in bytes.
        block_size: u32,
        /// Length of its bonus buffer in bytes.
        bonus_len: u32,
        /// The dnode's checksum setting.
        checksum_type: ChecksumType,
        /// The dnode's compression setting.
        compression: CompressionType,
        /// Size of the dnode in units of 512 bytes; 0 means 1.
        dnode_slots: u8,
        /// Flags.
        flags: ObjectFlags,
        /// Raw streams: size of the whole bonus area in bytes, as stored.
        raw_bonus_len: u32,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
        /// Raw streams: log2 of the size of an indirect block.
        indirect_block_shift: u8,
        /// Raw streams: levels of the object's tree.
        levels: u8,
        /// Raw streams: block pointers in the dnode.
        block_pointers: u8,
        /// Zero.
        pad: [u8; 5],
        /// Raw streams: the highest block id.
        max_block_id: u64,
    }
}

structure! {
    /// Frees a range of objects (`struct drr_freeobjects`).
    pub FreeObjects[24] {
        /// The first object.
        first_object: ObjectId,
        /// How many.
        object_count: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
    }
}

structure! {
    /// Writes a block (`struct drr_write`). Payload: the block.
    pub Write[132] {
        /// The object.
        object: ObjectId,
        /// Type of the data.
        object_type: ObjectType,
        /// Zero.
        pad: [u8; 4],
        /// Where in the object, in bytes.
        offset: u64,
        /// Size of the block in bytes, uncompressed.
        logical_size: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
        /// Checksum function of [`key_checksum`](Self::key_checksum).
        checksum_type: ChecksumType,
        /// Flags.
        flags: WriteFlags,
        /// How the payload is compressed; 0 (inherit): it is not.
        compression: CompressionType,
        /// Zero.
        pad2: [u8; 5],
        /// Checksum of the block at the source (`ddk_cksum`).
        key_checksum: Checksum,
        /// Sizes and compression of the block at the source (`ddk_prop`).
        key_prop: u64,
        /// Size of the payload in bytes where it is compressed, else 0.
        compressed_size: u64,
        /// Raw streams: salt of the block's key.
        salt: [u8; 8],
        /// Raw streams: initialization vector.
        iv: [u8; 12],
        /// Raw streams: message authentication code.
        mac: [u8; 16],
    }
}

structure! {
    /// Frees a range of an object (`struct drr_free`).
    pub Free[32] {
        /// The object.
        object: ObjectId,
        /// Where the range begins, in bytes.
        offset: u64,
        /// Its length in bytes, or [`TO_OBJECT_END`].
        length: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
    }
}

structure! {
    /// Ends a substream or a package (`struct drr_end`).
    pub End[40] {
        /// Fletcher-4 of everything from BEGIN up to this record; zero at the end of a package.
        checksum: Checksum,
        /// Guid of the snapshot that was sent; zero for packages.
        to_guid: Guid,
    }
}

structure! {
    /// Writes a block that an earlier WRITE carried (`struct drr_write_byref`).
    pub WriteByref[104] {
        /// The object.
        object: ObjectId,
        /// Where in the object, in bytes.
        offset: u64,
        /// Size of the block in bytes.
        length: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
        /// Guid of the snapshot whose substream carried the block.
        ref_guid: Guid,
        /// The object it was written to there.
        ref_object: ObjectId,
        /// The offset it was written to there.
        ref_offset: u64,
        /// Checksum function of [`key_checksum`](Self::key_checksum).
        checksum_type: ChecksumType,
        /// Flags.
        flags: WriteFlags,
        /// Zero.
        pad: [u8; 6],
        /// Checksum of the block at the source (`ddk_cksum`).
        key_checksum: Checksum,
        /// Sizes and compression of the block at the source (`ddk_prop`).
        key_prop: u64,
    }
}

structure! {
    /// Writes the spill block of an object (`struct drr_spill`). Payload: the block.
    pub Spill[80] {
        /// The object.
        object: ObjectId,
        /// Size of the block in bytes, uncompressed.
        length: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
        /// Flags.
        flags: SpillFlags,
        /// Raw streams: how the payload is compressed.
        compression: CompressionType,
        /// Zero.
        pad: [u8; 6],
        /// Raw streams: size of the payload in bytes.
        compressed_size: u64,
        /// Raw streams: salt of the block's key.
        salt: [u8; 8],
        /// Raw streams: initialization vector.
        iv: [u8; 12],
        /// Raw streams: message authentication code.
        mac: [u8; 16],
        /// Type of the data; senders leave it 0.
        object_type: ObjectType,
    }
}

structure! {
    /// Writes a block small enough to live in its block pointer (`struct drr_write_embedded`).
    /// Payload: the block as embedded, padded to 8 bytes.
    pub WriteEmbedded[48] {
        /// The object.
        object: ObjectId,
        /// Where in the object, in bytes.
        offset: u64,
        /// Size of the block in bytes.
        length: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
        /// How the payload is compressed.
        compression: CompressionType,
        /// What is embedded (`BP_EMBEDDED_TYPE_*`); 0: data.
        embedded_type: u8,
        /// Zero.
        pad: [u8; 6],
        /// Size of the payload in bytes, uncompressed.
        logical_size: u32,
        /// Size of the payload in bytes, as embedded.
        physical_size: u32,
    }
}

structure! {
    /// Announces a dnode block of a raw stream (`struct drr_object_range`).
    pub ObjectRange[64] {
        /// The first object of the block, a multiple of 32.
        first_object: ObjectId,
        /// Slots in the block: 32.
        slot_count: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
        /// Salt of the block's key.
        salt: [u8; 8],
        /// Initialization vector.
        iv: [u8; 12],
        /// Message authentication code.
        mac: [u8; 16],
        /// Flags.
        flags: RangeFlags,
        /// Zero.
        pad: [u8; 3],
    }
}

structure! {
    /// Says that a range of an object was left out on purpose (`struct drr_redact`).
    pub Redact[32] {
        /// The object.
        object: ObjectId,
        /// Where the range begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
        /// Guid of the snapshot that is sent.
        to_guid: Guid,
    }
}

impl Begin {
    /// The name up to the first NUL, or all 256 bytes where there is none.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let end = self.to_name.iter().position(|&b| b == 0).unwrap_or(self.to_name.len());
        &self.to_name[..end]
    }

    /// The field for a name; `None` when it does not fit with its NUL.
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
    /// Bytes of the bonus buffer behind the record: the whole area in raw streams, else the length
    /// rounded up to 8. Saturates for lengths that no dnode can have.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        if self.raw_bonus_len != 0 {
            self.raw_bonus_len
        } else {
            self.bonus_len.checked_next_multiple_of(8).unwrap_or(u32::MAX)
        }
    }

    /// Slots of 512 bytes that the dnode takes: 0, as old senders wrote, means 1.
    #[must_use]
    pub fn slots(&self) -> u8 {
        self.dnode_slots.max(1)
    }
}

impl Write {
    /// A block that is sent as it is: neither compressed nor encrypted, without a key for deduplication.
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

    /// Whether the payload is smaller than the block it stands for, or may be.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.compression != CompressionType::INHERIT
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        if self.is_compressed() { self.compressed_size } else { self.logical_size }
    }
}

impl Spill {
    /// Bytes of the payload. Unlike WRITE it goes by the size, not by the algorithm.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        if self.compressed_size != 0 { self.compressed_size } else { self.length }
    }
}

impl WriteEmbedded {
    /// Bytes of the payload: rounded up to 8. Saturates.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.physical_size.checked_next_multiple_of(8).unwrap_or(u32::MAX)
    }
}

/// The body of a record, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is documented with its structure")]
#[allow(clippy::large_enum_variant, reason = "one is alive at a time, and BEGIN is the rare one")]
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

/// Calls the same expression for the structure of each record type.
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
            /// Which type of record it is the body of.
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
    /// The guid of the snapshot that the record says it belongs to.
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

/// The 312 bytes of a record as they stand in the stream, and their byte order.
///
/// The bytes are the truth: fields are read out of them and written over them, so that what this
/// crate has no name for stays as it was.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    order: ByteOrder,
}

impl Header {
    /// A header with this body and nothing else set.
    #[must_use]
    pub fn new(body: impl Into<Body>, order: ByteOrder) -> Self {
        let body = body.into();
        let mut header = Self { bytes: [0; HEADER_LEN], order };
        order.put_u32(&mut header.bytes, body.record_type() as u32);
        body.encode(&mut header.bytes[BODY_OFFSET..], order);
        header
    }

    /// Takes bytes from a stream of this order.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER_LEN], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    /// The order that a BEGIN with these bytes would be in; `None` if its magic is wrong.
    #[must_use]
    pub fn begin_order(bytes: &[u8; HEADER_LEN]) -> Option<ByteOrder> {
        [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find(|order| order.u64(&bytes[BODY_OFFSET..]) == BEGIN_MAGIC)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// The order of its integers.
    #[must_use]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// `drr_type` as stored.
    #[must_use]
    pub fn type_number(&self) -> u32 {
        self.order.u32(&self.bytes)
    }

    /// What the record is; `None` for a number that does not exist.
    #[must_use]
    pub fn record_type(&self) -> Option<RecordType> {
        RecordType::from_number(self.type_number())
    }

    /// `drr_payloadlen` as stored; it counts in BEGIN only.
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

    /// Writes a body over the stored one and makes the record one of its type.
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

    /// Bytes of the payload that follows, as the record says it: nothing is judged here. 0 for a
    /// type that does not exist.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        // Only the structure that counts is parsed, not all of a body: this is done for every record, often.
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

    /// Turns the record into that of the other byte order. The payload is not touched, and neither
    /// are bytes that no field covers.
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

    /// The bytes between the end of the body and the checksum, which senders leave zero. Empty for
    /// BEGIN and for a type that does not exist.
    #[must_use]
    pub fn unused(&self) -> &[u8] {
        match self.record_type() {
            None => &[],
            // BEGIN's body reaches into the bytes of the checksum
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
        // Offsets inside the 312-byte record, from the format sheet.
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
