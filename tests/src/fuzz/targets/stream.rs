//! Whole streams.

use super::super::{Rng, mutate as damage};
use crate::edit::{Piece, rechained, records};
use std::io::{Cursor, Read};
use zstream_format::record::HEADER_LEN;
use zstream_format::stream::parallel::ParallelReader;
use zstream_format::stream::{Checking, Error, StreamReader, StreamWriter};

/// Half of the time bytes are damaged as they lie, which the first checksum sees. Otherwise records are: changed, doubled,
/// left out, moved, and the checksums made right again, so that what is behind them is reached.
pub(super) fn mutate(input: &mut Vec<u8>, rng: &mut Rng, corpus: &[Vec<u8>]) {
    if rng.one_in(2) {
        return damage::bytes(input, rng, corpus);
    }
    let mut pieces = records(input);
    let others = if rng.one_in(4) { records(rng.pick::<Vec<u8>>(corpus)) } else { pieces.clone() };
    for _ in 0..1 + rng.below(4) {
        if pieces.is_empty() {
            return;
        }
        let at = rng.below(pieces.len());
        match rng.below(6) {
            0 => drop(pieces.remove(at)),
            1 if !others.is_empty() => pieces.insert(at, rng.pick(&others).clone()),
            2 => {
                let to = rng.below(pieces.len());
                pieces.swap(at, to);
            }
            3 if !pieces[at].1.is_empty() => {
                // the length must stay, or the header would no longer fit
                let len = pieces[at].1.len();
                damage::bytes(&mut pieces[at].1, rng, corpus);
                pieces[at].1.resize(len, 0);
            }
            _ => change_header(&mut pieces[at], rng, corpus),
        }
    }
    if let Some(bytes) = rechained(&pieces) {
        *input = bytes;
    }
}

/// Damages a header; the payload gets the length that it then says, where that is small.
fn change_header(piece: &mut Piece, rng: &mut Rng, corpus: &[Vec<u8>]) {
    let mut bytes = piece.0.as_bytes().to_vec();
    damage::bytes(&mut bytes, rng, corpus);
    bytes.resize(HEADER_LEN, 0);
    if let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() {
        piece.0 = zstream_format::record::Header::from_bytes(*bytes, piece.0.order());
        if piece.0.payload_len() <= 64 << 10 {
            piece.1.resize(piece.0.payload_len() as usize, 0x55);
        }
    }
}

/// A record as (offset, header, payload).
type Copied = (u64, Vec<u8>, Vec<u8>);

/// What a reader gave: each record, how it ended, and what was verified.
#[derive(PartialEq, Eq)]
struct Outcome {
    records: Vec<Copied>,
    end: Option<String>,
    verified: u64,
    padding: u64,
}

fn read<R: Read>(
    mut reader: StreamReader<R>,
    mut next: impl FnMut(&mut StreamReader<R>) -> Result<Option<Copied>, Error>,
) -> Outcome {
    let mut records = Vec::new();
    let end = loop {
        match next(&mut reader) {
            Ok(Some(record)) => records.push(record),
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    Outcome { records, end, verified: reader.verified(), padding: reader.padding() }
}

fn whole<R: Read>(reader: &mut StreamReader<R>) -> Result<Option<Copied>, Error> {
    let record = reader.next()?;
    Ok(record.map(|r| (r.place.offset, r.header.as_bytes().to_vec(), r.payload.to_vec())))
}

fn header<R: Read>(reader: &mut StreamReader<R>) -> Result<Option<Copied>, Error> {
    let record = reader.next_header()?;
    Ok(record.map(|r| (r.place.offset, r.header.as_bytes().to_vec(), r.payload.to_vec())))
}

/// Gives a few bytes at a time, never the same number twice in a row.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.1 = (self.1 * 7 + 5) % 1021;
        let take = (self.1 + 1).min(self.0.len()).min(buf.len());
        buf[..take].copy_from_slice(&self.0[..take]);
        self.0 = &self.0[take..];
        Ok(take)
    }
}

/// In pieces = whole; skipped = read; written again = read; and nothing behind the last whole record is made up.
pub(super) fn run(input: &[u8]) {
    let sums = read(StreamReader::new(input), whole);
    let trickled = read(StreamReader::new(Trickle(input, 1)), whole);
    assert!(sums == trickled, "in pieces: {:?}, as a whole: {:?}", trickled.end, sums.end);

    let shape = read(StreamReader::new(input).checking(Checking::Shape), whole);
    let piped = read(StreamReader::new(input).checking(Checking::Shape), header);
    let sought = read(StreamReader::seekable(Cursor::new(input)).expect("memory seeks"), header);
    assert!(
        piped.records == sought.records && piped.end == sought.end && piped.padding == sought.padding,
        "{:?}, sought: {:?}",
        piped.end,
        sought.end
    );
    assert_eq!(shape.records.len(), piped.records.len());
    assert_eq!(shape.end, piped.end);
    for (read, skipped) in shape.records.iter().zip(&piped.records) {
        assert!(
            read.0 == skipped.0 && read.1 == skipped.1,
            "the record at {} when payloads are skipped",
            read.0
        );
    }
    assert!(shape.records.starts_with(&sums.records), "a reader that checks gives no other records");

    assert!(sums.verified <= input.len() as u64);
    let whole_streams: Vec<u8> =
        sums.records.iter().flat_map(|(_, h, p)| h.iter().chain(p)).copied().collect();
    assert!(input.starts_with(&whole_streams), "records are the bytes of the input");
    if sums.end.is_none() {
        let (stream, padding) = input.split_at(input.len() - sums.padding as usize);
        assert!(padding.iter().all(|byte| *byte == 0), "padding is zeros");
        assert_eq!(whole_streams.len(), stream.len());
        assert_eq!(sums.verified, stream.len() as u64, "a whole stream is verified to its end");
        let mut writer = StreamWriter::new(Vec::with_capacity(stream.len()));
        for (header, payload) in records(input) {
            writer.write(&header, &payload).expect("what was read can be written");
        }
        assert!(writer.finish().expect("a whole stream") == stream, "written again");
    }
}

/// The same records, the same error, the same part vouched for.
pub(super) fn run_parallel(input: &[u8]) {
    let one = read(StreamReader::new(input), whole);
    let mut records = Vec::new();
    let mut all = ParallelReader::new(input);
    let end = all.for_each(|r| {
        records.push((r.place.offset, r.header.as_bytes().to_vec(), r.payload.to_vec()));
        Ok(())
    });
    let (verified, padding) = (all.verified(), all.padding());
    let all = Outcome { records, end: end.err().map(|e| e.to_string()), verified, padding };
    assert_eq!(one.padding, all.padding);
    assert_eq!(one.end, all.end);
    assert_eq!(one.verified, all.verified);
    assert!(one.records == all.records, "{} records, on all cores {}", one.records.len(), all.records.len());
}
