//! From directories.
//!
//! Nothing of the source is followed but what the user names: links below it are put as links.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, SeekFrom};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind};

use super::{Put, PutError};
use crate::files::CHUNK_BYTES;

/// The largest value of an extended attribute on Linux, in bytes.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Extended attributes in the name space `system` that are more than a view of something else.
const SYSTEM_XATTRS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Puts directories and files.
#[derive(Default)]
pub(crate) struct Tree {
    /// Objects of files with several names, by device and number.
    links: HashMap<(u64, u64), ObjectId>,
}

/// A name that is to be put: where from, and where to.
struct Next {
    source: PathBuf,
    parent: ObjectId,
    path: Vec<u8>,
    name: Vec<u8>,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PutError + '_ {
    move |error| PutError::Source(path.as_os_str().as_bytes().to_vec(), error)
}

impl Tree {
    /// Puts what is at `source` into `parent`, which lies at `above`, by the name `name`; without a name the content of
    /// a directory, whose attributes `parent` gets.
    pub(crate) fn put(
        &mut self,
        put: &mut Put,
        source: &Path,
        parent: ObjectId,
        above: &[u8],
        name: Option<&[u8]>,
    ) -> Result<(), PutError> {
        let mut open = Vec::new();
        match name {
            Some(name) => open.push(Next {
                source: source.to_owned(),
                parent,
                path: joined(above, name),
                name: name.to_vec(),
            }),
            None => {
                let data = fs::metadata(source).map_err(failed(source))?;
                let new = describe(put, source, &data, NodeKind::Directory)?;
                Put::at(above, put.writer.set_attributes(&mut put.target.set, parent, &new))?;
                open.extend(below(source, parent, above)?);
            }
        }
        while let Some(next) = open.pop() {
            if let Some(directory) = self.one(put, &next)? {
                open.extend(below(&next.source, directory, &next.path)?);
            }
        }
        Ok(())
    }

    /// Puts one node, and gives the object where it is a directory.
    fn one(&mut self, put: &mut Put, next: &Next) -> Result<Option<ObjectId>, PutError> {
        let Next { source, parent, path, name } = next;
        let data = fs::symlink_metadata(source).map_err(failed(source))?;
        let file_type = data.file_type();
        let id = (data.dev(), data.ino());
        let has_names = !file_type.is_dir() && data.nlink() > 1;
        if let Some(object) = self.links.get(&id).filter(|_| has_names) {
            put.link(*parent, path, name, *object)?;
            return Ok(None);
        }
        let (major, minor) = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
        let kind = if file_type.is_dir() {
            NodeKind::Directory
        } else if file_type.is_symlink() {
            NodeKind::Symlink(fs::read_link(source).map_err(failed(source))?.into_os_string().into_vec())
        } else if file_type.is_fifo() {
            NodeKind::Fifo
        } else if file_type.is_socket() {
            NodeKind::Socket
        } else if file_type.is_block_device() {
            NodeKind::BlockDevice(major, minor)
        } else if file_type.is_char_device() {
            NodeKind::CharDevice(major, minor)
        } else {
            NodeKind::File(data.len())
        };
        let object = if let NodeKind::File(_) = kind {
            self.file(put, next)?
        } else {
            let new = describe(put, source, &data, kind)?;
            put.node(*parent, path, name, &new)?
        };
        if has_names {
            self.links.insert(id, object);
        }
        Ok(file_type.is_dir().then_some(object))
    }

    fn file(&self, put: &mut Put, next: &Next) -> Result<ObjectId, PutError> {
        let Next { source, parent, path, name } = next;
        let failed = failed(source);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(source, flags, rustix::fs::Mode::empty())
            .map_err(|error| failed(error.into()))?
            .into();
        // What is open counts, whatever the name stands for by now.
        let data = file.metadata().map_err(&failed)?;
        if !data.is_file() {
            return Err(failed(io::Error::other("it was replaced while it was looked at")));
        }
        let size = data.len();
        let new = describe(put, source, &data, NodeKind::File(size))?;
        let object = put.node(*parent, path, name, &new)?;
        let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES))];
        let mut at = 0;
        while let Some((start, end)) = next_data(&file, at, size).map_err(&failed)? {
            at = start;
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                file.read_exact_at(&mut buffer[..length], at).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => failed(io::Error::other("it was cut while it was read")),
                    _ => failed(error),
                })?;
                put.content(object, path, at, &buffer[..length])?;
                at += length as u64;
            }
        }
        put.end(object, path, size)?;
        Ok(object)
    }
}

/// The next range of a file that is no hole.
fn next_data(file: &File, from: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        // The file system does not tell.
        Err(rustix::io::Errno::INVAL) => return Ok(Some((from, size))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok((start < size).then_some((start, end.min(size))))
}

/// The names in a directory, the first one last, so that it comes off the stack first.
fn below(source: &Path, parent: ObjectId, above: &[u8]) -> Result<Vec<Next>, PutError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(source).map_err(failed(source))? {
        let entry = entry.map_err(failed(source))?;
        let name = entry.file_name().into_vec();
        found.push(Next { source: entry.path(), parent, path: joined(above, &name), name });
    }
    found.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(found)
}

fn joined(above: &[u8], name: &[u8]) -> Vec<u8> {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

fn describe(put: &Put, source: &Path, data: &Metadata, kind: NodeKind) -> Result<NewNode, PutError> {
    let time =
        |seconds, nanoseconds: i64| put.time(Time { seconds, nanoseconds: nanoseconds.cast_unsigned() });
    let mtime = time(data.mtime(), data.mtime_nsec());
    Ok(NewNode {
        kind,
        permissions: data.mode() & 0o7777,
        uid: data.uid(),
        gid: data.gid(),
        // Reading changes it: an image that is to be the same every time cannot have it.
        atime: if put.latest.is_some() { mtime } else { time(data.atime(), data.atime_nsec()) },
        mtime,
        xattrs: if put.keeps_xattrs { xattrs(source).map_err(failed(source))? } else { Vec::new() },
    })
}

fn xattrs(source: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match rustix::fs::llistxattr(source, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"system.") && !SYSTEM_XATTRS.contains(&name) {
            continue;
        }
        let mut value = vec![0; XATTR_BYTES_MAX];
        let length = rustix::fs::lgetxattr(source, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    Ok(found)
}
