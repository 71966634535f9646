//! Tests of the allocator with maps in memory.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::space_map::SpaceMap;
use super::vdev_space::{LogSpaceMaps, VdevSpace};
use super::*;
use crate::blkptr::{BLOCK_BYTES_MAX, BlockPointer, Dva, NormalBlock};
use crate::dnode::NewObject;
use crate::error::Fault;
use crate::ids::{Guid, ObjectId, Txg};
use crate::made::Store;
use crate::object_store::ObjectStore;
use crate::pool::layout::{member_asize, metaslab_shift};
use crate::range_set::RangeSet;
use crate::vdev::VdevTree;
use crate::vdev::arithmetic::deflated;
use crate::vdev::config::{VdevConfig, VdevType};
use crate::vdev::raidz::{Expansion, Geometry};
use crate::vdev::tests::leaf;
use crate::zio::{AllocationClass, BlockReader, Space};

pub(super) const FORM: MapForm = MapForm { two_words: true, histogram: true };

/// The size of a metaslab in bytes: the smallest that has space for the largest block.
const METASLAB_SHIFT: u8 = 24;

/// Returns `tops` vdevs of `metaslabs` metaslabs each, with their arrays in objects 2, 3, ...
pub(super) fn vdevs(tops: u32, metaslabs: u64) -> (Arc<BlockReader>, Vec<VdevSpace>, Store) {
    let asize = metaslabs << METASLAB_SHIFT;
    let config = |n: u32| VdevConfig {
        kind: VdevType::File,
        ashift: Some(9),
        asize: Some(asize),
        ..leaf(u64::from(n), u64::from(n) + 1)
    };
    let configs: Vec<_> = (0..tops).map(config).collect();
    let tree = VdevTree::build(Guid(1), &configs, &HashMap::new(), 0).unwrap();
    let mut store = Store::default();
    // The object directory, which contains no more than an empty ZAP.
    store.claim(ObjectId(1), &NewObject::new(ObjectType::OBJECT_DIRECTORY, 512)).unwrap();
    store.write(ObjectId(1), 0, &(1_u64 << 63 | 3).to_le_bytes()).unwrap();
    let space = |vdev: u32| {
        let array = store.allocate(&NewObject::new(ObjectType::OBJECT_ARRAY, 512)).unwrap();
        VdevSpace {
            vdev,
            ashift: 9,
            asize,
            metaslab_array: array,
            metaslab_shift: METASLAB_SHIFT,
            alignment: 1,
            unflushed_txgs: None,
            checkpoint_map: None,
            class: Some(AllocationClass::Normal),
            belongs_to: Some(AllocationClass::Normal),
        }
    };
    let spaces = (0..tops).map(space).collect();
    (Arc::new(BlockReader::new(Arc::new(tree), 0, None)), spaces, store)
}

pub(super) fn block(places: &[Dva], birth: Txg) -> BlockPointer {
    let mut dvas = [Dva::default(); 3];
    dvas[..places.len()].copy_from_slice(places);
    BlockPointer::normal(&NormalBlock {
        dvas,
        lsize: 512,
        psize: 512,
        compression: CompressionType::OFF,
        checksum_type: ChecksumType::FLETCHER_4,
        object_type: ObjectType::PLAIN_FILE_CONTENTS,
        level: 0,
        dedup: false,
        uses_crypt: false,
        byte_order: ByteOrder::Little,
        logical_birth: birth,
        physical_birth: Txg(0),
        fill: 1,
        checksum: [0; 4],
    })
}

/// Writes maps until nothing changes, and begins the next transaction group.
pub(super) fn commit(space: &Allocator, store: &mut Store) -> SpaceMaps {
    let mut all = SpaceMaps::default();
    let mut pass = 1;
    loop {
        let done = space.write_maps(store, pass).unwrap();
        if !done.changed {
            break;
        }
        (all.changed, all.created, pass) = (true, all.created + done.created, pass + 1);
        all.created_obsolete += done.created_obsolete;
    }
    space.committed(Arc::new(store.clone()), Txg(space.txg().0 + 1)).unwrap();
    all
}

