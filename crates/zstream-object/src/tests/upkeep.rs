//! Collection, compaction, and checks of the store.

use std::time::SystemTime;

use super::*;
use crate::collect;
use crate::history;
use crate::testing::{Fault, FaultyStore};

/// The time at which the grace period of everything is over.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

/// A pool of several generations in which much is dead, with its content.
fn used(store: &Arc<dyn ObjectStore>) -> Vec<u8> {
    let mut numbers = Numbers::new(1);
    let device = open(&places(Arc::clone(store)), CREATE).unwrap();
    for step in 0..12_u8 {
        for _ in 0..6 {
            let (from, bytes) = range(&mut numbers, 20_000);
            device.write_at(from, &vec![step + 1; bytes as usize]).unwrap();
        }
        device.write_at(START + (1 << 20), &vec![step; 300 << 10]).unwrap();
        device.discard(START + (2 << 20) + u64::from(step) * 10_000, 8_000).unwrap();
        device.flush().unwrap();
    }
    contents(&*device)
}

fn objects(store: &Arc<dyn ObjectStore>) -> u64 {
    let opener = places(Arc::clone(store));
    let (_, store) = opener.store(URL, false).unwrap();
    ["data", "map"]
        .iter()
        .flat_map(|folder| store.list(folder, usize::MAX).unwrap())
        .map(|found| found.bytes)
        .sum()
}

#[test]
fn a_collection_leaves_what_is_alive() {
    let store = memory();
    let plain = used(&store);
    let opener = places(Arc::clone(&store));
    let before = (objects(&store), opener.generations(URL).unwrap().len());
    assert_eq!(before.1, 13);
    // Nothing is old enough: only the fence is new.
    let dry = opener.collect(URL, Duration::ZERO, true).unwrap();
    assert_eq!((dry.generations, dry.kept), (0, 13));
    assert_eq!(
        (objects(&store), opener.generations(URL).unwrap().len()),
        before,
        "a dry run changes nothing"
    );
    let collected = opener.collect(URL, Duration::ZERO, false).unwrap();
    assert_eq!((collected.generations, collected.kept), (0, 14));
    assert!(collected.compacted_bytes > 0 && collected.compacted_bytes == dry.compacted_bytes);
    let check = opener.check(URL).unwrap();
    assert_eq!((check.lost.as_slice(), check.generation), (&[][..], 14));
    // An hour later only the newest generation is left.
    let (_, inner) = opener.store(URL, false).unwrap();
    let collected = collect::whole(&inner, 14, Duration::ZERO, later(), false).unwrap();
    assert_eq!((collected.generations, collected.kept), (13, 1));
    assert_eq!(objects(&store), collected.left_bytes);
    assert!(contents(&*open(&places(Arc::clone(&store)), Mode::Read).unwrap()) == plain);
    let check = opener.check(URL).unwrap();
    assert_eq!((check.lost.len(), check.orphans), (0, 0));
    assert!(collected.left_bytes < check.bytes * 3 / 2, "{collected:?}, {check:?}");
    assert!(open(&places(Arc::clone(&store)).at_generation(13), Mode::Read).is_err());
}

/// Small collections end at the same objects as a whole one, whichever request of them fails.
#[test]
fn little_by_little_everything_dead_goes() {
    let store = memory();
    let plain = used(&store);
    let calls = {
        let copy = copied(&store);
        let faulty = FaultyStore::new(copy, None);
        let (_, inner) = places(Arc::clone(&faulty) as _).store(URL, false).unwrap();
        collect::little(&inner, Duration::ZERO, later()).unwrap();
        faulty.calls()
    };
    assert!(calls > 20, "{calls}");
    for number in (0..calls).step_by(3) {
        let copy = copied(&store);
        let faulty = FaultyStore::new(Arc::clone(&copy), Some((number, Fault::DeadFrom)));
        let (_, inner) = places(faulty).store(URL, false).unwrap();
        assert!(collect::little(&inner, Duration::ZERO, later()).is_err());
        let opener = places(Arc::clone(&copy));
        assert!(contents(&*open(&opener, Mode::Read).unwrap()) == plain, "request {number}");
        let (_, inner) = opener.store(URL, false).unwrap();
        collect::little(&inner, Duration::ZERO, later()).unwrap();
        assert_eq!(history::list(&inner, 100).unwrap().len(), 1);
        assert!(
            contents(&*open(&places(Arc::clone(&copy)), Mode::Read).unwrap()) == plain,
            "request {number}"
        );
        assert_eq!(opener.check(URL).unwrap().lost, []);
    }
}

