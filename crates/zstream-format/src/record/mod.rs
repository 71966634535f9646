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

mod bodies;
mod header;

use std::fmt;

use crate::ids::Guid;
use crate::order::ByteOrder;

pub use self::bodies::{
    Begin, End, Free, FreeObjects, Object, ObjectRange, Redact, Spill, Write, WriteByref, WriteEmbedded,
};
pub use self::header::Header;

/// The size of the header of a record in bytes.
pub const HEADER_LEN: usize = 312;
/// The offset of the body.
pub(crate) const BODY_OFFSET: usize = 8;
/// The offset of the checksum in every record except BEGIN.
pub const TRAILER_OFFSET: usize = 280;
/// The magic number at the start of the body of every BEGIN.
pub const BEGIN_MAGIC: u64 = 0x0000_0002_F5BA_CBAC;
/// The `length` of a FREE up to the end of the object (`DMU_OBJECT_END`).
pub const TO_OBJECT_END: u64 = u64::MAX;
/// The maximum block size of ZFS, and so the maximum payload of WRITE and SPILL (`SPA_MAXBLOCKSIZE`).
pub const MAX_BLOCK_BYTES: u64 = 16 << 20;
/// The maximum payload of a block pointer with embedded data (`BPE_PAYLOAD_SIZE`).
pub(crate) const MAX_EMBEDDED_BYTES: u32 = 112;
/// The limit for a bonus buffer: the size of the largest dnode, 16 KiB. Raw streams contain the whole area.
pub(crate) const MAX_BONUS_BYTES: u32 = 16 << 10;
/// The maximum size of the nvlist after a BEGIN, as in OpenZFS.
pub(crate) const MAX_BEGIN_PAYLOAD_BYTES: u32 = 256 << 20;

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
use each_type;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::CompressionType;
    use crate::flags::RangeFlags;
    use crate::object_type::ObjectType;

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
