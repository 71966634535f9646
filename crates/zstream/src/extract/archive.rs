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

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::Range;

use tar::{Builder, EntryType, Header};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::node::{FileType, Node};
use zstream_zpl::{Content, Filesystem, Visit};

use super::{LOST_ACL, Report, What, has_acl, xattr_name};
use crate::error::{Error, Result};
use crate::place::source::{CHUNK_BYTES, joined};

/// The size of a name in the classic header, including the NUL that ends it.
const NAME_BYTES: usize = 100;
/// Above this, an owner does not fit the classic header.
const OWNER_MAX: u64 = 0o7_777_777;
/// Above this, a size does not.
const SIZE_MAX: u64 = 0o77_777_777_777;
const NANOSECONDS: u64 = 1_000_000_000;
/// Files with fewer bytes in holes are written without a map.
const HOLES_BYTES_MIN: u64 = 16 << 10;
/// The maximum number of ranges in a map: files with more holes are written without a map.
const RANGES_MAX: usize = 1 << 20;
/// Blocks of an archive.
const BLOCK_BYTES: usize = 512;

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
    /// A file whose first [`CHUNK_BYTES`] cannot be read is skipped. A file with a read error after them ends the
    /// archive, because its size is already written.
    pub(super) fn add(
        &mut self,
        fs: &Filesystem<'_>,
        parts: &[&[u8]],
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
        let path = parts.join(&b'/');
        let node = match fs.resolve(&path) {
            Ok(node) => node,
            Err(error) => {
                report.failed(&path, What::Name, error);
                return Ok(());
            }
        };
        for visit in fs.walk(node) {
            report.control.cancel().check()?;
            match visit {
                Visit::Node { path: below, node } => {
                    self.node(fs, &joined(&path, &below), &node, report)?;
                }
                Visit::Leave { .. } => {}
                Visit::Failed { path: below, error } => {
                    report.failed(&joined(&path, &below), What::Name, error);
                }
            }
        }
        Ok(())
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
        let mut pax = Vec::new();
        let mut header = Header::new_ustar();
        let mut content = None;
        let first = self.links.get(&node.object).cloned();
        let kind = match (node.file_type(), &first) {
            (Some(FileType::Directory), _) => EntryType::Directory,
            (Some(_), Some(_)) => EntryType::Link,
            (Some(FileType::File), _) => match fs.content(node) {
                Ok(found) => {
                    content = Some(found);
                    EntryType::Regular
                }
                Err(error) => {
                    report.failed(path, What::of(node), error);
                    return Ok(());
                }
            },
            (Some(FileType::Symlink), _) => EntryType::Symlink,
            (Some(FileType::Fifo), _) => EntryType::Fifo,
            (Some(FileType::CharDevice), _) => EntryType::Char,
            (Some(FileType::BlockDevice), _) => EntryType::Block,
            (Some(FileType::Socket), _) => {
                report.failed(path, What::Special, "an archive cannot hold a socket");
                return Ok(());
            }
            (None, _) => {
                report.failed(
                    path,
                    What::Name,
                    format_args!("mode {:o} has an unknown file type", node.mode),
                );
                return Ok(());
            }
        };
        header.set_entry_type(kind);
        let parts = match content.map(Parts::of).transpose() {
            Ok(parts) => parts,
            Err(error) => {
                report.failed(path, What::of(node), error);
                return Ok(());
            }
        };
        let slash: &[u8] = if kind == EntryType::Directory { b"/" } else { b"" };
        let name = if path.is_empty() { b"./".to_vec() } else { [path, slash].concat() };
        match &parts {
            Some(Parts { content, is_sparse: true, .. }) => {
                let size = content.size().to_string();
                let size = size.as_bytes();
                let records = [("major", &b"1"[..]), ("minor", b"0"), ("name", &name), ("realsize", size)];
                for (key, value) in records {
                    record(&mut pax, format!("GNU.sparse.{key}").as_bytes(), value);
                }
                // The name that programs show who do not know of sparse files.
                let (above, last) = match name.iter().rposition(|byte| *byte == b'/') {
                    Some(slash) => name.split_at(slash + 1),
                    None => (&b""[..], &name[..]),
                };
                let shown = [above, b"GNUSparseFile.0/", last].concat();
                text(&mut pax, "path", &shown, &mut header.as_old_mut().name);
            }
            _ => text(&mut pax, "path", &name, &mut header.as_old_mut().name),
        }
        let target = match kind {
            EntryType::Link => first,
            EntryType::Symlink => match fs.target(node) {
                Ok(target) => Some(target),
                Err(error) => {
                    report.failed(path, What::of(node), error);
                    return Ok(());
                }
            },
            _ => None,
        };
        if let Some(target) = target {
            text(&mut pax, "linkpath", &target, &mut header.as_old_mut().linkname);
        }
        attributes(&mut header, &mut pax, path, node, report)?;
        let size = parts.as_ref().map_or(0, |parts| parts.bytes);
        header.set_size(size);
        if size > SIZE_MAX {
            record(&mut pax, b"size", size.to_string().as_bytes());
        }
        if kind != EntryType::Link {
            xattrs(fs, &mut pax, path, node, report);
            if has_acl(node) {
                report.failed(path, What::Acl, LOST_ACL);
            }
        }
        report.restored(if kind == EntryType::Link { What::HardLink } else { What::of(node) });
        if node.links > 1 && !node.is_directory() {
            self.links.entry(node.object).or_insert_with(|| path.to_vec());
        }
        self.write(&mut header, &pax, path, parts, report)
    }

    fn write(
        &mut self,
        header: &mut Header,
        pax: &[u8],
        path: &[u8],
        parts: Option<Parts<'_>>,
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
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
            self.builder.append(&extended, pax).map_err(Error::Output)?;
        }
        header.set_cksum();
        let Some(Parts { content, ranges, head, .. }) = parts else {
            return self.builder.append(header, io::empty()).map_err(Error::Output);
        };
        let ranges = ranges.into_iter();
        report.did(head.len());
        let mut reader = Reader { content, report, here: 0..0, ranges, buffer: head, start: 0, fault: None };
        let written = self.builder.append(header, &mut reader);
        let is_cancelled = reader.report.control.is_cancelled();
        match (reader.fault, written) {
            (Some(source), _) => Err(Error::ArchiveCut { path: path.to_vec(), source: source.into() }),
            (None, Err(_)) if is_cancelled => Err(Error::Cancelled),
            (None, written) => written.map_err(Error::Output),
        }
    }
}

