//! Files put into a filesystem of a pool, and images into a volume.
//!
//! ```text
//! Put::open -> paths: directories and files of the host (tree)    -> finish: writes everything or nothing
//!              archive: the entries of a tar archive
//!              file: bytes of the caller
//!              image: the content of a volume
//! ```

mod ahead;
mod archive;
mod sparse;
mod tree;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use zstream_dmu::Random;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::pool::WriteOptions;
use zstream_dmu::zap::Value;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::stored_number;
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::error::{Error as FileError, Fault as FileFault};
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::quota::{self, Used};
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer, write_hole, write_image};

use self::ahead::ReadAhead;
use self::tree::{Tree, has_holes, next_data};
use crate::control::{Control, Warning};
use crate::error::{Cause, Error, PutFault, Request, Result};
use crate::place::keys::unlock_to_write;
use crate::place::pool::leave;
use crate::place::source::{CHUNK_BYTES, parts};
use crate::place::{Keys, PoolPlace};
use crate::text::file_name;

/// Changes in memory above which a transaction group is completed, in bytes.
const DIRTY_BYTES_MAX: usize = 128 << 20;

/// Content above which a transaction group is completed, in bytes.
const CONTENT_BYTES_MAX: u64 = 8 << 30;

/// The number of bytes of an image between two checks whether the transaction group is full.
const IMAGE_PART_BYTES: u64 = 64 << 20;

/// Bytes in a slot of a dnode.
const SLOT_BYTES: u64 = 512;

/// The default permissions: of created directories, and of files of [`Put::file`].
const DIRECTORY_PERMISSIONS: u32 = 0o755;
const FILE_PERMISSIONS: u32 = 0o644;

/// Options of a [`Put`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// Use the pool even if another host may have it imported.
    pub force: bool,
    /// Use this time, in seconds since 1970, instead of the current time, and clamp later times to it: the same
    /// sources then produce a bit-identical image.
    pub timestamp: Option<u64>,
}

/// The source of an archive or image.
pub enum Input {
    /// A file of the host.
    Path(PathBuf),
    /// Bytes of a reader.
    Reader {
        /// Its name in errors.
        name: Vec<u8>,
        /// The bytes.
        reader: Box<dyn Read + Send>,
    },
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Reader { name, .. } => f.debug_tuple("Reader").field(&file_name(name)).finish(),
        }
    }
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

/// A dataset to put files or an image into.
///
/// Nothing is written to the pool before [`finish`](Self::finish), except that a transaction group is completed after
/// every 8 GiB of content. Dropping this value discards everything since then. After an error nothing can be added.
///
/// ```no_run
/// use zstream::{Control, NoKeys, PoolPlace, Put, PutOptions};
///
/// # fn main() -> zstream::Result<()> {
/// let place = PoolPlace::new(["disk.img"]);
/// let mut put = Put::open(&place, "tank/home", &PutOptions::default(), &NoKeys)?;
/// put.paths(b"", &["photos".into()], &mut Control::new())?;
/// put.file(b"photos/README", b"from the camera\n", &mut Control::new())?;
/// put.finish("my program")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Put {
    target: Target,
    /// None for a volume.
    files: Option<Files>,
    name: String,
    has_failed: bool,
    /// Whether a warning is due that the blocks are not deduplicated.
    wants_dedup: bool,
}

/// A filesystem's writer, and its attribute rules.
#[derive(Debug)]
struct Files {
    writer: Writer,
    rules: Rules,
    now: Time,
}

/// A filesystem or volume that is written to.
#[derive(Debug)]
struct Target {
    pool: WritablePool,
    head: ObjectId,
    set: ObjsetWriter,
    /// Content written since the last commit.
    written: u64,
    /// The last transaction group that was completed before the end.
    committed: Option<Txg>,
    /// What users, groups and projects with quotas used before.
    used: Used,
}

