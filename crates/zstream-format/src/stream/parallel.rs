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
//! for that, as long as records are large; else, and where they are small, the batch is read to cut it.
//!
//! The records that come out, and the error at the end, are those of
//! [`StreamReader`](super::StreamReader).
//!
//! Memory: a batch for each of at most [`MAX_WORKERS`] workers, as large as [`LOADED_BYTES`] and the
//! record that it ends with, and as many of at most [`ASIDE_BYTES`] that are put aside.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::checksum::Checksum;
use crate::fletcher::{fletcher4, join};
use crate::order::ByteOrder;
use crate::record::{HEADER_LEN, TRAILER_OFFSET};
use crate::stream::follow::{Follower, Judged};
use crate::stream::reader::read_full;
use crate::stream::{Chain, Error, Fault, Record};

/// Bytes of a batch that was cut by headers alone, but for the end of its last record. It is to fit the
/// second-level cache of a core: what was read is still there when it is summed.
pub const PLANNED_BYTES: usize = 512 << 10;

/// Bytes of a batch that is read to be cut, but for the end of its last record. Others wait meanwhile, and
/// to wake them costs as much as to sum some hundred KiB.
pub const LOADED_BYTES: usize = 2 << 20;

/// Bytes of the first batch, by which the size of records is guessed: all but one worker wait for it.
pub const FIRST_BYTES: usize = 128 << 10;

/// A batch above this size is not put aside: its worker waits for its turn.
pub const ASIDE_BYTES: usize = 1 << 20;

/// The most workers, for the sake of memory. Memory is not faster either from some number of cores on.
pub const MAX_WORKERS: usize = 8;

/// Bytes that are read and then summed, before the next are: little enough for the first-level caches.
const PIECE_BYTES: usize = 64 << 10;

/// Records of this many bytes on average are cut by their headers alone: to read a header by itself costs
/// about as much as to copy this much.
const LARGE_RECORD_BYTES: usize = 16 << 10;

/// A record above this size is not cut by its header alone: no memory for what may not come.
const MAX_PLANNED_BYTES: usize = HEADER_LEN + (16 << 20);

/// A source that can be read at any place, by several threads at once.
pub trait ReadAt {
    /// Reads some bytes from `offset` on into `buf`; none only at the end.
    ///
    /// # Errors
    /// Those of the source.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }
}

/// Where batches come from.
trait Feed: Send {
    /// Reads what comes next.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// What can be read at any place, and where what comes next begins in it.
    fn positioned(&mut self) -> Option<(&(dyn ReadAt + Sync), &mut u64)>;
}

/// A source that is read from its start to its end.
struct Sequential<R>(R);

impl<R: Read + Send> Feed for Sequential<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        read_full(&mut self.0, buf)
    }

    fn positioned(&mut self) -> Option<(&(dyn ReadAt + Sync), &mut u64)> {
        None
    }
}

/// A source that can be read at any place.
struct Positioned<'a> {
    source: &'a (dyn ReadAt + Sync),
    offset: u64,
}

impl Feed for Positioned<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = read_full_at(self.source, buf, self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }

    fn positioned(&mut self) -> Option<(&(dyn ReadAt + Sync), &mut u64)> {
        Some((self.source, &mut self.offset))
    }
}

/// Reads until `buf` is full or the source ends; how many bytes there were.
fn read_full_at(source: &(dyn ReadAt + Sync), buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < buf.len() {
        match source.read_at(&mut buf[have..], offset.saturating_add(have as u64)) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

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
    /// Where the records lie whose bytes were not read yet, and how many there are.
    to_read: Option<(u64, usize)>,
    /// No batch follows.
    last: bool,
    /// Reading failed behind these records.
    io: Option<std::io::Error>,
}

/// Cuts a source into records.
struct Cutter<'a> {
    feed: Box<dyn Feed + 'a>,
    chain: Chain,
    /// Batches so far.
    batches: u64,
    /// The last batch was filled.
    done: bool,
    /// Mean size of the records in the batch before.
    record_bytes: usize,
}

