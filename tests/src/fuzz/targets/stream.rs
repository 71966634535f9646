//! Whole streams.

use super::super::{Rng, mutate as damage};
use crate::edit::{Piece, rechained, records};
use std::io::{Cursor, Read};
use zstream_format::nvlist::{NvList, NvValue};
use zstream_format::record::{HEADER_LEN, Header};
use zstream_format::stream::{Checking, Error, ParallelReader, StreamReader, StreamWriter};

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
        match rng.below(8) {
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
            4 => {
                let from = rng.pick(&others).0.as_bytes().to_vec();
                copy_field(&mut pieces[at], &from, rng);
            }
            5 if !pieces[at].1.is_empty() => change_list(&mut pieces[at], rng),
            _ => change_header(&mut pieces[at], rng, corpus),
        }
    }
    if let Some(bytes) = rechained(&pieces) {
        *input = bytes;
    }
}

/// Where the fields of a record begin, and how long the longest body is.
const FIELDS: std::ops::Range<usize> = 8..8 + 132;

/// Overwrites a field by one of another record: objects, offsets, lengths and guids that there are.
fn copy_field(piece: &mut Piece, from: &[u8], rng: &mut Rng) {
    let mut bytes = *piece.0.as_bytes();
    let place = |rng: &mut Rng| FIELDS.start + 8 * rng.below(FIELDS.len() / 8);
    let to = place(rng);
    let at = if rng.one_in(2) { to } else { place(rng) };
    bytes[to..to + 8].copy_from_slice(&from[at..at + 8]);
    set_header(piece, bytes);
}

/// Changes the list of a package, or of what a raw stream says of its keys: the payload of a BEGIN.
fn change_list(piece: &mut Piece, rng: &mut Rng) {
    let Ok(decoded) = NvList::decode(&piece.1) else { return };
    let mut list = decoded.list;
    change_pairs(&mut list, rng);
    let Ok(bytes) = list.encode(decoded.packed) else { return };
    piece.0.set_payload_len_field(bytes.len() as u32);
    piece.1 = bytes;
}

/// Changes one pair of a list or of a list in it: its value, or the pairs that there are.
fn change_pairs(list: &mut NvList, rng: &mut Rng) {
    const NUMBERS: [u64; 8] = [0, 1, 2, 0xff, u32::MAX as u64, i64::MAX as u64, 1 << 63, u64::MAX];
    const NAMES: [&str; 8] = ["", "tank", "tank/fs", "/", "@", "a/../b", "tank/fs@a", "x\u{1b}[2J"];
    if list.is_empty() {
        return;
    }
    let at = rng.below(list.len());
    let other = list.iter().nth(rng.below(list.len())).cloned();
    let Some(pair) = list.iter_mut().nth(at) else { return };
    match &mut pair.value {
        NvValue::List(inner) if !rng.one_in(4) => change_pairs(inner, rng),
        NvValue::ListArray(all) if !all.is_empty() && !rng.one_in(4) => {
            let at = rng.below(all.len());
            change_pairs(&mut all[at], rng);
        }
        NvValue::Uint64(number) if rng.one_in(2) => *number = *rng.pick(&NUMBERS),
        NvValue::String(text) if rng.one_in(2) => *text = (*rng.pick(&NAMES)).into(),
        value => {
            let name = pair.name.clone();
            match (rng.below(4), other) {
                (0, Some(other)) => *value = other.value,
                (1, Some(other)) => pair.name = other.name,
                (2, Some(other)) => {
                    list.push(other.name, other.value);
                }
                _ => {
                    let kept = list.iter().filter(|pair| pair.name != name).cloned().collect::<Vec<_>>();
                    *list = NvList::new();
                    for pair in kept {
                        list.push(pair.name, pair.value);
                    }
                }
            }
        }
    }
}

/// Damages a header; the payload gets the length that it then says, where that is small.
fn change_header(piece: &mut Piece, rng: &mut Rng, corpus: &[Vec<u8>]) {
    let mut bytes = piece.0.as_bytes().to_vec();
    damage::bytes(&mut bytes, rng, corpus);
    bytes.resize(HEADER_LEN, 0);
    if let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() {
        set_header(piece, *bytes);
    }
}

fn set_header(piece: &mut Piece, bytes: [u8; HEADER_LEN]) {
    piece.0 = Header::from_bytes(bytes, piece.0.order());
    if piece.0.payload_len() <= 64 << 10 {
        piece.1.resize(piece.0.payload_len() as usize, 0x55);
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
