//! The queue between the threads that find ranges, load them and write them.
//!
//! ```text
//!  producer --push--> [ done | running | done | waiting | waiting ] <--take, done-- workers
//!                        |                                                       (and the consumer,
//!                        '--next--> consumer, in order                            while it waits)
//! ```
//!
//! Ranges are processed in batches, so that threads rarely wait for each other. The window limits the size of ranges and of
//! their loaded content in bytes; at least two batches always fit, so that the largest blocks do not block it. For any
//! number of threads, the consumer gets the same ranges in the same order, and an error of the producer after the ranges
//! that preceded it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::load::{BATCHES_MIN, LoadedBatch, Loader};
use crate::plan::Options;
use crate::range::Range;

/// The memory of ranges in bytes: that of the ranges, and that of their loaded content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) range_bytes: u64,
    pub(crate) block_bytes: u64,
}

impl Weight {
    /// Returns the weight of a range that `loader` loads.
    pub(crate) fn of(range: &Range, loader: &Loader) -> Self {
        Self { range_bytes: size_of::<Range>() as u64, block_bytes: loader.bytes(range) }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            range_bytes: self.range_bytes.saturating_add(other.range_bytes),
            block_bytes: self.block_bytes.saturating_add(other.block_bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            range_bytes: self.range_bytes.saturating_sub(other.range_bytes),
            block_bytes: self.block_bytes.saturating_sub(other.block_bytes),
        }
    }

    fn is_within(self, limit: Self) -> bool {
        self.range_bytes <= limit.range_bytes && self.block_bytes <= limit.block_bytes
    }
}

/// Ranges that are processed together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    ranges: Vec<Range>,
    weight: Weight,
}

impl Batch {
    pub(crate) fn push(&mut self, range: Range, weight: Weight) {
        self.ranges.push(range);
        self.weight = self.weight.plus(weight);
    }

    /// Returns `true` if the batch is full.
    pub(crate) fn is_full(&self, options: &Options) -> bool {
        self.weight.range_bytes >= options.traversal_batch_bytes()
            || self.weight.block_bytes >= options.batch_bytes()
    }

    pub(crate) fn load(self, loader: &Loader) -> LoadedBatch {
        loader.load(self.ranges, self.weight.block_bytes)
    }
}

/// A batch that a worker took, and its number.
pub(crate) struct TakenBatch {
    number: u64,
    batch: Batch,
}

enum Slot {
    Waiting(Batch),
    Running,
    Done(LoadedBatch),
}

/// The next step of the consumer.
pub(crate) enum Next {
    /// Process the next ranges.
    Loaded(LoadedBatch),
    /// The next ranges are not loaded yet: load this batch meanwhile.
    Help(TakenBatch),
    /// There are no more ranges, possibly because of an error.
    End(Option<Error>),
}

#[derive(Default)]
struct Slots {
    slots: VecDeque<(Slot, Weight)>,
    /// The number of the slot at the front.
    front: u64,
    /// The number of the first slot that was not taken.
    untaken: u64,
    weight: Weight,
    end: Option<Option<Error>>,
    stopped: bool,
}

pub(crate) struct Window {
    limit: Weight,
    state: Mutex<Slots>,
    /// Notified when there is room.
    room: Condvar,
    /// Notified when there is a batch to load, or at the end.
    work: Condvar,
    /// Notified when the front may be ready.
    front: Condvar,
}

impl Window {
    pub(crate) fn new(options: &Options) -> Self {
        let limit = Weight { range_bytes: options.traversal_queue_bytes, block_bytes: options.queue_bytes };
        Self {
            limit,
            state: Mutex::default(),
            room: Condvar::new(),
            work: Condvar::new(),
            front: Condvar::new(),
        }
    }

    /// Locks the state and ignores poisoning: only counters and complete slots change under the lock, so they are valid after
    /// a panic.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a batch, after waiting for room. Returns `false` if the window was stopped.
    pub(crate) fn push(&self, batch: Batch) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return false;
            }
            let sum = state.weight.plus(batch.weight);
            if sum.is_within(self.limit) || state.slots.len() < BATCHES_MIN {
                state.weight = sum;
                let weight = batch.weight;
                state.slots.push_back((Slot::Waiting(batch), weight));
                drop(state);
                self.work.notify_one();
                self.front.notify_one();
                return true;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Marks the end of the batches, with the error that caused it if there is one.
    pub(crate) fn end(&self, error: Option<Error>) {
        self.lock().end.get_or_insert(error);
        self.work.notify_all();
        self.front.notify_one();
    }

    /// Stops all threads.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
        self.work.notify_all();
        self.front.notify_all();
    }

    /// Takes a batch to load, after waiting for one. Returns `None` at the end.
    pub(crate) fn take(&self) -> Option<TakenBatch> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.take() {
                return Some(job);
            }
            if state.end.is_some() {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Loads a batch and stores it in its slot.
    pub(crate) fn load(&self, job: TakenBatch, loader: &Loader) {
        let loaded = job.batch.load(loader);
        let mut state = self.lock();
        let index = job.number - state.front;
        if let Some((slot, _)) = state.slots.get_mut(index as usize) {
            *slot = Slot::Done(loaded);
        }
        drop(state);
        if index == 0 {
            self.front.notify_one();
        }
    }

    /// Returns the next step of the consumer.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            match state.slots.front() {
                Some((Slot::Done(_), _)) => {
                    if let Some((Slot::Done(loaded), weight)) = state.slots.pop_front() {
                        state.front += 1;
                        state.weight = state.weight.minus(weight);
                        drop(state);
                        self.room.notify_one();
                        return Next::Loaded(loaded);
                    }
                }
                Some(_) => {
                    if let Some(job) = state.take() {
                        return Next::Help(job);
                    }
                }
                None => {
                    if let Some(error) = state.end.take() {
                        // Later calls also return the end.
                        state.end = Some(None);
                        return Next::End(error);
                    }
                }
            }
            if state.stopped {
                return Next::End(None);
            }
            state = self.front.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Slots {
    fn take(&mut self) -> Option<TakenBatch> {
        let number = self.untaken;
        let index = usize::try_from(number.checked_sub(self.front)?).ok()?;
        let (slot, _) = self.slots.get_mut(index)?;
        let Slot::Waiting(batch) = std::mem::replace(slot, Slot::Running) else { return None };
        self.untaken += 1;
        Some(TakenBatch { number, batch })
    }
}
