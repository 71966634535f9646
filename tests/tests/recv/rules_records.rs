//! The rules of the records of a stream: one that breaks just this one is refused with the errno of OpenZFS, and the pool is as
//! it was.

use std::sync::LazyLock;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::errno::Errno;
use zstream_format::flags::{BeginFlags, ObjectFlags};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::object_type::ObjectType;
use zstream_format::record::{
    Body, End, Free, FreeObjects, Header, Object, ObjectRange, Redact, TO_OBJECT_END, Write, WriteByref,
    WriteEmbedded,
};
use zstream_recv::Target;
use zstream_tests::change;
use zstream_tests::edit::{Piece, rechained, records};
use zstream_tests::golden;
use zstream_tests::receiving::{Demo, target};
use zstream_tests::refusals::{Bench, Edit, ORDER, add, both, chained, edited, guid_of};

use Errno::{ECKSUM, EINVAL, ENOENT};

/// An object that no stream here has.
const NONE: ObjectId = ObjectId(5000);
const FILE: ObjectType = ObjectType::PLAIN_FILE_CONTENTS;
const RAW: &str = "e-aes-256-gcm-raw";

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let demo = Demo::new("a", 12, 256 << 20);
    demo.receive(&golden::stream("rs4k"), &target("demo/rs4k@s"), &[]).unwrap();
    demo.receive(&golden::stream(RAW), &target("demo/gcm@s"), &[]).unwrap();
    Bench::over(demo)
});

fn new() -> Target {
    target("demo/new@s")
}

/// All of a table are refused with EINVAL.
fn refuses(cases: Vec<(&str, &str, Edit)>) {
    for (what, name, edit) in &cases {
        BENCH.refuses_edited(what, name, edit, &new(), EINVAL);
    }
}

fn guid() -> Guid {
    Guid(guid_of("k-sha256"))
}

/// Takes a record of a kind away.
fn without(is: fn(&Body) -> bool) -> Edit {
    Box::new(move |pieces| {
        let at = pieces.iter().position(|piece| piece.0.body().is_some_and(|body| is(&body)));
        pieces.remove(at.expect("a record"));
    })
}

/// Puts a record again before END, as it was.
fn repeat(is: fn(&Body) -> bool) -> Edit {
    Box::new(move |pieces| {
        let found = pieces.iter().find(|piece| piece.0.body().is_some_and(|body| is(&body)));
        let found = found.expect("a record").clone();
        pieces.insert(pieces.len() - 1, found);
    })
}

#[test]
fn object() {
    refuses(vec![
        ("type 0", "k-sha256", change!(Object, |object| object.object_type = ObjectType(0))),
        ("type", "k-sha256", change!(Object, |object| object.object_type = ObjectType(60))),
        ("type of a list", "k-sha256", change!(Object, |object| object.object_type = ObjectType(0x7f))),
        ("bonus type", "k-sha256", change!(Object, |object| object.bonus_type = ObjectType(60))),
        ("checksum", "k-sha256", change!(Object, |object| object.checksum_type = ChecksumType(15))),
        ("compression", "k-sha256", change!(Object, |object| object.compression = CompressionType(17))),
        ("block of 513", "k-sha256", change!(Object, |object| object.block_size = 513)),
        ("block of 0", "k-sha256", change!(Object, |object| object.block_size = 0)),
        ("block of 256", "k-sha256", change!(Object, |object| object.block_size = 256)),
        ("block of 32 MiB", "k-sha256", change!(Object, |object| object.block_size = 32 << 20)),
        ("bonus", "k-sha256", change!(Object, |object| object.bonus_len = 16200)),
        ("bonus for a larger dnode", "k-sha256", change!(Object, |object| object.bonus_len = 328)),
        ("slots", "k-sha256", change!(Object, |object| object.dnode_slots = 33)),
        ("number 0", "k-sha256", change!(Object, |object| object.object = ObjectId(0))),
        ("number 2^48", "k-sha256", change!(Object, |object| object.object = ObjectId(1 << 48))),
        ("flags", "k-sha256", change!(Object, |object| object.flags = ObjectFlags::from_bits_retain(2))),
        (
            "a spill block without the flag of the stream",
            "k-sha256",
            both(
                change!(Begin, |begin| begin.flags -= BeginFlags::SPILL_BLOCK),
                change!(Object, |object| object.flags = ObjectFlags::SPILL),
            ),
        ),
        ("levels", "k-sha256", change!(Object, |object| object.levels = 1)),
        ("pointers", "k-sha256", change!(Object, |object| object.block_pointers = 1)),
        ("indirect blocks", "k-sha256", change!(Object, |object| object.indirect_block_shift = 17)),
        ("raw bonus", "k-sha256", change!(Object, |object| object.raw_bonus_len = 8)),
    ]);
}

