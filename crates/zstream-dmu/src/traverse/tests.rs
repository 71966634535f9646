use std::collections::BTreeMap;

use zstream_format::object_type::ObjectType;

use super::*;
use crate::error::Fault;
use crate::ids::Txg;
use crate::made::{Memory, Spec};

/// Objects 1, 2, 8 and 9 are born in 4, object 40, which has two slots, in 6, and 2000 in 9. Object 9 has four levels,
/// of which only one path is newer than 5, and a hole born in 8. Object 8 has a spill block.
fn sample() -> (Arc<Memory>, BlockPointer) {
    let memory = Memory::new();
    let data = |ids: &[(u64, u64)]| -> BTreeMap<_, _> {
        ids.iter().map(|&(id, birth)| (id, memory.data(&[1; 512], birth))).collect()
    };
    let mut nine = data(&[(0, 3), (1, 4), (9, 3), (64, 7), (65, 3), (511, 2)]);
    nine.insert(70, BlockPointer::hole(ObjectType::PLAIN_FILE_CONTENTS, 0, 512, Txg(8)));
    let dnodes: BTreeMap<_, _> = [
        (1, Spec { data: data(&[(0, 4)]), ..Spec::file() }),
        (2, Spec { pointers: 3, levels: 2, max_block: 17, data: data(&[(0, 4), (17, 4)]), ..Spec::file() }),
        (
            8,
            Spec {
                data: data(&[(0, 4)]),
                spill: Some(memory.store(&[5; 512], ObjectType::SA, 0, 4, 1)),
                ..Spec::file()
            },
        ),
        (9, Spec { levels: 4, max_block: 511, data: nine, ..Spec::file() }),
        (40, Spec { slots: 2, data: data(&[(0, 6)]), ..Spec::file() }),
        (2000, Spec { data: data(&[(0, 9)]), ..Spec::file() }),
    ]
    .into_iter()
    .map(|(object, spec)| (object, memory.dnode(&spec)))
    .collect();
    let root = memory.objset(&dnodes, &[(0, 8), (1, 6), (62, 9)].into());
    (memory, root)
}

fn traverse(memory: &Arc<Memory>, root: BlockPointer, options: Options) -> Vec<Visit> {
    Traverse::new(memory.clone(), 54, root, options).collect::<Result<_>>().unwrap()
}

fn text(visits: &[Visit]) -> Vec<String> {
    visits.iter().filter(|visit| !visit.pointer.is_hole()).map(name).collect()
}

fn name(visit: &Visit) -> String {
    let Bookmark { object, level, block, .. } = visit.at;
    let (object, block) = (object.0 as i64, block.0 as i64);
    match visit.kind {
        VisitKind::Root => "root".to_owned(),
        VisitKind::Dnode if visit.dnode.is_none() => format!("{object} free"),
        VisitKind::Dnode => format!("{object} dnode"),
        VisitKind::Block => format!("{object} L{level} {block}"),
    }
}

#[test]
fn the_order_is_that_of_a_walk_from_the_top_by_number() {
    let (memory, root) = sample();
    let visits = text(&traverse(&memory, root, Options::default()));
    let without_free: Vec<_> =
        visits.iter().filter(|name| !name.contains("free")).map(String::as_str).collect();
    assert_eq!(
        without_free,
        [
            "root",
            "0 dnode",
            "0 L2 0",
            "0 L1 0",
            "0 L0 0", // the first 32 objects
            "1 dnode",
            "1 L0 0",
            "2 dnode",
            "2 L1 0",
            "2 L0 0",
            "2 L1 2",
            "2 L0 17",
            "8 dnode",
            "8 L0 0",
            "8 L0 -2",
            "9 dnode",
            "9 L3 0",
            "9 L2 0",
            "9 L1 0",
            "9 L0 0",
            "9 L0 1",
            "9 L1 1",
            "9 L0 9",
            "9 L2 1",
            "9 L1 8",
            "9 L0 64",
            "9 L0 65",
            "9 L2 7",
            "9 L1 63",
            "9 L0 511",
            "0 L0 1",
            "40 dnode",
            "40 L0 0",
            "0 L1 7",
            "0 L0 62",
            "2000 dnode",
            "2000 L0 0",
        ]
    );
    // Slot 0 and the second slot of 40 are not reported.
    let free = visits.iter().filter(|name| name.contains("free")).count();
    assert_eq!(free, 27 + 30 + 31);
}

