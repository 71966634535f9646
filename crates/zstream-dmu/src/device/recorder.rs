//! Devices whose writes are remembered, so that the state after a crash at any moment can be made again.
//!
//! What a crash leaves: everything that was written before a device was flushed is there. Of what was written after its last
//! flush each sector of 512 bytes is there or not, whatever the order of the writes: disks reorder, and tear between sectors.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Device, MemoryDevice};

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
    before: Vec<Vec<u8>>,
    events: Vec<RecordedEvent>,
}

impl Recorder {
    /// A recorder without devices.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device in memory with the content of `bytes`, recorded from now on.
    #[must_use]
    pub fn device(self: &Arc<Self>, bytes: Vec<u8>) -> Arc<dyn Device> {
        let mut state = self.state();
        let number = state.before.len();
        state.before.push(bytes.clone());
        let inner = MemoryDevice::from(bytes);
        Arc::new(RecordedDevice { recorder: Arc::clone(self), number, inner })
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

    /// The devices' content after a crash before event number `cut`.
    #[must_use]
    pub fn crashed(&self, cut: usize, loss: Loss) -> Vec<Vec<u8>> {
        let state = self.state();
        let mut images = state.before.clone();
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
                    let at = *offset as usize + sector * SECTOR_BYTES;
                    images[*device][at..at + part.len()].copy_from_slice(part);
                }
            }
        }
        images
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
    inner: MemoryDevice,
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

        let images = recorder.crashed(1, Loss::All);
        assert_eq!(images, [vec![0; 4096], vec![9; 1024]]);
        let images = recorder.crashed(4, Loss::All);
        assert_eq!((images[0][0], images[0][1023], images[0][1024], images[1][0]), (1, 1, 0, 9));
        let images = recorder.crashed(4, Loss::Nothing);
        assert_eq!((images[0][511], images[0][512], images[0][2559], images[1][0]), (1, 2, 2, 3));
        assert_eq!(recorder.crashed(100, Loss::Nothing), images);

        let torn = |seed| recorder.crashed(4, Loss::Torn(seed));
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
