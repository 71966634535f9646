//! Labels and uberblocks with any byte changed: the pool opens as it is, or older, or not at all; nothing panics.
//!
//! A sample of the bytes always, and all with `ZSTREAM_THOROUGH=1000`, which was run to its end for `mirror-2.img`: every byte
//! of the labels and of all uberblocks, in a bit more than a minute of one core. What is forged and whose checksum matches
//! is always every byte of the list, and every bit of the uberblock.
//!
//! A change that the checksum does not know of takes the label or uberblock out. A change whose checksum was made to match,
//! as an attacker would, must be judged by what it says.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::error::{Error, Fault};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::label::{self, CONFIG_BYTES, CONFIG_OFFSET, LABEL_BYTES, LABELS, Labels, RING_OFFSET};
use zstream_dmu::vdev::uberblock::{UBERBLOCK_BYTES, slot_bytes, slots};
use zstream_format::checksum::seal_embedded;
use zstream_format::order::ByteOrder;
use zstream_tests::devices::{Patch, Patched};
use zstream_tests::{every, golden};

fn device(path: &Path) -> Arc<dyn Device> {
    Arc::new(MemoryDevice::from(std::fs::read(path).expect("a golden image")))
}

fn open(device: impl Device + 'static) -> Result<Pool, Error> {
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    Pool::open_devices(vec![("image".to_owned(), Arc::new(device))], &options)
}

/// The image with these bytes in place of its own.
fn patched(image: &Arc<dyn Device>, copies: &[(u64, Vec<u8>)]) -> Patched {
    let patch = |(at, bytes): &(u64, Vec<u8>)| Patch::Replace(*at, bytes.clone());
    Patched::over(Arc::clone(image), copies.iter().map(patch).collect())
}

/// The four copies of `len` bytes at `offset` of the labels.
fn copies(device: &dyn Device, offset: u64, len: usize) -> Vec<(u64, Vec<u8>)> {
    let copy = |number| {
        let at = label::offset(device.len(), number).expect("room for labels") + offset;
        let mut bytes = vec![0; len];
        device.read_at(at, &mut bytes).expect("a label");
        (at, bytes)
    };
    (0..LABELS).map(copy).collect()
}

/// Changes byte `byte` of all copies, and makes their checksums match if asked.
fn change(copies: &mut [(u64, Vec<u8>)], byte: usize, change: u8, reseal: bool) {
    for (at, bytes) in copies {
        bytes[byte] ^= change;
        if reseal {
            seal_embedded(bytes, label::verifier(*at), ByteOrder::Little).expect("room");
        }
    }
}

#[test]
fn any_changed_byte_of_all_labels_takes_them_out() {
    let image = device(&golden::image("mirror-2.img"));
    let config = copies(&*image, CONFIG_OFFSET, CONFIG_BYTES);
    let used = config[0].1.iter().rposition(|byte| *byte != 0).expect("bytes");
    let list_end = config[0].1[..used - 40].iter().rposition(|byte| *byte != 0).expect("a list") + 8;
    let ends = (0..list_end).chain(CONFIG_BYTES - 48..CONFIG_BYTES);
    for byte in ends.step_by(every::step(2)) {
        let mut patches = config.clone();
        change(&mut patches, byte, 0x20, false);
        let labels = Labels::read(&patched(&image, &patches));
        assert_eq!(labels.good().count(), 0, "byte {byte}");
    }
}

/// The parts of a label that stand or fall as a whole, with where they end: what is reserved, the list, each uberblock.
fn part(byte: u64) -> Range<u64> {
    let config = CONFIG_OFFSET..CONFIG_OFFSET + CONFIG_BYTES as u64;
    if byte < config.start {
        0..config.start
    } else if config.contains(&byte) {
        config
    } else {
        let slot = slot_bytes(12);
        let start = byte / slot * slot;
        start..start + slot
    }
}

