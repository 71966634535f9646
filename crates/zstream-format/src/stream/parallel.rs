//! Checking a stream on all cores.
//!
//! Fletcher-4 is linear, so the sum of each record's parts can be computed alone and joined in
//! order. The stream is cut into batches of whole records; while one batch is summed by all cores,
//! the next is read:
//!
//! ```text
//! read, cut  | batch 1 | batch 2 | batch 3 |
//! sum        |         | batch 1 | batch 2 | batch 3 |
//! join, hand out       |      1  |      2  |      3  |
//! ```
//!
//! The records that come out, and the error at the end, are those of [`StreamReader`](super::StreamReader).
//! Memory: two batches, each as large as [`BATCH_BYTES`] or the largest record.

use std::io::Read;

use rayon::prelude::*;

use crate::checksum::Checksum;
use crate::fletcher::{fletcher4, join};
use crate::order::ByteOrder;
use crate::record::{HEADER_LEN, TRAILER_OFFSET};
use crate::stream::follow::{Follower, Judged};
use crate::stream::reader::read_full;
use crate::stream::{Chain, Error, Fault, Record};

/// Bytes of a batch, unless a single record is larger.
pub const BATCH_BYTES: usize = 4 << 20;

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
    rest: Vec<u8>,
}

impl<R: Read> Cutter<R> {
    /// Fills a batch; the start of a record that did not fit is kept for the next.
    fn fill(&mut self, batch: &mut Batch) {
        batch.spans.clear();
        if batch.bytes.len() < BATCH_BYTES.max(self.rest.len()) {
            batch.bytes.resize(BATCH_BYTES.max(self.rest.len()), 0);
        }
        batch.bytes[..self.rest.len()].copy_from_slice(&self.rest);
        batch.filled = self.rest.len();
        self.rest.clear();
        let mut at = 0;
        loop {
            let want = batch.bytes.len() - batch.filled;
            match read_full(&mut self.source, &mut batch.bytes[batch.filled..]) {
                Ok(got) => {
                    batch.filled += got;
                    batch.last = got < want;
                }
                Err(error) => {
                    batch.io = Some(error);
                    batch.last = true;
                }
            }
            match self.cut(batch, &mut at) {
                Cut::GaveUp => batch.last = true,
                Cut::Whole if batch.last => {}
                Cut::Partial { .. } if batch.last => {
                    if batch.io.is_none() {
                        batch.spans.push(self.span(at, batch.filled - at));
                    }
                }
                Cut::Partial { need } if at == 0 => {
                    // One record larger than the batch: grow with what really comes, not with what it promises.
                    let len = need.min(batch.bytes.len() * 2);
                    batch.bytes.resize(len, 0);
                    continue;
                }
                Cut::Whole | Cut::Partial { .. } => {
                    self.rest.extend_from_slice(&batch.bytes[at..batch.filled])
                }
            }
            return;
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
    /// Sums every record, in parallel.
    fn sum(&mut self) {
        let bytes = &self.bytes;
        // A handful of small records is not worth handing to another core.
        self.spans.par_iter_mut().with_min_len(16).for_each(|span| {
            let record = &bytes[span.at..span.at + span.len];
            if record.len() >= HEADER_LEN {
                let (front, back) = record.split_at(TRAILER_OFFSET);
                span.sums = (fletcher4(front, span.order), fletcher4(back, span.order));
            }
        });
    }
}

/// Reads and checks streams on all cores.
pub struct ParallelReader<R> {
    cutter: Cutter<R>,
    follower: Follower,
}

impl<R: Read + Send> ParallelReader<R> {
    /// A reader from the start of a stream. It asks for megabytes at a time: no buffer is needed in `source`.
    pub fn new(source: R) -> Self {
        let cutter = Cutter { source, chain: Chain::default(), rest: Vec::new() };
        Self { cutter, follower: Follower::default() }
    }

    /// Reads to the end, and hands each record to `each` in order, once its header was checked. A payload
    /// is vouched for by the record that comes next.
    ///
    /// # Errors
    /// As [`StreamReader::next`](super::StreamReader::next), and what `each` returns.
    pub fn for_each(
        &mut self,
        mut each: impl FnMut(&Record<'_>) -> Result<(), Fault> + Send,
    ) -> Result<(), Error> {
        let (mut reading, mut summing) = (Batch::default(), Batch::default());
        self.cutter.fill(&mut reading);
        loop {
            std::mem::swap(&mut reading, &mut summing);
            if summing.last {
                summing.sum();
            } else {
                rayon::join(|| self.cutter.fill(&mut reading), || summing.sum());
            }
            self.join_batch(&summing, &mut each)?;
            if summing.last {
                let place = self.follower.place();
                let end = match summing.io.take() {
                    Some(error) => Err(Fault::Io(error)),
                    None => self.follower.chain.finish(),
                };
                return end.map_err(|fault| Error::new(fault, place));
            }
        }
    }

    fn join_batch(
        &mut self,
        batch: &Batch,
        each: &mut impl FnMut(&Record<'_>) -> Result<(), Fault>,
    ) -> Result<(), Error> {
        for span in &batch.spans {
            let mut place = self.follower.place();
            self.join_span(span, &batch.bytes, &mut place, each).map_err(|fault| Error::new(fault, place))?;
        }
        Ok(())
    }

    fn join_span(
        &mut self,
        span: &Span,
        bytes: &[u8],
        place: &mut crate::place::Place,
        each: &mut impl FnMut(&Record<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
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
        each(&Record { place: *place, role, header: &header, payload })
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
