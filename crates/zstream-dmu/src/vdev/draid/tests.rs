//! dRAID over memory: every combination of missing and corrupt members within parity, and distributed spares.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::blkptr::Dva;
use crate::device::{Device, MemoryDevice};
use crate::ids::{Guid, Txg};
use crate::vdev::config::{VdevConfig, VdevType};
use crate::vdev::tests::{leaf, parent};
use crate::vdev::{DamageCause, Effort, LEAF_DATA_START, Member, Reading, VdevState, VdevTree};

const SECTOR_SHIFT: u8 = 12;

/// Enough for the first three rows.
const DEVICE_BYTES: usize = 52 << 20;

/// A dRAID vdev over memory. Some members are replaced by distributed spares.
struct Bench {
    geometry: Geometry,
    top: VdevConfig,
    devices: Vec<Arc<MemoryDevice>>,
}

impl Bench {
    fn new(numbers: Numbers, replaced: &[usize]) -> Self {
        let geometry = Geometry::new(numbers, numbers.groups_min(), SECTOR_SHIFT).unwrap();
        let child = |n: usize| {
            let disk = leaf(n as u64, n as u64 + 1);
            let Some(id) = replaced.iter().position(|replaced| *replaced == n) else { return disk };
            let guid = |base: u64| base + n as u64;
            let spare = VdevConfig::bare(VdevType::DraidSpare(id), 1, Guid(guid(2000)));
            parent(VdevType::Spare, n as u64, guid(1000), vec![leaf(0, n as u64 + 1), spare])
        };
        let children = (0..numbers.children).map(child).collect();
        let top = VdevConfig {
            ashift: Some(SECTOR_SHIFT),
            asize: None,
            ..parent(VdevType::Draid(geometry.clone()), 0, 100, children)
        };
        let device = || Arc::new(MemoryDevice::new(DEVICE_BYTES));
        Self { geometry, top, devices: (0..numbers.children).map(|_| device()).collect() }
    }

    fn tree(&self, without: &[usize]) -> VdevTree {
        let present = (0..self.devices.len()).filter(|n| !without.contains(n));
        let member = |n: usize| {
            let device: Arc<dyn Device> = Arc::clone(&self.devices[n]) as _;
            (Guid(n as u64 + 1), Member { name: format!("disk{n}"), device })
        };
        let members: HashMap<Guid, Member> = present.map(member).collect();
        VdevTree::build(Guid(1), std::slice::from_ref(&self.top), &members, 0).unwrap()
    }

    /// Returns blocks of all kinds of sizes: small ones, with and without filled up sectors, and one in two groups.
    fn blocks(&self) -> Vec<(Dva, Vec<u8>)> {
        let stripe = self.geometry.stripe_bytes();
        let group = self.geometry.stripe_bytes() * (ROW_BYTES >> SECTOR_SHIFT);
        let data = self.geometry.data;
        let whole = data << SECTOR_SHIFT;
        let places = [
            (0, 512),
            (5 * stripe, whole),
            (9 * stripe, 2 * whole + 4096),
            (group + 4 * stripe, 3 * whole - 100),
            (group - stripe, 2 * whole - 4096 + 1),
        ];
        let content =
            |len: usize, seed: u64| (0..len).map(|i| (i * 7 + i / 251 + seed as usize) as u8).collect();
        let block = |(at, len): (u64, usize)| {
            (Dva::new(0, at, self.geometry.asize(len as u64), false), content(len, at / stripe + 1))
        };
        places.into_iter().map(block).collect()
    }

    /// Overwrites all columns of a block on a member.
    fn spoil(&self, dva: Dva, len: usize, member: usize) -> bool {
        let map = self.geometry.map(dva.offset(), len);
        let mine = map.rows.iter().flat_map(|row| &row.columns).filter(|c| c.child == member);
        let mine: Vec<_> = mine.collect();
        for column in &mine {
            let at = LEAF_DATA_START + column.offset;
            self.devices[member].write_at(at, &vec![0xd7; column.stored_len()]).unwrap();
        }
        !mine.is_empty()
    }
}

/// Reads a block, which must be `content`, and returns the damaged members.
fn read(tree: &VdevTree, dva: Dva, content: &[u8], effort: Effort) -> Result<Vec<(String, DamageCause)>> {
    let verify = |found: &[u8]| match found == content {
        true => Ok(()),
        false => Err(Error::corrupt("test", "differs")),
    };
    let mut reading = Reading::new(&verify, effort);
    let mut out = vec![0; content.len()];
    tree.read(dva, Txg(1), &mut out, &mut reading)?;
    let mut damage: Vec<_> = reading.damage.into_iter().map(|damage| (damage.vdev, damage.cause)).collect();
    damage.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(damage)
}