impl Put {
    /// Opens the pool and the filesystem or volume `name` in it.
    ///
    /// # Errors
    /// The dataset does not exist or cannot be written; its key is not available.
    pub fn open(place: &PoolPlace, name: &str, options: &PutOptions, keys: &dyn Keys) -> Result<Self> {
        if name.contains(['@', '#']) {
            return Err(Request::NotWritable(name.to_owned()).into());
        }
        let writing =
            WriteOptions { force: options.force, now: options.timestamp, ..WriteOptions::default() };
        let mut pool = place.open_writable(Some(name), writing, options.timestamp)?;
        let head = {
            let head = pool.dsl().head(name)?;
            head.check_not_filled()?;
            head.object()
        };
        unlock_to_write(&mut pool, head, keys)?;
        let wants_dedup = pool.dsl().dataset_by_object(head)?.wants_dedup()?;
        let before = pool.dsl().dataset_by_object(head)?.objset()?;
        let used = quota::used(&before)?;
        let set = pool.open_head(head)?;
        let is_volume = set.objset_type() == ObjsetType::ZVOL;
        let mut target = Target { pool, head, set, written: 0, committed: None, used };
        let files = if is_volume { None } else { Some(Files::open(&mut target, name, options)?) };
        Ok(Self { target, files, name: name.to_owned(), has_failed: false, wants_dedup })
    }

    /// True for a volume, which accepts an image but no files.
    #[must_use]
    pub fn is_volume(&self) -> bool {
        self.files.is_none()
    }

    /// Puts a raw image into a volume, from offset 0. Zeros become holes; the rest of the volume is unchanged.
    ///
    /// The image is read ahead on a separate thread. Holes of a file are not read.
    ///
    /// # Errors
    /// The image cannot be read or is larger than the volume; the volume cannot be written.
    pub fn image(&mut self, image: Input, control: &mut Control<'_>) -> Result<()> {
        if self.files.is_some() {
            return Err(Request::Filesystem(self.name.clone()).into());
        }
        self.warn(control);
        if let Input::Path(path) = &image {
            let sparse = sparse(path).map_err(|source| Error::File { path: path.clone(), source })?;
            if let Some((file, size)) = sparse {
                let name = path.as_os_str().as_bytes();
                return self.attempt(|put| put.target.sparse_image(name, &file, size, control));
            }
        }
        let (name, image) = match image {
            Input::Path(path) => match ReadAhead::open(&path) {
                Ok(image) => (path.into_os_string().into_vec(), Ok(image)),
                Err(source) => return Err(Error::File { path, source }),
            },
            Input::Reader { name, reader } => (name, ReadAhead::start(reader)),
        };
        self.attempt(|put| put.target.image(&name, image, control))
    }

    /// Puts files and directory trees of the host. `into` is a path in the filesystem: if it is a directory, they are
    /// put into it; otherwise the only source gets that name. For a directory with a trailing slash, its content is
    /// put.
    ///
    /// # Errors
    /// One of them cannot be read or written.
    pub fn paths(&mut self, into: &[u8], sources: &[PathBuf], control: &mut Control<'_>) -> Result<()> {
        let parts = parts(into)?;
        self.putting(control, |put| put.all(&parts, sources))
    }

    /// Puts the entries of a tar archive (ustar, pax or GNU) into a directory of the filesystem.
    ///
    /// The archive is read ahead on a separate thread.
    ///
    /// # Errors
    /// The archive cannot be read; an entry cannot be written.
    pub fn archive(&mut self, into: &[u8], archive: Input, control: &mut Control<'_>) -> Result<()> {
        let parts = parts(into)?;
        self.putting(control, |put| {
            put.directory(&parts, None)?;
            let (name, archive) = match archive {
                Input::Path(path) => (path.as_os_str().as_bytes().to_vec(), ReadAhead::open(&path)),
                Input::Reader { name, reader } => (name, ReadAhead::start(reader)),
            };
            let archive = archive.map_err(|source| PutFault::Source { path: name.clone(), source })?;
            archive::put(put, archive, &name, &parts)
        })
    }

    /// Puts a file with this content, owned by root, at a path in the filesystem. Missing parent directories are
    /// created.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn file(&mut self, path: &[u8], content: &[u8], control: &mut Control<'_>) -> Result<()> {
        let parts = parts(path)?;
        let Some((last, above)) = parts.split_last() else { return Err(Request::NoName.into()) };
        self.putting(control, |put| {
            let parent = put.made_directory(above)?;
            let new = put.plain(NodeKind::File(content.len() as u64), FILE_PERMISSIONS);
            let object = put.node(parent, path, last, &new)?;
            let mut offset = 0;
            for piece in content.chunks(CHUNK_BYTES) {
                put.content(object, path, offset, piece)?;
                offset += piece.len() as u64;
            }
            put.end(object, path, content.len() as u64)
        })
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &WritablePool {
        &self.target.pool
    }