impl Cutter<'_> {
    /// Fills a batch, whose number is returned; `None` behind the last.
    fn fill(&mut self, batch: &mut Batch) -> Option<u64> {
        if self.done {
            return None;
        }
        batch.spans.clear();
        (batch.filled, batch.last, batch.to_read) = (0, false, None);
        let bytes = if self.record_bytes >= LARGE_RECORD_BYTES { self.plan(batch) } else { 0 };
        if bytes == 0 {
            self.load(batch);
        }
        self.record_bytes = batch.filled.max(bytes) / batch.spans.len().max(1);
        self.done = batch.last;
        self.batches += 1;
        Some(self.batches - 1)
    }

    /// Cuts a batch by reading headers alone. Stops before what is not a whole, good record: that is for
    /// [`load`](Self::load) to meet. Returns the bytes of the batch, 0 where nothing was cut.
    fn plan(&mut self, batch: &mut Batch) -> usize {
        let Some((source, offset)) = self.feed.positioned() else { return 0 };
        let mut at = 0;
        while at < PLANNED_BYTES {
            let mut bytes = [0; HEADER_LEN];
            let got = read_full_at(source, &mut bytes, offset.saturating_add(at as u64));
            if !matches!(got, Ok(HEADER_LEN)) {
                break;
            }
            let Ok(header) = self.chain.header(bytes) else { break };
            let Ok(payload_len) = self.chain.payload_len(&header) else { break };
            let (len, order) = (HEADER_LEN + payload_len, self.chain.order());
            if len > MAX_PLANNED_BYTES || self.chain.advance(&header).is_err() {
                break;
            }
            batch.spans.push(Span { at, len, order, sums: Default::default() });
            at += len;
        }
        if at > 0 {
            batch.to_read = Some((*offset, at));
            *offset += at as u64;
        }
        at
    }

    /// Reads a batch and cuts it.
    fn load(&mut self, batch: &mut Batch) {
        let (mut at, mut want) = (0, if self.batches == 0 { FIRST_BYTES } else { LOADED_BYTES });
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
            return;
        }
    }

    /// Reads until a batch has `want` bytes, or there are no more.
    fn read(&mut self, batch: &mut Batch, want: usize) {
        if batch.bytes.len() < want {
            batch.bytes.resize(want, 0);
        }
        match self.feed.read(&mut batch.bytes[batch.filled..want]) {
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
    /// Reads and sums the records of a batch that was cut by headers alone, some at a time: what was just
    /// read is in the cache.
    fn read_and_sum(&mut self, source: &(dyn ReadAt + Sync), offset: u64, len: usize) {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        let mut summed = 0;
        while self.filled < len {
            let first = self.filled;
            let next = self.spans[summed..].partition_point(|span| span.at + span.len < first + PIECE_BYTES);
            let upto = self.spans.len().min(summed + next + 1);
            let piece = self.spans.get(upto).map_or(len, |span| span.at);
            match read_full_at(source, &mut self.bytes[first..piece], offset.saturating_add(first as u64)) {
                Ok(got) => self.filled += got,
                Err(error) => {
                    self.spans.truncate(summed);
                    (self.io, self.last) = (Some(error), true);
                    return;
                }
            }
            if self.filled < piece {
                // The source ends inside of the last record, or was cut meanwhile.
                let filled = self.filled;
                self.spans.retain(|span| span.at < filled);
                if let Some(span) = self.spans.last_mut() {
                    span.len = span.len.min(filled - span.at);
                }
                self.last = true;
                self.sum(summed..self.spans.len());
                return;
            }
            self.sum(summed..upto);
            summed = upto;
        }
    }

    /// Sums records.
    fn sum(&mut self, range: std::ops::Range<usize>) {
        let bytes = &self.bytes;
        for span in &mut self.spans[range] {
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
        let fits = self.aside.len() < self.aside_max && batch.bytes.len() <= ASIDE_BYTES;
        if fits {
            let ready = std::mem::replace(batch, self.spare.pop().unwrap_or_default());
            self.aside.push((number, ready));
        }
        fits
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
        let cutter = Cutter { feed, chain: Chain::default(), batches: 0, done: false, record_bytes: 0 };
        Self { cutter, source, follower: Follower::default() }
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

    /// Whole streams so far; a package counts as one.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.follower.chain.whole_streams()
    }
}
