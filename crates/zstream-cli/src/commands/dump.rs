//! `zstream dump`: the records of a stream as OpenZFS's `zstream dump` prints them.
//!
//! Every line is a function of one record, and its text is an interface: people parse it. What OpenZFS
//! gets wrong is right here: streams of the other byte order, names of more than 224 bytes, and a wrong
//! checksum or a missing end gives exit code 1. So does a record that breaks a rule of receivers, as in OpenZFS's development branch (2026).

use std::io::{self, Write};
use std::path::PathBuf;

use zstream_format::judge::{self, Limits, Terms};
use zstream_format::nvlist::NvList;
use zstream_format::record::{Begin, Body, HEADER_LEN, RecordType};
use zstream_format::stream::parallel::ParallelReader;
use zstream_format::stream::{Checking, Error, Fault, Record, Role, StreamReader};

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// The options of `zstream dump`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one line per record; -vv also prints checksums
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Do not compute checksums; check only the structure of the stream
    #[arg(short = 'C', long)]
    no_checksums: bool,
    /// Also print payloads in hex and ASCII; implies -vv
    #[arg(short, long)]
    dump: bool,
    /// Stream file, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input = Input::open(self.file.as_deref())?;
        let mut dump = Dump {
            out: output::same_text()?,
            verbosity: if self.dump { 2 } else { self.verbose },
            payloads: self.dump,
            totals: Totals::default(),
            output_error: None,
            terms: None,
            first_bad_list: None,
        };
        let outcome = if !self.no_checksums {
            let mut reader = ParallelReader::new(input.into_read());
            reader.for_each(|record| dump.record(record)).map(|()| reader.padding())
        } else if let (false, Some(file)) = (self.dump, input.regular_file()) {
            StreamReader::seekable(file)
                .map_err(|error| Failure::new(format_args!("cannot read: {error}")))
                .map(|mut reader| dump.headers(&mut reader).map(|()| reader.padding()))?
        } else {
            let mut reader = StreamReader::new(input.into_read()).checking(Checking::Shape);
            let outcome = if self.dump { dump.records(&mut reader) } else { dump.headers(&mut reader) };
            outcome.map(|()| reader.padding())
        };
        note_padding(self.file.as_deref(), *outcome.as_ref().unwrap_or(&0));
        dump.finish(outcome.map(|_| ()))
    }
}

/// A dump in progress.
struct Dump<W> {
    out: W,
    verbosity: u8,
    payloads: bool,
    totals: Totals,
    /// An error of writing the output, not of the stream.
    output_error: Option<io::Error>,
    /// What holds for the records of the substream.
    terms: Option<Terms>,
    /// An unreadable nvlist; the rest is shown all the same.
    first_bad_list: Option<Error>,
}

impl<W: Write> Dump<W> {
    fn records<R: io::Read>(&mut self, reader: &mut StreamReader<R>) -> Result<(), Error> {
        while let Some(record) = reader.next()? {
            self.record(&record).map_err(|fault| Error::new(fault, record.place))?;
        }
        Ok(())
    }

    fn headers<R: io::Read>(&mut self, reader: &mut StreamReader<R>) -> Result<(), Error> {
        while let Some(record) = reader.next_header()? {
            self.record(&record).map_err(|fault| Error::new(fault, record.place))?;
        }
        Ok(())
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
            _ if self.verbosity == 0 => return Ok(()),
            body => line(&mut self.out, body)?,
        }
        if self.payloads {
            hex(&mut self.out, record.payload)?;
        }
        if self.verbosity > 1 {
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
        if self.verbosity > 0 {
            writeln!(out)?;
        }
        if !record.payload.is_empty() {
            match NvList::decode(record.payload) {
                Ok(decoded) => out.write_all(&decoded.list.print())?,
                Err(error) => {
                    let error = Error::new(Fault::Other(error.into()), record.place);
                    self.first_bad_list.get_or_insert(error);
                }
            }
        }
        Ok(())
    }

