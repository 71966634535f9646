//! The records of a stream as text, in the format of OpenZFS's `zstream dump`.
//!
//! Every line is a function of one record, and its text is an interface: people parse it. What OpenZFS
//! gets wrong is right here: streams of the other byte order, names of more than 224 bytes, and a wrong
//! checksum or a missing end is an error. So is a record that breaks a rule of receivers, as in OpenZFS's development branch (2026).

mod line;

use std::io::{self, Read, Write};

use zstream_format::judge::{self, Limits, Terms};
use zstream_format::nvlist::NvList;
use zstream_format::record::{Begin, Body, HEADER_LEN, RecordType};
use zstream_format::stream::{Error as StreamError, Fault, ParallelReader, Record, Role, StreamReader};

use self::line::{hex, line};
use crate::error::{Error, Result};

/// The form of a [`Dump`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpOptions {
    /// 0 for a summary, 1 for a line for each record, 2 for their checksums, too.
    pub verbosity: u8,
    /// Payloads too, in hex and ASCII.
    pub payloads: bool,
}

/// A dump in progress, which writes text to `W`.
///
/// ```no_run
/// use std::fs::File;
/// use zstream::dump::{Dump, DumpOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut text = Vec::new();
/// let mut dump = Dump::new(&mut text, DumpOptions::default());
/// let outcome = dump.verify(File::open("backup.zfs")?);
/// dump.finish(outcome.map(drop))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Dump<W> {
    out: W,
    options: DumpOptions,
    totals: Totals,
    /// An error of writing the output, not of the stream.
    output_error: Option<io::Error>,
    /// What holds for the records of the substream.
    terms: Option<Terms>,
    /// An unreadable nvlist; the rest is shown all the same.
    first_bad_list: Option<StreamError>,
}

impl<W: Write> Dump<W> {
    /// A dump to `out`.
    #[must_use]
    pub fn new(out: W, options: DumpOptions) -> Self {
        Self {
            out,
            options,
            totals: Totals::default(),
            output_error: None,
            terms: None,
            first_bad_list: None,
        }
    }

    /// Dumps a stream and verifies its checksums. Returns the number of zeros that follow it.
    ///
    /// # Errors
    /// The fault of the stream. It is not reported in the dump before [`finish`](Self::finish).
    pub fn verify(&mut self, source: impl Read + Send) -> Result<u64, StreamError>
    where
        W: Send,
    {
        let mut reader = ParallelReader::new(source);
        reader.for_each(|record| self.record(record))?;
        Ok(reader.padding())
    }

