//! Verifying a stream on all cores.
//!
//! Fletcher-4 is linear, so the sums of records can be computed independently and joined in order. The stream is
//! split into batches of complete records. Each worker takes the next batch from the source, sums it while it is
//! still in the cache of its core, and joins the sums if it is its turn; otherwise it sets the batch aside for the
//! worker with the previous batch:
//!
//! ```text
//! worker A   | cut 1 | read, sum 1 | join 1 | cut 3 | read, sum 3 | join 3 |
//! worker B           | cut 2 | read, sum 2   | join 2     | cut 4 | ...
//! ```
//!
//! One worker cuts at a time, and one joins and delivers records; both are done in order. To cut is to find the
//! starts of records. In a source that can be read at any offset ([`ReadAt`]), only the headers are read for that
//! if records are large; otherwise the whole batch is read. If the bytes of a source can be viewed in place, as in
//! a mapped file, nothing is copied: they are summed there.
//!
//! The records and the error at the end are those of [`StreamReader`](super::StreamReader).
//!
//! Memory: a batch for each of at most `MAX_WORKERS` workers, of `LOADED_BYTES` and the rest of its last
//! record, and as many batches of at most `ASIDE_BYTES` that are set aside.

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

pub use source::{ReadAt, View};

/// The maximum size of a batch that is set aside, in bytes. With a larger one, the worker waits for its turn.
const ASIDE_BYTES: usize = 1 << 20;

/// The maximum number of workers. It limits the use of memory; with more cores, memory bandwidth is the bottleneck.
const MAX_WORKERS: usize = 8;

/// The steps that are done in order: joining the sums, validating the records and delivering them.
struct Joiner<'a, F> {
    follower: &'a mut Follower,
    each: F,
    /// The number of the batch whose turn it is.
    next: u64,
    /// The batches that were ready before their turn.
    aside: Vec<(u64, Batch)>,
    aside_max: usize,
    /// The batches to reuse.
    spare: Vec<Batch>,
    /// The number of workers that wait for a turn.
    waiting: usize,
    /// The outcome, once the end was reached.
    end: Option<Result<(), Error>>,
}

impl<F: FnMut(&Record<'_>) -> Result<(), Fault>> Joiner<'_, F> {
    /// Processes the next batch, and the batches after it that were set aside.
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

    /// Sets a batch aside that is ready before its turn, if there is room, and replaces it with another one.
    /// Returns `true` if it was set aside.
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

/// The state that the workers share.
struct Shared<'a, 's, F> {
    cutter: Mutex<&'a mut Cutter<'s>>,
    /// The source of batches that were split by reading headers only.
    source: Option<&'s (dyn ReadAt + Sync)>,
    joiner: Mutex<Joiner<'a, F>>,
    /// Notified when the next batch was processed or the end was reached.
    turn: Condvar,
}

/// Locks a mutex and ignores poisoning: after a panic, the content is valid or unused, and the panic continues in
/// the thread that joins all others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guard that stops all workers if one panics, so that none waits forever.
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
    /// Processes batches until the end. If `filled` is given, `batch` is already filled and has that number.
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

    /// Joins a batch, or sets it aside until its turn. Returns `true` at the end.
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

/// A reader that verifies streams on all cores.
pub struct ParallelReader<'s> {
    cutter: Cutter<'s>,
    source: Option<&'s (dyn ReadAt + Sync)>,
    follower: Follower,
}

impl<'s> ParallelReader<'s> {
    /// Creates a reader from the start of a stream. It reads large pieces: `source` does not require a buffer.
    pub fn new(source: impl Read + Send + 's) -> Self {
        Self::with_feed(Box::new(Sequential(source)), None)
    }

    /// Creates a reader of a source that can be read at any offset, by several threads at once. It starts at
    /// `offset`; offsets in errors and records are relative to it.
    pub fn positioned(source: &'s (dyn ReadAt + Sync), offset: u64) -> Self {
        Self::with_feed(Box::new(Positioned { source, offset }), Some(source))
    }

    fn with_feed(feed: Box<dyn Feed + 's>, source: Option<&'s (dyn ReadAt + Sync)>) -> Self {
        Self { cutter: Cutter::new(feed), source, follower: Follower::default() }
    }

    /// Reads to the end, and calls `each` with every record in order, after its header was verified. The checksum
    /// in the next record covers the payload. Within a thread pool of rayon, the threads of that pool do all work.
    ///
    /// # Errors
    /// Fails like [`StreamReader::next`](super::StreamReader::next), and with the errors of `each`. After an error,
    /// it returns [`Fault::GivenUp`].
    pub fn for_each(
        &mut self,
        each: impl FnMut(&Record<'_>) -> Result<(), Fault> + Send,
    ) -> Result<(), Error> {
        let given_up = Error::new(Fault::GivenUp, self.follower.place());
        let mut first = Batch::default();
        let number = self.cutter.fill(&mut first);
        let alone = first.last;
        // Inside a thread pool of rayon, the work stays in that pool.
        let in_pool = rayon::current_thread_index().is_some();
        let cores = match in_pool {
            true => rayon::current_num_threads(),
            false => thread::available_parallelism().map_or(1, usize::from),
        };
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
        let worker = || shared.work(Batch::default(), None);
        if in_pool {
            rayon::in_place_scope(|scope| {
                (1..workers).for_each(|_| scope.spawn(|_| worker()));
                shared.work(first, number);
            });
        } else {
            thread::scope(|scope| {
                for _ in 1..workers {
                    // If a thread cannot be created, fewer threads do the work.
                    let _ = thread::Builder::new().spawn_scoped(scope, worker);
                }
                shared.work(first, number);
            });
        }
        let joiner = shared.joiner.into_inner().unwrap_or_else(PoisonError::into_inner);
        joiner.end.unwrap_or(Err(given_up))
    }

    /// The number of bytes that a checksum has verified so far; after a complete stream, all of them.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.follower.verified
    }

    /// The offset of the next record in the stream.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.follower.offset
    }

    /// The number of zeros after the last END with which a block was padded. They belong to no stream.
    #[must_use]
    pub fn padding(&self) -> u64 {
        self.follower.padding
    }

    /// The number of complete streams so far; a package counts as one.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.follower.chain.whole_streams()
    }
}
