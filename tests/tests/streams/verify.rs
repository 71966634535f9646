//! `verify` over the golden streams, damaged ones, and ones that break the rules of receivers.

use zstream_format::algorithm::CompressionType;
use zstream_format::errno::Errno;
use zstream_format::flags::{FeatureFlags, ObjectFlags, VersionInfo};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::nvlist::{NvList, Packed};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::record::{Begin, Body, Header, RecordType};
use zstream_format::stream::Fault;
use zstream_format::verify::{Options, Verdict, verify, verify_one_core};
use zstream_tests::edit::{Piece, rechained, records};
use zstream_tests::golden;
use zstream_tests::samples::samples;

const PLAIN: fn() -> Options = Options::default;

fn deep() -> Options {
    Options { deep: true, ..Options::default() }
}

/// Everything a verdict says, as text.
fn told(verdict: &Verdict) -> String {
    let Verdict {
        error, bytes, records, good_bytes, padding_bytes, streams, snapshots, inside, notes, ..
    } = verdict;
    let error = error.as_ref().map(ToString::to_string);
    format!(
        "{error:?} {bytes} {records} {good_bytes} {padding_bytes} {streams} {snapshots} {inside:?} {notes:?}"
    )
}

/// What OpenZFS sent is good, and nothing about it is odd; what it saved of a partial receive is known for that.
#[test]
fn golden_streams() {
    for name in golden::streams() {
        let stream = golden::stream(&name);
        let verdict = verify(&stream[..], deep());
        if name.ends_with("-saved") {
            let error = verdict.error.as_ref().expect("there is no END");
            assert!(matches!(error.fault(), Fault::NoEnd), "{name}: {error}");
            assert!(verdict.may_be_saved_partial(), "{name}");
            assert_eq!((verdict.bytes, verdict.snapshots), (stream.len() as u64, 0), "{name}");
        } else {
            assert!(verdict.is_good(), "{name}: {:?}", verdict.error);
            assert!(verdict.notes.is_empty(), "{name}: {:?}", verdict.notes);
            assert_eq!(
                (verdict.bytes, verdict.good_bytes),
                (stream.len() as u64, stream.len() as u64),
                "{name}"
            );
            assert_eq!((verdict.streams, verdict.records), (1, records(&stream).len() as u64), "{name}");
        }
    }
}

/// Cut at every byte, a bit flipped in every byte: never good, and both readers say the same.
#[test]
fn no_damage_passes() {
    for sample in samples() {
        let mut bytes = sample.bytes;
        let whole = verify_one_core(&bytes[..], PLAIN());
        assert!(whole.is_good(), "{}: {:?}", sample.name, whole.error);
        for length in 0..bytes.len() {
            let verdict = verify_one_core(&bytes[..length], PLAIN());
            let error = verdict.error.as_ref().unwrap_or_else(|| panic!("{} cut to {length}", sample.name));
            assert!(error.is_truncation(), "{} cut to {length}: {error}", sample.name);
            assert!(verdict.good_bytes <= length as u64, "{} cut to {length}", sample.name);
            if length % 97 == 0 {
                assert_eq!(
                    told(&verdict),
                    told(&verify(&bytes[..length], PLAIN())),
                    "{} cut to {length}",
                    sample.name
                );
            }
        }
        for at in 0..bytes.len() {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            let verdict = verify_one_core(&bytes[..], PLAIN());
            assert!(!verdict.is_good(), "{}: byte {at}", sample.name);
            assert!(verdict.good_bytes <= at as u64 + 312, "{}: byte {at}: {}", sample.name, told(&verdict));
            if at % 89 == 0 {
                assert_eq!(told(&verdict), told(&verify(&bytes[..], PLAIN())), "{}: byte {at}", sample.name);
            }
            bytes[at] ^= bit;
        }
    }
}

/// Where a checksum is wrong that is what is reported, not what the damage happened to look like.
#[test]
fn damage_is_called_damage() {
    let stream = golden::stream("fs-redacted");
    let Some(Body::Begin(begin)) = records(&stream)[0].0.body() else { panic!("no BEGIN") };
    assert!(begin.version_info.features().contains(FeatureFlags::REDACTED));
    for (what, at, bit) in [
        ("feature bit 3 in BEGIN", 16, 1 << 5),
        ("object set type in BEGIN", 32, 1),
        ("name in the list behind BEGIN", 312 + 30, 1),
        ("header of the list", 312, 8),
    ] {
        let mut damaged = stream.clone();
        damaged[at] ^= bit;
        let verdict = verify(&damaged[..], PLAIN());
        let error = verdict.error.expect("it is damaged");
        assert!(matches!(error.fault(), Fault::Trailer { .. }), "{what}: {error}");
    }
}

