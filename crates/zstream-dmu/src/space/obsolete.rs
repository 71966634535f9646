//! Freeing of blocks on removed vdevs (`metaslab_free_impl`, `vdev_indirect_mark_obsolete`).
//!
//! ```text
//! range of a removed vdev is freed --> map of obsolete ranges of that vdev, with the feature `obsolete_counts`
//!        |  mapping
//!        v
//! ranges of the vdevs to which its blocks were moved, which may have been removed, too --> ... --> metaslabs
//! ```
//!
//! OpenZFS condenses the mapping when enough of it is obsolete. Without the feature, nothing is noted, and the mapping
//! stays as it is.

use std::collections::BTreeMap;

use super::allocator::Freed;
use super::space_map::SpaceChange;
use super::vdev_map::Addition;
use super::{Allocator, SpaceMaps};
use crate::blkptr::Dva;
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::Features;
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;
use crate::vdev::config::VdevType;
use crate::vdev::indirect::{MOVES_MAX, OBSOLETE_MAP};
use crate::vdev::{Vdev, VdevTree};
use crate::zap::Zap;
use crate::zio::Space as _;

/// The obsolete ranges of the removed vdevs of a pool.
#[derive(Debug, Default)]
pub(super) struct Obsolete(BTreeMap<u32, VdevObsolete>);

/// The obsolete ranges of a removed vdev.
#[derive(Debug, Default)]
struct VdevObsolete {
    /// The ZAP of the vdev.
    zap: ObjectId,
    /// The map, if there is one.
    map: Option<ObjectId>,
    /// The ranges that are not in the map yet.
    new: RangeSet,
}

impl Obsolete {
    /// Finds the maps of the removed vdevs. There is nothing to note without the feature `obsolete_counts`.
    pub(super) fn open(mos: &dyn ObjectSet, vdevs: &VdevTree) -> Result<Self> {
        let mut found = BTreeMap::new();
        let removed = |top: &&Vdev| top.config().kind == VdevType::Indirect;
        if !vdevs.tops().iter().any(|top| removed(&top))
            || !Features::read(mos)?.is_enabled("obsolete_counts")
        {
            return Ok(Self(found));
        }
        for (vdev, top) in (0..).zip(vdevs.tops()).filter(|(_, top)| removed(top)) {
            let Some(zap) = top.config().zap.filter(|zap| *zap != 0).map(ObjectId) else { continue };
            let map = Zap::open(mos, zap)?.lookup_u64(OBSOLETE_MAP)?.filter(|map| *map != 0).map(ObjectId);
            found.insert(vdev, VdevObsolete { zap, map, new: RangeSet::default() });
        }
        Ok(Self(found))
    }

    /// Notes a range to which nothing refers any more.
    fn note(&mut self, vdev: u32, start: u64, end: u64) -> Result<()> {
        self.0.get_mut(&vdev).map_or(Ok(()), |obsolete| obsolete.new.add(start, end))
    }
}

impl Allocator {
    /// Frees a range of a vdev that may have been removed: where it is now. `depth` is the number of moves so far.
    pub(super) fn free_moved(
        &self,
        vdev: u32,
        (start, end): (u64, u64),
        freed: Freed,
        depth: usize,
    ) -> Result<()> {
        let Some(places) = self.vdevs().moved(vdev, start, end - start)? else {
            return self.free_range(vdev, (start, end), freed);
        };
        if depth >= MOVES_MAX {
            return Err(Error::corrupt("mapping", format!("a block was moved more than {MOVES_MAX} times")));
        }
        {
            let mut state = self.intact_state()?;
            state.obsolete.note(vdev, start, end)?;
            state.is_changed = true;
        }
        places.into_iter().try_for_each(|(vdev, offset, len)| {
            self.free_moved(vdev, (offset, offset + len), freed, depth + 1)
        })
    }

    /// Notes that nothing refers to a range of a removed vdev any more. Its content stays allocated.
    pub(super) fn note_obsolete(&self, place: Dva) -> Result<()> {
        let (start, vdev) = (place.offset(), place.vdev());
        if self.vdevs().moved(vdev, start, place.asize())?.is_none() {
            let detail = format!("vdev {vdev} was not removed");
            return Err(Error::corrupt("remapped block", detail).at_address(place));
        }
        let mut state = self.intact_state()?;
        state.obsolete.note(vdev, start, start.saturating_add(place.asize()))?;
        state.is_changed = true;
        Ok(())
    }

