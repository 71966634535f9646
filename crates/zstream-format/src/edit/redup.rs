//! Conversion of a deduplicated stream into one without references (`zstream redup`), which current receivers
//! accept.
//!
//! A WRITE_BYREF refers to the block of an earlier WRITE anywhere in the file. The references are resolved with an
//! index of all WRITE records so far:
//!
//! ```text
//! (to_guid, object, offset) of a WRITE, as in the input  ->  offset of its header in the input
//! ```
//!
//! so the input must be a file that can be read at any offset. Memory: 32 bytes for each WRITE, in a table
//! that doubles when it is seven eighths full, so up to 75 bytes; and the largest block.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::{EditError, Trouble, rewrite};
use crate::flags::FeatureFlags;
use crate::ids::{Guid, ObjectId};
use crate::record::{self, Body, HEADER_LEN, Header, MAX_BLOCK_BYTES};
use crate::stream::{Fault, StreamReader, StreamWriter};

/// The numbers of records and references of a converted stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedupSummary {
    /// The number of records in the stream.
    pub records: u64,
    /// The number of records that were references.
    pub references: u64,
    /// The size of the index in bytes.
    pub index_bytes: u64,
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

/// The key by which references name a WRITE.
type Key = (Guid, ObjectId, u64);

/// The size of an entry in the index in bytes, with the overhead of the table.
const ENTRY_BYTES: usize = size_of::<(Key, u64)>() + 1;

/// Replaces each WRITE_BYREF of a stream by the WRITE that it refers to, under its own object, offset and guid, and
/// clears the features DEDUP and DEDUPPROPS.
///
/// `source` is read from start to end. `read_at` fills a buffer with the bytes of the same stream at an offset.
///
/// # Errors
/// Fails if the stream is corrupt, if a reference has no matching WRITE before it, or one of another size, and if
/// `read_at` or writing fails.
pub fn redup<R: Read, W: Write>(
    source: R,
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    sink: W,
) -> Result<(W, RedupSummary), EditError> {
    let mut index: HashMap<Key, u64> = HashMap::new();
    let mut summary = RedupSummary::default();
    let mut payload = Vec::new();
    let mut reader = StreamReader::new(source);
    let sink = rewrite(&mut reader, StreamWriter::new(sink), |record, writer| {
        summary.records += 1;
        match record.header.body() {
            Some(Body::Begin(mut begin)) => {
                let features = begin.version_info.features();
                let features = features - (FeatureFlags::DEDUP | FeatureFlags::DEDUPPROPS);
                begin.version_info = begin.version_info.with_features(features);
                let mut header = record.header.clone();
                header.set_body(begin);
                writer.write(&header, record.payload)?;
            }
            Some(Body::Write(write)) => {
                index.insert((write.to_guid, write.object, write.offset), record.place.offset);
                writer.write(record.header, record.payload)?;
            }
            Some(Body::WriteByref(byref)) => {
                summary.references += 1;
                let key = (byref.ref_guid, byref.ref_object, byref.ref_offset);
                let at =
                    *index.get(&key).ok_or_else(|| dangling(&byref, "no WRITE before it has this block"))?;
                let header = referenced(&byref, record.header, at, &mut read_at, &mut payload)?;
                writer.write(&header, &payload)?;
            }
            _ => writer.write(record.header, record.payload)?,
        }
        Ok(())
    })?;
    summary.padding_bytes = reader.padding();
    summary.index_bytes = (index.capacity() * ENTRY_BYTES) as u64;
    Ok((sink, summary))
}

/// The fault of a reference that cannot be resolved.
fn dangling(byref: &record::WriteByref, why: &str) -> Fault {
    let (guid, object, offset) = (byref.ref_guid.0, byref.ref_object.0, byref.ref_offset);
    Fault::Other(
        format!("reference to object {object} offset {offset} of snapshot {guid} cannot be resolved: {why}")
            .into(),
    )
}

/// Reads the WRITE at `at` into `payload`, and returns its header for the object and offset of the reference.
fn referenced(
    byref: &record::WriteByref,
    header: &Header,
    at: u64,
    read_at: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    payload: &mut Vec<u8>,
) -> Result<Header, Trouble> {
    let mut bytes = [0; HEADER_LEN];
    read_at(at, &mut bytes).map_err(Fault::Io)?;
    let mut found = Header::from_bytes(bytes, header.order());
    let Some(Body::Write(mut write)) = found.body() else {
        let why = "the block is in the other byte order, or the file changed while it was read";
        return Err(dangling(byref, why).into());
    };
    if write.logical_size != byref.length {
        let why = format!("the block is {} bytes, expected {}", write.logical_size, byref.length);
        return Err(dangling(byref, &why).into());
    }
    let len = write.payload_len();
    if len > MAX_BLOCK_BYTES {
        return Err(dangling(byref, "the file changed while it was read").into());
    }
    payload.resize(len as usize, 0);
    read_at(at + HEADER_LEN as u64, payload).map_err(Fault::Io)?;
    (write.object, write.offset, write.to_guid) = (byref.object, byref.offset, byref.to_guid);
    found.set_body(write);
    // The record gets a checksum if the reference that it replaces has one.
    found.set_trailer(header.trailer());
    Ok(found)
}
