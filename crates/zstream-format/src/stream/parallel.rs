//! Checking a stream on all cores.
//!
//! Fletcher-4 is linear, so the sum of each record's parts can be computed alone and joined in order.
//! The stream is cut into batches of whole records. Each worker takes the next batch from the source,
//! sums it while it is still in the cache of its core, and waits for its turn to join the sums:
//!
//! ```text
//! worker A   | read, cut 1 | sum 1 | join 1 | read, cut 3 | sum 3 | join 3 |
//! worker B                 | read, cut 2    | sum 2  | join 2     | ...
//! ```
//!
//! One worker reads at a time, and one joins and hands records out: both go in order. The records that
//! come out, and the error at the end, are those of [`StreamReader`](super::StreamReader).
//!
//! Memory: a batch for each of at most [`MAX_WORKERS`] workers, as large as [`BATCH_BYTES`] and the record
//! that it ends with.

use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::checksum::Checksum;
use crate::fletcher::{fletcher4, join};
use crate::order::ByteOrder;
use crate::record::{HEADER_LEN, TRAILER_OFFSET};
use crate::stream::follow::{Follower, Judged};
use crate::stream::reader::read_full;
use crate::stream::{Chain, Error, Fault, Record};

/// Bytes of a batch, but for the end of its last record. It is to fit the second-level cache of a core.
pub const BATCH_BYTES: usize = 512 << 10;

/// The most workers: reading, which is done by one at a time, takes about as long as summing does on one
/// core with vector instructions, so more would only wait.
pub const MAX_WORKERS: usize = 8;

/// A record in a batch.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: usize,
    /// Bytes that are there: header and payload, or less where the stream is cut short.
    len: usize,
    order: ByteOrder,
    /// Sum of the header's first 280 bytes, and of what follows.
    sums: (Checksum, Checksum),
}

/// Part of a stream: whole records, but for the last one where the stream is cut short or the
/// [`Cutter`] cannot go on.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    filled: usize,
    spans: Vec<Span>,
    /// No batch follows.
    last: bool,
    /// Reading failed behind these records.
    io: Option<std::io::Error>,
}

/// Reads a source and cuts it into records.
struct Cutter<R> {
    source: R,
    chain: Chain,
    /// Batches so far.
    batches: u64,
    /// The last batch was filled.
    done: bool,
}

impl<R: Read> Cutter<R> {
    /// Fills a batch, whose number is returned; `None` behind the last.
    fn fill(&mut self, batch: &mut Batch) -> Option<u64> {
        if self.done {
            return None;
        }
        batch.spans.clear();
        (batch.filled, batch.last) = (0, false);
        let (mut at, mut want) = (0, BATCH_BYTES);
        loop {
            self.read(batch, want);
            match self.cut(batch, &mut at) {
                Cut::GaveUp => batch.last = true,
                Cut::Partial { .. } if batch.last => {
                    if batch.io.is_none() {
                        batch.spans.push(self.span(at, batch.filled - at));
                    }
                }
                Cut::Partial { need } => {
                    // The rest of the last record. The buffer grows with what really comes, not with what
                    // the record promises.
                    want = need.min(batch.filled * 2).max(at + HEADER_LEN);
                    continue;
                }
                Cut::Whole => {}
            }
            self.done = batch.last;
            self.batches += 1;
            return Some(self.batches - 1);
        }
    }

    /// Reads until a batch has `want` bytes, or there are no more.
    fn read(&mut self, batch: &mut Batch, want: usize) {
        if batch.bytes.len() < want {
            batch.bytes.resize(want, 0);
        }
        match read_full(&mut self.source, &mut batch.bytes[batch.filled..want]) {
            Ok(got) => {
                batch.filled += got;
                batch.last = batch.filled < want;
            }
            Err(error) => {
                batch.io = Some(error);
                batch.last = true;
            }
        }
    }

    fn span(&self, at: usize, len: usize) -> Span {
        Span { at, len, order: self.chain.order(), sums: Default::default() }
    }

    /// Cuts as many records as there are from `at` on.
    fn cut(&mut self, batch: &mut Batch, at: &mut usize) -> Cut {
        loop {
            let have = batch.filled - *at;
            if have == 0 {
                return Cut::Whole;
            }
            if have < HEADER_LEN {
                return Cut::Partial { need: *at + HEADER_LEN };
            }
            // What is wrong with a header is said when it is judged; here it only ends the cutting.
            let Ok(header) = self.chain.header(header_bytes(&batch.bytes[*at..])) else {
                batch.spans.push(self.span(*at, HEADER_LEN));
                return Cut::GaveUp;
            };
            let len = match self.chain.payload_len(&header) {
                Ok(len) => HEADER_LEN + len,
                Err(_) => {
                    batch.spans.push(self.span(*at, HEADER_LEN));
                    return Cut::GaveUp;
                }
            };
            if have < len {
                return Cut::Partial { need: *at + len };
            }
            batch.spans.push(self.span(*at, len));
            if self.chain.advance(&header).is_err() {
                return Cut::GaveUp;
            }
            *at += len;
        }
    }
}

