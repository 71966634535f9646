//! Regular files and block devices.
//!
//! There are two locks against other writers. An advisory lock (`flock`) excludes other writers of this kind, on
//! files and disks alike. A disk is also opened exclusively, which the kernel refuses while the disk is mounted or in
//! an imported pool. A pool that the kernel has imported from a regular file cannot be detected here; the state in
//! its labels serves that purpose.
//!
//! Written data is flushed in the background ([`behind`](super::behind)), so that a flush at the end does not wait
//! long.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::behind::Behind;
use super::open::has_writer;
use super::{Device, DeviceHints, EntryKind, in_range, platform};

/// The text of the error of a second writer.
pub(super) const HAS_WRITER: &str = "another program has it open for writing";

/// An open file or block device. Its length is determined when it is opened.
pub struct FileDevice {
    path: PathBuf,
    // Declared before the file, so that it is dropped first: the file is unlocked when its last handle is closed.
    behind: Behind,
    file: Arc<File>,
    len: u64,
    writable: bool,
    is_sparse: bool,
}

impl FileDevice {
    /// Opens a file for reading. Other programs may have it open in any mode.
    ///
    /// # Errors
    /// Fails like `open(2)`, and if the path is a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with(path, OpenOptions::new().read(true).open(path)?, false)
    }

    /// Opens a file for reading and writing, and locks it against other writers of this kind until it is dropped.
    ///
    /// # Errors
    /// Fails like `open(2)`; with `WouldBlock` if another writer holds the lock, and with `ResourceBusy` if the
    /// kernel uses the disk.
    pub fn open_writable(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if platform::kind(&std::fs::metadata(path)?) == EntryKind::Disk {
            platform::open_disk_exclusively(&mut options);
        }
        Self::locked(path, options.open(path)?)
    }

    /// Creates a sparse file of `len` bytes, and opens it like [`open_writable`](Self::open_writable). An existing
    /// file is truncated if `replace` is `true`.
    ///
    /// # Errors
    /// Fails like `open(2)`, with `AlreadyExists` unless `replace` is `true`. Fails with `WouldBlock` if a writer has
    /// the existing file open.
    pub fn create(path: &Path, len: u64, replace: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(replace).create_new(!replace);
        let file = options.open(path)?;
        lock(&file)?;
        // This leaves only zeros, even if the file was larger or had content.
        let sized = file.set_len(0).and_then(|()| file.set_len(len));
        if let Err(error) = sized {
            if !replace {
                // It was created here, and is of no use.
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
        Self::with(path, file, true)
    }

    fn locked(path: &Path, file: File) -> io::Result<Self> {
        lock(&file)?;
        Self::with(path, file, true)
    }

    fn with(path: &Path, mut file: File, writable: bool) -> io::Result<Self> {
        let kind = platform::kind(&file.metadata()?);
        if kind == EntryKind::Directory {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        // Seeking to the end yields the size of a block device, for which `metadata` returns 0.
        let len = file.seek(SeekFrom::End(0))?;
        // Blocks are mostly read in the order of their offsets.
        platform::read_in_order(&file);
        let file = Arc::new(file);
        // Holes depend on the file system, and only Linux has a system call that creates one in a file.
        let is_sparse = kind == EntryKind::File && cfg!(target_os = "linux");
        let behind = Behind::new(Arc::clone(&file));
        Ok(Self { path: path.to_owned(), behind, file, len, writable, is_sparse })
    }

    fn check_write(&self, offset: u64, bytes: usize) -> io::Result<()> {
        if !self.writable {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened read-only"));
        }
        in_range(self.len, offset, bytes)
    }

    /// Returns the path with which the device was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(has_writer()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl fmt::Debug for FileDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDevice({}, {} bytes)", self.path.display(), self.len)
    }
}

impl Device for FileDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        in_range(self.len, offset, out.len())?;
        platform::read_exact_at(&self.file, out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_write(offset, bytes.len())?;
        platform::write_all_at(&self.file, bytes, offset)?;
        self.behind.wrote(bytes.len() as u64);
        Ok(())
    }

    fn write_pieces_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        if let [bytes] = pieces {
            return self.write_at(offset, bytes);
        }
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        self.check_write(offset, bytes)?;
        platform::write_pieces_at(&self.file, pieces, offset)?;
        self.behind.wrote(bytes as u64);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        if self.writable { self.behind.flush() } else { Ok(()) }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn hints(&self) -> DeviceHints {
        DeviceHints { can_discard: self.is_sparse && self.writable, ..DeviceHints::default() }
    }

    #[cfg(target_os = "linux")]
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        if !self.is_sparse {
            return Err(super::cannot_discard());
        }
        platform::punch_hole(&self.file, offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_at_offsets_within_its_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let device = FileDevice::open_writable(file.path()).unwrap();
        device.write_at(4090, b"abcdef").unwrap();
        device.flush().unwrap();
        assert!(device.write_at(4091, b"abcdef").is_err(), "a member never grows");
        let reader = FileDevice::open(file.path()).unwrap();
        let mut out = [0; 3];
        reader.read_at(4093, &mut out).unwrap();
        assert_eq!(&out, b"def");
        assert!(reader.write_at(0, b"x").is_err());
        assert_eq!(reader.len(), 4096);
    }

    /// Writes more pieces than the system accepts at once, and empty ones.
    #[test]
    fn pieces_are_written_one_behind_the_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let device = FileDevice::open_writable(file.path()).unwrap();
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n * 7 / 8) as u8).collect();
        let pieces: Vec<&[u8]> = bytes.chunks(300).flat_map(|piece| [piece, &[]]).collect();
        device.write_pieces_at(4097, &pieces).unwrap();
        device.write_pieces_at(1 << 20, &[]).unwrap();
        let mut out = vec![1; bytes.len() + 2];
        device.read_at(4096, &mut out).unwrap();
        assert_eq!(out[0], 0);
        assert!(out[1..=bytes.len()] == bytes[..]);
        assert_eq!(out[bytes.len() + 1], 0);
        assert!(device.write_pieces_at((1 << 20) - 8, &[b"12345678", b"9"]).is_err(), "a member never grows");
        device.read_at((1 << 20) - 8, &mut out[..8]).unwrap();
        assert_eq!(out[..8], [0; 8], "and nothing is written then");
        let reader = FileDevice::open(file.path()).unwrap();
        assert!(reader.write_pieces_at(0, &[b"x"]).is_err());
    }

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = FileDevice::open_writable(file.path()).unwrap();
        let refused = FileDevice::open_writable(file.path()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(refused.to_string(), "another program has it open for writing");
        let refused = FileDevice::create(file.path(), 4096, true).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(FileDevice::open(file.path()).is_ok());
        drop(first);
        assert!(FileDevice::open_writable(file.path()).is_ok());
    }

    #[test]
    fn a_new_file_is_zeros_and_replaces_only_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("member");
        let device = FileDevice::create(&path, 1 << 30, false).unwrap();
        device.write_at(4096, b"abc").unwrap();
        assert_eq!(device.len(), 1 << 30);
        drop(device);
        assert_eq!(FileDevice::create(&path, 8192, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let device = FileDevice::create(&path, 8192, true).unwrap();
        let mut out = [1; 3];
        device.read_at(4096, &mut out).unwrap();
        assert_eq!((device.len(), out), (8192, [0; 3]));
    }

    /// On systems without holes in files, the hints say so, and there is nothing to test.
    #[test]
    fn what_is_discarded_is_zeros_and_nothing_else_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let device = FileDevice::open_writable(file.path()).unwrap();
        device.write_at(0, &vec![7; 3 << 20]).unwrap();
        assert_eq!(device.hints().can_discard, cfg!(target_os = "linux"));
        assert!(!FileDevice::open(file.path()).unwrap().hints().can_discard, "opened read-only");
        assert!(device.discard(1 << 20, 3 << 20).is_err(), "beyond the end");
        if device.hints().can_discard {
            device.discard(1 << 20, 1 << 20).unwrap();
            let mut out = vec![1; 3 << 20];
            device.read_at(0, &mut out).unwrap();
            let (before, rest) = out.split_at(1 << 20);
            let (hole, after) = rest.split_at(1 << 20);
            assert!(hole.iter().all(|byte| *byte == 0));
            assert!(before.iter().chain(after).all(|byte| *byte == 7));
            assert_eq!(device.len(), 3 << 20);
        }
        assert!(FileDevice::open(file.path()).unwrap().discard(0, 4096).is_err(), "opened read-only");
    }

    #[test]
    fn a_file_that_cannot_have_its_size_is_not_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        assert!(FileDevice::create(&path, u64::MAX, false).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_is_no_device() {
        assert!(FileDevice::open(Path::new("/")).is_err());
    }
}