#[derive(Clone, Debug)]
enum Step {
    Allocate { sectors: u64, copies: u8 },
    Unallocate { sectors: u64 },
    Free(prop::sample::Index),
    WriteMaps,
    Commit,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_u64..3000, 1_u8..4).prop_map(|(sectors, copies)| Step::Allocate { sectors, copies }),
        1 => (1_u64..3000).prop_map(|sectors| Step::Unallocate { sectors }),
        5 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => Just(Step::WriteMaps),
        3 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn nothing_is_handed_out_twice_or_too_early(tops in 1_u32..4, steps in proptest::collection::vec(step(), 1..160)) {
        let (reader, spaces, mut store) = vdevs(tops, 2);
        let mut space = Allocator::create(Arc::clone(&reader), &spaces, FORM, Txg(4)).unwrap();
        space.set_reserve(Reserve::Nothing);
        let mut live: Vec<(Vec<Dva>, Txg)> = Vec::new();
        // Freed ranges, and the first transaction group that may reuse them.
        let mut waiting: Vec<(Dva, u64)> = Vec::new();
        let mut used = vec![RangeSet::default(); tops as usize];
        let mut pass = 1;
        for step in steps {
            match step {
                Step::Allocate { sectors, copies } => match space.allocate(sectors * 512, copies, AllocationClass::Normal) {
                    Ok(places) => {
                        prop_assert_eq!(places.len(), usize::from(copies));
                        for place in &places {
                            prop_assert_eq!(place.asize(), sectors * 512);
                            let (start, end) = (place.offset(), place.offset() + place.asize());
                            prop_assert!(end <= 2 << METASLAB_SHIFT);
                            prop_assert_eq!(start >> METASLAB_SHIFT, (end - 1) >> METASLAB_SHIFT);
                            // Overlapping ranges are refused.
                            used[place.vdev() as usize].add(start, end).unwrap();
                            let early = waiting.iter().find(|(freed, from)| {
                                freed.vdev() == place.vdev() && *from > space.txg().0
                                    && freed.offset() < end && start < freed.offset() + freed.asize()
                            });
                            prop_assert_eq!(early, None);
                        }
                        let vdevs: std::collections::HashSet<u32> = places.iter().map(|place| place.vdev()).collect();
                        let room = 2 << METASLAB_SHIFT >> 2;
                        if used.iter().all(|used| used.bytes() < room) && waiting.is_empty() {
                            prop_assert_eq!(vdevs.len(), usize::from(copies).min(tops as usize));
                        }
                        live.push((places, space.txg()));
                    }
                    Err(error) => prop_assert!(matches!(error.fault(), Fault::NoSpace { .. }), "{error}"),
                },
                Step::Unallocate { sectors } => if let Ok(places) = space.allocate(sectors * 512, 1, AllocationClass::Normal) {
                    space.unallocate(&places);
                },
                Step::Free(index) => if !live.is_empty() {
                    let (places, birth) = live.swap_remove(index.index(live.len()));
                    let pointer = block(&places, birth);
                    space.free(&pointer).unwrap();
                    prop_assert!(space.free(&pointer).is_err(), "freed twice");
                    for place in places {
                        used[place.vdev() as usize].remove(place.offset(), place.offset() + place.asize()).unwrap();
                        if birth != space.txg() {
                            waiting.push((place, space.txg().0 + 3));
                        }
                    }
                },
                Step::WriteMaps => {
                    space.write_maps(&mut store, pass).unwrap();
                    pass += 1;
                }
                Step::Commit => {
                    commit(&space, &mut store);
                    pass = 1;
                }
                Step::Reopen => {
                    commit(&space, &mut store);
                    pass = 1;
                    // Deferred frees are not stored: the newest uberblock does not need them.
                    waiting.clear();
                    let txg = Txg(space.txg().0 + 1);
                    space = Allocator::open(Arc::clone(&reader), Arc::new(store.clone()), &spaces, FORM, txg).unwrap();
                    space.set_reserve(Reserve::Nothing);
                }
            }
            let sum: u64 = used.iter().map(RangeSet::bytes).sum();
            prop_assert_eq!(space.space_use().allocated, sum);
        }
        commit(&space, &mut store);
        for (vdev, used) in spaces.iter().zip(&used) {
            let found = vdev.allocated(&store, &LogSpaceMaps::default()).unwrap();
            prop_assert_eq!(&found, used);
        }
    }
}

