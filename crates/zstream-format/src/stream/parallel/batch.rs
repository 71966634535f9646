//! Splitting a source into batches of complete records.

use std::io::{self, Read};

use super::source::{ReadAt, View, read_full_at};
use crate::checksum::Checksum;
use crate::fletcher::fletcher4;
use crate::order::ByteOrder;
use crate::record::{HEADER_LEN, MAX_BLOCK_BYTES, TRAILER_OFFSET};
use crate::stream::Chain;
use crate::stream::padding::{is_padding, is_zero, zeros_to_end};
use crate::stream::reader::read_full;

/// The size in bytes of a batch that is split by reading headers only, without the end of its last record. It
/// fits the second-level cache of a core, so that the data is still cached when it is summed.
pub(super) const PLANNED_BYTES: usize = 512 << 10;

/// The size in bytes of a batch that is viewed, without the end of its last record. Reading its headers waits for
/// memory while other workers wait too, so batches are large enough to keep the other workers busy.
pub(super) const VIEWED_BYTES: usize = 4 << 20;

/// The size in bytes of a batch that is read before it is split, without the end of its last record. Other workers
/// wait meanwhile, and waking them costs as much as summing some hundred KiB.
pub(super) const LOADED_BYTES: usize = 2 << 20;

/// The size of the first batch in bytes, from which the size of records is estimated: all other workers wait for it.
pub(super) const FIRST_BYTES: usize = 128 << 10;

/// The number of bytes that are read and then summed at a time; they fit the first-level cache.
const PIECE_BYTES: usize = 64 << 10;

/// The average size in bytes from which records are split by reading headers only: reading a single header costs
/// about as much as copying this many bytes.
const LARGE_RECORD_BYTES: usize = 16 << 10;

/// The maximum size in bytes of a record that is split by its header only, so that no memory is allocated for data
/// that may not exist.
const MAX_PLANNED_BYTES: usize = HEADER_LEN + MAX_BLOCK_BYTES as usize;

/// A source of batches.
pub(super) trait Feed: Send {
    /// Reads the next bytes.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Returns the source that can be read at any offset, and the offset of the next bytes in it.
    fn positioned(&mut self) -> Option<(&(dyn ReadAt + Sync), &mut u64)>;
}

/// A source that is read from start to end.
pub(super) struct Sequential<R>(pub(super) R);

impl<R: Read + Send> Feed for Sequential<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        read_full(&mut self.0, buf)
    }

    fn positioned(&mut self) -> Option<(&(dyn ReadAt + Sync), &mut u64)> {
        None
    }
}

/// A source that can be read at any offset.
pub(super) struct Positioned<'a> {
    pub(super) source: &'a (dyn ReadAt + Sync),
    pub(super) offset: u64,
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

/// A record in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) at: usize,
    /// The size in bytes: header and payload, or less if the stream is truncated.
    pub(super) len: usize,
    order: ByteOrder,
    /// The sum of the first 280 bytes of the header, and the sum of the rest.
    pub(super) sums: (Checksum, Checksum),
}

/// A part of a stream: complete records, except the last one if the stream is truncated or the [`Cutter`] cannot
/// continue.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The bytes of the records, if they are not viewed.
    buffer: Vec<u8>,
    /// The view of the records in the source.
    view: Option<View>,
    filled: usize,
    pub(super) spans: Vec<Span>,
    /// The offset and the size of the records if they were not read yet.
    pub(super) to_read: Option<(u64, usize)>,
    /// `true` if no batch follows.
    pub(super) last: bool,
    /// The error from reading after these records.
    pub(super) io: Option<io::Error>,
    /// Zeros with which the source ends after these records.
    pub(super) padding: u64,
}

