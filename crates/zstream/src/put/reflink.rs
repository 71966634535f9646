//! Blocks of files that share storage on the host, which become clones in the pool.
//!
//! ```text
//! content of a shared extent --> known at this address, and equal? -- no  --> written, and known from then on
//!                                                                  -- yes --> noted
//! all files were put --> transaction group completed --> noted blocks cloned
//! ```
//!
//! The blocks of a transaction group can be cloned when it is complete, so clones are made at the end. A noted block
//! refers to a file that was put earlier, and that got its own clones later: clones are made in reverse order, so that
//! each file is cloned from before it changes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::CloneRange;

use super::copy::BLOCK_BYTES_MIN;
use super::extents::Extent;
use super::files::Putting;
use crate::error::{Cause, PutFault};

/// The maximum number of blocks that are known. Later ones are written, but not cloned.
const KNOWN_MAX: usize = 1 << 20;

/// The address of a block on the host: the device of its filesystem, and the address there.
type HostAddress = (u64, u64);

/// A block that was put.
#[derive(Clone, Copy, Debug)]
struct Known {
    object: ObjectId,
    block: u64,
    block_bytes: u64,
    /// The bytes of content: less than the block in the last block of a file.
    bytes: u64,
    sum: [u64; 2],
}

/// Blocks to be cloned, which follow each other in both files.
#[derive(Clone, Debug)]
struct Noted {
    range: CloneRange,
    block_bytes: u64,
    path: Vec<u8>,
}

/// The shared parts of the file that is being put.
#[derive(Debug, Default)]
pub(super) struct SharedParts {
    device: u64,
    extents: Vec<Extent>,
}

impl SharedParts {
    pub(super) fn new(device: u64, extents: Vec<Extent>) -> Self {
        Self { device, extents }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// The address of the byte at an offset, if it is shared.
    fn address(&self, offset: u64) -> Option<HostAddress> {
        let after = self.extents.partition_point(|extent| extent.offset <= offset);
        let extent = self.extents.get(after.checked_sub(1)?)?;
        let within = offset - extent.offset;
        (within < extent.length).then(|| (self.device, extent.address.wrapping_add(within)))
    }
}

/// The blocks that are known and noted.
#[derive(Debug, Default)]
pub(super) struct Clones {
    known: HashMap<HostAddress, Known>,
    noted: Vec<Noted>,
    /// The keys of the sums of content. They are random, so that files cannot have the same sums by intention.
    keys: [RandomState; 2],
}

impl Clones {
    /// Returns whether the object has blocks that others are to be cloned from, or is to get clones.
    fn uses(&self, object: ObjectId) -> bool {
        self.noted.iter().any(|noted| noted.range.from == object || noted.range.to == object)
    }

    /// Looks for a block with this content at an address. If there is none, the block is known from then on. Returns
    /// `true` if it was noted, so that it must not be written.
    fn note(&mut self, at: HostAddress, block: Known, path: &[u8]) -> bool {
        let Some(known) = self.known.get(&at) else {
            if self.known.len() < KNOWN_MAX {
                self.known.insert(at, block);
            }
            return false;
        };
        let is_same =
            (known.block_bytes, known.bytes, known.sum) == (block.block_bytes, block.bytes, block.sum);
        if !is_same || known.object == block.object {
            return false;
        }
        let (from_block, to_block) = (BlockId(known.block), BlockId(block.block));
        let range = CloneRange { from: known.object, from_block, to: block.object, to_block, count: 1 };
        match self.noted.last_mut() {
            Some(Noted { range: last, .. })
                if (last.from, last.to) == (range.from, range.to)
                    && last.from_block.0 + last.count == known.block
                    && last.to_block.0 + last.count == block.block =>
            {
                last.count += 1;
            }
            _ => self.noted.push(Noted { range, block_bytes: block.block_bytes, path: path.to_vec() }),
        }
        true
    }
}

impl Putting<'_, '_> {
    /// Writes a part of a file's content, except for blocks that are to be cloned.
    pub(super) fn shared_content(
        &mut self,
        object: ObjectId,
        path: &[u8],
        offset: u64,
        bytes: &[u8],
        size: u64,
        parts: &SharedParts,
    ) -> Result<(), PutFault> {
        if parts.is_empty() || self.clones.is_none() {
            return self.content(object, path, offset, bytes);
        }
        let block_bytes = Self::at(path, self.target.set.info(object))?.block_bytes;
        let end = offset + bytes.len() as u64;
        let of = |range: Range<u64>| &bytes[(range.start - offset) as usize..(range.end - offset) as usize];
        // The content that must be written, before the current block.
        let (mut start, mut at) = (offset, offset);
        while at < end {
            let next = (at / block_bytes + 1).saturating_mul(block_bytes).min(end);
            let is_whole =
                at.is_multiple_of(block_bytes) && (next.is_multiple_of(block_bytes) || next == size);
            if is_whole && self.is_noted(object, path, at, of(at..next), block_bytes, parts) {
                if start < at {
                    self.content(object, path, start, of(start..at))?;
                }
                self.control.did((next - at) as usize);
                start = next;
            }
            at = next;
        }
        if start < end { self.content(object, path, start, of(start..end)) } else { Ok(()) }
    }

