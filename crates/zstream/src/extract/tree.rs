//! Extraction into a directory, and never outside it.
//!
//! Every node is created as a new name relative to an open directory, which was itself reached without following a
//! link. Thus neither names and links in the filesystem nor links in the target lead out of it. Existing directories
//! are entered.

mod attributes;
mod way;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::Filesystem;
use zstream_zpl::node::{FileType, Node};

use self::attributes::Handle;
use self::way::Way;
use super::walk::{Step, resolve, walk};
use super::{CopyError, ExtractOptions, Report, What, copy};
use crate::error::{Error, Result};

/// A restore into one directory.
pub(super) struct Tree {
    target: File,
    options: ExtractOptions,
    /// Whether owners are restored.
    has_owners: bool,
    /// The first path of each node with several names.
    links: HashMap<ObjectId, Vec<u8>>,
}

impl Tree {
    /// Opens the target directory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(directory: &Path, options: ExtractOptions) -> Result<Self> {
        let target = open_directory(directory)?;
        let has_owners = rustix::process::geteuid().is_root() && !options.no_same_owner;
        Ok(Self { target, options, has_owners, links: HashMap::new() })
    }

    /// Restores the tree at a path of the filesystem to the same path below the target.
    ///
    /// # Errors
    /// It was cancelled.
    pub(super) fn restore(
        &mut self,
        fs: &Filesystem<'_>,
        parts: &[&[u8]],
        report: &mut Report<'_, '_>,
    ) -> Result<()> {
        let path = parts.join(&b'/');
        let Some(node) = resolve(fs, &path, report) else { return Ok(()) };
        let above = parts.split_last().map_or(&[][..], |(_, above)| above);
        let mut way = match self.directory(above, true).and_then(Way::new) {
            Ok(way) => way,
            Err(error) => {
                report.failed(&path, What::Directory, error);
                return Ok(());
            }
        };
        walk(fs, &path, node, report, |here, step, report| {
            match step {
                Step::Node(node) => {
                    // The failure of a directory covers everything below it.
                    let made = match way.last() {
                        Some(parent) => self.make(fs, parent, here, &node, report)?,
                        None => None,
                    };
                    if node.is_directory()
                        && let Err(error) = way.enter(made)
                    {
                        report.failed(here, What::Directory, error);
                    }
                }
                Step::Leave(node) => {
                    let (directory, failure) = way.leave();
                    if let Some(directory) = directory {
                        self.attributes(fs, &Handle::Open(&directory), here, &node, report);
                    }
                    if let Some(error) = failure {
                        let why = format_args!("the directory above it: {error}");
                        report.failed(here, What::Directory, why);
                    }
                }
            }
            Ok(())
        })
    }

    /// Opens a directory below the target, component by component.
    fn directory(&self, parts: &[&[u8]], make: bool) -> io::Result<File> {
        let mut directory = self.target.try_clone()?;
        for part in parts {
            directory = enter(&directory, part, make.then_some(0o755))?;
        }
        Ok(directory)
    }

    /// Creates one node; returns the directory if it is one.
    ///
    /// # Errors
    /// It was cancelled.
    fn make(
        &mut self,
        fs: &Filesystem<'_>,
        parent: &File,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) -> Result<Option<File>> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if node.is_directory() {
            // The root of the file system is the target itself. Others get their mode when all is in them.
            let entered = if path.is_empty() { parent.try_clone() } else { enter(parent, name, Some(0o700)) };
            match entered {
                Ok(directory) => {
                    report.restored(What::Directory);
                    return Ok(Some(directory));
                }
                Err(error) => {
                    report.failed(path, What::Directory, error);
                    return Ok(None);
                }
            }
        }
        if self.options.no_special && What::of(node) == What::Special {
            report.left_out(What::Special);
            return Ok(None);
        }
        if let Some(first) = self.links.get(&node.object) {
            match self.link(first, parent, name) {
                Ok(()) => report.restored(What::HardLink),
                Err(error) => report.failed(path, What::HardLink, format_args!("hard link: {error}")),
            }
            return Ok(None);
        }
        match self.make_new(fs, parent, name, node, report) {
            Ok(file) => {
                if node.links > 1 {
                    self.links.insert(node.object, path.to_vec());
                }
                let handle = file.as_ref().map_or(Handle::Name(parent, name), Handle::Open);
                self.attributes(fs, &handle, path, node, report);
                report.restored(What::of(node));
            }
            Err(CopyError::Cancelled) => return Err(report.cancelled(path)),
            Err(error) => report.failed(path, What::of(node), error),
        }
        Ok(None)
    }

    fn link(&self, first: &[u8], parent: &File, name: &[u8]) -> io::Result<()> {
        let mut parts: Vec<_> = first.split(|byte| *byte == b'/').collect();
        let first = parts.pop().unwrap_or_default();
        let directory = self.directory(&parts, false)?;
        Ok(rustix::fs::linkat(&directory, first, parent, name, AtFlags::empty())?)
    }

    /// Creates any node but a directory; returns the file if it is one.
    fn make_new(
        &self,
        fs: &Filesystem<'_>,
        parent: &File,
        name: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) -> Result<Option<File>, CopyError> {
        let kind = match node.file_type() {
            Some(FileType::File) => {
                let content = fs.content(node)?;
                // Nobody else can read it until it gets its mode.
                let file = create(parent, name, 0o600)?;
                let copied = copy(&content, &file, report);
                if copied.is_err() {
                    remove(parent, name);
                }
                return copied.map(|()| Some(file));
            }
            Some(FileType::Symlink) => {
                let target = fs.target(node)?;
                rustix::fs::symlinkat(target, parent, name).map_err(io::Error::from)?;
                return Ok(None);
            }
            Some(FileType::Fifo) => rustix::fs::FileType::Fifo,
            Some(FileType::Socket) => rustix::fs::FileType::Socket,
            Some(FileType::CharDevice) => rustix::fs::FileType::CharacterDevice,
            Some(FileType::BlockDevice) => rustix::fs::FileType::BlockDevice,
            Some(FileType::Directory) | None => {
                let detail = format!("mode {:o} has an unknown file type", node.mode);
                return Err(zstream_dmu::error::Error::corrupt("file", detail).into());
            }
        };
        make_special(parent, name, kind, node.device())?;
        Ok(None)
    }
}

