//! Extraction into a directory, and never outside it.
//!
//! Every node is created as a new name relative to an open directory, which was itself reached without following a
//! link. Thus neither names and links in the filesystem nor links in the target lead out of it. Existing directories
//! are entered.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use zstream_dmu::ids::ObjectId;
use zstream_zpl::node::{FileType, Node, Time};
use zstream_zpl::{Filesystem, Fuid, Visit};

use super::{CopyError, ExtractOptions, LOST_ACL, Report, What, copy, has_acl, xattr_name};
use crate::error::{Error, Result};
use crate::place::source::joined;
use crate::text::file_name;

const NANOSECONDS: u64 = 1_000_000_000;

/// The most directories that are open at a time.
const OPEN_MAX: usize = 64;

/// The extended attribute with the capabilities that a program gets, as others get a user from the set-user-ID bit.
const CAPABILITY: &[u8] = b"security.capability";

/// A restore into one directory.
pub(super) struct Tree {
    target: File,
    options: ExtractOptions,
    /// Whether owners are restored.
    has_owners: bool,
    /// The first path of each node with several names.
    links: HashMap<ObjectId, Vec<u8>>,
}

/// Directories on the way from the target to where a walk is. The innermost ones are open, so that the depth of a tree is not
/// limited by the number of files that the system allows to be open.
struct Open(Vec<Option<Level>>);

/// A directory on the way.
struct Level {
    /// None for one that was closed.
    file: Option<File>,
    /// Its device and inode, by which it is known again.
    identity: (u64, u64),
}

impl Level {
    fn new(file: File) -> io::Result<Self> {
        let identity = identity(&file)?;
        Ok(Self { file: Some(file), identity })
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(file)?;
    // The types of both numbers depend on the system.
    Ok((found.st_dev as _, found.st_ino as _))
}

impl Open {
    fn new(first: File) -> io::Result<Self> {
        Ok(Self(vec![Some(Level::new(first)?)]))
    }

    /// The directory where the walk is; none where it could not be made.
    fn last(&self) -> Option<&File> {
        self.0.last().and_then(Option::as_ref).and_then(|level| level.file.as_ref())
    }