    /// Returns whether a block was noted to be cloned.
    fn is_noted(
        &mut self,
        object: ObjectId,
        path: &[u8],
        offset: u64,
        bytes: &[u8],
        block_bytes: u64,
        parts: &SharedParts,
    ) -> bool {
        let (Some(address), Some(clones)) = (parts.address(offset), self.clones.as_mut()) else {
            return false;
        };
        // Zeros become holes.
        if bytes.iter().all(|byte| *byte == 0) {
            return false;
        }
        let sum = clones.keys.each_ref().map(|key| key.hash_one(bytes));
        let block = offset / block_bytes;
        let known = Known { object, block, block_bytes, bytes: bytes.len() as u64, sum };
        clones.note(address, known, path)
    }

    /// Prepares the removal of a name of an object: makes the clones that depend on it, and forgets its blocks.
    pub(super) fn before_removal(&mut self, object: ObjectId) -> Result<(), PutFault> {
        if self.clones.as_ref().is_some_and(|clones| clones.uses(object)) {
            self.make_clones()?;
        }
        if let Some(clones) = self.clones.as_mut() {
            clones.known.retain(|_, known| known.object != object);
        }
        Ok(())
    }

    /// Completes the transaction group and clones the blocks that were noted.
    pub(super) fn make_clones(&mut self) -> Result<(), PutFault> {
        let noted = match self.clones.as_mut() {
            Some(clones) if !clones.noted.is_empty() => std::mem::take(&mut clones.noted),
            _ => return Ok(()),
        };
        Self::at(b"", self.target.complete(Some(self.writer)))?;
        for Noted { range, block_bytes, path } in noted.into_iter().rev() {
            self.make_clone(range, block_bytes, &path)?;
        }
        Ok(())
    }

    fn make_clone(&mut self, range: CloneRange, block_bytes: u64, path: &[u8]) -> Result<(), PutFault> {
        let mut done = 0;
        while done < range.count {
            self.check()?;
            // A transaction group may have been completed: blocks that the old state refers to can be reused.
            let set = Self::at(path, self.target.objects(self.target.head))?;
            let left = CloneRange {
                from_block: BlockId(range.from_block.0 + done),
                to_block: BlockId(range.to_block.0 + done),
                count: (range.count - done).min(super::copy::BLOCKS),
                ..range
            };
            let (cloned, refusal) = Self::at(path, self.target.set.clone_range(&set, left))?;
            done += cloned;
            let mut bytes = cloned.saturating_mul(block_bytes.max(BLOCK_BYTES_MIN));
            if refusal.is_some() && done < range.count {
                // Deduplicated blocks are shared anyway when they are written.
                let mut content = vec![0; block_bytes as usize];
                let from = (range.from_block.0 + done) * block_bytes;
                Self::at(path, set.read(range.from, from, &mut content))?;
                let to = (range.to_block.0 + done) * block_bytes;
                Self::at(path, self.writer.write(&mut self.target.set, range.to, to, &content))?;
                done += 1;
                bytes += block_bytes;
            }
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            Self::at(path, self.target.wrote(Some(self.writer), bytes))?;
        }
        Ok(())
    }

    /// Returns the reason for which blocks cannot be cloned.
    pub(super) fn clone_refusal(&self) -> Result<Option<&'static str>, PutFault> {
        let head = self.target.head;
        Self::at(b"", self.target.pool.clone_refusal(head, head).map_err(Cause::from))
    }
}
