//! Reading what ranges need, in any order and on any number of threads.
//!
//! Ranges are loaded in batches. The blocks of a batch lie one behind the other in one buffer, and buffers are used again:
//! memory that is new costs more than reading into it.

use std::ops;
use std::sync::{Arc, Mutex, PoisonError};

use zstream_dmu::blkptr::{BLOCK_BYTES_MAX, BlockPointer, CryptKind};
use zstream_dmu::block::{ReadBlock, Want};
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::Checksum;
use zstream_format::flags::FeatureFlags;
use zstream_format::fletcher::fletcher4;

use crate::form::{Form, ORDER};
use crate::plan::Options;
use crate::range::{Range, What};

/// What a block that cannot be read is filled with: "zfs badd bloc".
const BAD_BLOCK: u64 = 0x2f5_badd_b10c;

/// Sizes of buffers are multiples of this, so that they fit more often.
const BUFFER_STEP_BYTES: usize = 64 << 10;

/// Batches of ranges that fit into the window whatever their size.
pub(crate) const BATCHES_MIN: usize = 2;

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

    /// Bytes of a block that is decompressed, as it is stored.
    fn compressed_bytes(&self, range: &Range) -> u64 {
        match &range.what {
            What::Data { pointer, .. } if pointer.compression() != CompressionType::OFF => {
                match want(Form::of(range, pointer, self.features)) {
                    Some(Want::Logical) => pointer.psize().min(BLOCK_BYTES_MAX),
                    _ => 0,
                }
            }
            _ => 0,
        }
    }

    /// Loads ranges that take `bytes` together.
    pub(crate) fn load(&self, ranges: Vec<Range>, bytes: u64) -> LoadedBatch {
        let mut buffer = self.buffers.take(bytes as usize);
        let compressed_bytes = ranges.iter().map(|range| self.compressed_bytes(range)).max();
        let mut scratch = self.buffers.take(compressed_bytes.unwrap_or(0) as usize);
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
                self.load_range(range, at, block, &mut scratch)
            })
            .collect();
        self.buffers.give(scratch);
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

/// Buffers that nobody uses at the moment, the last one that was given back at the end.
struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    /// Bytes of all that are kept.
    bytes_max: u64,
}

impl Buffers {
    fn new(options: &Options) -> Self {
        // As much as there may be in use at once, so that in the long run none is made or given up: what fills the window or,
        // of the largest blocks, those that it holds anyway, and the one that is being written.
        let blocks = (BATCHES_MIN as u64 + 1) * BLOCK_BYTES_MAX;
        Self { free: Mutex::default(), bytes_max: options.queue_bytes.max(blocks) }
    }

    /// A buffer of at least `bytes` and of twice that at most, so that those of large blocks are not used up for small ones. Of
    /// several the one that was given back last, since it is in the processor's cache. What is in it is not said.
    fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes == 0 {
            return Vec::new();
        }
        let fits = bytes..=bytes.saturating_mul(2).max(BUFFER_STEP_BYTES);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().rposition(|buffer| fits.contains(&buffer.len())) {
            Some(index) => free.remove(index),
            None => {
                drop(free);
                vec![0; bytes.next_multiple_of(BUFFER_STEP_BYTES)]
            }
        }
    }

    /// Takes a buffer back. Those that have waited longest are given up when it gets too much.
    fn give(&self, buffer: Vec<u8>) {
        if buffer.is_empty() {
            return;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
        let mut bytes: u64 = free.iter().map(|buffer| buffer.len() as u64).sum();
        let surplus = free.iter().take_while(|buffer| {
            let is_surplus = bytes > self.bytes_max;
            bytes -= buffer.len() as u64;
            is_surplus
        });
        let surplus = surplus.count();
        free.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_for_what_has_about_its_size() {
        let buffers = Buffers::new(&Options::default());
        let (mut small, mut large) = (buffers.take(100_000), buffers.take(1 << 20));
        assert!(small.len() >= 100_000 && large.len() >= 1 << 20);
        (small[0], large[0]) = (1, 2);
        buffers.give(small);
        buffers.give(large);
        assert_eq!(buffers.take(90_000)[0], 1);
        assert_eq!(buffers.take(200_000)[0], 0, "a new one: the other is five times as large");
        assert_eq!(buffers.take(700_000)[0], 2);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers { bytes_max: 1 << 20, ..Buffers::new(&Options::default()) };
        let kept = || buffers.free.lock().unwrap().iter().map(Vec::len).sum::<usize>();
        let many: Vec<_> = (1..30).map(|n| buffers.take(n * 10_000)).collect();
        for buffer in many {
            buffers.give(buffer);
            assert!(kept() <= 1 << 20, "{}", kept());
        }
        assert!(kept() > 1 << 19, "{}", kept());
        buffers.give(vec![0; 2 << 20]);
        assert_eq!(kept(), 0, "not one of the largest alone");
    }
}