fn write_all(bench: &Bench) -> Vec<(Dva, Vec<u8>)> {
    let (tree, blocks) = (bench.tree(&[]), bench.blocks());
    // Neighbours must stay as they are, and what is filled up must be zeros.
    for device in &bench.devices {
        device.write_at(LEAF_DATA_START, &vec![0x55; 1 << 20]).unwrap();
    }
    for (dva, content) in &blocks {
        tree.write(*dva, Txg(1), content).unwrap();
    }
    for (dva, content) in &blocks {
        assert_eq!(read(&tree, *dva, content, Effort::EveryCopy).unwrap(), []);
    }
    blocks
}

/// Returns all sets of up to `most` out of `n`.
fn sets(n: usize, most: usize) -> Vec<Vec<usize>> {
    let mut sets = vec![Vec::new()];
    for _ in 0..most {
        let longer = sets.iter().flat_map(|set: &Vec<usize>| {
            let first = set.last().map_or(0, |last| last + 1);
            (first..n).map(|more| [&set[..], &[more]].concat())
        });
        let all: Vec<_> = sets.iter().cloned().chain(longer).collect();
        sets = all;
        sets.sort();
        sets.dedup();
    }
    sets
}

const SHAPES: [(usize, usize, usize, usize); 9] = [
    (1, 1, 2, 0),
    (1, 2, 5, 1),
    (1, 3, 7, 1),
    (2, 1, 3, 0),
    (2, 4, 9, 1),
    (2, 3, 8, 2),
    (3, 1, 4, 0),
    (3, 3, 7, 1),
    (3, 2, 9, 0),
];

fn numbers((parity, data, children, spares): (usize, usize, usize, usize)) -> Numbers {
    Numbers { children, parity, data, spares }
}

#[test]
fn any_members_within_parity_can_be_missing() {
    for shape in SHAPES.map(numbers) {
        let bench = Bench::new(shape, &[]);
        let blocks = write_all(&bench);
        for without in sets(shape.children, shape.parity) {
            let tree = bench.tree(&without);
            let state = if without.is_empty() { VdevState::Online } else { VdevState::Degraded };
            assert_eq!(tree.state(), state);
            for (dva, content) in &blocks {
                let result = read(&tree, *dva, content, Effort::AnyCopy);
                assert!(result.is_ok(), "{} without {without:?}: {result:?}", shape.name());
            }
        }
        let too_many: Vec<usize> = (0..=shape.parity).collect();
        assert_eq!(bench.tree(&too_many).state(), VdevState::Unavailable);
    }
}

#[test]
fn any_members_within_parity_can_be_corrupt_and_are_named() {
    for shape in SHAPES.map(numbers) {
        let bench = Bench::new(shape, &[]);
        let blocks = write_all(&bench);
        for spoiled in sets(shape.children, shape.parity) {
            for (dva, content) in &blocks {
                let there = spoiled.iter().filter(|member| bench.spoil(*dva, content.len(), **member));
                let names: Vec<_> =
                    there.map(|member| (format!("disk{member}"), DamageCause::Wrong)).collect();
                // The first of them is missing, too.
                if let [first, rest @ ..] = &spoiled[..] {
                    let result = read(&bench.tree(&[*first]), *dva, content, Effort::AnyCopy);
                    assert!(result.is_ok(), "{} without {first}, {rest:?} spoiled: {result:?}", shape.name());
                }
                let tree = bench.tree(&[]);
                let found = read(&tree, *dva, content, Effort::EveryCopy);
                assert_eq!(found.unwrap(), names, "{}: {spoiled:?} {dva}", shape.name());
                tree.write(*dva, Txg(1), content).unwrap();
            }
        }
    }
}

#[test]
fn corrupt_filled_up_sectors_are_reported_but_do_not_harm() {
    let bench = Bench::new(numbers((1, 3, 5, 0)), &[]);
    let (dva, content) = &write_all(&bench)[0];
    let map = bench.geometry.map(dva.offset(), content.len());
    let unused = map.rows[0].columns.last().unwrap();
    assert_eq!((unused.len, unused.skip), (0, 4096));
    bench.devices[unused.child].write_at(LEAF_DATA_START + unused.offset, &[1; 512]).unwrap();
    let found = read(&bench.tree(&[]), *dva, content, Effort::EveryCopy).unwrap();
    assert_eq!(found, [(format!("disk{}", unused.child), DamageCause::Wrong)]);
    // The only member with data is missing: its content follows from parity and zeros.
    let data = &map.rows[0].columns[1];
    assert!(read(&bench.tree(&[data.child]), *dva, content, Effort::AnyCopy).is_ok());
}

