//! Blocks that are small and claim to be large: those that are as large as they say are expanded one after the other, and what is
//! false is an error. Memory is bounded by the size of blocks, not by what a payload claims.

use zstream_format::algorithm::CompressionType;
use zstream_format::compress::compress;
use zstream_format::flags::FeatureFlags;
use zstream_format::ids::ObjectId;
use zstream_format::object_type::ObjectType;
use zstream_format::record::Write;
use zstream_tests::edit::Piece;
use zstream_tests::every;
use zstream_tests::program;
use zstream_tests::receiving::Demo;

use crate::costs::{GUID, measured, object_of, piece, stream_with};

/// The largest block.
const BLOCK_BYTES: u64 = 16 << 20;
/// What a verb takes at most that has a few blocks in memory for each core.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

fn write(block: u64, kind: CompressionType, payload: &[u8]) -> Piece {
    let body = Write {
        compression: kind,
        compressed_size: payload.len().next_multiple_of(8) as u64,
        ..Write::plain(ObjectId(1), ObjectType::ZVOL, block * BLOCK_BYTES, BLOCK_BYTES, GUID)
    };
    let (header, _) = piece(body, 0);
    let mut padded = payload.to_vec();
    padded.resize(payload.len().next_multiple_of(8), 0);
    (header, padded)
}

fn stream(writes: impl IntoIterator<Item = Piece>) -> Vec<u8> {
    let (kind, size) = (ObjectType::ZVOL, BLOCK_BYTES as u32);
    let features =
        FeatureFlags::COMPRESSED | FeatureFlags::LARGE_BLOCKS | FeatureFlags::LZ4 | FeatureFlags::ZSTD;
    let mut object = object_of(1, size);
    let mut body = match object.0.body() {
        Some(zstream_format::record::Body::Object(body)) => body,
        _ => unreachable!("it is one"),
    };
    body.object_type = kind;
    object.0.set_body(body);
    stream_with(features, [object].into_iter().chain(writes))
}

const KINDS: [CompressionType; 5] = [
    CompressionType::LZ4,
    CompressionType::ZSTD,
    CompressionType::GZIP_9,
    CompressionType::LZJB,
    CompressionType::ZLE,
];

#[test]
fn blocks_of_zeros_are_expanded_one_after_the_other() {
    let blocks = if every::step(2) == 1 { 2000 } else { 12 };
    let zeros = vec![0; BLOCK_BYTES as usize];
    for kind in KINDS {
        let payload =
            compress(kind, None, &zeros, BLOCK_BYTES as usize / 2).unwrap().expect("zeros are compressed");
        let stream = stream((0..blocks).map(|block| write(block, kind, &payload)));
        let what = format!("{kind:?}: {} bytes make {}", stream.len(), blocks * BLOCK_BYTES);
        for words in [&["verify", "--deep", "-"][..], &["recompress", "off"], &["recompress", "zstd"]] {
            let (peak, code, message) = measured(words, &stream);
            assert_eq!(code, Some(0), "{what}: {words:?}: {message}");
            assert!(peak < MEMORY_BYTES_MAX, "{what}: {words:?}: {peak} bytes");
        }
        let demo = Demo::new("a", 12, 256 << 20);
        let member = demo.members()[0].display().to_string();
        let (peak, code, message) = measured(&["-d", &member, "recv", "demo/new"], &stream);
        assert_eq!(code, Some(0), "{what}: {message}");
        assert!(peak < MEMORY_BYTES_MAX, "{what}: {peak} bytes");
        let (peak, code, message) = measured(&["-d", &member, "send", "-L", "demo/new@s"], b"");
        assert_eq!(code, Some(0), "{what}: {message}");
        assert!(peak < MEMORY_BYTES_MAX, "{what}: send: {peak} bytes");
        demo.check(&what);
    }
}

