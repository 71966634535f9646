//! The codecs against what OpenZFS compressed, and against what its `zstream recompress` makes.

use std::collections::BTreeMap;
use zstream_format::algorithm::CompressionType;
use zstream_format::compress::decompress;
use zstream_format::record::{Body, Header};
use zstream_tests::edit::records;
use zstream_tests::edit::{is_package, recompress};
use zstream_tests::golden;

/// The content of every object of a single stream, in pieces of 512 bytes by (object, offset). Pieces of zeros are
/// left out: one stream frees what another writes as zeros.
fn content(name: &str) -> BTreeMap<(u64, u64), Vec<u8>> {
    let mut pieces = BTreeMap::new();
    for (header, payload) in records(&golden::stream(name)) {
        let (object, offset, kind, lsize) = match header.body() {
            Some(Body::Write(w)) => (w.object, w.offset, w.compression, w.logical_size as usize),
            Some(Body::WriteEmbedded(w)) => (w.object, w.offset, w.compression, w.logical_size as usize),
            _ => continue,
        };
        let mut block = vec![0xee; lsize];
        match kind {
            CompressionType::INHERIT => block.copy_from_slice(&payload),
            kind => decompress(kind, &payload, &mut block).unwrap_or_else(|e| panic!("{name}: {e}")),
        }
        for (piece, at) in block.chunks(512).zip((offset..).step_by(512)) {
            if piece.iter().any(|byte| *byte != 0) {
                pieces.insert((object.0, at), piece.to_vec());
            }
        }
    }
    pieces
}

/// The same snapshot sent plain, compressed, embedded and in large blocks holds the same.
#[test]
fn compressed_streams_hold_what_plain_ones_hold() {
    let same = [
        ("fs-full", "fs-full-c"),
        ("fs-full", "fs-full-e"),
        ("fs-full", "fs-full-Lec"),
        ("fs-incr", "fs-incr-ec"),
        ("rs512", "rs512-Lec"),
        ("rs4k", "rs4k-Lec"),
        ("rs1m", "rs1m-Lec"),
        ("dn", "dn-Lec"),
    ];
    for (plain, compressed) in same {
        let (plain_content, content) = (content(plain), content(compressed));
        assert!(plain_content.len() > 100, "{plain}");
        assert!(plain_content == content, "{compressed} is not {plain}");
    }
}

/// Every block of the streams with one algorithm each decompresses; the algorithm is really there. (OpenZFS kept no
/// block that zle or zstd-fast-10 had made.)
#[test]
fn every_algorithm_is_read() {
    for (name, kind) in [
        ("c-lzjb-c", CompressionType::LZJB),
        ("c-gzip-9-c", CompressionType::GZIP_9),
        ("c-zstd-3-c", CompressionType::ZSTD),
        ("fs-full-c", CompressionType::LZ4),
    ] {
        let is_kind =
            |header: &Header| matches!(header.body(), Some(Body::Write(w)) if w.compression == kind);
        assert!(records(&golden::stream(name)).iter().any(|(header, _)| is_kind(header)), "{name}");
        assert!(!content(name).is_empty(), "{name}");
    }
}

/// Recompressing as `zstream recompress` does gives the streams that it gives, for the algorithms with one possible
/// result. (It writes the ENDs of packages in a way of its own, so those are left out.)
#[test]
fn recompressed_as_openzfs_does() {
    let mut compared = 0;
    for name in golden::streams() {
        let stream = golden::stream(&name);
        if is_package(&stream) {
            continue;
        }
        for (to, hash) in golden::expected_recompress(&name) {
            let kind = CompressionType::from_name(&to).expect("a known algorithm");
            assert_eq!(golden::sha256(&recompress(&stream, kind)), hash, "{name} to {to}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} streams compared");
}
