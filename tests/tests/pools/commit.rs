//! Transaction groups committed to the golden pools.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::RangeSet;
use zstream_dmu::blkptr::{BlockPointer, Dva, NormalBlock};
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::Device;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::space::Reserve;
use zstream_dmu::testing::{FailingCalls, FaultyDevice, Loss, Recorder};
use zstream_dmu::zap::Zap;
use zstream_dmu::zio::{AllocationClass, Space};
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_tests::blocks::blocks;
use zstream_tests::openzfs;
use zstream_tests::writing::{Devices, Written, devices, members, overlays, unreached};

/// With log space maps, on a mirror, on raidz of each parity, on raidz that was widened.
const POOLS: [&str; 6] = ["tank", "pmirror", "praidz1", "praidz2", "praidz3", "expanded"];

/// Changes properties, and makes and frees objects, in `txgs` transaction groups; leaves one property and no object.
fn work(pool: &mut Written, txgs: u64) {
    let mut objects: Vec<ObjectId> = Vec::new();
    for n in 0..txgs {
        pool.set_property("test:txg", &format!("{n}")).expect("a property");
        objects.push(pool.add_object(n % 5 * 3, n).expect("an object"));
        if n % 3 == 2 {
            let object = objects.remove(0);
            pool.mos.free(object).expect("an object");
        }
        pool.commit().unwrap_or_else(|error| panic!("commit {n}: {error}"));
    }
    for object in objects {
        pool.mos.free(object).expect("an object");
    }
    pool.commit().expect("the last commit");
}

/// What [`work`] set.
fn property(pool: &Pool, zap: ObjectId) -> Option<String> {
    let value = Zap::open(&**pool.mos(), zap).expect("a ZAP").lookup("test:txg").expect("a ZAP");
    value.map(|value| value.text().expect("a string").to_owned())
}

/// Reads every block; gives what is allocated beside them.
fn check(pool: &Pool) -> BTreeMap<u32, RangeSet> {
    for (block, at) in blocks(pool) {
        pool.reader().read_stored(&block, at).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
    unreached(pool)
}

#[test]
fn space_maps_stay_true_over_many_transaction_groups() {
    for name in POOLS {
        let before = Pool::open(&members(name), &OpenOptions::default()).expect("a golden pool");
        let devices = overlays(name);
        let mut pool = Written::open(devices.clone()).expect("a pool to write to");
        let allocated = pool.space.space_use().allocated;
        work(&mut pool, 20);
        let used = pool.space.space_use().allocated;
        if !name.contains("raidz") && name != "expanded" {
            // Nothing but the MOS was written, and no parity has to be taken out.
            assert_eq!(used.cast_signed() - allocated.cast_signed(), pool.mos_used, "{name}");
        }

        let after = Pool::open_devices(devices, &OpenOptions::default()).expect("the pool");
        assert_eq!(after.txg().0, before.txg().0 + 21, "{name}");
        // Whatever no block leads to is an intent log's, and was there before.
        assert_eq!(unreached(&after), unreached(&before), "{name}");
        let zap = pool.root_properties().expect("the root");
        assert_eq!(property(&after, zap).as_deref(), Some("19"));
    }
}

/// OpenZFS agrees: every block can be read, and what is allocated is what blocks take.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_no_leak_in_pools_that_were_written_to() {
    for name in POOLS.into_iter().chain(["ganged"]) {
        let dir = tempfile::tempdir().expect("a directory");
        let (devices, _) = devices(name, dir.path());
        let mut pool = Written::open(devices).expect("a pool to write to");
        for txgs in [1, 12] {
            work(&mut pool, txgs);
            zdb(name, dir.path());
        }
    }
    for (name, piece) in FRAGMENTED {
        let dir = tempfile::tempdir().expect("a directory");
        write_in_pieces(name, piece, devices(name, dir.path()).0);
        zdb(name, dir.path());
    }
}

fn zdb(name: &str, dir: &Path) {
    let path = dir.to_str().expect("a path in UTF-8");
    let outcome = openzfs::run("zdb", &["-e", "-p", path, "-bcc", name], None);
    let text = String::from_utf8_lossy(&outcome.stdout);
    assert!(text.contains("No leaks"), "{name}: {text}");
    assert_eq!(outcome.code, 0, "{name}: {text}");
}

