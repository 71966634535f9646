//! Transaction groups committed to the golden pools.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::zap::Zap;
use zstream_tests::openzfs;
use zstream_tests::writing::{Written, devices, members, unreached};

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

#[test]
fn space_maps_stay_true_over_many_transaction_groups() {
    for name in POOLS {
        let dir = tempfile::tempdir().expect("a directory");
        let before = Pool::open(&members(name), &OpenOptions::default()).expect("a golden pool");
        let (devices, _) = devices(name, dir.path());
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
        let properties = Zap::open(&**after.mos(), pool.root_properties().expect("the root")).expect("a ZAP");
        let value = properties.lookup("test:txg").expect("a ZAP").expect("the property");
        assert_eq!(value.text().expect("a string"), "19");
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
            let path = dir.path().to_str().expect("a path in UTF-8");
            let outcome = openzfs::run("zdb", &["-e", "-p", path, "-bcc", name], None);
            let text = String::from_utf8_lossy(&outcome.stdout);
            assert!(text.contains("No leaks"), "{name} after {txgs} more: {text}");
            assert_eq!(outcome.code, 0, "{name} after {txgs} more: {text}");
        }
    }
}
