//! A stream that is not whole never passes for one: cut or flipped anywhere, in every kind of stream.

use zstream_format::record::RecordType;
use zstream_format::stream::{Error, StreamReader};
use zstream_tests::samples::{Sample, samples};

/// Bytes whose damage no checksum can show, as (sample, offset). There are none: what the trailers leave out in the
/// ENDs of packages has to be zero.
const UNCOVERED: &[(&str, usize)] = &[];

/// Reads to the end; how many bytes are vouched for.
fn verify(bytes: &[u8]) -> Result<u64, Error> {
    let mut reader = StreamReader::new(bytes);
    while reader.next()?.is_some() {}
    Ok(reader.verified())
}

/// The samples are what they say: whole, small, and together they hold every record type but the one of dedup'd
/// streams.
#[test]
fn samples_are_whole_and_of_every_kind() {
    let mut seen = std::collections::BTreeSet::new();
    for Sample { name, bytes } in samples() {
        assert_eq!(verify(&bytes).unwrap(), bytes.len() as u64, "{name}");
        assert!(bytes.len() < 64 << 10, "{name}: {} bytes", bytes.len());
        let records = zstream_tests::edit::records(&bytes);
        seen.extend(records.iter().filter_map(|(header, _)| header.record_type()));
    }
    let missing: Vec<_> = RecordType::ALL.iter().filter(|kind| !seen.contains(kind)).collect();
    assert_eq!(missing, [&RecordType::WriteByref]);
}

/// Cut at every byte: an error, which says that the stream ends too early, at a place inside of what is left.
#[test]
fn cut_anywhere() {
    for Sample { name, bytes } in samples() {
        for length in 0..bytes.len() {
            let error = verify(&bytes[..length]).expect_err("a cut stream is not whole");
            assert!(error.is_truncation(), "{name} cut to {length}: {error}");
            assert!(error.place().offset <= length as u64, "{name} cut to {length}: {error}");
        }
    }
}

/// One bit of every byte flipped: an error, at the record that holds the byte or at the one behind it.
#[test]
fn a_bit_flipped_anywhere() {
    for Sample { name, mut bytes } in samples() {
        let starts = starts(&bytes);
        let mut uncovered = Vec::new();
        for at in 0..bytes.len() {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            match verify(&bytes) {
                Ok(_) => uncovered.push(at),
                Err(error) => {
                    let (from, to) = blamed(name, &starts, at);
                    assert!((from..=to).contains(&error.place().offset), "{name}, byte {at}: {error}");
                }
            }
            bytes[at] ^= bit;
        }
        let expected: Vec<usize> = UNCOVERED.iter().filter(|(n, _)| *n == name).map(|(_, at)| *at).collect();
        assert_eq!(uncovered, expected, "{name}");
    }
}

/// Where each record starts and whether it is a BEGIN.
fn starts(bytes: &[u8]) -> Vec<(u64, bool)> {
    let mut starts = Vec::new();
    let mut reader = StreamReader::new(bytes);
    while let Some(record) = reader.next().expect("a whole stream") {
        starts.push((record.place.offset, record.header.record_type() == Some(RecordType::Begin)));
    }
    starts
}

/// The records that may be blamed for a flipped byte, from the first to the last. Without trailers it is found at the
/// END only, and a BEGIN that lies about its payload puts what follows out of step.
fn blamed(sample: &str, starts: &[(u64, bool)], at: usize) -> (u64, u64) {
    let holds = starts.iter().rposition(|(start, _)| *start <= at as u64).expect("the first starts at 0");
    let (start, is_begin) = starts[holds];
    let next = starts.get(holds + 1).map_or(start, |(next, _)| *next);
    if is_begin || sample == "no trailers" { (start, u64::MAX) } else { (start, next) }
}
