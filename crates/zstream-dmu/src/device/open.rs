//! Where devices come from: files and disks by their path, memory by name, or whatever a caller of the library brings.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, FileDevice};
use super::{Device, platform};

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be read. Others may write to it in the meantime.
    Read,
    /// To be read and written, by no other writer until it is dropped.
    Write,
    /// As [`Write`](Self::Write), after it was made with `len` zero bytes. One that is there is emptied if `replace`.
    Create {
        /// Size in bytes.
        len: u64,
        /// Whether one that is there may be emptied.
        replace: bool,
    },
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Something that holds names: it can be searched.
    Directory,
    /// A device of any size, which can be made and removed.
    File,
    /// A device that has its size.
    Disk,
    /// Something that is not a device. Opening it could block or have effects.
    Other,
}

/// Opens devices by name. Pools are found, opened, written and created through it.
pub trait OpenDevice: Send + Sync + fmt::Debug {
    /// What there is of this name.
    ///
    /// # Errors
    /// `NotFound` when there is nothing, and whatever keeps it from being looked at.
    fn kind(&self, name: &Path) -> io::Result<EntryKind>;

    /// The names in a directory, in order; at most `most`, and one more where there are more.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be searched.
    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<PathBuf>>;

    /// Opens the device of this name.
    ///
    /// # Errors
    /// `NotFound`, or `AlreadyExists` where one is not to be replaced; `WouldBlock` when another writer has it.
    fn open(&self, name: &Path, mode: Mode) -> io::Result<Arc<dyn Device>>;

    /// Removes a device that was created.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be removed.
    fn remove(&self, name: &Path) -> io::Result<()>;

    /// The name by which the device is found from everywhere: what a pool notes of its member.
    ///
    /// # Errors
    /// The name has none.
    fn full_name(&self, name: &Path) -> io::Result<PathBuf> {
        Ok(name.to_owned())
    }
}

/// Files and disks of this system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files;

impl OpenDevice for Files {
    fn kind(&self, name: &Path) -> io::Result<EntryKind> {
        Ok(platform::kind(&std::fs::metadata(name)?))
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(directory)?.take(most.saturating_add(1));
        let mut names = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &Path, mode: Mode) -> io::Result<Arc<dyn Device>> {
        Ok(Arc::new(match mode {
            Mode::Read => FileDevice::open(name)?,
            Mode::Write => FileDevice::open_writable(name)?,
            Mode::Create { len, replace } => FileDevice::create(name, len, replace)?,
        }))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        std::fs::remove_file(name)
    }

    fn full_name(&self, name: &Path) -> io::Result<PathBuf> {
        std::path::absolute(name)
    }
}

/// The error of a second writer.
pub(super) fn has_writer() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, file::HAS_WRITER)
}
