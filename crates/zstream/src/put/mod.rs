//! Files put into a filesystem of a pool, and images into a volume.
//!
//! ```text
//! Put::open -> paths: directories and files of the host (tree)    -> finish: writes everything or nothing
//!                     what they share (extents) is cloned (reflink)
//!              archive: the entries of a tar archive
//!              file: bytes of the caller
//!              image: the content of a volume
//!              copy: a file of another dataset of the pool
//! ```

mod ahead;
mod archive;
mod copy;
mod extents;
mod files;
mod image;
#[cfg_attr(not(unix), allow(dead_code, reason = "files of the host are put on Unix only"))]
mod reflink;
mod sparse;
#[cfg_attr(not(unix), path = "tree_elsewhere.rs")]
mod tree;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::pool::WriteOptions;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::quota::{self, Used};
use zstream_zpl::writer::{NodeKind, Writer};

use self::ahead::ReadAhead;
pub use self::copy::{Copied, Reflink};
pub use self::extents::{Extent, HostExtents, SharedExtents};
use self::files::{FILE_PERMISSIONS, Files, Putting};
use self::image::sparse;
use crate::control::{Control, Warning};
use crate::error::{Cause, Error, PutFault, Request, Result};
use crate::place::keys::unlock_to_write;
use crate::place::pool::leave;
use crate::place::replay::replay_head;
use crate::place::source::{CHUNK_BYTES, parts};
use crate::place::{Keys, PoolPlace};
use crate::text::file_name;

/// Changes in memory above which a transaction group is completed, in bytes.
const DIRTY_BYTES_MAX: usize = 128 << 20;

/// Content above which a transaction group is completed, in bytes.
const CONTENT_BYTES_MAX: u64 = 8 << 30;

/// Options of a [`Put`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// Use the pool even if another host may have it imported.
    pub force: bool,
    /// Use this time, in seconds since 1970, instead of the current time, and clamp later times to it: the same
    /// sources then produce a bit-identical image.
    pub timestamp: Option<u64>,
    /// Clone blocks that files of the host share, instead of writing them again. Clones are made in a transaction group
    /// after that of the blocks, so if that fails, the files remain without them.
    pub reflink: Option<Arc<dyn SharedExtents>>,
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
        // The writes of the log precede this one.
        if pool.has_log_records(head)? {
            replay_head(&mut pool, head, keys, DIRTY_BYTES_MAX, &mut |_| {})?;
        }
        let before = pool.dsl().dataset_by_object(head)?.objset()?;
        let used = quota::used(&before)?;
        let set = pool.open_head(head)?;
        let is_volume = set.objset_type() == ObjsetType::ZVOL;
        let mut target = Target { pool, head, set, written: 0, committed: None, used };
        let files = if is_volume { None } else { Some(Files::open(&mut target, name, options)?) };
        Ok(Self { target, files, name: name.to_owned(), has_failed: false })
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
        if let Input::Path(path) = &image {
            let sparse = sparse(path).map_err(|source| Error::File { path: path.clone(), source })?;
            if let Some((file, size)) = sparse {
                let name = path.as_os_str().as_encoded_bytes();
                return self.attempt(|put| put.target.sparse_image(name, &file, size, control));
            }
        }
        let (name, image) = match image {
            Input::Path(path) => match ReadAhead::open(&path) {
                Ok(image) => (path.into_os_string().into_encoded_bytes(), Ok(image)),
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
        let name = self.name.clone();
        let extents = self.files.as_ref().and_then(|files| Some(Arc::clone(&files.reflink.as_ref()?.0)));
        self.putting(control, |put| {
            let Some(extents) = extents else { return put.all(&parts, sources, None) };
            let refusal = put.clone_refusal()?;
            if let Some(reason) = refusal {
                put.control.warn(Warning::NotCloned { file: name, reason: reason.to_owned() });
            }
            put.all(&parts, sources, refusal.is_none().then_some(extents))
        })
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
                Input::Path(path) => (path.as_os_str().as_encoded_bytes().to_vec(), ReadAhead::open(&path)),
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

    fn putting(
        &mut self,
        control: &mut Control<'_>,
        act: impl FnOnce(&mut Putting<'_, '_>) -> Result<(), PutFault>,
    ) -> Result<()> {
        if self.is_volume() {
            return Err(Request::Volume(self.name.clone()).into());
        }
        self.attempt(|put| {
            let Self { target, files: Some(Files { writer, rules, now, reflink }), .. } = put else {
                return Ok(());
            };
            let (rules, now, walked) = (*rules, *now, Vec::new());
            let clones = reflink.as_mut().map(|(_, clones)| clones);
            act(&mut Putting { target, writer, rules, now, walked, clones, control })
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

impl Target {
    /// Counts written content, and completes the transaction group if it is full.
    fn wrote(&mut self, writer: Option<&mut Writer>, bytes: usize) -> Result<(), Cause> {
        self.written += bytes as u64;
        if self.set.dirty_bytes() < DIRTY_BYTES_MAX && self.written < CONTENT_BYTES_MAX {
            return Ok(());
        }
        self.complete(writer)
    }

    /// Completes the transaction group.
    fn complete(&mut self, writer: Option<&mut Writer>) -> Result<(), Cause> {
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
}

/// Adds the path to an error of the dataset.
fn target(path: &[u8], source: impl Into<Cause>) -> PutFault {
    PutFault::Target { path: path.to_vec(), source: source.into() }
}

/// The dataset of a target `DATASET[:/PATH]`, in whose name there may be colons, and the path in it: what follows the first colon that a slash follows.
#[must_use]
pub fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match target.windows(2).position(|pair| pair == b":/") {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target.strip_suffix(b":").unwrap_or(target), b""),
    }
}

#[cfg(test)]
mod tests {
    use super::split_target;

    #[test]
    fn datasets_may_have_colons_in_their_names() {
        for (target, name, path) in [
            ("p", "p", ""),
            ("p/fs", "p/fs", ""),
            ("p:", "p", ""),
            ("p:/", "p", "/"),
            ("p/x:y", "p/x:y", ""),
            ("p/x:y:", "p/x:y", ""),
            ("p/x:y:/", "p/x:y", "/"),
            ("a:b/x:y:/dir:/file", "a:b/x:y", "/dir:/file"),
        ] {
            assert_eq!(split_target(target.as_bytes()), (name.as_bytes(), path.as_bytes()), "{target}");
        }
    }
}