    /// Prints the summary, of as much as was read.
    fn finish(mut self, outcome: Result<(), Error>) -> Result<(), Failure> {
        if let Some(error) = self.output_error {
            return Err(Failure::output(&error));
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
        last_words().map_err(|error| Failure::output(&error))?;
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
#[derive(Default)]
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

/// Bytes as hex digits without anything between them.
struct Digits<'a>(&'a [u8]);

impl std::fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The line of a record other than BEGIN and END.
#[expect(clippy::too_many_lines, reason = "a table: the line of each type of record")]
fn line(out: &mut impl Write, body: &Body) -> io::Result<()> {
    match body {
        Body::Begin(_) | Body::End(_) => Ok(()),
        Body::Object(b) => writeln!(
            out,
            "OBJECT object = {} type = {} bonustype = {} blksz = {} bonuslen = {} dn_slots = {} \
             raw_bonuslen = {} flags = {} maxblkid = {} indblkshift = {} nlevels = {} nblkptr = {}",
            b.object.0,
            b.object_type.0,
            b.bonus_type.0,
            b.block_size,
            b.bonus_len,
            b.dnode_slots,
            b.raw_bonus_len,
            b.flags.bits(),
            b.max_block_id,
            b.indirect_block_shift,
            b.levels,
            b.block_pointers,
        ),
        Body::FreeObjects(b) => {
            writeln!(out, "FREEOBJECTS firstobj = {} numobjs = {}", b.first_object.0, b.object_count)
        }
        Body::Write(b) => writeln!(
            out,
            "WRITE object = {} type = {} checksum type = {} compression type = {} flags = {} offset = {} \
             logical_size = {} compressed_size = {} payload_size = {} props = {:x} salt = {} iv = {} mac = {}",
            b.object.0,
            b.object_type.0,
            b.checksum_type.0,
            b.compression.0,
            b.flags.bits(),
            b.offset,
            b.logical_size,
            b.compressed_size,
            b.payload_len(),
            b.key_prop,
            Digits(&b.salt),
            Digits(&b.iv),
            Digits(&b.mac),
        ),
        Body::WriteByref(b) => writeln!(
            out,
            "WRITE_BYREF object = {} checksum type = {} props = {:x} offset = {} length = {} toguid = {:x} \
             refguid = {:x} refobject = {} refoffset = {}",
            b.object.0,
            b.checksum_type.0,
            b.key_prop,
            b.offset,
            b.length,
            b.to_guid.0,
            b.ref_guid.0,
            b.ref_object.0,
            b.ref_offset,
        ),
        Body::Free(b) => writeln!(
            out,
            "FREE object = {} offset = {} length = {}",
            b.object.0,
            b.offset,
            b.length.cast_signed(),
        ),
        Body::Spill(b) => writeln!(
            out,
            "SPILL block for object = {} length = {} flags = {} compression type = {} compressed_size = {} \
             payload_size = {} salt = {} iv = {} mac = {}",
            b.object.0,
            b.length,
            b.flags.bits(),
            b.compression.0,
            b.compressed_size,
            b.payload_len(),
            Digits(&b.salt),
            Digits(&b.iv),
            Digits(&b.mac),
        ),
        Body::WriteEmbedded(b) => writeln!(
            out,
            "WRITE_EMBEDDED object = {} offset = {} length = {} toguid = {:x} comp = {} etype = {} \
             lsize = {} psize = {}",
            b.object.0,
            b.offset,
            b.length,
            b.to_guid.0,
            b.compression.0,
            b.embedded_type,
            b.logical_size,
            b.physical_size,
        ),
        Body::ObjectRange(b) => writeln!(
            out,
            "OBJECT_RANGE firstobj = {} numslots = {} flags = {} salt = {} iv = {} mac = {}",
            b.first_object.0,
            b.slot_count,
            b.flags.bits(),
            Digits(&b.salt),
            Digits(&b.iv),
            Digits(&b.mac),
        ),
        Body::Redact(b) => {
            writeln!(out, "REDACT object = {} offset = {} length = {}", b.object.0, b.offset, b.length)
        }
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Bytes of a line of a payload, and of the groups in it.
const LINE_BYTES: usize = 16;
const GROUP_BYTES: usize = 4;
/// Where the text begins in a line of a payload.
const TEXT_COLUMN: usize = 54;

/// A payload, 16 bytes to the line: in hex, then as text.
fn hex(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let mut line = Vec::with_capacity(TEXT_COLUMN + LINE_BYTES + LINE_BYTES / GROUP_BYTES);
    for bytes in payload.chunks(LINE_BYTES) {
        line.clear();
        for group in bytes.chunks(GROUP_BYTES) {
            line.push(b' ');
            for byte in group {
                line.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)], b' ']);
            }
        }
        line.resize(TEXT_COLUMN, b' ');
        for (index, group) in bytes.chunks(GROUP_BYTES).enumerate() {
            if index > 0 {
                line.push(b' ');
            }
            line.extend(group.iter().map(|&byte| if (b' '..=b'~').contains(&byte) { byte } else { b'.' }));
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}
