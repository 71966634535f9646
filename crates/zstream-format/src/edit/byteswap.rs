//! Conversion of a stream to the other byte order, as a machine of that byte order would send it.
//!
//! | part | conversion |
//! | --- | --- |
//! | headers | every integer is swapped |
//! | bonus buffer of OBJECT | swapped by the class of its type |
//! | WRITE, SPILL | swapped by the class of their type; compressed blocks of a class other than bytes are decompressed first |
//! | WRITE_EMBEDDED | unchanged if the data of the object is bytes; otherwise converted to an uncompressed WRITE, because the record does not state its byte order |
//! | raw WRITE, SPILL, OBJECT_RANGE | payload unchanged; the flag for the other byte order is toggled |
//! | raw OBJECT | bonus swapped by the class of its type, as by a sender that reads a block of the other byte order: system attributes are bytes |
//! | native list after BEGIN | encoded again in XDR, padded to 8 bytes: receivers refuse native lists of the other byte order |
//! | XDR list | unchanged |
//!
//! Swapping twice restores the stream, except for native lists and for blocks that were decompressed or
//! embedded ([`ByteswapReport`] counts them).
//!
//! The type of an embedded block is known from the preceding OBJECT record. Senders write it directly before
//! the data of an object, so one object is remembered. Only data that a redaction had left out is sent without
//! an OBJECT (`zfs send -i #redaction_bookmark`); it is the content of files, which is bytes.

use std::borrow::Cow;
use std::io::{Read, Write};

use crate::algorithm::CompressionType;
use crate::byteswap::{SwapError, swap_block, swap_bonus_area};
use crate::compress::{CodecError, decompress};
use crate::edit::EditError;
use crate::effect::is_disguised_spill;
use crate::flags::{FeatureFlags, ObjectFlags, RangeFlags, SpillFlags, WriteFlags};
use crate::ids::ObjectId;
use crate::nvlist::{Encoding, NvList, Packed};
use crate::object_type::{ObjectType, SwapClass};
use crate::order::ByteOrder;
use crate::record::{Body, Header, MAX_BLOCK_BYTES, Object, Spill, Write as WriteBody, WriteEmbedded};
use crate::stream::{Error, Fault, Record, Role, StreamReader, StreamWriter};

/// The alignment to which a list is padded, as current receivers require of payloads.
const LIST_ALIGN: usize = 8;

/// The conversions besides swapping, which a second run does not undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteswapReport {
    /// The number of native lists that were encoded again in XDR.
    pub lists: u64,
    /// The number of blocks that were decompressed.
    pub decompressed: u64,
    /// The number of embedded blocks that were converted to uncompressed WRITEs.
    pub embedded: u64,
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

/// An error from swapping a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ByteswapError {
    /// The structure of the block is invalid.
    #[error("the block cannot be byte-swapped: {0}")]
    Block(#[from] SwapError),
    /// The block must be decompressed, which failed.
    #[error("the block cannot be decompressed for byte-swapping: {0}")]
    Codec(#[from] CodecError),
    /// The type of the object of an embedded block is unknown.
    #[error(
        "the embedded block of object {0} does not follow the OBJECT record of the object, so its type is unknown"
    )]
    NoObject(ObjectId),
    /// The block exceeds the maximum block size.
    #[error("the block is {found} bytes, the limit is {MAX_BLOCK_BYTES}")]
    TooLarge {
        /// The size in the record, in bytes.
        found: u64,
    },
}

