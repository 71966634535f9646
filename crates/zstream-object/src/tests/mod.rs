//! Tests of whole devices in memory.

mod ahead;
mod faults;
mod model;
mod upkeep;
mod writers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use zstream_dmu::device::{Device, Mode, OpenDevice as _};

use crate::device::Limits;
use crate::places::Places;
use crate::store::Patience;
use crate::testing::Numbers;

/// The URL of the store in these tests.
const URL: &str = "memory://test/pool";

/// The size of a device: the label regions with some bytes after the last label, and 5 MiB of 64 KiB chunks.
const DEVICE_BYTES: u64 = (10 << 20) + 1000;

/// The start of the bytes outside of the label regions.
const START: u64 = (4 << 20) + (512 << 10);

/// The start of the labels at the end.
const LABELS_BACK: u64 = (10 << 20) - (512 << 10);

/// Limits with which little data has much structure.
const LIMITS: Limits = Limits {
    overlay_bytes: 200 << 10,
    pending_bytes: 300 << 10,
    cache_bytes: 2 << 20,
    fold_entries: 12,
    stall: Duration::from_secs(60),
};

const PATIENCE: Patience =
    Patience { attempts: 4, pause: Duration::from_millis(1), timeout: Duration::from_millis(40) };

/// An opener of the pools in a store.
fn places(store: Arc<dyn ObjectStore>) -> Places {
    let places = Places::new().with_chunk_bytes(64 << 10).unwrap().with_limits(4, LIMITS, PATIENCE);
    places.insert(URL, store).unwrap();
    places
}

fn open(places: &Places, mode: Mode) -> std::io::Result<Arc<dyn Device>> {
    places.open(Path::new(URL), mode)
}

const CREATE: Mode = Mode::Create { len: DEVICE_BYTES, replace: false };

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A random range of the device, outside and inside of the label regions.
fn range(numbers: &mut Numbers, bytes_max: u64) -> (u64, u64) {
    let from = match numbers.below(5) {
        // The end of the first region, and all of the last one.
        0 => START - (8 << 10) + numbers.below(16 << 10),
        1 => LABELS_BACK - (88 << 10) + numbers.below(600 << 10),
        // A part that is often written again, and a part with complete chunks.
        2 => START + numbers.below(512 << 10),
        _ => START + numbers.below(4 << 20),
    };
    let bytes = 1 + numbers.below(bytes_max.min(DEVICE_BYTES - from));
    (from, bytes)
}

fn contents(device: &dyn Device) -> Vec<u8> {
    let mut out = vec![0xa5; device.len() as usize];
    device.read_at(0, &mut out).unwrap();
    out
}