#[test]
fn blocks_written_in_a_row_lie_in_a_row() {
    let (reader, spaces, _) = vdevs(1, 8);
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    let places: Vec<Dva> = (0..100)
        .map(|n| space.allocate((n % 7 + 32) << 10, 1, AllocationClass::Normal).unwrap()[0])
        .collect();
    for pair in places.windows(2) {
        assert_eq!(pair[0].offset() + pair[0].asize(), pair[1].offset());
    }
}

#[test]
fn copies_on_one_vdev_lie_in_different_metaslabs() {
    let (reader, spaces, _) = vdevs(1, 4);
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    let places = space.allocate(4096, 3, AllocationClass::Normal).unwrap();
    let metaslabs: std::collections::BTreeSet<u64> =
        places.iter().map(|place| place.offset() >> METASLAB_SHIFT).collect();
    assert_eq!(metaslabs.len(), 3);
}

#[test]
fn slop_space_is_for_what_must_be_written() {
    let (reader, spaces, _) = vdevs(2, 2);
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    let fill = || (0..).take_while(|_| space.allocate(1 << 20, 1, AllocationClass::Normal).is_ok()).count();
    // Half of such a small pool is slop space.
    assert_eq!(fill(), 32);
    assert_eq!(space.set_reserve(Reserve::HalfSlop), Reserve::Slop);
    assert_eq!(fill(), 16);
    space.set_reserve(Reserve::Nothing);
    assert_eq!(fill(), 16);
    let used = space.space_use();
    assert_eq!((used.capacity, used.allocated, used.room.slop()), (64 << 20, 64 << 20, 32 << 20));
    assert_eq!((used.used, used.available()), (64 << 20, 0));
    let error = space.allocate(512, 1, AllocationClass::Normal).unwrap_err();
    assert!(matches!(error.fault(), Fault::NoSpace { bytes: 512 }));
}

#[test]
fn a_block_that_does_not_fit_takes_nothing() {
    let (reader, spaces, _) = vdevs(1, 2);
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    space.set_reserve(Reserve::Nothing);
    let first = space.allocate(12 << 20, 1, AllocationClass::Normal).unwrap();
    assert!(space.allocate(12 << 20, 2, AllocationClass::Normal).is_err());
    assert_eq!(space.space_use().allocated, 12 << 20);
    space.free(&block(&first, Txg(4))).unwrap();
    assert!(space.allocate(12 << 20, 2, AllocationClass::Normal).is_ok());
}

#[test]
fn a_map_that_grew_long_is_written_anew() {
    let (reader, spaces, mut store) = vdevs(1, 1);
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    let length = |store: &Store| SpaceMap::open(store, ObjectId(3)).unwrap().length;
    let mut longest = 0;
    for _ in 0..100 {
        let txg = space.txg();
        let taken: Vec<_> =
            (0..200).map(|_| space.allocate(512, 1, AllocationClass::Normal).unwrap()).collect();
        commit(&space, &mut store);
        // First every second range, so that each entry of the map is separate.
        for first in 0..2 {
            for places in taken.iter().skip(first).step_by(2) {
                space.free(&block(places, txg)).unwrap();
            }
            commit(&space, &mut store);
        }
        if length(&store) < longest {
            break;
        }
        longest = length(&store);
    }
    assert!(length(&store) < longest, "{longest} bytes and growing");
    let found = spaces[0].allocated(&store, &LogSpaceMaps::default()).unwrap();
    assert_eq!(found.bytes(), space.space_use().allocated);
}

