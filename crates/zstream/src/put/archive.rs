//! Files from a tar archive: ustar, pax or GNU.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;

use tar::{EntryType, Header};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind};

use super::files::Putting;
use super::sparse::{self, Sparse};
use crate::error::PutFault;
use crate::place::source::CHUNK_BYTES;
use crate::text::file_name;

/// The prefix of pax keys of extended attributes.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
/// The prefix of pax keys of sparse files.
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

/// The pax records of the next entry.
#[derive(Default)]
struct Pax {
    mtime: Option<Time>,
    atime: Option<Time>,
    uid: Option<u32>,
    gid: Option<u32>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Sparse,
}

pub(super) fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// An archive whose entries are put below a directory.
struct Archive<'a> {
    /// The name of the archive in errors.
    name: &'a [u8],
    /// The path of the directory.
    above: &'a [&'a [u8]],
    /// Objects by path in the archive, for links to them.
    files: HashMap<Vec<u8>, ObjectId>,
    buffer: Vec<u8>,
}

/// Puts all entries of an archive below `parent`, whose path is `above`.
pub(super) fn put(
    put: &mut Putting<'_, '_>,
    archive: impl Read,
    name: &[u8],
    above: &[&[u8]],
) -> Result<(), PutFault> {
    let of_archive = |error: io::Error| PutFault::Source { path: name.to_vec(), source: error };
    let mut archive = tar::Archive::new(archive);
    let mut state = Archive { name, above, files: HashMap::new(), buffer: vec![0; CHUNK_BYTES] };
    for entry in archive.entries().map_err(of_archive)? {
        state.entry(put, entry.map_err(of_archive)?)?;
    }
    Ok(())
}

impl Archive<'_> {
    /// Puts an entry.
    fn entry(
        &mut self,
        put: &mut Putting<'_, '_>,
        mut entry: tar::Entry<'_, impl Read>,
    ) -> Result<(), PutFault> {
        let shown = entry.path_bytes().into_owned();
        let of_entry = self.of_entry(&shown);
        let mut pax = pax(&mut entry).map_err(&of_entry)?;
        let sparse = std::mem::take(&mut pax.sparse).finish().map_err(&of_entry)?;
        let path = sparse.as_ref().map_or(&shown, |(path, _)| path).clone();
        let parts = parts(&path).map_err(&of_entry)?;
        let whole = [self.above, &parts[..]].concat();
        let target = whole.join(&b'/');
        let kind = match kind(&entry).map_err(&of_entry)? {
            Some(NodeKind::File(size)) => NodeKind::File(sparse.as_ref().map_or(size, |(_, size)| *size)),
            Some(kind) => kind,
            None => {
                let object = self.linked(&entry).map_err(&of_entry)?;
                let Some((last, way)) = whole.split_last() else { return Ok(()) };
                let parent = put.made_directory(way)?;
                return put.link(parent, &target, last, object);
            }
        };
        let new = describe(put, entry.header(), kind, pax).map_err(&of_entry)?;
        let Some((last, way)) = whole.split_last() else {
            // The root of the archive, put at the root.
            let root = put.writer.root();
            return Putting::at(&target, put.writer.set_attributes(&mut put.target.set, root, &new));
        };
        let parent = put.made_directory(way)?;
        let object = put.node(parent, &target, last, &new)?;
        if let NodeKind::File(size) = new.kind {
            let ranges = match sparse {
                Some(_) => sparse::read_map(&mut entry, size).map_err(&of_entry)?,
                None => std::iter::once(0..size).collect(),
            };
            for range in ranges {
                self.content(put, &mut entry, (object, &target), range)?;
            }
            put.end(object, &target, size)?;
        }
        if new.kind != NodeKind::Directory {
            self.files.insert(parts.join(&b'/'), object);
        }
        Ok(())
    }

    /// Returns the object that a hard link is for.
    fn linked(&self, entry: &tar::Entry<'_, impl Read>) -> io::Result<ObjectId> {
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let to = parts(&link)?;
        self.files.get(&to.join(&b'/')).copied().ok_or_else(|| {
            bad(format!(
                "the target {} of the hard link does not precede it in the archive",
                file_name(&link)
            ))
        })
    }

    /// Puts a range of the content of a file, which is the next in the archive.
    fn content(
        &mut self,
        put: &mut Putting<'_, '_>,
        entry: &mut tar::Entry<'_, impl Read>,
        (object, target): (ObjectId, &[u8]),
        range: Range<u64>,
    ) -> Result<(), PutFault> {
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(self.buffer.len());
            if let Err(error) = entry.read_exact(&mut self.buffer[..length]) {
                return Err(self.of_entry(&entry.path_bytes())(error));
            }
            put.content(object, target, at, &self.buffer[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    /// Adds the archive and the path of an entry to an error.
    fn of_entry(&self, path: &[u8]) -> impl Fn(io::Error) -> PutFault + use<> {
        let path = [self.name, b": ", path].concat();
        move |source| PutFault::Source { path: path.clone(), source }
    }
}

/// The components of a path in the archive; they never lead out of the target.
fn parts(path: &[u8]) -> io::Result<Vec<&[u8]>> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(bad("the path contains '..'".to_owned()));
    }
    Ok(parts)
}

