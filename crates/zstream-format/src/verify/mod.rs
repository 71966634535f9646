//! Verification that a stream is intact and that a receiver accepts it.
//!
//! The readers verify structure and checksums. In addition, every record is validated with the rules of
//! [`judge`](mod@crate::judge), every list after a BEGIN is decoded, and, if requested, every payload is compared
//! with its record ([`PayloadFault`](crate::stream::PayloadFault)). Anomalies that receivers accept, such as signs of
//! known faults of senders, become a [`Warning`].
//!
//! The checksum in the next record covers a payload and the fields of BEGIN. So a fault in them is reported only
//! after that checksum matched; otherwise the checksum is reported.
//!
//! Memory: that of the reader, and some numbers. Time: that of the checksums, and little more.

mod deep;
mod warning;

pub use warning::{Note, Warning};

use crate::flags::FeatureFlags;
use crate::ids::{Guid, ObjectId};
use crate::judge::{self, Breach, Judge, Limits, Terms};
use crate::nvlist::NvList;
use crate::place::Place;
use crate::record::{Begin, Body, WriteEmbedded};
use crate::stream::{Error, Fault, Record, Role};
#[cfg(feature = "parallel")]
use crate::stream::{ParallelReader, ReadAt};

/// The lowest offset at which an embedded block of an object with a spill block is that spill block, sent in the
/// wrong record (OpenZFS issue 18239): the offset is -2 blocks, and no block is larger than 16 MiB.
pub(crate) const EMBEDDED_SPILL_OFFSET: u64 = u64::MAX - 2 * crate::record::MAX_BLOCK_BYTES + 1;

/// The options of a verification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `true` to compare payloads with the checksums and sizes in their records, too.
    pub deep: bool,
    /// The limits of the receiving pool.
    pub limits: Limits,
}

/// The result of a verification.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The fault of the stream; `None` if it is intact and can be received.
    pub error: Option<Error>,
    /// The offset of the faulty record, or the size of the stream, in bytes.
    pub bytes: u64,
    /// The number of records before the faulty one, or of all records.
    pub records: u64,
    /// The number of bytes from the start that are verified by a checksum.
    pub good_bytes: u64,
    /// The number of zeros after the last END, which no checksum covers and which pad the last block of a tape or device.
    pub padding_bytes: u64,
    /// The number of complete streams; a package counts as one.
    pub streams: u64,
    /// The number of complete substreams, each a snapshot.
    pub snapshots: u64,
    /// The snapshot whose substream has the fault.
    pub inside: Option<String>,
    /// The warnings, at most one of each kind.
    pub notes: Vec<Note>,
}

impl Verdict {
    /// Returns `true` if the stream is intact.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.error.is_none()
    }

    /// Returns `true` if the stream looks like the saved state of an interrupted receive, sent with `zfs send -S`:
    /// it is truncated after a complete record, and the records have another guid than BEGIN.
    #[must_use]
    pub fn may_be_saved_partial(&self) -> bool {
        self.error.as_ref().is_some_and(|error| matches!(error.fault(), Fault::NoEnd))
            && self.notes.iter().any(|note| matches!(note.warning, Warning::ToGuid { .. }))
    }
}

/// A validator for the records of a stream, in order, after a reader has verified structure and checksums.
#[derive(Debug)]
pub struct Examiner {
    options: Options,
    judge: Option<Judge>,
    begin: Option<Begin>,
    /// A fault in a part that the next checksum covers.
    pending: Option<(Fault, Place)>,
    object: Option<Seen>,
    deep: deep::Deep,
    notes: Vec<Note>,
    records: u64,
    snapshots: u64,
}

/// The last OBJECT.
#[derive(Clone, Copy, Debug)]
struct Seen {
    object: ObjectId,
    block_size: u32,
    has_spill: bool,
}