/// A splitter of a source into records.
pub(super) struct Cutter<'a> {
    feed: Box<dyn Feed + 'a>,
    chain: Chain,
    /// The number of bytes of the records so far.
    offset: u64,
    /// The number of batches so far.
    batches: u64,
    /// `true` after the last batch was filled.
    done: bool,
    /// The average size of the records in the previous batch.
    record_bytes: usize,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(feed: Box<dyn Feed + 'a>) -> Self {
        Self { feed, chain: Chain::default(), offset: 0, batches: 0, done: false, record_bytes: 0 }
    }

    /// Fills a batch and returns its number, or `None` after the last batch.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Option<u64> {
        if self.done {
            return None;
        }
        batch.spans.clear();
        (batch.filled, batch.last, batch.to_read) = (0, false, None);
        (batch.view, batch.padding) = (None, 0);
        let bytes = self.plan(batch);
        let cut = if bytes == 0 { self.load(batch) } else { bytes };
        self.offset += cut as u64;
        self.record_bytes = batch.filled.max(bytes) / batch.spans.len().max(1);
        self.done = batch.last;
        self.batches += 1;
        Some(self.batches - 1)
    }

    /// Splits a batch by reading headers only, if the source can be viewed or its records are large. Stops before
    /// an incomplete or invalid record, which [`load`](Self::load) then reads. Returns the size of the batch in
    /// bytes, 0 if nothing was split.
    fn plan(&mut self, batch: &mut Batch) -> usize {
        let Some((source, offset)) = self.feed.positioned() else { return 0 };
        let mut view = source.view(*offset, VIEWED_BYTES + HEADER_LEN);
        if view.is_none() && self.record_bytes < LARGE_RECORD_BYTES {
            return 0;
        }
        let want = if view.is_some() { VIEWED_BYTES } else { PLANNED_BYTES };
        let mut at = 0;
        while at < want {
            let Some(bytes) = header_at(source, view.as_deref(), *offset, at) else { break };
            let Ok(header) = self.chain.header(bytes) else { break };
            let Ok(payload_len) = self.chain.payload_len(&header) else { break };
            let (len, order) = (HEADER_LEN + payload_len, self.chain.order());
            if len > MAX_PLANNED_BYTES {
                break;
            }
            if let Some(view) = &mut view
                && view.len() < at + len
            {
                match source.view(*offset, at + len) {
                    Some(longer) if longer.len() == at + len => *view = longer,
                    _ => break,
                }
            }
            if self.chain.advance(&header).is_err() {
                break;
            }
            batch.spans.push(Span { at, len, order, sums: Default::default() });
            at += len;
        }
        if at > 0 {
            match view {
                Some(_) => (batch.view, batch.filled) = (view, at),
                None => batch.to_read = Some((*offset, at)),
            }
            *offset += at as u64;
        }
        at
    }

    /// Reads a batch and splits it. Returns the number of bytes of its complete records.
    fn load(&mut self, batch: &mut Batch) -> usize {
        let (mut at, mut want) = (0, if self.batches == 0 { FIRST_BYTES } else { LOADED_BYTES });
        loop {
            self.read(batch, want);
            match self.cut(batch, &mut at) {
                Cut::GaveUp => batch.last = true,
                Cut::Partial { .. } if batch.last => {
                    if batch.io.is_none() && !self.ends_with_zeros(batch, at) {
                        batch.spans.push(self.span(at, batch.filled - at));
                    }
                }
                Cut::Zeros => {
                    if !self.ends_with_zeros(batch, at) && batch.io.is_none() {
                        batch.spans.push(self.span(at, HEADER_LEN));
                    }
                    batch.last = true;
                }
                Cut::Partial { need } => {
                    // Read the rest of the last record. The buffer grows with the bytes that are read, not with
                    // the size that the record states.
                    want = need.min(batch.filled * 2).max(at + HEADER_LEN);
                    continue;
                }
                Cut::Whole => {}
            }
            return at;
        }
    }

    /// True if nothing but padding follows the records of a batch, the first `at` bytes. Reads to the end.
    fn ends_with_zeros(&mut self, batch: &mut Batch, at: usize) -> bool {
        let rest = &batch.buffer[at..batch.filled];
        if !self.chain.may_end() || !is_zero(rest) || batch.io.is_some() {
            return false;
        }
        let more = if batch.last { Ok(Some(0)) } else { zeros_to_end(|buffer| self.feed.read(buffer)) };
        match more {
            Ok(more) => {
                let zeros = more.map_or(0, |more| rest.len() as u64 + more);
                let found = is_padding(self.offset + at as u64, zeros);
                batch.padding = if found { zeros } else { 0 };
                found
            }
            Err(error) => {
                batch.io = Some(error);
                false
            }
        }
    }

    /// Reads until a batch has `want` bytes or the source ends.
    fn read(&mut self, batch: &mut Batch, want: usize) {
        if batch.buffer.len() < want {
            batch.buffer.resize(want, 0);
        }
        match self.feed.read(&mut batch.buffer[batch.filled..want]) {
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

    /// Splits all complete records from `at`.
    fn cut(&mut self, batch: &mut Batch, at: &mut usize) -> Cut {
        loop {
            let have = batch.filled - *at;
            if have == 0 {
                return Cut::Whole;
            }
            if have < HEADER_LEN {
                return Cut::Partial { need: *at + HEADER_LEN };
            }
            // A fault in a header is reported when the record is joined; here it only ends the batch.
            let bytes = header_bytes(&batch.buffer[*at..]);
            let Ok(header) = self.chain.header(bytes) else {
                if self.chain.may_end() && is_zero(&bytes) {
                    return Cut::Zeros;
                }
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
    /// The bytes end inside a record, which extends to `need`.
    Partial { need: usize },
    /// A complete stream, then as many zeros as a header has bytes.
    Zeros,
    /// The record is invalid.
    GaveUp,
}

/// Reads the header `at` bytes after `offset`, in the view that starts at `offset` if there is one.
fn header_at(source: &dyn ReadAt, view: Option<&[u8]>, offset: u64, at: usize) -> Option<[u8; HEADER_LEN]> {
    if let Some(view) = view {
        return view.get(at..at + HEADER_LEN).map(header_bytes);
    }
    let mut bytes = [0; HEADER_LEN];
    let got = read_full_at(source, &mut bytes, offset.saturating_add(at as u64)).ok()?;
    (got == HEADER_LEN).then_some(bytes)
}

pub(super) fn header_bytes(bytes: &[u8]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&bytes[..HEADER_LEN]);
    header
}

impl Batch {
    /// The bytes of the records.
    pub(super) fn bytes(&self) -> &[u8] {
        self.view.as_deref().unwrap_or(&self.buffer)
    }

    /// The memory that the batch uses, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.buffer.len()
    }

    /// Releases the view and its owner.
    pub(super) fn release(&mut self) {
        self.view = None;
    }

    /// Reads and sums the records of a batch that was split by reading headers only, some at a time, so that
    /// they are summed in the cache.
    pub(super) fn read_and_sum(&mut self, source: &(dyn ReadAt + Sync), offset: u64, len: usize) {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        let mut summed = 0;
        while self.filled < len {
            let first = self.filled;
            let next = self.spans[summed..].partition_point(|span| span.at + span.len < first + PIECE_BYTES);
            let upto = self.spans.len().min(summed + next + 1);
            let piece = self.spans.get(upto).map_or(len, |span| span.at);
            match read_full_at(source, &mut self.buffer[first..piece], offset.saturating_add(first as u64)) {
                Ok(got) => self.filled += got,
                Err(error) => {
                    self.spans.truncate(summed);
                    (self.io, self.last) = (Some(error), true);
                    return;
                }
            }
            if self.filled < piece {
                // The source ends inside the last record, or was truncated meanwhile.
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

    /// Sums the records in the range.
    pub(super) fn sum(&mut self, range: std::ops::Range<usize>) {
        let bytes = self.view.as_deref().unwrap_or(&self.buffer);
        for span in &mut self.spans[range] {
            let record = &bytes[span.at..span.at + span.len];
            if record.len() >= HEADER_LEN {
                let (front, back) = record.split_at(TRAILER_OFFSET);
                span.sums = (fletcher4(front, span.order), fletcher4(back, span.order));
            }
        }
    }
}
