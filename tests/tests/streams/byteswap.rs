//! `byteswap` over the golden streams. That the real `zfs receive` takes the results is `tests/interop/byteswap.sh`.

use zstream_format::edit::{ByteswapReport, byteswap};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Body, Header};
use zstream_format::verify::{Options, verify_one_core};
use zstream_tests::edit::{rechained, records};
use zstream_tests::golden;
use zstream_tests::samples::samples;

fn swapped(stream: &[u8]) -> (Vec<u8>, ByteswapReport) {
    let mut out = Vec::with_capacity(stream.len());
    let report = byteswap(stream, &mut out).unwrap_or_else(|error| panic!("{error}"));
    (out, report)
}

fn whole_streams() -> impl Iterator<Item = (String, Vec<u8>)> {
    let names = golden::streams().into_iter().filter(|name| !name.ends_with("-saved"));
    names.map(|name| (name.clone(), golden::stream(&name)))
}

/// The result is whole, all of it in the other order, and holds the same records.
#[test]
fn swapped_streams_are_whole() {
    let deep = Options { deep: true, ..Options::default() };
    for (name, stream) in whole_streams() {
        let (other, _) = swapped(&stream);
        let verdict = verify_one_core(&other[..], deep);
        assert!(verdict.is_good(), "{name}: {:?}", verdict.error);
        let (before, after) = (records(&stream), records(&other));
        assert_eq!(before.len(), after.len(), "{name}");
        for ((a, _), (b, _)) in before.iter().zip(&after) {
            assert_eq!(b.order(), a.order().swapped(), "{name}");
            let embedded_to_write =
                matches!((a.body(), b.body()), (Some(Body::WriteEmbedded(_)), Some(Body::Write(_))));
            assert!(embedded_to_write || a.record_type() == b.record_type(), "{name}: {a:?} became {b:?}");
        }
    }
}

/// Twice is the identity, but for what the report counts; and the form that is reached by then stays.
#[test]
fn twice_is_the_identity() {
    let mut exceptions = Vec::new();
    for (name, stream) in whole_streams() {
        let (once, report) = swapped(&stream);
        let (twice, again) = swapped(&once);
        assert_eq!(again, ByteswapReport::default(), "{name}: nothing is left to be done the second time");
        if report == ByteswapReport::default() {
            assert!(twice == stream, "{name}");
        } else {
            assert!(twice != stream, "{name}: {report:?} says that something is not undone");
            exceptions.push(name.clone());
        }
        assert!(swapped(&twice).0 == once, "{name}: three times is once");
    }
    // Raw, redacted and resumed streams have native lists; embedded directories are written out.
    let expected = |name: &str| {
        ["raw", "redacted", "resumed", "redbook", "unredact"].iter().any(|part| name.contains(part))
            || ["fs-full-e", "fs-full-Lec", "fs-incr-ec", "dn-Lec", "rs1m-Lec", "rs4k-Lec", "rs512-Lec"]
                .contains(&name)
    };
    for (name, _) in whole_streams() {
        assert_eq!(exceptions.contains(&name), expected(&name), "{name}");
    }
}

/// A directory's block is not just left as it is: names stay, numbers turn round.
#[test]
fn payloads_are_swapped_by_their_type() {
    let stream = golden::stream("fs-full");
    let (other, _) = swapped(&stream);
    let (mut zaps, mut files) = (0, 0);
    for ((header, before), (_, after)) in records(&stream).iter().zip(&records(&other)) {
        let Some(Body::Write(write)) = header.body() else { continue };
        if write.object_type.is_metadata() {
            let kind = ByteOrder::Little.u64(before);
            assert_eq!(ByteOrder::Big.u64(after), kind, "the first word of every ZAP block is its kind");
            assert_ne!(before, after);
            zaps += 1;
        } else {
            assert_eq!(before, after, "the content of files is bytes");
            files += 1;
        }
    }
    assert!(zaps > 5 && files > 100, "{zaps} {files}");
}

/// Raw blocks stay as they are; their records say that they are in the other order now.
#[test]
fn raw_records_say_that_they_are_swapped() {
    let stream = golden::stream("e-aes-256-gcm-raw");
    let (other, _) = swapped(&stream);
    let flag = |header: &Header| match header.body() {
        Some(Body::Object(body)) => Some(body.flags.bits() & 2 != 0),
        Some(Body::Write(body)) => Some(body.flags.bits() & 2 != 0),
        Some(Body::Spill(body)) => Some(body.flags.bits() & 2 != 0),
        Some(Body::ObjectRange(body)) => Some(body.flags.bits() & 2 != 0),
        _ => None,
    };
    let mut seen = 0;
    for ((a, before), (b, after)) in records(&stream).iter().zip(&records(&other)).skip(1) {
        if let Some(now) = flag(b) {
            assert_eq!((flag(a), now), (Some(false), true), "{a:?}");
            seen += 1;
        }
        assert_eq!(before, after);
    }
    assert!(seen > 100);
}

/// Cut anywhere, nothing that passes for a whole stream comes out.
#[test]
fn cut_input_makes_no_whole_output() {
    for sample in samples().into_iter().take(6) {
        for length in (0..sample.bytes.len()).step_by(37) {
            let mut out = Vec::new();
            assert!(byteswap(&sample.bytes[..length], &mut out).is_err(), "{} cut to {length}", sample.name);
            assert!(
                !verify_one_core(&out[..], Options::default()).is_good(),
                "{} cut to {length}",
                sample.name
            );
        }
    }
}

/// An embedded block of an object that nothing is known of cannot be swapped, and is not passed on as it is.
#[test]
fn an_embedded_block_without_its_object_is_refused() {
    let mut pieces = records(&golden::stream("fs-full-Lec"));
    let at = pieces.iter().position(|(h, _)| matches!(h.body(), Some(Body::WriteEmbedded(_)))).expect("one");
    let object =
        pieces[..at].iter().rposition(|(h, _)| matches!(h.body(), Some(Body::Object(_)))).expect("its");
    pieces.remove(object);
    let stream = rechained(&pieces).expect("a stream");
    let error = byteswap(&stream[..], &mut Vec::new()).expect_err("the type is not known");
    assert!(error.to_string().contains("does not follow the OBJECT record"), "{error}");
}
