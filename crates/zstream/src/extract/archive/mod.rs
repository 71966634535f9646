//! Extraction into a pax archive.
//!
//! Values that do not fit a classic header (long names, fractions of seconds, extended attributes, large numbers) are
//! stored in a pax header before it:
//!
//! ```text
//! LENGTH KEY=VALUE\n ...       LENGTH is decimal and counts the whole record, itself included
//! ```
//!
//! Files with holes are in GNU tar's sparse format 1.0, which GNU tar, bsdtar and others read. Its records are
//! `GNU.sparse.major`, `minor`, `name` and `realsize`; the content begins with a map, and only data follows:
//!
//! ```text
//! COUNT\n OFFSET\n LENGTH\n ...   decimal, zeros up to a multiple of 512; the last range ends where the file ends
//! ```

mod content;
mod pax;

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};

use tar::{Builder, EntryType, Header};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::Filesystem;
use zstream_zpl::node::{FileType, Node};

use self::content::{Parts, Reader};
use self::pax::Fields;
use super::walk::{Step, resolve, walk};
use super::{LOST_ACL, Report, What, has_acl};
use crate::error::{Error, Result};

/// The form in which an archive stores a node.
struct Entry<'a> {
    kind: EntryType,
    /// The target of a link.
    target: Option<Vec<u8>>,
    /// The content of a file.
    parts: Option<Parts<'a>>,
}

/// Writes an archive.
pub(super) struct Archive<W: Write> {
    builder: Builder<W>,
    /// The first path of each node with several names.
    links: HashMap<ObjectId, Vec<u8>>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self { builder: Builder::new(output), links: HashMap::new() }
    }

    /// Adds the tree at a path of the filesystem.
    ///
    /// A file whose first [`CHUNK_BYTES`](crate::CHUNK_BYTES) cannot be read is skipped. A file with a read error after them ends the
    /// archive, because its size is already written.
    pub(super) fn add(
        &mut self,
        fs: &Filesystem<'_>,
        parts: &[&[u8]],
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
        let path = parts.join(&b'/');
        let Some(node) = resolve(fs, &path, report) else { return Ok(()) };
        walk(fs, &path, node, report, |here, step, report| match step {
            Step::Node(node) => self.node(fs, here, &node, report),
            Step::Leave(_) => Ok(()),
        })
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<()> {
        let written = self.builder.into_inner().and_then(|mut output| output.flush());
        written.map_err(Error::Output)
    }

    fn node(
        &mut self,
        fs: &Filesystem<'_>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
        let Some(Entry { kind, target, parts }) = self.entry(fs, path, node, report) else { return Ok(()) };
        let mut fields = Fields::new();
        fields.header.set_entry_type(kind);
        let slash: &[u8] = if kind == EntryType::Directory { b"/" } else { b"" };
        let name = if path.is_empty() { b"./".to_vec() } else { [path, slash].concat() };
        fields.set_name(&name, parts.as_ref());
        if let Some(target) = target {
            fields.set_target(&target);
        }
        fields.set_attributes(path, node, report)?;
        fields.set_size(parts.as_ref().map_or(0, |parts| parts.bytes));
        if kind != EntryType::Link {
            fields.set_xattrs(fs, path, node, report);
            if has_acl(node) {
                report.failed(path, What::Acl, LOST_ACL);
            }
        }
        report.restored(if kind == EntryType::Link { What::HardLink } else { What::of(node) });
        if node.links > 1 && !node.is_directory() {
            self.links.entry(node.object).or_insert_with(|| path.to_vec());
        }
        self.write(fields, path, parts, report)
    }

    /// Returns the form in which the archive stores a node; `None` if it is reported that it cannot.
    fn entry<'f>(
        &self,
        fs: &Filesystem<'f>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) -> Option<Entry<'f>> {
        let plain = |kind| Some(Entry { kind, target: None, parts: None });
        match (node.file_type(), self.links.get(&node.object)) {
            (Some(FileType::Directory), _) => plain(EntryType::Directory),
            (Some(_), Some(first)) => {
                Some(Entry { kind: EntryType::Link, target: Some(first.clone()), parts: None })
            }
            (Some(FileType::File), _) => {
                let parts = match fs.content(node).map(Parts::of) {
                    Ok(Ok(parts)) => parts,
                    Ok(Err(error)) => return report_none(report, path, node, error),
                    Err(error) => return report_none(report, path, node, error),
                };
                Some(Entry { kind: EntryType::Regular, target: None, parts: Some(parts) })
            }
            (Some(FileType::Symlink), _) => match fs.target(node) {
                Ok(target) => Some(Entry { kind: EntryType::Symlink, target: Some(target), parts: None }),
                Err(error) => report_none(report, path, node, error),
            },
            (Some(FileType::Fifo), _) => plain(EntryType::Fifo),
            (Some(FileType::CharDevice), _) => plain(EntryType::Char),
            (Some(FileType::BlockDevice), _) => plain(EntryType::Block),
            (Some(FileType::Socket), _) => {
                report.failed(path, What::Special, "an archive cannot hold a socket");
                None
            }
            (None, _) => {
                let why = format_args!("mode {:o} has an unknown file type", node.mode);
                report.failed(path, What::Name, why);
                None
            }
        }
    }

    fn write(
        &mut self,
        fields: Fields,
        path: &[u8],
        parts: Option<Parts<'_>>,
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
        let Fields { mut header, pax } = fields;
        if !pax.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.as_old_mut().name[..4].copy_from_slice(b"pax/");
            extended.set_mode(0o600);
            extended.set_uid(0);
            extended.set_gid(0);
            extended.set_mtime(0);
            extended.set_size(pax.len() as u64);
            extended.set_cksum();
            self.builder.append(&extended, &pax[..]).map_err(Error::Output)?;
        }
        header.set_cksum();
        let Some(parts) = parts else {
            return self.builder.append(&header, io::empty()).map_err(Error::Output);
        };
        report.did(parts.head.len());
        let mut reader = Reader::new(parts, report);
        let written = self.builder.append(&header, &mut reader);
        let is_cancelled = reader.report.control.is_cancelled();
        match (reader.fault, written) {
            (Some(source), _) => Err(Error::ArchiveCut { path: path.to_vec(), source: source.into() }),
            (None, Err(_)) if is_cancelled => Err(Error::Cancelled),
            (None, written) => written.map_err(Error::Output),
        }
    }
}

/// Reports that the content of a node cannot be read.
fn report_none<T>(report: &mut Report<'_, '_>, path: &[u8], node: &Node, error: impl Display) -> Option<T> {
    report.failed(path, What::of(node), error);
    None
}
