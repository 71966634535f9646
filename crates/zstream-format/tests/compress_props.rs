//! Properties of every codec that is compiled in: round trips, and what damage may do.

use proptest::collection::vec;
use proptest::prelude::*;
use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{
    Compression, DiskForm, compress, compress_for_disk, compress_into, decompress,
};

/// One setting per codec and search depth.
fn settings() -> Vec<Compression> {
    let mut names = vec!["lzjb", "zle"];
    if cfg!(feature = "lz4") {
        names.push("lz4");
    }
    if cfg!(feature = "gzip") {
        names.extend(["gzip-1", "gzip", "gzip-9"]);
    }
    if cfg!(feature = "zstd") {
        names.extend(["zstd", "zstd-9", "zstd-fast-1000"]);
    }
    names.into_iter().map(|name| name.parse().unwrap()).collect()
}

fn setting() -> impl Strategy<Value = Compression> {
    proptest::sample::select(settings())
}

/// A piece of a block: a run of zeros, a run of one byte, random bytes, or a copy from further up.
#[derive(Clone, Debug)]
enum Piece {
    Run(u8, usize),
    Random(Vec<u8>),
    Copy { back: usize, length: usize },
}

fn block() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![1_usize..20, 20_usize..400, 400_usize..30_000];
    let piece = prop_oneof![
        length.clone().prop_map(|length| Piece::Run(0, length)),
        (any::<u8>(), length.clone()).prop_map(|(byte, length)| Piece::Run(byte, length)),
        vec(any::<u8>(), 1..300).prop_map(Piece::Random),
        vec(0_u8..3, 1..300).prop_map(Piece::Random),
        (1_usize..70_000, length).prop_map(|(back, length)| Piece::Copy { back, length }),
    ];
    vec(piece, 1..20).prop_map(|pieces| {
        let mut block = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Run(byte, length) => block.resize(block.len() + length, byte),
                Piece::Random(bytes) => block.extend(bytes),
                Piece::Copy { back, length } => {
                    let back = back.min(block.len());
                    for _ in 0..if back == 0 { 0 } else { length } {
                        block.push(block[block.len() - back]);
                    }
                }
            }
        }
        if block.is_empty() {
            block.push(0); // A copy with nothing further up. No block of ZFS is empty.
        }
        block
    })
}

/// Room for any payload.
fn unlimited(block: &[u8]) -> usize {
    block.len() * 2 + 1024
}

fn payload_of(setting: Compression, block: &[u8]) -> Vec<u8> {
    compress(setting.kind, setting.level, block, unlimited(block))
        .unwrap()
        .expect("there is room for anything")
}

