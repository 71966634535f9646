//! Checks of a pool: all counts of its datasets are recomputed from their blocks.

use std::collections::{BTreeMap, BTreeSet};

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::bpobj::BpObj;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::DIRECTORY_OBJECT;
use zstream_dmu::traverse::{Options, Traverse, VisitKind};

use super::pool::TestPool;
use crate::bookmark::{Bookmark, Space};
use crate::deadlist::Deadlist;
use crate::livelist;
use crate::phys::{DatasetPhys, DirPhys};
use crate::reader::{MosReader, ZAPIFIED};

/// Blocks by address.
type Blocks = BTreeMap<u64, BlockPointer>;

fn space<'a>(blocks: impl IntoIterator<Item = &'a BlockPointer>) -> Space {
    blocks.into_iter().fold(Space::default(), |sum, block| Space {
        used_bytes: sum.used_bytes + block.asize(),
        compressed_bytes: sum.compressed_bytes + block.psize(),
        uncompressed_bytes: sum.uncompressed_bytes + block.uncompressed_bytes(),
    })
}

struct Dataset {
    phys: DatasetPhys,
    blocks: Blocks,
    deadlist: Deadlist,
}

struct Facts<'t> {
    read: MosReader<'t>,
    dirs: BTreeMap<ObjectId, DirPhys>,
    datasets: BTreeMap<ObjectId, Dataset>,
    /// Objects of the MOS that are referenced, with the number of references.
    reached: BTreeMap<ObjectId, usize>,
    features: BTreeMap<&'static str, u64>,
    bookmarks: BTreeMap<ObjectId, Vec<Bookmark>>,
    /// The livelists of clones, by directory.
    livelists: BTreeMap<ObjectId, Deadlist>,
}

/// Checks the pool, which must be synced.
pub(super) fn check(pool: &mut TestPool) {
    let (space, reader) = (pool.space.clone(), pool.reader.clone());
    let mos_root = *pool.mos.root();
    let in_use = pool
        .tx(|tx| {
            let mut facts = Facts {
                read: tx.read(),
                dirs: BTreeMap::new(),
                datasets: BTreeMap::new(),
                reached: BTreeMap::new(),
                features: BTreeMap::new(),
                bookmarks: BTreeMap::new(),
                livelists: BTreeMap::new(),
            };
            let root = tx.read().root_dir()?;
            facts.walk(root, None);
            facts.check_objects();
            for object in facts.datasets.keys() {
                facts.check_dataset(*object);
            }
            facts.check_dir(root);
            facts.check_features();
            Ok(facts
                .datasets
                .values()
                .flat_map(|dataset| dataset.blocks.values())
                .flat_map(BlockPointer::dvas)
                .map(|dva| (dva.offset(), dva.asize()))
                .collect::<BTreeMap<_, _>>())
        })
        .unwrap();
    let mut expected = BTreeMap::new();
    for visit in Traverse::new(reader, 0, mos_root, Options::default()) {
        let visit = visit.unwrap();
        if visit.kind != VisitKind::Dnode {
            expected.extend(visit.pointer.dvas().map(|dva| (dva.offset(), dva.asize())));
        }
    }
    expected.extend(in_use);
    assert_eq!(space.in_use(), expected, "allocated blocks and referenced blocks");
}

