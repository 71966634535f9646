//! Files of a filesystem restored into a directory ([`to_directory`]) or an archive ([`to_archive`]), and volumes into an
//! image ([`to_image`]).

mod archive;
#[cfg_attr(not(unix), path = "tree_elsewhere.rs")]
mod tree;
mod walk;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::Path;

use zstream_dmu::object_set::ObjectSet;
use zstream_zpl::node::Node;
use zstream_zpl::{Content, Filesystem, volume};

use self::archive::Archive;
use self::tree::Tree;
use crate::control::{Control, Event};
pub use crate::control::{Extracted, What};
use crate::error::{Cause, Error, Result};
use crate::place::source::{CHUNK_BYTES, parts};
use crate::text::{Size, file_name};

/// Options of [`to_directory_with`]. The default restores everything, as `tar -p` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtractOptions {
    /// Leave out devices, FIFOs and sockets.
    pub no_special: bool,
    /// Restore modes without the set-user-ID and set-group-ID bits, and no file capabilities.
    pub no_setuid: bool,
    /// Do not restore owners: what is restored belongs to the user of the program, as without root. The set-user-ID and
    /// set-group-ID bits are not restored either, since they would apply to another owner.
    pub no_same_owner: bool,
}

impl Extracted {
    /// True if everything was restored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// What was restored and left out, as `zstream extract` prints it.
    #[must_use]
    pub fn text(&self) -> String {
        let left_out = match listed(&self.left_out) {
            nothing if nothing.is_empty() => nothing,
            list => format!("; left out {list}"),
        };
        format!("restored {}{left_out}", self.restored_text())
    }

    /// The state of a directory after an extraction was interrupted before the path `next`.
    #[must_use]
    pub fn partial_text(&self, next: &[u8]) -> String {
        let next = if next.is_empty() { "/".to_owned() } else { file_name(next) };
        let restored = self.restored_text();
        format!(
            " at {next}: restored {restored}; the directories on the way there are not complete and have no owner, mode and times yet"
        )
    }

    fn restored_text(&self) -> String {
        match listed(&self.restored) {
            nothing if nothing.is_empty() => "nothing".to_owned(),
            list => format!("{list}; {} of content", Size(self.bytes)),
        }
    }
}

/// Restores files and directory trees to the same paths below a directory.
///
/// This is [`to_directory_with`] the default options.
///
/// Restores holes, modes, times, extended attributes, symbolic and hard links, FIFOs and sockets; as root also owners
/// and devices. Nothing is written outside the directory, symbolic links in it are not followed, and nothing is
/// overwritten. A file that cannot be read completely is skipped. Each item that cannot be restored is reported as
/// [`Event::NotRestored`] and counted. Paths are relative to the root of the filesystem; an empty path means
/// everything.
///
/// # Errors
/// The directory cannot be opened; a path contains `..`; it was cancelled: files that were already restored are then
/// kept, all of them complete.
pub fn to_directory<P: AsRef<[u8]>>(
    fs: &Filesystem<'_>,
    paths: &[P],
    directory: &Path,
    control: &mut Control<'_>,
) -> Result<Extracted> {
    to_directory_with(fs, paths, directory, &ExtractOptions::default(), control)
}

/// Restores files and directory trees as [`to_directory`] does, with options for filesystems that somebody else made.
///
/// If it is cancelled, an [`Event::Cancelled`] says how far it came.
///
/// # Errors
/// As [`to_directory`].
pub fn to_directory_with<P: AsRef<[u8]>>(
    fs: &Filesystem<'_>,
    paths: &[P],
    directory: &Path,
    options: &ExtractOptions,
    control: &mut Control<'_>,
) -> Result<Extracted> {
    let paths = paths.iter().map(|path| parts(path.as_ref())).collect::<Result<Vec<_>>>()?;
    let mut tree = Tree::open(directory, *options)?;
    let mut report = Report { is_kept: true, ..Report::new(control) };
    for path in &paths {
        tree.restore(fs, path, &mut report)?;
    }
    Ok(report.outcome)
}

/// Writes files and directory trees as a pax archive, with holes in GNU tar's sparse format.
///
/// A file whose beginning cannot be read is skipped, and so are sockets.
///
/// # Errors
/// A path contains `..`; `out` fails; a file cannot be read completely after its size was written
/// ([`Error::ArchiveCut`]); it was cancelled. The archive is then incomplete.
pub fn to_archive<P: AsRef<[u8]>>(
    fs: &Filesystem<'_>,
    paths: &[P],
    out: impl Write,
    control: &mut Control<'_>,
) -> Result<Extracted> {
    let paths = paths.iter().map(|path| parts(path.as_ref())).collect::<Result<Vec<_>>>()?;
    let mut archive = Archive::new(out);
    let mut report = Report::new(control);
    for path in &paths {
        archive.add(fs, path, &mut report)?;
    }
    archive.finish()?;
    Ok(report.outcome)
}

/// Copies a volume into a new file, which gets the holes of the volume.
///
/// # Errors
/// The file exists or cannot be written; the volume cannot be read; it was cancelled. The file is then removed.
pub fn to_image(set: &dyn ObjectSet, path: &Path, control: &mut Control<'_>) -> Result<u64> {
    let content = volume::content(set)?;
    let at = |source| Error::Target { path: path.to_owned(), source };
    let file = File::options().write(true).create_new(true).open(path).map_err(at)?;
    let copied = copy(&content, &file, &mut Report::new(control));
    if copied.is_err() {
        // The reason that it is incomplete is reported; a failure to remove it adds nothing to that.
        let _ = fs::remove_file(path);
    }
    copied.map(|()| content.size()).map_err(|error| match error {
        CopyError::Read(source) => Error::Content { path: path.to_owned(), source },
        CopyError::Write(source) => Error::Target { path: path.to_owned(), source },
        CopyError::Cancelled => Error::Cancelled,
    })
}

