//! Opening of devices: files and disks by path, memory by name, or devices of the library's caller.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, FileDevice};
use super::{Device, platform};

/// The mode in which a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading. Others may write to the device in the meantime.
    Read,
    /// For reading and writing, with a lock against other writers until the device is dropped.
    Write,
    /// Like [`Write`](Self::Write), for a new device of `len` zero bytes. An existing one is truncated if `replace`
    /// is `true`.
    Create {
        /// The size in bytes.
        len: u64,
        /// `true` if an existing device may be truncated.
        replace: bool,
    },
}

/// The kind of an entry with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory of names, which can be searched.
    Directory,
    /// A device that can be created with any size, and removed.
    File,
    /// A device with a fixed size.
    Disk,
    /// An entry that is not a device. Opening it could block or have side effects.
    Other,
}

/// An opener of devices by name. Pools are found, opened, written and created through it.
pub trait OpenDevice: Send + Sync + fmt::Debug {
    /// Returns the kind of the entry with this name.
    ///
    /// # Errors
    /// Fails with `NotFound` if it does not exist, and if it cannot be examined.
    fn kind(&self, name: &Path) -> io::Result<EntryKind>;

    /// Returns the names in a directory, in order: at most `most`, plus one if there are more.
    ///
    /// # Errors
    /// Fails if the directory does not exist or cannot be read.
    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<PathBuf>>;

    /// Opens the device with this name.
    ///
    /// # Errors
    /// Fails with `NotFound` if it does not exist, with `AlreadyExists` if it exists and must not be replaced, and
    /// with `WouldBlock` if another writer has it open.
    fn open(&self, name: &Path, mode: Mode) -> io::Result<Arc<dyn Device>>;

    /// Removes a device that was created.
    ///
    /// # Errors
    /// Fails if it does not exist or cannot be removed.
    fn remove(&self, name: &Path) -> io::Result<()>;

    /// Returns the absolute name of the device, which a pool stores for its member.
    ///
    /// # Errors
    /// Fails if there is no absolute name.
    fn full_name(&self, name: &Path) -> io::Result<PathBuf> {
        Ok(name.to_owned())
    }

    /// Returns a text that is the same for all names of a device, and different for different devices.
    ///
    /// # Errors
    /// Fails with `NotFound` if it does not exist, and if it cannot be examined.
    fn identity(&self, name: &Path) -> io::Result<String> {
        Ok(name.display().to_string())
    }
}

/// The files and disks of this system.
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

    fn identity(&self, name: &Path) -> io::Result<String> {
        platform::identity(name)
    }
}

/// Returns the error of a second writer.
pub(super) fn has_writer() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, file::HAS_WRITER)
}