    /// Enters a directory; none where it could not be made, and where this fails.
    fn enter(&mut self, directory: Option<File>) -> io::Result<()> {
        let (level, outcome) = match directory.map(Level::new).transpose() {
            Ok(level) => (level, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.0.push(level);
        // The first one stays open: it may be the same directory as the second one, and not above it.
        if let Some(outer) = self.0.len().checked_sub(OPEN_MAX + 1).filter(|outer| *outer > 0)
            && let Some(level) = &mut self.0[outer]
        {
            level.file = None;
        }
        outcome
    }

    /// Leaves the innermost directory, and opens the one above it again if it was closed. Gives what was left, and why the one
    /// above cannot be used any more.
    fn leave(&mut self) -> (Option<File>, Option<io::Error>) {
        let left = self.0.pop().flatten().and_then(|level| level.file);
        let Some(above) = self.0.last_mut() else { return (left, None) };
        let (Some(level), Some(directory)) = (above.as_mut().filter(|level| level.file.is_none()), &left)
        else {
            return (left, None);
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, "..", flags, Mode::empty()).map_err(io::Error::from);
        let opened = opened.map(File::from).and_then(|file| match identity(&file)? == level.identity {
            true => Ok(file),
            // Somebody moved what is being restored.
            false => Err(io::Error::other("it was moved while files were restored into it")),
        });
        match opened {
            Ok(file) => {
                level.file = Some(file);
                (left, None)
            }
            Err(error) => {
                *above = None;
                (left, Some(error))
            }
        }
    }
}

/// The handle to set attributes through.
enum Handle<'a> {
    Open(&'a File),
    /// A name in a directory: links and devices are not opened.
    Name(&'a File, &'a [u8]),
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
        let node = match fs.resolve(&path) {
            Ok(node) => node,
            Err(error) => {
                report.failed(&path, What::Name, error);
                return Ok(());
            }
        };
        let above = parts.split_last().map_or(&[][..], |(_, above)| above);
        let mut open = match self.directory(above, true).and_then(Open::new) {
            Ok(open) => open,
            Err(error) => {
                report.failed(&path, What::Directory, error);
                return Ok(());
            }
        };
        for visit in fs.walk(node) {
            if let Some(skipped) = report.cancelled_at.take() {
                return Err(report.cancelled(&skipped));
            }
            if report.control.is_cancelled() {
                let next = match &visit {
                    Visit::Node { path, .. } | Visit::Leave { path, .. } | Visit::Failed { path, .. } => path,
                };
                return Err(report.cancelled(&joined(&path, next)));
            }
            match visit {
                Visit::Node { path: below, node } => {
                    let here = joined(&path, &below);
                    // The failure of a directory covers everything below it.
                    let made = open.last().map(|parent| self.make(fs, parent, &here, &node, report));
                    if node.is_directory()
                        && let Err(error) = open.enter(made.flatten())
                    {
                        report.failed(&here, What::Directory, error);
                    }
                }
                Visit::Leave { path: below, node } => {
                    let here = joined(&path, &below);
                    let (directory, failure) = open.leave();
                    if let Some(directory) = directory {
                        self.attributes(fs, &Handle::Open(&directory), &here, &node, report);
                    }
                    if let Some(error) = failure {
                        report.failed(
                            &here,
                            What::Directory,
                            format_args!("the directory above it: {error}"),
                        );
                    }
                }
                Visit::Failed { path: below, error } => {
                    report.failed(&joined(&path, &below), What::Name, error);
                }
            }
        }
        match report.cancelled_at.take() {
            Some(skipped) => Err(report.cancelled(&skipped)),
            None => Ok(()),
        }
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
    fn make(
        &mut self,
        fs: &Filesystem<'_>,
        parent: &File,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) -> Option<File> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if node.is_directory() {
            // The root of the file system is the target itself. Others get their mode when all is in them.
            let entered = if path.is_empty() { parent.try_clone() } else { enter(parent, name, Some(0o700)) };
            match entered {
                Ok(directory) => {
                    report.restored(What::Directory);
                    return Some(directory);
                }
                Err(error) => {
                    report.failed(path, What::Directory, error);
                    return None;
                }
            }
        }
        if self.options.no_special && What::of(node) == What::Special {
            report.left_out(What::Special);
            return None;
        }
        if let Some(first) = self.links.get(&node.object) {
            match self.link(first, parent, name) {
                Ok(()) => report.restored(What::HardLink),
                Err(error) => report.failed(path, What::HardLink, format_args!("hard link: {error}")),
            }
            return None;
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
            Err(CopyError::Cancelled) => report.cancelled_at = Some(path.to_vec()),
            Err(error) => report.failed(path, What::of(node), error),
        }
        None
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

    /// Sets owner, extended attributes, mode and times, in this order, because each may change those after it.
    fn attributes(
        &self,
        fs: &Filesystem<'_>,
        handle: &Handle<'_>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) {
        if self.has_owners {
            self.owner(fs, handle, path, node, report);
        }
        match fs.xattrs(node) {
            Ok(xattrs) => {
                for xattr in xattrs {
                    if self.options.no_setuid && xattr.name == CAPABILITY {
                        report.left_out(What::Xattr);
                        continue;
                    }
                    let set = fs.xattr_value(&xattr).map_err(CopyError::from).and_then(|value| {
                        handle.set_xattr(&xattr_name(&xattr.name), &value).map_err(CopyError::from)
                    });
                    if let Err(error) = set {
                        let name = file_name(&xattr.name);
                        report.failed(path, What::Xattr, format_args!("extended attribute {name}: {error}"));
                    }
                }
            }
            Err(error) => report.failed(path, What::Xattr, error),
        }
        if has_acl(node) {
            report.failed(path, What::Acl, LOST_ACL);
        }
        // Links have no mode of their own.
        if node.file_type() != Some(FileType::Symlink)
            && let Err(error) = handle.set_mode(self.mode(node))
        {
            report.failed(path, What::Mode, format_args!("mode: {error}"));
        }
        match (timespec(node.atime), timespec(node.mtime)) {
            (Some(last_access), Some(last_modification)) => {
                if let Err(error) = handle.set_times(&Timestamps { last_access, last_modification }) {
                    report.failed(path, What::Times, format_args!("times: {error}"));
                }
            }
            _ => report.failed(path, What::Times, "its times have more nanoseconds than a second"),
        }
    }

    /// The mode that a node gets. The set-user-ID bit of one owner must not become that of another.
    fn mode(&self, node: &Node) -> Mode {
        let mode = permissions(node.permissions());
        if self.options.no_setuid || self.options.no_same_owner {
            mode - (Mode::SUID | Mode::SGID)
        } else {
            mode
        }
    }

    fn owner(
        &self,
        fs: &Filesystem<'_>,
        handle: &Handle<'_>,
        path: &[u8],
        node: &Node,
        report: &mut Report<'_, '_>,
    ) {
        let mut posix = |id: Fuid, what: &str| {
            // The highest number is the system's word for "as it is".
            let found = id.posix().filter(|id| *id != u32::MAX);
            if found.is_none() {
                let domain = fs.domain(id).unwrap_or("an unknown domain");
                report.failed(
                    path,
                    What::Owner,
                    format_args!("{what} {} of {domain} is not a POSIX id", id.rid()),
                );
            }
            found
        };
        let (uid, gid) =
            (posix(node.uid, "user").map(Uid::from_raw), posix(node.gid, "group").map(Gid::from_raw));
        if let Err(error) = handle.set_owner(uid, gid) {
            report.failed(path, What::Owner, format_args!("owner: {error}"));
        }
    }
}

impl Handle<'_> {
    fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::fchown(file, uid, gid),
            Self::Name(parent, name) => {
                rustix::fs::chownat(parent, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }

    fn set_mode(&self, mode: Mode) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::fchmod(file, mode),
            // Not for links, which are never given here; the name was made a moment ago.
            Self::Name(parent, name) => rustix::fs::chmodat(parent, *name, mode, AtFlags::empty()),
        }?)
    }

    fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::futimens(file, times),
            Self::Name(parent, name) => {
                rustix::fs::utimensat(parent, *name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Name(parent, node) => {
                // There is no call for a name in an open directory; this path leads there and does not follow a link at its end.
                let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), node].concat();
                rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
            }
        }?)
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

fn timespec(time: Time) -> Option<Timespec> {
    let nanoseconds = time.nanoseconds;
    (nanoseconds < NANOSECONDS).then_some(Timespec { tv_sec: time.seconds, tv_nsec: nanoseconds as _ })
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
