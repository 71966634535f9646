//! Devices whose writes are recorded, so that the state after a crash at any time can be reconstructed.
//!
//! After a crash, everything that was written before the last flush of a device is present. Of the later writes, each
//! sector of 512 bytes is present or not, in any order: disks reorder writes, and tear them between sectors.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Device, DeviceHints, MemoryDevice, OverlayDevice};

use crate::lock::lock;

/// The unit in which a disk writes, in bytes.
const SECTOR_BYTES: usize = 512;

/// An event on one of several devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedEvent {
    /// Bytes were written.
    Write {
        /// The number of the device, in the order in which they were added to the recorder.
        device: usize,
        /// The byte offset.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A device reported that all earlier writes are on stable storage.
    Flush {
        /// The number of the device.
        device: usize,
    },
}

/// The fate of writes that were not flushed before the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are present.
    Nothing,
    /// All are lost.
    All,
    /// Each sector is present or lost, at random with this seed.
    Torn(u64),
}

/// A recorder of the writes and flushes of several devices, in order.
#[derive(Debug, Default)]
pub struct Recorder {
    state: Mutex<Recording>,
}

#[derive(Debug, Default)]
struct Recording {
    before: Vec<Arc<dyn Device>>,
    events: Vec<RecordedEvent>,
}

impl Recorder {
    /// Creates a recorder without devices.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, Recording> {
        lock(&self.state)
    }

    /// Adds a device in memory with the content `bytes`.
    #[must_use]
    pub fn device(self: &Arc<Self>, bytes: Vec<u8>) -> Arc<dyn Device> {
        self.over(Arc::new(MemoryDevice::from(bytes)))
    }

    /// Adds a device with the content of `base`, which is not changed.
    #[must_use]
    pub fn over(self: &Arc<Self>, base: Arc<dyn Device>) -> Arc<dyn Device> {
        let mut state = self.state();
        let number = state.before.len();
        state.before.push(Arc::clone(&base));
        Arc::new(RecordedDevice { recorder: Arc::clone(self), number, inner: OverlayDevice::new(base) })
    }

    /// Returns the number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().events.len()
    }

    /// Returns `true` if there are no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the events.
    #[must_use]
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.state().events.clone()
    }

    /// Returns the devices in their state after a crash before event number `cut`.
    ///
    /// # Panics
    ///
    /// Panics if a recorded device cannot be read.
    #[must_use]
    pub fn crashed(&self, cut: usize, loss: Loss) -> Vec<Arc<dyn Device>> {
        let state = self.state();
        let images: Vec<_> =
            state.before.iter().map(|base| Arc::new(OverlayDevice::new(Arc::clone(base)))).collect();
        let events = &state.events[..cut.min(state.events.len())];
        let mut flushed = vec![0; images.len()];
        for (number, event) in events.iter().enumerate() {
            if let RecordedEvent::Flush { device } = event {
                flushed[*device] = number;
            }
        }
        for (number, event) in events.iter().enumerate() {
            let RecordedEvent::Write { device, offset, bytes } = event else { continue };
            let is_safe = number < flushed[*device];
            for (sector, part) in bytes.chunks(SECTOR_BYTES).enumerate() {
                let survives = is_safe
                    || match loss {
                        Loss::Nothing => true,
                        Loss::All => false,
                        Loss::Torn(seed) => mix(seed ^ mix(number as u64) ^ sector as u64) & 1 == 0,
                    };
                if survives {
                    let at = offset + (sector * SECTOR_BYTES) as u64;
                    images[*device].write_at(at, part).expect("a recorded write fits its device");
                }
            }
        }
        images.into_iter().map(|image| image as _).collect()
    }
}

/// Hashes a number (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[derive(Debug)]
struct RecordedDevice {
    recorder: Arc<Recorder>,
    number: usize,
    inner: OverlayDevice,
}

impl Device for RecordedDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.recorder.state();
        self.inner.write_at(offset, bytes)?;
        let event = RecordedEvent::Write { device: self.number, offset, bytes: bytes.to_vec() };
        state.events.push(event);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.recorder.state().events.push(RecordedEvent::Flush { device: self.number });
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn hints(&self) -> DeviceHints {
        self.inner.hints()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushed_writes_survive_every_crash_and_others_by_luck() {
        let recorder = Recorder::new();
        let (a, b) = (recorder.device(vec![0; 4096]), recorder.device(vec![9; 1024]));
        a.write_at(0, &[1; 1024]).unwrap();
        a.flush().unwrap();
        a.write_at(512, &[2; 2048]).unwrap();
        b.write_at(0, &[3; 512]).unwrap();
        assert_eq!((recorder.len(), recorder.is_empty()), (4, false));

        let crashed = |cut, loss| -> Vec<Vec<u8>> {
            let read = |device: Arc<dyn Device>| {
                let mut bytes = vec![0; device.len() as usize];
                device.read_at(0, &mut bytes).unwrap();
                bytes
            };
            recorder.crashed(cut, loss).into_iter().map(read).collect()
        };
        let images = crashed(1, Loss::All);
        assert_eq!(images, [vec![0; 4096], vec![9; 1024]]);
        let images = crashed(4, Loss::All);
        assert_eq!((images[0][0], images[0][1023], images[0][1024], images[1][0]), (1, 1, 0, 9));
        let images = crashed(4, Loss::Nothing);
        assert_eq!((images[0][511], images[0][512], images[0][2559], images[1][0]), (1, 2, 2, 3));
        assert_eq!(crashed(100, Loss::Nothing), images);

        let torn = |seed| crashed(4, Loss::Torn(seed));
        assert_eq!(torn(1), torn(1));
        assert!((0..20).any(|seed| torn(seed) != torn(seed + 1)));
        for images in (0..20).map(torn) {
            assert_eq!(images[0][..512], [1; 512]);
            for sector in images[0][512..2560].chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            }
        }
    }
}
