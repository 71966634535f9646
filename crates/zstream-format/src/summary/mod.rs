//! What a file of streams holds, from the headers alone: snapshots, where they lie, how large they are.
//!
//! Payloads other than the lists behind BEGIN are not looked at, so a file that seeks is summed up
//! without being read, and nothing here says that a stream is good: that is [`verify`](crate::verify).
//!
//! Memory: some hundred bytes for each substream, and the lists behind their BEGINs.

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

/// What a file holds.
#[derive(Debug, Default)]
pub struct Summary {
    /// The streams, in order.
    pub streams: Vec<Stream>,
    /// The substreams of all of them, in order.
    pub snapshots: Vec<Snapshot>,
    /// Bytes read, up to the record that is wrong.
    pub bytes: u64,
    /// Zeros after the last END: a block of a tape or device was filled up with them.
    pub padding_bytes: u64,
    /// Why it was not read to the end, or the first list that cannot be read.
    pub error: Option<Error>,
}

/// One stream of a file: a package or a single substream.
#[derive(Debug)]
pub struct Stream {
    /// Bytes of the file before it.
    pub offset: u64,
    /// The package's header, if it is one.
    pub package: Option<Package>,
    /// Which of [`Summary::snapshots`] it holds.
    pub snapshots: std::ops::Range<usize>,
    /// Whether its END is there.
    pub complete: bool,
}

/// The header of a package.
#[derive(Debug)]
pub struct Package {
    /// `pool/fs@snap`: the top filesystem and the last snapshot.
    pub name: NvString,
    /// Features of the package.
    pub features: FeatureFlags,
    /// What its list says; `None` for the packages of `zfs send -I`, which have none.
    pub list: Option<PackageList>,
}

/// A substream: one snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// Bytes of the file before it.
    pub offset: u64,
    /// Its bytes, BEGIN and END included, as far as they are there.
    pub bytes: u64,
    /// Whether its END is there.
    pub complete: bool,
    /// `pool/fs@snap`.
    pub name: NvString,
    /// Its guid.
    pub to_guid: Guid,
    /// Guid of the incremental source, a snapshot or bookmark; 0 for a full stream.
    pub from_guid: Guid,
    /// Which of [`Summary::snapshots`] is the source, if it lies before this one in the file.
    pub from: Option<usize>,
    /// Seconds since 1970.
    pub creation_time: u64,
    /// Filesystem or volume.
    pub objset_type: ObjsetType,
    /// Features.
    pub features: FeatureFlags,
    /// Flags.
    pub flags: BeginFlags,
    /// Byte order.
    pub order: ByteOrder,
    /// Records by number of their type.
    pub records: [u64; RecordType::ALL.len()],
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Bytes of the blocks in WRITE, WRITE_EMBEDDED and SPILL as they are in the stream.
    pub stored_bytes: u64,
    /// Bytes of these blocks uncompressed.
    pub logical_bytes: u64,
    /// The list behind BEGIN.
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

    /// The dataset's name: what stands before the `@`.
    #[must_use]
    pub fn dataset(&self) -> &[u8] {
        split_name(self.name.as_bytes()).0
    }

    /// The snapshot's short name: what stands behind the `@`.
    #[must_use]
    pub fn short_name(&self) -> &[u8] {
        split_name(self.name.as_bytes()).1
    }

    /// Bytes of the blocks uncompressed, for each byte of them in the stream; `None` without blocks.
    #[must_use]
    pub fn compression_ratio(&self) -> Option<f64> {
        (self.stored_bytes != 0).then(|| self.logical_bytes as f64 / self.stored_bytes as f64)
    }

    /// Object and offset from which a resumed stream goes on.
    #[must_use]
    pub fn resume_point(&self) -> Option<(u64, u64)> {
        let list = self.list.as_ref()?;
        Some((list.get_u64("resume_object")?, list.get_u64("resume_offset")?))
    }

    /// Guids of the snapshots that the stream is redacted for.
    #[must_use]
    pub fn redact_snaps(&self) -> Option<&[u64]> {
        self.list.as_ref()?.get_u64_array("redact_snaps")
    }

    /// Guids of the snapshots that the source is redacted for.
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

/// Sums up all that `reader` gives, headers only: payloads are skipped where the source seeks. What can
/// be read is in the summary even where an error ends it.
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
    /// The list behind a BEGIN. One that cannot be read does not keep the rest from being summed up.
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
