//! Turning a deduplicated stream into a plain one (`zstream redup`), which receivers of today take.
//!
//! A WRITE_BYREF says: write here the block that an earlier WRITE carried, wherever in the file that was.
//! The references are resolved by an index of all WRITE records so far:
//!
//! ```text
//! (to_guid, object, offset) of a WRITE, as in the input  ->  where its header lies in the input
//! ```
//!
//! so the input has to be a file that can be read at any place. Memory: 32 bytes for each WRITE, in a table
//! that doubles when it is seven eighths full, so up to 75; and the largest block.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::{EditError, Trouble, rewrite};
use crate::flags::FeatureFlags;
use crate::ids::{Guid, ObjectId};
use crate::record::{self, Body, HEADER_LEN, Header, MAX_BLOCK_BYTES};
use crate::stream::{Fault, StreamReader, StreamWriter};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Records of the stream.
    pub records: u64,
    /// Those that were references.
    pub references: u64,
    /// Bytes that the index took.
    pub index_bytes: u64,
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

/// A WRITE by what refers to it.
type Key = (Guid, ObjectId, u64);

/// Bytes of an entry of the index, and of what the table keeps beside it.
const ENTRY_BYTES: usize = size_of::<(Key, u64)>() + 1;

/// Replaces each WRITE_BYREF of a stream by the WRITE it refers to, under its own object, offset and guid, and
/// clears the features DEDUP and DEDUPPROPS.
///
/// `source` is read from its start to its end. `read_at` fills a buffer with the bytes of the same stream from
/// an offset on.
///
/// # Errors
/// What is wrong with the stream: a reference to a WRITE that did not come before it, or to one of another
/// size, is. That `read_at` failed, or writing.
pub fn redup<R: Read, W: Write>(
    source: R,
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    sink: W,
) -> Result<(W, Summary), EditError> {
    let mut index: HashMap<Key, u64> = HashMap::new();
    let mut summary = Summary::default();
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
                    *index.get(&key).ok_or_else(|| dangling(&byref, "no WRITE before it wrote there"))?;
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

/// The fault of a reference that cannot be followed.
fn dangling(byref: &record::WriteByref, why: &str) -> Fault {
    let (guid, object, offset) = (byref.ref_guid.0, byref.ref_object.0, byref.ref_offset);
    Fault::Other(
        format!("reference to object {object} offset {offset} of snapshot {guid:x} leads nowhere: {why}")
            .into(),
    )
}

/// Reads the WRITE that lies at `at` and makes it one for the place that the reference stands for; its payload
/// comes into `payload`.
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
        let why = "the block there is of the other byte order, or the file changed while it was read";
        return Err(dangling(byref, why).into());
    };
    if write.logical_size != byref.length {
        let why = format!("the block there has {} bytes, expected {}", write.logical_size, byref.length);
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
    // Whether it gets a checksum is decided by the reference, whose place it takes.
    found.set_trailer(header.trailer());
    Ok(found)
}
