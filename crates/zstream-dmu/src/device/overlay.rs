//! A device that leaves the device below it unchanged.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::{Device, DeviceHints, in_range};

use crate::lock;

/// The unit in which writes are stored, in bytes.
const SECTOR_BYTES: u64 = 512;

/// A device with the content of another one, which keeps writes in memory.
#[derive(Debug)]
pub struct OverlayDevice {
    base: Arc<dyn Device>,
    /// The bytes that may still be kept; `None` if there is no limit.
    left: Option<Arc<AtomicU64>>,
    written: RwLock<HashMap<u64, [u8; SECTOR_BYTES as usize]>>,
}

impl OverlayDevice {
    /// Creates a device with the content of `base`.
    #[must_use]
    pub fn new(base: Arc<dyn Device>) -> Self {
        Self { base, left: None, written: RwLock::default() }
    }

    /// Creates a device with the content of `base` that keeps at most `left` bytes of writes, together with all other
    /// devices that share this number. A write beyond fails.
    #[must_use]
    pub fn bounded(base: Arc<dyn Device>, left: Arc<AtomicU64>) -> Self {
        Self { left: Some(left), ..Self::new(base) }
    }

    /// Counts a new sector.
    fn take_sector(&self) -> io::Result<()> {
        let Some(left) = &self.left else { return Ok(()) };
        let less = |left: u64| left.checked_sub(SECTOR_BYTES);
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => {
                let why = "the changes that are kept in memory exceed their limit";
                Err(io::Error::new(io::ErrorKind::StorageFull, why))
            }
        }
    }
}

/// Returns the parts by sector of `length` bytes at `offset`: the number of the sector, the start of the part in it,
/// and the range of the part in the bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let end = offset + length as u64;
    (offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)).map(move |sector| {
        let start = (sector * SECTOR_BYTES).max(offset);
        let stop = ((sector + 1) * SECTOR_BYTES).min(end);
        (sector, (start % SECTOR_BYTES) as usize, (start - offset) as usize..(stop - offset) as usize)
    })
}

impl Device for OverlayDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.base.read_at(offset, out)?;
        let written = lock::read(&self.written);
        for (sector, start, range) in parts(offset, out.len()) {
            if let Some(bytes) = written.get(&sector) {
                let length = range.len();
                out[range].copy_from_slice(&bytes[start..start + length]);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        in_range(self.len(), offset, bytes.len())?;
        let mut written = lock::write(&self.written);
        for (sector, start, range) in parts(offset, bytes.len()) {
            let mut content = [0; SECTOR_BYTES as usize];
            let before = written.get(&sector);
            if before.is_none() {
                self.take_sector()?;
            }
            match before {
                Some(before) => content = *before,
                // The last sector may be incomplete at the end of the device.
                None if range.len() < content.len() => {
                    let at = sector * SECTOR_BYTES;
                    let there = (self.len() - at).min(SECTOR_BYTES) as usize;
                    self.base.read_at(at, &mut content[..there])?;
                }
                None => {}
            }
            content[start..start + range.len()].copy_from_slice(&bytes[range]);
            written.insert(sector, content);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.base.len()
    }

    /// Returns the hints of the device below, which is never discarded.
    fn hints(&self) -> DeviceHints {
        DeviceHints { can_discard: false, is_flush_atomic: false, ..self.base.hints() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::device::MemoryDevice;

    #[test]
    fn overlays_with_a_limit_share_it() {
        let left = Arc::new(AtomicU64::new(3 * SECTOR_BYTES));
        let overlay =
            || OverlayDevice::bounded(Arc::new(MemoryDevice::from(vec![0; 4096])), Arc::clone(&left));
        let (one, other) = (overlay(), overlay());
        one.write_at(0, &[1; 1024]).unwrap();
        one.write_at(512, &[2; 512]).unwrap();
        other.write_at(0, &[3; 512]).unwrap();
        let error = other.write_at(512, &[4; 512]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        one.write_at(0, &[5; 1024]).unwrap();
    }

    proptest! {
        #[test]
        fn an_overlay_is_a_device_and_leaves_its_base_alone(
            writes in proptest::collection::vec((0_u64..2100, 0_usize..1300), 0..20), from in 0_u64..2100, length in 0_usize..2100,
        ) {
            let base = Arc::new(MemoryDevice::from(vec![0xee; 2000]));
            let overlay = OverlayDevice::new(Arc::clone(&base) as _);
            let model = MemoryDevice::from(vec![0xee; 2000]);
            for (n, (offset, length)) in writes.into_iter().enumerate() {
                let bytes = vec![n as u8; length];
                prop_assert_eq!(overlay.write_at(offset, &bytes).is_ok(), model.write_at(offset, &bytes).is_ok());
            }
            let (mut found, mut expected) = (vec![0; length], vec![0; length]);
            let results = [overlay.read_at(from, &mut found), model.read_at(from, &mut expected)];
            prop_assert_eq!(results[0].is_ok(), results[1].is_ok());
            if results[0].is_ok() {
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(base.to_vec(), vec![0xee; 2000]);
        }
    }
}