/// Names devices by number.
fn named(devices: Vec<Arc<dyn Device>>) -> Devices {
    devices.into_iter().enumerate().map(|(n, device)| (format!("disk{n}"), device)).collect()
}

/// The power fails at every moment of several transaction groups, more than it takes for freed space to be used again. Each
/// sector that was not flushed is there or not. What is found is a whole transaction group: the last one that was reported
/// as committed, or the one after it.
#[test]
fn a_crash_leaves_the_last_transaction_group_or_the_next() {
    // With log space maps that go; on raidz in parts; on a mirror, where every write is there several times.
    for (name, txgs, step) in [("tank", 1, 61), ("praidz1", 6, 257), ("pmirror", 6, 263)] {
        let recorder = Recorder::new();
        let devices = overlays(name).into_iter().map(|(_, device)| recorder.over(device)).collect();
        let mut pool = Written::open(named(devices)).expect("a pool to write to");
        let zap = pool.root_properties().expect("the root");
        let first = pool.last.txg.0;
        let expected = unreached(&pool.pool);
        // How many events there were when each commit was reported.
        let mut reported = vec![0];
        for n in 0..txgs {
            pool.set_property("test:txg", &format!("{n}")).expect("a property");
            let object = pool.add_object(3, n).expect("an object");
            pool.commit().expect("a commit");
            pool.mos.free(object).expect("an object");
            reported.push(recorder.len());
        }
        let events = recorder.len();
        let mut seen = BTreeSet::new();
        // What comes right before and after a report is looked at event by event.
        let near = |cut: usize| reported.iter().any(|at| cut.abs_diff(*at) < 2);
        for cut in (0..=events).filter(|cut| cut % step == 0 || near(*cut)) {
            let safe = reported.iter().filter(|at| **at <= cut).count() as u64 - 1;
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
                let devices = named(recorder.crashed(cut, loss));
                let place = format!("{name}, {loss:?} before event {cut} of {events}");
                let found = Pool::open_devices(devices, &OpenOptions::default());
                let found = found.unwrap_or_else(|error| panic!("{place}: {error}"));
                let n = found.txg().0 - first;
                assert!((safe..=safe + 1).contains(&n), "{place}: {n} of {safe}");
                let value = n.checked_sub(1).map(|n| n.to_string());
                assert_eq!(property(&found, zap), value, "{place}");
                let whole = check(&found);
                // The object that lives until the next transaction group belongs to the MOS, and nothing is lost.
                assert_eq!(whole, expected, "{place}");
                seen.insert((n - safe, loss == Loss::All));
            }
        }
        // Both happened: that the new one was lost with what was not flushed, and that it was there before the report.
        assert!(seen.contains(&(0, true)) && seen.contains(&(1, false)), "{name}: {seen:?}");
    }
}

/// A device fails, once or for good, in each of its calls. What was reported as committed is there; what failed is there as
/// a whole or not at all, and a pool that is opened again can be written to.
#[test]
fn a_failing_device_loses_no_transaction_group() {
    for name in ["praidz1", "pmirror"] {
        let counted =
            Arc::new(FaultyDevice::new(Arc::clone(&overlays(name)[0].1), FailingCalls::Once(u64::MAX)));
        let mut devices = overlays(name);
        devices[0].1 = Arc::clone(&counted) as _;
        let mut pool = Written::open(devices).expect("a pool to write to");
        let opened = counted.calls();
        pool.set_property("test:txg", "0").expect("a property");
        pool.commit().expect("a commit");
        let (first, last) = (pool.last.txg.0 - 1, counted.calls());
        let zap = pool.root_properties().expect("the root");
        let mut failed = 0;
        for plan in (opened..last).flat_map(|call| [FailingCalls::Once(call), FailingCalls::From(call)]) {
            let whole = overlays(name);
            let mut devices = whole.clone();
            devices[0].1 = Arc::new(FaultyDevice::new(Arc::clone(&whole[0].1), plan));
            let mut pool = Written::open(devices).expect("a pool to write to");
            let result = pool.set_property("test:txg", "0").and_then(|()| pool.commit());
            failed += u64::from(result.is_err());
            let found = Pool::open_devices(whole.clone(), &OpenOptions::default()).expect("the pool");
            let n = found.txg().0 - first;
            assert!(n == 1 || n == 0 && result.is_err(), "{name}, {plan:?}: {result:?}, but {n}");
            assert_eq!(property(&found, zap).is_some(), n == 1, "{name}, {plan:?}");
            let mut again = Written::open(whole.clone()).expect("a pool to write to");
            work(&mut again, 1);
            check(&Pool::open_devices(whole, &OpenOptions::default()).expect("the pool"));
        }
        assert!(failed > last - opened, "{name}: only {failed} failures in {} calls", last - opened);
    }
}