/// The generation of a writer that stalled for so long that its number was free again does not mislead a collection.
#[test]
fn the_dead_objects_of_a_late_writer_stay() {
    let store = memory();
    let plain = used(&store);
    let opener = places(Arc::clone(&store));
    let (_, inner) = opener.store(URL, false).unwrap();
    let newest = history::newest(&inner).unwrap().unwrap();
    // It takes everything for dead that is alive.
    let dead = collect::mark(&inner, [newest.number].into_iter()).unwrap().into_iter().collect();
    let late = crate::format::Generation { number: 5, writer: 77, dead, ..newest };
    inner.delete((1..=5).map(crate::format::generation_name).collect()).unwrap();
    history::commit(&inner, &late).unwrap();
    collect::little(&inner, Duration::ZERO, later()).unwrap();
    assert_eq!(history::list(&inner, 100).unwrap().len(), 1);
    assert!(contents(&*open(&places(Arc::clone(&store)), Mode::Read).unwrap()) == plain);
}

/// A collection keeps writers from committing that were at work before it.
#[test]
fn a_collection_is_a_fence() {
    let store = memory();
    used(&store);
    let opener = places(Arc::clone(&store));
    let writer = open(&opener, Mode::Write).unwrap();
    writer.write_at(START, &[1; 100_000]).unwrap();
    opener.collect(URL, Duration::ZERO, false).unwrap();
    assert_eq!(writer.flush().unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    assert!(opener.check(URL).unwrap().orphans > 0, "what it has uploaded");
    opener.collect(URL, Duration::ZERO, false).unwrap();
    assert_eq!(opener.check(URL).unwrap().orphans, 0);
}

/// A lost object is named by a check and by reads of it, and everything else can be read.
#[test]
fn a_lost_object_is_named() {
    let store = memory();
    let plain = used(&store);
    let opener = places(Arc::clone(&store));
    let (_, inner) = opener.store(URL, false).unwrap();
    let name = inner.list("data", 100).unwrap().last().unwrap().name.clone();
    inner.delete(vec![format!("data/{name}")]).unwrap();
    let check = opener.check(URL).unwrap();
    let [lost] = &check.lost[..] else { panic!("{check:?}") };
    assert!(lost.name.ends_with(&name) && lost.bytes > 0);
    let device = open(&places(store), Mode::Read).unwrap();
    let mut out = vec![0; 1];
    let error = device.read_at(lost.address, &mut out).unwrap_err();
    assert!(error.to_string().contains(&lost.name) && error.to_string().contains(URL), "{error}");
    let readable = (0..DEVICE_BYTES).step_by(1000).filter(|at| {
        let is_read = device.read_at(*at, &mut out).is_ok();
        assert!(!is_read || out[0] == plain[*at as usize]);
        is_read
    });
    assert!(readable.count() as u64 > DEVICE_BYTES / 1000 / 2);
}

/// What killed programs left in a local directory is deleted, and nothing else.
#[test]
fn files_of_killed_programs_go() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/pool", directory.path().display());
    let opener = Places::new();
    let device = opener.open(Path::new(&url), Mode::Create { len: 64 << 20, replace: false }).unwrap();
    device.write_at(8 << 20, b"bytes").unwrap();
    device.flush().unwrap();
    drop(device);
    let path = directory.path().join("pool");
    let old = "data/0000000000000002-00000000000000aa-00000000#1";
    let newer = "data/00000000000000ff-00000000000000aa-00000000#1";
    let files = [old, newer, "data/note#1", "gen/fffffffffffffffd#12", "gen/0000000000000000#1", "gen/note"];
    files.iter().for_each(|name| std::fs::write(path.join(name), b"left").unwrap());
    let dry = opener.collect(&url, Duration::ZERO, true).unwrap();
    let done = opener.collect(&url, Duration::ZERO, false).unwrap();
    assert_eq!((dry.objects, dry.bytes, done.objects, done.bytes), (2, 8, 2, 8));
    let left: Vec<bool> = files.iter().map(|name| path.join(name).exists()).collect();
    assert_eq!(left, [false, true, true, false, true, true]);
    let mut out = [0; 5];
    opener.open(Path::new(&url), Mode::Read).unwrap().read_at(8 << 20, &mut out).unwrap();
    assert_eq!(&out, b"bytes");
    opener.remove(Path::new(&url)).unwrap();
    assert!(path.join("data/note#1").exists() && !path.join(newer).exists());
}

/// A copy of all objects.
fn copied(store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    use object_store::ObjectStoreExt as _;

    let copy = memory();
    let opener = places(Arc::clone(store));
    let (_, from) = opener.store(URL, false).unwrap();
    for folder in ["gen", "data", "map"] {
        for listed in from.list(folder, usize::MAX).unwrap() {
            let name = format!("{folder}/{}", listed.name);
            let bytes = from.get(&name, u64::MAX).unwrap();
            let path = name.as_str().into();
            let put = copy.put(&path, bytes.into());
            drop(futures_util::FutureExt::now_or_never(put).unwrap().unwrap());
        }
    }
    copy
}
