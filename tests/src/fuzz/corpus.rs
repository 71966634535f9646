//! What the fuzzers start from: pieces of the golden data.

use crate::edit::{rechained, records};
use crate::golden;
use zstream_format::algorithm::CompressionType;
use zstream_format::record::Body;

/// Streams above this size are left out: they are slow, and hold nothing that smaller ones do not.
const MAX_STREAM_BYTES: usize = 130 << 10;

/// The small golden streams, and the first records of the others.
pub fn streams() -> Vec<Vec<u8>> {
    golden::streams().iter().map(|name| shortened(golden::stream(name))).collect()
}

/// A stream of at most `MAX_STREAM_BYTES`: records without large payloads first, and then its END.
pub fn shortened(stream: Vec<u8>) -> Vec<u8> {
    if stream.len() <= MAX_STREAM_BYTES {
        return stream;
    }
    let pieces = records(&stream);
    let mut kept = Vec::new();
    let mut size = 0;
    for piece in &pieces {
        let len = piece.0.as_bytes().len() + piece.1.len();
        let is_frame = matches!(piece.0.body(), Some(Body::Begin(_) | Body::End(_)));
        if is_frame || size + len <= MAX_STREAM_BYTES && piece.1.len() <= 16 << 10 {
            size += len;
            kept.push(piece.clone());
        }
    }
    rechained(&kept).unwrap_or(stream)
}

/// The nvlists behind every BEGIN, without equal ones.
pub fn nvlists() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = golden::streams()
        .iter()
        .flat_map(|name| records(&golden::stream(name)))
        .filter(|(header, payload)| matches!(header.body(), Some(Body::Begin(_))) && !payload.is_empty())
        .map(|(_, payload)| payload)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Compressed blocks of one algorithm (gzip counts as one), as (algorithm, logical size, payload), with at most
/// `limit` of them.
pub fn blocks(
    kinds: impl Fn(CompressionType) -> bool,
    limit: usize,
) -> Vec<(CompressionType, usize, Vec<u8>)> {
    let mut found = Vec::new();
    for name in golden::streams().iter().filter(|n| n.ends_with("-c") || n.ends_with("-Lec")) {
        for (header, payload) in records(&golden::stream(name)) {
            let block = match header.body() {
                Some(Body::Write(w)) => (w.compression, w.logical_size as usize),
                Some(Body::WriteEmbedded(w)) => (w.compression, w.logical_size as usize),
                _ => continue,
            };
            if kinds(block.0) && found.len() < limit {
                found.push((block.0, block.1, payload));
            }
        }
    }
    found
}
