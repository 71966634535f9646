//! Files from directories of the host.
//!
//! ```text
//! walk, a thread: directories, attributes, content --> steps, in the order of the walk --> put: nodes, content
//! ```
//!
//! Thus the next files are read while the previous ones are compressed and written. Steps are sent in batches through
//! a short queue.
//!
//! Symbolic links are followed only in the paths that the user names; links below them are put as links.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rustix::fs::{OFlags, SeekFrom};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind};

use super::ahead::{BATCH_BYTES, BATCHES};
use super::extents::SharedExtents;
use super::files::{Putting, Rules};
use super::reflink::SharedParts;
use crate::error::PutFault;

/// The largest value of an extended attribute on Linux, in bytes.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Extended attributes in the namespace `system` that are stored, not derived.
const SYSTEM_XATTRS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// The size of a step without its content, in bytes.
const STEP_BYTES: usize = 512;

/// The unit of [`Metadata::blocks`], in bytes.
const STAT_BLOCK_BYTES: u64 = 512;

/// A file on the host: device and number.
type FileId = (u64, u64);

/// Puts directories and files.
pub(super) struct Tree {
    /// Files with several names that the walk has found.
    seen: HashSet<FileId>,
    /// The objects of those that were put.
    links: HashMap<FileId, ObjectId>,
    /// The source of shared extents, if blocks are to be cloned.
    extents: Option<Arc<dyn SharedExtents>>,
}

/// The target of a step.
struct Place {
    /// The number of its directory, in the order of the walk; 0 is the target directory.
    parent: usize,
    path: Vec<u8>,
    name: Vec<u8>,
}

/// A step of the walk.
enum Step {
    /// The attributes of directory 0.
    Attributes(NewNode),
    /// A node; a directory gets the next number. One with several names is remembered.
    Node(Place, NewNode, Option<FileId>),
    /// An additional name of a node.
    Link(Place, FileId),
    /// The parts of the last node that other files share.
    Shared(SharedParts),
    /// Content of the last node, at an offset.
    Content(u64, Vec<u8>),
    /// The content of the last node is complete.
    End,
    /// The walk ends here.
    Failed(PutFault),
}

impl Step {
    fn bytes(&self) -> usize {
        let of_new = |new: &NewNode| new.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let more = match self {
            Self::Content(_, bytes) => bytes.len(),
            Self::Attributes(new) => of_new(new),
            Self::Node(place, new, _) => of_new(new) + place.path.len(),
            Self::Link(place, _) => place.path.len(),
            Self::Shared(_) | Self::End | Self::Failed(_) => 0,
        };
        STEP_BYTES + more
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PutFault + '_ {
    move |error| PutFault::Source { path: path.as_os_str().as_bytes().to_vec(), source: error }
}

impl Tree {
    /// Creates a tree. With `extents`, blocks that files share become clones.
    pub(super) fn new(extents: Option<Arc<dyn SharedExtents>>) -> Self {
        Self { seen: HashSet::new(), links: HashMap::new(), extents }
    }

