//! Blocks that are written in the background while others become dirty.
//!
//! ```text
//! gathered   dirty blocks, up to half of the limit
//!    |  take off: a thread compresses, checksums, allocates and writes
//! in flight  the same blocks, still dirty in memory, where they are read and changed
//!    |  land: awaited before the next ones take off, and before a sync
//! written    no references to them until the sync
//! ```
//!
//! Blocks are allocated and freed in the same order every time, so that the same changes result in the same pool:
//! there is at most one flight, and every operation that frees a block waits for it. A block that was changed or
//! dropped in the meantime is freed on landing.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::ObjsetWriter;
use super::overlay::{Dirty, Source, Spill, give_back};
use super::sync::{BATCH_BLOCKS, BATCH_BYTES, Outgoing};
use crate::blkptr::BlockPointer;
use crate::error::Result;
use crate::ids::{BlockId, ObjectId};
use crate::zio::write::Written;

/// The blocks in flight.
pub(super) struct Flight {
    /// The size of their content in bytes.
    bytes: usize,
    thread: Option<JoinHandle<Landed>>,
}

/// The result of a flight.
struct Landed {
    blocks: Vec<Outgoing>,
    /// The results of the first blocks; of all unless there was an error.
    written: Vec<Written>,
    result: Result<()>,
}

impl Landed {
    fn write(source: &Source, blocks: Vec<Outgoing>) -> Self {
        let mut written = Vec::with_capacity(blocks.len());
        let mut rest = &blocks[..];
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            let (batch, behind) = rest.split_at(batch_len(rest));
            result = Outgoing::write(batch, source).map(|batch| written.extend(batch));
            rest = behind;
        }
        Self { blocks, written, result }
    }
}

/// Returns the number of these blocks, at least one, that are passed to the writer together.
fn batch_len(blocks: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let full = blocks.iter().position(|out| {
        bytes += out.dirty.bytes();
        bytes >= BATCH_BYTES
    });
    full.map_or(blocks.len(), |last| last + 1).min(BATCH_BLOCKS)
}

impl Drop for Flight {
    /// Waits for the thread, so that nothing is written after the set is dropped.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The written blocks belong to a transaction group that is lost.
            drop(thread.join());
        }
    }
}

impl ObjsetWriter {
    /// Writes data blocks early if the dirty data in memory exceeds a limit.
    pub(super) fn bound_memory(&mut self) -> Result<()> {
        let in_flight = self.flight.as_ref().map_or(0, |flight| flight.bytes);
        if self.dirty_bytes.saturating_sub(in_flight) > self.dirty_limit / 2 {
            self.take_off()
        } else {
            Ok(())
        }
    }

    /// Writes dirty blocks in the background, after those in flight.
    fn take_off(&mut self) -> Result<()> {
        self.land()?;
        let mut blocks = Vec::new();
        for object in self.objects.keys() {
            blocks.append(&mut self.waiting(*object, false)?);
        }
        let bytes = blocks.iter().map(|out| out.dirty.bytes()).sum();
        let source = self.source.clone();
        // A worker of a thread pool must not wait for the others, because there may be none.
        if rayon::current_thread_index().is_some() {
            return self.landed(Landed::write(&source, blocks));
        }
        let name = Builder::new().name("blocks in flight".to_owned());
        let thread = name.spawn(move || Landed::write(&source, blocks))?;
        self.flight = Some(Flight { bytes, thread: Some(thread) });
        Ok(())
    }

    /// Waits for the blocks in flight.
    pub(super) fn land(&mut self) -> Result<()> {
        let Some(thread) = self.flight.take().and_then(|mut flight| flight.thread.take()) else {
            return Ok(());
        };
        match thread.join() {
            Ok(landed) => self.landed(landed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn landed(&mut self, landed: Landed) -> Result<()> {
        let Landed { blocks, written, result } = landed;
        for (out, written) in blocks.iter().zip(written) {
            self.note_written(out, written);
        }
        result
    }

    /// Writes one block of an object now, before the sync, and returns its pointer (`dmu_sync`): a log record can refer to
    /// it. A block without changes is not written; its pointer is that on disk. The next sync uses the block, unless it
    /// changes before.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the block cannot be written.
    pub fn sync_block(&mut self, object: ObjectId, block: BlockId) -> Result<BlockPointer> {
        self.touch(object)?;
        self.land()?;
        let waiting = self.waiting(object.0, false)?;
        if let Some(out) = waiting.into_iter().find(|out| out.block == block.0) {
            let written = Outgoing::write(std::slice::from_ref(&out), &self.source)?;
            written.into_iter().for_each(|written| self.note_written(&out, written));
        }
        let overlay = self.touch(object)?;
        if let Some(Dirty::Written(written)) = overlay.dirty.get(&block.0) {
            return Ok(written.pointer);
        }
        match overlay.base_of(block.0).cloned() {
            Some(base) => self.source.tree(object, &base).pointer(0, block),
            None => Ok(BlockPointer::EMPTY),
        }
    }

    /// Waits for the blocks in flight if a change to these blocks of an object, or to its spill block, frees blocks.
    pub(super) fn land_before(&mut self, object: ObjectId, first: u64, last: u64) -> Result<()> {
        if self.flight.is_none() {
            return Ok(());
        }
        let gives_back = self.objects.get(&object.0).is_some_and(|overlay| {
            matches!(overlay.spill, Spill::New(Dirty::Written(_)))
                || overlay.dirty.range(first..=last).any(|(_, dirty)| matches!(dirty, Dirty::Written(_)))
        });
        if gives_back { self.land() } else { Ok(()) }
    }

    /// Does the same for the blocks that contain these bytes.
    pub(super) fn land_before_bytes(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()> {
        let Some(dnode) = self.objects.get(&object.0).and_then(|overlay| overlay.dnode.as_ref()) else {
            return Ok(());
        };
        let size = dnode.block_bytes();
        self.land_before(object, offset / size, offset.saturating_add(length) / size)
    }

    /// Records the pointer of a written block. A block that has been replaced in the meantime is freed.
    pub(super) fn note_written(&mut self, out: &Outgoing, written: Written) {
        let overlay = self.objects.get_mut(&out.object);
        let overlay = overlay.filter(|overlay| match (overlay.dirty.get(&out.block), &out.dirty) {
            (Some(Dirty::Data(now)), Dirty::Data(then)) => Arc::ptr_eq(now, then),
            (Some(Dirty::Stored(now)), Dirty::Stored(then)) => Arc::ptr_eq(now, then),
            _ => false,
        });
        match overlay {
            Some(overlay) => {
                let before = overlay.dirty_bytes;
                overlay.put_written(out.block, written);
                self.dirty_bytes -= before - overlay.dirty_bytes;
            }
            None => give_back(&Dirty::Written(Box::new(written)), &*self.source.writer),
        }
    }
}