/// A pointer to a block that lies at `place`, to free it with.
fn pointer(place: Dva, birth: Txg) -> BlockPointer {
    BlockPointer::normal(&NormalBlock {
        dvas: [place, Dva::default(), Dva::default()],
        lsize: 512,
        psize: 512,
        compression: CompressionType::OFF,
        checksum_type: ChecksumType::FLETCHER_4,
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: ByteOrder::Little,
        logical_birth: birth,
        physical_birth: Txg(0),
        fill: 1,
        checksum: [0; 4],
    })
}

/// Takes all space of a pool in pieces of `piece` bytes and gives every second one back.
fn fragment(pool: &Written, piece: u64) -> Vec<Dva> {
    let reserve = pool.space.set_reserve(Reserve::Nothing);
    let take = || pool.space.allocate(piece, 1, AllocationClass::Normal);
    let pieces: Vec<Dva> = std::iter::from_fn(|| take().ok()).flatten().collect();
    pool.space.set_reserve(reserve);
    let (kept, given): (Vec<_>, Vec<_>) = pieces.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    pool.space.unallocate(&given.into_iter().map(|(_, place)| place).collect::<Vec<_>>());
    kept.into_iter().map(|(_, place)| place).collect()
}

/// Where no two pieces of free space touch, everything becomes gang blocks, those of the space maps too; when they are
/// freed, all of it comes back.
#[test]
fn a_fragmented_pool_is_written_in_pieces() {
    for (name, piece) in FRAGMENTED {
        write_in_pieces(name, piece, overlays(name));
    }
}

/// Pools, and sizes of the pieces in which their space is taken.
const FRAGMENTED: [(&str, u64); 2] = [("pmirror", 2048), ("praidz1", 4096)];

fn write_in_pieces(name: &str, piece: u64, devices: Devices) {
    let mut pool = Written::open(devices.clone()).expect("a pool to write to");
    pool.commit().expect("nothing to commit");
    let before = pool.space.space_use().allocated.cast_signed() - pool.mos_used;
    let kept = fragment(&pool, piece);
    let birth = pool.txg();
    let object = pool.add_object(20, 1).expect("an object");
    let content = |set: &dyn ObjectSet| {
        let mut content = vec![0; 20 * (16 << 10)];
        set.read(object, 0, &mut content).expect("an object");
        content
    };
    let expected = content(&pool.mos);
    pool.space.set_reserve(Reserve::Nothing);
    pool.commit().expect("a commit in pieces");

    let found = Pool::open_devices(devices.clone(), &OpenOptions::default()).expect("the pool");
    assert!(content(&**found.mos()) == expected, "{name}");
    let gangs = blocks(&found).iter().filter(|(block, _)| block.is_gang()).count();
    assert!(gangs > 20, "{name}: {gangs} gang blocks");
    let whole = found.mos().root().is_gang();
    assert!(!whole, "{name}: what fits in one piece is not cut");

    for place in kept {
        pool.space.free(&pointer(place, birth)).expect("a piece");
    }
    pool.mos.free(object).expect("an object");
    for n in 0..5 {
        pool.set_property("test:txg", &n.to_string()).expect("a property");
        pool.commit().expect("a commit");
    }
    let after = pool.space.space_use().allocated.cast_signed();
    if name == "pmirror" {
        assert_eq!(after - pool.mos_used, before, "{name}");
    }
}
