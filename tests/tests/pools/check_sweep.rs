//! Every block of every golden pool that something leads to, damaged in all its copies, is reported by `pool check`: blocks of the
//! MOS, of every dataset and snapshot, of checkpoints, of intent logs that are still to be replayed.
//!
//! What leads to a block is found by walking every tree as a whole, without the rules by which a check reads each block once. Of
//! each kind of block one is always taken, and a sample of the others; with `ZSTREAM_THOROUGH=1000` it is every block. Blocks of
//! datasets with `checksum=off` are left out: nothing shows that they are damaged.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::ids::Bookmark;
use zstream_dmu::intent_log;
use zstream_dmu::pool::{self, Pool};
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::scrub::Lines;
use zstream_dsl::{Dsl, scrub};
use zstream_format::algorithm::ChecksumType;
use zstream_tests::blocks;
use zstream_tests::program::zstream;
use zstream_tests::{every, golden};

/// Of so many blocks of a kind one is taken, beside the first.
const SAMPLED: usize = 997;

/// A member, all reads of which are noted.
#[derive(Debug)]
struct Spy {
    inner: FileDevice,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl Device for Spy {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.reads.lock().expect("a list").push((offset, out.len()));
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        unreachable!("it is read only")
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }
}

/// All blocks that something leads to.
fn reachable(pool: &Pool) -> Vec<(BlockPointer, Bookmark)> {
    let mut found = blocks::blocks(pool);
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::new(Keyring::default())).expect("datasets");
    let lines = Lines::new(&dsl).expect("datasets");
    for dataset in lines.datasets().iter().filter(|dataset| !dataset.is_snapshot()) {
        let Ok(set) = scrub::readable_objset(dataset) else { continue };
        let log = intent_log::blocks(&**pool.reader(), dataset.object().0, &set.phys().zil);
        found.extend(log.filter(|block| block.is_claimed).map(|block| (block.pointer, block.at)));
    }
    if let Some(then) = pool.checkpoint().expect("its checkpoint") {
        let known: BTreeSet<_> = found.iter().map(|(pointer, _)| place(pointer)).collect();
        found.extend(reachable(&then).into_iter().filter(|(pointer, _)| !known.contains(&place(pointer))));
    }
    found
}

fn place(pointer: &BlockPointer) -> (u32, u64) {
    (pointer.dva(0).vdev(), pointer.dva(0).offset())
}

/// Changes all bytes of these places; twice leaves them as they were.
fn flip(paths: &[PathBuf], places: &[Vec<(u64, usize)>]) {
    for (path, places) in paths.iter().zip(places) {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("a copy");
        for (offset, len) in places {
            let mut bytes = vec![0; *len];
            file.read_exact_at(&mut bytes, *offset).expect("the place");
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
            file.write_all_at(&bytes, *offset).expect("the place");
        }
    }
}

/// Whether `pool check` reports damage.
fn is_reported(paths: &[PathBuf]) -> Result<(), String> {
    let mut words = vec!["-d"];
    words.extend(paths.iter().map(|path| path.to_str().expect("UTF-8")));
    words.extend(["pool", "check", "--json"]);
    let outcome = zstream(&words, &[]);
    let (text, message) =
        (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    // A pool whose MOS is lost does not open.
    let Ok(report) = serde_json::from_str::<Value>(&text) else {
        return if outcome.code == 1 && message.len() > 20 { Ok(()) } else { Err(message.into_owned()) };
    };
    let is_named = report["lost_blocks"] != 0 || report["unchecked"] != serde_json::json!([]);
    if outcome.code == 1 && report["ok"] == false && is_named { Ok(()) } else { Err(text.into_owned()) }
}

/// Damages blocks of a pool in turn. How many were damaged, and of how many.
fn sweep(name: &str, members: &[PathBuf], dir: &Path) -> (usize, usize) {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).expect("a directory");
    let paths: Vec<PathBuf> = members.iter().map(|path| golden::copy(path, &dir)).collect();
    let spies: Vec<Arc<Spy>> = paths
        .iter()
        .map(|path| Arc::new(Spy { inner: FileDevice::open(path).expect("a copy"), reads: Mutex::default() }))
        .collect();
    let devices = paths.iter().zip(&spies);
    let devices = devices.map(|(path, spy)| (path.display().to_string(), Arc::clone(spy) as Arc<dyn Device>));
    let pool = Pool::open_devices(devices.collect(), &pool::OpenOptions::default()).expect("a golden pool");
    let mut all = reachable(&pool);
    all.retain(|(pointer, _)| pointer.checksum_type() != ChecksumType::OFF);
    let step = every::step(SAMPLED);
    let (mut kinds, mut damaged) = (BTreeSet::new(), 0);
    for (n, (pointer, at)) in all.iter().enumerate() {
        let kind = (
            pointer.object_type().name(),
            pointer.level(),
            at.objset == 0,
            pointer.is_gang(),
            pointer.is_rewritten(),
            pointer.uses_crypt(),
            pointer.logical_birth() == pointer.physical_birth(),
        );
        if !kinds.insert(kind) && !n.is_multiple_of(step) {
            continue;
        }
        spies.iter().for_each(|spy| spy.reads.lock().expect("a list").clear());
        let check = pool.reader().check_block(pointer, *at).expect("a block");
        assert!(check.bad.is_empty() && check.readable > 0, "{name}: {at}");
        let places: Vec<Vec<(u64, usize)>> =
            spies.iter().map(|spy| std::mem::take(&mut *spy.reads.lock().expect("a list"))).collect();
        flip(&paths, &places);
        if let Err(report) = is_reported(&paths) {
            panic!("{name}: {at} {pointer} is damaged in {places:x?}, and that is not reported: {report}");
        }
        flip(&paths, &places);
        damaged += 1;
    }
    assert!(is_reported(&paths).is_err(), "{name}: the pool is as it was");
    (damaged, all.len())
}

/// All golden pools that can be read.
fn pools() -> Vec<(String, Vec<PathBuf>)> {
    let of = |name: &str, path: PathBuf| (name.to_owned(), vec![path]);
    let multiple = ["tank", "pmirror", "praidz1", "praidz2", "praidz3"];
    let mut pools: Vec<_> = multiple.map(|name| (name.to_owned(), golden::pool(name))).into();
    let shapes = golden::SHAPES_POOLS.into_iter().filter(|name| *name != "declustered");
    pools.extend(shapes.map(|name| (name.to_owned(), golden::shape(name))));
    pools.extend([
        of("checkpointed", golden::kept_file("checkpointed.img")),
        of("livelists", golden::kept_file("livelists.img")),
        of("old28", golden::old_file("v28.img")),
        of("old5", golden::old_file("v5.img")),
        of("gangcrypt", golden::gangs_file("gangcrypt.img")),
        of("rewritten", golden::rewritten_file("rewritten.img")),
        of("accounts", golden::accounts_file("accounts.img")),
        of("look", golden::looked_file("look.img")),
        of("faulty", golden::fault_file("faulty.img")),
        of("pack", golden::package_file("pack.img").expect("the pool of packages")),
    ]);
    pools
}

#[test]
fn damage_of_any_block_is_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, members) in pools() {
        let start = std::time::Instant::now();
        let (damaged, all) = sweep(&name, &members, dir.path());
        println!("{name}: {damaged} of {all} blocks in {:?}", start.elapsed());
        assert!(damaged > 10, "{name}");
        std::fs::remove_dir_all(dir.path().join(name)).expect("the copies");
    }
}
