//! Content in an archive: whole, or its data with a map of it.

use std::io::{self, Read};
use std::ops::Range;

use zstream_zpl::Content;

use super::super::Report;
use crate::place::source::CHUNK_BYTES;

/// Files with fewer bytes in holes are written without a map.
const HOLES_BYTES_MIN: u64 = 16 << 10;
/// The maximum number of ranges in a map: files with more holes are written without a map.
const RANGES_MAX: usize = 1 << 20;
/// Blocks of an archive.
const BLOCK_BYTES: usize = 512;

/// Content, and the part of it that the archive stores.
pub(super) struct Parts<'a> {
    pub(super) content: Content<'a>,
    /// The ranges to write after the beginning.
    pub(super) ranges: Vec<Range<u64>>,
    /// The beginning of the stored data: a map of the ranges if holes are omitted, and the data that was already
    /// read.
    pub(super) head: Vec<u8>,
    /// True if there is a map.
    pub(super) is_sparse: bool,
    /// Bytes in the archive.
    pub(super) bytes: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn of(content: Content<'a>) -> zstream_dmu::error::Result<Self> {
        let size = content.size();
        let ranges = content.ranges().take(RANGES_MAX + 1).collect::<Result<Vec<_>, _>>()?;
        let data: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let is_sparse = ranges.len() <= RANGES_MAX && size - data >= HOLES_BYTES_MIN;
        if !is_sparse {
            return Self::beginning(content, std::iter::once(0..size).collect(), Vec::new());
        }
        let end = ranges.last().is_none_or(|range| range.end < size).then_some(size..size);
        let ranges: Vec<_> = ranges.into_iter().chain(end).collect();
        let mut map = format!("{}\n", ranges.len());
        for range in &ranges {
            map += &format!("{}\n{}\n", range.start, range.end - range.start);
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK_BYTES), 0);
        Self::beginning(content, ranges, map)
    }

    /// Reads the beginning, before the header is written.
    fn beginning(
        content: Content<'a>,
        mut ranges: Vec<Range<u64>>,
        map: Vec<u8>,
    ) -> zstream_dmu::error::Result<Self> {
        let is_sparse = !map.is_empty();
        let data: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let bytes = map.len() as u64 + data;
        let (mut head, mut room) = (map, CHUNK_BYTES);
        for range in &mut ranges {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(room);
            let at = head.len();
            head.resize(at + length, 0);
            content.read(range.start, &mut head[at..])?;
            range.start += length as u64;
            room -= length;
            if room == 0 {
                break;
            }
        }
        Ok(Self { content, ranges, head, is_sparse, bytes })
    }
}

/// Content as a reader for the archive's writer.
pub(super) struct Reader<'a, 'r, 'p, 'c> {
    content: Content<'a>,
    pub(super) report: &'r mut Report<'p, 'c>,
    /// The rest of the current range.
    here: Range<u64>,
    ranges: std::vec::IntoIter<Range<u64>>,
    buffer: Vec<u8>,
    /// The consumed part of the buffer.
    start: usize,
    pub(super) fault: Option<zstream_dmu::error::Error>,
}

impl<'a, 'r, 'p, 'c> Reader<'a, 'r, 'p, 'c> {
    pub(super) fn new(parts: Parts<'a>, report: &'r mut Report<'p, 'c>) -> Self {
        let Parts { content, ranges, head: buffer, .. } = parts;
        Self { content, report, here: 0..0, ranges: ranges.into_iter(), buffer, start: 0, fault: None }
    }
}

impl Read for Reader<'_, '_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start == self.buffer.len() {
            if self.here.is_empty() {
                match self.ranges.next() {
                    Some(range) => self.here = range,
                    None => return Ok(0),
                }
                continue;
            }
            if self.report.control.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            let left = usize::try_from(self.here.end - self.here.start).unwrap_or(usize::MAX);
            self.buffer.resize(left.min(CHUNK_BYTES), 0);
            self.start = 0;
            if let Err(fault) = self.content.read(self.here.start, &mut self.buffer) {
                self.fault = Some(fault);
                return Err(io::Error::other("content cannot be read"));
            }
            self.here.start += self.buffer.len() as u64;
            self.report.did(self.buffer.len());
        }
        let length = out.len().min(self.buffer.len() - self.start);
        out[..length].copy_from_slice(&self.buffer[self.start..self.start + length]);
        self.start += length;
        Ok(length)
    }
}
