//! Blocks that are written in the background while others gather.
//!
//! ```text
//! gathered   dirty blocks, up to half of the limit
//!    |  takes off: a thread of its own compresses, sums, allocates and writes
//! in flight  the same blocks, still dirty in memory: they are read and changed there
//!    |  lands: waited for before the next ones take off, and before a sync
//! written    nothing points at them until the sync
//! ```
//!
//! Places are taken and given back in the same order every time, so that the same changes make the same pool: at most one
//! flight is under way, and whatever gives a place back waits for it. A block that was changed or dropped in the meantime
//! gives its place back on landing.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::ObjsetWriter;
use super::overlay::{Dirty, Source, Spill, give_back};
use super::sync::{BATCH_BLOCKS, BATCH_BYTES, Outgoing};
use crate::error::Result;
use crate::ids::ObjectId;
use crate::zio::write::Written;

/// Blocks under way.
pub(super) struct Flight {
    /// Bytes of their content.
    bytes: usize,
    thread: Option<JoinHandle<Landed>>,
}

/// What became of the blocks of a flight.
struct Landed {
    blocks: Vec<Outgoing>,
    /// Of the first of them, all unless something failed.
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

/// How many of these blocks, at least one, are handed to the writer together.
fn batch_len(blocks: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let full = blocks.iter().position(|out| {
        bytes += out.dirty.bytes();
        bytes >= BATCH_BYTES
    });
    full.map_or(blocks.len(), |last| last + 1).min(BATCH_BLOCKS)
}

impl Drop for Flight {
    /// Nothing is written any more when the set is gone.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // What it wrote belongs to a transaction group that is lost.
            drop(thread.join());
        }
    }
}

impl ObjsetWriter {
    /// Writes data blocks early when too many wait in memory.
    pub(super) fn bound_memory(&mut self) -> Result<()> {
        let in_flight = self.flight.as_ref().map_or(0, |flight| flight.bytes);
        if self.dirty_bytes.saturating_sub(in_flight) > self.dirty_limit / 2 {
            self.take_off()
        } else {
            Ok(())
        }
    }

    /// Writes what waits in the background, after what is in flight.
    fn take_off(&mut self) -> Result<()> {
        self.land()?;
        let mut blocks = Vec::new();
        for object in self.objects.keys() {
            blocks.append(&mut self.waiting(*object, false)?);
        }
        let bytes = blocks.iter().map(|out| out.dirty.bytes()).sum();
        let source = self.source.clone();
        // One worker of a pool must not wait for the others: there may be none.
        if rayon::current_thread_index().is_some() {
            return self.landed(Landed::write(&source, blocks));
        }
        let name = Builder::new().name("blocks in flight".to_owned());
        let thread = name.spawn(move || Landed::write(&source, blocks))?;
        self.flight = Some(Flight { bytes, thread: Some(thread) });
        Ok(())
    }

    /// Waits for what is in flight.
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

    /// Waits for what is in flight if a change of these blocks of an object, or of its spill block, gives places back.
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

    /// The same, for the blocks in which these bytes lie.
    pub(super) fn land_before_bytes(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()> {
        let Some(dnode) = self.objects.get(&object.0).and_then(|overlay| overlay.dnode.as_ref()) else {
            return Ok(());
        };
        let size = dnode.block_bytes();
        self.land_before(object, offset / size, offset.saturating_add(length) / size)
    }

    /// Notes where a block lies that was written; one that is not this any more gives its place back.
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
