//! Writing a stream record by record.

use std::io::Write;

use crate::checksum::Checksum;
use crate::fletcher::Fletcher4;
use crate::place::Place;
use crate::record::{Body, HEADER_LEN, Header, RecordType, TRAILER_OFFSET};
use crate::stream::{Chain, Error, Fault, Role, Section};

/// The rule for checksums at the end of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trailers {
    /// Records that are given with a checksum get one; zero stays zero. Unchanged records give unchanged bytes.
    #[default]
    AsGiven,
    /// Records get one as from current senders: all but BEGIN and the ENDs of a package.
    Modern,
    /// No record gets one, as before 2015.
    Never,
}

/// A builder of headers: it tracks the structure of the stream and computes the checksums in its records.
///
/// [`StreamWriter`] combines it with a destination. Use a `Sealer` to write in other ways, such as many records in one call.
#[derive(Debug, Default)]
pub struct Sealer {
    trailers: Trailers,
    chain: Chain,
    sum: Checksum,
    offset: u64,
    index: u64,
    failed: bool,
}

impl Sealer {
    /// Creates a sealer at the start of a stream.
    #[must_use]
    pub fn new(trailers: Trailers) -> Self {
        Self { trailers, ..Self::default() }
    }

    /// Returns the header to write before its payload, with valid checksums. `payload_sum` is the fletcher-4 sum of the
    /// payload in the byte order of the stream, starting from zero, if it is known. It is not verified: with a wrong sum,
    /// readers refuse the stream.
    ///
    /// # Errors
    /// Fails if the record is not allowed at this position, and if its payload does not have the size that the header
    /// states. No further records are accepted then.
    pub fn seal(
        &mut self,
        header: &Header,
        payload: &[u8],
        payload_sum: Option<Checksum>,
    ) -> Result<Header, Error> {
        let place = Place { record: header.record_type(), ..self.place() };
        let outcome = if std::mem::replace(&mut self.failed, true) {
            Err(Fault::GivenUp)
        } else {
            self.seal_record(header, payload, payload_sum)
        };
        self.failed = outcome.is_err();
        outcome.map_err(|fault| Error::new(fault, place))
    }

    fn seal_record(
        &mut self,
        header: &Header,
        payload: &[u8],
        payload_sum: Option<Checksum>,
    ) -> Result<Header, Fault> {
        let expected = self.chain.payload_len(header)?;
        if payload.len() != expected {
            return Err(Fault::PayloadLen { found: payload.len() as u64, expected: expected as u64 });
        }
        if self.chain.restarts_at(header) {
            self.sum = Checksum::default();
        }
        let closes_package = self.chain.section() == Section::Package;
        let mut header = header.clone();
        let role = self.chain.advance(&header)?;
        if let Some(Body::End(mut end)) = header.body() {
            end.checksum = if closes_package { Checksum::default() } else { self.sum };
            header.set_body(end);
        }
        let mut sum = Fletcher4::from_state(self.sum, header.order());
        sum.update(&header.as_bytes()[..TRAILER_OFFSET]);
        if header.record_type() != Some(RecordType::Begin) {
            let wanted = match self.trailers {
                Trailers::AsGiven => !header.trailer().is_zero(),
                Trailers::Modern => !matches!(role, Role::PackageHeaderEnd | Role::PackageEnd),
                Trailers::Never => false,
            };
            header.set_trailer(if wanted { sum.value() } else { Checksum::default() });
        }
        sum.update(&header.as_bytes()[TRAILER_OFFSET..]);
        match payload_sum {
            Some(payload_sum) => sum.append(payload_sum, payload.len() as u64),
            None => sum.update(payload),
        }
        self.sum = if matches!(role, Role::PackageHeaderEnd | Role::PackageEnd | Role::SubstreamEnd) {
            Checksum::default()
        } else {
            sum.value()
        };
        self.offset += (HEADER_LEN + payload.len()) as u64;
        self.index += 1;
        Ok(header)
    }

    /// The position of the next record.
    fn place(&self) -> Place {
        Place { offset: self.offset, index: self.index, record: None }
    }

    /// The size of the records so far, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The position of the next record in the structure of the stream.
    #[cfg(feature = "gzip")]
    pub(crate) fn section(&self) -> Section {
        self.chain.section()
    }
}

/// A writer of records that computes their checksums.
pub struct StreamWriter<W> {
    sink: W,
    sealer: Sealer,
}

impl<W: Write> StreamWriter<W> {
    /// Creates a writer at the start of a stream.
    pub fn new(sink: W) -> Self {
        Self { sink, sealer: Sealer::default() }
    }

    /// Sets the rule for checksums at the end of headers.
    #[must_use]
    pub fn trailers(mut self, trailers: Trailers) -> Self {
        self.sealer.trailers = trailers;
        self
    }

    /// Writes a record with valid checksums; those in `header` are replaced.
    ///
    /// # Errors
    /// Fails if the record is not allowed at this position, if its payload does not have the size that the
    /// header states, and if the destination fails. No further records are accepted then.
    pub fn write(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        let place = Place { record: header.record_type(), ..self.sealer.place() };
        let sealed = self.sealer.seal(header, payload, None)?;
        let written = self.sink.write_all(sealed.as_bytes()).and_then(|()| self.sink.write_all(payload));
        self.sealer.failed = written.is_err();
        written.map_err(|error| Error::new(Fault::Io(error), place))
    }

    /// The number of bytes written so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.sealer.offset()
    }

    /// The position of the next record in the structure of the stream.
    #[cfg(feature = "gzip")]
    pub(crate) fn section(&self) -> Section {
        self.sealer.section()
    }

    /// Flushes the destination and returns it.
    ///
    /// # Errors
    /// Fails if no complete stream was written, and if flushing fails.
    pub fn finish(mut self) -> Result<W, Error> {
        let place = self.sealer.place();
        self.sealer.chain.finish().map_err(|fault| Error::new(fault, place))?;
        self.sink.flush().map_err(|error| Error::new(Fault::Io(error), place))?;
        Ok(self.sink)
    }

    /// Returns the destination without flushing it, for a stream that intentionally has no END.
    pub fn into_inner(self) -> W {
        self.sink
    }
}
