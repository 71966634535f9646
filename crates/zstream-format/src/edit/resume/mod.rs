//! Going on with a stream whose file was cut short.
//!
//! `zfs send -t TOKEN` goes on from an object and an offset. [`find`] looks for the last such point in what
//! is left of a stream and makes the token; [`join()`] puts what is left and what the sender then gives
//! together to one whole stream, the one that an unbroken send would have given.
//!
//! What the sender gives when it goes on at offset F of object N:
//!
//! ```text
//!   BEGIN (RESUMING, with N and F)
//!   OBJECT_RANGE of N               raw streams only
//!   OBJECT N, FREE to its end, SPILL if that is not modified
//!   data of N from F on, objects behind N ...
//!   END
//! ```
//!
//! So a point is an OBJECT (N, 0), or a block of data (N, F); the record at the point is sent again, and
//! so is the head of its object. What precedes the point has to be vouched for by a checksum: that of the
//! record at the point, which covers all before it.
//!
//! A block that was cut into pieces of 128 KiB (sent without `-L` from larger blocks) is resumed at its
//! first piece, wherever in it the offset lies; only a piece that must be a first one is a point.

mod join;

pub use join::{JoinError, Joined, join};

use std::io::Read;

use crate::algorithm::ChecksumType;
use crate::flags::FeatureFlags;
use crate::ids::{Guid, ObjectId};
use crate::nvlist::NvList;
use crate::record::{
    Begin, Body, Free, HEADER_LEN, MAX_BLOCK_BYTES, Object, TO_OBJECT_END, Write, WriteEmbedded,
};
use crate::stream::{Error, Fault, Record, Role, StreamReader};
use crate::summary::split_name;
use crate::token::ResumeToken;
use crate::verify::EMBEDDED_SPILL_OFFSET;

/// The largest block of a stream without large blocks, and the size of the pieces of larger ones.
const PIECE_BYTES: u64 = 128 << 10;
/// The name that a sent head gets instead of a snapshot's.
const HEAD_NAME: &[u8] = b"--head--";

/// What is left of a stream.
#[derive(Debug)]
pub struct Found {
    /// Why it is not whole; `None` if it is.
    pub error: Option<Error>,
    /// Whole substreams at its start.
    pub whole: Vec<Whole>,
    /// The substream that is not whole.
    pub broken: Option<Broken>,
    /// Whether the broken part lies in a package.
    pub in_package: bool,
    /// How to go on.
    pub next: Next,
}

/// A whole substream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// `pool/fs@snap`.
    pub name: Vec<u8>,
    /// Its guid.
    pub to_guid: Guid,
    /// Bytes of the file up to its end.
    pub end: u64,
}

/// A substream that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `pool/fs@snap`.
    pub name: Vec<u8>,
    /// Its guid.
    pub to_guid: Guid,
    /// Guid of the incremental source, or 0.
    pub from_guid: Guid,
    /// Bytes of the file before it.
    pub offset: u64,
}

/// How to go on with a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// With this token, behind so many bytes.
    Resume(Point),
    /// Not with a token.
    Cannot(Reason),
}

/// A point to go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Bytes of the file to keep: all before the record at the point.
    pub keep_bytes: u64,
    /// The token.
    pub token: ResumeToken,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The stream is whole.
    #[error("the stream is whole: there is nothing to resume")]
    Whole,
    /// There is no stream to go on with.
    #[error("this is not the start of a send stream")]
    NotAStream,
    /// The header of a package is not whole, or the cut is between two of its substreams.
    #[error("it is cut between snapshots: what is missing has to be sent as a stream of its own")]
    BetweenSnapshots,
    /// No object is there yet.
    #[error("it is cut before the first object: it has to be sent from the start")]
    NoObject,
    /// The records have no checksums.
    #[error(
        "its records carry no checksums, so nothing says how much of it is good: it has to be sent from the start"
    )]
    NoChecksums,
    /// The stream is deduplicated; no sender makes such streams any more.
    #[error("it is a deduplicated stream, which no sender can go on with")]
    Deduplicated,
    /// A head was sent, not a snapshot: the sender cannot find it again.
    #[error("it was sent from a dataset, not from a snapshot: a sender can go on only with snapshots")]
    Head,
}

