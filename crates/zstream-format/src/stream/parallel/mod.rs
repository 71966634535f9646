//! Checking a stream on all cores.
//!
//! Fletcher-4 is linear, so the sum of each record's parts can be computed alone and joined in order.
//! The stream is cut into batches of whole records. Each worker takes the next batch from the source,
//! sums it while it is still in the cache of its core, and joins the sums when it is its turn; else it puts the
//! batch aside for the worker whose turn comes before:
//!
//! ```text
//! worker A   | cut 1 | read, sum 1 | join 1 | cut 3 | read, sum 3 | join 3 |
//! worker B           | cut 2 | read, sum 2   | join 2     | cut 4 | ...
//! ```
//!
//! One worker cuts at a time, and one joins and hands records out: both go in order. To cut is to find
//! where records begin. In a source that can be read at any place ([`ReadAt`]) only the headers are read
//! for that, as long as records are large; else, and where they are small, the batch is read to cut it. In one
//! whose bytes can be viewed where they lie, such as a mapped file, nothing is read: they are summed there.
//!
//! The records that come out, and the error at the end, are those of
//! [`StreamReader`](super::StreamReader).
//!
//! Memory: a batch for each of at most [`MAX_WORKERS`] workers, as large as [`LOADED_BYTES`] and the
//! record that it ends with, and as many of at most [`ASIDE_BYTES`] that are put aside.

mod batch;
mod source;

use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::fletcher::join;
use crate::record::{HEADER_LEN, TRAILER_OFFSET};
use crate::stream::follow::{Follower, Judged};
use crate::stream::{Error, Fault, Record};

use batch::{Batch, Cutter, Feed, Positioned, Sequential, Span, header_bytes};

pub use batch::{FIRST_BYTES, LOADED_BYTES, PLANNED_BYTES, VIEWED_BYTES};
pub use source::{ReadAt, View};

/// A batch above this size is not put aside: its worker waits for its turn.
pub const ASIDE_BYTES: usize = 1 << 20;

/// The most workers, for the sake of memory. Memory is not faster either from some number of cores on.
pub const MAX_WORKERS: usize = 8;

/// What is done in order: joining the sums, judging the records and handing them out.
struct Joiner<'a, F> {
    follower: &'a mut Follower,
    each: F,
    /// The number of the batch whose turn it is.
    next: u64,
    /// Batches that were ready before their turn, and how many there may be.
    aside: Vec<(u64, Batch)>,
    aside_max: usize,
    /// Batches to be filled again.
    spare: Vec<Batch>,
    /// Workers that wait for a turn.
    waiting: usize,
    /// How it ended.
    end: Option<Result<(), Error>>,
}

impl<F: FnMut(&Record<'_>) -> Result<(), Fault>> Joiner<'_, F> {
    /// Takes the next batch, and what was put aside behind it.
    fn take(&mut self, batch: &mut Batch) {
        self.take_one(batch);
        while self.end.is_none()
            && let Some(found) = self.aside.iter().position(|(number, _)| *number == self.next)
        {
            let (_, mut batch) = self.aside.swap_remove(found);
            self.take_one(&mut batch);
            batch.release();
            self.spare.push(batch);
        }
    }

    fn take_one(&mut self, batch: &mut Batch) {
        self.next += 1;
        let outcome = self.join(batch);
        if outcome.is_err() || batch.last {
            self.end = Some(outcome);
        }
    }

    /// Puts a batch aside that is ready before its turn, if there is room; another is given for it.
    fn put_aside(&mut self, number: u64, batch: &mut Batch) -> bool {
        let fits = self.aside.len() < self.aside_max && batch.memory() <= ASIDE_BYTES;
        if fits {
            let ready = std::mem::replace(batch, self.spare.pop().unwrap_or_default());
            self.aside.push((number, ready));
        }
        fits
    }

    fn join(&mut self, batch: &mut Batch) -> Result<(), Error> {
        for span in &batch.spans {
            let mut place = self.follower.place();
            self.join_span(span, batch.bytes(), &mut place).map_err(|fault| Error::new(fault, place))?;
        }
        if !batch.last {
            return Ok(());
        }
        let place = self.follower.place();
        let end = match batch.io.take() {
            Some(error) => Err(Fault::Io(error)),
            None => self.follower.chain.finish(),
        };
        self.follower.padding = batch.padding;
        end.map_err(|fault| Error::new(fault, place))
    }

    fn join_span(&mut self, span: &Span, bytes: &[u8], place: &mut crate::place::Place) -> Result<(), Fault> {
        let record = &bytes[span.at..span.at + span.len];
        if record.len() < HEADER_LEN {
            return Err(Fault::Truncated {
                what: "a record header",
                need: HEADER_LEN as u64,
                have: record.len() as u64,
            });
        }
        let sum = |before, _: &_| join(before, span.sums.0, TRAILER_OFFSET as u64);
        let Judged { header, role, payload_len, inside } =
            self.follower.judge(header_bytes(record), place, Some(sum))?;
        let payload = &record[HEADER_LEN..];
        if payload.len() < payload_len {
            return Err(Fault::Truncated {
                what: "a payload",
                need: payload_len as u64,
                have: payload.len() as u64,
            });
        }
        let behind = join(inside, span.sums.1, (record.len() - TRAILER_OFFSET) as u64);
        self.follower.pass(role, payload_len, Some(behind));
        (self.each)(&Record { place: *place, role, header: &header, payload })
    }
}

/// What the workers share.
struct Shared<'a, 's, F> {
    cutter: Mutex<&'a mut Cutter<'s>>,
    /// What batches that were cut by headers alone are read from.
    source: Option<&'s (dyn ReadAt + Sync)>,
    joiner: Mutex<Joiner<'a, F>>,
    /// The next batch was taken, or the end was reached.
    turn: Condvar,
}

/// A lock whose content is good or not looked at after a panic: the panic goes on in the thread that waits
/// for all others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the work of all when one worker panics, so that none waits for its turn forever.
struct EndOnPanic<'w, 'a, 's, F>(&'w Shared<'a, 's, F>);

