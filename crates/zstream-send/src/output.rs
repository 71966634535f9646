//! The destination of records: a stream, or only a count.
//!
//! Headers and small payloads are collected in a buffer. Blocks are not copied: they stay in the buffer of their batch, and
//! one call writes many of both. So after adding a block by position, write it before the buffer of the batch is reused.

use std::io::{self, IoSlice, Write};
use std::ops::Range;

use zstream_format::checksum::Checksum;
use zstream_format::record::{Body, HEADER_LEN, Header};
use zstream_format::stream::{Sealer, Trailers};

use crate::error::{Fault, Result};
use crate::form::ORDER;
use crate::progress::Progress;

/// The number of bytes of headers and small payloads that are collected before they are written.
const GATHERED_BYTES: usize = 256 << 10;

/// The size in bytes up to which blocks are copied, which costs less than a separate part.
const COPIED_BYTES: usize = 1 << 10;

/// The maximum number of parts in one system call (`UIO_MAXIOV`).
const PARTS_PER_CALL: usize = 1024;

/// A payload, and its sum if it is known.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) sum: Option<Checksum>,
    /// The offset in the buffer of its batch; `None` if it must be copied.
    pub(crate) start: Option<usize>,
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, sum: None, start: None }
    }
}

/// A part of the stream that was not written yet.
enum Part {
    /// A range of the collected bytes.
    Gathered(Range<usize>),
    /// A range of the buffer of the batch.
    Block(Range<usize>),
}

/// A destination of records.
pub(crate) struct Output<'a> {
    out: Option<&'a mut dyn Write>,
    sealer: Sealer,
    gathered: Vec<u8>,
    parts: Vec<Part>,
    progress: &'a Progress,
    /// The number of bytes that are not written yet.
    waiting: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl<'a> Output<'a> {
    /// Creates an output that writes to `out`, or only counts if that is `None`.
    pub(crate) fn new(out: Option<&'a mut dyn Write>, progress: &'a Progress) -> Self {
        Self {
            out,
            sealer: Sealer::new(Trailers::Modern),
            gathered: Vec::new(),
            parts: Vec::new(),
            progress,
            waiting: 0,
            bytes: 0,
            records: 0,
        }
    }

    /// Writes a record without a payload.
    pub(crate) fn record(&mut self, body: impl Into<Body>) -> Result<()> {
        self.header(&Header::new(body, ORDER), Payload::from(&[][..]))
    }

    /// Writes a record and its payload, which may be missing if the output only counts.
    pub(crate) fn record_with(&mut self, body: impl Into<Body>, payload: Payload<'_>) -> Result<()> {
        self.header(&Header::new(body, ORDER), payload)
    }

    /// Writes a record with this header and its payload.
    pub(crate) fn header(&mut self, header: &Header, payload: Payload<'_>) -> Result<()> {
        let bytes = HEADER_LEN as u64 + header.payload_len();
        if self.out.is_some() {
            let sealed = self.sealer.seal(header, payload.bytes, payload.sum);
            let sealed = sealed.map_err(|error| Fault::Internal(error.into_fault().to_string()))?;
            self.gather(sealed.as_bytes());
            match payload.start {
                Some(start) if payload.bytes.len() > COPIED_BYTES => {
                    self.parts.push(Part::Block(start..start + payload.bytes.len()));
                }
                _ => self.gather(payload.bytes),
            }
        }
        self.bytes += bytes;
        self.records += 1;
        self.waiting += bytes;
        Ok(())
    }

    fn gather(&mut self, bytes: &[u8]) {
        let start = self.gathered.len();
        self.gathered.extend_from_slice(bytes);
        match self.parts.last_mut() {
            Some(Part::Gathered(range)) => range.end = self.gathered.len(),
            _ => self.parts.push(Part::Gathered(start..self.gathered.len())),
        }
    }

    /// Writes the pending parts, unless there are few and none is in the buffer of the batch, `buffer`.
    pub(crate) fn write_batch(&mut self, buffer: &[u8]) -> Result<()> {
        let can_wait = self.gathered.len() < GATHERED_BYTES
            && self.parts.iter().all(|part| matches!(part, Part::Gathered(_)));
        if can_wait && self.out.is_some() { Ok(()) } else { self.write(buffer) }
    }

    /// Writes the remaining parts, which must not include blocks, and flushes.
    pub(crate) fn flush(mut self) -> Result<()> {
        self.write(&[])?;
        match self.out {
            Some(out) => Ok(out.flush()?),
            None => Ok(()),
        }
    }

    fn write(&mut self, buffer: &[u8]) -> Result<()> {
        let written = match &mut self.out {
            Some(out) => write_parts(&mut **out, &self.parts, &self.gathered, buffer),
            None => Ok(()),
        };
        // After an error it is unknown what was written, so nothing is written again.
        self.gathered.clear();
        self.parts.clear();
        written?;
        self.progress.wrote(std::mem::take(&mut self.waiting));
        Ok(())
    }
}

fn write_parts(out: &mut dyn Write, parts: &[Part], gathered: &[u8], buffer: &[u8]) -> io::Result<()> {
    let slice = |part: &Part| match part {
        Part::Gathered(range) => IoSlice::new(&gathered[range.clone()]),
        Part::Block(range) => IoSlice::new(&buffer[range.clone()]),
    };
    for parts in parts.chunks(PARTS_PER_CALL) {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(slice).collect();
        write_all(out, &mut slices)?;
    }
    Ok(())
}

/// Writes all slices, like `Write::write_all_vectored`, which is not stable.
fn write_all(out: &mut dyn Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty slices would look like the end.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match out.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
