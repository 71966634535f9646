use std::collections::BTreeMap;

use super::*;
use crate::error::Fault;
use crate::ids::{BlockId, Txg};
use crate::made::{Memory, Spec};
use crate::object_set::ObjectSet;

fn block(byte: u8) -> Vec<u8> {
    vec![byte; 512]
}

/// Object 5 has blocks 0, 3 and 70 of 100, with 8 pointers in each indirect block. Object 8 has two slots, 1000 is
/// alone in its block, and 7 has a redacted block and a spill block.
fn sample() -> (Arc<Memory>, Objset) {
    let memory = Memory::new();
    let file = memory.dnode(&Spec {
        levels: 4,
        max_block: 99,
        data: [(0, 1), (3, 3), (70, 7)]
            .into_iter()
            .map(|(id, byte)| (id, memory.data(&block(byte), 4)))
            .collect(),
        ..Spec::file()
    });
    let redacted = memory.dnode(&Spec {
        data: [(0, BlockPointer::redacted(ObjectType::PLAIN_FILE_CONTENTS, 512, Txg(4)))].into(),
        spill: Some(memory.store(&block(0x5b), ObjectType::SA, 0, 4, 1)),
        ..Spec::file()
    });
    // The bonus in the second slot looks like a dnode.
    let wide =
        memory.dnode(&Spec { slots: 2, bonus_type: ObjectType::SA, bonus: vec![19; 800], ..Spec::file() });
    let last = memory.dnode(&Spec::file());
    let dnodes: BTreeMap<_, _> = [(5, file), (7, redacted), (8, wide), (1000, last)].into();
    let root = memory.objset(&dnodes, &BTreeMap::new());
    let set = Objset::open(memory.clone(), 54, root).unwrap();
    (memory, set)
}

const FILE: ObjectId = ObjectId(5);

#[test]
fn objects_are_found_in_order_and_slots_inside_of_others_are_none() {
    let (_, set) = sample();
    let mut found = Vec::new();
    let mut from = ObjectId(0);
    while let Some(object) = set.next_object(from).unwrap() {
        found.push(object.0);
        from = ObjectId(object.0 + 1);
    }
    assert_eq!(found, [5, 7, 8, 1000]);
    assert_eq!((set.object_count(), set.objset_type()), (4, ObjsetType::ZFS));
    for absent in [0, 6, 9, 999, 1001, 4096, 1 << 40, 1 << 60, u64::MAX] {
        let error = set.info(ObjectId(absent)).unwrap_err();
        assert!(matches!(error.fault(), Fault::NoObject(_)), "object {absent}: {error}");
    }
    let wide = set.info(ObjectId(8)).unwrap();
    assert_eq!((wide.dn_slots, wide.bonus().unwrap().len()), (2, 800));
}

#[test]
fn ranges_read_data_holes_and_what_lies_beyond() {
    let (_, set) = sample();
    let mut whole = vec![0xff; 101 * 512];
    set.read(FILE, 0, &mut whole).unwrap();
    let mut expected = vec![0; 101 * 512];
    for (id, byte) in [(0, 1), (3, 3), (70, 7)] {
        expected[id * 512..][..512].fill(byte);
    }
    assert!(whole == expected);
    for (offset, length) in [(0, 1), (511, 2), (1535, 514), (35_839, 600), (50_000, 3000)] {
        let mut part = vec![0xff; length];
        set.read(FILE, offset as u64, &mut part).unwrap();
        let padded: Vec<u8> =
            (offset..offset + length).map(|n| expected.get(n).copied().unwrap_or(0)).collect();
        assert_eq!(part, padded, "{length} bytes at {offset}");
    }
    let mut far = [0xff; 16];
    set.read(FILE, u64::MAX - 8, &mut far).unwrap();
    assert_eq!(far, [0; 16]);
    assert!(set.block(FILE, BlockId(1)).unwrap().is_none());
    assert_eq!(&*set.block(FILE, BlockId(70)).unwrap().unwrap(), &block(7));
}

#[test]
fn data_and_holes_are_found_from_every_block() {
    let (_, set) = sample();
    for from in 0..101_u64 {
        let data = [0, 3, 70].into_iter().find(|&id| id >= from).map(|id| id * 512);
        assert_eq!(set.next_data(FILE, from * 512).unwrap(), data, "data from block {from}");
        let hole = (from..).find(|id| ![0, 3, 70].contains(id)).map(|id| id * 512);
        assert_eq!(Some(set.next_hole(FILE, from * 512).unwrap()), hole, "hole from block {from}");
    }
    assert_eq!(set.next_data(FILE, 3 * 512 + 9).unwrap(), Some(3 * 512 + 9));
    assert_eq!(set.next_data(FILE, u64::MAX).unwrap(), None);
    assert_eq!(set.next_hole(FILE, u64::MAX).unwrap(), u64::MAX);
}

