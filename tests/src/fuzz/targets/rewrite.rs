//! Edits of streams.

use super::super::corpus;
use crate::edit::{as_openzfs, deduplicated, records};
use zstream_format::algorithm::CompressionType;
use zstream_format::edit::{DecompressBlocks, EditError, Recompress, decompress, redup};
use zstream_format::record::Body;

/// The small streams, and dedup'd ones.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let mut streams = corpus::streams();
    let deduped: Vec<_> = streams
        .iter()
        .map(|stream| deduplicated(stream))
        .filter(|(_, references)| *references > 0)
        .map(|(stream, _)| stream)
        .collect();
    assert!(!deduped.is_empty(), "no stream has repeated blocks");
    streams.extend(deduped);
    streams
}

fn recompressed(input: &[u8], kind: CompressionType) -> Result<Vec<u8>, EditError> {
    Recompress { kind, level: None }.run(input, Vec::new()).map(|(made, _)| made)
}

/// Compressed and decompressed is decompressed; with nothing to decompress a stream stays as it is; what was converted has
/// no references left, and stays as it is when it is converted again. What one edit refuses as a stream, all refuse.
pub(super) fn run(input: &[u8]) {
    let copied = decompress(input, Vec::new(), &DecompressBlocks::new(), |_, _, _| {});
    if let Ok((copied, summary)) = &copied {
        let (stream, padding) = input.split_at(input.len() - summary.padding_bytes as usize);
        assert!(copied == stream && padding.iter().all(|byte| *byte == 0), "with nothing to decompress");
    }
    if let Ok(plain) = recompressed(input, CompressionType::OFF) {
        assert!(copied.is_ok(), "{:?}", copied.err());
        let lz4 = recompressed(input, CompressionType::LZ4).expect("what could be decompressed");
        let back = recompressed(&lz4, CompressionType::OFF).expect("what was compressed here");
        assert!(as_openzfs(&back, input) == as_openzfs(&plain, input), "compressed and decompressed");
    }
    let converted = |stream: &[u8]| {
        let read_at = |at: u64, buffer: &mut [u8]| {
            let from = usize::try_from(at).ok().and_then(|at| stream.get(at..)?.get(..buffer.len()));
            buffer.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        redup(stream, read_at, Vec::new()).map(|(made, summary)| (made, summary.references))
    };
    if let Ok((made, references)) = converted(input) {
        let pieces = records(&made);
        assert!(pieces.iter().all(|(header, _)| !matches!(header.body(), Some(Body::WriteByref(_)))));
        assert_eq!(pieces.len(), records(input).len());
        let (again, none) = converted(&made).expect("what was converted");
        assert!(again == made && none == 0, "converted again");
        assert!(copied.is_ok() || references > 0, "{:?}", copied.err());
    }
}