    /// Completes the last transaction group, logs `command` in the pool history, and exports the pool.
    ///
    /// # Errors
    /// The pool cannot be written; an earlier operation failed.
    pub fn finish(self, command: &str) -> Result<()> {
        if self.has_failed {
            return Err(Request::Failed.into());
        }
        let Self { mut target, files, .. } = self;
        if let Some(Files { mut writer, .. }) = files {
            writer.flush(&mut target.set)?;
        }
        target.pool.sync(target.head, &mut target.set)?;
        let committed = target.committed;
        target.check_quotas().map_err(|cause| Error::Put { fault: self::target(b"", cause), committed })?;
        leave(target.pool, Some(command))
    }

    /// Reports once what is different from what the dataset asks for.
    fn warn(&mut self, control: &mut Control<'_>) {
        if std::mem::take(&mut self.wants_dedup) {
            control.warn(Warning::NotDeduplicated { dataset: self.name.clone() });
        }
    }

    fn putting(
        &mut self,
        control: &mut Control<'_>,
        act: impl FnOnce(&mut Putting<'_, '_>) -> Result<(), PutFault>,
    ) -> Result<()> {
        if self.is_volume() {
            return Err(Request::Volume(self.name.clone()).into());
        }
        self.warn(control);
        self.attempt(|put| {
            let Self { target, files: Some(Files { writer, rules, now }), .. } = put else { return Ok(()) };
            let (rules, now, walked) = (*rules, *now, Vec::new());
            act(&mut Putting { target, writer, rules, now, walked, control })
        })
    }

    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> Result<(), PutFault>) -> Result<()> {
        if self.has_failed {
            return Err(Request::Failed.into());
        }
        let result = act(self);
        self.has_failed = result.is_err();
        result.map_err(|fault| Error::Put { fault, committed: self.target.committed })
    }
}

impl Files {
    fn open(target: &mut Target, name: &str, options: &PutOptions) -> Result<Self> {
        let seconds = target.pool.pool().now().cast_signed();
        let now = Time { seconds, nanoseconds: 0 };
        let (settings, keeps_xattrs) = settings(target, now)?;
        let random = match options.timestamp {
            Some(seed) => Random::from_seed(seed),
            None => Random::system().map_err(PoolError::from)?,
        };
        let writer = Writer::open(&target.set, settings, random)
            .map_err(|error| Error::Dataset { name: name.to_owned(), source: error.into() })?;
        let rules = Rules { latest: options.timestamp.map(|_| now), keeps_xattrs };
        Ok(Self { writer, rules, now })
    }
}

impl Target {
    /// Counts written content, and completes the transaction group if it is full.
    fn wrote(&mut self, writer: Option<&mut Writer>, bytes: usize) -> Result<(), Cause> {
        self.written += bytes as u64;
        if self.set.dirty_bytes() < DIRTY_BYTES_MAX && self.written < CONTENT_BYTES_MAX {
            return Ok(());
        }
        if let Some(writer) = writer {
            writer.flush(&mut self.set)?;
        }
        self.pool.sync(self.head, &mut self.set)?;
        self.check_quotas()?;
        self.committed = Some(self.pool.commit()?);
        self.written = 0;
        Ok(())
    }

    /// Checks the synced dataset against its refquota, its quota and those of its ancestors, and those who use more than
    /// before against the quotas of users, groups and projects.
    fn check_quotas(&mut self) -> Result<(), Cause> {
        let now = self.pool.dsl().dataset_by_object(self.head)?.objset()?;
        if let Some(exceeded) = quota::exceeded(&now, &self.used)? {
            return Err(DatasetError::refused(Errno::EDQUOT, exceeded.to_string()).into());
        }
        let referenced = self.pool.dsl().dataset_by_object(self.head)?.phys().referenced_bytes;
        let tx = self.pool.tx();
        tx.check_refquota(self.head, referenced)?;
        Ok(tx.check_quotas(self.head)?)
    }

    fn image(
        &mut self,
        name: &[u8],
        image: io::Result<ReadAhead>,
        control: &mut Control<'_>,
    ) -> Result<(), PutFault> {
        let mut image = image.map_err(|source| PutFault::Source { path: name.to_vec(), source })?;
        self.image_part(name, &mut image, 0, CHUNK_BYTES, control).map(drop)
    }

