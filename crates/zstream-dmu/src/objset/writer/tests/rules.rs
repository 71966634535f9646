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
