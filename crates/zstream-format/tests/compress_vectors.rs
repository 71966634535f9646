//! Blocks that OpenZFS compressed, read from `tests/data/compress`; its README tells how they were made.

use std::path::Path;

use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{Compression, DiskForm, compress_for_disk, compress_for_stream, decompress};

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compress").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every vector whose algorithm is compiled in: stem, algorithm with level, payload, plain block.
fn vectors() -> Vec<(&'static str, Compression, Vec<u8>, Vec<u8>)> {
    let mut names = vec![("zap", "lzjb"), ("zap", "zle"), ("text", "lzjb")];
    if cfg!(feature = "lz4") {
        names.extend([("zap", "lz4"), ("embedded", "lz4")]);
    }
    if cfg!(feature = "gzip") {
        names.extend([("zap", "gzip-1"), ("zap", "gzip-9"), ("text", "gzip-1"), ("text", "gzip-9")]);
    }
    if cfg!(feature = "zstd") {
        names.extend([("zap", "zstd-3"), ("zap", "zstd-19"), ("zap", "zstd-fast-10")]);
        names.extend([("text", "zstd-3"), ("text", "zstd-19")]);
    }
    let vector = |(stem, name): (&'static str, &str)| {
        (stem, name.parse().unwrap(), data(&format!("{stem}.{name}")), data(&format!("{stem}.plain")))
    };
    names.into_iter().map(vector).collect()
}

#[test]
fn what_openzfs_compressed_decompresses_to_the_block() {
    for (stem, compression, payload, plain) in vectors() {
        let mut block = vec![0xAA; plain.len()];
        decompress(compression.kind, &payload, &mut block).unwrap();
        assert!(block == plain, "{stem} {compression}");
    }
}

/// A payload that says where it ends makes a block of one size only; another is damage or a wrong record. lzjb
/// and zle do not say it: they stop wherever the block is full.
#[test]
fn a_block_of_another_size_is_an_error() {
    for (stem, compression, payload, plain) in vectors() {
        if [CompressionType::LZJB, CompressionType::ZLE].contains(&compression.kind) {
            continue;
        }
        for size in [plain.len() - 1, plain.len() + 1, 0] {
            let outcome = decompress(compression.kind, &payload, &mut vec![0; size]);
            assert!(outcome.is_err(), "{stem} {compression} into {size} bytes");
        }
    }
}

/// lzjb, zle and lz4 are deterministic: the same block in the same room gives the bytes that OpenZFS stored.
#[test]
fn own_encoders_make_the_bytes_of_openzfs() {
    for (stem, compression, payload, plain) in vectors() {
        let exact = [CompressionType::LZJB, CompressionType::ZLE, CompressionType::LZ4];
        if !exact.contains(&compression.kind) || stem == "embedded" {
            continue;
        }
        let ours = compress_for_stream(compression.kind, None, &plain).unwrap();
        assert!(ours.as_ref() == Some(&payload), "{stem} {compression}");
    }
}

#[cfg(feature = "lz4")]
#[test]
fn blocks_of_a_pool_take_the_form_that_the_kernel_gave_them() {
    let embedded = compress_for_disk(CompressionType::LZ4, None, &data("embedded.plain"), 12, true).unwrap();
    assert!(embedded == DiskForm::Embedded(data("embedded.lz4")));

    let payload = data("sparse.lz4");
    let mut sparse = vec![0; 128 << 10];
    decompress(CompressionType::LZ4, &payload, &mut sparse).unwrap();
    let form = |ashift| compress_for_disk(CompressionType::LZ4, None, &sparse, ashift, true).unwrap();
    assert!(form(9) == DiskForm::Compressed(payload.clone()));
    let DiskForm::Compressed(on_4k) = form(12) else { panic!("not compressed") };
    assert_eq!(on_4k.len(), 4096);
    assert!(on_4k.starts_with(&payload) && on_4k[payload.len()..].iter().all(|&byte| byte == 0));
}