    /// Writes an image with holes, which are not read.
    fn sparse_image(
        &mut self,
        name: &[u8],
        mut file: &File,
        size: u64,
        control: &mut Control<'_>,
    ) -> Result<(), PutFault> {
        let of_source = |source| PutFault::Source { path: name.to_vec(), source };
        let mut at = 0;
        while at < size {
            // After the last data there is a hole up to the end.
            let (start, end) = next_data(file, at, size, true).map_err(of_source)?.unwrap_or((size, size));
            if start > at {
                write_hole(&mut self.set, at, start - at).map_err(|error| target(b"", error))?;
                self.wrote(None, 0).map_err(|error| target(b"", error))?;
            }
            if start == end {
                break;
            }
            file.seek(io::SeekFrom::Start(start)).map_err(of_source)?;
            let chunk_bytes = CHUNK_BYTES.min(usize::try_from(end - start).unwrap_or(CHUNK_BYTES));
            let mut part = file.take(end - start);
            if self.image_part(name, &mut part, start, chunk_bytes, control)? != end - start {
                return Err(of_source(io::Error::other("it was truncated while it was read")));
            }
            at = end;
        }
        Ok(())
    }

    /// Writes an image, or a part of one, at offset `start` of the volume, and returns the number of bytes.
    fn image_part(
        &mut self,
        name: &[u8],
        image: &mut impl Read,
        start: u64,
        chunk_bytes: usize,
        control: &mut Control<'_>,
    ) -> Result<u64, PutFault> {
        let mut done = 0;
        loop {
            if control.is_cancelled() {
                return Err(PutFault::Cancelled);
            }
            // The writer of the image and the completion of transaction groups borrow the set in turns.
            let mut part = image.take(IMAGE_PART_BYTES);
            let bytes = match write_image(&mut self.set, &mut part, start + done, chunk_bytes) {
                Ok(0) => return Ok(done),
                Ok(bytes) => bytes,
                Err(error) => {
                    return Err(match error.into_image() {
                        Ok(source) => PutFault::Source { path: name.to_vec(), source },
                        Err(error) => target(b"", error),
                    });
                }
            };
            done += bytes;
            self.wrote(None, bytes as usize).map_err(|error| target(b"", error))?;
            control.did(bytes as usize);
        }
    }
}

/// A file with holes, and its size.
fn sparse(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = File::open(path)?;
    let data = file.metadata()?;
    Ok((data.is_file() && has_holes(&data)).then_some((file, data.len())))
}

/// The settings from the properties of the filesystem, and true if extended attributes are kept.
fn settings(target: &mut Target, now: Time) -> Result<(Settings, bool), Cause> {
    let head = target.head;
    let (record, xattr, dnode) = {
        let dataset = target.pool.dsl().dataset_by_object(head)?;
        let number = |name| stored_number(&dataset, name);
        (number("recordsize")?, number("xattr")?, number("dnodesize")?)
    };
    let record = record.unwrap_or(128 << 10);
    let record_bytes =
        u32::try_from(record).map_err(|_| DatasetError::unsupported(format!("recordsize {record}")))?;
    let xattr = xattr.unwrap_or(XATTR_SA);
    let xattrs_inline = xattr != XATTR_DIRECTORY;
    let dn_slots = match dnode.unwrap_or(DNODE_LEGACY) {
        DNODE_LEGACY => 1,
        DNODE_AUTO => 2,
        bytes => u8::try_from(bytes / SLOT_BYTES)
            .map_err(|_| DatasetError::unsupported(format!("dnodesize {bytes}")))?
            .max(1),
    };
    if dn_slots > 1 {
        target.pool.tx().activate_feature(head, "large_dnode", &Value::word(0))?;
    }
    Ok((Settings { record_bytes, dn_slots, xattrs_inline, now }, xattr != XATTR_OFF))
}

/// Values of the properties `xattr` and `dnodesize`.
const XATTR_OFF: u64 = 0;
const XATTR_DIRECTORY: u64 = 1;
const XATTR_SA: u64 = 2;
const DNODE_LEGACY: u64 = 0;
const DNODE_AUTO: u64 = 1;

fn target(path: &[u8], source: impl Into<Cause>) -> PutFault {
    PutFault::Target { path: path.to_vec(), source: source.into() }
}