#[test]
fn raw_object() {
    refuses(vec![
        ("indirect blocks", RAW, change!(Object, |object| object.indirect_block_shift = 25)),
        ("levels", RAW, change!(Object, |object| object.levels = 13)),
        ("pointers", RAW, change!(Object, |object| object.block_pointers = 4)),
        ("raw bonus is less", RAW, change!(Object, |object| object.bonus_len = object.raw_bonus_len + 8)),
        (
            "raw bonus has no room",
            RAW,
            change!(Object, |object| {
                (object.bonus_len, object.raw_bonus_len) =
                    (0, 448 - 128 * u32::from(object.block_pointers) + 8);
            }),
        ),
        ("outside of its range", RAW, change!(Object, |object| object.object = ObjectId(100))),
        ("without a range", RAW, without(|body| matches!(body, Body::ObjectRange(_)))),
    ]);
}

/// What lies in the middle of a large dnode is no object, neither while the stream comes nor when the dnode is on disk.
#[test]
fn object_in_a_large_dnode() {
    let inside: fn() -> Edit = || {
        Box::new(|pieces| {
            let large =
                |piece: &&Piece| matches!(piece.0.body(), Some(Body::Object(object)) if object.slots() > 1);
            let Some(Body::Object(object)) = pieces.iter().find(large).expect("a large dnode").0.body()
            else {
                return;
            };
            let small = Object {
                object: ObjectId(object.object.0 + 1),
                dnode_slots: 1,
                bonus_len: 0,
                bonus_type: ObjectType::NONE,
                ..object
            };
            pieces.insert(pieces.len() - 1, (Header::new(small, ORDER), Vec::new()));
        })
    };
    BENCH.refuses_edited("while it comes", "dn-Lec", &inside(), &new(), EINVAL);
    let demo = Demo::new("a", 12, 128 << 20);
    demo.receive(&golden::stream("dn-Lec"), &target("demo/dn@s"), &[]).unwrap();
    // The increment has no more than that object.
    let only: Edit = both(
        inside(),
        Box::new(|pieces| {
            let inside = pieces.len() - 2;
            pieces.drain(1..inside);
        }),
    );
    let increment = both(only, again());
    Bench::over(demo).refuses_edited("on disk", "dn-Lec", &increment, &target("demo/dn@t"), EINVAL);
}

/// Makes a full stream the increment from its own snapshot to the next.
fn again() -> Edit {
    change!(Begin, |begin| (begin.from_guid, begin.to_guid) = (begin.to_guid, Guid(begin.to_guid.0 + 1)))
}

/// What is said anew of an object that is there.
#[test]
fn object_that_is_there() {
    let to = target("demo/rs4k@t");
    let stream = |edit: Edit| edited(&golden::stream("rs4k"), &both(again(), edit));
    BENCH.takes("the same again", &stream(Box::new(|_| ())), &to);
    // A file of several blocks.
    let is_file = |object: &Object| object.object.0 == 7 && object.object_type == FILE;
    let smaller = change!(Object, |object| is_file(&object), object.block_size = 512);
    BENCH.refuses("smaller blocks", &stream(smaller), &to, EINVAL);
    let lost: Edit = Box::new(move |pieces| {
        let at = pieces
            .iter()
            .position(|piece| matches!(piece.0.body(), Some(Body::Object(object)) if is_file(&object)));
        let (header, payload) = &mut pieces[at.expect("a file")];
        let Some(Body::Object(mut object)) = header.body() else { return };
        object.block_size *= 2;
        header.set_body(object);
        payload[..4].fill(0x55);
    });
    BENCH.refuses("no generation", &stream(lost), &to, EINVAL);
    let raw = |edit: Edit| {
        let increment = edited(&golden::stream(RAW), &both(again(), edit));
        let ivset = |list: &mut zstream_format::nvlist::NvList| {
            let to = list.get_u64("to_ivset_guid").unwrap();
            list.add_u64("from_ivset_guid", to);
        };
        edited(&increment, &zstream_tests::refusals::keydata(ivset))
    };
    let to = target("demo/gcm@u");
    BENCH.takes("the same again, raw", &raw(Box::new(|_| ())), &to);
    let pointers = change!(Object, |object| object.bonus_type == ObjectType::SA, object.block_pointers = 2);
    BENCH.refuses("raw: pointers that do not follow from the bonus", &raw(pointers), &to, EINVAL);
}

