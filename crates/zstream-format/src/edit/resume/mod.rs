//! Resuming a stream whose file was truncated.
//!
//! `zfs send -t TOKEN` resumes at an object and an offset. [`find`] finds the last such point in a truncated stream
//! and creates the token; [`join()`] joins the truncated stream and the output of the sender into one complete
//! stream, the one that an uninterrupted send would have written.
//!
//! When the sender resumes at offset F of object N, it writes:
//!
//! ```text
//!   BEGIN (RESUMING, with N and F)
//!   OBJECT_RANGE of N               raw streams only
//!   OBJECT N, FREE to its end, SPILL if that is not modified
//!   data of N from F, objects after N ...
//!   END
//! ```
//!
//! So a point is an OBJECT (N, 0), or a block of data (N, F); the record at the point is sent again, and
//! so is the head of its object. A checksum must cover all records before the point: that of the record at the
//! point does.
//!
//! A block that was split into pieces of 128 KiB (sent without `-L` from larger blocks) is resumed at its
//! first piece, for every offset in the block; only a piece that must be a first one is a point.

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

/// The maximum block size of a stream without large blocks, and the size of the pieces of larger ones.
const PIECE_BYTES: u64 = 128 << 10;
/// The name that a sender writes for a dataset without a snapshot.
const HEAD_NAME: &[u8] = b"--head--";

/// The content of a truncated stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct TruncatedStream {
    /// The error that ends the stream; `None` if the stream is complete.
    pub error: Option<Error>,
    /// The complete substreams at the start.
    pub whole: Vec<Whole>,
    /// The incomplete substream.
    pub broken: Option<Broken>,
    /// `true` if the incomplete substream is in a package.
    pub in_package: bool,
    /// The way to resume the stream.
    pub next: Next,
}

/// A complete substream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Whole {
    /// The full name of the snapshot, `pool/fs@snap`.
    pub name: Vec<u8>,
    /// The guid of the snapshot.
    pub to_guid: Guid,
    /// The offset of its end in the file.
    pub end: u64,
}

/// An incomplete substream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// The full name of the snapshot, `pool/fs@snap`.
    pub name: Vec<u8>,
    /// The guid of the snapshot.
    pub to_guid: Guid,
    /// The guid of the incremental source, or 0.
    pub from_guid: Guid,
    /// The offset of its start in the file.
    pub offset: u64,
}

/// The way to resume a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The stream resumes at this point.
    Resume(Point),
    /// The stream cannot be resumed with a token.
    Cannot(Reason),
}

/// A point at which a stream resumes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// The number of bytes of the file to keep: all before the record at the point.
    pub keep_bytes: u64,
    /// The resume token.
    pub token: ResumeToken,
}

/// The reason why a stream cannot be resumed with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The stream is complete.
    #[error("the stream is complete: there is nothing to resume")]
    Whole,
    /// The file is not a stream.
    #[error("this is not the start of a send stream")]
    NotAStream,
    /// The header of a package is incomplete, or the file ends between two substreams of a package.
    #[error("it was cut short between snapshots: send the missing snapshots as a stream of their own")]
    BetweenSnapshots,
    /// The file ends before the first object.
    #[error("it was cut short before the first object: send it from the start")]
    NoObject,
    /// The records have no checksums.
    #[error(
        "its records have no checksums, so it is not known how much of it is intact: send it from the start"
    )]
    NoChecksums,
    /// The stream is deduplicated; senders no longer support such streams.
    #[error("it is a deduplicated stream, which no sender can resume")]
    Deduplicated,
    /// The stream was sent from a dataset, not from a snapshot, so the sender cannot find its source again.
    #[error("it was sent from a dataset, not from a snapshot: a sender can resume only snapshots")]
    Head,
}

/// Reads a truncated stream and finds the point to resume at.
pub fn find(source: impl Read) -> TruncatedStream {
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

/// The state of the search for the last point of a stream.
#[derive(Debug, Default)]
struct Finder {
    whole: Vec<Whole>,
    begin: Option<(Begin, u64, Option<NvList>)>,
    in_package: bool,
    head: Head,
    point: Option<At>,
    /// `true` if a record would be a point, but has no checksum.
    unchecked: bool,
}

/// A point without its token.
#[derive(Clone, Copy, Debug)]
struct At {
    object: ObjectId,
    offset: u64,
    keep_bytes: u64,
    /// The offset of the end of the record at the point in the file.
    end: u64,
}

/// The current object, and the offsets at which its data can be resumed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    object: Option<Object>,
    /// The start of the FREE after OBJECT.
    tail: Option<u64>,
    /// `true` while only OBJECT and the records that belong to it were read.
    inside: bool,
}

impl Head {
    /// Updates the state with a record of the substream.
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

    /// Returns `true` if the last record belongs to the head, which precedes the data of an object.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    fn is(&self, object: ObjectId) -> bool {
        self.object.is_some_and(|head| head.object == object)
    }

    /// Returns `true` if a block of this object at this offset starts a block of the source.
    fn begins_block(&self, object: ObjectId, offset: u64, may_be_piece: bool) -> bool {
        if !self.is(object) {
            return false;
        }
        if !may_be_piece || self.object.is_none_or(|head| u64::from(head.block_size) != PIECE_BYTES) {
            return true;
        }
        // The tail starts at a multiple of the block size of the source. A single block may have any size.
        match self.tail {
            Some(tail) if tail > MAX_BLOCK_BYTES => {
                let align = 1 << tail.trailing_zeros().min(MAX_BLOCK_BYTES.trailing_zeros());
                offset.is_multiple_of(align)
            }
            _ => offset == 0,
        }
    }

    /// Returns `true` if a WRITE starts a block of the source.
    fn begins_write(&self, write: &Write, features: FeatureFlags) -> bool {
        let may_be_piece = !features.intersects(FeatureFlags::LARGE_BLOCKS | FeatureFlags::RAW)
            && !write.is_compressed()
            && write.checksum_type == ChecksumType::OFF
            && write.key_checksum.is_zero();
        self.begins_block(write.object, write.offset, may_be_piece)
    }

    /// Returns `true` if a WRITE_EMBEDDED starts a block of the source, and is not a spill block in disguise.
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
        // Data at offset 0 resumes at its OBJECT, which is already a point.
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

    fn finish(self, error: Option<Error>) -> TruncatedStream {
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
        TruncatedStream { error, whole: self.whole, broken, in_package: self.in_package, next }
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

/// Returns the token that a receiver would show after it received the stream up to the point.
fn token(begin: &Begin, start: u64, list: Option<&NvList>, at: At) -> ResumeToken {
    let features = begin.version_info.features();
    let guids = |key| list.and_then(|list| list.get_u64_array(key)).map(<[u64]>::to_vec);
    ResumeToken {
        from_guid: Some(begin.from_guid.0).filter(|guid| *guid != 0),
        object: at.object.0,
        offset: at.offset,
        // Receivers do not count the header of BEGIN.
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