/// The kind of an entry; none for a hard link to an earlier entry.
fn kind(entry: &tar::Entry<'_, impl Read>) -> io::Result<Option<NodeKind>> {
    let header = entry.header();
    let device = || {
        let number =
            |found: io::Result<Option<u32>>| found?.ok_or_else(|| bad("the device has no number".to_owned()));
        Ok::<_, io::Error>((number(header.device_major())?, number(header.device_minor())?))
    };
    Ok(Some(match header.entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => NodeKind::File(entry.size()),
        EntryType::Directory => NodeKind::Directory,
        EntryType::Symlink => NodeKind::Symlink(
            entry
                .link_name_bytes()
                .ok_or_else(|| bad("the symbolic link has no target".to_owned()))?
                .into_owned(),
        ),
        EntryType::Fifo => NodeKind::Fifo,
        EntryType::Block => device().map(|(major, minor)| NodeKind::BlockDevice(major, minor))?,
        EntryType::Char => device().map(|(major, minor)| NodeKind::CharDevice(major, minor))?,
        EntryType::Link => return Ok(None),
        other => return Err(bad(format!("entries of type {other:?} are not supported"))),
    }))
}

fn describe(put: &Putting<'_, '_>, header: &Header, kind: NodeKind, pax: Pax) -> io::Result<NewNode> {
    let owner = |found: io::Result<u64>| {
        found.and_then(|id| u32::try_from(id).map_err(|_| bad(format!("owner {id} is out of range"))))
    };
    let seconds = |seconds: u64| Time { seconds: seconds.cast_signed(), nanoseconds: 0 };
    let mtime = match pax.mtime {
        Some(time) => time,
        None => seconds(header.mtime()?),
    };
    Ok(NewNode {
        kind,
        permissions: header.mode()? & 0o7777,
        uid: pax.uid.map_or_else(|| owner(header.uid()), Ok)?,
        gid: pax.gid.map_or_else(|| owner(header.gid()), Ok)?,
        atime: put.rules.time(pax.atime.unwrap_or(mtime)),
        mtime: put.rules.time(mtime),
        xattrs: if put.rules.keeps_xattrs { pax.xattrs } else { Vec::new() },
    })
}

fn pax(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Pax> {
    let mut pax = Pax::default();
    let Some(extensions) = entry.pax_extensions()? else { return Ok(pax) };
    for extension in extensions {
        let extension = extension?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        let id = || {
            let found = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            found.ok_or_else(|| {
                bad(format!("owner {:?} is not a valid number", String::from_utf8_lossy(value)))
            })
        };
        match key {
            b"mtime" => pax.mtime = Some(time(value)?),
            b"atime" => pax.atime = Some(time(value)?),
            b"uid" => pax.uid = Some(id()?),
            b"gid" => pax.gid = Some(id()?),
            _ => {
                if let Some(key) = key.strip_prefix(SPARSE_PREFIX) {
                    pax.sparse.take(key, value);
                } else if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    pax.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(pax)
}

/// Decimal seconds since 1970 with a fraction.
fn time(text: &[u8]) -> io::Result<Time> {
    let parse = || {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut seconds: i64 = whole.parse().ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        let mut nanoseconds: u64 = digits.parse().ok()?;
        // The fraction of a negative number counts away from zero.
        if whole.starts_with('-') && nanoseconds > 0 {
            (seconds, nanoseconds) = (seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds);
        }
        Some(Time { seconds, nanoseconds })
    };
    parse().ok_or_else(|| bad(format!("time {:?} is not valid", String::from_utf8_lossy(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions() {
        let of = |text: &str| time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds)).ok();
        assert_eq!(of("12"), Some((12, 0)));
        assert_eq!(of("12.5"), Some((12, 500_000_000)));
        assert_eq!(of("12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(of("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(of("-0.25"), Some((-1, 750_000_000)));
        assert_eq!(of("1.-5"), None);
        assert_eq!(of("x"), None);
    }

    #[test]
    fn no_path_leads_out() {
        assert_eq!(parts(b"./a//b/").unwrap(), [&b"a"[..], b"b"]);
        assert_eq!(parts(b"/etc/passwd").unwrap(), [&b"etc"[..], b"passwd"]);
        assert!(parts(b"a/../../b").is_err());
    }
}