impl From<ByteswapError> for Fault {
    fn from(error: ByteswapError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// Copies all streams of `source` to `sink` in the other byte order.
///
/// # Errors
/// Fails if the input is truncated or corrupt, if it has a block that cannot be swapped, and if the output fails.
/// The output written so far has no END then.
pub fn byteswap(source: impl Read, sink: impl Write) -> Result<ByteswapReport, EditError> {
    let mut reader = StreamReader::new(source);
    let mut writer = StreamWriter::new(sink);
    let mut swapper = Swapper::default();
    while let Some(record) = reader.next().map_err(EditError::Input)? {
        let place = record.place;
        let (header, payload) =
            swapper.swap(&record).map_err(|fault| EditError::Input(Error::new(fault, place)))?;
        writer.write(&header, &payload).map_err(EditError::Output)?;
    }
    writer.finish().map_err(EditError::Output)?;
    Ok(ByteswapReport { padding_bytes: reader.padding(), ..swapper.report })
}

/// A converter that swaps the records of a stream one by one.
#[derive(Debug, Default)]
struct Swapper {
    raw: bool,
    /// `true` if the source is redacted: data may be sent without its OBJECT.
    from_redacted: bool,
    /// The number, the type, and the bonus type of the last OBJECT.
    object: Option<(ObjectId, ObjectType, ObjectType)>,
    report: ByteswapReport,
}

impl Swapper {
    /// Returns the header and payload of the next record in the other byte order. The checksums in the header are
    /// only swapped; the writer must compute them again.
    ///
    /// # Errors
    /// Fails if a list or block cannot be swapped.
    fn swap<'a>(&mut self, record: &Record<'a>) -> Result<(Header, Cow<'a, [u8]>), Fault> {
        let from = record.header.order();
        let mut header = record.header.clone();
        header.byteswap();
        let payload = Cow::Borrowed(record.payload);
        let Some(body) = record.header.body() else { return Ok((header, payload)) };
        let payload = match body {
            Body::Begin(begin) => {
                if record.role == Role::SubstreamBegin {
                    self.raw = begin.version_info.features().contains(FeatureFlags::RAW);
                    (self.object, self.from_redacted) = (None, false);
                }
                let list = self.list(record.payload, from.swapped())?;
                header.set_payload_len_field(list.len() as u32);
                list
            }
            Body::Object(object) => {
                self.object = Some((object.object, object.object_type, object.bonus_type));
                self.object(object, &mut header, payload, from)?
            }
            Body::Write(write) => self.write(write, &mut header, payload, from)?,
            Body::Spill(spill) => self.spill(spill, &mut header, payload, from)?,
            Body::WriteEmbedded(embedded) => self.embedded(&embedded, &mut header, payload, from)?,
            Body::ObjectRange(mut range) => {
                range.flags.toggle(RangeFlags::RAW_BYTESWAP);
                header.set_body(range);
                payload
            }
            Body::FreeObjects(_) | Body::Free(_) | Body::End(_) | Body::WriteByref(_) | Body::Redact(_) => {
                payload
            }
        };
        Ok((header, payload))
    }

    fn list<'a>(&mut self, payload: &'a [u8], to: ByteOrder) -> Result<Cow<'a, [u8]>, Fault> {
        if payload.is_empty() {
            return Ok(Cow::Borrowed(payload));
        }
        let decoded = NvList::decode(payload)?;
        self.from_redacted = decoded.list.contains("redact_from_snaps");
        if decoded.packed.encoding == Encoding::Xdr {
            return Ok(Cow::Borrowed(payload));
        }
        self.report.lists += 1;
        let mut packed = decoded.list.encode(Packed::xdr(to))?;
        packed.resize(packed.len().next_multiple_of(LIST_ALIGN), 0);
        Ok(Cow::Owned(packed))
    }

    fn object<'a>(
        &self,
        mut object: Object,
        header: &mut Header,
        payload: Cow<'a, [u8]>,
        from: ByteOrder,
    ) -> Result<Cow<'a, [u8]>, ByteswapError> {
        if self.raw {
            object.flags.toggle(ObjectFlags::RAW_BYTESWAP);
            header.set_body(object);
            if object.bonus_len == 0 {
                return Ok(payload);
            }
            let (mut area, used) = (payload.into_owned(), object.bonus_len as usize);
            swap_bonus_area(object.bonus_type, &mut area, used, from)?;
            return Ok(Cow::Owned(area));
        }
        if payload.is_empty() { Ok(payload) } else { swapped(object.bonus_type, payload, from) }
    }

    fn write<'a>(
        &mut self,
        mut write: WriteBody,
        header: &mut Header,
        payload: Cow<'a, [u8]>,
        from: ByteOrder,
    ) -> Result<Cow<'a, [u8]>, ByteswapError> {
        if self.raw {
            write.flags.toggle(WriteFlags::RAW_BYTESWAP);
            header.set_body(write);
            return Ok(payload);
        }
        if !write.is_compressed() || is_bytes(write.object_type) {
            return swapped(write.object_type, payload, from);
        }
        let plain = inflate(write.compression, &payload, write.logical_size)?;
        self.report.decompressed += 1;
        (write.compression, write.compressed_size) = (CompressionType::INHERIT, 0);
        header.set_body(write);
        swapped(write.object_type, Cow::Owned(plain), from)
    }

    fn spill<'a>(
        &mut self,
        mut spill: Spill,
        header: &mut Header,
        payload: Cow<'a, [u8]>,
        from: ByteOrder,
    ) -> Result<Cow<'a, [u8]>, ByteswapError> {
        if self.raw {
            spill.flags.toggle(SpillFlags::RAW_BYTESWAP);
            header.set_body(spill);
            return Ok(payload);
        }
        if spill.compressed_size == 0 || is_bytes(spill.object_type) {
            return swapped(spill.object_type, payload, from);
        }
        let plain = inflate(spill.compression, &payload, spill.length)?;
        self.report.decompressed += 1;
        (spill.compression, spill.compressed_size) = (CompressionType::INHERIT, 0);
        header.set_body(spill);
        swapped(spill.object_type, Cow::Owned(plain), from)
    }

    fn embedded<'a>(
        &mut self,
        embedded: &WriteEmbedded,
        header: &mut Header,
        payload: Cow<'a, [u8]>,
        from: ByteOrder,
    ) -> Result<Cow<'a, [u8]>, ByteswapError> {
        let (object_type, bonus_type) = match self.object {
            Some((object, kind, bonus)) if object == embedded.object => (kind, bonus),
            _ if self.from_redacted => (ObjectType::PLAIN_FILE_CONTENTS, ObjectType::NONE),
            _ => return Err(ByteswapError::NoObject(embedded.object)),
        };
        // A spill block that was wrongly sent as a WRITE_EMBEDDED contains system attributes, which are bytes.
        let is_spill = is_disguised_spill(bonus_type, embedded.offset, embedded.logical_size.into());
        if is_bytes(object_type) || is_spill {
            return Ok(payload);
        }
        let stored = payload.get(..embedded.physical_size as usize).unwrap_or(&payload);
        let plain = inflate(embedded.compression, stored, embedded.logical_size.into())?;
        self.report.embedded += 1;
        // Senders write the same record if embedded blocks are not requested.
        let bytes = embedded.logical_size.into();
        let write = WriteBody::plain(embedded.object, object_type, embedded.offset, bytes, embedded.to_guid);
        header.set_body(write);
        swapped(object_type, Cow::Owned(plain), from)
    }
}

/// Returns `true` if blocks of the type are equal in both byte orders.
fn is_bytes(object_type: ObjectType) -> bool {
    object_type.swap_class() == Some(SwapClass::U8)
}

fn swapped(
    object_type: ObjectType,
    mut block: Cow<'_, [u8]>,
    from: ByteOrder,
) -> Result<Cow<'_, [u8]>, ByteswapError> {
    if !is_bytes(object_type) {
        swap_block(object_type, block.to_mut(), from)?;
    }
    Ok(block)
}

fn inflate(kind: CompressionType, stored: &[u8], size: u64) -> Result<Vec<u8>, ByteswapError> {
    if size > MAX_BLOCK_BYTES {
        return Err(ByteswapError::TooLarge { found: size });
    }
    // Both numbers mark an embedded block that is not compressed.
    let kind = if kind == CompressionType::INHERIT { CompressionType::OFF } else { kind };
    let mut block = vec![0; size as usize];
    decompress(kind, stored, &mut block)?;
    Ok(block)
}
