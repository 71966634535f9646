//! Pools that are created here, changed, and left: they are what was asked for, crashes and failures cost at most what was not
//! committed, and OpenZFS finds nothing wrong with them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use zstream_dmu::device::{Device, FileDevice, MemoryDevice};
use zstream_dmu::pool::history::{self, Event};
use zstream_dmu::pool::{OpenOptions, Pool, WriteOptions};
use zstream_dmu::testing::{FailingCalls, FaultyDevice, Loss, Recorder};
use zstream_dmu::vdev::label::Labels;
use zstream_dmu::vdev::{PoolState, VdevState};
use zstream_dmu::{Host, RangeSet};
use zstream_dsl::error::Result;
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;
use zstream_tests::created::{
    self, MEMBER_BYTES, files, new_pool, new_pool_in, open, open_writable, write_options,
};
use zstream_tests::writing::unreached;
use zstream_tests::{golden, openzfs};

/// Vdevs and sector sizes.
const LAYOUTS: [(&str, u8); 10] = [
    ("a", 12),
    ("a", 9),
    ("mirror a b", 12),
    ("raidz a b c", 9),
    ("raidz3 a b c d e", 12),
    ("a mirror b c raidz2 d e f special g", 12),
    ("a log b", 13),
    ("draid a b c d e f", 12),
    ("draid2:3d:9c:1s a b c d e f g h i", 9),
    ("draid3:2d:2s a b c d e f g h special mirror i j", 12),
];

/// A few transaction groups of work: filesystems, snapshots, destroys.
fn work(pool: &mut WritablePool, rounds: std::ops::Range<u64>) -> Result<()> {
    for round in rounds {
        let name = format!("{}/fs{round}", pool.pool().name());
        let head = pool.tx().create(&name, false)?;
        let mut set = pool.create_set(head, ObjsetType::ZFS)?;
        pool.sync(head, &mut set)?;
        pool.commit()?;
        pool.tx().snapshot(&[format!("{name}@a")])?;
        pool.log(Event::Command(&format!("zstream snapshot {name}@a")))?;
        pool.commit()?;
    }
    Ok(())
}

/// Commands in the pool's history.
fn commands(pool: &Pool) -> Vec<String> {
    let records = history::records(&**pool.mos()).expect("a history");
    let command =
        |record: &zstream_format::nvlist::NvList| record.get_str("history command").map(str::to_owned);
    records.iter().filter_map(command).collect()
}

/// Bytes that are allocated and that no block leads to.
fn leaked(pool: &Pool) -> u64 {
    unreached(pool).values().map(RangeSet::bytes).sum()
}

fn memory() -> Vec<u8> {
    vec![0; MEMBER_BYTES as usize]
}

#[test]
fn a_new_pool_is_what_was_asked_for() {
    for (words, ashift) in LAYOUTS {
        let dir = tempfile::tempdir().expect("a directory");
        created::create(new_pool_in(dir.path(), "demo", words, ashift)).expect("a pool");
        let pool = Pool::open(&files(dir.path()), &OpenOptions::default()).expect("our own pool");
        assert_eq!((pool.name(), pool.state(), pool.txg().0), ("demo", PoolState::Exported, 4));
        assert_eq!(pool.health(), VdevState::Online, "{words}");
        assert!(pool.vdevs().tops().iter().all(|top| top.config().ashift == Some(ashift)));
        let classes: Vec<_> =
            pool.vdevs().tops().iter().map(|top| pool.allocation_class(top).expect("a ZAP")).collect();
        assert_eq!(
            classes.iter().flatten().count(),
            usize::from(words.contains("special") || words.contains("log"))
        );
        assert_eq!(commands(&pool), ["zstream pool create demo"]);
        assert_eq!(leaked(&pool), 0, "{words}: what is allocated is what blocks take");
        for path in files(dir.path()) {
            let labels = Labels::read(&FileDevice::open(&path).expect("a member"));
            assert_eq!(labels.good().filter(|label| label.txg() == 4).count(), 4, "{words}");
        }
    }
}

#[test]
fn a_seed_makes_the_same_pool_twice() {
    let image = || {
        let device = Arc::new(MemoryDevice::from(memory()));
        let given: Arc<dyn Device> = Arc::clone(&device) as _;
        created::create(new_pool("demo", "a", 12, &mut |_| ("/a".to_owned(), Arc::clone(&given))))
            .expect("a pool");
        device.to_vec()
    };
    assert!(image() == image());
}

