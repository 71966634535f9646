//! The operations on files that differ between systems.
//!
//! Unix has positioned reads and writes, refuses disks that the kernel uses, and accepts hints. Windows has
//! positioned reads and writes of files only. On other systems files cannot be read, which is reported as an error;
//! devices of the caller work everywhere.

use std::fs::{File, Metadata, OpenOptions};
#[cfg(any(target_os = "linux", not(unix)))]
use std::io;
use std::path::Path;

use super::EntryKind;

/// Tells the system that a file is read sequentially except for small jumps. Several threads that read in turns do
/// not look like it, and the system then does not read ahead, which from a disk takes several times as long. It is
/// only a hint.
pub fn read_in_order(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Returns the kind of a file.
pub(super) fn kind(metadata: &Metadata) -> EntryKind {
    let file_type = metadata.file_type();
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_block_device(&file_type) {
        return EntryKind::Disk;
    }
    match () {
        () if file_type.is_dir() => EntryKind::Directory,
        () if file_type.is_file() => EntryKind::File,
        () => EntryKind::Other,
    }
}

/// Returns a text that identifies a file or disk, whatever its name.
pub(super) fn identity(path: &Path) -> io::Result<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path)?;
        Ok(match kind(&metadata) {
            EntryKind::Disk => format!("disk {}", metadata.rdev()),
            _ => format!("file {} of {}", metadata.ino(), metadata.dev()),
        })
    }
    #[cfg(not(unix))]
    Ok(std::fs::canonicalize(path)?.display().to_string())
}

/// Makes the kernel refuse a disk that it uses itself, and keep it free while it is open.
pub(super) fn open_disk_exclusively(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, rustix::fs::OFlags::EXCL.bits().cast_signed());
    #[cfg(not(unix))]
    let _ = options;
}

/// Frees the space of a part of a regular file, which then reads as zeros.
#[cfg(target_os = "linux")]
pub(super) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
}

#[cfg(unix)]
mod positioned {
    use std::fs::File;
    use std::io::{self, IoSlice};
    use std::os::unix::fs::FileExt;

    use rustix::io::{Errno, pwritev};

    pub(in crate::device) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(out, offset)
    }

    pub(in crate::device) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Writes all pieces, one after the other, in as few calls as possible.
    pub(in crate::device) fn write_pieces_at(file: &File, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let mut slices: Vec<IoSlice<'_>> = pieces.map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        let mut at = offset;
        while at < end {
            match pwritev(file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut rest, written);
                    at += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(windows)]
mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub(in crate::device) fn read_exact_at(
        file: &File,
        mut out: &mut [u8],
        mut offset: u64,
    ) -> io::Result<()> {
        while !out.is_empty() {
            match file.seek_read(out, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    out = &mut out[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(in crate::device) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match file.seek_write(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(not(any(unix, windows)))]
mod positioned {
    use std::fs::File;
    use std::io;

    fn refused() -> io::Error {
        let why = "positioned reads and writes of files are not supported on this platform: provide a device";
        io::Error::new(io::ErrorKind::Unsupported, why)
    }

    pub(in crate::device) fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(refused())
    }

    pub(in crate::device) fn write_all_at(_: &File, _: &[u8], _: u64) -> io::Result<()> {
        Err(refused())
    }
}

#[cfg(not(unix))]
/// Writes all pieces, one after the other.
pub(super) fn write_pieces_at(file: &File, pieces: &[&[u8]], mut offset: u64) -> io::Result<()> {
    for piece in pieces {
        write_all_at(file, piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

#[cfg(unix)]
pub(super) use positioned::write_pieces_at;
pub(super) use positioned::{read_exact_at, write_all_at};
