//! Edits of streams that tests need, made of the library's parts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use zstream_format::algorithm::CompressionType;
use zstream_format::checksum::Checksum;
use zstream_format::compress::{compress_for_stream, decompress};
use zstream_format::flags::{FeatureFlags, HeaderType};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::record::{Body, Header, Write, WriteByref};
use zstream_format::stream::{StreamReader, StreamWriter};

/// A record as it lies in a stream.
pub type Piece = (Header, Vec<u8>);

/// Takes a stream apart; stops at the first record that cannot be read.
pub fn records(stream: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut reader = StreamReader::new(stream);
    while let Ok(Some(record)) = reader.next() {
        pieces.push((record.header.clone(), record.payload.to_vec()));
    }
    pieces
}

/// Puts records together with right checksums; `None` where they do not make a stream.
pub fn rechained(pieces: &[Piece]) -> Option<Vec<u8>> {
    let mut writer = StreamWriter::new(Vec::new());
    for (header, payload) in pieces {
        writer.write(header, payload).ok()?;
    }
    Some(writer.into_inner())
}

/// The stream with the block of every WRITE in another form, as `zstream recompress TYPE` makes it; to `off` they
/// become plain. Not for raw streams.
pub fn recompress(stream: &[u8], to: CompressionType) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new());
    for (header, payload) in records(stream) {
        let (header, payload) = recompressed(&header, &payload, to);
        writer.write(&header, &payload).expect("only the block's form has changed");
    }
    writer.into_inner()
}

/// A WRITE with its block in another form; any other record as it is.
fn recompressed(header: &Header, payload: &[u8], to: CompressionType) -> Piece {
    let Some(Body::Write(mut write)) = header.body() else { return (header.clone(), payload.to_vec()) };
    let mut block = vec![0; write.logical_size as usize];
    match write.compression {
        CompressionType::INHERIT => block.copy_from_slice(payload),
        from => decompress(from, payload, &mut block).expect("a block of OpenZFS"),
    }
    let made = match to {
        CompressionType::OFF => None,
        to => compress_for_stream(to, None, &block).expect("a block of a stream"),
    };
    (write.compression, write.compressed_size) = match &made {
        Some(made) => (to, made.len() as u64),
        None => (CompressionType::INHERIT, 0),
    };
    let mut header = header.clone();
    header.set_body(write);
    (header, made.unwrap_or(block))
}

/// Whether the stream is a package: more than one BEGIN.
pub fn is_package(stream: &[u8]) -> bool {
    records(stream).iter().filter(|(header, _)| matches!(header.body(), Some(Body::Begin(_)))).count() > 1
}

/// The stream as OpenZFS's `zstream` would have written it after an edit of `original`: with the features that
/// the original announces, and with checksums at the end of all ENDs.
pub fn as_openzfs(edited: &[u8], original: &[u8]) -> Vec<u8> {
    let mut given = records(original).into_iter().filter_map(|(header, _)| features(&header));
    let mut writer = StreamWriter::new(Vec::new());
    for (mut header, payload) in records(edited) {
        match header.body() {
            Some(Body::Begin(mut begin)) => {
                let features = given.next().expect("as many BEGINs as in the original");
                begin.version_info = begin.version_info.with_features(features);
                header.set_body(begin);
            }
            // not zero: the writer puts the right one there
            Some(Body::End(_)) => header.set_trailer(Checksum([1, 0, 0, 0])),
            _ => {}
        }
        writer.write(&header, &payload).expect("only flags and checksums have changed");
    }
    writer.into_inner()
}

/// The features that a BEGIN announces; `None` for other records.
pub fn features(header: &Header) -> Option<FeatureFlags> {
    match header.body() {
        Some(Body::Begin(begin)) => Some(begin.version_info.features()),
        _ => None,
    }
}

/// The stream as `zfs send -D` of old would have written it: a WRITE that repeats an earlier one is a reference
/// to that. Also how many references there are.
pub fn deduplicated(stream: &[u8]) -> (Vec<u8>, usize) {
    let mut seen: HashMap<(Vec<u8>, Vec<u8>), Write> = HashMap::new();
    let mut writer = StreamWriter::new(Vec::new());
    let mut references = 0;
    for (mut header, payload) in records(stream) {
        match header.body() {
            Some(Body::Begin(mut begin)) if begin.version_info.header_type() == HeaderType::Substream => {
                let features = begin.version_info.features() | FeatureFlags::DEDUP;
                begin.version_info = begin.version_info.with_features(features);
                header.set_body(begin);
            }
            Some(Body::Write(write)) => {
                let anywhere = Write { object: ObjectId(0), offset: 0, to_guid: Guid(0), ..write };
                match seen.entry((Header::new(anywhere, header.order()).as_bytes().to_vec(), payload.clone()))
                {
                    Entry::Vacant(entry) => {
                        entry.insert(write);
                    }
                    Entry::Occupied(entry) => {
                        references += 1;
                        let mut byref = Header::new(reference(&write, entry.get()), header.order());
                        byref.set_trailer(header.trailer());
                        writer.write(&byref, &[]).expect("a reference");
                        continue;
                    }
                }
            }
            _ => {}
        }
        writer.write(&header, &payload).expect("the same records");
    }
    (writer.into_inner(), references)
}

/// The record that writes the block of `first` where `write` would.
fn reference(write: &Write, first: &Write) -> WriteByref {
    WriteByref {
        object: write.object,
        offset: write.offset,
        length: write.logical_size,
        to_guid: write.to_guid,
        ref_guid: first.to_guid,
        ref_object: first.object,
        ref_offset: first.offset,
        checksum_type: write.checksum_type,
        flags: write.flags,
        pad: [0; 6],
        key_checksum: write.key_checksum,
        key_prop: write.key_prop,
    }
}
