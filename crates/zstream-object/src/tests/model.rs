//! Random histories against an array of bytes.

use super::*;

/// Every read returns the last write, also after the device is opened again, for writing, for reading, and at older
/// generations.
#[test]
fn a_device_is_an_array_of_bytes() {
    for seed in 0..12 {
        let mut numbers = Numbers::new(seed);
        let store = memory();
        let opener = places(Arc::clone(&store));
        let mut device = open(&opener, CREATE).unwrap();
        let mut plain = vec![0; DEVICE_BYTES as usize];
        let mut generations = vec![(1, plain.clone())];
        let mut is_changed = false;
        for step in 0..120_u64 {
            let large = if numbers.below(6) == 0 { 300 << 10 } else { 9000 };
            let (from, bytes) = range(&mut numbers, large);
            let part = from as usize..(from + bytes) as usize;
            match numbers.below(20) {
                0 | 1 => {
                    device.flush().unwrap();
                    if is_changed {
                        generations.push((generations.len() as u64 + 1, plain.clone()));
                    }
                    is_changed = false;
                }
                // The group of a pool: the content is unspecified before the flush with the labels.
                2 => {
                    device.discard(from, bytes).unwrap();
                    device.write_at(9, &[step as u8]).unwrap();
                    device.flush().unwrap();
                    for (at, byte) in part.clone().zip(&mut plain[part]) {
                        let is_label = (at as u64) < START || at as u64 >= LABELS_BACK;
                        *byte = if is_label { *byte } else { 0 };
                    }
                    plain[9] = step as u8;
                    generations.push((generations.len() as u64 + 1, plain.clone()));
                    is_changed = false;
                }
                3 if !is_changed => {
                    drop(device);
                    device = open(&places(Arc::clone(&store)), Mode::Write).unwrap();
                }
                4..8 => {
                    let mut out = vec![1; bytes as usize];
                    device.read_at(from, &mut out).unwrap();
                    assert!(out == plain[part], "seed {seed}, step {step}: {bytes} bytes at {from:#x}");
                }
                _ => {
                    let new: Vec<u8> = (0..bytes).map(|n| (seed + step * 7 + n / 5) as u8).collect();
                    device.write_at(from, &new).unwrap();
                    plain[part].copy_from_slice(&new);
                    is_changed = true;
                }
            }
        }
        assert!(contents(&*device) == plain, "seed {seed}");
        drop(device);
        let last = generations.last().unwrap();
        assert!(contents(&*open(&places(Arc::clone(&store)), Mode::Read).unwrap()) == last.1, "seed {seed}");
        for (number, plain) in generations {
            let old = places(Arc::clone(&store)).at_generation(number);
            assert!(contents(&*open(&old, Mode::Read).unwrap()) == plain, "seed {seed}, generation {number}");
            assert!(open(&old, Mode::Write).is_err());
        }
    }
}

#[test]
fn a_device_says_what_it_cannot_do() {
    let opener = places(memory());
    let kind = |mode| open(&opener, mode).unwrap_err().kind();
    assert_eq!(kind(Mode::Read), std::io::ErrorKind::NotFound);
    assert_eq!(kind(Mode::Write), std::io::ErrorKind::NotFound);
    assert_eq!(kind(Mode::Create { len: 4096, replace: false }), std::io::ErrorKind::InvalidInput);
    assert_eq!(opener.kind(Path::new(URL)).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let device = open(&opener, CREATE).unwrap();
    assert!(device.write_at(DEVICE_BYTES - 1, &[1, 2]).is_err());
    assert!(device.read_at(u64::MAX, &mut [0]).is_err());
    assert!(device.discard(DEVICE_BYTES, 1).is_err());
    device.write_at(START, &[7]).unwrap();
    assert_eq!(kind(CREATE), std::io::ErrorKind::AlreadyExists);
    drop(device);
    let reader = open(&opener, Mode::Read).unwrap();
    assert!(reader.write_at(START, &[7]).is_err() && !reader.hints().can_discard);
    let mut out = [1];
    reader.read_at(START, &mut out).unwrap();
    assert_eq!(out, [0], "it was never flushed");
    reader.flush().unwrap();
    // A pool that replaces another one is empty, and the old one can still be read.
    let device = open(&opener, Mode::Create { len: DEVICE_BYTES, replace: true }).unwrap();
    device.write_at(START, &[8]).unwrap();
    device.flush().unwrap();
    assert!(contents(&*open(&opener, Mode::Read).unwrap())[START as usize..][..2] == [8, 0]);
    drop(device);
    opener.remove(Path::new(URL)).unwrap();
    assert_eq!(kind(Mode::Read), std::io::ErrorKind::NotFound);
}

/// What the old uberblock refers to is not lost before the new one is there.
#[test]
fn a_discard_waits_for_the_labels() {
    let store = memory();
    let opener = places(Arc::clone(&store));
    let device = open(&opener, CREATE).unwrap();
    let byte = |expected: [u8; 2], when: &str| {
        let mut out = [9; 2];
        open(&places(Arc::clone(&store)), Mode::Read).unwrap().read_at(START + 1, &mut out).unwrap();
        assert_eq!(out, expected, "{when}");
    };
    device.write_at(START, &[1; 4]).unwrap();
    device.flush().unwrap();
    device.discard(START, 3).unwrap();
    device.write_at(START + 9, &[2]).unwrap();
    device.flush().unwrap();
    byte([1, 1], "before the labels");
    device.write_at(START + 2, &[5]).unwrap();
    device.write_at(0, &[3]).unwrap();
    device.flush().unwrap();
    byte([0, 5], "with the labels, and what was written again");
}