/// A block of `psize` bytes allocates parity and padding on raidz, and its deflated size is about `psize`.
#[test]
fn raidz_blocks_take_whole_stripes_and_count_for_their_data() {
    let geometry = Geometry { children: 5, parity: 2, ashift: 12, expansion: Expansion::default() };
    let children = (0..5).map(|id| leaf(id, id + 1)).collect();
    let asize = 4 << METASLAB_SHIFT;
    let config = VdevConfig {
        kind: VdevType::Raidz(geometry),
        ashift: Some(12),
        asize: Some(asize),
        children,
        ..leaf(0, 100)
    };
    let tree = VdevTree::build(Guid(1), &[config], &HashMap::new(), 0).unwrap();
    let mut spaces = vdevs(1, 4).1;
    spaces[0].ashift = 12;
    let reader = Arc::new(BlockReader::new(Arc::new(tree), 0, None));
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    space.set_reserve(Reserve::Nothing);
    assert_eq!(space.unit_shift(), 12);
    // Bytes, and the sectors that they allocate: data, parity for each row of three, padding to a multiple of three.
    for (psize, sectors) in [(512, 3), (4096, 3), (8192, 6), (3 * 4096, 6), (4 * 4096, 9), (128 << 10, 54)] {
        let places = space.allocate(psize, 1, AllocationClass::Normal).unwrap();
        assert_eq!(places[0].asize(), sectors * 4096, "{psize}");
        // 32 data sectors allocate 54. Each counts for 512 * 128 KiB / (54 * 4096), rounded down to whole bytes.
        assert_eq!(space.dsize(&block(&places, Txg(4))), sectors * 8 * 303);
    }
    assert_eq!(space.dsize(&BlockPointer::EMPTY), 0);
}

#[test]
fn classes_fall_back_to_the_normal_one_and_log_devices_are_left_alone() {
    let (reader, mut spaces, _) = vdevs(3, 2);
    for (space, class) in spaces[1..].iter_mut().zip([Some(AllocationClass::Special), None]) {
        (space.class, space.belongs_to) = (class, class);
    }
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    space.set_reserve(Reserve::Nothing);
    let vdev = |class| space.allocate(16 << 20, 1, class).map(|places| places[0].vdev()).ok();
    // Deduplication tables are metadata where no vdev is for them.
    assert_eq!(vdev(AllocationClass::Dedup), Some(1));
    assert_eq!([(); 3].map(|()| vdev(AllocationClass::Special)), [Some(1), Some(0), Some(0)]);
    assert_eq!([AllocationClass::Special, AllocationClass::Normal].map(vdev), [None, None]);
    assert_eq!(space.space_use().capacity, 64 << 20);
}

/// Small blocks of data go to special vdevs while more than a quarter of them is free, metadata until they are full.
#[test]
fn small_blocks_leave_a_reserve_on_special_vdevs() {
    let (reader, mut spaces, _) = vdevs(2, 2);
    (spaces[1].class, spaces[1].belongs_to) =
        (Some(AllocationClass::Special), Some(AllocationClass::Special));
    let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
    space.set_reserve(Reserve::Nothing);
    let vdev = |class| space.allocate(4 << 20, 1, class).map(|places| places[0].vdev()).ok();
    // Of 32 MiB, 24.
    let small: Vec<_> = (0..8).map(|_| vdev(AllocationClass::Small)).collect();
    assert_eq!(small, [1, 1, 1, 1, 1, 1, 0, 0].map(Some));
    assert_eq!([(); 3].map(|()| vdev(AllocationClass::Special)), [1, 1, 0].map(Some));
}

/// A pool of top-level vdevs of one shape.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// The parity of raidz; 0 for single disks and mirrors.
    parity: usize,
    members: usize,
    tops: u32,
    ashift: u8,
    member_bytes: u64,
}

