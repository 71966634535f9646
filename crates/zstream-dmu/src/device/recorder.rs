//! Devices whose writes are remembered, so that the state after a crash at any moment can be made again.
//!
//! What a crash leaves: everything that was written before a device was flushed is there. Of what was written after its last
//! flush each sector of 512 bytes is there or not, whatever the order of the writes: disks reorder, and tear between sectors.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Device, DeviceHints, MemoryDevice, OverlayDevice};

use crate::lock::lock;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// Something that happened to one of several devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedEvent {
    /// Bytes were written.
    Write {
        /// Number of the device, in the order in which they were given to the recorder.
        device: usize,
        /// Byte offset.
        offset: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A device said that everything written before is on stable storage.
    Flush {
        /// Number of the device.
        device: usize,
    },
}

/// What becomes of writes that were not flushed when the crash came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They are all there.
    Nothing,
    /// They are all lost.
    All,
    /// Each sector is there or not, by a random number from this seed.
    Torn(u64),
}

/// Remembers in which order several devices were written and flushed.
#[derive(Debug, Default)]
pub struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    before: Vec<Arc<dyn Device>>,
    events: Vec<RecordedEvent>,
}

impl Recorder {
    /// A recorder without devices.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A device in memory with the content of `bytes`, recorded from now on.
    #[must_use]
    pub fn device(self: &Arc<Self>, bytes: Vec<u8>) -> Arc<dyn Device> {
        self.over(Arc::new(MemoryDevice::from(bytes)))
    }

    /// A device with the content of `base`, which is not changed, recorded from now on.
    #[must_use]
    pub fn over(self: &Arc<Self>, base: Arc<dyn Device>) -> Arc<dyn Device> {
        let mut state = self.state();
        let number = state.before.len();
        state.before.push(Arc::clone(&base));
        Arc::new(RecordedDevice { recorder: Arc::clone(self), number, inner: OverlayDevice::new(base) })
    }

    /// How many events there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().events.len()
    }

    /// Whether nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened.
    #[must_use]
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.state().events.clone()
    }

    /// The devices as they are after a crash before event number `cut`.
    ///
    /// # Panics
    ///
    /// A device that is recorded cannot be read.
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
                    images[*device].write_at(at, part).expect("what was written once can be written again");
                }
            }
        }
        images.into_iter().map(|image| image as _).collect()
    }
}

/// Scrambles a number (the finalizer of SplitMix64).
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
