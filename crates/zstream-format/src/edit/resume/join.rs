//! Joining a truncated stream and its continuation.

use std::io::{Read, Write};

use super::Head;
use crate::edit::EditError;
use crate::flags::{FeatureFlags, VersionInfo};
use crate::ids::{Guid, ObjectId};
use crate::nvlist::NvList;
use crate::record::{Begin, Body, End, Header, TO_OBJECT_END};
use crate::stream::{Error, Fault, Record, Role, Section, StreamReader, StreamWriter};

/// An error from joining two streams.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The truncated stream has a fault before the point where the continuation starts.
    #[error("the stream that was cut short: {0}")]
    Cut(#[source] Error),
    /// The continuation has a fault.
    #[error("the continuation: {0}")]
    Rest(#[source] Error),
    /// Writing the result failed.
    #[error(transparent)]
    Output(#[from] EditError),
    /// The second stream is not a continuation.
    #[error("the continuation was not made with `zfs send -t`: it does not state where it resumes")]
    NotResumed,
    /// The continuation does not start with the object that it states.
    #[error("the continuation states that it resumes at object {object}, but does not start with it")]
    NoObject {
        /// The object.
        object: u64,
    },
    /// The streams are in different byte orders.
    #[error("the two streams are in different byte orders")]
    Order,
    /// The truncated stream is of another snapshot, or an increment from another source.
    #[error("the stream that was cut short has no incomplete snapshot with guid {to} (from {from})")]
    NoSuchSnapshot {
        /// The guid of the snapshot.
        to: u64,
        /// The guid of its source.
        from: u64,
    },
    /// The streams were made with different options.
    #[error("the continuation was made with other options: only one of the two streams has {0}")]
    Features(FeatureFlags),
    /// The truncated stream ends before the point where the continuation starts.
    #[error(
        "the stream that was cut short ends at {end} bytes, before the record of object {object} at {offset} where \
         the continuation starts: data between them would be missing"
    )]
    Gap {
        /// The size of the truncated stream in bytes.
        end: u64,
        /// The object.
        object: u64,
        /// The offset in the object.
        offset: u64,
    },
}

/// The result of joining two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The number of bytes copied from the truncated stream.
    pub kept_bytes: u64,
    /// The number of bytes written.
    pub bytes: u64,
    /// The number of records that are repeated at the seam, because they differ: the truncated stream was the saved
    /// state of a receive.
    pub repeated: u64,
    /// `true` if the truncated stream is a package, which now ends after this snapshot.
    pub in_package: bool,
    /// `true` if the record at the seam was not in the truncated stream, so no checksum covers the last payload that
    /// was copied.
    pub unchecked_seam: bool,
    /// Zeros after the END of the continuation, which are not copied.
    pub padding_bytes: u64,
}

/// The features that senders set according to the state of the pool, which may have changed meanwhile.
const MAY_DIFFER: FeatureFlags = FeatureFlags::LZ4.union(FeatureFlags::ZSTD).union(FeatureFlags::LARGE_DNODE);

/// Writes `cut` up to the point where `rest` resumes, then `rest`, as one stream with valid checksums.
///
/// `cut` is a truncated stream. It may extend past the point; the part after it is ignored. With `cut_to_point`, it
/// ends directly before the record at the point, and the caller asserts that nothing is missing.
///
/// # Errors
/// Fails if the two streams do not belong together, if data is missing between them, and if one of them is damaged.
pub fn join(
    cut: impl Read,
    rest: impl Read,
    sink: impl Write,
    cut_to_point: bool,
) -> Result<Joined, JoinError> {
    let mut rest = StreamReader::new(rest);
    let start = Start::read(&mut rest)?;
    let mut writer = StreamWriter::new(sink);
    let mut cut = StreamReader::new(cut);
    let seam = copy_cut(&mut cut, &start, &mut writer, cut_to_point)?;
    let repeated = copy_rest(&mut rest, &start, &seam, &mut writer)?;
    let in_package = writer.section() == Section::Package;
    if in_package {
        let end = End { checksum: crate::checksum::Checksum::ZERO, to_guid: Guid(0) };
        writer.write(&Header::new(end, start.header.order()), &[]).map_err(output)?;
    }
    let bytes = writer.offset();
    writer.finish().map_err(output)?;
    Ok(Joined {
        kept_bytes: seam.kept_bytes,
        bytes,
        repeated,
        in_package,
        unchecked_seam: seam.unchecked,
        padding_bytes: rest.padding(),
    })
}

