//! A summary of a file of streams from the headers only: the snapshots with their offsets and sizes.
//!
//! Payloads other than the lists after BEGIN are skipped, so most of a file that seeks is not read. The summary
//! does not show that a stream is intact: that is the purpose of [`verify`](crate::verify).
//!
//! Memory: some hundred bytes for each substream, and the lists after their BEGINs.

mod package;

pub use package::{Dataset, PackageList, PackageSnapshot};

use std::io::Read;

use crate::flags::{BeginFlags, FeatureFlags};
use crate::ids::Guid;
use crate::nvlist::{NvList, NvString};
use crate::object_type::ObjsetType;
use crate::order::ByteOrder;
use crate::place::Place;
use crate::record::{Begin, Body, HEADER_LEN, RecordType};
use crate::stream::{Checking, Error, Fault, Record, Role, StreamReader};

/// The content of a file.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// The streams, in order.
    pub streams: Vec<Stream>,
    /// The substreams of all streams, in order.
    pub snapshots: Vec<Snapshot>,
    /// The number of bytes read, up to the faulty record if there is one.
    pub bytes: u64,
    /// The number of zeros after the last END, which pad the last block of a tape or device.
    pub padding_bytes: u64,
    /// The error that ended the summary, or that of the first list that could not be decoded.
    pub error: Option<Error>,
}

/// One stream of a file: a package or a single substream.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stream {
    /// The offset of the stream in the file.
    pub offset: u64,
    /// The header of the package, if the stream is one.
    pub package: Option<Package>,
    /// The range of its snapshots in [`Summary::snapshots`].
    pub snapshots: std::ops::Range<usize>,
    /// `true` if the stream has its END.
    pub complete: bool,
}

/// The header of a package.
#[derive(Debug)]
#[non_exhaustive]
pub struct Package {
    /// The name, `pool/fs@snap`: the top filesystem and the last snapshot.
    pub name: NvString,
    /// The features of the package.
    pub features: FeatureFlags,
    /// The list in the header; `None` for the packages of `zfs send -I`, which have none.
    pub list: Option<PackageList>,
}

/// A substream: one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The offset of the substream in the file.
    pub offset: u64,
    /// The size in bytes, including BEGIN and END, up to the end of the file.
    pub bytes: u64,
    /// `true` if the substream has its END.
    pub complete: bool,
    /// The full name of the snapshot, `pool/fs@snap`.
    pub name: NvString,
    /// The guid of the snapshot.
    pub to_guid: Guid,
    /// The guid of the incremental source, a snapshot or bookmark; 0 for a full stream.
    pub from_guid: Guid,
    /// The index of the source in [`Summary::snapshots`], if the file contains it before this snapshot.
    pub from: Option<usize>,
    /// The creation time in seconds since 1970.
    pub creation_time: u64,
    /// The type: filesystem or volume.
    pub objset_type: ObjsetType,
    /// The features of the stream.
    pub features: FeatureFlags,
    /// The flags of the stream.
    pub flags: BeginFlags,
    /// The byte order of the stream.
    pub order: ByteOrder,
    /// The number of records of each type, indexed by the number of the type.
    pub records: [u64; RecordType::ALL.len()],
    /// The size of all payloads in bytes.
    pub payload_bytes: u64,
    /// The size in bytes of the blocks in WRITE, WRITE_EMBEDDED and SPILL as stored in the stream.
    pub stored_bytes: u64,
    /// The logical size of these blocks in bytes.
    pub logical_bytes: u64,
    /// The list after BEGIN.
    pub list: Option<NvList>,
}

impl Snapshot {
    fn new(begin: &Begin, record: &Record<'_>) -> Self {
        Self {
            offset: record.place.offset,
            bytes: 0,
            complete: false,
            name: begin.name().into(),
            to_guid: begin.to_guid,
            from_guid: begin.from_guid,
            from: None,
            creation_time: begin.creation_time,
            objset_type: ObjsetType(begin.objset_type),
            features: begin.version_info.features(),
            flags: begin.flags,
            order: record.header.order(),
            records: [0; RecordType::ALL.len()],
            payload_bytes: 0,
            stored_bytes: 0,
            logical_bytes: 0,
            list: None,
        }
    }

    fn add(&mut self, kind: RecordType, body: &Body, payload_len: u64) {
        self.records[kind as usize] += 1;
        self.bytes += HEADER_LEN as u64 + payload_len;
        self.payload_bytes += payload_len;
        let (stored, logical) = match body {
            Body::Write(write) => (payload_len, write.logical_size),
            Body::Spill(spill) => (payload_len, spill.length),
            Body::WriteEmbedded(embedded) => (embedded.physical_size.into(), embedded.length),
            _ => return,
        };
        self.stored_bytes = self.stored_bytes.saturating_add(stored);
        self.logical_bytes = self.logical_bytes.saturating_add(logical);
    }

