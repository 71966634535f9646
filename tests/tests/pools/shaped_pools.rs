//! Pools whose vdevs have a history, made by OpenZFS: removed vdevs, expanded raidz, gang blocks, every class of vdev.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::ids::Bookmark;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::{VdevState, VdevType};
use zstream_tests::blocks::blocks;
use zstream_tests::golden;

/// Name, members that may be missing, blocks on vdevs by `zdb -bcc` ("bp count" less embedded ones); 0 where remapped
/// pointers make two of one block.
const POOLS: [(&str, usize, usize); 6] = [
    ("declustered", 1, 0),
    ("expanded", 1, 85 - 34),
    ("expanding", 2, 139 - 32),
    ("ganged", 1, 66 - 30),
    ("removed", 0, 0),
    ("several", 0, 0),
];

fn open(paths: &[PathBuf]) -> Pool {
    Pool::open(paths, &OpenOptions::default()).expect("a pool")
}

fn read_all(pool: &Pool, wanted: &[(BlockPointer, Bookmark)]) -> Vec<Vec<u8>> {
    wanted.iter().map(|(bp, at)| pool.reader().read_stored(bp, *at).expect("a block").to_vec()).collect()
}

#[test]
fn every_copy_and_all_parity_of_every_block_is_good() {
    for (name, _, count) in POOLS {
        let pool = open(&golden::shape(name));
        let blocks = blocks(&pool);
        assert!(count == 0 && blocks.len() > 25 || blocks.len() == count, "{name}: {} blocks", blocks.len());
        for (bp, at) in blocks {
            let check = pool.reader().check_block(&bp, at).expect("a checked block");
            assert!(check.bad.is_empty(), "{name}: {at}: {}", check.bad[0]);
            assert_eq!((check.copies, check.readable), (bp.dvas().count(), bp.dvas().count()));
        }
    }
}

#[test]
fn any_members_up_to_the_redundancy_can_be_missing() {
    for (name, redundancy, _) in POOLS.into_iter().filter(|(_, redundancy, _)| *redundancy > 0) {
        let paths = golden::shape(name);
        let whole = open(&paths);
        let blocks = blocks(&whole);
        let content = read_all(&whole, &blocks);
        for first in 0..paths.len() {
            for second in first..paths.len() {
                if redundancy == 1 && second != first {
                    continue;
                }
                let left = paths.iter().enumerate().filter(|(n, _)| *n != first && *n != second);
                let pool = open(&left.map(|(_, path)| path.clone()).collect::<Vec<_>>());
                assert_eq!(pool.health(), VdevState::Degraded);
                assert!(read_all(&pool, &blocks) == content, "{name} without {first} and {second}");
            }
        }
    }
}

#[test]
fn blocks_of_every_width_are_in_the_expanded_pools() {
    let widths = |name| {
        let pool = open(&golden::shape(name));
        let VdevType::Raidz(geometry) = pool.vdevs().tops()[0].config().kind.clone() else {
            panic!("no raidz")
        };
        let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
        for (bp, _) in blocks(&pool) {
            *widths.entry(geometry.logical_width(bp.physical_birth().0)).or_default() += 1;
        }
        widths.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(widths("expanded"), [3, 4, 5]);
    assert_eq!(widths("expanding"), [4]);
    // Some blocks have been moved, others not yet.
    let pool = open(&golden::shape("expanding"));
    let moved = pool.uberblock().reflowed_to();
    let below = blocks(&pool).iter().filter(|(bp, _)| bp.dva(0).offset() < moved).count();
    assert!(below > 10 && below + 10 < blocks(&pool).len(), "{below} below {moved:#x}");
}

#[test]
fn the_tree_is_shown_as_it_is() {
    let pool = open(&golden::shape("several"));
    let tops = pool.vdevs().tops();
    let class = |n: usize| pool.allocation_class(&tops[n]).expect("its properties");
    assert_eq!(
        (0..4).map(class).collect::<Vec<_>>(),
        [None, None, Some("special".to_owned()), Some("log".to_owned())]
    );
    assert_eq!(tops.iter().map(|top| top.config().is_log).collect::<Vec<_>>(), [false, false, false, true]);
    assert_eq!((pool.health(), tops[1].children()[1].state()), (VdevState::Degraded, VdevState::Offline));
    // Without the log device everything can still be read.
    let paths: Vec<PathBuf> =
        golden::shape("several").into_iter().filter(|path| !path.ends_with("several-f.img")).collect();
    assert_eq!(open(&paths).health(), VdevState::Degraded);
    let removed = open(&golden::shape("removed"));
    let kinds: Vec<String> = removed.vdevs().tops().iter().map(|top| top.config().kind.name()).collect();
    assert_eq!(kinds, ["file", "indirect", "indirect", "file"]);
    let on_removed: HashMap<u32, usize> = blocks(&removed).iter().fold(HashMap::new(), |mut on, (bp, _)| {
        *on.entry(bp.dva(0).vdev()).or_default() += 1;
        on
    });
    assert!(on_removed.contains_key(&1) && on_removed.contains_key(&2), "{on_removed:?}");
}