impl<F> Drop for EndOnPanic<'_, '_, '_, F> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.joiner).end.get_or_insert(Ok(()));
            self.0.turn.notify_all();
        }
    }
}

impl<F: FnMut(&Record<'_>) -> Result<(), Fault>> Shared<'_, '_, F> {
    /// Takes batches until the end. `batch` is number `filled` already, if that is given.
    fn work(&self, mut batch: Batch, mut filled: Option<u64>) {
        let _guard = EndOnPanic(self);
        while let Some(number) = filled.take().or_else(|| lock(&self.cutter).fill(&mut batch)) {
            match (self.source, batch.to_read.take()) {
                (Some(source), Some((offset, len))) => batch.read_and_sum(source, offset, len),
                _ => batch.sum(0..batch.spans.len()),
            }
            if self.hand_in(number, &mut batch) {
                return;
            }
        }
    }

    /// Has a batch joined, now or when it is its turn; whether that was the end.
    fn hand_in(&self, number: u64, batch: &mut Batch) -> bool {
        let mut joiner = lock(&self.joiner);
        while joiner.end.is_none() && joiner.next != number {
            if joiner.put_aside(number, batch) {
                return false;
            }
            joiner.waiting += 1;
            joiner = self.turn.wait(joiner).unwrap_or_else(PoisonError::into_inner);
            joiner.waiting -= 1;
        }
        if joiner.end.is_none() {
            joiner.take(batch);
        }
        let (is_end, is_awaited) = (joiner.end.is_some(), joiner.waiting > 0);
        drop(joiner);
        if is_awaited {
            self.turn.notify_all();
        }
        is_end
    }
}

/// Reads and checks streams on all cores.
pub struct ParallelReader<'s> {
    cutter: Cutter<'s>,
    source: Option<&'s (dyn ReadAt + Sync)>,
    follower: Follower,
}

impl<'s> ParallelReader<'s> {
    /// A reader from the start of a stream. It asks for much at a time: no buffer is needed in `source`.
    pub fn new(source: impl Read + Send + 's) -> Self {
        Self::with_feed(Box::new(Sequential(source)), None)
    }

    /// A reader from `offset` on of a source that can be read at any place: several threads read it at once.
    /// Offsets in errors and records count from there.
    pub fn positioned(source: &'s (dyn ReadAt + Sync), offset: u64) -> Self {
        Self::with_feed(Box::new(Positioned { source, offset }), Some(source))
    }

    fn with_feed(feed: Box<dyn Feed + 's>, source: Option<&'s (dyn ReadAt + Sync)>) -> Self {
        Self { cutter: Cutter::new(feed), source, follower: Follower::default() }
    }

    /// Reads to the end, and hands each record to `each` in order, once its header was checked. A payload
    /// is vouched for by the record that comes next.
    ///
    /// # Errors
    /// As [`StreamReader::next`](super::StreamReader::next), and what `each` returns. To go on behind an
    /// error gives [`Fault::GivenUp`].
    pub fn for_each(
        &mut self,
        each: impl FnMut(&Record<'_>) -> Result<(), Fault> + Send,
    ) -> Result<(), Error> {
        let given_up = Error::new(Fault::GivenUp, self.follower.place());
        let mut first = Batch::default();
        let number = self.cutter.fill(&mut first);
        let alone = first.last;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = if alone || number.is_none() { 1 } else { cores.min(MAX_WORKERS) };
        let shared = Shared {
            joiner: Mutex::new(Joiner {
                follower: &mut self.follower,
                each,
                next: number.unwrap_or(0),
                aside: Vec::new(),
                aside_max: workers,
                spare: Vec::new(),
                waiting: 0,
                end: None,
            }),
            cutter: Mutex::new(&mut self.cutter),
            source: self.source,
            turn: Condvar::new(),
        };
        thread::scope(|scope| {
            for _ in 1..workers {
                // Where no thread can be had, fewer do the work.
                let worker = || shared.work(Batch::default(), None);
                let _ = thread::Builder::new().spawn_scoped(scope, worker);
            }
            shared.work(first, number);
        });
        let joiner = shared.joiner.into_inner().unwrap_or_else(PoisonError::into_inner);
        joiner.end.unwrap_or(Err(given_up))
    }

    /// Bytes of the stream that a checksum has vouched for so far. Behind a whole stream: all of them.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.follower.verified
    }

    /// Bytes of the stream up to the record that comes next.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.follower.offset
    }

    /// The number of zeros after the last END with which a block was filled up. They belong to no stream.
    #[must_use]
    pub fn padding(&self) -> u64 {
        self.follower.padding
    }

    /// Whole streams so far; a package counts as one.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.follower.chain.whole_streams()
    }
}