/// Counts of restored items and of failures.
struct Report<'a, 'c> {
    outcome: Extracted,
    control: &'a mut Control<'c>,
    /// Whether what was restored is kept if it is cancelled.
    is_kept: bool,
}

impl<'a, 'c> Report<'a, 'c> {
    fn new(control: &'a mut Control<'c>) -> Self {
        Self { outcome: Extracted::default(), control, is_kept: false }
    }

    /// Counts a restored item.
    fn restored(&mut self, what: What) {
        *self.outcome.restored.entry(what).or_default() += 1;
    }

    /// Reports an item at `path` that could not be restored, with the reason.
    fn failed(&mut self, path: &[u8], what: What, why: impl Display) {
        *self.outcome.failed.entry(what).or_default() += 1;
        self.control.event(Event::NotRestored { path, what, why: &why });
    }

    /// Counts an item that the options leave out.
    #[cfg_attr(not(unix), expect(dead_code, reason = "of extraction into a directory"))]
    fn left_out(&mut self, what: What) {
        *self.outcome.left_out.entry(what).or_default() += 1;
    }

    /// Returns the error of a cancellation before the item at `next`. If what was restored is kept, reports how far it
    /// came.
    fn cancelled(&mut self, next: &[u8]) -> Error {
        if self.is_kept {
            self.control.event(Event::Cancelled { next, extracted: &self.outcome });
        }
        Error::Cancelled
    }

    /// Counts restored content.
    fn did(&mut self, bytes: usize) {
        self.outcome.bytes += bytes as u64;
        self.control.did(bytes);
    }
}

/// The reason that content was not copied.
#[derive(Debug)]
enum CopyError {
    /// It cannot be read.
    Read(Cause),
    /// It cannot be written.
    Write(io::Error),
    /// It was cancelled.
    Cancelled,
}

impl Display for CopyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Write(error) => write!(f, "cannot write: {error}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl From<zstream_dmu::error::Error> for CopyError {
    fn from(error: zstream_dmu::error::Error) -> Self {
        Self::Read(error.into())
    }
}

impl From<zstream_zpl::error::Error> for CopyError {
    fn from(error: zstream_zpl::error::Error) -> Self {
        Self::Read(error.into())
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Copies content into an empty file and preserves holes.
fn copy(content: &Content<'_>, mut file: &File, report: &mut Report<'_, '_>) -> Result<(), CopyError> {
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(content.size()).unwrap_or(CHUNK_BYTES))];
    for range in content.ranges() {
        let range = range?;
        let mut at = range.start;
        file.seek(SeekFrom::Start(at))?;
        while at < range.end {
            if report.control.is_cancelled() {
                return Err(CopyError::Cancelled);
            }
            let length = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let length = content.read(at, &mut buffer[..length])?;
            file.write_all(&buffer[..length])?;
            report.did(length);
            at += length as u64;
        }
    }
    // The end may be a hole.
    file.set_len(content.size())?;
    Ok(())
}

/// The name of an extended attribute on Linux. Names from other systems have no namespace and belong to `user`.
fn xattr_name(stored: &[u8]) -> Vec<u8> {
    const SPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if SPACES.iter().any(|space| stored.starts_with(space)) {
        stored.to_vec()
    } else {
        [b"user.", stored].concat()
    }
}

/// The reason for an ACL that is not restored.
const LOST_ACL: &str = "its ACL is not equivalent to its mode and cannot be restored";

/// True if a node's ACL is not equivalent to its mode.
fn has_acl(node: &Node) -> bool {
    /// The flag of a node whose ACL is equivalent to its mode.
    const ACL_TRIVIAL: u64 = 0x4;
    node.acl.is_some() && node.flags & ACL_TRIVIAL == 0
}

/// Counts of each kind as a list, such as `1 directory, 3 files`; empty if there are none.
#[must_use]
pub fn listed(counts: &BTreeMap<What, u64>) -> String {
    counts.iter().map(|(what, number)| what.counted(*number)).collect::<Vec<_>>().join(", ")
}

/// Writes the content of a file or volume.
///
/// # Errors
/// The content cannot be read; [`Error::Output`].
pub fn write_content(content: &Content<'_>, out: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(content.size()).unwrap_or(CHUNK_BYTES))];
    let mut at = 0;
    loop {
        let length = content.read(at, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..length]).map_err(Error::Output)?;
        at += length as u64;
    }
}

/// The file name of the image of a volume: the last part of its name, without that of a snapshot.
#[must_use]
pub fn image_name(volume: &str) -> String {
    let last = volume.rsplit('/').next().unwrap_or_default();
    format!("{}.img", last.split('@').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_nouns() {
        let counts = BTreeMap::from([(What::File, 3), (What::Directory, 1), (What::Times, 2)]);
        assert_eq!(listed(&counts), "3 files, 1 directory, the times of 2 files");
        assert_eq!(
            listed(&BTreeMap::from([(What::Directory, 2), (What::Times, 1)])),
            "2 directories, the times of 1 file"
        );
        assert_eq!(listed(&BTreeMap::new()), "");
    }

    #[test]
    fn images_are_named_as_their_volume() {
        assert_eq!(image_name("tank/vms/one@monday"), "one.img");
        assert_eq!(image_name("tank/one"), "one.img");
    }
}
