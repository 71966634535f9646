//! Edits of streams that tests need, made of the library's parts.

use crate::fuzz::corpus::{Piece, records};
use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{compress_for_stream, decompress};
use zstream_format::record::{Body, Header};
use zstream_format::stream::StreamWriter;

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