    /// Puts `source` into `parent`, whose path is `above`, under the name `name`. Without a name, puts the content of
    /// a directory, and `parent` gets its attributes.
    pub(super) fn put(
        &mut self,
        put: &mut Putting<'_, '_>,
        source: &Path,
        parent: ObjectId,
        above: &[u8],
        name: Option<&[u8]>,
    ) -> Result<(), PutFault> {
        let Self { seen, links, extents } = self;
        let extents = extents.as_deref();
        let (sender, steps) = sync_channel(BATCHES);
        let rules = put.rules;
        let piece_bytes = put.writer.record_bytes().max(BATCH_BYTES as u64);
        thread::scope(|scope| {
            let walk = move || {
                let mut walk = Walk {
                    seen,
                    extents,
                    rules,
                    piece_bytes,
                    numbers: 0,
                    names: vec![0; XATTR_BYTES_MAX],
                    batch: Vec::new(),
                    bytes: 0,
                    sender,
                };
                walk.all(source, above, name);
            };
            let spawned = thread::Builder::new().name("read ahead".to_owned()).spawn_scoped(scope, walk);
            spawned.map_err(failed(source))?;
            // With the receiver gone, the walk ends.
            put_all(put, steps, links, parent, above)
        })
    }
}

/// Puts everything that the walk finds.
fn put_all(
    put: &mut Putting<'_, '_>,
    steps: Receiver<Vec<Step>>,
    links: &mut HashMap<FileId, ObjectId>,
    root: ObjectId,
    above: &[u8],
) -> Result<(), PutFault> {
    let mut directories = vec![root];
    let (mut object, mut path, mut size, mut parts) = (root, Vec::new(), 0, SharedParts::default());
    for step in steps.into_iter().flatten() {
        match step {
            Step::Attributes(new) => {
                Putting::at(above, put.writer.set_attributes(&mut put.target.set, root, &new))?;
            }
            Step::Node(place, new, id) => {
                object = put.node(directories[place.parent], &place.path, &place.name, &new)?;
                (path, parts) = (place.path, SharedParts::default());
                match new.kind {
                    NodeKind::Directory => directories.push(object),
                    NodeKind::File(bytes) => size = bytes,
                    _ => {}
                }
                if let Some(id) = id {
                    links.insert(id, object);
                }
            }
            Step::Link(place, id) => {
                put.link(directories[place.parent], &place.path, &place.name, links[&id])?;
            }
            Step::Shared(found) => parts = found,
            Step::Content(offset, bytes) => {
                put.shared_content(object, &path, offset, &bytes, size, &parts)?;
            }
            Step::End => put.end(object, &path, size)?,
            Step::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

/// A name that the walk has yet to visit.
struct Next {
    source: PathBuf,
    place: Place,
}

/// The reason that a walk ends early.
enum Stop {
    Failed(PutFault),
    /// The receiver of the steps is gone.
    Gone,
}

impl From<PutFault> for Stop {
    fn from(error: PutFault) -> Self {
        Self::Failed(error)
    }
}

/// A walk through a tree.
struct Walk<'a> {
    seen: &'a mut HashSet<FileId>,
    extents: Option<&'a dyn SharedExtents>,
    rules: Rules,
    /// The size of a read of content, in bytes: a multiple of the block size.
    piece_bytes: u64,
    /// The last number that a directory got.
    numbers: usize,
    /// A buffer for the names of extended attributes.
    names: Vec<u8>,
    batch: Vec<Step>,
    bytes: usize,
    sender: SyncSender<Vec<Step>>,
}

impl Walk<'_> {
    fn all(&mut self, source: &Path, above: &[u8], name: Option<&[u8]>) {
        let result = match self.tree(source, above, name) {
            Err(Stop::Failed(error)) => self.found(Step::Failed(error)),
            other => other,
        };
        if result.is_ok() {
            // A receiver that does not take the last batch has failed, and reports that.
            drop(self.send());
        }
    }

    fn found(&mut self, step: Step) -> Result<(), Stop> {
        self.bytes += step.bytes();
        self.batch.push(step);
        if self.bytes < BATCH_BYTES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Stop> {
        self.bytes = 0;
        self.sender.send(std::mem::take(&mut self.batch)).map_err(|_| Stop::Gone)
    }

    fn tree(&mut self, source: &Path, above: &[u8], name: Option<&[u8]>) -> Result<(), Stop> {
        let mut open = Vec::new();
        match name {
            Some(name) => {
                let place = Place { parent: 0, path: joined(above, name), name: name.to_vec() };
                open.push(Next { source: source.to_owned(), place });
            }
            None => {
                let data = fs::metadata(source).map_err(failed(source))?;
                let new = self.describe(source, &data, NodeKind::Directory)?;
                self.found(Step::Attributes(new))?;
                open.extend(below(source, 0, above)?);
            }
        }
        while let Some(Next { source, place }) = open.pop() {
            let data = fs::symlink_metadata(&source).map_err(failed(&source))?;
            if data.is_dir() {
                let new = self.describe(&source, &data, NodeKind::Directory)?;
                self.numbers += 1;
                let names = below(&source, self.numbers, &place.path)?;
                self.found(Step::Node(place, new, None))?;
                open.extend(names);
            } else {
                self.one(&source, place, &data)?;
            }
        }
        Ok(())
    }

    /// Reports one node that is not a directory.
    fn one(&mut self, source: &Path, place: Place, data: &Metadata) -> Result<(), Stop> {
        let id = (data.nlink() > 1).then(|| (data.dev(), data.ino()));
        if let Some(id) = id.filter(|id| !self.seen.insert(*id)) {
            return self.found(Step::Link(place, id));
        }
        let file_type = data.file_type();
        // The type of the number depends on the system.
        let device = data.rdev() as _;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let kind = if file_type.is_symlink() {
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
            return self.file(source, place, id);
        };
        let new = self.describe(source, data, kind)?;
        self.found(Step::Node(place, new, id))
    }

    fn file(&mut self, source: &Path, place: Place, id: Option<FileId>) -> Result<(), Stop> {
        let failed = failed(source);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(source, flags, rustix::fs::Mode::empty())
            .map_err(|error| failed(error.into()))?
            .into();
        // The open file counts, not what the name refers to by now.
        let data = file.metadata().map_err(&failed)?;
        if !data.is_file() {
            return Err(failed(io::Error::other("it was replaced while it was read")).into());
        }
        let size = data.len();
        let is_sparse = has_holes(&data);
        let new = self.describe(source, &data, NodeKind::File(size))?;
        self.found(Step::Node(place, new, id))?;
        if let Some(extents) = self.extents {
            let extents = extents.of(&file).map_err(&failed)?;
            if !extents.is_empty() {
                self.found(Step::Shared(SharedParts::new(data.dev(), extents)))?;
            }
        }
        let mut at = 0;
        while let Some((start, end)) = next_data(&file, at, size, is_sparse).map_err(&failed)? {
            at = start;
            while at < end {
                let whole = self.piece_bytes - at % self.piece_bytes;
                let mut bytes = vec![0; whole.min(end - at) as usize];
                file.read_exact_at(&mut bytes, at).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        failed(io::Error::other("it was truncated while it was read"))
                    }
                    _ => failed(error),
                })?;
                let length = bytes.len() as u64;
                self.found(Step::Content(at, bytes))?;
                at += length;
            }
        }
        self.found(Step::End)
    }