#[test]
fn distributed_spares_replace_members() {
    for (shape, replaced) in
        [((1, 2, 5, 1), vec![3]), ((2, 4, 9, 2), vec![0, 5]), ((1, 1, 6, 3), vec![4, 1, 2])]
    {
        let shape = numbers(shape);
        let bench = Bench::new(shape, &replaced);
        let blocks = write_all(&bench);
        // Without the replaced members, nothing is missing.
        let tree = bench.tree(&replaced);
        for (dva, content) in &blocks {
            let found = read(&tree, *dva, content, Effort::EveryCopy).unwrap();
            assert_eq!(found, [], "{} {dva}", shape.name());
        }
        // As many members as parity allows can be missing besides. The part of a spare on them is lost with them.
        for more in (0..shape.children).filter(|n| !replaced.contains(n)) {
            let tree = bench.tree(&[&replaced[..], &[more]].concat());
            for (dva, content) in &blocks {
                let map = bench.geometry.map(dva.offset(), content.len());
                let lost = |row: &crate::vdev::raidz::Row| {
                    let place = |child: usize, offset| {
                        let mut child = child;
                        while let Some(id) = replaced.iter().position(|replaced| *replaced == child) {
                            child = bench.geometry.spare_member(id, offset);
                        }
                        child
                    };
                    row.columns.iter().filter(|c| c.len > 0 && place(c.child, c.offset) == more).count()
                };
                let is_enough = map.rows.iter().all(|row| lost(row) <= shape.parity);
                assert!(is_enough, "the spare of a slice is not in use by a group");
                assert!(read(&tree, *dva, content, Effort::AnyCopy).is_ok(), "{} {more} {dva}", shape.name());
            }
        }
    }
}

/// A spare that was not rebuilt has anything. It is never taken for the content, and checks report it.
#[test]
fn a_spare_that_was_not_rebuilt_is_reconstructed() {
    let shape = numbers((2, 3, 8, 1));
    let plain = Bench::new(shape, &[]);
    let blocks = write_all(&plain);
    let bench = Bench { top: Bench::new(shape, &[2]).top, ..plain };
    let lost = |(dva, content): &(Dva, Vec<u8>)| {
        let map = bench.geometry.map(dva.offset(), content.len());
        map.rows.iter().flat_map(|row| &row.columns).any(|column| column.child == 2)
    };
    assert!(blocks.iter().any(lost) && !blocks.iter().all(lost));
    for block @ (dva, content) in &blocks {
        let found = read(&bench.tree(&[2]), *dva, content, Effort::EveryCopy).unwrap();
        let expected: Vec<_> =
            lost(block).then(|| ("spare-2".to_owned(), DamageCause::Wrong)).into_iter().collect();
        assert_eq!(found, expected);
        for more in (0..shape.children).filter(|n| *n != 2) {
            assert!(read(&bench.tree(&[2, more]), *dva, content, Effort::AnyCopy).is_ok(), "{dva} {more}");
        }
    }
}

/// The failed disk is still there, with what it had when it failed. It is asked last and never accused.
#[test]
fn a_failed_member_beside_its_spare_is_asked_last() {
    let mut bench = Bench::new(numbers((1, 2, 5, 1)), &[3]);
    let blocks = write_all(&bench);
    bench.top.children[3].children[0].is_offline = true;
    for (dva, content) in &blocks {
        bench.spoil(*dva, content.len(), 3);
        for effort in [Effort::AnyCopy, Effort::EveryCopy] {
            assert_eq!(read(&bench.tree(&[]), *dva, content, effort).unwrap(), [], "{dva}");
        }
    }
    // Without the spare's part of it, what the disk had helps.
    let mut bench = Bench::new(numbers((1, 2, 5, 1)), &[3]);
    let (dva, content) = &write_all(&bench)[1];
    bench.top.children[3].children[0].is_offline = true;
    let map = bench.geometry.map(dva.offset(), content.len());
    let spare = bench.geometry.spare_member(0, map.rows[0].columns[0].offset);
    let other = map.rows[0].columns.iter().map(|column| column.child).find(|child| *child != 3);
    let tree = bench.tree(&[spare, other.unwrap()]);
    assert_eq!(tree.state(), VdevState::Unavailable);
    assert!(read(&tree, *dva, content, Effort::AnyCopy).is_ok());
}

#[test]
fn blocks_start_at_whole_stripes() {
    let bench = Bench::new(numbers((1, 2, 5, 1)), &[]);
    let tree = bench.tree(&[]);
    for at in [512, 4096, 8192] {
        let dva = Dva::new(0, at, 3 * 4096, false);
        let error = read(&tree, dva, &[0; 4096], Effort::AnyCopy).unwrap_err().to_string();
        assert!(error.contains("is not a multiple of 12288"), "{error}");
        assert!(tree.write(dva, Txg(1), &[0; 4096]).is_err());
    }
}