/// A change to the records of a stream, with checksums that are right all the same.
fn changed(name: &str, change: impl FnOnce(&mut Vec<Piece>)) -> Vec<u8> {
    let mut pieces = records(&golden::stream(name));
    change(&mut pieces);
    rechained(&pieces).expect("still the shape of a stream")
}

/// Changes the body of the first record that `pick` takes.
fn edit(pieces: &mut [Piece], mut pick: impl FnMut(&mut Body) -> bool) {
    let found = pieces.iter_mut().find_map(|(header, _)| {
        let mut body = header.body()?;
        pick(&mut body).then(|| header.set_body(body))
    });
    found.expect("such a record");
}

fn begin(pieces: &mut [Piece], change: impl FnOnce(&mut Begin)) {
    let Some(Body::Begin(mut body)) = pieces[0].0.body() else { panic!("no BEGIN") };
    change(&mut body);
    pieces[0].0.set_body(body);
}

/// The error for a stream that breaks one rule: its text and its place.
fn refusal(stream: &[u8]) -> (Errno, String, Option<RecordType>) {
    let error = verify(stream, PLAIN()).error.expect("a receiver refuses it");
    let errno = match error.fault() {
        Fault::Rule(breach) => breach.errno(),
        Fault::Features(_) => Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE,
        other => panic!("{other:?}"),
    };
    (errno, error.fault().to_string(), error.place().record)
}

macro_rules! body {
    ($kind:ident($body:ident) => $change:expr) => {
        |pieces: &mut Vec<Piece>| {
            edit(pieces, |body| match body {
                Body::$kind($body) => {
                    $change;
                    true
                }
                _ => false,
            })
        }
    };
}

