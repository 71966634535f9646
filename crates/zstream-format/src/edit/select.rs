//! Extraction of datasets and snapshots from a package, as separate streams.
//!
//! A substream of a package has its own checksum chain, so it is copied unchanged. The streams of several
//! snapshots follow each other; each requires its own `zfs receive`. [`SelectedForm::Package`] writes the header of
//! `zfs send -I` before them and an END after them, which makes one stream for one `zfs receive`.

use std::io::{Read, Write};

use crate::edit::EditError;
use crate::flags::{BeginFlags, FeatureFlags, HeaderType, VersionInfo};
use crate::ids::Guid;
use crate::place::Place;
use crate::record::{BEGIN_MAGIC, Begin, Body, End, Header};
use crate::stream::{Error, Fault, Record, Role, StreamReader, StreamWriter, Trailers};
use crate::summary::split_name;

/// A requested dataset or snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    dataset: Vec<u8>,
    snapshot: Option<Vec<u8>>,
}

impl Selector {
    /// Creates a request: `pool/fs` for every snapshot of that dataset, `pool/fs@snap` for that snapshot.
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        let (dataset, snapshot) = split_name(name);
        let snapshot = name.contains(&b'@').then(|| snapshot.to_vec());
        Self { dataset: dataset.to_vec(), snapshot }
    }

    /// Returns `true` if the request includes the snapshot with this full name.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let (dataset, snapshot) = split_name(name);
        self.dataset == dataset && self.snapshot.as_ref().is_none_or(|wanted| wanted == snapshot)
    }
}

/// The form in which the selected substreams are written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum SelectedForm {
    /// Separate streams, one after the other.
    #[default]
    Plain,
    /// One package without a list, as `zfs send -I` writes it, with this name (`pool/fs@snap`).
    Package(Vec<u8>),
}

/// A substream that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selected {
    /// The full name of the snapshot, `pool/fs@snap`.
    pub name: Vec<u8>,
    /// The guid of the snapshot.
    pub to_guid: Guid,
    /// The guid of the source of the increment; 0 for a full stream.
    pub from_guid: Guid,
    /// `true` if it is received as a clone.
    pub is_clone: bool,
}

/// The result of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// The substreams that were written, in order.
    pub written: Vec<Selected>,
    /// The indices of the requests that matched nothing.
    pub missing: Vec<usize>,
    /// Zeros after the last END of the input, which are not copied.
    pub padding_bytes: u64,
}

/// Copies the requested substreams of `source` to `sink`.
///
/// All of `source` is read and verified: damage after the last requested substream is also found.
///
/// # Errors
/// Fails if the input is truncated or corrupt, and if the output fails.
pub fn select(
    source: impl Read,
    wanted: &[Selector],
    form: &SelectedForm,
    sink: impl Write,
) -> Result<Selection, EditError> {
    let mut reader = StreamReader::new(source);
    let mut out = Out { sink, framed: None, form };
    let mut selection = Selection::default();
    let mut hit = vec![false; wanted.len()];
    let mut copying = false;
    while let Some(record) = reader.next().map_err(EditError::Input)? {
        if let (Role::SubstreamBegin, Some(Body::Begin(begin))) = (record.role, record.header.body()) {
            copying = false;
            for (hit, wanted) in hit.iter_mut().zip(wanted) {
                if wanted.matches(begin.name()) {
                    (*hit, copying) = (true, true);
                }
            }
            if copying {
                selection.written.push(Selected {
                    name: begin.name().to_vec(),
                    to_guid: begin.to_guid,
                    from_guid: begin.from_guid,
                    is_clone: begin.flags.contains(BeginFlags::CLONE),
                });
            }
        }
        let inside = matches!(record.role, Role::SubstreamBegin | Role::Data | Role::SubstreamEnd);
        if copying && inside {
            out.record(&record).map_err(EditError::Output)?;
        }
    }
    selection.missing = (0..wanted.len()).filter(|index| !hit[*index]).collect();
    selection.padding_bytes = reader.padding();
    out.finish(&reader_place(&reader)).map_err(EditError::Output)?;
    Ok(selection)
}

fn reader_place<R: Read>(reader: &StreamReader<R>) -> Place {
    Place { offset: reader.offset(), ..Place::default() }
}

struct Out<'a, W> {
    sink: W,
    /// The END of the package, which is still to be written; `None` before the package starts.
    framed: Option<Header>,
    form: &'a SelectedForm,
}

impl<W: Write> Out<'_, W> {
    fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        if let (SelectedForm::Package(name), None) = (self.form, &self.framed) {
            self.framed = Some(self.package_header(name, record)?);
        }
        self.bytes(record.header.as_bytes(), record.place)?;
        self.bytes(record.payload, record.place)
    }

    fn bytes(&mut self, bytes: &[u8], place: Place) -> Result<(), Error> {
        self.sink.write_all(bytes).map_err(|error| Error::new(error.into(), place))
    }

    /// Writes BEGIN and END of a package without a list. Returns the header of its last END.
    fn package_header(&mut self, name: &[u8], first: &Record<'_>) -> Result<Header, Error> {
        let order = first.header.order();
        let begin = Begin {
            magic: BEGIN_MAGIC,
            version_info: VersionInfo::new(HeaderType::Package, FeatureFlags::empty()),
            creation_time: 0,
            objset_type: 0,
            flags: BeginFlags::empty(),
            to_guid: Guid(0),
            from_guid: Guid(0),
            to_name: Begin::name_field(name).ok_or_else(|| {
                let limit = 255;
                let found = name.len() as u64;
                Error::new(Fault::TooLarge { what: "the name of the package", found, limit }, first.place)
            })?,
        };
        let end = Header::new(End { checksum: crate::checksum::Checksum::ZERO, to_guid: Guid(0) }, order);
        let mut writer = StreamWriter::new(&mut self.sink).trailers(Trailers::AsGiven);
        writer.write(&Header::new(begin, order), &[])?;
        writer.write(&end, &[])?;
        Ok(end)
    }

    fn finish(&mut self, place: &Place) -> Result<(), Error> {
        if let Some(end) = self.framed.take() {
            self.bytes(end.as_bytes(), *place)?;
        }
        self.sink.flush().map_err(|error| Error::new(error.into(), *place))
    }
}
