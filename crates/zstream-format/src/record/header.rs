//! The header of a record: its bytes, and what they hold.

use std::fmt;

use super::{
    BEGIN_MAGIC, BODY_OFFSET, Begin, Body, End, Free, FreeObjects, HEADER_LEN, Object, ObjectRange,
    RecordType, Redact, Spill, TRAILER_OFFSET, Write, WriteByref, WriteEmbedded, each_type,
};
use crate::checksum::Checksum;
use crate::order::ByteOrder;
use crate::wire::Field;

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
    pub(crate) fn begin_order(bytes: &[u8; HEADER_LEN]) -> Option<ByteOrder> {
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