/// What OpenZFS's receiver was seen to refuse, one rule each.
#[test]
#[expect(clippy::too_many_lines, reason = "a table: one stream for each rule")]
fn rules_of_receivers() {
    type Change = fn(&mut Vec<Piece>);
    let einval: &[(&str, &str, Change)] = &[
        ("fs-full", "drr_object is 0", body!(Object(o) => o.object = ObjectId(0))),
        ("fs-full", "drr_object is 281474976710656", body!(Object(o) => o.object = ObjectId(1 << 48))),
        ("fs-full", "drr_type is 54", body!(Object(o) => o.object_type = ObjectType(54))),
        ("fs-full", "drr_type is 0", body!(Object(o) => o.object_type = ObjectType::NONE)),
        ("fs-full", "drr_bonustype is 202", body!(Object(o) => o.bonus_type = ObjectType(0x80 | 0x40 | 10))),
        ("fs-full", "drr_blksz is 513", body!(Object(o) => o.block_size = 513)),
        ("fs-full", "drr_blksz is 0", body!(Object(o) => o.block_size = 0)),
        ("fs-full", "drr_blksz is 33554432", body!(Object(o) => o.block_size = 32 << 20)),
        ("fs-full", "drr_dn_slots is 33", body!(Object(o) => o.dnode_slots = 33)),
        ("fs-full", "drr_flags is 2", body!(Object(o) => o.flags = ObjectFlags::RAW_BYTESWAP)),
        ("fs-full", "drr_nlevels is 1", body!(Object(o) => o.levels = 1)),
        ("fs-full", "drr_checksumtype is 15", body!(Object(o) => o.checksum_type.0 = 15)),
        ("fs-full", "drr_compress is 17", body!(Object(o) => o.compression.0 = 17)),
        ("fs-full", "ends past 2^64", body!(FreeObjects(f) => f.object_count = u64::MAX)),
        ("fs-full", "drr_type is 99", body!(Write(w) => w.object_type = ObjectType(99))),
        ("fs-full", "ends past 2^64", body!(Write(w) => w.offset = u64::MAX - 100)),
        ("fs-full", "ends past 2^64", body!(Free(f) => (f.offset, f.length) = (2, u64::MAX - 1))),
        ("fs-full", "drr_object is 0", body!(Free(f) => f.object = ObjectId(0))),
        ("fs-full", "drr_length is 0", |pieces| {
            let at =
                pieces.iter().position(|(h, _)| matches!(h.body(), Some(Body::Spill(_)))).expect("a spill");
            let Some(Body::Spill(mut spill)) = pieces[at].0.body() else { unreachable!() };
            spill.length = 0;
            pieces[at].0.set_body(spill);
            pieces[at].1.clear();
        }),
        (
            "c-lzjb-c",
            "compression of the payload is empty",
            body!(Write(w) => {
                if w.compression == CompressionType::INHERIT { return false }
                w.compression = CompressionType::EMPTY
            }),
        ),
        ("fs-full-Lec", "drr_etype is 3", body!(WriteEmbedded(w) => w.embedded_type = 3)),
        ("fs-full-Lec", "not valid for blocks", body!(WriteEmbedded(w) => w.compression.0 = 17)),
        ("fs-redacted", "drr_object is 0", body!(Redact(r) => r.object = ObjectId(0))),
        ("e-aes-256-gcm-raw", "drr_numslots is 31", body!(ObjectRange(r) => r.slot_count = 31)),
        ("e-aes-256-gcm-raw", "drr_firstobj is 1", body!(ObjectRange(r) => r.first_object = ObjectId(1))),
        ("e-aes-256-gcm-raw", "is not in the range", body!(ObjectRange(r) => r.first_object = ObjectId(32))),
        ("e-aes-256-gcm-raw", "drr_nlevels is 13", body!(Object(o) => o.levels = 13)),
        ("e-aes-256-gcm-raw", "drr_indblkshift is 25", body!(Object(o) => o.indirect_block_shift = 25)),
        ("fs-full", "drr_type is 4", |pieces| begin(pieces, |b| b.objset_type = 4)),
        ("fs-full", "above bit 57", |pieces| begin(pieces, |b| b.version_info.0 |= 1 << 60)),
        ("e-aes-256-gcm-raw", "exclude each other", |pieces| {
            begin(pieces, |b| {
                let features = b.version_info.features() | FeatureFlags::EMBED_DATA;
                b.version_info = b.version_info.with_features(features);
            });
        }),
        ("fs-full", "no redact_snaps", |pieces| {
            begin(pieces, |b| b.version_info = b.version_info.with_features(FeatureFlags::REDACTED));
        }),
        ("fs-full", "no resume_object", |pieces| {
            begin(pieces, |b| b.version_info = b.version_info.with_features(FeatureFlags::RESUMING));
        }),
        ("fs-full", "follows the one of object", |pieces| {
            let mut writes =
                pieces.iter().enumerate().filter(|(_, (h, _))| matches!(h.body(), Some(Body::Write(_))));
            let (a, b) = (writes.next().expect("a WRITE").0, writes.next().expect("another").0);
            pieces.swap(a, b);
        }),
    ];
    for (stream, expected, change) in einval {
        let bytes = changed(stream, change);
        assert!(!verify(&bytes[..], PLAIN()).is_good(), "{stream} with {expected:?} passed");
        let (errno, text, _) = refusal(&bytes);
        assert!(text.contains(expected), "{stream}: {text:?} is not {expected:?}");
        assert_eq!(errno, Errno::EINVAL, "{text}");
    }
    let others: &[(&str, Errno, &str, Change)] = &[
        ("fs-full", Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE, "bit 5 (closed-source ZFS)", |pieces| {
            begin(pieces, |b| b.version_info = VersionInfo(b.version_info.0 | 1 << 7));
        }),
        ("fs-full", Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE, "bit 30", |pieces| {
            begin(pieces, |b| b.version_info = VersionInfo(b.version_info.0 | 1 << 32));
        }),
        (
            "e-aes-256-gcm-raw",
            Errno::ZFS_ERR_SPILL_BLOCK_FLAG_MISSING,
            "does not have the flag for spill",
            |pieces| {
                begin(pieces, |b| b.flags.remove(zstream_format::flags::BeginFlags::SPILL_BLOCK));
            },
        ),
        ("e-aes-256-gcm-raw", Errno::ENOENT, "no crypt_keydata", |pieces| {
            pieces[0].1.clear();
            pieces[0].0.set_payload_len_field(0);
        }),
    ];
    for (stream, errno, expected, change) in others {
        let (found, text, _) = refusal(&changed(stream, change));
        assert!(text.contains(expected), "{stream}: {text:?} is not {expected:?}");
        assert_eq!(found, *errno, "{text}");
    }
}

