//! Files that are put into one filesystem: nodes, their names and content.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::Random;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::ObjectId;
use zstream_zpl::error::{Error as FileError, Fault as FileFault};
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::writer::{NewNode, NodeKind, Writer};

use super::extents::SharedExtents;
use super::reflink::Clones;
use super::tree::Tree;
use super::{PutOptions, Target, target};
use crate::control::Control;
use crate::error::{Cause, Error, PutFault, Result};
use crate::place::replay::settings;
use crate::text::file_name;

/// The default permissions: of created directories, and of files of [`Put::file`](super::Put::file).
const DIRECTORY_PERMISSIONS: u32 = 0o755;
pub(super) const FILE_PERMISSIONS: u32 = 0o644;

/// A filesystem's writer, and its attribute rules.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) writer: Writer,
    pub(super) rules: Rules,
    pub(super) now: Time,
    /// The source of shared extents, and the blocks that were found in them. None if no blocks are to be cloned.
    pub(super) reflink: Option<(Arc<dyn SharedExtents>, Clones)>,
}

impl Files {
    pub(super) fn open(target: &mut Target, name: &str, options: &PutOptions) -> Result<Self> {
        let seconds = target.pool.pool().now().cast_signed();
        let now = Time { seconds, nanoseconds: 0 };
        let (settings, keeps_xattrs) = settings(&mut target.pool, target.head, now)?;
        let random = match options.timestamp {
            Some(seed) => Random::from_seed(seed),
            None => Random::system().map_err(PoolError::from)?,
        };
        let writer = Writer::open(&target.set, settings, random)
            .map_err(|error| Error::Dataset { name: name.to_owned(), source: error.into() })?;
        let rules = Rules { latest: options.timestamp.map(|_| now), keeps_xattrs };
        let reflink = options.reflink.clone().map(|extents| (extents, Clones::default()));
        Ok(Self { writer, rules, now, reflink })
    }
}

/// Files that are being put into one filesystem.
pub(super) struct Putting<'a, 'c> {
    pub(super) target: &'a mut Target,
    pub(super) writer: &'a mut Writer,
    pub(super) rules: Rules,
    /// The current time.
    pub(super) now: Time,
    /// The names and objects of the directories on the path that was walked last. A put removes no directory.
    pub(super) walked: Vec<(Vec<u8>, ObjectId)>,
    /// The blocks that files share on the host, if they are to be cloned.
    pub(super) clones: Option<&'a mut Clones>,
    pub(super) control: &'a mut Control<'c>,
}

/// Rules for the attributes of files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The change time of all files and the upper limit of all times, if one was given.
    pub(super) latest: Option<Time>,
    /// Extended attributes are put too.
    pub(super) keeps_xattrs: bool,
}

impl Rules {
    /// A time, clamped to the upper limit.
    pub(super) fn time(&self, time: Time) -> Time {
        self.latest.map_or(time, |latest| time.min(latest))
    }
}

impl Putting<'_, '_> {
    /// Returns an error if the put was cancelled.
    pub(super) fn check(&self) -> Result<(), PutFault> {
        if self.control.is_cancelled() { Err(PutFault::Cancelled) } else { Ok(()) }
    }

    /// Adds the path to an error.
    pub(super) fn at<T>(path: &[u8], result: Result<T, impl Into<Cause>>) -> Result<T, PutFault> {
        result.map_err(|error| target(path, error))
    }

    /// The directory at a path. With `make`, missing components are created.
    ///
    /// Only what differs from the path that was walked last is looked up, so that deep trees take no longer than flat
    /// ones.
    pub(super) fn directory(&mut self, path: &[&[u8]], make: Option<&NewNode>) -> Result<ObjectId, PutFault> {
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
    pub(super) fn node(
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
                self.before_removal(found.object)?;
                let set = &mut self.target.set;
                Self::at(path, self.writer.remove(set, parent, &found.name))?;
                // It may be another spelling of the same name: a file that is overwritten keeps its own.
                let object = Self::at(path, self.writer.create(set, parent, &found.name, new))?;
                if found.name != name {
                    self.writer.note_requested_name(object, name);
                }
                return Ok(object);
            }
            None => {}
        }
        Self::at(path, self.writer.create(&mut self.target.set, parent, name, new))
    }

    /// Adds a name to a node.
    pub(super) fn link(
        &mut self,
        parent: ObjectId,
        path: &[u8],
        name: &[u8],
        object: ObjectId,
    ) -> Result<(), PutFault> {
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
                self.before_removal(found.object)?;
                let set = &mut self.target.set;
                Self::at(path, self.writer.remove(set, parent, &found.name))?;
                return Self::at(path, self.writer.link(set, parent, &found.name, object));
            }
            None => {}
        }
        Self::at(path, self.writer.link(&mut self.target.set, parent, name, object))
    }

    /// Writes a part of a file's content.
    pub(super) fn content(
        &mut self,
        object: ObjectId,
        path: &[u8],
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), PutFault> {
        self.check()?;
        Self::at(path, self.writer.write(&mut self.target.set, object, offset, bytes))?;
        Self::at(path, self.target.wrote(Some(self.writer), bytes.len()))?;
        self.control.did(bytes.len());
        Ok(())
    }

    /// Sets the size of a file whose content was written.
    pub(super) fn end(&mut self, object: ObjectId, path: &[u8], size: u64) -> Result<(), PutFault> {
        Self::at(path, self.writer.finish(&mut self.target.set, object, size))?;
        Self::at(path, self.target.wrote(Some(self.writer), 0))
    }

    /// Puts files and directories of the host.
    ///
    /// With `extents`, blocks that the files share become clones.
    pub(super) fn all(
        &mut self,
        parts: &[&[u8]],
        sources: &[PathBuf],
        extents: Option<Arc<dyn SharedExtents>>,
    ) -> Result<(), PutFault> {
        let (parent, new_name) = self.place(parts, sources.len())?;
        let above = match new_name {
            Some(_) => parts.split_last().map_or(&[][..], |(_, above)| above),
            None => parts,
        };
        let above = above.join(&b'/');
        let mut tree = Tree::new(extents);
        for path in sources {
            let bytes = path.as_os_str().as_encoded_bytes();
            let takes_content = bytes.ends_with(b"/") && path.is_dir();
            if takes_content && new_name.is_none() {
                tree.put(self, path, parent, &above, None)?;
                continue;
            }
            let own = Path::new(path).file_name().map(OsStr::as_encoded_bytes);
            let name = new_name.or(own).ok_or_else(|| {
                let source = io::Error::other("it has no name; append a slash to put its content");
                PutFault::Source { path: bytes.to_vec(), source }
            })?;
            tree.put(self, path, parent, &above, Some(name))?;
        }
        self.make_clones()
    }

    /// The target directory, and the name of a single source if the target does not exist yet.
    pub(super) fn place<'p>(
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
    pub(super) fn plain(&self, kind: NodeKind, permissions: u32) -> NewNode {
        let now = self.rules.latest.unwrap_or(self.now);
        NewNode { kind, permissions, uid: 0, gid: 0, atime: now, mtime: now, xattrs: Vec::new() }
    }

    /// The directory at a path, created if it is missing.
    pub(super) fn made_directory(&mut self, path: &[&[u8]]) -> Result<ObjectId, PutFault> {
        let new = self.plain(NodeKind::Directory, DIRECTORY_PERMISSIONS);
        self.directory(path, Some(&new))
    }
}
