//! Comparing streams that were made here with those that OpenZFS made.

use zstream_format::record::{Body, TO_OBJECT_END};
use zstream_format::stream::{StreamReader, StreamWriter};

/// Our sender brings back the last block of an object where a redaction left it out; that of 2.3.2 does not
/// (OpenZFS issue 18477). These are the golden streams in which it shows, and the records they lack: object and offset.
const LACKING: [(&str, &[(u64, u64)]); 2] =
    [("fs-from-redbook", &[(130, 131_072)]), ("fs-unredact", &[(128, 0), (130, 131_072)])];

/// The stream without the records that the golden one of this name lacks, each of which must be there.
pub fn as_golden(name: &str, stream: &[u8]) -> Vec<u8> {
    match LACKING.iter().find(|(lacks, _)| *lacks == name) {
        Some((_, lacking)) => without_blocks(name, stream, lacking),
        None => stream.to_vec(),
    }
}

/// The stream without the records at these objects and offsets, each of which must be there.
pub fn without_blocks(name: &str, stream: &[u8], places: &[(u64, u64)]) -> Vec<u8> {
    let mut left_out = 0;
    let mut writer = StreamWriter::new(Vec::new());
    let mut reader = StreamReader::new(stream);
    while let Some(record) = reader.next().unwrap() {
        let place = match record.header.body() {
            Some(Body::Write(write)) => Some((write.object.0, write.offset)),
            Some(Body::Free(free)) if free.length != TO_OBJECT_END => Some((free.object.0, free.offset)),
            _ => None,
        };
        if place.is_some_and(|place| places.contains(&place)) {
            left_out += 1;
        } else {
            writer.write(record.header, record.payload).unwrap();
        }
    }
    assert_eq!(left_out, places.len(), "{name}");
    writer.finish().unwrap()
}

/// Where two streams part, told by record.
pub fn difference(found: &[u8], expected: &[u8]) -> String {
    let (mut ours, mut theirs) = (StreamReader::new(found), StreamReader::new(expected));
    let mut payloads = (Vec::new(), Vec::new());
    for record in 0.. {
        let next = |reader: &mut StreamReader<&[u8]>, payload: &mut Vec<u8>| match reader.next() {
            Ok(Some(record)) => {
                *payload = record.payload.to_vec();
                format!("{:?}", record.header)
            }
            other => format!("{other:?}"),
        };
        let (a, b) = (next(&mut ours, &mut payloads.0), next(&mut theirs, &mut payloads.1));
        if a != b || payloads.0 != payloads.1 {
            let at = payloads.0.iter().zip(&payloads.1).position(|(a, b)| a != b);
            return format!("record {record}:\n  {a}\n  {b}\n  payloads differ from {at:?} on");
        }
        if a.starts_with("Ok(None)") {
            return "no record differs".to_owned();
        }
    }
    unreachable!()
}

/// Fails at its end, with everything that differs.
#[derive(Debug, Default)]
pub struct Comparison(Vec<String>);

impl Comparison {
    /// Compares two streams.
    pub fn add(&mut self, name: &str, found: &[u8], expected: &[u8]) {
        if found != expected {
            self.fail(format!("{name}: {}", difference(found, expected)));
        }
    }

    /// Tells of something else that is wrong.
    pub fn fail(&mut self, what: String) {
        self.0.push(what);
    }
}

impl Drop for Comparison {
    fn drop(&mut self) {
        assert!(self.0.is_empty() || std::thread::panicking(), "{}", self.0.join("\n"));
    }
}
