//! The shape of a stream and the rules of its checksum, one record after the other.
//!
//! The running sum Z starts at zero with each BEGIN, and again behind each END. It takes in every
//! byte: the first 280 of a header, its last 32 as they stand, the payload. What is compared:
//!
//! | record | bytes 280..312 | `drr_end.drr_checksum` |
//! | --- | --- | --- |
//! | BEGIN | end of the name | |
//! | END behind a package's header | zero, or Z | Z before END |
//! | END of a substream | Z, or zero: not checked | Z before END |
//! | END of a package | zero, or Z | zero |
//! | any other | Z, or zero: not checked | |
//!
//! Senders before 2015 wrote no trailers, so zero means "no checksum here". A payload is vouched for
//! by the record behind it. Where a trailer is zero in an END nothing covers the rest of that record,
//! and it has to be zero (the guid may be that of BEGIN).

use crate::checksum::Checksum;
use crate::flags::HeaderType;
use crate::ids::Guid;
use crate::order::ByteOrder;
use crate::record::{
    BODY_OFFSET, Begin, Body, End, HEADER_LEN, Header, MAX_BEGIN_PAYLOAD_BYTES, MAX_BLOCK_BYTES,
    MAX_BONUS_BYTES, MAX_EMBEDDED_BYTES, RecordType, TRAILER_OFFSET,
};
use crate::stream::Fault;

/// Where in the shape of a stream the next record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Before the first stream, or behind a whole one.
    Outside,
    /// Behind a package's BEGIN: its END comes next.
    PackageHeader,
    /// In a package, between its substreams.
    Package,
    /// In a substream; `packaged` if that lies in a package.
    Substream {
        /// Whether the substream lies in a package.
        packaged: bool,
    },
}

/// What a record is for, which for BEGIN and END depends on where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// BEGIN of a package.
    PackageBegin,
    /// END behind a package's BEGIN.
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

/// Follows the records of a stream and judges their order, sizes and checksums.
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
    /// Where the next record stands.
    #[must_use]
    pub fn section(&self) -> Section {
        self.section
    }

    /// The byte order of the stream one is in.
    #[must_use]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Whole streams (packages count as one) so far.
    #[must_use]
    pub fn whole_streams(&self) -> u64 {
        self.streams
    }

    /// Takes the bytes of the next header: finds the byte order where a BEGIN may stand.
    ///
    /// # Errors
    /// [`Fault::Magic`] where a stream has to begin and does not.
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
            // Inside a substream the bytes may be a BEGIN's by chance.
            _ => {}
        }
        Ok(Header::from_bytes(bytes, self.order))
    }

    /// True after a whole stream, where the input may end or another stream begin.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.section == Section::Outside && self.streams > 0
    }

    /// Whether the sum starts anew with this record.
    #[must_use]
    pub fn restarts_at(&self, header: &Header) -> bool {
        header.record_type() == Some(RecordType::Begin) || self.section == Section::Package
    }

    /// Judges the checksums of a header. `before` is the sum before its first byte (zero where it
    /// [restarts](Self::restarts_at)), `inside` the sum behind its byte 279.
    ///
    /// # Errors
    /// A checksum that is wrong, or bytes not zero that no checksum covers.
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

    /// What holds for the bytes of an END that no trailer covers.
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

    /// Judges the size of the payload behind a header.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] when it is above what a record of its type can have.
    pub fn payload_len(&self, header: &Header) -> Result<usize, Fault> {
        let (what, limit) = match header.record_type() {
            Some(RecordType::Begin) => ("the nvlist behind BEGIN", MAX_BEGIN_PAYLOAD_BYTES.into()),
            Some(RecordType::Object) => ("the bonus buffer", MAX_BONUS_BYTES.into()),
            Some(RecordType::WriteEmbedded) => ("the embedded block", MAX_EMBEDDED_BYTES.into()),
            _ => ("the block", MAX_BLOCK_BYTES),
        };
        match header.payload_len() {
            found if found > limit => Err(Fault::TooLarge { what, found, limit }),
            len => Ok(len as usize),
        }
    }

    /// Moves on over a record.
    ///
    /// # Errors
    /// When a record of this type cannot stand here. Nothing has moved then.
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
            (Section::PackageHeader, _) => return unexpected("END behind the header of a package"),
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

    /// Judges that the input may end here.
    ///
    /// # Errors
    /// [`Fault::Empty`] or [`Fault::NoEnd`].
    pub fn finish(&self) -> Result<(), Fault> {
        match self.section {
            Section::Outside if self.streams == 0 => Err(Fault::Empty),
            Section::Outside => Ok(()),
            _ => Err(Fault::NoEnd),
        }
    }
}
