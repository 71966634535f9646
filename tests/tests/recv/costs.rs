//! Streams that cost more than they carry: what they take of memory is bounded by their length.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, ObjectFlags, VersionInfo};
use zstream_format::ids::{Guid, ObjectId};
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_format::record::{BEGIN_MAGIC, Begin, Body, End, Free, FreeObjects, Header, Object, Write};
use zstream_recv::{MEMORY_BYTES_BASE, MEMORY_BYTES_MAX, MEMORY_PER_STREAM_BYTE};
use zstream_tests::edit::Piece;
use zstream_tests::program;
use zstream_tests::receiving::Demo;
use zstream_tests::refusals::{ORDER, chained};

pub(crate) const GUID: Guid = Guid(77);
const BLOCK_BYTES: u64 = 512;
/// Below the end of an object, and far from its start.
const FAR: u64 = 1 << 50;
/// Objects in a block of dnodes.
const APART: u64 = 32;

pub(crate) fn piece(body: impl Into<Body>, payload: usize) -> Piece {
    (Header::new(body.into(), ORDER), vec![0x5a; payload])
}

fn object(number: u64) -> Piece {
    object_of(number, BLOCK_BYTES as u32)
}

/// An object with blocks of this size.
pub(crate) fn object_of(number: u64, block_size: u32) -> Piece {
    let body = Object {
        object: ObjectId(number),
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        bonus_type: ObjectType::NONE,
        block_size,
        bonus_len: 0,
        checksum_type: ChecksumType::INHERIT,
        compression: CompressionType::INHERIT,
        dnode_slots: 1,
        flags: ObjectFlags::empty(),
        raw_bonus_len: 0,
        to_guid: GUID,
        indirect_block_shift: 0,
        levels: 0,
        block_pointers: 0,
        pad: [0; 5],
        max_block_id: 0,
    };
    piece(body, 0)
}

fn write(number: u64, offset: u64) -> Piece {
    let kind = ObjectType::PLAIN_FILE_CONTENTS;
    piece(Write::plain(ObjectId(number), kind, offset, BLOCK_BYTES, GUID), BLOCK_BYTES as usize)
}

fn free(number: u64, offset: u64) -> Piece {
    piece(Free { object: ObjectId(number), offset, length: BLOCK_BYTES, to_guid: GUID }, 0)
}

/// A stream of these records.
fn stream(records: impl IntoIterator<Item = Piece>) -> Vec<u8> {
    stream_with(FeatureFlags::empty(), records)
}

/// The same with features.
pub(crate) fn stream_with(features: FeatureFlags, records: impl IntoIterator<Item = Piece>) -> Vec<u8> {
    let begin = Begin {
        magic: BEGIN_MAGIC,
        version_info: VersionInfo::new(HeaderType::Substream, features),
        creation_time: 1_700_000_000,
        objset_type: ObjsetType::ZVOL.0,
        flags: BeginFlags::FREERECORDS,
        to_guid: GUID,
        from_guid: Guid(0),
        to_name: Begin::name_field(b"tank/v@s").unwrap(),
    };
    let end = End { checksum: Checksum::ZERO, to_guid: GUID };
    let pieces: Vec<Piece> = [piece(begin, 0)].into_iter().chain(records).chain([piece(end, 0)]).collect();
    chained(&pieces)
}

/// The most memory that a receive took, in bytes, and its exit code.
fn received(demo: &Demo, stream: &[u8]) -> (u64, Option<i32>, String) {
    measured(&["-d", demo.members()[0].to_str().expect("UTF-8"), "recv", "demo/new"], stream)
}

/// The most memory that the program took with a stream as its input, in bytes, its exit code, and its messages.
pub(crate) fn measured(words: &[&str], stream: &[u8]) -> (u64, Option<i32>, String) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(stream).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut command = Command::new(program::path());
    let mut child = command
        .args(words)
        .stdin(Stdio::from(file))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let found = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak = peak.max(found.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (peak, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Of each kind of record that makes much out of little, as many as make some megabytes.
#[test]
fn memory_is_bounded_by_the_length_of_the_stream() {
    let spread = |n: u64, of: u64| FAR / of * n / BLOCK_BYTES * BLOCK_BYTES;
    let both = |n: u64| {
        let number = 1 + n * APART;
        [object(number), write(number, FAR)]
    };
    let frees = |n: u64| {
        let number = 1 + n * APART;
        [
            object(number),
            piece(FreeObjects { first_object: ObjectId(number + 1), object_count: 30, to_guid: GUID }, 0),
        ]
    };
    let streams = [
        ("objects apart", stream((0..20_000).map(|n| object(1 + n * APART)))),
        ("objects apart with a write far out", stream((0..3_000).flat_map(both))),
        (
            "writes all over an object",
            stream([object(1)].into_iter().chain((0..4_000).map(|n| write(1, spread(n, 4_000))))),
        ),
        ("frees all over an object", {
            let writes = (0..2_000).map(|n| write(1, spread(n, 2_000)));
            stream(
                [object(1)].into_iter().chain(writes).chain((0..13_000).map(|n| free(1, spread(n, 13_000)))),
            )
        }),
        ("objects freed between", stream((0..10_000).flat_map(frees))),
    ];
    for (what, stream) in streams {
        let demo = Demo::new("a", 12, 2 << 30);
        let (peak, code, message) = received(&demo, &stream);
        let limit = (MEMORY_BYTES_BASE + MEMORY_PER_STREAM_BYTE * stream.len() as u64).min(MEMORY_BYTES_MAX);
        assert_eq!(code, Some(0), "{what}: {message}");
        assert!(peak > 0 && peak <= limit, "{what}: {peak} bytes, limit {limit}, stream {}", stream.len());
        demo.check(what);
    }
}
