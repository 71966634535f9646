//! Edits of whole streams, and the judgement of `verify`.

use std::sync::Arc;

use crate::edit::records;
use zstream_format::edit::resume::{Next, find};
use zstream_format::edit::{ByteswapReport, SelectedForm, Selector, byteswap, select};
use zstream_format::record::Body;
use zstream_format::stream::StreamReader;
use zstream_format::summary::summarize;
use zstream_format::verify::{Options, Verdict, verify, verify_at, verify_one_core};

fn told(verdict: &Verdict) -> String {
    format!("{:?}", (verdict.error.as_ref().map(ToString::to_string), verdict))
}

/// On all cores, on one, and read or viewed at any place the verdict is the same. What the reader refuses is never good, and a
/// look into the payloads finds no less.
pub(super) fn run_verify(input: &[u8]) {
    let plain = Options::default();
    let one = verify_one_core(input, plain);
    assert_eq!(told(&one), told(&verify(input, plain)));
    assert_eq!(told(&one), told(&verify_at(&input, 0, plain)));
    assert_eq!(told(&one), told(&verify_at(&Arc::new(input.to_vec()), 0, plain)));
    assert!(one.good_bytes <= one.bytes && one.bytes <= input.len() as u64);
    let mut reader = StreamReader::new(input);
    let whole = loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(whole || !one.is_good());
    let deep = verify_one_core(input, Options { deep: true, ..plain });
    assert!(one.is_good() || !deep.is_good());
}

/// Swapped twice is the identity, but for what is reported; three times is once.
pub(super) fn run_byteswap(input: &[u8]) {
    let swap = |input: &[u8]| {
        let mut out = Vec::with_capacity(input.len());
        byteswap(input, &mut out).map(|report| (out, report))
    };
    let Ok((once, report)) = swap(input) else { return };
    let (twice, again) = swap(&once).expect("what was swapped can be swapped back");
    assert_eq!(again, ByteswapReport::default());
    let padding = report.padding_bytes as usize;
    let mut unchanged = ByteswapReport::default();
    unchanged.padding_bytes = report.padding_bytes;
    let changed = report != unchanged;
    assert!(changed || twice == input[..input.len() - padding], "there and back");
    assert!(swap(&twice).expect("again").0 == once, "three times is once");
}

/// The point at which a stream can go on lies between records of what is vouched for. And each snapshot that is
/// selected is that part of the input.
pub(super) fn run_resume(input: &[u8]) {
    let found = find(input);
    if let Next::Resume(point) = &found.next {
        let mut reader = StreamReader::new(input);
        let mut met = false;
        while let Ok(Some(record)) = reader.next() {
            met |= record.place.offset == point.keep_bytes;
        }
        assert!(met, "{} is not where a record begins", point.keep_bytes);
        assert!(point.keep_bytes < reader.verified());
        point.token.encode().expect("a token");
    }
    assert!(found.whole.windows(2).all(|pair| pair[0].end < pair[1].end));
    if found.error.is_some() {
        return;
    }
    let summary = summarize(StreamReader::new(input));
    assert_eq!(found.whole.len(), summary.snapshots.len());
    for (header, _) in records(input) {
        let Some(Body::Begin(begin)) = header.body() else { continue };
        let wanted = [Selector::new(begin.name())];
        let mut out = Vec::new();
        select(input, &wanted, &SelectedForm::Plain, &mut out).expect("a whole stream");
        let parts: Vec<u8> = summary
            .snapshots
            .iter()
            .filter(|snapshot| wanted[0].matches(snapshot.name.as_bytes()))
            .flat_map(|part| &input[part.offset as usize..(part.offset + part.bytes) as usize])
            .copied()
            .collect();
        assert!(out == parts);
    }
}
