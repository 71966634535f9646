//! Read-ahead of the pointers to blocks that will be overwritten.
//!
//! A block that replaces another requires the pointer of the old one, whose space is freed. These pointers are in
//! indirect blocks, which the reader caches for a while. So the first write below each indirect block makes a thread
//! read it (`receive_read_prefetch`), and the later write of the dirty blocks does not wait for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::overlay::Source;
use crate::dnode::Dnode;
use crate::ids::{BlockId, ObjectId};

/// The length of the queue of indirect blocks. Requests while it is full are dropped, and the blocks are read when
/// they are needed.
const WAITING_MAX: usize = 64;

/// An object as it is on disk, and the number of one of its blocks.
type WantedBlock = (ObjectId, Arc<Dnode>, u64);

/// The read-ahead of one set.
#[derive(Default)]
pub(super) struct Ahead {
    /// The object and the number of the indirect block of the last request.
    last: Option<(ObjectId, u64)>,
    worker: Option<Worker>,
}

struct Worker {
    /// `None` after the last request.
    queue: Option<SyncSender<WantedBlock>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Requests read-ahead for a block of an object that will be overwritten.
    pub(super) fn ask(&mut self, source: &Source, object: ObjectId, base: &Arc<Dnode>, block: u64) {
        let parent = block >> base.pointers_per_block_shift();
        if base.levels == 1 || block > base.max_block.0 || self.last == Some((object, parent)) {
            return;
        }
        self.last = Some((object, parent));
        let worker = self.worker.get_or_insert_with(|| Worker::new(source.clone()));
        if let Some(queue) = &worker.queue {
            // If the queue is full, the pointer is read later.
            let _ = queue.try_send((object, Arc::clone(base), block));
        }
    }
}

impl Worker {
    fn new(source: Source) -> Self {
        let (queue, wanted) = sync_channel(WAITING_MAX);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let read = move || read(&source, &wanted, &over);
        let thread = Builder::new().name("pointers ahead".to_owned()).spawn(read).ok();
        Self { queue: Some(queue), is_over, thread }
    }
}

impl Drop for Worker {
    /// Waits for the thread, so that the pool is not in use after the set is dropped.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The thread has no result.
            drop(thread.join());
        }
    }
}

fn read(source: &Source, wanted: &Receiver<WantedBlock>, is_over: &AtomicBool) {
    for (object, base, block) in wanted {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // An error is ignored here because it occurs again, and is reported, when the pointer is used.
        drop(source.tree(object, &base).pointer(0, BlockId(block)));
    }
}
