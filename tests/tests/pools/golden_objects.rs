//! Objects of the golden pools: their dnodes, block pointers, runs of data and ZAPs, as zdb printed them.
//!
//! `golden/objects/` holds zdb's answers; `BLESS=1 cargo xtask interop` records them anew, from zdb.

use std::sync::Arc;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::bpobj::BpObj;
use zstream_dmu::error::Fault;
use zstream_dmu::ids::{BlockId, ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::space::{LogSpaceMaps, VdevSpace};
use zstream_dmu::traverse::{Floor, Options, Traverse, VisitKind};
use zstream_format::object_type::ObjectType;
use zstream_tests::{golden, objects};

fn pool(name: &str) -> Pool {
    Pool::open(&golden::pool(name), &OpenOptions::default()).expect("a golden pool")
}

/// Opens a dataset of tank by its object in the MOS, without its key if it has one.
fn dataset(pool: &Pool, id: u64) -> Objset {
    objects::dataset(pool, id).expect("a dataset")
}

#[test]
fn objects_are_those_that_zdb_showed() {
    let tank = pool("tank");
    for (name, id) in objects::RECORDED {
        let expected = objects::recorded(name);
        let found = if id == 0 { objects::facts(tank.mos()) } else { objects::facts(&dataset(&tank, id)) };
        let found = objects::text(&found.expect("a set that can be read"));
        let first_difference =
            expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
        assert_eq!(first_difference, None, "{name}");
        assert_eq!(expected.lines().count(), found.lines().count(), "{name}");
        assert!(expected.lines().count() > 20, "{name} says next to nothing");
    }
}

/// Space maps and logs, replayed, give what zdb's leak check counted block by block (`zdb -b`, "bp allocated").
#[test]
fn space_maps_and_logs_say_what_is_allocated() {
    for (name, expected_bytes) in [
        ("tank", 6_472_192),
        ("pmirror", 655_360),
        ("praidz1", 1_228_800),
        ("praidz2", 1_843_200),
        ("praidz3", 2_457_600),
    ] {
        let pool = pool(name);
        let mos = pool.mos();
        let logs = LogSpaceMaps::open(&**mos).expect("logs");
        let mut allocated = 0;
        for top in &pool.config().vdev_tree.children {
            let space =
                VdevSpace::find(&**mos, top).expect("its space maps").expect("a vdev that holds blocks");
            allocated +=
                space.allocated(&**mos, &logs).expect("maps that do not contradict themselves").bytes();
        }
        assert_eq!(allocated, expected_bytes, "{name}: zdb -b prints another number");
    }
}

#[test]
fn sums_of_block_pointer_lists_are_those_of_their_blocks() {
    let tank = pool("tank");
    let mos = tank.mos();
    let mut lists = 0;
    let mut next = ObjectId(1);
    while let Some(object) = mos.next_object(next).expect("the MOS") {
        next = ObjectId(object.0 + 1);
        if mos.info(object).expect("an object").bonus_type != ObjectType::BPOBJ_HDR {
            continue;
        }
        let list = BpObj::open(&**mos, object).expect("a list");
        let mut sums = (0, 0, 0);
        for entry in list.entries(&**mos) {
            let pointer = entry.expect("a pointer").pointer;
            sums.0 += pointer.asize();
            sums.1 += pointer.psize();
            sums.2 += pointer.uncompressed_bytes();
        }
        let expected = (list.bytes, list.compressed_bytes.unwrap_or(0), list.uncompressed_bytes.unwrap_or(0));
        assert_eq!(sums, expected, "list {object}");
        lists += u32::from(list.count > 0);
    }
    assert_eq!(lists, 9);
}

/// Blocks that an incremental visit finds are those of a full one that are younger; so are the visits' places.
#[test]
fn a_floor_visits_what_is_younger_and_nothing_else() {
    let tank = pool("tank");
    let root = *dataset(&tank, 81).root();
    let visits = |floor| -> Vec<(zstream_dmu::ids::Bookmark, BlockPointer)> {
        let reader = Arc::clone(tank.reader()) as Arc<dyn ReadBlock>;
        let options = Options { floor: Floor::Logical(Txg(floor)), ..Options::default() };
        Traverse::new(reader, 81, root, options)
            .map(|visit| visit.expect("a visit"))
            .filter(|visit| visit.kind == VisitKind::Block && visit.pointer.logical_birth() != Txg(0))
            .map(|visit| (visit.at, visit.pointer))
            .collect()
    };
    let all = visits(0);
    for floor in [9, 10, 11, 13] {
        let younger: Vec<_> =
            all.iter().filter(|(_, pointer)| pointer.logical_birth() > Txg(floor)).cloned().collect();
        assert!(!younger.is_empty() && younger.len() < all.len());
        assert_eq!(visits(floor), younger, "floor {floor}");
    }
}

#[test]
fn files_read_the_same_in_every_way() {
    let tank = pool("tank");
    // 20 MiB with two blocks of data; 512-byte records, three levels; a volume.
    for (id, object) in [(81, 8), (114, 130), (384, 1)] {
        let set = dataset(&tank, id);
        let object = ObjectId(object);
        let info = set.info(object).expect("an object");
        let mut whole = vec![0xa5; info.end() as usize + 700];
        set.read(object, 0, &mut whole).expect("its content");
        let (size, mut data) = (info.block_bytes as usize, 0);
        for (n, expected) in (0..=info.max_block.0).zip(whole.chunks(size)) {
            match set.block(object, BlockId(n)).expect("a block") {
                Some(block) => {
                    assert!(*block == *expected, "dataset {id} block {n}");
                    data += 1;
                }
                None => assert!(expected.iter().all(|byte| *byte == 0), "dataset {id} block {n}"),
            }
        }
        assert!(data > 0 && whole[info.end() as usize..].iter().all(|byte| *byte == 0));
        for (offset, length) in [(1, 3), (size - 1, 2), (size / 2, 3 * size), (whole.len() - 710, 700)] {
            let mut part = vec![0x5a; length];
            set.read(object, offset as u64, &mut part).expect("a part");
            assert!(part == whole[offset..offset + length], "dataset {id}: {length} bytes at {offset}");
        }
        let mut at = 0;
        while let Some(start) = set.next_data(object, at).expect("its tree") {
            assert!(whole[at as usize..start as usize].iter().all(|byte| *byte == 0));
            at = set.next_hole(object, start).expect("its tree");
        }
    }
}

/// Without its key, an encrypted set shows its objects' shape, and says what it does not show.
#[test]
fn a_locked_set_shows_shapes_and_keeps_content() {
    let tank = pool("tank");
    let set = dataset(&tank, 218);
    assert!(set.is_locked());
    let file = ObjectId(250);
    let info = set.info(file).expect("a file's shape");
    assert_eq!((info.object_type, info.bonus_type), (ObjectType::PLAIN_FILE_CONTENTS, ObjectType::SA));
    assert!(matches!(info.bonus().expect_err("no key").fault(), Fault::Encrypted { .. }));
    let error = set.read(file, 0, &mut [0; 16]).expect_err("no key");
    assert!(matches!(error.fault(), Fault::Encrypted { .. }), "{error}");
}
