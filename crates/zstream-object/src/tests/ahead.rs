//! Reading in order, and at random.

use super::*;
use crate::testing::FaultyStore;

const CHUNK: u64 = 8 << 20;

/// The number of requests for reads of `bytes` at these addresses, each of which is compared.
fn requests(reads: impl Iterator<Item = u64>, bytes: usize) -> (u64, u64) {
    let store = memory();
    let large = |store| {
        let opener = Places::new();
        opener.insert(URL, store).unwrap();
        opener
    };
    let plain: Vec<u8> = (0..3 * CHUNK).map(|n| (n / 1000) as u8).collect();
    let device = open(&large(Arc::clone(&store)), Mode::Create { len: 64 << 20, replace: false }).unwrap();
    device.write_at(CHUNK, &plain).unwrap();
    device.flush().unwrap();
    let counting = FaultyStore::new(store, None);
    let opener = large(Arc::clone(&counting) as _);
    let device = open(&opener, Mode::Read).unwrap();
    let before = (counting.calls(), opener.requests(URL).unwrap().bytes_read);
    let mut out = vec![0; bytes];
    for at in reads {
        device.read_at(CHUNK + at, &mut out).unwrap();
        assert!(out == plain[at as usize..][..bytes], "{at:#x}");
    }
    (counting.calls() - before.0, opener.requests(URL).unwrap().bytes_read - before.1)
}

#[test]
fn reading_in_order_takes_few_requests() {
    let (count, bytes) = requests((0..3 * CHUNK).step_by(128 << 10), 128 << 10);
    assert!(count <= 3 * 7, "{count}");
    assert!(bytes <= 3 * CHUNK + 3 * 4096, "{bytes}: nothing is read twice");
    // In larger parts, too.
    let (count, _) = requests((0..3 * CHUNK).step_by(4 << 20), 4 << 20);
    assert!(count <= 9, "{count}");
}

#[test]
fn reading_at_random_takes_little_else() {
    let mut numbers = Numbers::new(4);
    let places: Vec<u64> = (0..12).map(|_| numbers.below(3 * CHUNK - 4096)).collect();
    let (count, bytes) = requests(places.into_iter(), 4096);
    assert!(count <= 14 && bytes <= count * (512 << 10), "{count} requests, {bytes} bytes");
}