/// Decompresses into the middle of a larger buffer and checks that the rest of it is left alone.
fn decompress_guarded(kind: CompressionType, payload: &[u8], size: usize) -> Option<Vec<u8>> {
    const GUARD: usize = 64;
    let mut buffer = vec![0x5A; size + 2 * GUARD];
    let outcome = decompress(kind, payload, &mut buffer[GUARD..GUARD + size]);
    assert!(buffer[..GUARD].iter().chain(&buffer[GUARD + size..]).all(|&byte| byte == 0x5A), "{kind}");
    outcome.ok().map(|()| buffer[GUARD..GUARD + size].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn blocks_come_back(setting in setting(), block in block(), padding in 0_usize..600) {
        let mut payload = payload_of(setting, &block);
        payload.resize(payload.len() + padding, 0);
        prop_assert!(decompress_guarded(setting.kind, &payload, block.len()) == Some(block));
    }

    /// Whatever the room: the payload fits into it and is good, or there is none.
    #[test]
    fn no_room_is_too_small(setting in setting(), block in block(), room in 0_usize..70_000) {
        for room in [room, room % 64, payload_of(setting, &block).len().saturating_sub(room % 32)] {
            let mut payload = vec![0; room];
            let made = compress_into(setting.kind, setting.level, &block, &mut payload).unwrap();
            if let Some(made) = made {
                let back = decompress_guarded(setting.kind, &payload[..made], block.len());
                prop_assert!(back.as_ref() == Some(&block));
            }
        }
    }

    /// lz4 blocks end as its decoders expect, the fast ones of old in particular: the last 5 bytes are
    /// literals, and no match begins in the last 12.
    #[test]
    #[cfg(feature = "lz4")]
    fn lz4_blocks_end_in_literals(block in block()) {
        let payload = payload_of(CompressionType::LZ4.into(), &block);
        let mut rest = &payload[4..];
        let mut made = 0;
        let length = |nibble: u8, rest: &mut &[u8]| {
            let mut length = usize::from(nibble);
            let mut more = if nibble == 15 { 255 } else { 0 };
            while more == 255 {
                let (&byte, behind) = rest.split_first().unwrap();
                *rest = behind;
                more = byte;
                length += usize::from(more);
            }
            length
        };
        loop {
            let (&token, behind) = rest.split_first().unwrap();
            rest = behind;
            let literals = length(token >> 4, &mut rest);
            rest = &rest[literals..];
            made += literals;
            if rest.is_empty() {
                prop_assert!(literals >= 5 || literals == block.len(), "{literals} literals at the end");
                break;
            }
            rest = &rest[2..];
            prop_assert!(made + 12 <= block.len(), "match at {made} of {}", block.len());
            made += 4 + length(token & 15, &mut rest);
        }
        prop_assert_eq!(made, block.len());
    }

    /// Every byte of a payload is needed: cut anywhere, it is an error.
    #[test]
    fn cut_payloads_are_refused(setting in setting(), block in block(), at in vec(any::<prop::sample::Index>(), 8)) {
        let payload = payload_of(setting, &block);
        // A block of no bytes may have a payload of none.
        prop_assume!(!payload.is_empty());
        let near_the_end = payload.len().saturating_sub(12)..payload.len();
        for at in at.into_iter().map(|at| at.index(payload.len())).chain(0..12.min(payload.len())).chain(near_the_end) {
            prop_assert!(decompress_guarded(setting.kind, &payload[..at], block.len()).is_none(), "cut at {at}");
        }
    }

    /// Damage gives an error or another block, nothing else; and the same one each time, though contexts are
    /// kept from one call to the next.
    #[test]
    fn damage_is_contained(
        setting in setting(),
        block in block(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        size in prop_oneof![Just(None), (0_usize..5000).prop_map(Some)],
    ) {
        let good = payload_of(setting, &block);
        prop_assume!(!good.is_empty());
        let mut bad = good.clone();
        for (at, byte) in damage {
            let at = at.index(bad.len());
            bad[at] = byte;
        }
        let size = size.unwrap_or(block.len());
        let first = decompress_guarded(setting.kind, &bad, size);
        prop_assert!(decompress_guarded(setting.kind, &good, block.len()) == Some(block));
        prop_assert!(decompress_guarded(setting.kind, &bad, size) == first);
    }

    #[test]
    fn garbage_is_contained(kind in 0_u8..20, garbage in vec(any::<u8>(), 0..2000), size in 0_usize..5000) {
        decompress_guarded(CompressionType(kind), &garbage, size);
    }

    /// Garbage behind a header that is in order, so that the decoders themselves see it.
    #[test]
    fn garbage_behind_a_header_is_contained(garbage in vec(any::<u8>(), 0..2000), size in 0_usize..5000) {
        let with_length = |rest: &[u8]| [&(garbage.len() as u32).to_be_bytes(), rest, &garbage].concat();
        decompress_guarded(CompressionType::LZ4, &with_length(&[]), size);
        decompress_guarded(CompressionType::ZSTD, &with_length(&[3, 0x00, 0x28, 0xa5]), size);
        decompress_guarded(CompressionType::GZIP_1, &[&[0x78, 0x9c], &garbage[..]].concat(), size);
    }

    /// Each form of a block on disk gives the block back, and is no larger than the block.
    #[test]
    fn disk_forms_come_back(setting in setting(), block in block(), ashift in 9_u8..=14, embed: bool) {
        let mut block = block;
        block.resize(block.len().next_multiple_of(512), 0);
        let unit = 1 << ashift;
        match compress_for_disk(setting.kind, setting.level, &block, ashift, embed).unwrap() {
            DiskForm::Hole => prop_assert!(block.iter().all(|&byte| byte == 0)),
            DiskForm::Embedded(payload) => {
                prop_assert!(embed && payload.len() <= 112);
                prop_assert!(decompress_guarded(setting.kind, &payload, block.len()) == Some(block));
            }
            DiskForm::Compressed(payload) => {
                prop_assert!(payload.len() % unit == 0 && payload.len() < block.len());
                prop_assert!(decompress_guarded(setting.kind, &payload, block.len()) == Some(block));
            }
            DiskForm::Plain => {}
        }
    }
}

/// The levels that proptest leaves out, at a block size with large tables.
#[test]
#[cfg(feature = "zstd")]
fn every_level_of_zstd_makes_blocks_that_come_back() {
    let block: Vec<u8> = (0..40_000_u32).flat_map(|n| (n * n % 1009).to_string().into_bytes()).collect();
    for level in zstream_format::compress::ZstdLevel::all() {
        let payload = payload_of(Compression { kind: CompressionType::ZSTD, level: Some(level) }, &block);
        assert_eq!(payload[4], level.cookie());
        assert!(
            decompress_guarded(CompressionType::ZSTD, &payload, block.len()).as_ref() == Some(&block),
            "{level}"
        );
    }
}

/// 16 MiB is the largest block there is; runs of that length and more are where lengths overflow first.
#[test]
fn the_largest_blocks_come_back_and_larger_ones_are_refused() {
    let mut noise = 1_u32;
    let mut random = vec![0; 16 << 20];
    for byte in &mut random {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (noise >> 24) as u8;
    }
    random[(16 << 20) - 100_000..].fill(7);
    for block in [vec![0; 16 << 20], vec![9; 16 << 20], random] {
        for setting in settings() {
            if setting.level.is_some_and(|level| level.library() > 3) {
                continue; // Slow, and the same code.
            }
            let payload = payload_of(setting, &block);
            assert!(
                decompress_guarded(setting.kind, &payload, block.len()).as_ref() == Some(&block),
                "{setting}"
            );
            let room = block.len() - block.len() / 8;
            compress(setting.kind, setting.level, &block, room).unwrap();
        }
    }
    let error = compress(CompressionType::LZJB, None, &vec![0; (16 << 20) + 1], 100).unwrap_err();
    assert_eq!(error.to_string(), "lzjb: block is 16777217 bytes, at most 16777216 can be compressed");
}