/// The rule of each form at its edges, with zle, whose sizes can be counted by hand.
#[test]
fn forms_of_blocks_follow_the_sizes() {
    let form = |block: &[u8], ashift, embed| {
        compress_for_disk(CompressionType::ZLE, None, block, ashift, embed).unwrap()
    };
    assert_eq!(form(&[0; 4096], 9, true), DiskForm::Hole);
    assert_eq!(
        compress_for_disk(CompressionType::OFF, None, &[0; 4096], 9, true),
        Ok(DiskForm::Plain),
        "a plain block of zeros is stored"
    );
    // 2 bytes for one literal, and 22 runs of zeros: 24 bytes.
    let mut one = [0; 4096];
    one[0] = 1;
    assert!(matches!(form(&one, 9, true), DiskForm::Embedded(payload) if payload.len() == 24));
    assert!(matches!(form(&one, 9, false), DiskForm::Compressed(payload) if payload.len() == 512));
    assert_eq!(form(&one, 12, false), DiskForm::Plain, "rounded up to the unit it is as large as the block");
    // 128 literals take 130 bytes, more than a block pointer holds.
    let mut many = [0; 4096];
    many[..128].fill(1);
    assert!(matches!(form(&many, 9, true), DiskForm::Compressed(payload) if payload.len() == 512));
    // An eighth less than the block is 3584 bytes; the padding does not count.
    let mut most = [1; 4096];
    most[3500..].fill(0);
    assert!(matches!(form(&most, 9, true), DiskForm::Compressed(payload) if payload.len() == 3584));
    most[..3600].fill(1);
    assert_eq!(form(&most, 9, true), DiskForm::Plain);
}

