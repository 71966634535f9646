//! `redup`: what dedup'd streams turn into.

use std::io;

use zstream_format::edit::{EditError, RedupSummary, redup};
use zstream_format::order::ByteOrder;
use zstream_format::record::{Body, Header};
use zstream_tests::edit::{as_openzfs, deduplicated};
use zstream_tests::edit::{rechained, records};
use zstream_tests::{golden, openzfs, program};

/// Reads at any place of bytes in memory.
fn reading(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> {
    |at, buffer| {
        let from = bytes.get(at as usize..at as usize + buffer.len());
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn redupped(stream: &[u8]) -> Result<(Vec<u8>, RedupSummary), EditError> {
    redup(stream, reading(stream), Vec::new())
}

/// Golden streams with repeated blocks, dedup'd: (name, original, dedup'd, references).
fn cases() -> impl Iterator<Item = (String, Vec<u8>, Vec<u8>, usize)> {
    let whole = golden::streams().into_iter().filter(|name| !name.ends_with("-saved"));
    whole.filter_map(|name| {
        let stream = golden::stream(&name);
        let (deduped, references) = deduplicated(&stream);
        (references > 0).then_some((name, stream, deduped, references))
    })
}

/// A stream that was dedup'd is the original again, to the bit: and so is a package, whose references may
/// cross snapshots.
#[test]
fn dedupped_and_back() {
    let mut seen = Vec::new();
    for (name, stream, deduped, references) in cases() {
        assert!(deduped.len() < stream.len(), "{name}");
        let (back, summary) = redupped(&deduped).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(back == stream, "{name}");
        assert_eq!(summary.references, references as u64, "{name}");
        assert_eq!(summary.records, records(&stream).len() as u64, "{name}");
        seen.push(name);
    }
    for name in ["c-off-c", "rs1m", "fs-package-I"] {
        assert!(seen.iter().any(|seen| seen == name), "no references in {name}, only in {seen:?}");
    }
}

/// A stream without references does not change.
#[test]
fn nothing_to_do() {
    for name in ["vol", "tree-R", "e-aes-256-gcm-raw", "fs-redacted"] {
        let stream = golden::stream(name);
        assert!(redupped(&stream).unwrap().0 == stream, "{name}");
    }
}

/// The other byte order.
#[test]
fn other_byte_order() {
    let swap = |stream: &[u8]| {
        let mut pieces = records(stream);
        pieces.iter_mut().for_each(|(header, _)| header.byteswap());
        assert!(pieces.iter().all(|(header, _)| header.order() == ByteOrder::Big));
        rechained(&pieces).unwrap()
    };
    let stream = golden::stream("c-off-c");
    let (deduped, _) = deduplicated(&stream);
    assert!(redupped(&swap(&deduped)).unwrap().0 == swap(&stream));
}

/// The first reference of a stream, changed by `change`, is refused with these words and its place.
#[track_caller]
fn refused(change: impl Fn(&mut zstream_format::record::WriteByref), words: &str) {
    let (deduped, _) = deduplicated(&golden::stream("c-off-c"));
    let mut pieces = records(&deduped);
    let (at, (header, _)) = pieces
        .iter_mut()
        .enumerate()
        .find(|(_, (header, _))| matches!(header.body(), Some(Body::WriteByref(_))))
        .unwrap();
    let Some(Body::WriteByref(mut byref)) = header.body() else { panic!("found above") };
    change(&mut byref);
    header.set_body(byref);
    let Err(EditError::Input(error)) = redupped(&rechained(&pieces).unwrap()) else { panic!("no error") };
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.place().index, at as u64, "{error}");
}

#[test]
fn references_that_lead_nowhere() {
    refused(|byref| byref.ref_object = 77.into(), "cannot be resolved: no WRITE before it has this block");
    refused(|byref| byref.ref_guid = 77.into(), "of snapshot 77 cannot be resolved");
    refused(|byref| byref.ref_offset += 131_072 * 2, "cannot be resolved");
    refused(|byref| byref.length = 4096, "the block is 131072 bytes, expected 4096");
}

/// A file whose earlier part cannot be read again, or is another one by now.
#[test]
fn file_that_changes() {
    let (deduped, _) = deduplicated(&golden::stream("c-off-c"));
    let failing = |_: u64, _: &mut [u8]| Err(io::Error::other("gone"));
    let error = redup(&deduped[..], failing, Vec::new()).unwrap_err().to_string();
    assert!(error.contains("gone") && error.contains("WRITE_BYREF"), "{error}");
    let other = |_: u64, buffer: &mut [u8]| {
        buffer.fill(0);
        Ok(())
    };
    let error = redup(&deduped[..], other, Vec::new()).unwrap_err().to_string();
    assert!(error.contains("changed while it was read"), "{error}");
}

/// Damage and an early end are errors, and what was written until then has no END.
#[test]
fn damaged_and_cut() {
    let (mut deduped, _) = deduplicated(&golden::stream("c-off-c"));
    let ends = |stream: &[u8]| {
        let pieces = records(stream);
        pieces.iter().any(|(header, _): &(Header, _)| matches!(header.body(), Some(Body::End(_))))
    };
    let mut out = Vec::new();
    let cut = &deduped[..deduped.len() - 400];
    redup(cut, reading(cut), &mut out).unwrap_err();
    assert!(!out.is_empty() && !ends(&out));
    let at = deduped.len() / 2;
    deduped[at] ^= 4;
    out.clear();
    let error = redup(&deduped[..], reading(&deduped), &mut out).unwrap_err();
    assert!(error.to_string().contains("checksum of the record header does not match"), "{error}");
    assert!(!out.is_empty() && !ends(&out));
}

/// The verb: a file in, a stream out, what `-v` says, and no pipe.
#[test]
fn verb() {
    let stream = golden::stream("fs-package-I");
    let (deduped, references) = deduplicated(&stream);
    assert!(references > 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &deduped).unwrap();
    let path = file.path().to_str().unwrap();
    let outcome = program::zstream(&["redup", "-v", path], b"");
    assert!(outcome.stdout == stream);
    let message = String::from_utf8(outcome.stderr).unwrap();
    let said = format!(
        "converted stream with {} total records, including {references} dedup records, using ",
        records(&stream).len()
    );
    assert!(message.starts_with(&said) && message.ends_with("B memory.\n"), "{message}");
    assert_eq!(outcome.code, 0);

    for args in [&["redup", "-"][..], &["redup", "/dev/null"]] {
        let outcome = program::zstream(args, &deduped);
        let message = String::from_utf8(outcome.stderr).unwrap();
        assert!(message.contains("is not a seekable file"), "{message}");
        assert_eq!((outcome.code, outcome.stdout.len()), (1, 0));
    }
    assert_eq!(program::zstream(&["redup"], b"").code, 1);
}

/// OpenZFS's `redup` makes the same stream.
#[test]
#[ignore = "needs OpenZFS's zstream: cargo xtask interop"]
fn interop_redup() {
    // it aborts at REDACT records
    for (name, stream, deduped, _) in cases().filter(|(name, ..)| !name.contains("redacted")) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &deduped).unwrap();
        let real = openzfs::run("zstream", &["redup", file.path().to_str().unwrap()], None);
        assert_eq!((real.code, String::from_utf8_lossy(&real.stderr)), (0, "".into()), "{name}");
        assert!(real.stdout == as_openzfs(&redupped(&deduped).unwrap().0, &stream), "{name}");
    }
}