/// Creates a device, a FIFO or a socket.
#[cfg(not(target_vendor = "apple"))]
fn make_special(
    parent: &File,
    name: &[u8],
    kind: rustix::fs::FileType,
    device: Option<(u32, u32)>,
) -> io::Result<()> {
    let device = device.map_or(0, |(major, minor)| rustix::fs::makedev(major, minor));
    Ok(rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Reports that these systems cannot create special files in an open directory.
#[cfg(target_vendor = "apple")]
fn make_special(_: &File, _: &[u8], _: rustix::fs::FileType, _: Option<(u32, u32)>) -> io::Result<()> {
    let why = "special files cannot be created on this system (mknodat is missing)";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// Opens a directory in another; with `make`, creates it with that mode if the name does not exist.
fn enter(parent: &File, name: &[u8], make: Option<u32>) -> io::Result<File> {
    if let Some(mode) = make {
        match rustix::fs::mkdirat(parent, name, permissions(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// The target directory. The user chose its path, so symbolic links in the path are followed; links below it are not.
fn open_directory(path: &Path) -> Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    Ok(opened.map_err(|error| Error::File { path: path.to_owned(), source: error.into() })?.into())
}

/// Creates a new file.
fn create(directory: &File, name: &[u8], mode: u32) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, permissions(mode))?.into())
}

/// The permissions of a mode. Its type has another width on each system.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate((mode & 0o7777) as _)
}

/// Removes a file that could not be completed.
fn remove(directory: &File, name: &[u8]) {
    // The reason that it is incomplete is reported; a failure to remove it adds nothing to that.
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
}