/// Files that are being put into one filesystem.
struct Putting<'a, 'c> {
    target: &'a mut Target,
    writer: &'a mut Writer,
    rules: Rules,
    /// The current time.
    now: Time,
    /// The names and objects of the directories on the path that was walked last. A put removes no directory.
    walked: Vec<(Vec<u8>, ObjectId)>,
    control: &'a mut Control<'c>,
}

/// Rules for the attributes of files.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// The change time of all files and the upper limit of all times, if one was given.
    latest: Option<Time>,
    /// Extended attributes are put too.
    keeps_xattrs: bool,
}

impl Rules {
    /// A time, clamped to the upper limit.
    fn time(&self, time: Time) -> Time {
        self.latest.map_or(time, |latest| time.min(latest))
    }
}

impl Putting<'_, '_> {
    /// Returns an error if the put was cancelled.
    fn check(&self) -> Result<(), PutFault> {
        if self.control.is_cancelled() { Err(PutFault::Cancelled) } else { Ok(()) }
    }

    /// Adds the path to an error.
    fn at<T>(path: &[u8], result: Result<T, impl Into<Cause>>) -> Result<T, PutFault> {
        result.map_err(|error| target(path, error))
    }

    /// The directory at a path. With `make`, missing components are created.
    ///
    /// Only what differs from the path that was walked last is looked up, so that deep trees take no longer than flat
    /// ones.
    fn directory(&mut self, path: &[&[u8]], make: Option<&NewNode>) -> Result<ObjectId, PutFault> {
        let common = self.walked.iter().zip(path).take_while(|((walked, _), name)| walked == *name).count();
        self.walked.truncate(common);
        for (n, name) in path.iter().enumerate().skip(common) {
            let above = self.walked.last().map_or_else(|| self.writer.root(), |(_, object)| *object);
            let directory = self
                .step(above, name, make)
                .map_err(|cause| PutFault::Target { path: path[..=n].join(&b'/'), source: cause })?;
            self.walked.push((name.to_vec(), directory));
        }
        Ok(self.walked.last().map_or_else(|| self.writer.root(), |(_, object)| *object))
    }

    /// The directory of this name in another one, created with `make` if it is missing.
    fn step(&mut self, above: ObjectId, name: &[u8], make: Option<&NewNode>) -> Result<ObjectId, Cause> {
        let found = self.writer.lookup(&self.target.set, above, name)?;
        if let (Some(found), Some(_)) = (&found, make) {
            self.writer.meet(found, name)?;
        }
        match (found, make) {
            (Some(found), _) if found.file_type == Some(FileType::Directory) => Ok(found.object),
            (Some(_), _) => {
                let why = "it exists and is not a directory".to_owned();
                Err(FileError::from(FileFault::NotADirectory(why)).into())
            }
            (None, Some(new)) => Ok(self.writer.create(&mut self.target.set, above, name, new)?),
            (None, None) => Err(FileError::not_found("directory", file_name(name).to_string()).into()),
        }
    }

    /// Creates a node. An existing node of this name is replaced; an existing directory only gets new attributes.
    fn node(
        &mut self,
        parent: ObjectId,
        path: &[u8],
        name: &[u8],
        new: &NewNode,
    ) -> Result<ObjectId, PutFault> {
        self.check()?;
        let set = &mut self.target.set;
        let found = Self::at(path, self.writer.lookup(set, parent, name))?;
        if let Some(found) = &found {
            Self::at(path, self.writer.meet(found, name))?;
        }
        let is_directory = new.kind == NodeKind::Directory;
        match found {
            Some(found) if is_directory && found.file_type == Some(FileType::Directory) => {
                Self::at(path, self.writer.set_attributes(set, found.object, new))?;
                return Ok(found.object);
            }
            Some(found) if is_directory || found.file_type == Some(FileType::Directory) => {
                let what = if is_directory {
                    "a directory cannot replace a file"
                } else {
                    "a file cannot replace a directory"
                };
                return Err(target(path, FileError::other_type(what)));
            }
            Some(found) => {
                Self::at(path, self.writer.remove(set, parent, &found.name))?;
                // It may be another spelling of the same name: a file that is overwritten keeps its own.
                let object = Self::at(path, self.writer.create(set, parent, &found.name, new))?;
                if found.name != name {
                    self.writer.note_asked(object, name);
                }
                return Ok(object);
            }
            None => {}
        }
        Self::at(path, self.writer.create(set, parent, name, new))
    }

