//! The decompressors. An input is the logical size (u32, little-endian) and a stored block.

use super::super::corpus::blocks;
use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{compress, decompress};

/// The largest logical block that is tried.
const MAX_BLOCK_BYTES: usize = 1 << 20;
/// Blocks of the golden streams that a target starts from.
const BLOCKS: usize = 40;

/// The levels of gzip have one decoder.
fn same(kind: CompressionType, found: CompressionType) -> bool {
    let is_gzip = |k| (CompressionType::GZIP_1..=CompressionType::GZIP_9).contains(&k);
    kind == found || is_gzip(kind) && is_gzip(found)
}

/// What OpenZFS compressed, and blocks with runs of zeros (directories) compressed here: it kept no zle block.
pub(super) fn corpus(kind: CompressionType) -> Vec<Vec<u8>> {
    let mut found = blocks(|found| same(kind, found), BLOCKS);
    assert!(!found.is_empty() || kind == CompressionType::ZLE, "{kind:?}: no block of OpenZFS");
    for (_, lsize, plain) in blocks(|found| found == CompressionType::INHERIT, BLOCKS) {
        let payload = compress(kind, None, &plain, lsize).expect("a block of this size");
        found.extend(payload.map(|payload| (kind, lsize, payload)));
    }
    let input = |(_, lsize, payload): (CompressionType, usize, Vec<u8>)| {
        [&(lsize as u32).to_le_bytes()[..], &payload].concat()
    };
    found.into_iter().map(input).collect()
}

/// What is made does not depend on what lay in the buffer; compressed again and decompressed it is the same.
pub(super) fn run(kind: CompressionType, input: &[u8]) {
    let Some((lsize, payload)) = input.split_first_chunk::<4>() else { return };
    let lsize = u32::from_le_bytes(*lsize) as usize % (MAX_BLOCK_BYTES + 1);
    let (mut plain, mut dirty) = (vec![0; lsize], vec![0xee; lsize]);
    let outcome = decompress(kind, payload, &mut plain);
    assert_eq!(decompress(kind, payload, &mut dirty).is_ok(), outcome.is_ok());
    if outcome.is_err() {
        return;
    }
    assert!(plain == dirty, "part of the block is what the buffer held before");
    let mut padded = payload.to_vec();
    padded.resize(payload.len() + 512, 0);
    decompress(kind, &padded, &mut dirty).expect("padding changes nothing");
    assert!(plain == dirty, "padding changes the block");
    if let Some(again) = compress(kind, None, &plain, lsize).expect("a block of this size") {
        assert!(again.len() <= lsize);
        dirty.fill(0xee);
        decompress(kind, &again, &mut dirty).expect("what was compressed");
        assert!(plain == dirty, "compressed and decompressed");
    }
}
