//! The structure of a stream and the rules of its checksums, record by record.
//!
//! The running sum Z starts at zero with each BEGIN, and again after each END. It covers every byte: the
//! first 280 of a header, its last 32 as stored, and the payload. These values are compared:
//!
//! | record | bytes 280..312 | `drr_end.drr_checksum` |
//! | --- | --- | --- |
//! | BEGIN | end of the name | |
//! | END after the header of a package | zero, or Z | Z before END |
//! | END of a substream | Z, or zero: not checked | Z before END |
//! | END of a package | zero, or Z | zero |
//! | any other | Z, or zero: not checked | |
//!
//! Senders before 2015 wrote no trailers, so zero means that there is no checksum. A payload is covered
//! by the checksum in the next record. If the trailer of an END is zero, no checksum covers the rest of that
//! record, and it must be zero (the guid may be that of BEGIN).

use crate::checksum::Checksum;
use crate::flags::HeaderType;
use crate::ids::Guid;
use crate::order::ByteOrder;
use crate::record::{
    BODY_OFFSET, Begin, Body, End, HEADER_LEN, Header, MAX_BEGIN_PAYLOAD_BYTES, MAX_BLOCK_BYTES,
    MAX_BONUS_BYTES, MAX_EMBEDDED_BYTES, RecordType, TRAILER_OFFSET,
};
use crate::stream::Fault;

/// The position of the next record in the structure of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Before the first stream, or after a complete one.
    Outside,
    /// After the BEGIN of a package, before its END.
    PackageHeader,
    /// In a package, between its substreams.
    Package,
    /// In a substream.
    Substream {
        /// `true` if the substream is in a package.
        packaged: bool,
    },
}

/// The role of a record, which for BEGIN and END depends on their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// BEGIN of a package.
    PackageBegin,
    /// END of the header of a package.
    PackageHeaderEnd,
    /// END of a package.
    PackageEnd,
    /// BEGIN of a substream.
    SubstreamBegin,
    /// END of a substream.
    SubstreamEnd,
    /// A record of a substream.
    Data,
}

/// A state machine that validates the order, the sizes and the checksums of the records of a stream.
#[derive(Clone, Debug)]
pub struct Chain {
    section: Section,
    order: ByteOrder,
    to_guid: Guid,
    streams: u64,
}

fn magic(bytes: &[u8; HEADER_LEN]) -> Fault {
    Fault::Magic { found: ByteOrder::Little.u64(&bytes[BODY_OFFSET..]) }
}

impl Default for Chain {
    fn default() -> Self {
        Self { section: Section::Outside, order: ByteOrder::NATIVE, to_guid: Guid(0), streams: 0 }
    }
}

impl Chain {
    /// The position of the next record.
    #[must_use]
    pub(crate) fn section(&self) -> Section {
        self.section
    }

