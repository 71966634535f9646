//! Decompression of selected blocks (`zstream decompress`). It makes a stream receivable whose records
//! state a wrong compression.
//!
//! The blocks are named by object and offset, with the algorithm to use, which overrides that of the record:
//!
//! | requested | payload | result |
//! | --- | --- | --- |
//! | an algorithm | decompresses to the size of the block | the block, marked as uncompressed |
//! | `OFF` | as long as the block | the same payload, marked as uncompressed |
//! | either | anything else | unchanged, reported in [`DecompressOutcome`] |
//!
//! The features in BEGIN do not change: when it is written, the number of blocks that stay compressed is not
//! known, and a feature may be set but not used.
//!
//! ```
//! use zstream_format::edit::{DecompressBlocks, decompress};
//!
//! let stream = include_bytes!("../../tests/data/small.zfs");
//! let (copy, _) = decompress(&stream[..], Vec::new(), &DecompressBlocks::new(), |_, _, _| {})?;
//! assert!(copy == stream, "nothing was named, nothing changes");
//! # Ok::<(), zstream_format::edit::EditError>(())
//! ```

use std::collections::HashMap;
use std::io::{Read, Write};

use super::{
    DecompressFault, EditError, deduplicated, plain_block, rewrite, substream_features, with_payload,
};
use crate::algorithm::CompressionType;
use crate::compress::CodecError;
use crate::flags::FeatureFlags;
use crate::ids::ObjectId;
use crate::record::{self, Body};
use crate::stream::{Fault, StreamReader, StreamWriter};

/// The blocks to decompress, by object and offset in bytes, with the algorithm of each.
pub type DecompressBlocks = HashMap<(ObjectId, u64), CompressionType>;

/// The outcome for a requested block.
#[derive(Debug)]
#[non_exhaustive]
pub enum DecompressOutcome {
    /// The block was decompressed.
    Decompressed,
    /// The block was marked as uncompressed.
    Reset,
    /// The block does not decompress with the requested algorithm. It is unchanged.
    Failed(CodecError),
    /// The block cannot be marked as uncompressed, because its payload does not have the size of the block:
    /// readers would not find the following records. It is unchanged.
    NotPlain {
        /// The size of the payload in bytes.
        payload_len: u64,
        /// The size of the block in bytes.
        logical_size: u64,
    },
    /// The block is in a raw stream, whose blocks are authenticated as they are. It is unchanged.
    Raw,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecompressSummary {
    /// The number of zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

/// Decompresses the blocks of a stream that `blocks` names, and calls `told` with the outcome of each.
///
/// # Errors
/// Fails if the stream is corrupt or has a WRITE_BYREF, and if writing fails. A block that cannot be
/// decompressed is not an error.
pub fn decompress<R: Read, W: Write>(
    source: R,
    sink: W,
    blocks: &DecompressBlocks,
    mut told: impl FnMut(ObjectId, u64, &DecompressOutcome),
) -> Result<(W, DecompressSummary), EditError> {
    let mut raw = false;
    let mut reader = StreamReader::new(source);
    let sink = rewrite(&mut reader, StreamWriter::new(sink), |record, writer| {
        let body = record.header.body();
        if let Some(features) = substream_features(body.as_ref()) {
            raw = features.contains(FeatureFlags::RAW);
        }
        let write = match body {
            Some(Body::WriteByref(_)) => return Err(deduplicated().into()),
            Some(Body::Write(write)) => write,
            _ => return Ok(writer.write(record.header, record.payload)?),
        };
        let Some(kind) = blocks.get(&(write.object, write.offset)) else {
            return Ok(writer.write(record.header, record.payload)?);
        };
        let (outcome, block) =
            if raw { (DecompressOutcome::Raw, None) } else { plain(&write, *kind, record.payload)? };
        told(write.object, write.offset, &outcome);
        match block {
            Some(block) => {
                let header = with_payload(record.header, &write, CompressionType::INHERIT, block.len());
                writer.write(&header, &block)?;
            }
            None => writer.write(record.header, record.payload)?,
        }
        Ok(())
    })?;
    Ok((sink, DecompressSummary { padding_bytes: reader.padding() }))
}

/// Decompresses a payload, or returns the reason why it stays as it is.
fn plain(
    write: &record::Write,
    kind: CompressionType,
    payload: &[u8],
) -> Result<(DecompressOutcome, Option<Vec<u8>>), Fault> {
    if kind == CompressionType::OFF {
        let (payload_len, logical_size) = (payload.len() as u64, write.logical_size);
        if payload_len != logical_size {
            return Ok((DecompressOutcome::NotPlain { payload_len, logical_size }, None));
        }
        return Ok((DecompressOutcome::Reset, Some(payload.to_vec())));
    }
    match plain_block(write, kind, payload) {
        Ok(block) => Ok((DecompressOutcome::Decompressed, Some(block))),
        Err(DecompressFault::Codec(error)) => Ok((DecompressOutcome::Failed(error), None)),
        Err(DecompressFault::Stream(fault)) => Err(fault),
    }
}
