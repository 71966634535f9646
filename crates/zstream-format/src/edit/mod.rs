//! Changing streams: each edit reads records, checks them, and writes a stream whose checksums are right again.
//!
//! ```text
//! StreamReader -> record -> changed, replaced or as it was -> StreamWriter
//! ```
//!
//! What holds for every edit:
//! - it is done in one go over the stream, in bounded memory (where not, the edit says so);
//! - the input's checksums are verified; at the first fault the edit ends with it, and what was written until
//!   then has no END, so that nobody takes it for a whole stream;
//! - the output is in the byte order of the input ([`byteswap`] aside), and a record without a checksum keeps none
//!   ([`Trailers::AsGiven`](crate::stream::Trailers::AsGiven)): what is not changed stays as it was, to the bit;
//! - zeros with which the block after the last END was filled up are not copied: the edit reports how many there were;
//! - the key of a WRITE (`drr_key`) stays: it says how the block lay at the source, and receivers ignore it.

pub mod byteswap;
pub mod decompress;
#[cfg(feature = "parallel")]
pub mod recompress;
pub mod redup;
#[cfg(feature = "gzip")]
pub mod resume;
pub mod select;

mod error;

pub use error::EditError;

use std::io::{Read, Write};

use crate::algorithm::CompressionType;
use crate::compress;
use crate::flags::{FeatureFlags, HeaderType};
use crate::record::{self, Body, Header, MAX_BLOCK_BYTES};
use crate::stream::{self, Fault, Record, Role, StreamReader, StreamWriter};

/// Hands every record of a stream to `each`, which writes what is to become of it, and completes the output.
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

/// What can go wrong with one record: with what it holds, or with writing it.
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

/// Refuses a stream with a feature that has no name here: what its records mean cannot be known then.
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

/// The features of the substream that a BEGIN starts; `None` for other records and for packages.
fn substream_features(body: Option<&Body>) -> Option<FeatureFlags> {
    match body {
        Some(Body::Begin(begin)) if begin.version_info.header_type() == HeaderType::Substream => {
            Some(begin.version_info.features())
        }
        _ => None,
    }
}

/// The fault of a WRITE_BYREF where blocks are rewritten: it stands for a block that may be another one now.
fn deduplicated() -> Fault {
    Fault::Other("deduplicated streams are not supported, convert them with `zstream redup` first".into())
}

/// A record with another payload and what goes with it: `compression` and the sizes are set from it.
fn with_payload(header: &Header, write: &record::Write, compression: CompressionType, len: usize) -> Header {
    let compressed = compression != CompressionType::INHERIT;
    let mut write = *write;
    write.compression = compression;
    write.compressed_size = if compressed { len as u64 } else { 0 };
    let mut header = header.clone();
    header.set_body(write);
    header
}

/// The block that the payload of a WRITE makes when it is decompressed.
fn plain_block(
    write: &record::Write,
    compression: CompressionType,
    payload: &[u8],
) -> Result<Vec<u8>, DecompressFault> {
    let len = write.logical_size;
    if len > MAX_BLOCK_BYTES {
        let what = "the block, decompressed,";
        return Err(DecompressFault::Stream(Fault::TooLarge { what, found: len, limit: MAX_BLOCK_BYTES }));
    }
    let mut block = vec![0; len as usize];
    compress::decompress(compression, payload, &mut block)?;
    Ok(block)
}

/// Why there is no block.
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
