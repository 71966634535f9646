//! Devices in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use super::open::has_writer;
use super::{Device, DeviceHints, EntryKind, Mode, OpenDevice, in_range};

use crate::lock::{self, lock};

/// A device in memory, with a fixed length.
#[derive(Default)]
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    /// Creates a device of `len` zero bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::from(vec![0; len])
    }

    /// Returns a copy of the content.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        lock::read(&self.bytes).clone()
    }
}

impl From<Vec<u8>> for MemoryDevice {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: RwLock::new(bytes) }
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryDevice({} bytes)", self.len())
    }
}

impl Device for MemoryDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = lock::read(&self.bytes);
        in_range(bytes.len() as u64, offset, out.len())?;
        let start = offset as usize;
        out.copy_from_slice(&bytes[start..start + out.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = lock::write(&self.bytes);
        in_range(bytes.len() as u64, offset, new.len())?;
        let start = offset as usize;
        bytes[start..start + new.len()].copy_from_slice(new);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        lock::read(&self.bytes).len() as u64
    }

    fn hints(&self) -> DeviceHints {
        // About the cache of a processor.
        DeviceHints { preferred_bytes: 64 << 10, ..DeviceHints::default() }
    }
}

/// Named devices in memory. They exist as long as this value or an open device. Names are paths: everything before
/// the last component is a directory.
#[derive(Default)]
pub struct Memory {
    devices: Mutex<BTreeMap<PathBuf, Slot>>,
}

struct Slot {
    device: Arc<MemoryDevice>,
    writer: Weak<Writer>,
}

/// The token of the only writer of a device.
struct Writer;

/// A device that was opened by its name.
struct Opened {
    device: Arc<MemoryDevice>,
    writer: Option<Arc<Writer>>,
}

impl Memory {
    /// Creates an empty set of devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts a device with a name, and replaces an existing one.
    pub fn insert(&self, name: impl Into<PathBuf>, device: Arc<MemoryDevice>) {
        self.devices().insert(name.into(), Slot { device, writer: Weak::new() });
    }

    /// Returns the device with a name.
    #[must_use]
    pub fn get(&self, name: impl AsRef<Path>) -> Option<Arc<MemoryDevice>> {
        self.devices().get(name.as_ref()).map(|slot| Arc::clone(&slot.device))
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Slot>> {
        lock(&self.devices)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} devices)", self.devices().len())
    }
}

fn not_found(name: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("device {} does not exist in memory", name.display()))
}

impl OpenDevice for Memory {
    fn kind(&self, name: &Path) -> io::Result<EntryKind> {
        let devices = self.devices();
        if devices.contains_key(name) {
            return Ok(EntryKind::File);
        }
        match devices.keys().any(|other| other.starts_with(name)) {
            true => Ok(EntryKind::Directory),
            false => Err(not_found(name)),
        }
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        let devices = self.devices();
        let inside = devices.keys().filter(|name| name.parent() == Some(directory));
        Ok(inside.take(most.saturating_add(1)).cloned().collect())
    }

    fn open(&self, name: &Path, mode: Mode) -> io::Result<Arc<dyn Device>> {
        let mut devices = self.devices();
        let slot = devices.get_mut(name);
        if mode != Mode::Read && slot.as_ref().is_some_and(|slot| slot.writer.strong_count() > 0) {
            return Err(has_writer());
        }
        let writer = (mode != Mode::Read).then(|| Arc::new(Writer));
        let held = writer.as_ref().map(Arc::downgrade);
        let device = match (mode, slot) {
            (Mode::Read | Mode::Write, None) => return Err(not_found(name)),
            (Mode::Read | Mode::Write, Some(slot)) => {
                if let Some(held) = held {
                    slot.writer = held;
                }
                Arc::clone(&slot.device)
            }
            (Mode::Create { replace: false, .. }, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Mode::Create { len, .. }, _) => {
                let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
                let device = Arc::new(MemoryDevice::new(len));
                let slot = Slot { device: Arc::clone(&device), writer: held.unwrap_or_default() };
                devices.insert(name.to_owned(), slot);
                device
            }
        };
        Ok(Arc::new(Opened { device, writer }))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        self.devices().remove(name).map(drop).ok_or_else(|| not_found(name))
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.device.fmt(f)
    }
}

impl Device for Opened {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.writer.is_none() {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened read-only"));
        }
        self.device.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.device.len()
    }

    fn hints(&self) -> DeviceHints {
        self.device.hints()
    }
}