    /// Adds a name to a node.
    fn link(&mut self, parent: ObjectId, path: &[u8], name: &[u8], object: ObjectId) -> Result<(), PutFault> {
        let set = &mut self.target.set;
        let found = Self::at(path, self.writer.lookup(set, parent, name))?;
        if let Some(found) = &found {
            Self::at(path, self.writer.meet(found, name))?;
        }
        match found {
            Some(found) if found.object == object => return Ok(()),
            Some(found) if found.file_type == Some(FileType::Directory) => {
                return Err(target(path, FileError::other_type("a file cannot replace a directory")));
            }
            Some(found) => {
                Self::at(path, self.writer.remove(set, parent, &found.name))?;
                return Self::at(path, self.writer.link(set, parent, &found.name, object));
            }
            None => {}
        }
        Self::at(path, self.writer.link(set, parent, name, object))
    }

    /// Writes a part of a file's content.
    fn content(&mut self, object: ObjectId, path: &[u8], offset: u64, bytes: &[u8]) -> Result<(), PutFault> {
        self.check()?;
        Self::at(path, self.writer.write(&mut self.target.set, object, offset, bytes))?;
        Self::at(path, self.target.wrote(Some(self.writer), bytes.len()))?;
        self.control.did(bytes.len());
        Ok(())
    }

    /// Sets the size of a file whose content was written.
    fn end(&mut self, object: ObjectId, path: &[u8], size: u64) -> Result<(), PutFault> {
        Self::at(path, self.writer.finish(&mut self.target.set, object, size))?;
        Self::at(path, self.target.wrote(Some(self.writer), 0))
    }
}

impl Putting<'_, '_> {
    /// Puts files and directories of the host.
    fn all(&mut self, parts: &[&[u8]], sources: &[PathBuf]) -> Result<(), PutFault> {
        let (parent, new_name) = self.place(parts, sources.len())?;
        let above = match new_name {
            Some(_) => parts.split_last().map_or(&[][..], |(_, above)| above),
            None => parts,
        };
        let above = above.join(&b'/');
        let mut tree = Tree::default();
        for path in sources {
            let bytes = path.as_os_str().as_bytes();
            let takes_content = bytes.ends_with(b"/") && path.is_dir();
            if takes_content && new_name.is_none() {
                tree.put(self, path, parent, &above, None)?;
                continue;
            }
            let own = Path::new(path).file_name().map(OsStr::as_bytes);
            let name = new_name.or(own).ok_or_else(|| {
                let source = io::Error::other("it has no name; append a slash to put its content");
                PutFault::Source { path: bytes.to_vec(), source }
            })?;
            tree.put(self, path, parent, &above, Some(name))?;
        }
        Ok(())
    }

    /// The target directory, and the name of a single source if the target does not exist yet.
    fn place<'p>(
        &mut self,
        parts: &[&'p [u8]],
        sources: usize,
    ) -> Result<(ObjectId, Option<&'p [u8]>), PutFault> {
        let Some((last, above)) = parts.split_last() else { return Ok((self.writer.root(), None)) };
        let parent = self.directory(above, None)?;
        let found = Self::at(&parts.join(&b'/'), self.writer.lookup(&self.target.set, parent, last))?;
        match found {
            Some(found) if found.file_type == Some(FileType::Directory) => Ok((found.object, None)),
            _ if sources == 1 => Ok((parent, Some(last))),
            _ => Err(target(&parts.join(&b'/'), FileError::not_found("directory", "several sources"))),
        }
    }

    /// A new node owned by root, with the current time.
    fn plain(&self, kind: NodeKind, permissions: u32) -> NewNode {
        let now = self.rules.latest.unwrap_or(self.now);
        NewNode { kind, permissions, uid: 0, gid: 0, atime: now, mtime: now, xattrs: Vec::new() }
    }

    /// The directory at a path, created if it is missing.
    fn made_directory(&mut self, path: &[&[u8]]) -> Result<ObjectId, PutFault> {
        let new = self.plain(NodeKind::Directory, DIRECTORY_PERMISSIONS);
        self.directory(path, Some(&new))
    }
}
