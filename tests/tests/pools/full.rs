//! Pools that are filled: what is said to be available is what can be written.

use std::fs;

use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Fault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dsl::Dsl;
use zstream_dsl::error::{Error, Result};
use zstream_dsl::prop::PoolSpace;
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::{ObjectType, ObjsetType};
use zstream_tests::created::{self, files, new_pool, write_options};
use zstream_tests::rng::Rng;

const LAYOUTS: [(&str, u8); 7] = [
    ("a", 12),
    ("a b", 9),
    ("mirror a b", 12),
    ("raidz a b c", 9),
    ("raidz2 a b c d", 12),
    ("raidz3 a b c d e", 12),
    ("draid2:2d:6c:1s a b c d e f", 12),
];

/// Bytes written in each transaction group: two blocks.
const STEP_BYTES: usize = 256 << 10;

/// What the datasets of the pool can still use together, as they are listed.
fn available(members: &[std::path::PathBuf]) -> u64 {
    let pool = Pool::open(members, &OpenOptions::default()).expect("the pool");
    let space = PoolSpace::of(&pool).expect("properties").expect("a pool without special vdevs");
    let dsl =
        Dsl::open("full", std::sync::Arc::clone(pool.mos()), std::sync::Arc::default()).expect("datasets");
    let used = dsl.root().expect("the root").phys().used_bytes;
    space.usable_bytes.saturating_sub(used)
}

/// Writes to an object in transaction groups of [`STEP_BYTES`] until there is no room; gives how many were committed, and the
/// error. After each, what can be taken is what is available.
fn fill(
    pool: &mut WritablePool,
    head: ObjectId,
    members: &[std::path::PathBuf],
    most: u64,
) -> (u64, Result<()>) {
    let mut set = pool.open_head(head).expect("the root filesystem");
    let object =
        set.allocate(&NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, 128 << 10)).expect("an object");
    let mut rng = Rng(1);
    for step in 0..most {
        // Compression would make room.
        let bytes: Vec<u8> = (0..STEP_BYTES).map(|_| rng.below(256) as u8).collect();
        let written = set.write(object, step * STEP_BYTES as u64, &bytes);
        let synced = written.map_err(Error::from).and_then(|()| pool.sync(head, &mut set).map(drop));
        if let Err(error) = synced {
            return (step, Err(error));
        }
        pool.commit().expect("what frees has to be written too");
        if step % 16 == 0 {
            assert_eq!(pool.pool().space().space_use().available(), available(members), "{step}");
        }
    }
    (most, Ok(()))
}

/// A new pool of sparse files and its root filesystem.
fn new(dir: &std::path::Path, words: &str, ashift: u8, member_bytes: u64) -> (WritablePool, ObjectId) {
    let new = new_pool("full", words, ashift, &mut |word| {
        let path = dir.join(word);
        let device = zstream_dmu::device::FileDevice::create(&path, member_bytes, true).expect("room");
        (path.display().to_string(), std::sync::Arc::new(device))
    });
    let (mut pool, first) = WritablePool::create(new, Some(7)).expect("a pool");
    let mut set = pool.create_set(first.root, ObjsetType::ZFS).expect("a set");
    pool.sync(first.root, &mut set).expect("room");
    pool.commit().expect("room");
    (pool, first.root)
}

/// The last transaction group that fits leaves less available than the one that does not would take.
#[test]
fn a_pool_is_full_when_nothing_is_available() {
    for (words, ashift) in LAYOUTS {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut pool, head) = new(dir.path(), words, ashift, created::MEMBER_BYTES);
        let members = files(dir.path());
        let before = available(&members);
        let (steps, result) = fill(&mut pool, head, &members, u64::MAX);
        let error = result.expect_err("the end");
        assert!(matches!(error.pool_fault(), Some(Fault::NoSpace { .. })), "{words}: {error}");
        drop(pool);
        let left = available(&members);
        // Its data, and the metadata that is written before what it replaces is freed.
        let most = STEP_BYTES as u64 * 2;
        assert!(left < most, "{words}: {left} bytes are available, and {STEP_BYTES} are refused");
        let written = steps * STEP_BYTES as u64;
        // But for metadata, and what the ratio of raidz rounds off.
        assert!((written + left).abs_diff(before) < before / 16, "{words}: {written} and {left} of {before}");
        fs::remove_dir_all(dir.path()).expect("the directory");
    }
}

/// In large pools a part is kept back, of which one is for intent logs.
#[test]
fn what_is_available_in_a_large_pool_is_what_can_be_taken() {
    for (words, ashift) in LAYOUTS {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut pool, head) = new(dir.path(), words, ashift, 40 << 30);
        let members = files(dir.path());
        assert!(pool.pool().space().space_use().room.log > 0, "{words}");
        let (_, result) = fill(&mut pool, head, &members, 1);
        result.expect("room");
        // As the next writer finds it, too.
        pool.export().expect("an export");
        let pool = WritablePool::open(&members, &write_options()).expect("the pool");
        assert_eq!(pool.pool().space().space_use().available(), available(&members), "{words}");
    }
}
