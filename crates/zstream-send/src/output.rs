//! Where records go: into a stream, or only into a count.

use std::io::{BufWriter, Write};

use zstream_format::checksum::Checksum;
use zstream_format::record::{Body, HEADER_LEN, Header};
use zstream_format::stream::{StreamWriter, Trailers};

use crate::error::{Fault, Result};
use crate::form::ORDER;
use crate::progress::Progress;

/// Bytes that are gathered before they are written. Larger payloads go past the buffer.
const BUFFER_BYTES: usize = 128 << 10;

/// A payload, and its sum where it is known.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) sum: Option<Checksum>,
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, sum: None }
    }
}

/// Takes records.
pub(crate) struct Output<'a> {
    writer: Option<StreamWriter<BufWriter<&'a mut dyn Write>>>,
    progress: &'a Progress,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl<'a> Output<'a> {
    /// Writes to `out`, or, without one, only counts.
    pub(crate) fn new(out: Option<&'a mut dyn Write>, progress: &'a Progress) -> Self {
        let writer = out.map(|out| {
            StreamWriter::new(BufWriter::with_capacity(BUFFER_BYTES, out)).trailers(Trailers::Modern)
        });
        Self { writer, progress, bytes: 0, records: 0 }
    }

    /// A record without payload.
    pub(crate) fn record(&mut self, body: impl Into<Body>) -> Result<()> {
        self.header(Header::new(body, ORDER), Payload::from(&[][..]))
    }

    /// A record and its payload, which where nothing is written may be missing.
    pub(crate) fn record_with(&mut self, body: impl Into<Body>, payload: Payload<'_>) -> Result<()> {
        self.header(Header::new(body, ORDER), payload)
    }

    /// A record that is built already.
    pub(crate) fn header(&mut self, header: Header, payload: Payload<'_>) -> Result<()> {
        let bytes = HEADER_LEN as u64 + header.payload_len();
        if let Some(writer) = &mut self.writer {
            match payload.sum {
                Some(sum) => writer.write_summed(&header, payload.bytes, sum),
                None => writer.write(&header, payload.bytes),
            }
            .map_err(fault)?;
        }
        self.bytes += bytes;
        self.records += 1;
        self.progress.wrote(bytes);
        Ok(())
    }

    /// Writes out what is still in the buffer.
    pub(crate) fn flush(self) -> Result<()> {
        match self.writer {
            Some(writer) => Ok(writer.into_inner().flush()?),
            None => Ok(()),
        }
    }
}

fn fault(error: zstream_format::stream::Error) -> Fault {
    match error.into_fault() {
        zstream_format::stream::Fault::Io(error) => Fault::Output(error),
        other => Fault::Invalid(other.to_string()),
    }
}