    /// The byte order of the current stream.
    #[must_use]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The number of complete streams so far; a package counts as one.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.streams
    }

    /// Reads the next header, and detects the byte order at a BEGIN.
    ///
    /// # Errors
    /// Returns [`Fault::Magic`] if the bytes are not a BEGIN where one is required.
    pub fn header(&mut self, bytes: [u8; HEADER_LEN]) -> Result<Header, Fault> {
        let begin = Header::begin_order(&bytes);
        match (self.section, begin) {
            (Section::Outside, Some(order)) => self.order = order,
            (Section::Outside, None) => return Err(magic(&bytes)),
            (Section::Package, Some(order))
                if Header::from_bytes(bytes, order).record_type() == Some(RecordType::Begin) =>
            {
                self.order = order;
            }
            (Section::Package, _)
                if Header::from_bytes(bytes, self.order).record_type() != Some(RecordType::End) =>
            {
                return Err(magic(&bytes));
            }
            // Inside a substream the bytes may equal the magic number by chance.
            _ => {}
        }
        Ok(Header::from_bytes(bytes, self.order))
    }

    /// Returns `true` after a complete stream, where the input may end or another stream begin.
    #[must_use]
    pub(crate) fn may_end(&self) -> bool {
        self.section == Section::Outside && self.streams > 0
    }

    /// Returns `true` if the sum restarts with this record.
    #[must_use]
    pub(crate) fn restarts_at(&self, header: &Header) -> bool {
        header.record_type() == Some(RecordType::Begin) || self.section == Section::Package
    }

    /// Verifies the checksums in a header. `before` is the sum before its first byte (zero if the sum
    /// restarts), `inside` the sum after its byte 279.
    ///
    /// # Errors
    /// Fails if a checksum does not match, and if a byte that no checksum covers is not zero.
    pub fn check(&self, header: &Header, before: Checksum, inside: Checksum) -> Result<(), Fault> {
        let kind = header.record_type();
        if kind == Some(RecordType::Begin) {
            return Ok(());
        }
        let trailer = header.trailer();
        if !trailer.is_zero() && trailer != inside {
            return Err(Fault::Trailer { computed: inside, found: trailer });
        }
        if kind != Some(RecordType::End) {
            return Ok(());
        }
        let end = End::parse(&header.as_bytes()[BODY_OFFSET..], header.order());
        let closes_package = self.section == Section::Package;
        if !closes_package && end.checksum != before || closes_package && !end.checksum.is_zero() {
            let computed = if closes_package { Checksum::default() } else { before };
            return Err(Fault::EndChecksum { computed, found: end.checksum });
        }
        if trailer.is_zero() { self.check_bare_end(header, &end) } else { Ok(()) }
    }

    /// Validates the bytes of an END that no trailer covers.
    fn check_bare_end(&self, header: &Header, end: &End) -> Result<(), Fault> {
        let expected = if matches!(self.section, Section::Substream { .. }) { self.to_guid } else { Guid(0) };
        if end.to_guid != Guid(0) && end.to_guid != expected {
            return Err(Fault::EndGuid { found: end.to_guid.0, expected: expected.0 });
        }
        let bytes = header.as_bytes();
        let uncovered = (4..BODY_OFFSET).chain(BODY_OFFSET + End::LEN..TRAILER_OFFSET);
        match uncovered.map(|at| (at, bytes[at])).find(|(_, byte)| *byte != 0) {
            Some((at, found)) => Err(Fault::NotZero { at, found }),
            None => Ok(()),
        }
    }

    /// Validates the size of the payload of a record, and returns it.
    ///
    /// # Errors
    /// Returns [`Fault::TooLarge`] if it exceeds the limit for the type of the record.
    pub fn payload_len(&self, header: &Header) -> Result<usize, Fault> {
        let (what, limit) = match header.record_type() {
            Some(RecordType::Begin) => ("the nvlist after BEGIN", MAX_BEGIN_PAYLOAD_BYTES.into()),
            Some(RecordType::Object) => ("the bonus buffer", MAX_BONUS_BYTES.into()),
            Some(RecordType::WriteEmbedded) => ("the embedded block", MAX_EMBEDDED_BYTES.into()),
            _ => ("the block", MAX_BLOCK_BYTES),
        };
        match header.payload_len() {
            found if found > limit => Err(Fault::TooLarge { what, found, limit }),
            len => Ok(len as usize),
        }
    }

    /// Advances past a record.
    ///
    /// # Errors
    /// Fails if a record of this type is not allowed at this position. The state does not change then.
    pub fn advance(&mut self, header: &Header) -> Result<Role, Fault> {
        let Some(kind) = header.record_type() else {
            return Err(Fault::RecordType(header.type_number()));
        };
        let unexpected = |expected| Err(Fault::Unexpected { found: kind, expected });
        let (role, section) = match (self.section, kind) {
            (Section::Outside | Section::Package, RecordType::Begin) => match header.body() {
                Some(Body::Begin(begin)) => self.begin(&begin)?,
                _ => return unexpected("BEGIN"),
            },
            (Section::Outside, _) => return unexpected("BEGIN"),
            (Section::Package, RecordType::End) => (Role::PackageEnd, Section::Outside),
            (Section::Package, _) => return unexpected("BEGIN of a substream or END of the package"),
            (Section::PackageHeader, RecordType::End) => (Role::PackageHeaderEnd, Section::Package),
            (Section::PackageHeader, _) => return unexpected("END after the header of a package"),
            (Section::Substream { packaged }, RecordType::End) => {
                (Role::SubstreamEnd, if packaged { Section::Package } else { Section::Outside })
            }
            (Section::Substream { .. }, RecordType::Begin) => {
                return unexpected("a record of the substream or END");
            }
            (section @ Section::Substream { .. }, _) => (Role::Data, section),
        };
        if section == Section::Outside {
            self.streams += 1;
        }
        self.section = section;
        Ok(role)
    }

    fn begin(&mut self, begin: &Begin) -> Result<(Role, Section), Fault> {
        match begin.version_info.header_type() {
            HeaderType::Substream => {
                self.to_guid = begin.to_guid;
                Ok((Role::SubstreamBegin, Section::Substream { packaged: self.section == Section::Package }))
            }
            HeaderType::Package if self.section == Section::Package => Err(Fault::Unexpected {
                found: RecordType::Begin,
                expected: "BEGIN of a substream, not of a package",
            }),
            HeaderType::Package => Ok((Role::PackageBegin, Section::PackageHeader)),
            HeaderType::Invalid(number) => Err(Fault::HeaderType(number)),
        }
    }

    /// Checks that the input may end at this position.
    ///
    /// # Errors
    /// Returns [`Fault::Empty`] or [`Fault::NoEnd`].
    pub fn finish(&self) -> Result<(), Fault> {
        match self.section {
            Section::Outside if self.streams == 0 => Err(Fault::Empty),
            Section::Outside => Ok(()),
            _ => Err(Fault::NoEnd),
        }
    }
}