/// Stores a text in its field, and in a pax record if it does not fit or is not ASCII.
fn text(pax: &mut Vec<u8>, key: &str, value: &[u8], field: &mut [u8; NAME_BYTES]) {
    if value.len() >= NAME_BYTES || !value.is_ascii() {
        record(pax, key.as_bytes(), value);
    }
    let length = value.len().min(NAME_BYTES - 1);
    field[..length].copy_from_slice(&value[..length]);
}

/// Adds a pax record.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // Space, `=` and newline; then as many digits as the sum with them has.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    for part in [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"] {
        pax.extend_from_slice(part);
    }
}

fn attributes(
    header: &mut Header,
    pax: &mut Vec<u8>,
    path: &[u8],
    node: &Node,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    header.set_mode(node.permissions());
    for (id, key) in [(node.uid, "uid"), (node.gid, "gid")] {
        let number = match id.posix() {
            Some(number) => u64::from(number),
            None => {
                report.failed(
                    path,
                    What::Owner,
                    format_args!("{key} {} of a domain is not a POSIX id", id.rid()),
                );
                0
            }
        };
        if number > OWNER_MAX {
            record(pax, key.as_bytes(), number.to_string().as_bytes());
        }
        if key == "uid" { header.set_uid(number) } else { header.set_gid(number) }
    }
    let (seconds, nanoseconds) = (node.mtime.seconds, node.mtime.nanoseconds);
    header.set_mtime(u64::try_from(seconds).unwrap_or_default().min(SIZE_MAX));
    if nanoseconds >= NANOSECONDS {
        report.failed(path, What::Times, "its time has more nanoseconds than a second");
    } else if nanoseconds != 0 || seconds < 0 || seconds as u64 > SIZE_MAX {
        record(pax, b"mtime", decimal(seconds, nanoseconds).as_bytes());
    }
    if let Some((major, minor)) = node.device() {
        for (set, key, number) in [
            (Header::set_device_major as fn(&mut Header, u32) -> io::Result<()>, "SCHILY.devmajor", major),
            (Header::set_device_minor, "SCHILY.devminor", minor),
        ] {
            let fits = u64::from(number) <= OWNER_MAX;
            if !fits {
                record(pax, key.as_bytes(), number.to_string().as_bytes());
            }
            set(header, if fits { number } else { 0 })
                .map_err(|source| Error::Archive { path: path.to_vec(), source })?;
        }
    }
    Ok(())
}

/// A time as a decimal number: before 1970 the fraction counts in the negative direction.
fn decimal(seconds: i64, nanoseconds: u64) -> String {
    let total = i128::from(seconds) * i128::from(NANOSECONDS) + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, part) = (total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    format!("{sign}{whole}.{part:09}")
}

