//! The golden pools, opened from their images: whole, with members missing, and with members damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions as FileOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::error::{Error, Fault};
use zstream_dmu::ids::{Bookmark, Txg};
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::testing::{FailingCalls, FaultyDevice};
use zstream_dmu::vdev::{DamageCause, VdevState};
use zstream_dmu::zio::{BadCopy, Observer};
use zstream_tests::blocks::blocks;
use zstream_tests::golden;

/// Name, members that may be missing, and what `zdb -u` printed: transaction group, sum of guids, timestamp. Last, the
/// number of blocks on vdevs by `zdb -bcc`: "bp count" less the "additional, non-pointer bps", which it includes. One block more of tank is of an
/// intent log.
const POOLS: [(&str, usize, u64, u64, u64, usize); 5] = [
    ("tank", 0, 175, 4965772715417378645, 1795219800, 2490 - 1151 - 1),
    ("pmirror", 4, 28, 12812925586320177891, 1795219805, 214 - 158),
    ("praidz1", 1, 20, 16758809048780312504, 1795219809, 214 - 158),
    ("praidz2", 2, 20, 9660971410812044549, 1795219813, 214 - 158),
    ("praidz3", 3, 21, 9734823741370444060, 1795219816, 214 - 158),
];

fn open(paths: &[PathBuf]) -> Pool {
    Pool::open(paths, &OpenOptions::default()).expect("a golden pool")
}

fn message(result: Result<Pool, Error>) -> String {
    result.expect_err("a pool that cannot be opened").to_string()
}

/// A digest of the stored content of all blocks.
fn content(pool: &Pool) -> (usize, Vec<u8>) {
    let mut digest = Sha256::new();
    let blocks = blocks(pool);
    for (bp, at) in &blocks {
        digest.update(pool.reader().read_stored(bp, *at).expect("a block"));
    }
    (blocks.len(), digest.finalize().to_vec())
}

/// Copies the members of a pool and overwrites what lies between the labels of some of them.
fn damaged_members(paths: &[PathBuf], which: &[usize], dir: &Path) -> Vec<PathBuf> {
    let copies: Vec<PathBuf> = paths.iter().map(|path| golden::copy(path, dir)).collect();
    for &n in which {
        let file = FileOptions::new().write(true).open(&copies[n]).expect("a copy");
        let end = file.metadata().expect("its size").len() - (512 << 10);
        let noise: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for at in ((4 << 20)..end).step_by(noise.len()) {
            let len = noise.len().min((end - at) as usize);
            file.write_all_at(&noise[..len], at).expect("room");
        }
    }
    copies
}

/// Every choice of `k` out of `n`.
fn choices(n: usize, k: usize) -> Vec<Vec<usize>> {
    let sets = (0_u32..1 << n).filter(|set| set.count_ones() as usize == k);
    sets.map(|set| (0..n).filter(|&i| set & 1 << i != 0).collect()).collect()
}