#[test]
fn ranges_of_objects() {
    let range = |first: u64, slot_count| ObjectRange {
        first_object: ObjectId(first),
        slot_count,
        to_guid: guid(),
        ..ObjectRange::default()
    };
    let free = FreeObjects { first_object: ObjectId(9), object_count: u64::MAX - 3, to_guid: guid() };
    refuses(vec![
        ("FREEOBJECTS wraps", "k-sha256", add(free, 0)),
        ("OBJECT_RANGE is not raw", "k-sha256", add(range(0, 32), 0)),
        ("31 objects", RAW, change!(ObjectRange, |range| range.slot_count = 31)),
        ("33 objects", RAW, change!(ObjectRange, |range| range.slot_count = 33)),
        ("from in between", RAW, change!(ObjectRange, |range| range.first_object = ObjectId(8))),
    ]);
    // No more than nothing may be freed, and what is not there.
    let mut nothing = free;
    (nothing.first_object, nothing.object_count) = (ObjectId(0), 0);
    let mut absent = free;
    (absent.first_object, absent.object_count) = (NONE, 7);
    let fine = both(add(nothing, 0), add(absent, 0));
    BENCH.takes("frees nothing", &edited(&golden::stream("k-sha256"), &fine), &new());
}

#[test]
fn write() {
    let write = |object: ObjectId, offset: u64, bytes: u64| Write::plain(object, FILE, offset, bytes, guid());
    let compressed = |compression, compressed_size| -> Edit {
        change!(Write, |write| {
            write.compression = compression;
            write.compressed_size = compressed_size;
        })
    };
    let byref = WriteByref {
        object: ObjectId(1),
        length: 512,
        to_guid: guid(),
        ref_guid: Guid(5),
        ref_object: ObjectId(1),
        ..WriteByref::default()
    };
    refuses(vec![
        ("wraps", "k-sha256", add(write(ObjectId(1), u64::MAX - 511, 1024), 1024)),
        ("no object", "k-sha256", add(write(NONE, 0, 512), 512)),
        ("object 0", "k-sha256", change!(Write, |write| write.object = ObjectId(0))),
        ("type", "k-sha256", change!(Write, |write| write.object_type = ObjectType(60))),
        ("an object before", "rs4k", repeat(|body| matches!(body, Body::Write(write) if write.object.0 < 9))),
        ("an offset before", "rs4k", repeat(|body| matches!(body, Body::Write(write) if write.offset == 0))),
        ("a reference to no snapshot", "k-sha256", add(byref, 0)),
        // OpenZFS 2.3 does not look at these.
        ("compression", "c-lzjb-c", compressed(CompressionType(17), 512)),
        ("compressed to nothing", "c-lzjb-c", compressed(CompressionType::LZ4, 0)),
        ("compressed to more", "c-lzjb-c", compressed(CompressionType::LZ4, 129 << 10)),
        (
            "cannot be decompressed",
            "k-sha256",
            Box::new(|pieces| {
                let at = pieces.iter().position(|piece| matches!(piece.0.body(), Some(Body::Write(_))));
                let (header, payload) = &mut pieces[at.expect("a block")];
                let Some(Body::Write(mut write)) = header.body() else { return };
                // A size that no sector has is decompressed at once.
                (write.compression, write.compressed_size) = (CompressionType::LZ4, 777);
                header.set_body(write);
                *payload = vec![0xff; 777];
            }),
        ),
    ]);
    refuses(vec![("a raw block of another size", RAW, change!(Write, |write| write.logical_size *= 2))]);
}