enum Cut {
    /// The bytes end with a record.
    Whole,
    /// The bytes end inside a record, whose end would be at `need`.
    Partial { need: usize },
    /// A record that cannot be.
    GaveUp,
}

fn header_bytes(bytes: &[u8]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&bytes[..HEADER_LEN]);
    header
}

impl Batch {
    /// Sums every record.
    fn sum(&mut self) {
        let bytes = &self.bytes;
        for span in &mut self.spans {
            let record = &bytes[span.at..span.at + span.len];
            if record.len() >= HEADER_LEN {
                let (front, back) = record.split_at(TRAILER_OFFSET);
                span.sums = (fletcher4(front, span.order), fletcher4(back, span.order));
            }
        }
    }
}

/// What is done in order: joining the sums, judging the records and handing them out.
struct Joiner<'a, F> {
    follower: &'a mut Follower,
    each: F,
    /// The number of the batch whose turn it is.
    next: u64,
    /// How it ended.
    end: Option<Result<(), Error>>,
}

impl<F: FnMut(&Record<'_>) -> Result<(), Fault>> Joiner<'_, F> {
    /// Takes the next batch; whether that was the end.
    fn take(&mut self, batch: &mut Batch) -> bool {
        self.next += 1;
        let outcome = self.join(batch);
        if outcome.is_err() || batch.last {
            self.end = Some(outcome);
        }
        self.end.is_some()
    }

    fn join(&mut self, batch: &mut Batch) -> Result<(), Error> {
        for span in &batch.spans {
            let mut place = self.follower.place();
            self.join_span(span, &batch.bytes, &mut place).map_err(|fault| Error::new(fault, place))?;
        }
        if !batch.last {
            return Ok(());
        }
        let place = self.follower.place();
        let end = match batch.io.take() {
            Some(error) => Err(Fault::Io(error)),
            None => self.follower.chain.finish(),
        };
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
struct Shared<'a, R, F> {
    cutter: Mutex<&'a mut Cutter<R>>,
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
struct EndOnPanic<'s, 'a, R, F>(&'s Shared<'a, R, F>);

impl<R, F> Drop for EndOnPanic<'_, '_, R, F> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.joiner).end.get_or_insert(Ok(()));
            self.0.turn.notify_all();
        }
    }
}

impl<R: Read, F: FnMut(&Record<'_>) -> Result<(), Fault>> Shared<'_, R, F> {
    /// Takes batches until the end. `batch` is number `filled` already, if that is given.
    fn work(&self, mut batch: Batch, mut filled: Option<u64>) {
        let _guard = EndOnPanic(self);
        while let Some(number) = filled.take().or_else(|| lock(&self.cutter).fill(&mut batch)) {
            batch.sum();
            let mut joiner = lock(&self.joiner);
            while joiner.end.is_none() && joiner.next != number {
                joiner = self.turn.wait(joiner).unwrap_or_else(PoisonError::into_inner);
            }
            let is_end = joiner.end.is_some() || joiner.take(&mut batch);
            drop(joiner);
            self.turn.notify_all();
            if is_end {
                return;
            }
        }
    }
}

/// Reads and checks streams on all cores.
pub struct ParallelReader<R> {
    cutter: Cutter<R>,
    follower: Follower,
}

impl<R: Read + Send> ParallelReader<R> {
    /// A reader from the start of a stream. It asks for much at a time: no buffer is needed in `source`.
    pub fn new(source: R) -> Self {
        let cutter = Cutter { source, chain: Chain::default(), batches: 0, done: false };
        Self { cutter, follower: Follower::default() }
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
        let shared = Shared {
            joiner: Mutex::new(Joiner {
                follower: &mut self.follower,
                each,
                next: number.unwrap_or(0),
                end: None,
            }),
            cutter: Mutex::new(&mut self.cutter),
            turn: Condvar::new(),
        };
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let others = if alone || number.is_none() { 0 } else { cores.min(MAX_WORKERS) - 1 };
            for _ in 0..others {
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

    /// Whole streams so far; a package counts as one.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.follower.chain.whole_streams()
    }
}
