//! Tests of rules that a model of content does not cover.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::block::{Block, ReadBlock};
use crate::dnode::NewObject;
use crate::error::Result;
use crate::ids::Bookmark;
use crate::object_store::ObjectStore;

fn file(block_bytes: u32) -> NewObject {
    NewObject { indirect_shift: 12, ..NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, block_bytes) }
        .with_bonus(ObjectType::SA, 168)
}

#[test]
fn an_empty_set_is_what_openzfs_makes() {
    let mut bench = Bench::new(9, SetProperties::default());
    let set = bench.sync();
    let meta = &set.phys().meta_dnode;
    assert_eq!((meta.levels, meta.pointers().len(), meta.block_bytes()), (6, 3, 16384));
    assert_eq!((set.root().lsize(), set.root().fill()), (4096, 0));
    assert_eq!(set.root().dvas().count(), 2);
    assert!(!bench.set.is_dirty());
    assert_eq!(bench.set.allocate(&file(512)).unwrap(), ObjectId(32));
}

/// A block that is written at once has the pointer that the sync uses, unless it changes before.
#[test]
fn a_block_can_be_written_before_the_sync() {
    let mut bench = Bench::new(9, SetProperties::default());
    let object = bench.set.allocate(&file(4096)).unwrap();
    let content: Vec<u8> = (0..16_384_u32).map(|n| ((n * n) >> 7) as u8).collect();
    bench.set.write(object, 0, &content).unwrap();
    let now = bench.set.sync_block(object, BlockId(1)).unwrap();
    assert!(!now.is_hole() && bench.set.sync_block(object, BlockId(1)).unwrap() == now);
    assert!(bench.set.sync_block(object, BlockId(9)).unwrap().is_hole());
    let at = Bookmark { objset: 9, object, level: 0, block: BlockId(1) };
    let synced = |bench: &mut Bench| {
        let set = bench.sync();
        let dnode = set.dnode(object).unwrap();
        let pointer = set.tree(object, &dnode).pointer(0, BlockId(1)).unwrap();
        (pointer, set.reader().read_block(&pointer, at).unwrap().to_vec())
    };
    assert_eq!(synced(&mut bench), (now, content[4096..8192].to_vec()));
    bench.next_txg();
    assert_eq!(bench.set.sync_block(object, BlockId(1)).unwrap(), now);
    bench.set.write(object, 4096, &[1, 2, 3]).unwrap();
    let early = bench.set.sync_block(object, BlockId(1)).unwrap();
    bench.set.write(object, 4096, &[4]).unwrap();
    let (last, found) = synced(&mut bench);
    assert!(early != now && last != early);
    assert_eq!(found[..4], [4, 2, 3, content[4099]]);
    assert!(bench.set.sync_block(ObjectId(999), BlockId(0)).is_err());
}

/// If any write fails, the sync fails, the set refuses further changes, and the last synced state is intact.
#[test]
fn a_write_that_fails_leaves_what_was_synced() {
    let mut failures = 0;
    for nth in 0.. {
        let mut bench = Bench::new(9, SetProperties::default());
        bench.set.begin_accounting(true, false).unwrap();
        let object = bench.set.allocate(&file(4096)).unwrap();
        let content: Vec<u8> = (0..60_000_u32).map(|n| ((n * n) >> 8) as u8).collect();
        bench.set.write(object, 0, &content).unwrap();
        let root = *bench.sync().root();
        let model = model_of(&bench.set);
        bench.next_txg();
        bench.set.write(object, 30_000, &content).unwrap();
        bench.set.free_range(object, 0, 9000).unwrap();
        bench.set.allocate(&file(512)).unwrap();
        bench.pool.space.fail_write(nth);
        let synced = bench.set.sync(&mut bench.ledger);
        bench.pool.space.fail_write(u64::MAX);
        assert_eq!(model_of(&bench.pool.open(root)), model);
        let Err(error) = synced else { break };
        failures += 1;
        assert!(error.to_string().contains("made to fail"), "{error}");
        assert!(bench.set.write(object, 0, &[1]).is_err());
        assert!(bench.set.sync(&mut bench.ledger).is_err());
    }
    assert!(failures > 10, "{failures}");
}

/// Used space is accounted completely or not at all: a set with accounting is not synced without owners.
#[test]
fn a_set_that_counts_is_not_synced_without_owners() {
    let mut bench = Bench::new(9, SetProperties::default());
    bench.set.owners_of = None;
    let object = bench.set.allocate(&file(512)).unwrap();
    bench.sync();
    bench.next_txg();
    bench.set.phys.flags.insert(ObjsetFlags::USER_ACCOUNTING_COMPLETE);
    bench.set.write(object, 0, &[1]).unwrap();
    let error = bench.set.sync(&mut bench.ledger).unwrap_err();
    assert!(error.to_string().contains("no function that parses the owners"), "{error}");
}

/// A reader that records which thread reads which block.
struct Watched {
    reader: Arc<dyn ReadBlock>,
    seen: Mutex<Vec<(String, Bookmark)>>,
}

impl ReadBlock for Watched {
    fn read_block(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().push((thread, at));
        self.reader.read_block(bp, at)
    }

    fn read_stored(&self, bp: &BlockPointer, at: Bookmark) -> Result<Block> {
        self.reader.read_stored(bp, at)
    }
}

/// A block that is overwritten as a whole is not read. Its pointer is read before it is needed.
#[test]
fn pointers_of_what_is_overwritten_are_read_ahead() {
    let mut bench = Bench::new(9, SetProperties::default());
    let object = bench.set.allocate(&file(4096)).unwrap();
    // Each indirect block has 32 pointers.
    let content: Vec<u8> = (0..4096 * 200_u64).map(|n| ((n * n) >> 8) as u8).collect();
    bench.set.write(object, 0, &content).unwrap();
    let root = *bench.sync().root();
    bench.next_txg();
    let watched = Arc::new(Watched { reader: Arc::clone(&bench.pool.reader) as _, seen: Mutex::default() });
    let set = Objset::open(Arc::clone(&watched) as _, 1, root).unwrap();
    let writer = Arc::clone(&bench.pool.writer) as _;
    bench.set = ObjsetWriter::open(set, writer, SetProperties::default()).unwrap();
    for block in [0, 1, 31, 32, 100, 199, 200] {
        bench.set.write(object, block * 4096, &[block as u8; 4096]).unwrap();
    }
    let wanted: BTreeSet<u64> = [0, 1, 3, 6].into();
    let ahead = || -> BTreeSet<u64> {
        let seen = watched.seen.lock().unwrap();
        let ahead = seen.iter().filter(|(thread, at)| thread == "pointers ahead" && at.level == 1);
        ahead.map(|(_, at)| at.block.0).collect()
    };
    let started = Instant::now();
    while ahead() != wanted {
        assert!(started.elapsed().as_secs() < 60, "{:?}", ahead());
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_data = |(_, at): &(String, Bookmark)| at.object == object && at.level == 0;
    assert!(!watched.seen.lock().unwrap().iter().any(is_data), "content that is overwritten is not read");
    bench.sync();
}