#[test]
fn a_pool_is_changed_again_and_again() {
    let dir = tempfile::tempdir().expect("a directory");
    created::create(new_pool_in(dir.path(), "demo", "mirror a b", 12)).expect("a pool");
    for rounds in [0..3, 3..4, 4..4, 4..9] {
        let mut pool = WritablePool::open(&files(dir.path()), &write_options()).expect("a pool to change");
        let is_changed = !rounds.is_empty();
        let before = pool.pool().uberblock().txg;
        work(&mut pool, rounds).expect("work");
        if is_changed {
            let other = Pool::open(&files(dir.path()), &OpenOptions::default()).expect("the pool, meanwhile");
            assert_eq!(other.state(), PoolState::Active);
        }
        let last = pool.export().expect("an export");
        assert_eq!(last > before, is_changed, "an export without changes writes nothing");
        let pool = Pool::open(&files(dir.path()), &OpenOptions::default()).expect("the pool");
        assert_eq!(pool.state(), PoolState::Exported);
        assert_eq!(leaked(&pool), 0);
    }
    let pool = Pool::open(&files(dir.path()), &OpenOptions::default()).expect("the pool");
    assert_eq!(commands(&pool).len(), 1 + 9);
}

#[test]
fn only_one_writer_has_a_pool_and_no_other_host_takes_it() {
    let dir = tempfile::tempdir().expect("a directory");
    created::create(new_pool_in(dir.path(), "demo", "a", 12)).expect("a pool");
    let message = |options: &WriteOptions| {
        WritablePool::open(&files(dir.path()), options).expect_err("it is in use").to_string()
    };
    let mut pool = WritablePool::open(&files(dir.path()), &write_options()).expect("a pool to change");
    assert!(message(&write_options()).contains("another program has it open for writing"));
    work(&mut pool, 0..1).expect("work");
    drop(pool);

    let other = WriteOptions { host: Host { id: 7, name: "other".to_owned() }, ..write_options() };
    let refused = message(&other);
    assert!(refused.contains("was last used by test (hostid 0) and not exported"), "{refused}");
    let forced = WriteOptions { force: true, ..other.clone() };
    WritablePool::open(&files(dir.path()), &forced)
        .expect("a pool that was taken")
        .export()
        .expect("an export");
    WritablePool::open(&files(dir.path()), &other).expect("an exported pool");
}