impl Facts<'_> {
    fn reach(&mut self, object: impl IntoIterator<Item = ObjectId>) {
        for object in object {
            *self.reached.entry(object).or_default() += 1;
        }
    }

    fn walk(&mut self, object: ObjectId, parent: Option<ObjectId>) {
        let dir = self.read.dir(object).unwrap();
        assert_eq!(dir.parent, parent);
        self.reach([object]);
        self.reach([dir.children, dir.props, dir.clones].into_iter().flatten());
        if let Some(list) = self.read.entry_object(object, "com.delphix:livelist").unwrap() {
            let list = Deadlist::open(self.read.mos, list).unwrap();
            *self.features.entry("livelist").or_default() += 1;
            self.reach_deadlist(&list);
            self.livelists.insert(object, list);
        }
        for (_, child) in self.read.entries(dir.children).unwrap() {
            self.walk(ObjectId(child.u64().unwrap()), Some(object));
        }
        if let Some(head) = dir.head {
            self.walk_datasets(object, head);
        }
        self.dirs.insert(object, dir);
    }

    fn walk_datasets(&mut self, dir: ObjectId, head: ObjectId) {
        let names = self.read.dataset(head).unwrap().snapshot_names;
        self.reach(names);
        let mut objects: Vec<ObjectId> = self
            .read
            .entries(names)
            .unwrap()
            .iter()
            .map(|(_, object)| ObjectId(object.u64().unwrap()))
            .collect();
        objects.push(head);
        for object in objects {
            let phys = self.read.dataset(object).unwrap();
            assert_eq!(phys.dir, dir);
            let deadlist = Deadlist::open(self.read.mos, phys.deadlist.unwrap()).unwrap();
            self.reach([object]);
            self.reach_deadlist(&deadlist);
            self.reach([phys.next_clones, phys.props, phys.holds].into_iter().flatten());
            if self.read.own_zap(object).unwrap().is_some() {
                for (feature, _) in self.read.dataset_features(object).unwrap() {
                    *self.features.entry(feature.name).or_default() += 1;
                }
            }
            let blocks = self.blocks_of(object, &phys);
            self.datasets.insert(object, Dataset { phys, blocks, deadlist });
        }
        if let Some(zap) = self.read.bookmarks_zap(head).unwrap() {
            self.reach([zap]);
            let marks = self.read.bookmarks(head, "").unwrap();
            *self.features.entry("bookmarks").or_default() += 1;
            *self.features.entry("bookmark_v2").or_default() += marks.len() as u64;
            *self.features.entry("bookmark_written").or_default() += marks.len() as u64;
            self.reach(marks.iter().filter_map(|mark| mark.redaction_object));
            self.bookmarks.insert(head, marks);
        }
    }

    fn reach_deadlist(&mut self, list: &Deadlist) {
        self.reach([list.object]);
        let shared = self.read.directory("empty_bpobj").unwrap();
        for entry in &list.entries {
            if Some(entry.blocks) == shared {
                *self.features.entry("empty_bpobj").or_default() += 1;
            } else {
                self.reach_list(entry.blocks);
            }
        }
    }

    fn reach_list(&mut self, list: ObjectId) {
        let header = BpObj::open(self.read.mos, list).unwrap();
        self.reach([list]);
        self.reach(header.below.map(|(object, _)| object));
        for below in header.below(self.read.mos).unwrap() {
            self.reach_list(below);
        }
    }

    fn blocks_of(&self, object: ObjectId, phys: &DatasetPhys) -> Blocks {
        let mut blocks = Blocks::new();
        if phys.root.is_hole() {
            return blocks;
        }
        for visit in Traverse::new(self.read.blocks.clone(), object.0, phys.root, Options::default()) {
            let visit = visit.unwrap();
            if visit.kind != VisitKind::Dnode && !visit.pointer.is_hole() {
                assert!(blocks.insert(visit.pointer.dva(0).offset(), visit.pointer).is_none());
            }
        }
        blocks
    }

    /// Checks that every object has exactly one reference.
    fn check_objects(&mut self) {
        self.reach([DIRECTORY_OBJECT]);
        for name in ["features_for_read", "features_for_write", "free_bpobj", "empty_bpobj"] {
            let object = self.read.directory(name).unwrap();
            self.reach(object);
        }
        assert_eq!(self.reached.values().max(), Some(&1));
        let mut found = BTreeSet::new();
        let mut from = ObjectId(1);
        while let Some(object) = self.read.mos.next_object(from).unwrap() {
            found.insert(object);
            if self.read.mos.info(object).unwrap().object_type == ZAPIFIED
                && (self.dirs.contains_key(&object) || self.datasets.contains_key(&object))
            {
                *self.features.entry("extensible_dataset").or_default() += 1;
            }
            from = ObjectId(object.0 + 1);
        }
        assert_eq!(found, self.reached.keys().copied().collect());
    }

    fn check_features(&self) {
        for name in [
            "extensible_dataset",
            "empty_bpobj",
            "bookmarks",
            "bookmark_v2",
            "bookmark_written",
            "large_blocks",
            "zstd_compress",
            "livelist",
        ] {
            let count = self.features.get(name).copied().unwrap_or_default();
            assert_eq!(self.read.feature_count(name).unwrap(), Some(count), "{name}");
        }
    }

    fn check_dataset(&self, object: ObjectId) {
        let Dataset { phys, blocks, deadlist } = &self.datasets[&object];
        let name = self.read.full_name(object).unwrap();
        let referenced = space(blocks.values());
        assert_eq!(
            (phys.referenced_bytes, phys.compressed_bytes, phys.uncompressed_bytes),
            (referenced.used_bytes, referenced.compressed_bytes, referenced.uncompressed_bytes),
            "referenced by {name}"
        );
        let young = |block: &&BlockPointer| block.birth() > phys.prev_snapshot_txg;
        let none = Blocks::new();
        let next = phys.next.map_or(&none, |next| &self.datasets[&next].blocks);
        let own = blocks.iter().filter(|(at, block)| young(block) && !next.contains_key(at));
        assert_eq!(phys.unique_bytes, space(own.map(|(_, block)| block)).used_bytes, "unique in {name}");

        let previous = phys.prev_snapshot.map(|previous| &self.datasets[&previous]);
        assert_eq!(phys.prev_snapshot_txg, previous.map_or(Txg(0), |previous| previous.phys.creation_txg));
        let dead: Blocks = previous
            .map_or(&none, |previous| &previous.blocks)
            .iter()
            .filter(|(at, _)| !blocks.contains_key(at))
            .map(|(at, block)| (*at, *block))
            .collect();
        assert_eq!(deadlist.space, space(dead.values()), "the deadlist of {name}");
        self.check_deadlist(&name, object, &dead);

        let clones = self.read.numbers(phys.next_clones).unwrap();
        let after: Vec<ObjectId> = self
            .datasets
            .iter()
            .filter(|(_, other)| other.phys.prev_snapshot == Some(object))
            .map(|(object, _)| *object)
            .collect();
        if phys.is_snapshot() {
            assert_eq!(phys.children as usize, after.len(), "children of {name}");
            let others: Vec<_> = after.into_iter().filter(|other| Some(*other) != phys.next).collect();
            assert_eq!(clones, others, "next clones of {name}");
        } else {
            assert!(after.is_empty() && clones.is_empty());
        }
    }

    fn check_deadlist(&self, name: &str, object: ObjectId, dead: &Blocks) {
        let Dataset { phys, deadlist, .. } = &self.datasets[&object];
        let mut keys = BTreeSet::new();
        let mut at = phys.prev_snapshot;
        while let Some(previous) = at {
            let previous = &self.datasets[&previous].phys;
            keys.insert(previous.prev_snapshot_txg);
            at = previous.prev_snapshot;
        }
        let found: BTreeSet<Txg> = deadlist.entries.iter().map(|entry| entry.min_txg).collect();
        // Bookmarks that count freed space have keys of their own.
        let marks: BTreeSet<Txg> = self.bookmarks.values().flatten().map(|mark| mark.creation_txg).collect();
        assert!(keys.is_subset(&found), "{name} has missing keys: {keys:?}, found {found:?}");
        let more: Vec<&Txg> = found.difference(&keys).filter(|key| !marks.contains(key)).collect();
        // Snapshots keep the keys of those that were destroyed before them.
        assert!(phys.is_snapshot() || more.is_empty(), "{name} has extra keys {more:?}");
        let mut listed = Blocks::new();
        for (n, entry) in deadlist.entries.iter().enumerate() {
            let end = deadlist.entries.get(n + 1).map_or(Txg(u64::MAX), |next| next.min_txg);
            let list = BpObj::open(self.read.mos, entry.blocks).unwrap();
            for block in list.entries(self.read.mos) {
                let block = block.unwrap().pointer;
                let birth = block.birth();
                assert!(birth > entry.min_txg && birth <= end, "{name}: born in {birth}, under {entry:?}");
                assert!(listed.insert(block.dva(0).offset(), block).is_none());
            }
        }
        assert!(listed.keys().eq(dead.keys()), "blocks of the deadlist of {name}");
    }

    /// Checks that a livelist has the blocks of a head that are younger than its origin, and each with its birth.
    fn check_livelist<'b>(
        &self,
        name: &str,
        list: &Deadlist,
        blocks: impl Iterator<Item = &'b BlockPointer> + Clone,
    ) {
        assert_eq!(list.space, space(blocks.clone()), "the livelist of {name}");
        let mut listed = BTreeMap::new();
        for (n, entry) in list.entries.iter().enumerate() {
            let end = list.entries.get(n + 1).map_or(Txg(u64::MAX), |next| next.min_txg);
            let part = BpObj::open(self.read.mos, entry.blocks).unwrap();
            for change in part.entries(self.read.mos) {
                let change = change.unwrap();
                let birth = change.pointer.birth();
                assert!(birth > entry.min_txg && birth <= end, "{name}: born in {birth}, under {entry:?}");
            }
            for item in livelist::allocated(self.read.mos, &part).unwrap() {
                assert!(listed.insert(item.pointer.dva(0).offset(), item.pointer.birth()).is_none());
            }
        }
        let expected = blocks.map(|block| (block.dva(0).offset(), block.birth())).collect();
        assert_eq!(listed, expected, "blocks of the livelist of {name}");
    }

    /// Checks a directory and those below it, and returns the space that it counts for.
    fn check_dir(&self, object: ObjectId) -> (u64, u64, u64) {
        let dir = &self.dirs[&object];
        let name = self.read.dir_name(object).unwrap();
        let (mut used, mut reserved) = ((0, 0, 0), 0);
        for (_, child) in self.read.entries(dir.children).unwrap() {
            let child = ObjectId(child.u64().unwrap());
            let below = self.check_dir(child);
            used = (used.0 + below.0, used.1 + below.1, used.2 + below.2);
            reserved += self.dirs[&child].reserved_bytes.saturating_sub(below.0);
        }
        assert_eq!(dir.breakdown.children, used.0, "children of {name}");
        assert_eq!(dir.breakdown.child_reservations, reserved, "reserved by children of {name}");
        let origin = dir.origin.map_or(Txg(0), |origin| self.datasets[&origin].phys.creation_txg);
        let mut own = Blocks::new();
        for dataset in self.datasets.values().filter(|dataset| dataset.phys.dir == object) {
            own.extend(dataset.blocks.iter().filter(|(_, block)| block.birth() > origin));
        }
        let mut refreservation = 0;
        if let Some(head) = dir.head {
            let Dataset { phys, blocks, .. } = &self.datasets[&head];
            let of_head = blocks.values().filter(|block| block.birth() > origin);
            if let Some(list) = self.livelists.get(&object) {
                self.check_livelist(&name, list, of_head.clone());
            }
            assert_eq!(dir.breakdown.head, space(of_head).used_bytes, "the head of {name}");
            refreservation = self.read.refreservation(head).unwrap().saturating_sub(phys.unique_bytes);
            let clones: BTreeSet<ObjectId> = self.read.numbers(dir.clones).unwrap().into_iter().collect();
            let of = |origin: ObjectId| self.datasets[&origin].phys.dir == object;
            let expected = self.dirs.values().filter(|other| other.origin.is_some_and(of));
            assert_eq!(clones, expected.filter_map(|other| other.head).collect(), "clones of {name}");
        }
        assert_eq!(dir.breakdown.refreservation, refreservation, "refreservation of {name}");
        let own = space(own.values());
        assert_eq!(dir.breakdown.snapshots, own.used_bytes - dir.breakdown.head, "snapshots of {name}");
        let total = (
            own.used_bytes + used.0 + reserved + refreservation,
            own.compressed_bytes + used.1,
            own.uncompressed_bytes + used.2,
        );
        assert_eq!(
            (dir.used_bytes, dir.compressed_bytes, dir.uncompressed_bytes),
            total,
            "{name} as a whole"
        );
        total
    }
}