/// The key of a raw stream, each value missing and out of its range.
#[test]
fn keys_of_raw_streams() {
    let with_key = |change: &dyn Fn(&mut NvList)| {
        changed("e-aes-256-gcm-raw", |pieces| {
            let mut list = NvList::decode(&pieces[0].1).expect("its list").list;
            let Some(zstream_format::nvlist::NvValue::List(key)) = list.get_mut("crypt_keydata") else {
                panic!("no key")
            };
            change(key);
            pieces[0].1 = list.encode(Packed::native(ByteOrder::Little)).expect("a list");
            let len = pieces[0].1.len() as u32;
            pieces[0].0.set_payload_len_field(len);
        })
    };
    let names: Vec<String> = {
        let list =
            NvList::decode(&records(&golden::stream("e-aes-256-gcm-raw"))[0].1).expect("its list").list;
        list.get_list("crypt_keydata").expect("the key").iter().map(|pair| pair.name.to_string()).collect()
    };
    assert!(names.len() >= 19, "{names:?}");
    for name in &names {
        let stream = with_key(&|key| {
            key.remove(name);
        });
        let verdict = verify(&stream[..], PLAIN());
        assert_eq!(verdict.is_good(), name.ends_with("ivset_guid"), "without {name}: {:?}", verdict.error);
    }
    for (name, value, errno) in [
        ("DSL_CRYPTO_SUITE", 2, Errno::EINVAL),
        ("DSL_CRYPTO_SUITE", 9, Errno::ZFS_ERR_CRYPTO_NOTSUP),
        ("DSL_CRYPTO_VERSION", 2, Errno::ENOTSUP),
        ("keyformat", 4, Errno::EINVAL),
        ("keyformat", 1, Errno::EINVAL),
        ("mdn_checksum", 9, Errno::EINVAL),
        ("mdn_compress", 15, Errno::EINVAL),
        ("mdn_nlevels", 13, Errno::EINVAL),
        ("mdn_blksz", 511, Errno::EINVAL),
        ("mdn_indblkshift", 18, Errno::ENOTSUP),
        ("mdn_nblkptr", 1, Errno::ENOTSUP),
    ] {
        let stream = with_key(&|key| {
            key.set(name, zstream_format::nvlist::NvValue::Uint64(value));
        });
        assert_eq!(refusal(&stream).0, errno, "{name} = {value}");
    }
}

/// A rule is broken where the record stands, also when it is seen one record later.
#[test]
fn the_place_of_a_broken_rule() {
    let stream = changed("fs-full", |pieces| begin(pieces, |b| b.objset_type = 1));
    let error = verify(&stream[..], PLAIN()).error.expect("a receiver refuses it");
    assert_eq!(
        (error.place().offset, error.place().index, error.place().record),
        (0, 0, Some(RecordType::Begin))
    );
    let stream = changed("fs-full", body!(FreeObjects(f) => f.object_count = u64::MAX));
    let verdict = verify(&stream[..], PLAIN());
    let place = verdict.error.as_ref().expect("a receiver refuses it").place();
    let expected =
        records(&stream).iter().position(|(h, _)| h.record_type() == Some(RecordType::FreeObjects));
    assert_eq!(Some(place.index as usize), expected);
    assert_eq!((verdict.bytes, verdict.good_bytes), (place.offset, place.offset));
    assert_eq!(verdict.inside.as_deref(), Some("tank/fs@a"));
}

