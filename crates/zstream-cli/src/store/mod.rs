//! Putting files into a file system of a pool: from directories ([`tree`]) or an archive ([`archive`]).

pub(crate) mod ahead;
pub(crate) mod archive;
mod sparse;
pub(crate) mod tree;

use std::io;

use zstream_dmu::error::Error;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::objset::writer::ObjsetWriter;
use zstream_dsl::write::WritablePool;
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::writer::{NewNode, NodeKind, Writer};

use crate::failure::Failure;
use crate::progress::Meter;
use crate::text::file_name;

/// Changes in memory above which a transaction group is completed, in bytes.
const DIRTY_BYTES_MAX: usize = 128 << 20;

/// Content above which a transaction group is completed, in bytes.
const CONTENT_BYTES_MAX: u64 = 8 << 30;

/// A file system that is written to.
pub(crate) struct Target {
    pub(crate) pool: WritablePool,
    pub(crate) head: ObjectId,
    pub(crate) set: ObjsetWriter,
    pub(crate) meter: Meter,
    /// Content written since the last commit.
    written: u64,
    /// The last transaction group that was completed on the way.
    committed: Option<Txg>,
}

impl Target {
    pub(crate) fn new(pool: WritablePool, head: ObjectId, set: ObjsetWriter) -> Self {
        Self { pool, head, set, meter: Meter::new(None), written: 0, committed: None }
    }

    /// Notes that content was written, and completes the transaction group where much has gathered.
    pub(crate) fn wrote(&mut self, writer: Option<&mut Writer>, bytes: usize) -> Result<(), Error> {
        self.meter.add(bytes);
        self.written += bytes as u64;
        if self.set.dirty_bytes() < DIRTY_BYTES_MAX && self.written < CONTENT_BYTES_MAX {
            return Ok(());
        }
        if let Some(writer) = writer {
            writer.flush(&mut self.set)?;
        }
        self.pool.sync(self.head, &mut self.set)?;
        self.committed = Some(self.pool.commit()?);
        self.written = 0;
        Ok(())
    }

    /// Completes the last transaction group and leaves the pool.
    pub(crate) fn finish(mut self, writer: Option<&mut Writer>, command: &str) -> Result<(), Error> {
        if let Some(writer) = writer {
            writer.flush(&mut self.set)?;
        }
        self.pool.sync(self.head, &mut self.set)?;
        self.pool.log(zstream_dmu::pool::history::Event::Command(command))?;
        self.pool.export()?;
        Ok(())
    }

    /// What is to be said of a failure: whether anything of the work is in the pool.
    pub(crate) fn failed(&self, error: &PutError) -> Failure {
        match self.committed {
            None => Failure::new(format_args!("{error}; nothing was put")),
            Some(txg) => Failure::new(format_args!(
                "{error}; what was put until transaction group {txg} stays, all of it whole but for the last file"
            )),
        }
    }
}

/// Why something was not put.
#[derive(Debug)]
pub(crate) enum PutError {
    /// It cannot be read.
    Source(Vec<u8>, io::Error),
    /// It cannot be written: a place in the file system, and why.
    Target(Vec<u8>, Error),
}

impl std::fmt::Display for PutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(path, error) => write!(f, "{}: {error}", file_name(path)),
            Self::Target(path, error) => write!(f, "/{}: {error}", file_name(path)),
        }
    }
}

/// Files that are put into one file system.
pub(crate) struct Put {
    pub(crate) target: Target,
    pub(crate) writer: Writer,
    pub(crate) rules: Rules,
    /// Now.
    pub(crate) now: Time,
}

/// What is taken of attributes.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// The time of change of everything, and the latest time of anything, where one was given.
    pub(crate) latest: Option<Time>,
    /// Whether extended attributes are put, too.
    pub(crate) keeps_xattrs: bool,
}

impl Rules {
    /// A time, not after the latest there may be.
    pub(crate) fn time(&self, time: Time) -> Time {
        self.latest.map_or(time, |latest| time.min(latest))
    }
}

impl Put {
    /// Says where something went wrong.
    pub(crate) fn at<T>(path: &[u8], result: Result<T, Error>) -> Result<T, PutError> {
        result.map_err(|error| PutError::Target(path.to_vec(), error))
    }

    /// The directory at a path, whose parts are made where they are not there and `make` says so.
    pub(crate) fn directory(&mut self, path: &[&[u8]], make: Option<&NewNode>) -> Result<ObjectId, PutError> {
        let mut directory = self.writer.root();
        for (n, name) in path.iter().enumerate() {
            let shown = path[..=n].join(&b'/');
            let found = Self::at(&shown, self.writer.lookup(&self.target.set, directory, name))?;
            if let (Some(found), Some(_)) = (&found, make) {
                Self::at(&shown, self.writer.meet(found, name))?;
            }
            directory = match (found, make) {
                (Some(found), _) if found.file_type == Some(FileType::Directory) => found.object,
                (Some(_), _) => {
                    return Err(PutError::Target(
                        shown,
                        Error::invalid("there is something that is no directory"),
                    ));
                }
                (None, Some(new)) => {
                    Self::at(&shown, self.writer.create(&mut self.target.set, directory, name, new))?
                }
                (None, None) => {
                    return Err(PutError::Target(shown, Error::not_found("directory", file_name(name))));
                }
            };
        }
        Ok(directory)
    }

    /// Makes a node; what is there of this name is replaced, but for a directory, which only gets other attributes.
    pub(crate) fn node(
        &mut self,
        parent: ObjectId,
        path: &[u8],
        name: &[u8],
        new: &NewNode,
    ) -> Result<ObjectId, PutError> {
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
                    "a directory in place of a file"
                } else {
                    "a file in place of a directory"
                };
                return Err(PutError::Target(path.to_vec(), Error::invalid(what)));
            }
            Some(found) => Self::at(path, self.writer.remove(set, parent, &found.name))?,
            None => {}
        }
        Self::at(path, self.writer.create(set, parent, name, new))
    }

    /// Gives a node that was put one more name.
    pub(crate) fn link(
        &mut self,
        parent: ObjectId,
        path: &[u8],
        name: &[u8],
        object: ObjectId,
    ) -> Result<(), PutError> {
        let set = &mut self.target.set;
        let found = Self::at(path, self.writer.lookup(set, parent, name))?;
        if let Some(found) = &found {
            Self::at(path, self.writer.meet(found, name))?;
        }
        match found {
            Some(found) if found.object == object => return Ok(()),
            Some(found) if found.file_type == Some(FileType::Directory) => {
                return Err(PutError::Target(
                    path.to_vec(),
                    Error::invalid("a file in place of a directory"),
                ));
            }
            Some(found) => Self::at(path, self.writer.remove(set, parent, &found.name))?,
            None => {}
        }
        Self::at(path, self.writer.link(set, parent, name, object))
    }

    /// Writes a part of a file's content.
    pub(crate) fn content(
        &mut self,
        object: ObjectId,
        path: &[u8],
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), PutError> {
        Self::at(path, self.writer.write(&mut self.target.set, object, offset, bytes))?;
        Self::at(path, self.target.wrote(Some(&mut self.writer), bytes.len()))
    }

    /// Sets the size of a file whose content was written.
    pub(crate) fn end(&mut self, object: ObjectId, path: &[u8], size: u64) -> Result<(), PutError> {
        Self::at(path, self.writer.finish(&mut self.target.set, object, size))?;
        Self::at(path, self.target.wrote(Some(&mut self.writer), 0))
    }
}
