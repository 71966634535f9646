//! Reading the pointers of what is overwritten, while that gathers.
//!
//! A block that takes the place of another is written with the pointer of that one at hand, whose space is given back. Those
//! pointers lie in indirect blocks, which the reader keeps for a while. So the first write under each of these has a thread
//! read it (`receive_read_prefetch`), and when what has gathered is written, nobody waits for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::overlay::Source;
use crate::dnode::Dnode;
use crate::ids::{BlockId, ObjectId};

/// How many indirect blocks wait to be read at most; those that come when so many do are read when they are needed.
const WAITING_MAX: usize = 64;

/// An object as it is on disk, and a block of it.
type Wanted = (ObjectId, Arc<Dnode>, u64);

/// Reads ahead for one set.
#[derive(Default)]
pub(super) struct Ahead {
    /// Object and number of the indirect block that was asked for last.
    last: Option<(ObjectId, u64)>,
    worker: Option<Worker>,
}

struct Worker {
    /// None when no more is to be read.
    queue: Option<SyncSender<Wanted>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Says that a block of an object will be overwritten.
    pub(super) fn ask(&mut self, source: &Source, object: ObjectId, base: &Arc<Dnode>, block: u64) {
        let parent = block >> base.pointers_per_block_shift();
        if base.levels == 1 || block > base.max_block.0 || self.last == Some((object, parent)) {
            return;
        }
        self.last = Some((object, parent));
        let worker = self.worker.get_or_insert_with(|| Worker::new(source.clone()));
        if let Some(queue) = &worker.queue {
            // Where it is full nothing is lost but time.
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
    /// Nothing of the pool is in use any more when the set is gone.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            drop(thread.join());
        }
    }
}

fn read(source: &Source, wanted: &Receiver<Wanted>, is_over: &AtomicBool) {
    for (object, base, block) in wanted {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // What fails here fails again where it is needed, and is told there.
        drop(source.tree(object, &base).pointer(0, BlockId(block)));
    }
}
