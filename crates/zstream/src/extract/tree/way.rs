//! The directories on the way of a walk that restores files, of which a bounded number is open.

use std::fs::File;
use std::io;

use rustix::fs::{Mode, OFlags};

/// The most directories that are open at a time.
const OPEN_MAX: usize = 64;

/// The directories on the way from the target to where a walk is. The innermost ones are open, so that the depth of a tree is not
/// limited by the number of files that the system allows to be open.
pub(super) struct Way(Vec<Option<Level>>);

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

impl Way {
    pub(super) fn new(first: File) -> io::Result<Self> {
        Ok(Self(vec![Some(Level::new(first)?)]))
    }

    /// The directory where the walk is; none where it could not be made.
    pub(super) fn last(&self) -> Option<&File> {
        self.0.last().and_then(Option::as_ref).and_then(|level| level.file.as_ref())
    }

    /// Enters a directory; none where it could not be made, and where this fails.
    pub(super) fn enter(&mut self, directory: Option<File>) -> io::Result<()> {
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
    pub(super) fn leave(&mut self) -> (Option<File>, Option<io::Error>) {
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
