//! Writing a stream record by record.

use std::io::Write;

use crate::checksum::Checksum;
use crate::fletcher::Fletcher4;
use crate::place::Place;
use crate::record::{Body, HEADER_LEN, Header, RecordType, TRAILER_OFFSET};
use crate::stream::{Chain, Error, Fault, Role, Section};

/// Which records get a checksum at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trailers {
    /// Those that come with one: what was zero stays zero. An edit that changes nothing gives the same bytes.
    #[default]
    AsGiven,
    /// Those that a sender of today gives one: all but BEGIN and the ENDs of a package.
    Modern,
    /// None, as before 2015.
    Never,
}

/// Completes headers: follows the shape of the stream and computes the checksums that its records carry.
///
/// [`StreamWriter`] is one with a destination. Whoever writes by other means (many records with one call) takes this.
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
    /// At the start of a stream.
    #[must_use]
    pub fn new(trailers: Trailers) -> Self {
        Self { trailers, ..Self::default() }
    }

    /// The header as it is to be written, before its payload; its own checksums are replaced by the right ones.
    /// `payload_sum` is the payload's fletcher-4 sum from the zero state on, in the order of the stream, where it is known:
    /// it is not computed again, so that a wrong one makes a stream that nobody accepts.
    ///
    /// # Errors
    /// When the record cannot stand here or its payload has not the length that the header says. There can be no further
    /// records then.
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

    /// Where the next record will be.
    fn place(&self) -> Place {
        Place { offset: self.offset, index: self.index, record: None }
    }

    /// Bytes of the records so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where in the shape of the stream the next record stands.
    #[must_use]
    pub fn section(&self) -> Section {
        self.chain.section()
    }
}

/// Writes records to anything that writes, and computes their checksums.
pub struct StreamWriter<W> {
    sink: W,
    sealer: Sealer,
}

impl<W: Write> StreamWriter<W> {
    /// A writer at the start of a stream.
    pub fn new(sink: W) -> Self {
        Self { sink, sealer: Sealer::default() }
    }

    /// The same writer with another rule for trailers.
    #[must_use]
    pub fn trailers(mut self, trailers: Trailers) -> Self {
        self.sealer.trailers = trailers;
        self
    }

    /// Writes a record. The checksums in `header` are replaced by the right ones.
    ///
    /// # Errors
    /// When the record cannot stand here, its payload has not the length that the header says, or the
    /// destination fails. Nothing more can be written then.
    pub fn write(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        let place = Place { record: header.record_type(), ..self.sealer.place() };
        let sealed = self.sealer.seal(header, payload, None)?;
        let written = self.sink.write_all(sealed.as_bytes()).and_then(|()| self.sink.write_all(payload));
        self.sealer.failed = written.is_err();
        written.map_err(|error| Error::new(Fault::Io(error), place))
    }

    /// Bytes written so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.sealer.offset()
    }

    /// Where in the shape of the stream the next record stands.
    #[must_use]
    pub fn section(&self) -> Section {
        self.sealer.section()
    }

    /// Flushes the destination and gives it back.
    ///
    /// # Errors
    /// When no whole stream was written, or flushing fails.
    pub fn finish(mut self) -> Result<W, Error> {
        let place = self.sealer.place();
        self.sealer.chain.finish().map_err(|fault| Error::new(fault, place))?;
        self.sink.flush().map_err(|error| Error::new(Fault::Io(error), place))?;
        Ok(self.sink)
    }

    /// Gives the destination back as it is, flushed or not: for a stream that has no END on purpose.
    pub fn into_inner(self) -> W {
        self.sink
    }
}