fn output(error: Error) -> JoinError {
    JoinError::Output(EditError::Output(error))
}

/// A copy of a record.
#[derive(Clone, Debug)]
struct Kept {
    header: Header,
    payload: Vec<u8>,
}

impl Kept {
    fn new(record: &Record<'_>) -> Self {
        Self { header: record.header.clone(), payload: record.payload.to_vec() }
    }

    /// Returns `true` if another record is the same except for checksums and the guid of the snapshot.
    fn same(&self, other: &Self) -> bool {
        let strip = |header: &Header| header.body().map(without_guid);
        strip(&self.header) == strip(&other.header) && self.payload == other.payload
    }
}

fn without_guid(mut body: Body) -> Body {
    let none = Guid(0);
    match &mut body {
        Body::Object(body) => body.to_guid = none,
        Body::Free(body) => body.to_guid = none,
        Body::Spill(body) => body.to_guid = none,
        Body::ObjectRange(body) => body.to_guid = none,
        _ => {}
    }
    body
}

/// The start of the continuation.
struct Start {
    header: Header,
    begin: Begin,
    object: ObjectId,
    /// The offset of the first data that is sent again: before the requested offset, if that is inside a block.
    offset: u64,
    range: Option<Kept>,
    /// OBJECT and the records that belong to it.
    head: Vec<Kept>,
    /// The first record after the head.
    first: Option<Kept>,
}

impl Start {
    fn read<R: Read>(rest: &mut StreamReader<R>) -> Result<Self, JoinError> {
        let Some(record) = rest.next().map_err(JoinError::Rest)? else { return Err(JoinError::NotResumed) };
        let Some(Body::Begin(begin)) = record.header.body() else { return Err(JoinError::NotResumed) };
        let (object, mut offset) = match NvList::decode(record.payload) {
            Ok(decoded) if begin.version_info.features().contains(FeatureFlags::RESUMING) => {
                let list = decoded.list;
                match (list.get_u64("resume_object"), list.get_u64("resume_offset")) {
                    (Some(object), Some(offset)) => (object, offset),
                    _ => return Err(JoinError::NotResumed),
                }
            }
            _ => return Err(JoinError::NotResumed),
        };
        let header = record.header.clone();
        let (mut range, mut kept, mut head) = (None, Vec::new(), Head::default());
        let first = loop {
            let Some(record) = rest.next().map_err(JoinError::Rest)? else { break None };
            let Some(body) = record.header.body() else { break None };
            match &body {
                Body::ObjectRange(_) if kept.is_empty() => {
                    range = Some(Kept::new(&record));
                    continue;
                }
                Body::Object(found) if kept.is_empty() && found.object.0 == object => {}
                _ if kept.is_empty() => return Err(JoinError::NoObject { object }),
                Body::Object(_) => break Some(Kept::new(&record)),
                _ => {}
            }
            head.record(&body);
            if !head.is_inside() {
                if let Some((of, at)) = data_place(&body).filter(|_| offset > 0)
                    && of.0 == object
                {
                    offset = offset.min(at);
                }
                break Some(Kept::new(&record));
            }
            kept.push(Kept::new(&record));
        };
        Ok(Self { header, begin, object: ObjectId(object), offset, range, head: kept, first })
    }

    /// Checks that a BEGIN of the truncated stream matches the continuation.
    fn judge(&self, begin: &Begin, header: &Header) -> Result<(), JoinError> {
        if header.order() != self.header.order() {
            return Err(JoinError::Order);
        }
        let ours = begin.version_info.features().difference(FeatureFlags::RESUMING);
        let theirs = self.begin.version_info.features().difference(FeatureFlags::RESUMING);
        let differ = ours.symmetric_difference(theirs).difference(MAY_DIFFER);
        if differ.is_empty() { Ok(()) } else { Err(JoinError::Features(differ)) }
    }

    /// Returns `true` if a record is at or after the point.
    fn is_reached(&self, body: &Body, head: &Head) -> bool {
        match body {
            Body::Object(object) if self.offset == 0 => object.object >= self.object,
            Body::Object(object) => object.object > self.object,
            Body::FreeObjects(free) => free.first_object > self.object,
            Body::ObjectRange(range) => range.first_object > self.object,
            Body::End(_) => true,
            _ if head.is_inside() => false,
            _ => data_place(body).is_some_and(|place| place >= (self.object, self.offset)),
        }
    }
}