    /// Writes the new obsolete ranges to the maps of the removed vdevs.
    pub(super) fn write_obsolete(
        &self,
        mos: &mut dyn ObjectStore,
        pass: u16,
        done: &mut SpaceMaps,
    ) -> Result<()> {
        let mut additions = Vec::new();
        for (vdev, obsolete) in &mut self.intact_state()?.obsolete.0 {
            let new = std::mem::take(&mut obsolete.new);
            if !new.is_empty() {
                additions.push(Addition {
                    vdev: *vdev,
                    zap: obsolete.zap,
                    name: OBSOLETE_MAP,
                    map: obsolete.map,
                    shift: 0,
                    change: SpaceChange::Alloc,
                    parts: vec![new],
                });
            }
        }
        // The store may free blocks during the write, so the lock must not be held.
        for addition in additions {
            let object = addition.write(mos, self.form(), self.txg(), pass)?;
            done.changed = true;
            if addition.map.is_none() {
                done.created += 1;
                done.created_obsolete += 1;
            }
            if let Some(obsolete) = self.intact_state()?.obsolete.0.get_mut(&addition.vdev) {
                obsolete.map = Some(object);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::Txg;
    use std::collections::HashMap;
    use std::sync::Arc;

    use zstream_format::object_type::ObjectType;
    use zstream_format::order::ByteOrder;

    use super::super::space_map::{SpaceMap, SpaceMapEntry};
    use super::super::tests::{FORM, block, commit, vdevs};
    use super::*;
    use crate::ids::Guid;
    use crate::vdev::config::VdevConfig;
    use crate::vdev::indirect::{Mapping, MappingEntry};
    use crate::vdev::tests::leaf;
    use crate::zap::{NewZap, write as zap};
    use crate::zio::{AllocationClass, BlockReader};

    fn mapping(entries: &[(u64, Dva)]) -> Mapping {
        let mut mapping = Mapping::default();
        for (source, destination) in entries {
            let entry = MappingEntry { source: source >> 9, destination: *destination };
            mapping.extend(&entry.to_bytes(ByteOrder::Little)).unwrap();
        }
        mapping
    }

    /// A range that was moved twice, and in two pieces, is freed where it is now, and is obsolete where it was.
    #[test]
    fn a_range_is_freed_where_it_is_now() {
        let (_, spaces, mut store) = vdevs(1, 2);
        let removed = |id| VdevConfig {
            kind: VdevType::Indirect,
            ashift: Some(9),
            asize: Some(1 << 25),
            ..leaf(id, id + 1)
        };
        let there = VdevConfig { kind: VdevType::File, ..removed(0) };
        let tree = VdevTree::build(Guid(1), &[there, removed(1), removed(2)], &HashMap::new(), 0).unwrap();
        let tree = Arc::new(tree);
        let reader = Arc::new(BlockReader::new(Arc::clone(&tree), 0, None));
        let space = Allocator::create(reader, &spaces, FORM, Txg(4)).unwrap();
        let piece = || space.allocate(0x8000, 1, AllocationClass::Normal).unwrap()[0];
        let (first, _, second) = (piece(), piece(), piece());
        tree.set_mapping(1, mapping(&[(0x10000, Dva::new(2, 0x4000, 0x10000, false))])).unwrap();
        tree.set_mapping(2, mapping(&[(0x4000, first), (0xc000, second)])).unwrap();
        for vdev in [1, 2] {
            let zap = zap::create(
                &mut store,
                ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4),
                &NewZap::new(7),
            )
            .unwrap();
            space.state().obsolete.0.insert(vdev, VdevObsolete { zap, ..VdevObsolete::default() });
        }
        commit(&space, &mut store);

        let gone = block(&[Dva::new(1, 0x17000, 0x2000, false)], Txg(3));
        space.free(&gone).unwrap();
        assert!(space.free(&gone).is_err(), "freed twice");
        assert!(space.free(&block(&[Dva::new(1, 0x1f000, 0x2000, false)], Txg(3))).is_err(), "not mapped");
        assert_eq!(commit(&space, &mut store).created_obsolete, 2);
        assert_eq!(space.space_use().allocated, 3 * 0x8000 - 0x2000);
        let left = spaces[0].allocated(&store, &super::super::LogSpaceMaps::default()).unwrap();
        assert!(!left.overlaps(first.offset() + 0x7000, first.offset() + 0x8000));
        assert!(!left.overlaps(second.offset(), second.offset() + 0x1000));
        for (vdev, range) in [(1, (0x17000, 0x19000)), (2, (0xb000, 0xd000))] {
            let map = space.state().obsolete.0[&vdev].map.unwrap();
            let zap = Zap::open(&store, space.state().obsolete.0[&vdev].zap).unwrap();
            assert_eq!(zap.lookup_u64(OBSOLETE_MAP).unwrap(), Some(map.0));
            let map = SpaceMap::open(&store, map).unwrap();
            assert_eq!(map.alloc, 0x2000);
            let ranges = map.entries(&store).filter_map(|entry| match entry.unwrap() {
                SpaceMapEntry::Range { change: SpaceChange::Alloc, offset, run, .. } => {
                    Some((offset, offset + run))
                }
                _ => None,
            });
            assert_eq!(ranges.collect::<Vec<_>>(), [range]);
        }
    }
}