/// Payloads that claim what is not there.
fn false_payloads() -> Vec<(&'static str, CompressionType, Vec<u8>)> {
    let zstd = |frame: &[u8]| {
        let head = [&(frame.len() as u32).to_be_bytes()[..], &[3, 0, 0x28, 0xa5]].concat();
        [&head, frame].concat()
    };
    // One block of 128 KiB of one byte repeated, the last one.
    let run = [((128 << 10) << 3 | 1 << 1 | 1_u32).to_le_bytes()[..3].to_vec(), vec![7]].concat();
    let huge = (1_u64 << 60).to_le_bytes();
    let runs = {
        let more = [((128 << 10) << 3 | 2_u32).to_le_bytes()[..3].to_vec(), vec![7]].concat();
        more.repeat(20_000)
    };
    let zeros = vec![0; 4 * BLOCK_BYTES as usize];
    let longer = |kind| {
        let part = compress(kind, None, &zeros[..BLOCK_BYTES as usize], 1 << 20).unwrap().expect("zeros");
        part.repeat(4)
    };
    let lz4 = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    vec![
        ("a content size of 2^60", CompressionType::ZSTD, zstd(&[&[0xe0][..], &huge, &run].concat())),
        ("a window of 2^41", CompressionType::ZSTD, zstd(&[&[0, 0xff][..], &run].concat())),
        ("runs of 2.5 GB", CompressionType::ZSTD, zstd(&[&[0, 0x58][..], &runs].concat())),
        ("a content that is too short", CompressionType::ZSTD, zstd(&[&[0, 0x58][..], &run].concat())),
        (
            "a frame of 4 GB",
            CompressionType::ZSTD,
            [&[0xff; 4][..], &[3, 0, 0x28, 0xa5, 0, 0x58], &run].concat(),
        ),
        ("a block of 4 GB", CompressionType::LZ4, [&[0xff; 4][..], &[0; 60]].concat()),
        ("literals without end", CompressionType::LZ4, lz4(&[0xff; 60_000])),
        (
            "a match before the start",
            CompressionType::LZ4,
            lz4(&[&[0x1f, 7, 0xff, 0xff][..], &[0xff; 60_000]].concat()),
        ),
        ("four times as much", CompressionType::GZIP_9, {
            let part = compress(CompressionType::GZIP_9, None, &zeros[..BLOCK_BYTES as usize], 1 << 20);
            // A stored block of zlib would not be longer: the stream is cut before its end instead.
            let mut part = part.unwrap().expect("zeros");
            part.truncate(part.len() / 2);
            part
        }),
        ("runs beyond the end", CompressionType::ZLE, vec![0xff; 1 << 19]),
        ("copies of copies", CompressionType::LZJB, longer(CompressionType::LZJB)[3..].to_vec()),
    ]
}

#[test]
fn false_sizes_are_errors() {
    for (what, kind, payload) in false_payloads() {
        let stream = stream([write(0, kind, &payload)]);
        for words in [&["verify", "--deep", "-"][..], &["recompress", "off"]] {
            let (peak, code, message) = measured(words, &stream);
            let is_padding_only = what == "runs beyond the end" || what == "copies of copies";
            assert!(
                code == Some(1) || is_padding_only && code == Some(0),
                "{kind:?}, {what}: {words:?}: {code:?} {message}"
            );
            assert!(peak < MEMORY_BYTES_MAX, "{kind:?}, {what}: {words:?}: {peak} bytes");
        }
        // A receive stores what is compressed, as OpenZFS does. Whoever reads it gets an error.
        let demo = Demo::new("a", 12, 128 << 20);
        let (code, _, message) = demo.run(&[], "recv demo/new", &stream);
        let outcome =
            program::zstream(&["-d", demo.members()[0].to_str().unwrap(), "cat", "demo/new@s"], b"");
        let is_stored = code == 0;
        assert!(code <= 1 && (!is_stored || outcome.code <= 1), "{kind:?}, {what}: {code} {message}");
        demo.check(what);
    }
}