    fn describe(&mut self, source: &Path, data: &Metadata, kind: NodeKind) -> Result<NewNode, PutFault> {
        let Rules { latest, keeps_xattrs } = self.rules;
        let rules = self.rules;
        let time = |seconds, nanoseconds: i64| {
            rules.time(Time { seconds, nanoseconds: nanoseconds.cast_unsigned() })
        };
        let mtime = time(data.mtime(), data.mtime_nsec());
        let xattrs = match keeps_xattrs {
            true => xattrs(source, &mut self.names).map_err(failed(source))?,
            false => Vec::new(),
        };
        Ok(NewNode {
            kind,
            permissions: data.mode() & 0o7777,
            uid: data.uid(),
            gid: data.gid(),
            // Reading changes it: an image that is to be the same every time cannot have it.
            atime: if latest.is_some() { mtime } else { time(data.atime(), data.atime_nsec()) },
            mtime,
            xattrs,
        })
    }
}

/// True if a file may have holes: it has fewer blocks than its length requires. Zeros in other files become holes
/// anyway.
pub(super) fn has_holes(data: &Metadata) -> bool {
    data.blocks().saturating_mul(STAT_BLOCK_BYTES) < data.len()
}

/// The next data range of a file.
pub(super) fn next_data(
    file: &File,
    from: u64,
    size: u64,
    is_sparse: bool,
) -> io::Result<Option<(u64, u64)>> {
    if from >= size {
        return Ok(None);
    }
    if !is_sparse {
        return Ok(Some((from, size)));
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        // The file system does not report holes.
        Err(rustix::io::Errno::INVAL) => return Ok(Some((from, size))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok((start < size).then_some((start, end.min(size))))
}

/// The names in a directory in reverse order, so that the first one is popped from the stack first.
fn below(source: &Path, parent: usize, above: &[u8]) -> Result<Vec<Next>, PutFault> {
    let mut found = Vec::new();
    for entry in fs::read_dir(source).map_err(failed(source))? {
        let entry = entry.map_err(failed(source))?;
        let name = entry.file_name().into_vec();
        let place = Place { parent, path: joined(above, &name), name };
        found.push(Next { source: entry.path(), place });
    }
    found.sort_by(|a, b| b.place.name.cmp(&a.place.name));
    Ok(found)
}

fn joined(above: &[u8], name: &[u8]) -> Vec<u8> {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

/// The extended attributes; `names` is a buffer for their names.
fn xattrs(source: &Path, names: &mut [u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let length = match rustix::fs::llistxattr(source, &mut *names) {
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