#[test]
fn a_floor_leaves_out_what_is_older_with_all_below() {
    let (memory, root) = sample();
    let options = Options { floor: Floor::Logical(Txg(5)), ..Options::default() };
    memory.take_reads();
    let visits = text(&traverse(&memory, root, options));
    let blocks: Vec<_> = visits.iter().filter(|name| name.contains(" L")).map(String::as_str).collect();
    assert_eq!(
        blocks,
        [
            "0 L2 0",
            "0 L1 0",
            "0 L0 0",
            "9 L3 0",
            "9 L2 1",
            "9 L1 8",
            "9 L0 64",
            "0 L0 1",
            "40 L0 0",
            "0 L1 7",
            "0 L0 62",
            "2000 L0 0"
        ]
    );
    let read = memory.take_reads();
    assert!(read.iter().all(|at| at.level != 0 || at.object.0 == 0), "data is never read");
    assert_eq!(read.len(), 10, "old blocks are not read: {read:?}");
}

#[test]
fn holes_are_reported_unless_they_remember_an_old_birth() {
    let (memory, root) = sample();
    let holes = |floor| -> Vec<_> {
        traverse(&memory, root, Options { floor: Floor::Logical(Txg(floor)), ..Options::default() })
            .iter()
            .filter(|visit| visit.pointer.is_hole() && visit.at.object.0 == 9)
            .map(name)
            .collect()
    };
    let all = holes(0);
    assert_eq!(all.iter().filter(|name| name.contains("L2")).count(), 5);
    assert!(all.contains(&"9 L0 70".to_owned()));
    assert!(holes(7).contains(&"9 L0 70".to_owned()));
    assert!(holes(8).is_empty(), "the whole object is older");
}

#[test]
fn resuming_anywhere_gives_the_rest() {
    let (memory, root) = sample();
    let whole = traverse(&memory, root, Options::default());
    let data: Vec<_> = whole.iter().filter(|visit| visit.is_data()).collect();
    for (n, from) in data.iter().enumerate() {
        let options = Options { resume: Some(from.at), ..Options::default() };
        let resumed = traverse(&memory, root, options);
        let rest: Vec<_> = resumed.iter().filter(|visit| visit.is_data()).map(name).collect();
        let expected: Vec<_> = data[n..].iter().map(|visit| name(visit)).collect();
        assert_eq!(rest, expected, "from {}", name(from));
        let dnodes: Vec<_> = resumed.iter().filter(|visit| visit.kind == VisitKind::Dnode).collect();
        assert_eq!(dnodes[1].at.object, from.at.object, "the object itself comes again");
    }
}

#[test]
fn pruning_leaves_out_what_lies_below_the_last_visit() {
    let (memory, root) = sample();
    let mut traverse = Traverse::new(memory, 54, root, Options::default());
    let mut seen = Vec::new();
    while let Some(visit) = traverse.next() {
        let visit = visit.unwrap();
        let name = name(&visit);
        if ["2 dnode", "9 L2 0", "0 L1 7"].contains(&&*name) {
            traverse.prune();
        }
        if visit.at.object.0 != 0 && !visit.pointer.is_hole() && visit.kind == VisitKind::Block {
            seen.push(name);
        }
    }
    assert_eq!(
        seen,
        [
            "1 L0 0", "8 L0 0", "8 L0 -2", "9 L3 0", "9 L2 0", "9 L2 1", "9 L1 8", "9 L0 64", "9 L0 65",
            "9 L2 7", "9 L1 63", "9 L0 511", "40 L0 0"
        ]
    );
}

#[test]
fn damage_is_reported_and_the_rest_still_visited() {
    let memory = Memory::new();
    let lost = BlockPointer::normal(&crate::blkptr::NormalBlock {
        dvas: [crate::blkptr::Dva::new(0, 1 << 40, 1024, false), Default::default(), Default::default()],
        lsize: 1024,
        psize: 1024,
        compression: zstream_format::algorithm::CompressionType::OFF,
        checksum_type: zstream_format::algorithm::ChecksumType::OFF,
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        level: 1,
        dedup: false,
        uses_crypt: false,
        byte_order: zstream_format::order::ByteOrder::Little,
        logical_birth: Txg(4),
        physical_birth: Txg(0),
        fill: 1,
        checksum: [0; 4],
    });
    let mut first = memory.dnode(&Spec { data: [(0, lost)].into(), ..Spec::file() });
    first[2] = 2;
    let mut second = memory.dnode(&Spec::file());
    second[3] = 9;
    let third = memory.dnode(&Spec { data: [(0, memory.data(&[7; 512], 4))].into(), ..Spec::file() });
    let root = memory.objset(&[(1, first), (2, second), (3, third)].into(), &BTreeMap::new());
    let (visits, errors): (Vec<_>, Vec<_>) =
        Traverse::new(memory, 54, root, Options::default()).partition(Result::is_ok);
    assert!(visits.iter().any(|visit| name(visit.as_ref().unwrap()) == "3 L0 0"));
    let errors: Vec<_> = errors.into_iter().map(Result::unwrap_err).collect();
    assert!(matches!(errors[0].fault(), Fault::NoVdev(_)), "{}", errors[0]);
    assert_eq!(errors[0].place().bookmark.map(|at| (at.object.0, at.level)), Some((1, 1)));
    assert!(matches!(errors[1].fault(), Fault::Corrupt { what: "dnode", .. }), "{}", errors[1]);
    assert_eq!(errors[1].place().bookmark.map(|at| at.object.0), Some(2));
    assert_eq!(errors.len(), 2);
}

