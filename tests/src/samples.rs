//! Small streams of every kind, cut out of the golden ones, for tests that try something at every byte.

use crate::edit::{Piece, rechained, records};
use crate::golden;
use zstream_format::record::{Body, RecordType};
use zstream_format::stream::{StreamReader, StreamWriter, Trailers};

/// Where the records of a whole stream begin, BEGIN first.
pub fn record_places(stream: &[u8]) -> Vec<usize> {
    let mut reader = StreamReader::new(stream);
    let mut places = Vec::new();
    while let Some(record) = reader.next().expect("a whole stream") {
        places.push(record.place.offset as usize);
    }
    places
}

/// A small stream.
pub struct Sample {
    /// What is special about it.
    pub name: &'static str,
    /// Its bytes: a whole stream with right checksums.
    pub bytes: Vec<u8>,
}

/// The golden streams that samples are taken from: one per kind.
const KINDS: &[(&str, &str)] = &[
    ("full", "fs-full"),
    ("incremental", "fs-incr"),
    ("compressed lzjb", "c-lzjb-c"),
    ("compressed gzip", "c-gzip-9-c"),
    ("compressed zstd", "c-zstd-3-c"),
    ("embedded", "fs-full-Lec"),
    ("clone", "clone-incr"),
    ("redacted", "fs-redacted"),
    ("resumed", "fs-full-resumed"),
    ("raw", "e-aes-256-gcm-raw"),
    ("raw incremental", "e-aes-128-ccm-raw-incr"),
    ("large dnodes", "dn-Lec"),
    ("zvol", "vol"),
    ("package", "tree-R"),
    ("package with properties", "fs-full-p"),
    ("package of increments", "fs-package-I"),
];

/// Payloads above this size are left out, BEGIN's aside.
const MAX_PAYLOAD_BYTES: usize = 2 << 10;
/// Records of one type per substream.
const MAX_RECORDS: usize = 3;

/// One small stream per kind, and of the first the form without trailers and the one in the other byte order
/// (its payload bytes stay as they are).
pub fn samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> = KINDS
        .iter()
        .map(|(name, from)| {
            let bytes = rechained(&few(&records(&golden::stream(from)))).expect("the records make a stream");
            Sample { name, bytes }
        })
        .collect();
    let full = records(&samples[0].bytes);
    let mut swapped = full.clone();
    swapped.iter_mut().for_each(|(header, _)| header.byteswap());
    samples.push(Sample {
        name: "other byte order",
        bytes: rechained(&swapped).expect("the swapped records make a stream"),
    });
    let mut writer = StreamWriter::new(Vec::new()).trailers(Trailers::Never);
    for (header, payload) in &full {
        writer.write(header, payload).expect("the same records");
    }
    samples.push(Sample { name: "no trailers", bytes: writer.finish().expect("a whole stream") });
    samples
}

/// A few records of each type in each substream.
fn few(pieces: &[Piece]) -> Vec<Piece> {
    let mut seen = [0; RecordType::ALL.len()];
    let mut kept = Vec::new();
    for (header, payload) in pieces {
        let Some(body) = header.body() else { continue };
        if matches!(body, Body::Begin(_)) {
            seen = [0; RecordType::ALL.len()];
        }
        let is_frame = matches!(body, Body::Begin(_) | Body::End(_));
        let count = &mut seen[body.record_type() as usize];
        if is_frame || payload.len() <= MAX_PAYLOAD_BYTES && *count < MAX_RECORDS {
            *count += 1;
            kept.push((header.clone(), payload.clone()));
        }
    }
    kept
}