    /// The name of the dataset: the part before the `@`.
    #[must_use]
    pub fn dataset(&self) -> &[u8] {
        split_name(self.name.as_bytes()).0
    }

    /// The short name of the snapshot: the part after the `@`.
    #[must_use]
    pub fn short_name(&self) -> &[u8] {
        split_name(self.name.as_bytes()).1
    }

    /// The ratio of the logical size of the blocks to their size in the stream; `None` if there are no blocks.
    #[must_use]
    pub fn compression_ratio(&self) -> Option<f64> {
        (self.stored_bytes != 0).then(|| self.logical_bytes as f64 / self.stored_bytes as f64)
    }

    /// The object and the offset at which a resumed stream starts.
    #[must_use]
    pub fn resume_point(&self) -> Option<(u64, u64)> {
        let list = self.list.as_ref()?;
        Some((list.get_u64("resume_object")?, list.get_u64("resume_offset")?))
    }

    /// The guids of the snapshots with respect to which the stream is redacted.
    #[must_use]
    pub fn redact_snaps(&self) -> Option<&[u64]> {
        self.list.as_ref()?.get_u64_array("redact_snaps")
    }

    /// The guids of the snapshots with respect to which the source is redacted.
    #[must_use]
    pub fn redact_from_snaps(&self) -> Option<&[u64]> {
        self.list.as_ref()?.get_u64_array("redact_from_snaps")
    }
}

/// Splits `pool/fs@snap` at its first `@`.
#[must_use]
pub fn split_name(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().position(|byte| *byte == b'@') {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => (name, &[]),
    }
}

/// Summarizes all streams of `reader` from the headers only: payloads are skipped if the source seeks. If an
/// error ends the input, the summary contains everything before it.
pub fn summarize<R: Read>(reader: StreamReader<R>) -> Summary {
    let mut reader = reader.checking(Checking::Shape);
    let mut summary = Summary::default();
    loop {
        match reader.next_header() {
            Ok(Some(record)) => summary.record(&record),
            Ok(None) => break,
            Err(error) => {
                summary.error.get_or_insert(error);
                break;
            }
        }
    }
    (summary.bytes, summary.padding_bytes) = (reader.offset(), reader.padding());
    summary.find_sources();
    summary
}

impl Summary {
    /// Decodes the list after a BEGIN. An error is recorded, and the summary continues.
    fn list(&mut self, record: &Record<'_>) -> Option<NvList> {
        if record.payload.is_empty() {
            return None;
        }
        match NvList::decode(record.payload) {
            Ok(decoded) => Some(decoded.list),
            Err(error) => {
                self.error.get_or_insert(Error::new(Fault::List(error), record.place));
                None
            }
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let Some(body) = record.header.body() else { return };
        match (record.role, &body) {
            (Role::PackageBegin, Body::Begin(begin)) => {
                let list = self.list(record).map(PackageList::new);
                let package =
                    Package { name: begin.name().into(), features: begin.version_info.features(), list };
                self.start_stream(record.place, Some(package));
            }
            (Role::SubstreamBegin, Body::Begin(begin)) => {
                if self.streams.last().is_none_or(|stream| stream.complete) {
                    self.start_stream(record.place, None);
                }
                let mut snapshot = Snapshot::new(begin, record);
                snapshot.list = self.list(record);
                self.snapshots.push(snapshot);
                if let Some(stream) = self.streams.last_mut() {
                    stream.snapshots.end = self.snapshots.len();
                }
            }
            _ => {}
        }
        let in_substream = matches!(record.role, Role::SubstreamBegin | Role::Data | Role::SubstreamEnd);
        if let (true, Some(snapshot)) = (in_substream, self.snapshots.last_mut()) {
            snapshot.add(body.record_type(), &body, record.header.payload_len());
            snapshot.complete = record.role == Role::SubstreamEnd;
        }
        if let Some(stream) = self.streams.last_mut() {
            stream.complete = match record.role {
                Role::PackageEnd => true,
                Role::SubstreamEnd => stream.package.is_none(),
                _ => stream.complete,
            };
        }
    }

    fn start_stream(&mut self, place: Place, package: Option<Package>) {
        let next = self.snapshots.len();
        self.streams.push(Stream { offset: place.offset, package, snapshots: next..next, complete: false });
    }

    fn find_sources(&mut self) {
        let mut by_guid = std::collections::HashMap::new();
        for (index, snapshot) in self.snapshots.iter_mut().enumerate() {
            snapshot.from = by_guid.get(&snapshot.from_guid).copied();
            by_guid.insert(snapshot.to_guid, index);
        }
    }
}
