//! Streams cut short, tokens to go on with, and joining what comes.
//!
//! The real `zfs send -t` gave two of the continuations here; that it gives the right ones for the tokens of many
//! cuts of every kind of stream is `tests/interop/resume.sh`. The others are put together from the whole stream as
//! OpenZFS puts them together.

use zstream_format::edit::resume::{JoinError, Joined, Next, Point, Reason, find, join};
use zstream_format::flags::{FeatureFlags, SpillFlags};
use zstream_format::nvlist::{NvList, Packed};
use zstream_format::record::{Body, TO_OBJECT_END};
use zstream_format::stream::{StreamWriter, Trailers};
use zstream_format::token::ResumeToken;
use zstream_format::verify::{Options, verify_one_core};
use zstream_tests::edit::{Piece, rechained, records};
use zstream_tests::golden;
use zstream_tests::samples::{record_places, samples};

fn point(cut: &[u8]) -> Result<Point, Reason> {
    match find(cut).next {
        Next::Resume(point) => Ok(point),
        Next::Cannot(reason) => Err(reason),
    }
}

fn joined(cut: &[u8], rest: &[u8], at_point: bool) -> Result<(Vec<u8>, Joined), JoinError> {
    let mut out = Vec::new();
    let joined = join(cut, rest, &mut out, at_point)?;
    Ok((out, joined))
}

/// The two tokens that receivers gave: ours for the same point, and what the sender gave for theirs.
#[test]
fn real_tokens_and_continuations() {
    for (name, token) in golden::tokens() {
        let real = ResumeToken::parse(&token).expect("a real token");
        let (stream, rest) = (golden::stream(&name), golden::stream(&format!("{name}-resumed")));
        let mut met = false;
        for cut in record_places(&stream) {
            let Ok(point) = point(&stream[..cut]) else { continue };
            let ours = &point.token;
            if (ours.object, ours.offset) == (real.object, real.offset) {
                met = true;
                let like_theirs = ResumeToken { bytes: real.bytes, ..ours.clone() };
                assert_eq!(
                    like_theirs.encode().expect("a token"),
                    token,
                    "{name}: all but the count of bytes"
                );
                let (whole, how) = joined(&stream[..cut], &rest, false).expect("they belong together");
                assert!(whole == stream, "{name} cut to {cut}");
                assert_eq!((how.kept_bytes, how.repeated), (point.keep_bytes, 0), "{name} cut to {cut}");
                // Cut to the length that was told it is the same, if one says so.
                let kept = &stream[..point.keep_bytes as usize];
                let (whole, how) = joined(kept, &rest, true).expect("they belong together");
                assert!(whole == stream && how.unchecked_seam, "{name}");
                assert!(matches!(joined(kept, &rest, false), Err(JoinError::Gap { .. })), "{name}");
            } else if (ours.object, ours.offset) > (real.object, real.offset) {
                // The receiver was behind what the file holds; the rest is cut off.
                let (whole, _) = joined(&stream[..cut], &rest, false).expect("they belong together");
                assert!(whole == stream, "{name} cut to {cut}");
            } else {
                assert!(
                    matches!(joined(&stream[..cut], &rest, false), Err(JoinError::Gap { .. })),
                    "{name} at {cut}"
                );
            }
        }
        assert!(met, "{name}: the point of the real token is never found");
    }
    // Up to where it got, the receiver of the second had taken no other record: its token is ours to the last digit.
    let stream = golden::stream("fs-full-Lec");
    let ours = point(&stream[..300_000]).expect("a point").token.encode().expect("a token");
    let (_, theirs) = golden::tokens().into_iter().find(|(name, _)| name == "fs-full-Lec").expect("it");
    assert_eq!(ours, theirs);
}