/// Known faults of senders are warned of; the streams are whole.
#[test]
fn known_bad_senders() {
    let kinds = |stream: &[u8]| -> Vec<&'static str> {
        let verdict = verify(stream, PLAIN());
        assert!(verdict.is_good(), "{:?}", verdict.error);
        verdict.notes.iter().map(|note| note.warning.kind()).collect()
    };
    // Issue 18239: a spill block of 512 bytes as WRITE_EMBEDDED at -2 blocks.
    let embedded_spill = changed("fs-full-Lec", |pieces| {
        let at =
            pieces.iter().position(|(h, _)| matches!(h.body(), Some(Body::WriteEmbedded(_)))).expect("one");
        let Some(Body::WriteEmbedded(mut embedded)) = pieces[at].0.body() else { unreachable!() };
        embedded.offset = 0_u64.wrapping_sub(2 * embedded.length);
        pieces[at].0.set_body(embedded);
        edit(pieces, |body| match body {
            Body::Object(object) if object.object == embedded.object => {
                object.flags |= ObjectFlags::SPILL;
                true
            }
            _ => false,
        });
    });
    assert_eq!(kinds(&embedded_spill), ["embedded_spill"]);
    let too_long = changed("fs-full-Lec", body!(WriteEmbedded(w) => w.length = 256 << 10));
    assert_eq!(kinds(&too_long), ["embedded_length"]);
    // Issue 13778.
    let padding = changed("fs-full-Lec", |pieces| {
        let piece = pieces.iter_mut().find(|(header, payload)| {
            matches!(header.body(), Some(Body::WriteEmbedded(w)) if (w.physical_size as usize) < payload.len())
        });
        *piece.expect("one with padding").1.last_mut().expect("padding") = 1;
    });
    assert_eq!(kinds(&padding), ["embedded_padding"]);
    let dedup = changed("fs-full", |pieces| {
        begin(pieces, |b| b.version_info = b.version_info.with_features(FeatureFlags::DEDUP));
    });
    assert_eq!(kinds(&dedup), ["deduplicated"]);
    let guid = changed("fs-full", body!(Free(f) => f.to_guid = Guid(7)));
    assert_eq!(kinds(&guid), ["to_guid"]);
    let no_object = changed("fs-full", |pieces| {
        let at = pieces.iter().position(|(h, _)| matches!(h.body(), Some(Body::Object(_)))).expect("one");
        pieces.remove(at);
    });
    assert_eq!(kinds(&no_object), ["no_object"]);
}

/// Damage from before the checksums were made is found by looking deeper, and only then.
#[test]
fn blocks_that_were_damaged_at_the_sender() {
    let mut found = Vec::new();
    for name in
        ["fs-full", "fs-full-Lec", "c-zstd-3-c", "c-gzip-9-c", "e-aes-256-gcm-raw", "e-aes-128-ccm-raw"]
    {
        let pieces = records(&golden::stream(name));
        for (at, (header, payload)) in pieces.iter().enumerate() {
            let Some(Body::Write(write)) = header.body() else { continue };
            if payload.len() < 2048 || write.object_type != ObjectType::PLAIN_FILE_CONTENTS {
                continue;
            }
            let mut damaged = pieces.clone();
            damaged[at].1[1000] ^= 4;
            let stream = rechained(&damaged).expect("a stream");
            assert!(verify(&stream[..], PLAIN()).is_good(), "{name}: the stream is what was sent");
            if let Some(error) = verify(&stream[..], deep()).error {
                assert!(matches!(error.fault(), Fault::Payload(_)), "{name}: {error}");
                assert_eq!(error.place().index as usize, at, "{name}: {error}");
                found.push(name);
            }
            // Not every block has a usable checksum; a few of each stream do.
            if found.iter().filter(|found| **found == name).count() == 3 {
                break;
            }
        }
        assert!(found.contains(&name), "{name}: no damage was found");
    }
}

/// After a stream there may be another stream or padding, and nothing else.
#[test]
fn what_is_behind_a_stream() {
    let stream = golden::stream("tree-R-incr");
    let twice = [&stream[..], &stream[..]].concat();
    let verdict = verify(&twice[..], PLAIN());
    assert_eq!((verdict.is_good(), verdict.streams, verdict.snapshots), (true, 2, 4));
    let zeros = verify(&[&stream[..], &[0; 312]].concat()[..], PLAIN());
    assert_eq!((zeros.is_good(), zeros.good_bytes, zeros.padding_bytes), (true, stream.len() as u64, 312));
    let zeros_and_more = [&[0; 312][..], b"x"].concat();
    for more in [&b"\0"[..], &zeros_and_more, &[0xff; 400]] {
        let verdict = verify(&[&stream[..], more].concat()[..], PLAIN());
        assert!(!verdict.is_good());
        assert_eq!((verdict.good_bytes, verdict.streams), (stream.len() as u64, 1));
    }
    assert!(!verify(&b""[..], PLAIN()).is_good());
}

/// In the other byte order too a header says what it is: the rules see values, not bytes.
#[test]
fn rules_hold_in_either_order() {
    let mut pieces = records(&golden::stream("vol-incr"));
    edit(&mut pieces, |body| match body {
        Body::Write(write) => {
            write.object_type = ObjectType(99);
            true
        }
        _ => false,
    });
    pieces.iter_mut().for_each(|(header, _): &mut (Header, _)| header.byteswap());
    let (_, text, kind) = refusal(&rechained(&pieces).expect("a stream"));
    assert!(text.contains("drr_type is 99"), "{text}");
    assert_eq!(kind, Some(RecordType::Write));
}