#[derive(Default)]
struct Record(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Observer for Record {
    fn bad_copy(&self, _: &BlockPointer, _: Bookmark, copy: &BadCopy) {
        for damage in &copy.damage {
            let cause = match damage.cause {
                DamageCause::Wrong => "wrong",
                DamageCause::Unreadable => "unreadable",
            };
            self.0.lock().expect("no panic").entry(damage.vdev.clone()).or_default().insert(cause.to_owned());
        }
    }
}

#[test]
fn every_golden_pool_opens_as_zdb_sees_it() {
    for (name, _, txg, guid_sum, timestamp, _) in POOLS {
        let pool = open(&golden::pool(name));
        assert_eq!((pool.name(), pool.version(), pool.health()), (name, 5000, VdevState::Online));
        let uberblock = pool.uberblock();
        assert_eq!(
            (uberblock.txg, uberblock.guid_sum, uberblock.timestamp),
            (Txg(txg), guid_sum, timestamp),
            "{name}"
        );
        assert!(pool.directory_object("root_dataset").unwrap().is_some());
        assert!(pool.features().is_active("extensible_dataset"));
    }
}

#[test]
fn every_copy_of_every_block_is_good() {
    for (name, .., count) in POOLS {
        let pool = open(&golden::pool(name));
        let blocks = blocks(&pool);
        assert_eq!(blocks.len(), count, "{name}");
        for (bp, at) in blocks {
            let check = pool.reader().check_block(&bp, at).expect("a checked block");
            assert!(check.bad.is_empty(), "{name}: {at}: {}", check.bad[0]);
            assert_eq!((check.copies, check.readable), (bp.dvas().count(), bp.dvas().count()));
        }
    }
}

#[test]
fn any_members_up_to_the_redundancy_can_be_missing() {
    for (name, redundancy, ..) in POOLS {
        let paths = golden::pool(name);
        let whole = content(&open(&paths));
        for missing in choices(paths.len(), redundancy) {
            let left: Vec<PathBuf> =
                (0..paths.len()).filter(|n| !missing.contains(n)).map(|n| paths[n].clone()).collect();
            let pool = open(&left);
            let expected = if redundancy == 0 { VdevState::Online } else { VdevState::Degraded };
            assert_eq!(pool.health(), expected);
            assert!(content(&pool) == whole, "{name} without {missing:?}");
        }
    }
}

#[test]
fn one_member_too_few_is_said_with_its_numbers() {
    for (name, redundancy, ..) in POOLS.into_iter().filter(|(_, redundancy, ..)| (1..4).contains(redundancy))
    {
        let error = message(Pool::open(&golden::pool(name)[redundancy + 1..], &OpenOptions::default()));
        let missing = redundancy + 1;
        assert_eq!(
            error,
            format!(
                "{}-0 is missing {missing} of 5 members, at most {redundancy} may be missing",
                &name[1..]
            ),
        );
    }
}

#[test]
fn members_that_lie_are_found_out_up_to_the_redundancy() {
    for (name, redundancy, ..) in POOLS.into_iter().filter(|(_, redundancy, ..)| *redundancy > 0) {
        let paths = golden::pool(name);
        let whole = content(&open(&paths));
        let dir = tempfile::tempdir().expect("a directory");
        let liars: Vec<usize> = (0..redundancy).map(|n| (2 * n + 1) % 5).collect();
        let copies = damaged_members(&paths, &liars, dir.path());
        let record = Arc::new(Record::default());
        let options = OpenOptions { observer: Some(record.clone()), ..OpenOptions::default() };
        let pool = Pool::open(&copies, &options).expect("a readable pool");
        assert!(content(&pool) == whole, "{name} with {liars:?} damaged");
        // Each liar was caught at some block, and nobody else was accused.
        for (bp, at) in blocks(&pool) {
            assert_eq!(
                pool.reader().check_block(&bp, at).expect("a checked block").readable,
                bp.dvas().count()
            );
        }
        let named: BTreeSet<String> = record.0.lock().unwrap().keys().cloned().collect();
        let expected: BTreeSet<String> = liars.iter().map(|&n| copies[n].display().to_string()).collect();
        assert_eq!(named, expected, "{name}");
    }
}

#[test]
fn one_lying_and_one_missing_member_share_the_redundancy() {
    let paths = golden::pool("praidz2");
    let whole = content(&open(&paths));
    let dir = tempfile::tempdir().expect("a directory");
    let copies = damaged_members(&paths, &[3], dir.path());
    assert!(content(&open(&copies[1..])) == whole);
    // One more is too much for blocks as wide as the pool: they are lost, and what is not lost is right.
    let (whole, torn) = (open(&paths), open(&copies[2..]));
    let (mut lost, mut right) = (0, 0);
    for (bp, at) in blocks(&whole) {
        match torn.reader().read_stored(&bp, at) {
            Ok(block) => {
                assert!(block == whole.reader().read_stored(&bp, at).expect("a block"), "{bp}");
                right += 1;
            }
            Err(error) => {
                assert!(matches!(error.fault(), Fault::NoGoodCopy(_)), "{error}");
                assert!(
                    error.to_string().contains("checksum") && error.to_string().contains(&at.to_string()),
                    "{error}"
                );
                lost += 1;
            }
        }
    }
    assert!(lost > 0 && right > 10, "{lost} lost, {right} right");
}

#[test]
fn a_directory_of_several_pools_needs_a_name() {
    let directory = golden::image("tank.img").parent().expect("a directory").to_owned();
    let open = |name: Option<&str>| {
        let options = OpenOptions { name: name.map(str::to_owned), ..OpenOptions::default() };
        Pool::open(std::slice::from_ref(&directory), &options)
    };
    let error = message(open(None));
    for (name, ..) in POOLS {
        assert!(error.contains(name), "{error}");
        assert_eq!(open(Some(name)).expect("a golden pool").health(), VdevState::Online);
    }
    let error = message(open(Some("pond")));
    assert!(error.contains("pond") && error.contains("tank"), "{error}");
}

#[test]
fn an_older_transaction_group_opens_while_it_is_there() {
    let paths = golden::pool("pmirror");
    let newest = open(&paths);
    let older = newest.available_txgs()[newest.available_txgs().len() - 2];
    let open = |txg| Pool::open(&paths, &OpenOptions { txg: Some(txg), ..OpenOptions::default() });
    assert_eq!(open(older).expect("the state before the last").txg(), older);
    let error = open(Txg(1 << 40)).expect_err("no such group");
    match error.fault() {
        Fault::NoSuchTxg { requested, available } => {
            assert_eq!((*requested, &available[..]), (Txg(1 << 40), newest.available_txgs()));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_outdated_copy_of_a_member_is_not_taken_for_it() {
    const RING_BYTES: usize = 128 << 10;
    let dir = tempfile::tempdir().expect("a directory");
    let image = golden::copy(&golden::image("tank.img"), dir.path());
    // The copy lost the newest uberblock, and with it what was written then.
    let outdated = dir.path().join("a-copy-that-sorts-first.img");
    std::fs::copy(&image, &outdated).expect("room");
    let newest = open(std::slice::from_ref(&image));
    let file = FileOptions::new().write(true).open(&outdated).expect("the copy");
    let len = file.metadata().expect("its size").len();
    let slot = RING_BYTES as u64 + newest.txg().0 % 128 * 1024;
    for label in [0, 256 << 10, len - (512 << 10), len - (256 << 10)] {
        file.write_all_at(&[0; 1024], label + slot).expect("room");
    }
    file.write_all_at(&vec![0xee; 32 << 20], 4 << 20).expect("room");
    assert!(content(&open(&[dir.path().to_owned()])) == content(&newest));
}

#[test]
fn a_member_may_die_at_any_moment() {
    let paths = golden::pool("praidz1");
    let whole = content(&open(&paths));
    let devices = |plan: FailingCalls| {
        let file =
            |path: &PathBuf| Arc::new(FileDevice::open(path).expect("a golden image")) as Arc<dyn Device>;
        let mut devices: Vec<_> = paths.iter().map(|path| (path.display().to_string(), file(path))).collect();
        let dying = Arc::new(FaultyDevice::new(Arc::clone(&devices[2].1), plan));
        devices[2].1 = Arc::clone(&dying) as _;
        (devices, dying)
    };
    let (healthy, counter) = devices(FailingCalls::Once(u64::MAX));
    content(&Pool::open_devices(healthy, &OpenOptions::default()).expect("a pool"));
    // The first calls read the labels: a device that has none is refused. After that nothing depends on it.
    let calls = counter.calls();
    assert!(calls > 20, "{calls} calls");
    for call in 4..calls {
        for plan in [FailingCalls::Once(call), FailingCalls::From(call)] {
            let (devices, _) = devices(plan);
            let pool = Pool::open_devices(devices, &OpenOptions::default()).expect("a pool");
            assert!(content(&pool) == whole, "{plan:?}");
        }
    }
}
