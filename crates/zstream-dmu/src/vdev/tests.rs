//! Vdev trees over memory: every kind of vdev, with missing, failing and corrupt members.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::{VdevConfig, VdevType};
use super::indirect::{ENTRY_BYTES, Mapping};
use super::raidz::{Expansion, Geometry};
use super::*;
use crate::blkptr::Dva;
use crate::device::{FailingCalls, FaultyDevice, MemoryDevice};
use crate::ids::Txg;
use crate::range_set::RangeSet;

const DEVICE_BYTES: usize = 6 << 20;

pub(crate) fn leaf(id: u64, guid: u64) -> VdevConfig {
    VdevConfig {
        path: Some(format!("/dev/{guid}")),
        ashift: Some(9),
        asize: Some(1 << 20),
        ..VdevConfig::bare(VdevType::File, id, Guid(guid))
    }
}

pub(crate) fn parent(kind: VdevType, id: u64, guid: u64, children: Vec<VdevConfig>) -> VdevConfig {
    VdevConfig { kind, path: None, children, ..leaf(id, guid) }
}

fn raidz(parity: usize, children: Vec<VdevConfig>) -> VdevConfig {
    let geometry = Geometry { children: children.len(), parity, ashift: 9, expansion: Expansion::default() };
    parent(VdevType::Raidz(geometry), 0, 100, children)
}

/// Devices by guid.
#[derive(Default)]
struct Shelf(HashMap<Guid, Arc<MemoryDevice>>);

impl Shelf {
    fn with(guids: impl IntoIterator<Item = u64>) -> Self {
        Self(guids.into_iter().map(|guid| (Guid(guid), Arc::new(MemoryDevice::new(DEVICE_BYTES)))).collect())
    }

    fn write(&self, guid: u64, offset: u64, bytes: &[u8]) {
        self.0[&Guid(guid)].write_at(LEAF_DATA_START + offset, bytes).unwrap();
    }

    fn members(&self) -> HashMap<Guid, Member> {
        let member = |(guid, device): (&Guid, &Arc<MemoryDevice>)| {
            (*guid, Member { name: format!("disk{}", guid.0), device: Arc::clone(device) as Arc<dyn Device> })
        };
        self.0.iter().map(member).collect()
    }

    fn tree(&self, tops: &[VdevConfig]) -> VdevTree {
        VdevTree::build(Guid(1), tops, &self.members(), 0).unwrap()
    }
}

/// Reads a range that must be `expected`, and returns the members that were found corrupt.
fn read(tree: &VdevTree, dva: Dva, expected: &[u8], effort: Effort) -> Result<Vec<(String, DamageCause)>> {
    read_born(tree, dva, 1, expected, effort)
}