impl Examiner {
    /// Creates an examiner at the start of a stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            judge: None,
            begin: None,
            pending: None,
            object: None,
            deep: deep::Deep::default(),
            notes: Vec::new(),
            records: 0,
            snapshots: 0,
        }
    }

    /// Validates the next record.
    ///
    /// # Errors
    /// Returns the rule that this or the previous record breaks, with the position of that record.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        if let Some((fault, place)) = self.pending.take() {
            return Err(Error::new(fault, place));
        }
        let Some(body) = record.header.body() else { return Ok(()) };
        let now = match (record.role, &body) {
            (Role::SubstreamBegin, Body::Begin(begin)) => {
                self.begin(begin, record);
                Ok(())
            }
            (Role::PackageBegin, Body::Begin(begin)) => {
                self.package(begin, record);
                Ok(())
            }
            (Role::Data, _) => self.data(&body, record),
            (Role::SubstreamEnd, _) => {
                self.snapshots += 1;
                self.begin = None;
                Ok(())
            }
            _ => Ok(()),
        };
        now.map_err(|fault| Error::new(fault, record.place))?;
        self.records += 1;
        Ok(())
    }

    /// Returns the fault of the stream after the reader has reached the end or failed with `error`.
    #[must_use]
    pub fn finish(&mut self, error: Option<Error>) -> Option<Error> {
        let wrong_sum = error
            .as_ref()
            .is_some_and(|error| matches!(error.fault(), Fault::Trailer { .. } | Fault::EndChecksum { .. }));
        match self.pending.take() {
            Some((fault, place)) if !wrong_sum => Some(Error::new(fault, place)),
            _ => error,
        }
    }

    fn suspect(&mut self, outcome: Result<(), Fault>, place: Place) {
        if let (Err(fault), None) = (outcome, &self.pending) {
            self.pending = Some((fault, place));
        }
    }

    fn note(&mut self, warning: Warning, place: Place) {
        match self.notes.iter_mut().find(|note| note.warning.same_kind(&warning)) {
            Some(note) => note.count += 1,
            None => self.notes.push(Note { warning, place, count: 1 }),
        }
    }

    fn begin(&mut self, begin: &Begin, record: &Record<'_>) {
        let features = begin.version_info.features();
        let terms = Terms::new(begin, self.options.limits);
        self.judge = Some(Judge::new(terms));
        self.begin = Some(*begin);
        self.object = None;
        if features.intersects(FeatureFlags::DEDUP | FeatureFlags::DEDUPPROPS) {
            self.note(Warning::Deduplicated, record.place);
        }
        let outcome = judge::begin(begin).map_err(fault_of).and_then(|()| {
            let list = match record.payload {
                [] => None,
                payload => Some(NvList::decode(payload)?.list),
            };
            judge::begin_list(features, list.as_ref()).map_err(fault_of)
        });
        self.suspect(outcome, record.place);
    }

    fn package(&mut self, begin: &Begin, record: &Record<'_>) {
        let unknown = begin.version_info.features().unknown();
        let outcome = if !unknown.is_empty() {
            Err(Fault::Features(unknown))
        } else if record.payload.is_empty() {
            Ok(())
        } else {
            NvList::decode(record.payload).map(|_| ()).map_err(Fault::from)
        };
        self.suspect(outcome, record.place);
    }

    fn data(&mut self, body: &Body, record: &Record<'_>) -> Result<(), Fault> {
        if let Some(judge) = &mut self.judge {
            judge.record(body).map_err(fault_of)?;
        }
        self.oddities(body, record);
        if self.options.deep {
            let raw = self.begin.is_some_and(|b| b.version_info.features().contains(FeatureFlags::RAW));
            let outcome = self.deep.check(body, record, raw);
            self.suspect(outcome.map_err(Fault::from), record.place);
        }
        Ok(())
    }

    /// Records anomalies that receivers accept but that senders should not send.
    fn oddities(&mut self, body: &Body, record: &Record<'_>) {
        let expected = self.begin.map_or(Guid(0), |begin| begin.to_guid);
        // Records of streams before feature flags have no guid.
        if body.to_guid() != expected && body.to_guid() != Guid(0) {
            self.note(Warning::ToGuid { found: body.to_guid(), expected }, record.place);
        }
        let object = match body {
            Body::Object(object) => {
                self.object = Some(Seen {
                    object: object.object,
                    block_size: object.block_size,
                    has_spill: object.flags.contains(crate::flags::ObjectFlags::SPILL),
                });
                return;
            }
            Body::Write(write) => write.object,
            Body::WriteEmbedded(embedded) => {
                self.embedded_oddities(embedded, record);
                embedded.object
            }
            Body::Spill(spill) => spill.object,
            Body::Free(free) => free.object,
            Body::Redact(redact) => redact.object,
            Body::WriteByref(byref) => byref.object,
            _ => return,
        };
        // An increment may contain data of an unchanged object: data that a redaction had left out.
        let full = self.begin.is_some_and(|begin| {
            begin.from_guid == Guid(0) && !begin.version_info.features().contains(FeatureFlags::RESUMING)
        });
        if full && self.object.is_none_or(|seen| seen.object != object) {
            self.note(Warning::NoObject { object, last: self.object.map(|seen| seen.object) }, record.place);
        }
    }

    fn embedded_oddities(&mut self, embedded: &WriteEmbedded, record: &Record<'_>) {
        let seen = self.object.filter(|seen| seen.object == embedded.object);
        if embedded.offset >= EMBEDDED_SPILL_OFFSET && seen.is_some_and(|seen| seen.has_spill) {
            self.note(Warning::EmbeddedSpill { offset: embedded.offset }, record.place);
        } else if let Some(seen) = seen
            && embedded.length > seen.block_size.into()
        {
            let (length, block_size) = (embedded.length, seen.block_size);
            self.note(Warning::EmbeddedLength { length, block_size }, record.place);
        }
        let padding = record.payload.get(embedded.physical_size as usize..).unwrap_or(&[]);
        if padding.iter().any(|byte| *byte != 0) {
            self.note(Warning::EmbeddedPadding, record.place);
        }
    }
}