/// A stream as `zfs send -t` goes on with it, from a whole one.
fn continuation(stream: &[u8], token: &ResumeToken) -> Vec<u8> {
    let mut pieces = records(stream).into_iter();
    let mut kept: Vec<Piece> = Vec::new();
    // In a package: the substream of the token.
    let (mut header, begin, payload) = loop {
        let (header, payload) = pieces.next().expect("the substream");
        match header.body() {
            Some(Body::Begin(begin)) if begin.to_guid.0 == token.to_guid => break (header, begin, payload),
            _ => {}
        }
    };
    let features = begin.version_info.features() | FeatureFlags::RESUMING;
    header.set_body(zstream_format::record::Begin {
        version_info: begin.version_info.with_features(features),
        ..begin
    });
    let before =
        if payload.is_empty() { NvList::new() } else { NvList::decode(&payload).expect("a list").list };
    let mut list = NvList::new();
    let is_last = |name: &str| name == "crypt_keydata";
    let pair = |pair: &zstream_format::nvlist::NvPair| (pair.name.clone(), pair.value.clone());
    for (name, value) in before.iter().map(pair).filter(|(name, _)| !is_last(&name.to_string())) {
        list.push(name, value);
    }
    list.add_u64("resume_object", token.object).add_u64("resume_offset", token.offset);
    for (name, value) in before.iter().map(pair).filter(|(name, _)| is_last(&name.to_string())) {
        list.push(name, value);
    }
    let list = list.encode(Packed::native(header.order())).expect("a list");
    header.set_payload_len_field(list.len() as u32);
    kept.push((header, list));

    let (mut range, mut at_head) = (None, false);
    let mut behind = false;
    for (header, payload) in pieces {
        let body = header.body().expect("a record");
        if let Body::ObjectRange(_) = body {
            range = Some((header.clone(), payload.clone()));
        }
        at_head = match body {
            Body::Object(object) => object.object.0 == token.object,
            Body::Free(free) => at_head && free.length == TO_OBJECT_END,
            Body::Spill(spill) => at_head && spill.flags.contains(SpillFlags::UNMODIFIED),
            _ => false,
        };
        if !behind && at_head && kept.len() == 1 {
            kept.extend(range.take());
        }
        let data = match body {
            Body::Write(body) => Some((body.object, body.offset)),
            Body::WriteEmbedded(body) => Some((body.object, body.offset)),
            Body::Free(body) => Some((body.object, body.offset)),
            Body::Redact(body) => Some((body.object, body.offset)),
            Body::Spill(body) => Some((body.object, TO_OBJECT_END)),
            Body::Object(body) if body.object.0 > token.object => Some((body.object, 0)),
            Body::ObjectRange(body) if body.first_object.0 > token.object => Some((body.first_object, 0)),
            Body::FreeObjects(body) if body.first_object.0 > token.object => Some((body.first_object, 0)),
            Body::End(_) => Some((zstream_format::ids::ObjectId(u64::MAX), 0)),
            _ => None,
        };
        behind |= !at_head && data.is_some_and(|(object, at)| (object.0, at) >= (token.object, token.offset));
        if at_head || behind {
            let is_end = matches!(body, Body::End(_));
            kept.push((header, payload));
            if is_end {
                break;
            }
        }
    }
    rechained(&kept).expect("a stream")
}

/// The stand-in for the sender does what the sender did.
#[test]
fn continuations_are_the_real_ones() {
    for (name, token) in golden::tokens() {
        let token = ResumeToken::parse(&token).expect("a real token");
        let real = golden::stream(&format!("{name}-resumed"));
        assert!(continuation(&golden::stream(&name), &token) == real, "{name}");
    }
}

/// Cut behind each record, in the middle of it and right before its end; of every kind of stream.
#[test]
fn every_kind_of_stream_is_continued() {
    let names = [
        "fs-full-e",
        "fs-incr-ec",
        "clone-incr",
        "fs-redacted-two",
        "fs-from-redbook",
        "rs512-Lec",
        "rs1m-Lec",
        "dn-Lec",
        "e-aes-256-gcm-raw",
        "e-aes-128-ccm-raw-incr",
        "vol",
        "vol-incr",
        "c-zstd-3-c",
    ];
    for name in names {
        let stream = golden::stream(name);
        let offsets = record_places(&stream);
        let mut points = 0;
        for at in (1..offsets.len()).step_by(offsets.len() / 25 + 1) {
            let (begin, end) = (offsets[at - 1], offsets[at]);
            for cut in [begin + 312, (begin + end) / 2, end - 1, end] {
                let Ok(point) = point(&stream[..cut]) else { continue };
                assert!(point.keep_bytes < cut as u64, "{name} cut to {cut}");
                let rest = continuation(&stream, &point.token);
                assert!(verify_one_core(&rest[..], Options::default()).is_good(), "{name} cut to {cut}");
                let (whole, how) = joined(&stream[..cut], &rest, false)
                    .unwrap_or_else(|error| panic!("{name} cut to {cut}: {error}"));
                assert!(whole == stream, "{name} cut to {cut}: {how:?}");
                points += 1;
            }
        }
        assert!(points > 15, "{name}: {points}");
    }
}

