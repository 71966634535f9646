//! The queue between those who find ranges, those who load them and the one who writes them.
//!
//! ```text
//!  producer --push--> [ done | running | done | waiting | waiting ] <--take, done-- workers
//!                        |                                                       (and the consumer,
//!                        '--next--> consumer, in order                            where it must wait)
//! ```
//!
//! Ranges travel in batches, so that threads meet seldom. The window is bounded in bytes, of ranges and of what they hold
//! once they are loaded; two batches fit always, so that the largest blocks do not stop it. Whatever the number of threads,
//! the consumer sees the same ranges in the same order, and an error of the producer behind those that came before it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::load::{BATCHES_MIN, LoadedBatch, Loader};
use crate::plan::Options;
use crate::range::Range;

/// Bytes that a thing takes: as a range, and once it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) range_bytes: u64,
    pub(crate) block_bytes: u64,
}

impl Weight {
    /// The weight of a range that `loader` loads.
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

/// Ranges that travel together.
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

    /// Whether it is large enough to travel.
    pub(crate) fn is_full(&self, options: &Options) -> bool {
        self.weight.range_bytes >= options.traversal_batch_bytes()
            || self.weight.block_bytes >= options.batch_bytes()
    }

    pub(crate) fn load(self, loader: &Loader) -> LoadedBatch {
        loader.load(self.ranges, self.weight.block_bytes)
    }
}

/// A batch that a worker took, by its number.
pub(crate) struct Job {
    number: u64,
    batch: Batch,
}

enum Slot {
    Waiting(Batch),
    Running,
    Done(LoadedBatch),
}

/// What the consumer finds at the front.
pub(crate) enum Next {
    /// The next ranges.
    Loaded(LoadedBatch),
    /// Nothing is loaded yet: load this meanwhile.
    Help(Job),
    /// There is no more, or why not.
    End(Option<Error>),
}

#[derive(Default)]
struct State {
    slots: VecDeque<(Slot, Weight)>,
    /// Number of the slot at the front.
    front: u64,
    /// Number of the first slot that nobody has taken.
    untaken: u64,
    weight: Weight,
    end: Option<Option<Error>>,
    stopped: bool,
}

pub(crate) struct Window {
    limit: Weight,
    state: Mutex<State>,
    /// There is room.
    room: Condvar,
    /// There is something to load, or it is over.
    work: Condvar,
    /// There may be something at the front.
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

    /// Only counters and whole slots change under the lock, so that a panic elsewhere leaves them good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch at the end, when there is room for it. Answers whether anybody wants more.
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

    /// Says that no more will come, and why where that was not meant to be.
    pub(crate) fn end(&self, error: Option<Error>) {
        self.lock().end.get_or_insert(error);
        self.work.notify_all();
        self.front.notify_one();
    }

    /// Makes everybody stop.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
        self.work.notify_all();
        self.front.notify_all();
    }

    /// Something to load; none when it is over.
    pub(crate) fn take(&self) -> Option<Job> {
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

    /// Loads what was taken and puts it in its place.
    pub(crate) fn load(&self, job: Job, loader: &Loader) {
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

    /// What the consumer is to do next.
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
                        // It stays at its end.
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

impl State {
    fn take(&mut self) -> Option<Job> {
        let number = self.untaken;
        let index = usize::try_from(number.checked_sub(self.front)?).ok()?;
        let (slot, _) = self.slots.get_mut(index)?;
        let Slot::Waiting(batch) = std::mem::replace(slot, Slot::Running) else { return None };
        self.untaken += 1;
        Some(Job { number, batch })
    }
}
