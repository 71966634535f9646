//! Decompressing chosen blocks (`zstream decompress`): a way to get a stream received whose blocks do not
//! decompress as their records say, or which are marked wrongly.
//!
//! The blocks are named by object and offset, and with the algorithm to use, whatever the record says:
//!
//! | asked for | payload | becomes |
//! | --- | --- | --- |
//! | an algorithm | decompresses to the block's size | the block, marked plain |
//! | `OFF` | as long as the block | the same payload, marked plain |
//! | either | anything else | as it was, and [`Outcome`] says so |
//!
//! BEGIN keeps its features: how many blocks stay compressed is not known when it is written, and a feature
//! that is announced but not used is no fault.
//!
//! ```
//! use zstream_format::edit::decompress::{Blocks, decompress};
//!
//! let stream = include_bytes!("../../tests/data/small.zfs");
//! let (copy, _) = decompress(&stream[..], Vec::new(), &Blocks::new(), |_, _, _| {})?;
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

/// The blocks to decompress: by object and offset in bytes, with the algorithm.
pub type Blocks = HashMap<(ObjectId, u64), CompressionType>;

/// What became of a block that was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was decompressed.
    Decompressed,
    /// It was marked plain.
    Reset,
    /// It does not decompress with the algorithm that was asked for. It is as it was.
    Failed(CodecError),
    /// It was to be marked plain, but its payload does not have the block's size: the records behind it could
    /// not be found any more. It is as it was.
    NotPlain {
        /// Bytes of the payload.
        payload_len: u64,
        /// Bytes of the block.
        logical_size: u64,
    },
    /// It lies in a raw stream, whose blocks are sealed as they are. It is as it was.
    Raw,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

/// Decompresses the blocks of a stream that `blocks` names, and tells `told` what became of each.
///
/// # Errors
/// What is wrong with the stream, a WRITE_BYREF in it, or that writing failed. A block that cannot be
/// decompressed is no error here.
pub fn decompress<R: Read, W: Write>(
    source: R,
    sink: W,
    blocks: &Blocks,
    mut told: impl FnMut(ObjectId, u64, &Outcome),
) -> Result<(W, Summary), EditError> {
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
        let (outcome, block) = if raw { (Outcome::Raw, None) } else { plain(&write, *kind, record.payload)? };
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
    Ok((sink, Summary { padding_bytes: reader.padding() }))
}

/// Makes a payload plain, or says why that cannot be.
fn plain(
    write: &record::Write,
    kind: CompressionType,
    payload: &[u8],
) -> Result<(Outcome, Option<Vec<u8>>), Fault> {
    if kind == CompressionType::OFF {
        let (payload_len, logical_size) = (payload.len() as u64, write.logical_size);
        if payload_len != logical_size {
            return Ok((Outcome::NotPlain { payload_len, logical_size }, None));
        }
        return Ok((Outcome::Reset, Some(payload.to_vec())));
    }
    match plain_block(write, kind, payload) {
        Ok(block) => Ok((Outcome::Decompressed, Some(block))),
        Err(DecompressFault::Codec(error)) => Ok((Outcome::Failed(error), None)),
        Err(DecompressFault::Stream(fault)) => Err(fault),
    }
}
