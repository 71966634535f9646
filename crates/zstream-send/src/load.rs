//! Reading the blocks of ranges, in any order and on any number of threads.
//!
//! Ranges are loaded in batches. The blocks of a batch are contiguous in one buffer, and buffers are reused, because new
//! memory costs more than reading into it.

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

use crate::form::{BlockForm, ORDER};
use crate::plan::Options;
use crate::range::{Range, What};

/// The pattern that replaces a block that cannot be read: "zfs badd bloc".
const BAD_BLOCK: u64 = 0x2f5_badd_b10c;

/// The unit of the sizes of buffers in bytes, so that buffers can be reused more often.
const BUFFER_STEP_BYTES: usize = 64 << 10;

/// The number of batches that fit in the window regardless of their size.
pub(crate) const BATCHES_MIN: usize = 2;

/// A range with its loaded content.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) range: Range,
    /// The form of a block; `None` for other ranges.
    pub(crate) form: Option<BlockForm>,
    pub(crate) content: Content,
}

/// The payload of a block.
#[derive(Debug)]
pub(crate) enum Content {
    /// There is none, or it was not read because only sizes are requested.
    None,
    /// The position of the bytes in the buffer of the batch, and their sum if it is known.
    Block { at: ops::Range<usize>, sum: Option<Checksum> },
    /// The block cannot be read and is replaced by these bytes of a pattern.
    Replaced { bytes: Vec<u8> },
    /// The block cannot be read.
    Failed(zstream_dmu::error::Error),
}

/// Ranges that were loaded together.
#[derive(Debug, Default)]
pub(crate) struct LoadedBatch {
    pub(crate) ranges: Vec<Loaded>,
    /// The blocks, possibly followed by bytes of earlier ones.
    pub(crate) bytes: Vec<u8>,
}

/// A reader of blocks.
pub(crate) struct Loader {
    reader: Arc<dyn ReadBlock>,
    objset: u64,
    features: FeatureFlags,
    /// `true` to replace blocks that cannot be read.
    replace: bool,
    /// `true` if blocks are not read at all.
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

    /// The size of the content of a range in bytes.
    pub(crate) fn bytes(&self, range: &Range) -> u64 {
        match &range.what {
            What::Data { pointer, .. } if !self.dry => want(BlockForm::of(range, pointer, self.features))
                .map_or(0, |want| want.bytes_of(pointer).min(BLOCK_BYTES_MAX)),
            _ => 0,
        }
    }

    /// The stored size of a block in bytes, if it must be decompressed.
    fn compressed_bytes(&self, range: &Range) -> u64 {
        match &range.what {
            What::Data { pointer, .. } if pointer.compression() != CompressionType::OFF => {
                match want(BlockForm::of(range, pointer, self.features)) {
                    Some(Want::Logical) => pointer.psize().min(BLOCK_BYTES_MAX),
                    _ => 0,
                }
            }
            _ => 0,
        }
    }

    /// Loads ranges with a total of `bytes`.
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

    /// Reuses the memory of a batch that was written.
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
        let form = BlockForm::of(&range, pointer, self.features);
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

/// Returns the way to read a block; `None` if it is embedded in its pointer.
fn want(form: BlockForm) -> Option<Want> {
    match form {
        BlockForm::Embedded => None,
        BlockForm::Stored => Some(Want::Stored),
        BlockForm::Compressed => Some(Want::Compressed),
        BlockForm::Logical | BlockForm::Split => Some(Want::Logical),
    }
}

fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes.min(BLOCK_BYTES_MAX) / 8).flat_map(|_| BAD_BLOCK.to_le_bytes()).collect()
}

/// Returns the sum of a payload, if it is written in one record.
fn sum(pointer: &BlockPointer, form: BlockForm, bytes: &[u8]) -> Option<Checksum> {
    match form {
        BlockForm::Split => None,
        _ => Some(known_sum(pointer, form, bytes).unwrap_or_else(|| fletcher4(bytes, ORDER))),
    }
}

/// Returns the sum of the payload if it is the checksum in the pointer, which was verified when the block was read.
fn known_sum(pointer: &BlockPointer, form: BlockForm, bytes: &[u8]) -> Option<Checksum> {
    let is_stored = form == BlockForm::Compressed || pointer.compression() == CompressionType::OFF;
    let is_known = is_stored
        && bytes.len() as u64 == pointer.psize()
        && pointer.checksum_type() == ChecksumType::FLETCHER_4
        && pointer.byte_order() == ORDER
        && pointer.crypt_kind() == CryptKind::Plain;
    is_known.then(|| Checksum(pointer.checksum()))
}

/// The unused buffers, in the order in which they were returned.
struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    /// The maximum total size in bytes.
    bytes_max: u64,
}

impl Buffers {
    fn new(options: &Options) -> Self {
        // The maximum that is in use at once, so that no buffer is allocated or freed in the long run: the size of the window
        // or, with the largest blocks, the minimum number of batches, and the one that is being written.
        let blocks = (BATCHES_MIN as u64 + 1) * BLOCK_BYTES_MAX;
        Self { free: Mutex::default(), bytes_max: options.queue_bytes.max(blocks) }
    }

    /// Returns a buffer of at least `bytes` and at most twice that, so that buffers for large blocks are not used for small
    /// ones. Of several it returns the last one, since that is in the cache. The content of the buffer is unspecified.
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

    /// Returns a buffer for reuse. If the total size exceeds the maximum, the oldest ones are freed.
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