/// Reads what is left of a stream and finds where to go on.
pub fn find(source: impl Read) -> Found {
    let mut reader = StreamReader::new(source);
    let mut finder = Finder::default();
    let error = loop {
        match reader.next() {
            Ok(Some(record)) => {
                if let Err(fault) = finder.record(&record) {
                    break Some(Error::new(fault, record.place));
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    finder.finish(error)
}

/// Follows the points of a stream.
#[derive(Debug, Default)]
struct Finder {
    whole: Vec<Whole>,
    begin: Option<(Begin, u64, Option<NvList>)>,
    in_package: bool,
    head: Head,
    point: Option<At>,
    /// There was a place to go on from, but for its checksum.
    unchecked: bool,
}

/// A point, before it becomes a token.
#[derive(Clone, Copy, Debug)]
struct At {
    object: ObjectId,
    offset: u64,
    keep_bytes: u64,
    /// Bytes of the file up to the end of the record at the point.
    end: u64,
}

/// The object one is in, and where its data may be cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    object: Option<Object>,
    /// Where the FREE behind OBJECT begins.
    tail: Option<u64>,
    /// Only OBJECT and what belongs to it came so far.
    inside: bool,
}

impl Head {
    /// Moves on over a record of the substream.
    pub(super) fn record(&mut self, body: &Body) {
        match body {
            Body::Object(object) => *self = Self { object: Some(*object), tail: None, inside: true },
            Body::Free(Free { object, offset, length: TO_OBJECT_END, .. })
                if self.inside && self.tail.is_none() && self.is(*object) =>
            {
                self.tail = Some(*offset);
            }
            Body::Spill(spill)
                if self.inside
                    && self.is(spill.object)
                    && spill.flags.contains(crate::flags::SpillFlags::UNMODIFIED) => {}
            _ => self.inside = false,
        }
    }

    /// Whether the last record belongs to what stands before an object's data.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    fn is(&self, object: ObjectId) -> bool {
        self.object.is_some_and(|head| head.object == object)
    }

    /// Whether a block of this object at this offset begins a block of the sender's.
    fn begins_block(&self, object: ObjectId, offset: u64, may_be_piece: bool) -> bool {
        if !self.is(object) {
            return false;
        }
        if !may_be_piece || self.object.is_none_or(|head| u64::from(head.block_size) != PIECE_BYTES) {
            return true;
        }
        // The tail begins at a multiple of the sender's block size. A single block may have any size.
        match self.tail {
            Some(tail) if tail > MAX_BLOCK_BYTES => {
                let align = 1 << tail.trailing_zeros().min(MAX_BLOCK_BYTES.trailing_zeros());
                offset.is_multiple_of(align)
            }
            _ => offset == 0,
        }
    }

    /// Whether a WRITE begins a block of the sender's.
    fn begins_write(&self, write: &Write, features: FeatureFlags) -> bool {
        let may_be_piece = !features.intersects(FeatureFlags::LARGE_BLOCKS | FeatureFlags::RAW)
            && !write.is_compressed()
            && write.checksum_type == ChecksumType::OFF
            && write.key_checksum.is_zero();
        self.begins_block(write.object, write.offset, may_be_piece)
    }

    /// Whether a WRITE_EMBEDDED is a block at its place, not a spill block sent by mistake.
    fn begins_embedded(&self, embedded: &WriteEmbedded) -> bool {
        embedded.offset < EMBEDDED_SPILL_OFFSET && self.begins_block(embedded.object, embedded.offset, false)
    }
}

impl Finder {
    fn record(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let Some(body) = record.header.body() else { return Ok(()) };
        match (record.role, &body) {
            (Role::PackageBegin, _) => self.in_package = true,
            (Role::PackageEnd, _) => self.in_package = false,
            (Role::SubstreamBegin, Body::Begin(begin)) => {
                let list = match record.payload {
                    [] => None,
                    payload => Some(NvList::decode(payload)?.list),
                };
                self.begin = Some((*begin, record.place.offset, list));
                (self.head, self.point, self.unchecked) = (Head::default(), None, false);
            }
            (Role::SubstreamEnd, _) => {
                if let Some((begin, ..)) = self.begin.take() {
                    let end = record.place.offset + HEADER_LEN as u64;
                    self.whole.push(Whole { name: begin.name().to_vec(), to_guid: begin.to_guid, end });
                }
            }
            (Role::Data, _) => self.data(&body, record),
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, body: &Body, record: &Record<'_>) {
        self.head.record(body);
        let features =
            self.begin.as_ref().map_or(FeatureFlags::empty(), |(begin, ..)| begin.version_info.features());
        let (object, offset) = match body {
            Body::Object(object) => (object.object, 0),
            Body::Write(write) if self.head.begins_write(write, features) => (write.object, write.offset),
            Body::WriteEmbedded(embedded) if self.head.begins_embedded(embedded) => {
                (embedded.object, embedded.offset)
            }
            _ => return,
        };
        // Data at offset 0 is resumed at its OBJECT, which is a point already.
        let is_data = !matches!(body, Body::Object(_));
        if record.header.trailer().is_zero() {
            self.unchecked = true;
        } else if let (true, 0, Some(at)) = (is_data, offset, &mut self.point) {
            at.end = record.payload_offset() + record.payload.len() as u64;
        } else {
            self.point = Some(At {
                object,
                offset,
                keep_bytes: record.place.offset,
                end: record.payload_offset() + record.payload.len() as u64,
            });
        }
    }

    fn finish(self, error: Option<Error>) -> Found {
        let broken = self.begin.as_ref().filter(|_| error.is_some()).map(|(begin, offset, _)| Broken {
            name: begin.name().to_vec(),
            to_guid: begin.to_guid,
            from_guid: begin.from_guid,
            offset: *offset,
        });
        let next = match self.point_or_reason(error.as_ref()) {
            Ok(point) => Next::Resume(point),
            Err(reason) => Next::Cannot(reason),
        };
        Found { error, whole: self.whole, broken, in_package: self.in_package, next }
    }

    fn point_or_reason(&self, error: Option<&Error>) -> Result<Point, Reason> {
        let Some(error) = error else { return Err(Reason::Whole) };
        let Some((begin, start, list)) = &self.begin else {
            return Err(match error.fault() {
                _ if !self.whole.is_empty() || self.in_package => Reason::BetweenSnapshots,
                Fault::Truncated { .. } => Reason::NoObject,
                _ => Reason::NotAStream,
            });
        };
        let features = begin.version_info.features();
        if features.intersects(FeatureFlags::DEDUP | FeatureFlags::DEDUPPROPS) {
            return Err(Reason::Deduplicated);
        }
        if split_name(begin.name()).1 == HEAD_NAME {
            return Err(Reason::Head);
        }
        match self.point {
            Some(at) => {
                Ok(Point { keep_bytes: at.keep_bytes, token: token(begin, *start, list.as_ref(), at) })
            }
            None if self.unchecked => Err(Reason::NoChecksums),
            None => Err(Reason::NoObject),
        }
    }
}

/// The token that a receiver would show that had taken the stream up to the point.
fn token(begin: &Begin, start: u64, list: Option<&NvList>, at: At) -> ResumeToken {
    let features = begin.version_info.features();
    let guids = |key| list.and_then(|list| list.get_u64_array(key)).map(<[u64]>::to_vec);
    ResumeToken {
        from_guid: Some(begin.from_guid.0).filter(|guid| *guid != 0),
        object: at.object.0,
        offset: at.offset,
        // Receivers leave the header of BEGIN out.
        bytes: at.end - start - HEADER_LEN as u64,
        to_guid: begin.to_guid.0,
        to_name: begin.name().into(),
        large_blocks: features.contains(FeatureFlags::LARGE_BLOCKS),
        embedded: features.contains(FeatureFlags::EMBED_DATA),
        compressed: features.contains(FeatureFlags::COMPRESSED),
        raw: features.contains(FeatureFlags::RAW),
        redact_snaps: guids("redact_snaps").filter(|_| features.contains(FeatureFlags::REDACTED)),
        book_redact_snaps: guids("redact_from_snaps"),
        others: Vec::new(),
        order: crate::order::ByteOrder::NATIVE,
    }
}