fn xattrs(fs: &Filesystem<'_>, pax: &mut Vec<u8>, path: &[u8], node: &Node, report: &mut Report<'_, '_>) {
    let found = match fs.xattrs(node) {
        Ok(found) => found,
        Err(error) => return report.failed(path, What::Xattr, error),
    };
    for xattr in found {
        match fs.xattr_value(&xattr) {
            // The name of a record ends at the first `=`.
            Ok(_) if xattr.name.contains(&b'=') => {
                report.failed(
                    path,
                    What::Xattr,
                    "a pax archive cannot hold an extended attribute with '=' in its name",
                );
            }
            Ok(value) => record(pax, &[b"SCHILY.xattr.", &xattr_name(&xattr.name)[..]].concat(), &value),
            Err(error) => report.failed(path, What::Xattr, error),
        }
    }
}

/// Content, and the part of it that the archive stores.
struct Parts<'a> {
    content: Content<'a>,
    /// The ranges to write after the beginning.
    ranges: Vec<Range<u64>>,
    /// The beginning of the stored data: a map of the ranges if holes are omitted, and the data that was already
    /// read.
    head: Vec<u8>,
    /// True if there is a map.
    is_sparse: bool,
    /// Bytes in the archive.
    bytes: u64,
}

impl<'a> Parts<'a> {
    fn of(content: Content<'a>) -> zstream_dmu::error::Result<Self> {
        let size = content.size();
        let ranges = content.ranges().take(RANGES_MAX + 1).collect::<Result<Vec<_>, _>>()?;
        let data: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let is_sparse = ranges.len() <= RANGES_MAX && size - data >= HOLES_BYTES_MIN;
        if !is_sparse {
            return Self::beginning(content, std::iter::once(0..size).collect(), Vec::new());
        }
        let end = ranges.last().is_none_or(|range| range.end < size).then_some(size..size);
        let ranges: Vec<_> = ranges.into_iter().chain(end).collect();
        let mut map = format!("{}\n", ranges.len());
        for range in &ranges {
            map += &format!("{}\n{}\n", range.start, range.end - range.start);
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK_BYTES), 0);
        Self::beginning(content, ranges, map)
    }

    /// Reads the beginning, before the header is written.
    fn beginning(
        content: Content<'a>,
        mut ranges: Vec<Range<u64>>,
        map: Vec<u8>,
    ) -> zstream_dmu::error::Result<Self> {
        let is_sparse = !map.is_empty();
        let data: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let bytes = map.len() as u64 + data;
        let (mut head, mut room) = (map, CHUNK_BYTES);
        for range in &mut ranges {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(room);
            let at = head.len();
            head.resize(at + length, 0);
            content.read(range.start, &mut head[at..])?;
            range.start += length as u64;
            room -= length;
            if room == 0 {
                break;
            }
        }
        Ok(Self { content, ranges, head, is_sparse, bytes })
    }
}

/// Content as a reader for the archive's writer.
struct Reader<'a, 'r, 'p, 'c> {
    content: Content<'a>,
    report: &'r mut Report<'p, 'c>,
    /// The rest of the current range.
    here: Range<u64>,
    ranges: std::vec::IntoIter<Range<u64>>,
    buffer: Vec<u8>,
    /// The consumed part of the buffer.
    start: usize,
    fault: Option<zstream_dmu::error::Error>,
}

impl Read for Reader<'_, '_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start == self.buffer.len() {
            if self.here.is_empty() {
                match self.ranges.next() {
                    Some(range) => self.here = range,
                    None => return Ok(0),
                }
                continue;
            }
            if self.report.control.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            let left = usize::try_from(self.here.end - self.here.start).unwrap_or(usize::MAX);
            self.buffer.resize(left.min(CHUNK_BYTES), 0);
            self.start = 0;
            if let Err(fault) = self.content.read(self.here.start, &mut self.buffer) {
                self.fault = Some(fault);
                return Err(io::Error::other("content cannot be read"));
            }
            self.here.start += self.buffer.len() as u64;
            self.report.did(self.buffer.len());
        }
        let length = out.len().min(self.buffer.len() - self.start);
        out[..length].copy_from_slice(&self.buffer[self.start..self.start + length]);
        self.start += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of a record counts its own digits, also where they become one more by that.
    #[test]
    fn records_count_themselves() {
        for value in 0..1100 {
            let mut pax = Vec::new();
            record(&mut pax, b"key", &vec![b'x'; value]);
            let digits = pax.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&pax[..digits]).unwrap().parse(), Ok(pax.len()));
        }
    }

    #[test]
    fn times_before_1970_are_one_number() {
        assert_eq!(decimal(5, 250_000_000), "5.250000000");
        assert_eq!(decimal(-1, 250_000_000), "-0.750000000");
    }
}