#[test]
fn block_numbers_that_overflow_are_errors() {
    let memory = Memory::new();
    // Twelve levels of ten bits: the numbers of the children of the last pointers overflow.
    let mut pointer = memory.data(&[1; 512], 4);
    for level in 1..12 {
        let mut block = vec![0; 1 << 17];
        block[1023 * 128..].copy_from_slice(&pointer.encode(zstream_format::order::ByteOrder::Little));
        pointer = memory.store(&block, ObjectType::PLAIN_FILE_CONTENTS, level, 4, 1);
    }
    let spec = Spec { data: [(0, pointer)].into(), indirect_shift: 17, max_block: u64::MAX, ..Spec::file() };
    let mut dnode = memory.dnode(&spec);
    dnode[2] = 12;
    let root = memory.objset(&[(1, dnode)].into(), &BTreeMap::new());
    let errors: Vec<_> =
        Traverse::new(memory.clone(), 54, root, Options::default()).filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("beyond the last block"), "{}", errors[0]);
}

/// Six levels of two blocks, each of which refers to both blocks below it as often as possible: 1024^6 paths to the
/// data.
#[test]
fn a_tree_that_is_wider_than_what_is_stored_ends() {
    let memory = Memory::new();
    let file = ObjectType::PLAIN_FILE_CONTENTS;
    let mut below = [memory.data(&[1; 512], 4), memory.data(&[2; 512], 4)];
    for level in 1..=6 {
        let block: Vec<u8> = (0..1024_usize)
            .flat_map(|n| below[n % 2].encode(zstream_format::order::ByteOrder::Little))
            .collect();
        below = [(); 2].map(|()| memory.store(&block, file, level, 4, 1));
    }
    let max_block = (1 << 60) - 1;
    let spec = Spec { data: [(0, below[0])].into(), indirect_shift: 17, max_block, ..Spec::file() };
    let mut dnode = memory.dnode(&spec);
    dnode[2] = 7;
    let root = memory.objset(&[(1, dnode)].into(), &BTreeMap::new());
    let (visits, errors): (Vec<_>, Vec<_>) =
        Traverse::new(memory.clone(), 54, root, Options::default()).partition(Result::is_ok);
    // On each level except the top, both blocks are entered once.
    assert!(visits.len() < 20_000, "{}", visits.len());
    assert_eq!(errors.len(), 1022 + 4 * 2046);
    let error = errors[0].as_ref().unwrap_err();
    assert!(error.to_string().contains("is referenced twice in the tree"), "{error}");
    assert_eq!(error.place().bookmark.map(|at| at.object.0), Some(1));
}

/// A block that was rewritten in 8, and another one that was moved later.
#[test]
fn rewritten_blocks_are_old_to_readers_and_new_to_scrubs() {
    let memory = Memory::new();
    let later = |pointer: BlockPointer, is_rewritten: u64| {
        let mut words = *pointer.words();
        (words[7], words[9]) = (is_rewritten << 63, 8);
        BlockPointer::from_words(words)
    };
    let [plain, rewritten, moved] = [1, 2, 3].map(|byte| memory.data(&[byte; 512], 3));
    let data = [(0, plain), (1, later(rewritten, 1)), (2, later(moved, 0))].into();
    let dnode = memory.dnode(&Spec { levels: 2, max_block: 2, data, ..Spec::file() });
    let root = memory.objset(&[(1, dnode)].into(), &[(0, 8)].into());
    let found = |floor| {
        let visits = traverse(&memory, root, Options { floor, ..Options::default() });
        text(&visits).into_iter().filter(|name| name.starts_with("1 L0")).collect::<Vec<_>>()
    };
    assert_eq!(found(Floor::None), ["1 L0 0", "1 L0 1", "1 L0 2"]);
    assert_eq!(found(Floor::Allocated(Txg(5))), ["1 L0 1"]);
    assert_eq!(found(Floor::Logical(Txg(5))), [""; 0]);
    assert_eq!(found(Floor::Logical(Txg(2))).len(), 3);
    assert_eq!(found(Floor::Allocated(Txg(8))), [""; 0]);
}
