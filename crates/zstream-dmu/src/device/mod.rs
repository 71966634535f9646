//! Devices: byte ranges of a fixed length that can be read, written and flushed. All input and output of pools passes
//! through them.
//!
//! A device is shared between threads and has no position. Reads and writes are complete or fail; a read beyond the
//! end fails. The content of a [`Device`] is never trusted: the layers above verify it by checksum.

mod behind;
#[cfg(any(test, feature = "testing"))]
mod faulty;
mod file;
mod memory;
mod open;
mod overlay;
mod platform;
#[cfg(any(test, feature = "testing"))]
mod recorder;
mod shifted;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(test, feature = "testing"))]
pub use faulty::{FailingCalls, FaultyDevice};
pub use file::FileDevice;
pub use memory::{Memory, MemoryDevice};
pub use open::{EntryKind, Files, Mode, OpenDevice};
pub use overlay::OverlayDevice;
pub use platform::read_in_order;
#[cfg(any(test, feature = "testing"))]
pub use recorder::{Loss, RecordedEvent, Recorder};
pub(crate) use shifted::Shifted;

/// The preferences of a device for reads and writes. They only affect speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceHints {
    /// The size in bytes above which reads and writes do not get faster.
    pub preferred_bytes: u64,
    /// The approximate time for the smallest read, which is used to choose how much to read ahead.
    pub latency: Duration,
    /// `true` if [`Device::discard`] frees space.
    pub can_discard: bool,
    /// `true` if a flush is atomic: writes and discards take effect with the next flush, all at once, and a crash before
    /// that leaves the state of the last one. The generations of a bucket are so, files and disks are not.
    pub is_flush_atomic: bool,
}

impl Default for DeviceHints {
    /// Returns the preferences of files and disks.
    fn default() -> Self {
        Self {
            preferred_bytes: 128 << 10,
            latency: Duration::ZERO,
            can_discard: false,
            is_flush_atomic: false,
        }
    }
}

/// A file, a disk, a part of one, or memory.
pub trait Device: Send + Sync + fmt::Debug {
    /// Reads into `out`, starting at byte `offset`.
    ///
    /// # Errors
    /// Fails if the range is not completely on the device, or if it cannot be read. The content of `out` is then
    /// unspecified.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all `bytes` at byte `offset`.
    ///
    /// # Errors
    /// Fails if the device is read-only, if the range is not completely on it, or if it cannot be written. Any part
    /// may then have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes all `pieces`, one after the other, starting at byte `offset`. The result is the same as that of single
    /// writes, but it may be faster.
    ///
    /// # Errors
    /// Fails like [`write_at`](Self::write_at).
    fn write_pieces_at(&self, mut offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        for piece in pieces {
            self.write_at(offset, piece)?;
            offset = offset.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Flushes the device. Returns after all earlier writes are on stable storage.
    ///
    /// # Errors
    /// Fails if the device reports an error.
    fn flush(&self) -> io::Result<()>;

    /// Returns the size in bytes.
    fn len(&self) -> u64;

    /// Returns the preferences for reads and writes.
    fn hints(&self) -> DeviceHints {
        DeviceHints::default()
    }

    /// Discards `len` bytes at `offset`, and frees their space. Their content is unspecified until they are written
    /// again.
    ///
    /// If flushes are [atomic](DeviceHints::is_flush_atomic), a pool on one device discards what a transaction group frees
    /// before it writes the uberblock of that group. Older uberblocks then refer to discarded blocks.
    ///
    /// # Errors
    /// Fails like [`write_at`](Self::write_at), and if the device does not support it according to its
    /// [`hints`](Self::hints).
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Err(cannot_discard())
    }

    /// Returns `true` if the size is 0.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of a device as a device of its own, such as a partition.
#[derive(Debug, Clone)]
pub struct Window {
    inner: Arc<dyn Device>,
    start: u64,
    len: u64,
}

impl Window {
    /// Creates a device of the `len` bytes of `inner` that start at `start`. Returns `None` if they are not
    /// completely on it.
    #[must_use]
    pub fn new(inner: Arc<dyn Device>, start: u64, len: u64) -> Option<Self> {
        (start.checked_add(len)? <= inner.len()).then_some(Self { inner, start, len })
    }

    fn translate(&self, offset: u64, bytes: usize) -> io::Result<u64> {
        in_range(self.len, offset, bytes)?;
        Ok(self.start + offset)
    }
}

impl Device for Window {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(self.translate(offset, out.len())?, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(self.translate(offset, bytes.len())?, bytes)
    }

    fn write_pieces_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        self.inner.write_pieces_at(self.translate(offset, bytes)?, pieces)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn hints(&self) -> DeviceHints {
        self.inner.hints()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let bytes = usize::try_from(len).unwrap_or(usize::MAX);
        self.inner.discard(self.translate(offset, bytes)?, len)
    }
}

fn cannot_discard() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "device cannot discard blocks")
}

fn in_range(len: u64, offset: u64, bytes: usize) -> io::Result<()> {
    match offset.checked_add(bytes as u64) {
        Some(end) if end <= len => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{bytes} bytes at {offset:#x} are beyond the end of the device, {len:#x}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_its_part_and_nothing_else() {
        let memory = Arc::new(MemoryDevice::from((0..=255).collect::<Vec<u8>>()));
        let window = Window::new(memory.clone(), 16, 32).unwrap();
        let mut out = [0; 4];
        window.read_at(28, &mut out).unwrap();
        assert_eq!(out, [44, 45, 46, 47]);
        assert!(window.read_at(29, &mut out).is_err());
        assert!(window.read_at(u64::MAX, &mut out).is_err());
        window.write_at(0, &[1, 2]).unwrap();
        assert!(window.write_at(31, &[1, 2]).is_err());
        memory.read_at(15, &mut out).unwrap();
        assert_eq!(out, [15, 1, 2, 18]);
        assert!(Window::new(memory.clone(), 250, 7).is_none());
        assert!(Window::new(memory, u64::MAX, 7).is_none());
    }

    /// A device with a high latency that supports discards.
    #[derive(Debug)]
    struct Bucket;

    impl Device for Bucket {
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }

        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn len(&self) -> u64 {
            4096
        }

        fn hints(&self) -> DeviceHints {
            DeviceHints {
                preferred_bytes: 8 << 20,
                latency: Duration::from_millis(30),
                can_discard: true,
                is_flush_atomic: true,
            }
        }

        fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
            assert_eq!((offset, len), (1024, 512));
            Ok(())
        }
    }

    #[test]
    fn what_lies_over_a_device_passes_its_hints_on() {
        let bucket: Arc<dyn Device> = Arc::new(Bucket);
        let window = Window::new(Arc::clone(&bucket), 1024, 512).unwrap();
        let faulty = FaultyDevice::new(Arc::clone(&bucket), FailingCalls::Once(1));
        assert_eq!([window.hints(), faulty.hints()], [bucket.hints(); 2]);
        window.discard(0, 512).unwrap();
        assert!(window.discard(1, 512).is_err());
        faulty.discard(1024, 512).unwrap();
        assert!(faulty.discard(1024, 512).is_err(), "the plan says so");
        // A device over another one that must not change does not discard.
        let kept = DeviceHints { can_discard: false, is_flush_atomic: false, ..bucket.hints() };
        let overlay = OverlayDevice::new(Arc::clone(&bucket));
        assert_eq!([overlay.hints(), Recorder::new().over(bucket).hints()], [kept; 2]);
        assert!(overlay.discard(0, 512).is_err());
    }
}