#[test]
fn a_stream_keeps_a_payload_only_if_it_saves_a_sector() {
    let mut block = [1; 1024];
    assert_eq!(compress_for_stream(CompressionType::ZLE, None, &block), Ok(None));
    block[600..].fill(0);
    // 610 bytes of literals and 3 of zeros are two sectors, as the block.
    assert_eq!(compress_for_stream(CompressionType::ZLE, None, &block), Ok(None));
    block[400..].fill(0);
    let kept = compress_for_stream(CompressionType::ZLE, None, &block).unwrap().unwrap();
    assert_eq!(kept.len(), 512);
    let mut back = [2; 1024];
    decompress(CompressionType::ZLE, &kept, &mut back).unwrap();
    assert_eq!(back, block);
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_headers_of_both_byte_orders_are_read_and_others_named() {
    use zstream_format::compress::CodecFault;

    let (plain, mut payload) = (data("zap.plain"), data("zap.zstd-3"));
    let read = |payload: &[u8]| {
        let mut block = vec![0; plain.len()];
        decompress(CompressionType::ZSTD, payload, &mut block).map(|()| assert!(block == plain))
    };
    assert_eq!(payload[4..8], [3, 0x00, 0x28, 0xa5]);
    payload[4..8].copy_from_slice(&[0x00, 0x28, 0xa5, 3]);
    assert_eq!(read(&payload), Ok(()));
    payload[4..8].copy_from_slice(&[101, 0x00, 0x28, 0xa5]);
    assert_eq!(read(&payload).unwrap_err().fault, CodecFault::ZstdLevel { cookie: 101 });
    payload[4..8].copy_from_slice(&[3, 1, 0x28, 0xa5]);
    assert_eq!(read(&payload).unwrap_err().fault, CodecFault::ZstdVersion { word: 0x0301_28a5 });
    payload[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let length = CodecFault::HeaderLength { said: u32::MAX as usize, have: payload.len() - 8 };
    assert_eq!(read(&payload).unwrap_err().fault, length);
    assert_eq!(read(&payload[..7]).unwrap_err().fault, CodecFault::NoHeader { need: 8, have: 7 });
}

/// What we write is what the sheet of the format says: level and version in the header, then a frame that
/// has neither magic number nor content size nor checksum.
#[cfg(feature = "zstd")]
#[test]
fn zstd_frames_have_the_header_of_zfs() {
    let plain = data("zap.plain");
    let level = "zstd-fast-10".parse().unwrap();
    let payload = zstream_format::compress::compress(CompressionType::ZSTD, Some(level), &plain, plain.len())
        .unwrap()
        .unwrap();
    assert_eq!(payload[..4], (payload.len() as u32 - 8).to_be_bytes());
    assert_eq!(payload[4], 112);
    let version = u32::from_be_bytes([0, payload[5], payload[6], payload[7]]);
    assert!((10405..20000).contains(&version), "{version}");
    // The frame header descriptor: no content size, not a single segment, no checksum, no dictionary.
    assert_eq!(payload[8], 0);
}

#[test]
fn errors_say_what_and_where() {
    let error = |kind, src: &[u8], size| decompress(kind, src, &mut vec![0; size]).unwrap_err().to_string();
    let lzjb = CompressionType::LZJB;
    assert_eq!(error(lzjb, &[0, b'a'], 5), "lzjb: payload ends at byte 2 after 1 of 5 decompressed bytes");
    assert_eq!(
        error(lzjb, &[2, b'a', 0, 2], 5),
        "lzjb: sequence at byte 2 copies from 2 bytes back, only 1 are decompressed"
    );
    assert_eq!(
        error(lzjb, &[2, b'a', 0, 1], 3),
        "lzjb: sequence at byte 2 decompresses to more than the expected 3 bytes"
    );
    let zle = CompressionType::ZLE;
    assert_eq!(error(zle, &[1, 7], 2), "zle: payload ends at byte 2 after 0 of 2 decompressed bytes");
    assert_eq!(
        error(zle, &[64, 66], 3),
        "zle: sequence at byte 1 decompresses to more than the expected 3 bytes"
    );
    assert_eq!(error(CompressionType::OFF, &[1, 2], 3), "off: stored size is 2 bytes, expected 3");
    for kind in [CompressionType::INHERIT, CompressionType::ON, CompressionType::EMPTY, CompressionType(17)] {
        assert_eq!(error(kind, &[1, 2], 2), format!("{kind}: blocks cannot be stored with this algorithm"));
    }
    let lz4 = CompressionType::LZ4;
    if cfg!(feature = "lz4") {
        assert_eq!(error(lz4, &[0, 0, 0], 3), "lz4: payload is 3 bytes, the header requires 4");
        assert_eq!(error(lz4, &[0, 0, 0, 9, 1], 3), "lz4: length in the header is 9 bytes, 1 follow");
        assert_eq!(
            error(lz4, &[0, 0, 0, 4, 0x10, b'a', 5, 0], 9),
            "lz4: sequence at byte 4 copies from 5 bytes back, only 1 are decompressed"
        );
        assert_eq!(
            error(lz4, &[0, 0, 0, 3, 0x50, b'a', b'b'], 9),
            "lz4: payload ends at byte 7 after 0 of 9 decompressed bytes"
        );
        assert_eq!(
            error(lz4, &[0, 0, 0, 3, 0x20, b'a', b'b'], 1),
            "lz4: sequence at byte 4 decompresses to more than the expected 1 bytes"
        );
        assert_eq!(
            error(lz4, &[0, 0, 0, 3, 0x20, b'a', b'b'], 9),
            "lz4: payload of 7 bytes decompresses to 2 bytes, expected 9"
        );
    } else {
        assert_eq!(
            error(lz4, &[0; 9], 3),
            "lz4: this build does not include the cargo feature `lz4` of zstream-format"
        );
    }
    if cfg!(not(feature = "gzip")) {
        assert_eq!(
            error(CompressionType::GZIP_9, &[0; 9], 3),
            "gzip-9: this build does not include the cargo feature `gzip` of zstream-format"
        );
    }
    if cfg!(not(feature = "zstd")) {
        assert_eq!(
            error(CompressionType::ZSTD, &[0; 9], 3),
            "zstd: this build does not include the cargo feature `zstd` of zstream-format"
        );
    }
}