impl Layout {
    fn pool(self) -> (Arc<BlockReader>, Vec<VdevSpace>) {
        let Self { parity, members, tops, ashift, member_bytes } = self;
        let member = member_asize(member_bytes).unwrap();
        let (kind, asize) = match (parity, members) {
            (0, 1) => (VdevType::File, member),
            (0, _) => (VdevType::Mirror, member),
            _ => {
                let expansion = Expansion::default();
                let geometry = Geometry { children: members, parity, ashift, expansion };
                (VdevType::Raidz(geometry), member * members as u64)
            }
        };
        let leaves = |n: u32| (0..members as u64).map(|id| leaf(id, u64::from(n) * 100 + id + 1)).collect();
        let config = |n: u32| VdevConfig {
            kind: kind.clone(),
            ashift: Some(ashift),
            asize: Some(asize),
            children: if kind.is_leaf() { Vec::new() } else { leaves(n) },
            ..leaf(u64::from(n), u64::from(n) * 100 + 99)
        };
        let configs: Vec<_> = (0..tops).map(config).collect();
        let tree = VdevTree::build(Guid(1), &configs, &HashMap::new(), 0).unwrap();
        let mut spaces = vdevs(tops, 1).1;
        for space in &mut spaces {
            (space.ashift, space.asize, space.metaslab_shift) = (ashift, asize, metaslab_shift(asize));
        }
        (Arc::new(BlockReader::new(Arc::new(tree), 0, None)), spaces)
    }
}

fn layout() -> impl Strategy<Value = Layout> {
    let size = (0_u32..13, 0_u64..64).prop_map(|(shift, more)| ((64 + more) << 20) << shift);
    let shape = (0_usize..4, 1_usize..5);
    (shape, 1_u32..4, prop_oneof![Just(9_u8), Just(12)], size).prop_map(
        |((parity, more), tops, ashift, member_bytes)| Layout {
            parity,
            members: parity + more,
            tops,
            ashift,
            member_bytes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// An allocation fails where the available space ends, and not before. This holds for every shape, in small pools
    /// of which half is reserved, and in large ones of which a part is for intent logs.
    #[test]
    fn space_ends_where_what_is_available_ends(layout in layout(), copies in 1_u8..4) {
        let (reader, spaces) = layout.pool();
        let tree = Arc::clone(reader.vdevs());
        let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
        let room = space.space_use().room;
        let data = tree.tops()[0].config().kind.data_disks();
        let raw: u64 = spaces.iter().map(|space| space.metaslabs() << space.metaslab_shift).sum();
        // Padding uses a part of raidz. Deflation subtracts it from all bytes in the same way.
        let share = if layout.parity == 0 { raw } else { raw / layout.members as u64 * data };
        prop_assert!(room.normal + room.log <= share && room.normal + room.log >= share / 2, "{room:?} of {share}");
        prop_assert_eq!(room.log > 0, spaces[0].metaslabs() > 64);
        // Sizes of which many fit into a metaslab, so that the ends of metaslabs do not matter; then smaller and
        // smaller ones.
        let large = (1_u64 << spaces[0].metaslab_shift >> 10).min(BLOCK_BYTES_MAX);
        for psize in [large, large / 16, 512] {
            let asize = tree.tops()[0].asize(psize, Txg(4));
            let worst = u64::from(copies) * deflated(asize, tree.tops()[0].config().deflate_ratio());
            let mut used = space.space_use().used;
            let error = loop {
                let places = match space.allocate(psize, copies, AllocationClass::Normal) {
                    Ok(places) => places,
                    Err(error) => break error,
                };
                used += space.dsize(&block(&places, Txg(4)));
                prop_assert_eq!(space.space_use().used, used);
            };
            prop_assert!(matches!(error.fault(), Fault::NoSpace { .. }), "{error}");
            prop_assert!(used <= room.usable(), "{used} of {room:?}");
            prop_assert_eq!(space.space_use().available(), room.usable() - used);
            prop_assert!(room.usable() - used < worst, "{used} of {room:?}, {psize} bytes are refused");
        }
        space.set_reserve(Reserve::HalfSlop);
        prop_assert!(space.allocate(large / 16, copies, AllocationClass::Normal).is_ok());
    }
}