/// The same of a block that was born in a certain transaction group.
fn read_born(
    tree: &VdevTree,
    dva: Dva,
    birth: u64,
    expected: &[u8],
    effort: Effort,
) -> Result<Vec<(String, DamageCause)>> {
    let verify = |found: &[u8]| match found == expected {
        true => Ok(()),
        false => Err(Error::corrupt("test", "differs")),
    };
    let mut reading = Reading::new(&verify, effort);
    let mut out = vec![0; expected.len()];
    tree.read(dva, Txg(birth), &mut out, &mut reading)?;
    assert_eq!(out, expected);
    let mut damage: Vec<_> = reading.damage.into_iter().map(|damage| (damage.vdev, damage.cause)).collect();
    damage.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(damage)
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn a_mirror_answers_from_any_child_and_names_the_others() {
    let shelf = Shelf::with([1, 2, 3]);
    let data = content(1024);
    shelf.write(1, 512, &data);
    shelf.write(3, 512, &data);
    let mirror = parent(VdevType::Mirror, 0, 10, vec![leaf(0, 1), leaf(1, 2), leaf(2, 3)]);
    let tree = shelf.tree(std::slice::from_ref(&mirror));
    let dva = Dva::new(0, 512, 1024, false);
    assert_eq!(
        read(&tree, dva, &data, Effort::EveryCopy).unwrap(),
        [("disk2".to_owned(), DamageCause::Wrong)]
    );
    let error = read(&tree, dva, &content(512), Effort::AnyCopy).map(|_| ());
    assert!(error.is_ok(), "a shorter read of the same place");
    shelf.write(1, 512, b"x");
    shelf.write(3, 512, b"x");
    let error = read(&tree, dva, &data, Effort::AnyCopy).unwrap_err();
    assert!(matches!(error.fault(), Fault::NoGoodCopy(list) if list.len() == 3), "{error}");
    assert_eq!(error.place().address.as_deref(), Some("0:200:400"));
}

#[test]
fn a_child_that_fails_to_read_is_told_from_one_that_is_missing() {
    let shelf = Shelf::with([1, 2]);
    let data = content(512);
    shelf.write(2, 0, &data);
    let mut members = shelf.members();
    let dying = FaultyDevice::new(Arc::clone(&members[&Guid(1)].device), FailingCalls::From(0));
    members.get_mut(&Guid(1)).unwrap().device = Arc::new(dying);
    let tops = [parent(VdevType::Mirror, 0, 10, vec![leaf(0, 1), leaf(1, 2), leaf(2, 3)])];
    let tree = VdevTree::build(Guid(1), &tops, &members, 0).unwrap();
    assert_eq!(
        (tree.state(), tree.tops()[0].children()[2].state()),
        (VdevState::Degraded, VdevState::Unavailable)
    );
    let damage = read(&tree, Dva::new(0, 0, 512, false), &data, Effort::EveryCopy).unwrap();
    assert_eq!(damage, [("disk1".to_owned(), DamageCause::Unreadable)]);
}

/// Writes a block to the members of a raidz vdev, parity included, by reading it back from a stripe of its own.
fn write_raidz(shelf: &Shelf, geometry: &Geometry, guids: &[u64], offset: u64, data: &[u8]) {
    let map = geometry.map(offset, data.len(), 1);
    let mut padded = data.to_vec();
    padded.resize(map.padded_len, 0);
    let put = |child: usize, at, pieces: &[&[u8]]| {
        shelf.write(guids[child], at, &pieces.concat());
        Ok(())
    };
    raidz::store(&map, &padded, put).unwrap();
}

#[test]
fn a_raidz_member_being_replaced_answers_from_either_half() {
    let shelf = Shelf::with([1, 2, 3, 4]);
    let replacing = parent(VdevType::Replacing, 1, 20, vec![leaf(0, 2), leaf(1, 4)]);
    let tops = [raidz(1, vec![leaf(0, 1), replacing, leaf(2, 3)])];
    let VdevType::Raidz(geometry) = &tops[0].kind else { unreachable!() };
    let data = content(6 * 512);
    write_raidz(&shelf, geometry, &[1, 2, 3], 0, &data);
    let tree = shelf.tree(&tops);
    let dva = Dva::new(0, 0, 9 * 512, false);
    assert_eq!(read(&tree, dva, &data, Effort::AnyCopy).unwrap(), []);
    // The new half is still empty, which a read of every copy detects.
    let every = read(&tree, dva, &data, Effort::EveryCopy).unwrap();
    assert_eq!(every, [("replacing-1".to_owned(), DamageCause::Wrong)]);
    // Another member is corrupt, and so is the old half of the pair: only with the new half can the block be
    // reconstructed.
    write_raidz(&shelf, geometry, &[1, 4, 3], 0, &data);
    shelf.write(1, 0, &[0xff; 1024]);
    shelf.write(2, 0, &[0xff; 1024]);
    assert_eq!(
        read(&tree, dva, &data, Effort::AnyCopy).unwrap(),
        [("disk1".to_owned(), DamageCause::Wrong)],
        "with the new half, the old one is not asked"
    );
}

#[test]
fn parity_that_is_wrong_is_found_only_by_looking_at_every_copy() {
    let shelf = Shelf::with([1, 2, 3, 4]);
    let tops = [raidz(2, vec![leaf(0, 1), leaf(1, 2), leaf(2, 3), leaf(3, 4)])];
    let VdevType::Raidz(geometry) = &tops[0].kind else { unreachable!() };
    let data = content(1024);
    write_raidz(&shelf, geometry, &[1, 2, 3, 4], 0, &data);
    shelf.write(2, 100, b"?");
    let tree = shelf.tree(&tops);
    let dva = Dva::new(0, 0, 2048, false);
    assert_eq!(read(&tree, dva, &data, Effort::AnyCopy).unwrap(), []);
    assert_eq!(
        read(&tree, dva, &data, Effort::EveryCopy).unwrap(),
        [("disk2".to_owned(), DamageCause::Wrong)]
    );
}

fn mapping(moves: &[(u64, u32, u64, u64)]) -> Mapping {
    let mut mapping = Mapping::default();
    for &(from, vdev, to, len) in moves {
        let mut entry = [0; ENTRY_BYTES];
        let words = Dva::new(vdev, to, len, false).words();
        for (bytes, word) in entry.chunks_exact_mut(8).zip([from / 512, words[0], words[1]]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        mapping.extend(&entry).unwrap();
    }
    mapping
}

#[test]
fn blocks_of_removed_vdevs_are_found_where_they_went() {
    // Vdev 0 was removed: its first half was moved to mirror 1, its second half to vdev 2, which was removed later.
    let shelf = Shelf::with([1, 2, 3]);
    let removed = |id| parent(VdevType::Indirect, id, 50 + id, Vec::new());
    let mirror = parent(VdevType::Mirror, 1, 10, vec![leaf(0, 1), leaf(1, 2)]);
    let tree = shelf.tree(&[removed(0), mirror, removed(2), leaf(3, 3)]);
    let dva = Dva::new(0, 0x1000, 2048, false);
    let data = content(2048);
    let missing = read(&tree, dva, &data, Effort::AnyCopy).unwrap_err();
    assert!(missing.to_string().contains("mapping"), "{missing}");
    tree.set_mapping(0, mapping(&[(0, 1, 0x8000, 0x1400), (0x1400, 2, 0x2000, 0x1000)])).unwrap();
    tree.set_mapping(2, mapping(&[(0x2000, 3, 0x600, 0x1000)])).unwrap();
    assert!(tree.set_mapping(1, Mapping::default()).is_err());
    // The block starts 1 KiB before the end of the first half.
    shelf.write(1, 0x9000, &data[..1024]);
    shelf.write(2, 0x9000, &data[..1024]);
    shelf.write(3, 0x600, &data[1024..]);
    assert_eq!(read(&tree, dva, &data, Effort::EveryCopy).unwrap(), []);
    // One half of the mirror has a corrupt piece: the other half is combined with the rest.
    for guid in [1, 2] {
        shelf.write(1, 0x9000, &data[..1024]);
        shelf.write(2, 0x9000, &data[..1024]);
        shelf.write(guid, 0x9000, b"!");
        let expected = [(format!("disk{guid}"), DamageCause::Wrong)];
        assert_eq!(read(&tree, dva, &data, Effort::EveryCopy).unwrap(), expected);
    }
    shelf.write(3, 0x600, b"!!");
    assert!(read(&tree, dva, &data, Effort::AnyCopy).is_err());
}

#[test]
fn a_mapping_that_leads_in_a_circle_ends() {
    let shelf = Shelf::with([]);
    let removed = |id| parent(VdevType::Indirect, id, 50 + id, Vec::new());
    let tree = shelf.tree(&[removed(0), removed(1)]);
    tree.set_mapping(0, mapping(&[(0, 1, 0, 0x1000)])).unwrap();
    tree.set_mapping(1, mapping(&[(0, 0, 0, 0x1000)])).unwrap();
    let error = read(&tree, Dva::new(0, 0, 512, false), &[0; 512], Effort::AnyCopy).unwrap_err();
    assert!(error.to_string().contains("moved more than"), "{error}");
}

#[test]
fn addresses_off_the_vdevs_are_refused() {
    let shelf = Shelf::with([1]);
    let hole = parent(VdevType::Hole, 1, 0, Vec::new());
    let tree = shelf.tree(&[leaf(0, 1), hole]);
    let read = |dva| read(&tree, dva, &[0; 512], Effort::AnyCopy).map_err(|error| error.to_string());
    assert!(read(Dva::new(0, (1 << 20) - 512, 512, false)).is_ok());
    assert!(read(Dva::new(0, 1 << 20, 512, false)).unwrap_err().contains("ends at"));
    assert!(read(Dva::new(1, 0, 512, false)).unwrap_err().contains("holds no blocks"));
    assert!(read(Dva::new(2, 0, 512, false)).unwrap_err().contains("vdev 2 of a pool with 2 vdevs"));
    assert!(read(Dva::from_words([1, u64::MAX])).is_err());
    assert!(read(Dva::from_words([1, (1 << 55) - 1])).is_err());
}

#[test]
fn a_member_that_is_offline_is_asked_last_and_never_accused() {
    let shelf = Shelf::with([1, 2, 3]);
    let data = content(512);
    let stale = VdevConfig { is_offline: true, ..leaf(0, 1) };
    let tree = shelf.tree(&[parent(VdevType::Mirror, 0, 10, vec![stale.clone(), leaf(1, 2)])]);
    assert_eq!(
        (tree.state(), tree.tops()[0].children()[0].state()),
        (VdevState::Degraded, VdevState::Offline)
    );
    shelf.write(2, 0, &data);
    let dva = Dva::new(0, 0, 512, false);
    assert_eq!(read(&tree, dva, &data, Effort::EveryCopy).unwrap(), []);
    // Its content is better than nothing.
    shelf.write(1, 0, &data);
    shelf.write(2, 0, b"x");
    assert_eq!(read(&tree, dva, &data, Effort::AnyCopy).unwrap(), [("disk2".to_owned(), DamageCause::Wrong)]);
    let tops = [raidz(1, vec![stale, leaf(1, 2), leaf(2, 3)])];
    let VdevType::Raidz(geometry) = &tops[0].kind else { unreachable!() };
    write_raidz(&shelf, geometry, &[1, 2, 3], 0, &data);
    shelf.write(1, 0, b"x");
    let tree = shelf.tree(&tops);
    assert_eq!(read(&tree, Dva::new(0, 0, 1024, false), &data, Effort::EveryCopy).unwrap(), []);
}

/// A set of transaction groups.
fn txgs(start: u64, end: u64) -> RangeSet {
    let mut txgs = RangeSet::default();
    txgs.cover(start, end);
    txgs
}

#[test]
fn what_a_member_missed_is_not_damage() {
    let data = content(6 * 512);
    for kind in ["mirror", "raidz", "raidz with a pair"] {
        let shelf = Shelf::with([1, 2, 3, 4]);
        let with_log = VdevConfig { missed_log: Some(9), ..leaf(1, 2) };
        let (top, asize) = match kind {
            "mirror" => (parent(VdevType::Mirror, 0, 10, vec![leaf(0, 1), with_log]), data.len() as u64),
            "raidz" => (raidz(1, vec![leaf(0, 1), with_log, leaf(2, 3)]), 9 * 512),
            _ => {
                let pair = parent(VdevType::Replacing, 1, 20, vec![leaf(0, 4), with_log]);
                (raidz(1, vec![leaf(0, 1), pair, leaf(2, 3)]), 9 * 512)
            }
        };
        match &top.kind {
            VdevType::Raidz(geometry) => {
                write_raidz(&shelf, geometry, &[1, if kind == "raidz" { 2 } else { 4 }, 3], 0, &data);
                shelf.write(2, 0, &[0x5a; 4096]);
            }
            _ => shelf.write(1, 0, &data),
        }
        let dva = Dva::new(0, 0, asize, false);
        let tops = std::slice::from_ref(&top);
        let blames = |tree: &VdevTree, birth| {
            !read_born(tree, dva, birth, &data, Effort::EveryCopy).unwrap().is_empty()
        };
        let tree = shelf.tree(tops);
        assert!(!blames(&tree, 5), "{kind}: the log was not read yet");
        tree.set_missed(Guid(2), txgs(5, 8));
        assert_eq!([4, 5, 7, 8].map(|birth| blames(&tree, birth)), [true, false, false, true], "{kind}");
        assert_eq!(read_born(&tree, dva, 5, &data, Effort::AnyCopy).unwrap(), [], "{kind}");
        // A member with an older uberblock than its siblings has nothing newer. One that is only one transaction group
        // behind may be complete.
        let tree = shelf.tree(tops);
        tree.set_missed(Guid(2), txgs(5, 8));
        tree.set_newest(&HashMap::from([(Guid(1), Txg(20)), (Guid(2), Txg(10)), (Guid(3), Txg(19))]));
        assert_eq!([8, 10, 11, 20].map(|birth| blames(&tree, birth)), [true, true, false, false], "{kind}");
        let leaf = tree.leaves().into_iter().find(|leaf| leaf.guid() == Guid(2)).unwrap();
        let mut expected = txgs(5, 8);
        expected.cover(11, 21);
        assert_eq!((leaf.missed_txgs(Txg(20)), leaf.lacks_in_log(Txg(20))), (expected, true), "{kind}");
        assert!(tree.tops()[0].outage(Txg(20)).is_empty(), "{kind}");
    }
}

#[test]
fn what_no_member_has_is_known() {
    let shelf = Shelf::with([1, 2, 3]);
    let mirror = parent(VdevType::Mirror, 0, 10, vec![leaf(0, 1), leaf(1, 2)]);
    let tree = shelf.tree(std::slice::from_ref(&mirror));
    tree.set_missed(Guid(1), txgs(4, 9));
    tree.set_missed(Guid(2), txgs(8, 12));
    assert_eq!(tree.tops()[0].outage(Txg(30)), txgs(8, 9));
    // Of one that is missing or offline, nothing is there.
    let offline = VdevConfig { is_offline: true, ..leaf(1, 2) };
    for second in [offline, leaf(1, 7)] {
        let tree = shelf.tree(&[parent(VdevType::Mirror, 0, 10, vec![leaf(0, 1), second])]);
        tree.set_missed(Guid(1), txgs(4, 9));
        assert!(tree.tops()[0].is_writable());
        assert_eq!(tree.tops()[0].outage(Txg(30)), txgs(4, 9));
    }
    let tree = shelf.tree(&[raidz(1, vec![leaf(0, 1), leaf(1, 2), leaf(2, 3), leaf(3, 7)])]);
    assert!(tree.tops()[0].is_writable() && tree.tops()[0].outage(Txg(30)).is_empty());
    tree.set_missed(Guid(3), txgs(6, 7));
    assert_eq!(tree.tops()[0].outage(Txg(30)), txgs(6, 7));
    let tree = shelf.tree(&[raidz(1, vec![leaf(0, 1), leaf(1, 2), leaf(2, 8), leaf(3, 7)])]);
    assert!(!tree.tops()[0].is_writable());
    assert_eq!(tree.tops()[0].outage(Txg(30)), txgs(0, 31));
}
