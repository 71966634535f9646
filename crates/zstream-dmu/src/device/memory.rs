//! A device in memory.

use std::fmt;
use std::io;
use std::sync::RwLock;

use super::{Device, in_range};

/// Bytes in memory, of a length that does not change.
#[derive(Default)]
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    /// `len` zero bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::from(vec![0; len])
    }

    /// A copy of the content.
    ///
    /// # Panics
    /// A thread panicked while writing.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes.read().expect("no writer panics").clone()
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
        let bytes = self.bytes.read().expect("no writer panics");
        in_range(bytes.len() as u64, offset, out.len())?;
        let start = offset as usize;
        out.copy_from_slice(&bytes[start..start + out.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().expect("no writer panics");
        in_range(bytes.len() as u64, offset, new.len())?;
        let start = offset as usize;
        bytes[start..start + new.len()].copy_from_slice(new);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes.read().expect("no writer panics").len() as u64
    }
}
