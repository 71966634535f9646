//! Putting what a file system holds somewhere else: into a directory ([`tree`]) or an archive ([`archive`]).

pub(crate) mod archive;
pub(crate) mod tree;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, Mode, OFlags};
use zstream_zpl::content::Content;
use zstream_zpl::node::{FileType, Node};

use crate::failure::Failure;
use crate::files::CHUNK_BYTES;
use crate::progress::Meter;
use crate::text::{Count, Size, file_name};

/// What was restored or could not be, by what the summary calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A file with its content.
    File,
    /// A directory, or what is in it.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of a file.
    HardLink,
    /// A device, FIFO or socket.
    Special,
    /// A name that leads to nothing that can be read.
    Name,
    /// An owner or group.
    Owner,
    /// An extended attribute.
    Xattr,
    /// An access control list.
    Acl,
    /// A mode.
    Mode,
    /// Times.
    Times,
}

impl What {
    /// What a node of this type is.
    pub(crate) fn of(node: &Node) -> Self {
        match node.file_type() {
            Some(FileType::File) => Self::File,
            Some(FileType::Directory) => Self::Directory,
            Some(FileType::Symlink) => Self::Symlink,
            Some(_) => Self::Special,
            None => Self::Name,
        }
    }

    /// So many of them.
    fn count(self, count: u64) -> String {
        let one = match self {
            Self::File => "file",
            Self::Directory if count == 1 => "directory",
            Self::Directory => return format!("{count} directories"),
            Self::Symlink => "symbolic link",
            Self::HardLink => "hard link",
            Self::Special => "special file",
            Self::Name => "name",
            Self::Owner => "owner",
            Self::Xattr => "extended attribute",
            Self::Acl => "ACL",
            Self::Mode => "mode",
            Self::Times if count == 1 => return "the times of 1 file".to_owned(),
            Self::Times => return format!("the times of {count} files"),
        };
        Count(count, one).to_string()
    }
}

/// So many of each, as a list; nothing where there are none.
fn listed(counts: &BTreeMap<What, u64>) -> String {
    counts.iter().map(|(what, count)| what.count(*count)).collect::<Vec<_>>().join(", ")
}

/// Counts what was restored and what could not be.
pub(crate) struct Report {
    restored: BTreeMap<What, u64>,
    failed: BTreeMap<What, u64>,
    /// Shows how much was copied.
    pub(crate) meter: Meter,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { restored: BTreeMap::new(), failed: BTreeMap::new(), meter: Meter::new(None) }
    }

    /// Counts something that was restored.
    pub(crate) fn restored(&mut self, what: What) {
        *self.restored.entry(what).or_default() += 1;
    }

    /// Says that something at `path` could not be restored, and why.
    pub(crate) fn failed(&mut self, path: &[u8], what: What, why: impl Display) {
        *self.failed.entry(what).or_default() += 1;
        let path = if path.is_empty() { "/".to_owned() } else { file_name(path) };
        self.meter.line(&format!("zstream: {path}: {why}"));
    }

    /// The outcome of all. What was restored is told to people, and where not all was.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let restored = match listed(&self.restored) {
            nothing if nothing.is_empty() => "nothing".to_owned(),
            list => format!("{list}; {} of content", Size(self.meter.done())),
        };
        let summary = format!("zstream: restored {restored}");
        if self.failed.is_empty() {
            self.meter.note(&summary);
            return Ok(());
        }
        self.meter.line(&summary);
        let count = Count(self.failed.values().sum(), "thing");
        Err(Failure::new(format_args!("{count} could not be restored: {}", listed(&self.failed))))
    }
}

/// Why content was not copied.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It cannot be read.
    Read(zstream_dmu::error::Error),
    /// It cannot be written.
    Write(io::Error),
}

impl Display for CopyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Write(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl From<zstream_dmu::error::Error> for CopyError {
    fn from(error: zstream_dmu::error::Error) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Makes a file that was not there before.
pub(crate) fn create(directory: &File, name: &[u8], mode: u32) -> Result<File, CopyError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
    Ok(file.into())
}

/// Removes a file that could not be completed.
pub(crate) fn remove(directory: &File, name: &[u8]) {
    // The reason why it is incomplete is told; that it is still there as well would add nothing to that.
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
}

/// Copies content into an empty file; holes stay holes.
pub(crate) fn copy(content: &Content<'_>, file: &File, meter: &mut Meter) -> Result<(), CopyError> {
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(content.size()).unwrap_or(CHUNK_BYTES))];
    for range in content.ranges() {
        let range = range?;
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let length = content.read(at, &mut buffer[..length])?;
            file.write_all_at(&buffer[..length], at)?;
            meter.add(length);
            at += length as u64;
        }
    }
    // The end may be a hole.
    file.set_len(content.size())?;
    Ok(())
}

/// The name under which Linux has an extended attribute: what other systems wrote has no name space, and is the user's.
pub(crate) fn xattr_name(stored: &[u8]) -> Vec<u8> {
    const SPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if SPACES.iter().any(|space| stored.starts_with(space)) {
        stored.to_vec()
    } else {
        [b"user.", stored].concat()
    }
}

/// What is said of an ACL that is not restored.
pub(crate) const LOST_ACL: &str = "its ACL says more than its mode, which cannot be restored";

/// Whether a node's ACL says more than its mode.
pub(crate) fn has_acl(node: &Node) -> bool {
    /// Flag of a node whose ACL says no more.
    const ACL_TRIVIAL: u64 = 0x4;
    node.acl.is_some() && node.flags & ACL_TRIVIAL == 0
}
