//! Rules that a model of content does not see.

use super::*;
use crate::object_store::{NewObject, ObjectStore};

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

/// Whichever write fails, the sync says so, the set takes no more changes, and what was synced before is as it was.
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