/// Blocks of 1 MiB that were sent in pieces of 128 KiB are resumed at the first piece only.
#[test]
fn pieces_of_large_blocks() {
    const SPARSE: u64 = 8;
    // The sparse file has 9 MiB, which could be one block; with 33 MiB the blocks are of 1 MiB at most.
    let mut pieces = records(&golden::stream("rs1m"));
    for (header, _) in &mut pieces {
        if let Some(Body::Free(mut free)) = header.body()
            && (free.offset, free.length) == (9 << 20, TO_OBJECT_END)
        {
            free.offset = 33 << 20;
            header.set_body(free);
        }
    }
    let stream = rechained(&pieces).expect("a stream");
    let mut in_large = 0;
    for cut in record_places(&stream).into_iter().skip(1) {
        let Ok(point) = point(&stream[..cut]) else { continue };
        if point.token.object == SPARSE && point.token.offset > 0 {
            assert!(point.token.offset.is_multiple_of(1 << 20), "offset {:#x}", point.token.offset);
            in_large += 1;
        }
        let rest = continuation(&stream, &point.token);
        let (whole, _) = joined(&stream[..cut], &rest, false).expect("they belong together");
        assert!(whole == stream, "cut to {cut}");
    }
    assert!(in_large > 0, "there is a point inside of the sparse file");
    // A receiver may stop at any piece; the sender begins with the first of the block all the same.
    let pieces = records(&stream);
    let mut writes = pieces.iter().filter_map(|(header, _)| match header.body() {
        Some(Body::Write(write)) if write.offset % (1 << 20) != 0 && write.logical_size == 128 << 10 => {
            Some(write)
        }
        _ => None,
    });
    let piece = writes.next_back().expect("a piece that is not the first");
    let block = piece.offset & !((1 << 20) - 1);
    let mut token = point(&stream[..stream.len() - 400]).expect("a point").token;
    (token.object, token.offset) = (piece.object.0, block);
    let mut rest = records(&continuation(&stream, &token));
    let mut list = NvList::decode(&rest[0].1).expect("a list");
    list.list.set("resume_offset", zstream_format::nvlist::NvValue::Uint64(piece.offset));
    rest[0].1 = list.list.encode(list.packed).expect("a list");
    let rest = rechained(&rest).expect("a stream");
    let (whole, _) = joined(&stream[..stream.len() - 400], &rest, false).expect("they belong together");
    assert!(whole == stream);
}

/// Cut at every byte: the point is in what is left, everything before it is vouched for, and nothing panics.
#[test]
fn cut_at_every_byte() {
    for sample in samples() {
        let stream = &sample.bytes;
        for cut in 0..stream.len() {
            let found = find(&stream[..cut]);
            let error = found.error.as_ref().expect("it is cut");
            assert!(error.is_truncation(), "{} cut to {cut}: {error}", sample.name);
            if let Next::Resume(point) = found.next {
                let kept = point.keep_bytes as usize;
                assert!(kept + 312 <= cut, "{} cut to {cut}", sample.name);
                let broken = found.broken.expect("a substream");
                assert!(broken.offset < point.keep_bytes, "{} cut to {cut}", sample.name);
                assert_eq!(broken.to_guid.0, point.token.to_guid);
                assert!(
                    record_places(stream).contains(&kept),
                    "{} cut to {cut}: not between records",
                    sample.name
                );
            }
        }
    }
}

/// A damaged stream is good up to a point before the damage.
#[test]
fn damage_is_never_kept() {
    let stream = golden::stream("fs-full-Lec");
    for at in (400..stream.len()).step_by(9_973) {
        let mut damaged = stream.clone();
        damaged[at] ^= 16;
        match point(&damaged) {
            Ok(point) => {
                assert!(point.keep_bytes <= at as u64, "damage at {at}");
                let rest = continuation(&stream, &point.token);
                let (whole, _) = joined(&damaged[..], &rest, false).expect("they belong together");
                assert!(whole == stream, "damage at {at}");
            }
            Err(reason) => assert_eq!(reason, Reason::NoObject, "damage at {at}"),
        }
    }
}

/// In a package the substream that was cut is completed, and the package ends behind it.
#[test]
fn packages() {
    let stream = golden::stream("tree-R");
    let mut continued = 0;
    for cut in record_places(&stream).into_iter().skip(1) {
        let found = find(&stream[..cut]);
        assert!(found.in_package, "cut to {cut}");
        match found.next {
            Next::Resume(point) => {
                let broken = found.broken.expect("a substream");
                let rest = continuation(&stream, &point.token);
                let (whole, how) = joined(&stream[..cut], &rest, false).expect("they belong together");
                assert!(how.in_package);
                let verdict = verify_one_core(&whole[..], Options::default());
                assert!(verdict.is_good(), "cut to {cut}: {:?}", verdict.error);
                assert_eq!(verdict.snapshots, found.whole.len() as u64 + 1, "cut to {cut}");
                assert!(whole[..whole.len() - 312] == stream[..whole.len() - 312], "cut to {cut}");
                assert!(broken.offset < cut as u64);
                continued += 1;
            }
            Next::Cannot(reason) => assert!(
                matches!(reason, Reason::BetweenSnapshots | Reason::NoObject),
                "cut to {cut}: {reason:?}"
            ),
        }
    }
    assert!(continued > 20, "{continued}");
}

