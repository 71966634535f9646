//! Edits of streams: each reads records, verifies them, and writes a stream with valid checksums.
//!
//! ```text
//! StreamReader -> record -> changed, replaced or copied -> StreamWriter
//! ```
//!
//! For every edit:
//! - it makes one pass over the stream in bounded memory (unless the edit documents otherwise);
//! - it verifies the checksums of the input and ends with the first fault; the output written so far has no END,
//!   so that it cannot be mistaken for a complete stream;
//! - the output is in the byte order of the input (except in [`byteswap()`]), and a record without a checksum stays
//!   without one ([`Trailers::AsGiven`](crate::stream::Trailers::AsGiven)): unchanged parts are identical to the bit;
//! - zeros after the last END, which pad the last block of a tape or device, are not copied: the edit reports their number;
//! - the key of a WRITE (`drr_key`) stays: it describes the block at the source, and receivers ignore it.

mod byteswap;
mod decompress;
mod error;
#[cfg(feature = "parallel")]
mod recompress;
mod redup;
#[cfg(feature = "gzip")]
pub mod resume;
mod select;

pub use byteswap::{ByteswapError, ByteswapReport, byteswap};
pub use decompress::{DecompressBlocks, DecompressOutcome, DecompressSummary, decompress};
pub use error::EditError;
#[cfg(feature = "parallel")]
pub use recompress::{Recompress, RecompressSummary};
pub use redup::{RedupSummary, redup};
pub use select::{Selected, SelectedForm, Selection, Selector, select};

use std::io::{Read, Write};

use crate::algorithm::CompressionType;
use crate::compress;
use crate::flags::{FeatureFlags, HeaderType};
use crate::record::{self, Body, Header, MAX_BLOCK_BYTES};
use crate::stream::{self, Fault, Record, Role, StreamReader, StreamWriter};

/// Calls `each` with every record of a stream to write its replacement, and completes the output.
fn rewrite<R: Read, W: Write>(
    reader: &mut StreamReader<R>,
    mut writer: StreamWriter<W>,
    mut each: impl FnMut(&Record<'_>, &mut StreamWriter<W>) -> Result<(), Trouble>,
) -> Result<W, EditError> {
    while let Some(record) = reader.next().map_err(EditError::Input)? {
        known_features(&record).map_err(|fault| Trouble::Input(fault).at(&record))?;
        each(&record, &mut writer).map_err(|trouble| trouble.at(&record))?;
    }
    writer.finish().map_err(EditError::Output)
}

/// A fault with one record: in its content, or from writing it.
enum Trouble {
    Input(Fault),
    Output(stream::Error),
}

impl Trouble {
    fn at(self, record: &Record<'_>) -> EditError {
        match self {
            Self::Input(fault) => EditError::Input(stream::Error::new(fault, record.place)),
            Self::Output(error) => EditError::Output(error),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Input(fault)
    }
}

impl From<stream::Error> for Trouble {
    fn from(error: stream::Error) -> Self {
        Self::Output(error)
    }
}

/// Refuses a stream with an unknown feature, because it may change the meaning of records.
fn known_features(record: &Record<'_>) -> Result<(), Fault> {
    if !matches!(record.role, Role::PackageBegin | Role::SubstreamBegin) {
        return Ok(());
    }
    match record.header.body() {
        Some(Body::Begin(begin)) if !begin.version_info.features().unknown().is_empty() => {
            Err(Fault::Features(begin.version_info.features().unknown()))
        }
        _ => Ok(()),
    }
}

/// The features of the substream that a BEGIN starts, or `None` for other records and for packages.
fn substream_features(body: Option<&Body>) -> Option<FeatureFlags> {
    match body {
        Some(Body::Begin(begin)) if begin.version_info.header_type() == HeaderType::Substream => {
            Some(begin.version_info.features())
        }
        _ => None,
    }
}

/// The fault of a WRITE_BYREF in an edit that rewrites blocks: the block that it refers to may change.
fn deduplicated() -> Fault {
    Fault::Other("deduplicated streams are not supported, convert them with `zstream redup` first".into())
}

/// Returns the header for a WRITE with another payload: `compression` and the sizes are those of the payload.
fn with_payload(header: &Header, write: &record::Write, compression: CompressionType, len: usize) -> Header {
    let compressed = compression != CompressionType::INHERIT;
    let mut write = *write;
    write.compression = compression;
    write.compressed_size = if compressed { len as u64 } else { 0 };
    let mut header = header.clone();
    header.set_body(write);
    header
}

/// Decompresses the payload of a WRITE.
fn plain_block(
    write: &record::Write,
    compression: CompressionType,
    payload: &[u8],
) -> Result<Vec<u8>, DecompressFault> {
    let len = write.logical_size;
    if len > MAX_BLOCK_BYTES {
        let what = "the decompressed block";
        return Err(DecompressFault::Stream(Fault::TooLarge { what, found: len, limit: MAX_BLOCK_BYTES }));
    }
    let mut block = vec![0; len as usize];
    compress::decompress(compression, payload, &mut block)?;
    Ok(block)
}

/// An error from decompressing a block.
#[derive(Debug)]
enum DecompressFault {
    Codec(compress::CodecError),
    Stream(Fault),
}

impl From<compress::CodecError> for DecompressFault {
    fn from(error: compress::CodecError) -> Self {
        Self::Codec(error)
    }
}

impl From<DecompressFault> for Fault {
    fn from(fault: DecompressFault) -> Self {
        match fault {
            DecompressFault::Codec(error) => Self::Other(error.into()),
            DecompressFault::Stream(fault) => fault,
        }
    }
}