/// The object and the offset of a data record.
fn data_place(body: &Body) -> Option<(ObjectId, u64)> {
    match body {
        Body::Write(body) => Some((body.object, body.offset)),
        Body::WriteEmbedded(body) => Some((body.object, body.offset)),
        Body::Redact(body) => Some((body.object, body.offset)),
        Body::Free(body) => Some((body.object, body.offset)),
        // A modified spill block follows all data.
        Body::Spill(body) => Some((body.object, TO_OBJECT_END)),
        _ => None,
    }
}

/// The seam: the end of the part that was copied from the truncated stream.
struct Seam {
    kept_bytes: u64,
    unchecked: bool,
    /// The last OBJECT_RANGE that was copied.
    range: Option<Kept>,
    /// OBJECT and the records that belong to it, if the object of the point was copied.
    head: Vec<Kept>,
}

/// Copies all records before the point.
fn copy_cut<R: Read, W: Write>(
    cut: &mut StreamReader<R>,
    start: &Start,
    writer: &mut StreamWriter<W>,
    cut_to_point: bool,
) -> Result<Seam, JoinError> {
    let (to, from) = (start.begin.to_guid, start.begin.from_guid);
    let mut found = false;
    let mut seam = Seam { kept_bytes: 0, unchecked: false, range: None, head: Vec::new() };
    let mut head = Head::default();
    loop {
        let end = cut.offset();
        let record = match cut.next() {
            Ok(Some(record)) => record,
            Ok(None) => return Err(JoinError::NoSuchSnapshot { to: to.0, from: from.0 }),
            Err(error) if found && error.is_truncation() => {
                let at_boundary = matches!(error.fault(), Fault::NoEnd);
                if !(at_boundary && cut_to_point) {
                    return Err(JoinError::Gap { end, object: start.object.0, offset: start.offset });
                }
                (seam.kept_bytes, seam.unchecked) = (end, true);
                return Ok(seam);
            }
            Err(error) if error.is_truncation() => {
                return Err(JoinError::NoSuchSnapshot { to: to.0, from: from.0 });
            }
            Err(error) => return Err(JoinError::Cut(error)),
        };
        let Some(body) = record.header.body() else { continue };
        let mut header = record.header.clone();
        if let (Role::SubstreamBegin, Body::Begin(begin)) = (record.role, &body) {
            found = begin.to_guid == to && begin.from_guid == from;
            (head, seam.range) = (Head::default(), None);
            if found {
                start.judge(begin, record.header)?;
                let features =
                    begin.version_info.features() | start.begin.version_info.features() & MAY_DIFFER;
                let version_info: VersionInfo = begin.version_info.with_features(features);
                header.set_body(Begin { version_info, ..*begin });
            }
        }
        if found && record.role != Role::SubstreamBegin {
            head.record(&body);
            if start.is_reached(&body, &head) {
                seam.kept_bytes = record.place.offset;
                return Ok(seam);
            }
            match &body {
                Body::ObjectRange(_) => seam.range = Some(Kept::new(&record)),
                Body::Object(object) if object.object == start.object => seam.head = vec![Kept::new(&record)],
                _ if head.is_inside() && !seam.head.is_empty() => seam.head.push(Kept::new(&record)),
                _ => {}
            }
        }
        writer.write(&header, record.payload).map_err(output)?;
    }
}

/// Copies the continuation without the records that were copied already. Returns the number of repeated records.
fn copy_rest<R: Read, W: Write>(
    rest: &mut StreamReader<R>,
    start: &Start,
    seam: &Seam,
    writer: &mut StreamWriter<W>,
) -> Result<u64, JoinError> {
    let mut put = |record: &Kept| writer.write(&record.header, &record.payload).map_err(output);
    if let Some(range) = &start.range
        && seam.range.as_ref().is_none_or(|ours| !ours.same(range))
    {
        put(range)?;
    }
    let same =
        seam.head.len() == start.head.len() && seam.head.iter().zip(&start.head).all(|(a, b)| a.same(b));
    let repeated = if same || seam.head.is_empty() { 0 } else { start.head.len() as u64 };
    if !same {
        start.head.iter().try_for_each(&mut put)?;
    }
    if let Some(first) = &start.first {
        put(first)?;
    }
    while let Some(record) = rest.next().map_err(JoinError::Rest)? {
        if matches!(record.role, Role::SubstreamBegin | Role::PackageBegin) {
            let fault = Fault::Unexpected {
                found: crate::record::RecordType::Begin,
                expected: "nothing after the END of the continuation",
            };
            return Err(JoinError::Rest(Error::new(fault, record.place)));
        }
        writer.write(record.header, record.payload).map_err(output)?;
    }
    Ok(repeated)
}