/// What a receiver saved is continued too; the seam shows, and the result is a whole stream.
#[test]
fn saved_partial_receives() {
    for name in ["fs-full", "fs-full-Lec"] {
        let saved = golden::stream(&format!("{name}-saved"));
        let ours = point(&saved).expect("a point").token;
        let (_, real) = golden::tokens().into_iter().find(|(n, _)| n == name).expect("its token");
        let real = ResumeToken::parse(&real).expect("a real token");
        assert_eq!((ours.object, ours.offset), (real.object, real.offset), "{name}");
        let (whole, how) =
            joined(&saved, &golden::stream(&format!("{name}-resumed")), false).expect("they fit");
        assert!(verify_one_core(&whole[..], Options::default()).is_good(), "{name}");
        assert_eq!(how.repeated > 0, real.offset > 0, "{name}: {how:?}");
    }
}

/// Streams that no sender can go on with, each with its reason.
#[test]
fn what_cannot_be_continued() {
    let full = golden::stream("fs-full");
    assert_eq!(point(&full), Err(Reason::Whole));
    assert_eq!(point(&[]), Err(Reason::NotAStream));
    assert_eq!(point(&full[..200]), Err(Reason::NoObject));
    assert_eq!(point(&[7; 1000]), Err(Reason::NotAStream));
    assert_eq!(point(&full[..312]), Err(Reason::NoObject));
    assert_eq!(point(&full[..700]).map(|point| point.keep_bytes), Ok(312));
    let head = golden::stream("fs-head");
    assert_eq!(point(&head[..head.len() - 1000]), Err(Reason::Head));

    let mut pieces = records(&full);
    let Some(Body::Begin(begin)) = pieces[0].0.body() else { panic!("no BEGIN") };
    pieces[0].0.set_body(zstream_format::record::Begin {
        version_info: begin.version_info.with_features(FeatureFlags::DEDUP),
        ..begin
    });
    let dedup = rechained(&pieces).expect("a stream");
    assert_eq!(point(&dedup[..100_000]), Err(Reason::Deduplicated));

    let mut writer = StreamWriter::new(Vec::new()).trailers(Trailers::Never);
    for (header, payload) in records(&full) {
        writer.write(&header, &payload).expect("the same records");
    }
    let bare = writer.into_inner();
    assert_eq!(point(&bare[..100_000]), Err(Reason::NoChecksums));

    let package = golden::stream("tree-R");
    let ends = find(&package[..]).whole.iter().map(|whole| whole.end as usize).collect::<Vec<_>>();
    let found = find(&package[..ends[1]]);
    assert_eq!(found.next, Next::Cannot(Reason::BetweenSnapshots));
    assert_eq!(found.whole.len(), 2);
    assert_eq!(find(&package[..1000]).next, Next::Cannot(Reason::NoObject), "inside of its header");
}

/// Two streams that do not belong together are not joined.
#[test]
fn streams_that_do_not_fit() {
    let full = golden::stream("fs-full");
    let rest = golden::stream("fs-full-resumed");
    let cut = &full[..500_000];
    let text =
        |outcome: Result<(Vec<u8>, Joined), JoinError>| outcome.expect_err("they do not fit").to_string();
    assert!(text(joined(cut, &golden::stream("fs-full"), false)).contains("not made with `zfs send -t`"));
    assert!(
        text(joined(&golden::stream("fs-incr")[..500_000], &rest, false))
            .contains("has no incomplete snapshot")
    );
    assert!(
        text(joined(&golden::stream("fs-full-c")[..500_000], &rest, false))
            .contains("only one of the two streams has compressed")
    );
    assert!(text(joined(&full[..70_000], &rest, false)).contains("data between them would be missing"));
    let mut swapped = Vec::new();
    zstream_format::edit::byteswap(&rest[..], &mut swapped).expect("a whole stream");
    assert!(text(joined(cut, &swapped, false)).contains("different byte orders"));
    let mut damaged = full[..500_000].to_vec();
    damaged[60_000] ^= 1;
    assert!(text(joined(&damaged, &rest, false)).starts_with("the stream that was cut short: checksum"));
    let mut damaged = rest.clone();
    damaged[400_000] ^= 1;
    assert!(text(joined(cut, &damaged, false)).starts_with("the continuation: checksum"));
    assert!(
        text(joined(cut, &rest[..400_000], false)).starts_with("the continuation: the stream is cut short")
    );
}