/// After a crash at any write, with what was not flushed there, lost or torn, the pool is as of a transaction group that
/// was committed before the crash, or the one being committed.
#[test]
fn a_crash_costs_at_most_one_transaction_group() {
    let recorder = Recorder::new();
    let devices = [recorder.device(memory())];
    let new = new_pool("demo", "a", 12, &mut |word| (format!("/{word}"), Arc::clone(&devices[0])));
    created::create(new).expect("a pool");
    // How many events there were when each transaction group was committed.
    let mut committed = vec![(recorder.len(), 4)];
    for round in 0..2 {
        let mut pool = open_writable(&devices, &write_options()).expect("a pool to change");
        work(&mut pool, round..round + 1).expect("work");
        committed.push((recorder.len(), pool.pool().uberblock().txg.0));
        let txg = pool.export().expect("an export");
        committed.push((recorder.len(), txg.0));
    }
    let mut seen = BTreeSet::new();
    for cut in (0..=recorder.len()).step_by(31).chain(committed.iter().flat_map(|(cut, _)| [cut - 1, *cut])) {
        let at_least = committed.iter().rev().find(|(events, _)| *events <= cut).map(|(_, txg)| *txg);
        for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
            let devices = recorder.crashed(cut, loss);
            let pool = match (open(&devices), at_least) {
                (Ok(pool), _) => pool,
                (Err(_), None) => continue,
                (Err(error), Some(txg)) => panic!("cut {cut}, {loss:?}: txg {txg} is lost: {error}"),
            };
            let txg = pool.txg().0;
            assert!(
                at_least.is_none_or(|least| txg >= least),
                "cut {cut}, {loss:?}: txg {txg}, not {at_least:?}"
            );
            assert_eq!(leaked(&pool), 0, "cut {cut}, {loss:?}");
            seen.insert(txg);
        }
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

/// Whatever call to a device fails, there is an error, and the pool is as of the last or the next transaction group.
#[test]
fn a_failing_device_is_an_error_and_harms_nothing() {
    let image = {
        let device = Arc::new(MemoryDevice::from(memory()));
        let given: Arc<dyn Device> = Arc::clone(&device) as _;
        created::create(new_pool("demo", "a", 12, &mut |_| ("/a".to_owned(), Arc::clone(&given))))
            .expect("a pool");
        device.to_vec()
    };
    let attempt = |plan: FailingCalls| {
        let memory: Arc<dyn Device> = Arc::new(MemoryDevice::from(image.clone()));
        let faulty = Arc::new(FaultyDevice::new(Arc::clone(&memory), plan));
        let result = open_writable(&[Arc::clone(&faulty) as _], &write_options()).and_then(|mut pool| {
            work(&mut pool, 0..1)?;
            Ok(pool.export()?)
        });
        (memory, faulty.calls(), result.err())
    };
    let (_, calls, error) = attempt(FailingCalls::Once(u64::MAX));
    assert!(error.is_none() && calls > 50, "{calls} calls: {error:?}");
    for call in (0..calls).step_by(5) {
        let (memory, _, error) = attempt(FailingCalls::From(call));
        assert!(error.is_some(), "call {call} and those behind it fail");
        let pool = open(&[memory]).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert!((4..=7).contains(&pool.txg().0), "call {call}: {}", pool.txg());
        assert_eq!(leaked(&pool), 0, "call {call}");
    }
}

fn zdb(dir: &Path, options: &[&str], name: &str) -> (i32, String) {
    let path = dir.to_str().expect("a path in UTF-8");
    let args: Vec<&str> =
        ["-e", "-p", path].into_iter().chain(options.iter().copied()).chain([name]).collect();
    let outcome = openzfs::run("zdb", &args, None);
    let text = [outcome.stdout, outcome.stderr].concat();
    (outcome.code, String::from_utf8_lossy(&text).into_owned())
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_new_and_changed_pools_clean() {
    for (words, ashift) in LAYOUTS {
        let dir = tempfile::tempdir().expect("a directory");
        created::create(new_pool_in(dir.path(), "demo", words, ashift)).expect("a pool");
        for rounds in [0..0, 0..5] {
            let mut pool =
                WritablePool::open(&files(dir.path()), &write_options()).expect("a pool to change");
            work(&mut pool, rounds).expect("work");
            pool.export().expect("an export");
            let (code, text) = zdb(dir.path(), &["-bcc"], "demo");
            assert!(code == 0 && text.contains("No leaks"), "{words}: {text}");
            let (code, text) = zdb(dir.path(), &["-d"], "demo");
            assert_eq!(code, 0, "{words}: {text}");
        }
        let (_, text) = zdb(dir.path(), &["-h"], "demo");
        assert!(
            text.contains("zstream pool create demo") && text.contains("[txg:4] create pool version 5000"),
            "{text}"
        );
    }
}

/// Pools that OpenZFS made: written to, they are as clean as before, and their labels say what OpenZFS would say.
#[test]
fn pools_of_openzfs_are_changed_and_exported() {
    for name in ["tank", "pmirror", "praidz1", "praidz2", "praidz3"] {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = golden::pool(name).iter().map(|path| golden::copy(path, dir.path())).collect();
        let before = Pool::open(&paths, &OpenOptions::default()).expect("a golden pool");
        let log_blocks = leaked(&before);
        let mut pool = WritablePool::open(&paths, &write_options()).expect("a pool to change");
        work(&mut pool, 0..2).expect("work");
        pool.export().expect("an export");
        let after = Pool::open(&paths, &OpenOptions::default()).expect("the pool");
        assert_eq!((after.state(), after.txg().0), (PoolState::Exported, before.txg().0 + 5), "{name}");
        assert_eq!(leaked(&after), log_blocks, "{name}");
        assert_eq!(commands(&after).len(), commands(&before).len() + 2, "{name}");
        let names =
            |pool: &Pool| pool.config_list().iter().map(|pair| pair.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after), "{name}");
        for path in &paths {
            let labels = Labels::read(&FileDevice::open(path).expect("a member"));
            let txgs: Vec<_> = labels.good().map(|label| label.txg()).collect();
            assert_eq!(txgs, [after.txg().0; 4], "{name}");
        }
    }
}

#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_zdb_finds_pools_of_openzfs_clean_that_were_changed() {
    for name in ["tank", "pmirror", "praidz1", "praidz2", "praidz3"] {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = golden::pool(name).iter().map(|path| golden::copy(path, dir.path())).collect();
        let mut pool = WritablePool::open(&paths, &write_options()).expect("a pool to change");
        work(&mut pool, 0..3).expect("work");
        pool.export().expect("an export");
        let (code, text) = zdb(dir.path(), &["-bcc"], name);
        assert!(code == 0 && text.contains("No leaks"), "{name}: {text}");
        let (_, text) = zdb(dir.path(), &["-h"], name);
        assert!(text.contains(&format!("zstream snapshot {name}/fs2@a")), "{name}: {text}");
    }
}
