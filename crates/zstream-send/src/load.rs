//! Reading what ranges need, in any order and on any number of threads.
//!
//! Ranges are loaded in batches. The blocks of a batch lie one behind the other in one buffer, and buffers are used again:
//! memory that is new costs more than reading into it.

use std::ops;
use std::sync::{Arc, Mutex, PoisonError};

use zstream_dmu::blkptr::{BLOCK_BYTES_MAX, BlockPointer, CryptKind};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::zio::{ReadBlock, Want};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::flags::FeatureFlags;
use zstream_format::fletcher::fletcher4;

use crate::form::{Form, ORDER};
use crate::plan::Options;
use crate::range::{Range, What};

/// What a block that cannot be read is filled with: "zfs badd bloc".
const BAD_BLOCK: u64 = 0x2f5_badd_b10c;

/// A range with what is to be written for it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) range: Range,
    /// The form of a block, none of other ranges.
    pub(crate) form: Option<Form>,
    pub(crate) content: Content,
}

/// The payload of a block.
#[derive(Debug)]
pub(crate) enum Content {
    /// There is none, or it was not read because only sizes are asked for.
    None,
    /// Where in the batch's buffer the bytes are, and their sum where it is known already.
    Block { at: ops::Range<usize>, sum: Option<Checksum> },
    /// It cannot be read; these bytes of a pattern take its place.
    Replaced { bytes: Vec<u8> },
    /// It cannot be read.
    Failed(zstream_dmu::error::Error),
}

/// Ranges that were loaded together.
#[derive(Debug, Default)]
pub(crate) struct LoadedBatch {
    pub(crate) ranges: Vec<Loaded>,
    /// The blocks, and perhaps what is left of earlier ones.
    pub(crate) bytes: Vec<u8>,
}

/// Reads blocks.
pub(crate) struct Loader {
    reader: Arc<dyn ReadBlock>,
    objset: u64,
    features: FeatureFlags,
    /// Whether what cannot be read is replaced.
    replace: bool,
    /// Whether blocks are not read at all.
    pub(crate) dry: bool,
    buffers: Buffers,
}

impl Loader {
    pub(crate) fn new(objset: &Objset, features: FeatureFlags, options: &Options, dry: bool) -> Self {
        Self {
            reader: objset.reader().clone(),
            objset: objset.objset_id(),
            features,
            replace: options.corrupt_data && !features.contains(FeatureFlags::RAW),
            dry,
            buffers: Buffers::new(options),
        }
    }

    /// Bytes that loading a range takes.
    pub(crate) fn bytes(&self, range: &Range) -> u64 {
        match &range.what {
            What::Data { pointer, .. } if !self.dry => want(Form::of(range, pointer, self.features))
                .map_or(0, |want| want.bytes_of(pointer).min(BLOCK_BYTES_MAX)),
            _ => 0,
        }
    }

    /// Loads ranges that take `bytes` together. `scratch` is memory that is used again.
    pub(crate) fn load(&self, ranges: Vec<Range>, bytes: u64, scratch: &mut Vec<u8>) -> LoadedBatch {
        let mut buffer = self.buffers.take(bytes as usize);
        let mut rest = &mut buffer[..];
        let mut start = 0;
        let ranges = ranges
            .into_iter()
            .map(|range| {
                let length = self.bytes(&range) as usize;
                let (block, behind) = std::mem::take(&mut rest).split_at_mut(length);
                rest = behind;
                let at = start..start + length;
                start = at.end;
                self.load_range(range, at, block, scratch)
            })
            .collect();
        LoadedBatch { ranges, bytes: buffer }
    }

    /// Takes back the memory of a batch that was written.
    pub(crate) fn recycle(&self, batch: LoadedBatch) {
        self.buffers.give(batch.bytes);
    }

    fn load_range(
        &self,
        range: Range,
        at: ops::Range<usize>,
        block: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Loaded {
        let What::Data { pointer, .. } = &range.what else {
            return Loaded { range, form: None, content: Content::None };
        };
        let form = Form::of(&range, pointer, self.features);
        let content = match want(form) {
            Some(want) if !self.dry => {
                let place = Bookmark {
                    objset: self.objset,
                    object: ObjectId(range.object),
                    level: 0,
                    block: BlockId(range.start),
                };
                match self.reader.read_into(pointer, place, want, block, scratch) {
                    Ok(()) => Content::Block { at, sum: sum(pointer, form, block) },
                    Err(_) if self.replace => Content::Replaced { bytes: pattern(pointer.lsize()) },
                    Err(error) => Content::Failed(error),
                }
            }
            _ => Content::None,
        };
        Loaded { form: Some(form), content, range }
    }
}

/// How a block is read; none where its pointer holds it.
fn want(form: Form) -> Option<Want> {
    match form {
        Form::Embedded => None,
        Form::Stored => Some(Want::Stored),
        Form::Compressed => Some(Want::Compressed),
        Form::Logical | Form::Split => Some(Want::Logical),
    }
}

fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes.min(BLOCK_BYTES_MAX) / 8).flat_map(|_| BAD_BLOCK.to_le_bytes()).collect()
}

/// The sum of a payload, as long as it is one.
fn sum(pointer: &BlockPointer, form: Form, bytes: &[u8]) -> Option<Checksum> {
    match form {
        Form::Split => None,
        _ => Some(known_sum(pointer, form, bytes).unwrap_or_else(|| fletcher4(bytes, ORDER))),
    }
}

/// The sum of the payload, where it is the one that the pointer holds and that was verified when the block was read.
fn known_sum(pointer: &BlockPointer, form: Form, bytes: &[u8]) -> Option<Checksum> {
    let is_stored = form == Form::Compressed || pointer.compression() == CompressionType::OFF;
    let is_known = is_stored
        && bytes.len() as u64 == pointer.psize()
        && pointer.checksum_type() == ChecksumType::FLETCHER_4
        && pointer.byte_order() == ORDER
        && pointer.crypt_kind() == CryptKind::Plain;
    is_known.then(|| Checksum(pointer.checksum()))
}

/// Buffers of batches that nobody uses at the moment.
struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    /// Larger ones are given back to the system, so that batches with one large block do not make all buffers large.
    kept_bytes_max: usize,
}

impl Buffers {
    fn new(options: &Options) -> Self {
        Self { free: Mutex::default(), kept_bytes_max: (2 * options.batch_bytes()) as usize }
    }

    /// The one that was given back last, since it is in the processor's cache. What is in it is not said.
    fn take(&self, bytes: usize) -> Vec<u8> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = free.unwrap_or_default();
        if buffer.len() < bytes {
            // Some room more than is needed today saves growing tomorrow.
            buffer = vec![0; bytes.next_multiple_of(64 << 10)];
        }
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        if !buffer.is_empty() && buffer.len() <= self.kept_bytes_max {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}