fn fault_of(breach: Breach) -> Fault {
    match breach {
        Breach::Features(unknown) => Fault::Features(unknown),
        other => Fault::Rule(other),
    }
}

/// Verifies a stream up to its end, on all cores.
#[cfg(feature = "parallel")]
pub fn verify(source: impl std::io::Read + Send, options: Options) -> Verdict {
    verify_parallel(ParallelReader::new(source), options)
}

/// Verifies a stream like [`verify`], from `offset` in a source that several cores can read at once.
#[cfg(feature = "parallel")]
pub fn verify_at(source: &(dyn ReadAt + Sync), offset: u64, options: Options) -> Verdict {
    verify_parallel(ParallelReader::positioned(source, offset), options)
}

#[cfg(feature = "parallel")]
fn verify_parallel(mut reader: ParallelReader<'_>, options: Options) -> Verdict {
    let mut examiner = Examiner::new(options);
    let mut stop = None;
    let outcome = reader.for_each(|record| {
        examiner.record(record).map_err(|error| {
            stop = Some(error);
            Fault::GivenUp
        })
    });
    let error = match stop {
        Some(error) => Some(error),
        None => examiner.finish(outcome.err()),
    };
    let padding_bytes = reader.padding();
    let verdict = verdict(examiner, error, reader.offset(), reader.verified(), reader.whole_streams());
    Verdict { padding_bytes, ..verdict }
}

/// Verifies a stream on one core and with little memory. With the feature `parallel` it is the reference of tests.
#[cfg(any(test, feature = "testing", not(feature = "parallel")))]
pub fn verify_one_core(source: impl std::io::Read, options: Options) -> Verdict {
    let mut reader = crate::stream::StreamReader::new(source);
    let mut examiner = Examiner::new(options);
    let error = loop {
        match reader.next() {
            Ok(Some(record)) => {
                if let Err(error) = examiner.record(&record) {
                    break Some(error);
                }
            }
            Ok(None) => break examiner.finish(None),
            Err(error) => break examiner.finish(Some(error)),
        }
    };
    let padding_bytes = reader.padding();
    let verdict = verdict(examiner, error, reader.offset(), reader.verified(), reader.whole_streams());
    Verdict { padding_bytes, ..verdict }
}

fn verdict(examiner: Examiner, error: Option<Error>, offset: u64, verified: u64, streams: u64) -> Verdict {
    let bytes = error.as_ref().map_or(offset, |error| error.place().offset);
    let inside = examiner
        .begin
        .filter(|_| error.is_some())
        .map(|begin| String::from_utf8_lossy(begin.name()).into_owned());
    Verdict {
        good_bytes: verified.min(bytes),
        bytes,
        records: error.as_ref().map_or(examiner.records, |error| error.place().index),
        padding_bytes: 0,
        streams,
        snapshots: examiner.snapshots,
        inside,
        notes: examiner.notes,
        error,
    }
}