#[test]
fn write_embedded() {
    let embedded = |object, offset, physical_size: u32, embedded_type, compression| WriteEmbedded {
        object,
        offset,
        length: 512,
        to_guid: guid(),
        compression,
        embedded_type,
        pad: [0; 6],
        logical_size: 512,
        physical_size,
    };
    let (one, lz4) = (ObjectId(1), CompressionType::LZ4);
    refuses(vec![
        ("wraps", "k-sha256", add(embedded(one, u64::MAX - 100, 16, 0, lz4), 16)),
        ("113 bytes", "k-sha256", add(embedded(one, 0, 113, 0, lz4), 120)),
        ("type", "k-sha256", add(embedded(one, 0, 16, 3, lz4), 16)),
        ("a type that holds no data", "k-sha256", add(embedded(one, 0, 16, 1, lz4), 16)),
        ("compression", "k-sha256", add(embedded(one, 0, 16, 0, CompressionType(17)), 16)),
        ("raw", RAW, add(embedded(one, 0, 16, 0, lz4), 16)),
    ]);
    let none = add(embedded(NONE, 0, 16, 0, lz4), 16);
    BENCH.refuses_edited("no object", "k-sha256", &none, &new(), ENOENT);
}

#[test]
fn free_and_redact() {
    let free = |object, offset, length| Free { object, offset, length, to_guid: guid() };
    let redact = |object, offset, length| Redact { object, offset, length, to_guid: guid() };
    let (one, zero) = (ObjectId(1), ObjectId(0));
    refuses(vec![
        ("FREE wraps", "k-sha256", add(free(one, 512, u64::MAX - 100), 0)),
        ("FREE of no object", "k-sha256", add(free(NONE, 0, TO_OBJECT_END), 0)),
        ("FREE of object 0", "k-sha256", add(free(zero, 0, 512), 0)),
        ("REDACT wraps", "k-sha256", add(redact(one, 512, u64::MAX - 100), 0)),
        ("REDACT of no object", "k-sha256", add(redact(NONE, 0, 512), 0)),
        ("REDACT of object 0", "k-sha256", add(redact(zero, 0, 512), 0)),
    ]);
}

#[test]
fn spill() {
    refuses(vec![
        ("256 bytes", "dn", change!(Spill, |spill| spill.length = 256)),
        ("no object", "dn", change!(Spill, |spill| spill.object = NONE)),
        (
            "more than 16 MiB",
            "dn",
            Box::new(|pieces| {
                let at = pieces.iter().position(|piece| matches!(piece.0.body(), Some(Body::Spill(_))));
                let (header, payload) = &mut pieces[at.expect("a spill block")];
                let Some(Body::Spill(mut spill)) = header.body() else { return };
                spill.length = (16 << 20) + 512;
                header.set_body(spill);
                payload.resize(spill.length as usize, 0);
            }),
        ),
    ]);
}

/// What stands where no writer puts it, with right checksums; and behind END there is nothing any more.
#[test]
fn framing() {
    let pieces = records(&golden::stream("k-sha256"));
    let put = |at: usize, piece: Piece| {
        let mut pieces = pieces.clone();
        pieces.insert(at, piece);
        chained(&pieces)
    };
    let end = pieces.len() - 1;
    BENCH.refuses("BEGIN again", &put(3, (pieces[0].0.clone(), Vec::new())), &new(), EINVAL);
    for kind in [11_u32, 255, u32::MAX] {
        let mut bytes = *pieces[end].0.as_bytes();
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        let strange = (Header::from_bytes(bytes, ORDER), Vec::new());
        BENCH.refuses("a type of record that is none", &put(4, strange), &new(), EINVAL);
    }
    let mut wrong = golden::stream("k-sha256");
    let at = wrong.len() - 312 + 8;
    wrong[at] ^= 1;
    BENCH.refuses("the sum in END", &wrong, &new(), ECKSUM);
    let mut long = golden::stream("k-sha256");
    long.extend_from_slice(b"something else");
    BENCH.takes("bytes behind END", &long, &new());
    // Nothing but a begin and an end is an empty snapshot.
    let ends = [
        pieces[0].clone(),
        (Header::new(End { checksum: Checksum::ZERO, to_guid: guid() }, ORDER), Vec::new()),
    ];
    let found = BENCH.takes("an empty snapshot", &rechained(&ends).unwrap(), &target("demo/empty@s"));
    assert_eq!(found.dsl.dataset("demo/empty@s").unwrap().phys().guid.0, guid().0);
}