    /// Dumps a stream with a reader that was prepared: one that seeks over payloads, for example. Without
    /// [`payloads`](DumpOptions::payloads) it is asked for headers only. Returns the number of zeros that follow the stream.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn read<R: Read>(&mut self, mut reader: StreamReader<R>) -> Result<u64, StreamError> {
        loop {
            let record = if self.options.payloads { reader.next()? } else { reader.next_header()? };
            let Some(record) = record else { break };
            self.record(&record).map_err(|fault| StreamError::new(fault, record.place))?;
        }
        Ok(reader.padding())
    }

    /// Prints one record. The dump ends at one that breaks a rule of receivers, after it was printed.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        self.totals.add(record);
        self.print(record).map_err(|error| {
            self.output_error = Some(error);
            Fault::GivenUp
        })?;
        match (record.role, record.header.body(), &self.terms) {
            (Role::SubstreamBegin, Some(Body::Begin(begin)), _) => {
                self.terms = Some(Terms::new(&begin, Limits::default()));
            }
            (Role::Data, Some(body), Some(terms)) => judge::alone(&body, terms)?,
            _ => {}
        }
        Ok(())
    }

    fn print(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Some(body) = record.header.body() else { return Ok(()) };
        match &body {
            Body::Begin(begin) => return self.begin(begin, record),
            Body::End(end) => writeln!(self.out, "END checksum = {}", end.checksum)?,
            _ if self.options.verbosity == 0 => return Ok(()),
            body => line(&mut self.out, body)?,
        }
        if self.options.payloads {
            hex(&mut self.out, record.payload)?;
        }
        if self.options.verbosity > 1 {
            writeln!(self.out, "    checksum = {}", record.header.trailer())?;
        }
        Ok(())
    }

    fn begin(&mut self, begin: &Begin, record: &Record<'_>) -> io::Result<()> {
        let out = &mut self.out;
        writeln!(out, "BEGIN record")?;
        writeln!(out, "\thdrtype = {}", begin.version_info.0 & 3)?;
        writeln!(out, "\tfeatures = {:x}", begin.version_info.features().bits())?;
        writeln!(out, "\tmagic = {:x}", begin.magic)?;
        writeln!(out, "\tcreation_time = {:x}", begin.creation_time)?;
        writeln!(out, "\ttype = {}", begin.objset_type)?;
        writeln!(out, "\tflags = {:#x}", begin.flags.bits())?;
        writeln!(out, "\ttoguid = {:x}", begin.to_guid.0)?;
        writeln!(out, "\tfromguid = {:x}", begin.from_guid.0)?;
        write!(out, "\ttoname = ")?;
        out.write_all(begin.name())?;
        writeln!(out, "\n\tpayloadlen = {}", record.header.payload_len_field())?;
        if self.options.verbosity > 0 {
            writeln!(out)?;
        }
        if !record.payload.is_empty() {
            match NvList::decode(record.payload) {
                Ok(decoded) => out.write_all(&decoded.list.print())?,
                Err(error) => {
                    let error = StreamError::new(Fault::Other(error.into()), record.place);
                    self.first_bad_list.get_or_insert(error);
                }
            }
        }
        Ok(())
    }

    /// Writes the summary, of as much as was read, and flushes the output. `outcome` is the result of reading.
    ///
    /// # Errors
    /// [`Error::Output`]; the fault of the stream.
    pub fn finish(mut self, outcome: Result<(), StreamError>) -> Result<()> {
        if let Some(error) = self.output_error {
            return Err(Error::Output(error));
        }
        let mut last_words = || {
            if let Err(error) = &outcome {
                remark(&mut self.out, error.fault())?;
                self.totals.add_refused(error.fault());
            }
            if !outcome.as_ref().is_err_and(|error| leaves_no_summary(error.fault())) {
                self.totals.print(&mut self.out)?;
            }
            self.out.flush()
        };
        last_words().map_err(Error::Output)?;
        outcome?;
        self.first_bad_list.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The lines that OpenZFS prints for a fault, on standard output within the dump.
fn remark(out: &mut impl Write, fault: &Fault) -> io::Result<()> {
    match fault {
        Fault::Trailer { computed, .. } => {
            writeln!(out, "Incorrect checksum in record header.")?;
            writeln!(out, "Expected checksum = {computed}")
        }
        Fault::EndChecksum { computed, found } => {
            writeln!(out, "Expected checksum differs from checksum in stream.")?;
            writeln!(out, "Expected checksum = {computed}")?;
            writeln!(out, "END checksum = {found}")
        }
        Fault::RecordType(number) => {
            writeln!(out, "INVALID record found: type {number:#x}")?;
            writeln!(out, "Aborting.")
        }
        _ => Ok(()),
    }
}

/// True if OpenZFS's dump ends at such a fault without a summary.
fn leaves_no_summary(fault: &Fault) -> bool {
    matches!(fault, Fault::Magic { .. } | Fault::RecordType(_))
}

/// The number of records of each type, and the bytes of their payloads.
#[derive(Debug, Default)]
struct Totals {
    counts: [u64; RecordType::ALL.len()],
    payload_bytes: [u64; RecordType::ALL.len()],
    /// Bytes that count only towards the length of the stream.
    other_bytes: u64,
}

impl Totals {
    fn add(&mut self, record: &Record<'_>) {
        if let Some(kind) = record.header.record_type() {
            self.counts[kind as usize] += 1;
            self.payload_bytes[kind as usize] += record.header.payload_len();
        }
    }

    /// Counts the record at which the dump ends, as OpenZFS's summary does.
    fn add_refused(&mut self, fault: &Fault) {
        match fault {
            Fault::Trailer { .. } => self.other_bytes += HEADER_LEN as u64,
            Fault::EndChecksum { .. } => self.counts[RecordType::End as usize] += 1,
            _ => {}
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        // OBJECT_RANGE and REDACT came later and were given no line.
        const LINES: [RecordType; 9] = [
            RecordType::Begin,
            RecordType::End,
            RecordType::Object,
            RecordType::FreeObjects,
            RecordType::Write,
            RecordType::WriteByref,
            RecordType::WriteEmbedded,
            RecordType::Free,
            RecordType::Spill,
        ];
        writeln!(out, "SUMMARY:")?;
        for kind in LINES {
            let (count, bytes) = (self.counts[kind as usize], self.payload_bytes[kind as usize]);
            writeln!(out, "\tTotal DRR_{kind} records = {count} ({bytes} bytes)")?;
        }
        let records: u64 = self.counts.iter().sum();
        let payload: u64 = self.payload_bytes.iter().sum();
        let overhead = records * HEADER_LEN as u64;
        let total = payload + overhead + self.other_bytes;
        writeln!(out, "\tTotal records = {records}")?;
        writeln!(out, "\tTotal payload size = {payload} ({payload:#x})")?;
        writeln!(out, "\tTotal header overhead = {overhead} ({overhead:#x})")?;
        writeln!(out, "\tTotal stream length = {total} ({total:#x})")
    }
}