#[test]
fn redacted_content_is_its_own_error_and_spill_is_read() {
    let (_, set) = sample();
    let error = set.read(ObjectId(7), 0, &mut [0; 9]).unwrap_err();
    assert!(matches!(error.fault(), Fault::Redacted), "{error}");
    assert!(set.info(ObjectId(7)).unwrap().has_spill);
    assert_eq!(&*set.spill(ObjectId(7)).unwrap().unwrap(), &block(0x5b));
    assert_eq!(set.spill(FILE).unwrap(), None);
}

#[test]
fn a_range_reads_each_indirect_block_once() {
    let (memory, set) = sample();
    set.info(FILE).unwrap();
    memory.take_reads();
    set.read(FILE, 0, &mut vec![0; 8 * 512]).unwrap();
    let levels: Vec<_> = memory.take_reads().iter().map(|at| at.level).collect();
    assert_eq!(levels, [3, 2, 1, 0, 0]);
}

#[test]
fn pointers_that_disagree_with_the_dnode_are_errors() {
    let memory = Memory::new();
    let level_one = memory.store(&block(1), ObjectType::PLAIN_FILE_CONTENTS, 1, 4, 1);
    let long = memory.data(&[1; 1024], 4);
    let dnodes: BTreeMap<_, _> = [(1, level_one), (2, long)]
        .into_iter()
        .map(|(object, pointer)| {
            (object, memory.dnode(&Spec { data: [(0, pointer)].into(), ..Spec::file() }))
        })
        .chain([(
            // The block has two levels more than its data requires.
            3,
            memory.dnode(&Spec { data: [(0, memory.data(&block(1), 4))].into(), ..Spec::file() }),
        )])
        .map(|(object, mut dnode)| {
            if object == 3 {
                dnode[2] = 3;
            }
            (object, dnode)
        })
        .collect();
    let set = Objset::open(memory.clone(), 1, memory.objset(&dnodes, &BTreeMap::new())).unwrap();
    for object in 1..=3 {
        let error = set.read(ObjectId(object), 0, &mut [0; 8]).unwrap_err();
        assert!(matches!(error.fault(), Fault::Corrupt { what: "block pointer", .. }), "{error}");
        assert_eq!(error.place().bookmark.map(|at| at.object), Some(ObjectId(object)));
    }
}

#[test]
fn searches_end_where_indirect_blocks_point_at_one_child_again_and_again() {
    let memory = Memory::new();
    let mut pointer = memory.store(&[0; 1024], ObjectType::PLAIN_FILE_CONTENTS, 1, 4, 1);
    for level in 2..12 {
        let full = pointer.encode(ByteOrder::Little).repeat(8);
        pointer = memory.store(&full, ObjectType::PLAIN_FILE_CONTENTS, level, 4, 1);
    }
    let mut dnode = memory.dnode(&Spec { data: [(0, pointer)].into(), max_block: u64::MAX, ..Spec::file() });
    dnode[2] = 12;
    let set = Objset::open(memory.clone(), 1, memory.objset(&[(1, dnode)].into(), &BTreeMap::new())).unwrap();
    memory.take_reads();
    let error = set.next_data(ObjectId(1), 0).unwrap_err();
    assert!(error.to_string().contains("no data block below"), "{error}");
    assert!(memory.take_reads().len() < 100);
    assert_eq!(set.next_hole(ObjectId(1), 0).unwrap(), 0);
}

#[test]
fn an_objset_of_each_size_is_read_and_others_are_not() {
    let memory = Memory::new();
    let root = memory.objset(&BTreeMap::new(), &BTreeMap::new());
    let block = memory.read_block(&root, Bookmark::root(1)).unwrap();
    for size in OBJSET_BYTES {
        assert_eq!(ObjsetPhys::parse(&block[..size]).unwrap().phys_bytes, size);
    }
    assert!(ObjsetPhys::parse(&block[..3072]).is_err());
    let mut bad = block.to_vec();
    bad[0] = 19;
    assert!(ObjsetPhys::parse(&bad).unwrap_err().to_string().contains("meta-dnode is of type 19"));
    bad[0] = 0;
    assert!(ObjsetPhys::parse(&bad).unwrap_err().to_string().contains("meta-dnode is missing"));
    let error = Objset::open(memory, 1, BlockPointer::EMPTY).err().unwrap();
    assert!(matches!(error.fault(), Fault::Hole));
}
