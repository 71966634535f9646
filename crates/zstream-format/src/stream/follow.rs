//! The processing of records that all readers share.

use crate::checksum::Checksum;
use crate::place::Place;
use crate::record::{HEADER_LEN, Header, RecordType};
use crate::stream::{Chain, Fault, Role};

/// The state of a reader: the structure of the stream, the running sum, and the verified length.
#[derive(Clone, Debug, Default)]
pub(super) struct Follower {
    pub(super) chain: Chain,
    /// The sum after the last record.
    sum: Checksum,
    pub(super) offset: u64,
    index: u64,
    pub(super) verified: u64,
    /// Zeros after the last END.
    pub(super) padding: u64,
}

/// A record whose header was validated, but whose payload was not yet processed.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) header: Header,
    pub(super) role: Role,
    pub(super) payload_len: usize,
    /// The sum after byte 279 of the header; zero if sums are not computed.
    pub(super) inside: Checksum,
}

impl Follower {
    pub(super) fn place(&self) -> Place {
        Place { offset: self.offset, index: self.index, record: None }
    }

    /// Validates a header and advances the chain past it. `sum` adds the first 280 bytes of the header to
    /// its argument; it is `None` if sums are not verified.
    pub(super) fn judge(
        &mut self,
        bytes: [u8; HEADER_LEN],
        place: &mut Place,
        sum: Option<impl FnOnce(Checksum, &Header) -> Checksum>,
    ) -> Result<Judged, Fault> {
        let header = self.chain.header(bytes)?;
        place.record = header.record_type();
        let mut inside = Checksum::default();
        if let Some(sum) = sum {
            let before = if self.chain.restarts_at(&header) { Checksum::default() } else { self.sum };
            inside = sum(before, &header);
            self.chain.check(&header, before, inside)?;
            if place.record != Some(RecordType::Begin) && !header.trailer().is_zero() {
                self.verified = self.offset + HEADER_LEN as u64;
            }
        }
        let payload_len = self.chain.payload_len(&header)?;
        let role = self.chain.advance(&header)?;
        Ok(Judged { header, role, payload_len, inside })
    }

    /// Advances past a record; `behind` is the sum after its payload, or `None` if sums are not verified.
    pub(super) fn pass(&mut self, role: Role, payload_len: usize, behind: Option<Checksum>) {
        self.offset += (HEADER_LEN + payload_len) as u64;
        self.index += 1;
        if let Some(sum) = behind {
            self.sum = sum;
            if matches!(role, Role::PackageHeaderEnd | Role::PackageEnd | Role::SubstreamEnd) {
                self.verified = self.offset;
            }
        }
    }
}