/// The pool opened with a byte changed in the same part of all four labels, in each at another place: without its list no
/// label counts, an uberblock gives way to the one before, and nothing else matters. All together every byte of a label is
/// changed once, in one of the four.
#[test]
fn a_changed_byte_of_all_labels_is_judged_by_its_part() {
    let image = device(&golden::image("mirror-2.img"));
    let newest = open(patched(&image, &[])).expect("the pool");
    let txgs = newest.available_txgs();
    let (newest, before) = (newest.txg(), txgs[txgs.len() - 2]);
    let slot = RING_OFFSET + newest.0 % slots(12) * slot_bytes(12);
    let first_quarter = |byte: &u64| {
        let part = part(*byte);
        *byte < part.start + (part.end - part.start) / LABELS as u64
    };
    let bytes: Vec<u64> = (0..LABEL_BYTES).filter(first_quarter).step_by(every::step(101)).collect();
    bytes.into_par_iter().for_each(|byte| {
        let part = part(byte);
        let quarter = (part.end - part.start) / LABELS as u64;
        let at = |number| {
            let label = label::offset(image.len(), number).expect("room for labels");
            label + byte + number as u64 * quarter
        };
        let patches = (0..LABELS).map(at).map(|at| Patch::Xor(at..at + 1, 0x20)).collect();
        let outcome = open(Patched::over(Arc::clone(&image), patches)).map(|pool| pool.txg());
        let expected = match part.start {
            CONFIG_OFFSET => None,
            start if start == slot => Some(before),
            _ => Some(newest),
        };
        assert_eq!(outcome.ok(), expected, "byte {byte}");
    });
}

#[test]
fn one_good_label_is_enough() {
    let image = device(&golden::image("mirror-2.img"));
    for good in 0..LABELS {
        let mut patches = copies(&*image, CONFIG_OFFSET, CONFIG_BYTES);
        change(&mut patches, 100, 1, false);
        patches.remove(good);
        let pool = open(patched(&image, &patches)).expect("a pool by one label");
        assert_eq!(pool.name(), "pmirror");
    }
}

#[test]
fn labels_that_were_forged_are_judged() {
    let image = device(&golden::image("mirror-2.img"));
    let config = copies(&*image, CONFIG_OFFSET, CONFIG_BYTES);
    let list_end = config[0].1[..CONFIG_BYTES - 40].iter().rposition(|byte| *byte != 0).expect("a list") + 8;
    let (mut opened, mut refused) = (0, 0);
    for byte in 0..list_end {
        let mut patches = config.clone();
        change(&mut patches, byte, 1 << (byte % 8), true);
        match open(patched(&image, &patches)) {
            Ok(pool) => {
                assert_eq!(pool.txg().0, 28);
                opened += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
}

#[test]
fn a_damaged_uberblock_gives_way_to_the_one_before() {
    let image = device(&golden::image("mirror-2.img"));
    let newest = open(patched(&image, &[])).expect("the pool");
    let slot = RING_OFFSET + newest.txg().0 % slots(12) * slot_bytes(12);
    let original = copies(&*image, slot, slot_bytes(12) as usize);
    let before = newest.available_txgs()[newest.available_txgs().len() - 2];
    for byte in (0..UBERBLOCK_BYTES).chain(4096 - 40..4096) {
        let mut patches = original.clone();
        change(&mut patches, byte, 0x80 >> (byte % 8), false);
        // As long as one of the four copies is good it counts.
        let (_, one_left) = patches.split_last().expect("four copies");
        let one_left = patched(&image, one_left);
        assert_eq!(open(one_left).expect("the newest state").txg(), newest.txg());
        let pool = open(patched(&image, &patches)).expect("an older state");
        assert_eq!(pool.txg(), before, "byte {byte}");
    }
}

#[test]
fn uberblocks_that_were_forged_are_judged() {
    let image = device(&golden::image("mirror-2.img"));
    let newest = open(patched(&image, &[])).expect("the pool");
    let slot = RING_OFFSET + newest.txg().0 % slots(12) * slot_bytes(12);
    let original = copies(&*image, slot, slot_bytes(12) as usize);
    let mut refused = 0;
    for byte in 0..UBERBLOCK_BYTES {
        for bit in 0..8 {
            let mut patches = original.clone();
            change(&mut patches, byte, 1 << bit, true);
            if let Err(error) = open(patched(&image, &patches)) {
                assert!(!matches!(error.fault(), Fault::Io(_)), "byte {byte} bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    // At least what the checksum of the MOS, the sum of guids and the version say.
    assert!(refused > 256 + 64, "{refused} refused");
}
