//! The space that is kept for the checkpoint of a pool (`spa_checkpoint.c`, `ms_checkpointing`).
//!
//! ```text
//! block is freed -- born after the checkpoint ----------> metaslabs
//!                \- born before, or in its group -------> map of the checkpoint, one for each vdev: stays allocated
//!
//! checkpoint is discarded: all ranges of the maps ------> metaslabs
//! ```

use std::collections::BTreeMap;

use super::space_map::{SpaceChange, SpaceMap};
use super::vdev_map::Addition;
use super::vdev_space::{CHECKPOINT_MAP, VdevSpace};
use super::{Allocator, SpaceMaps};
use crate::error::{Error, Result};
use crate::ids::{ObjectId, Txg};
use crate::mos::DIRECTORY_OBJECT;
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;
use crate::vdev::VdevTree;
use crate::vdev::uberblock::UberblockPhys;
use crate::zap::{Zap, ZapMut};
use crate::zio::Space as _;

/// The entry of the MOS's directory with the uberblock of the checkpoint.
pub(crate) const CHECKPOINT: &str = "com.delphix:zpool_checkpoint";

/// The space of a pool that is kept for its checkpoint.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The transaction group of the checkpoint; 0 if there is none.
    txg: Txg,
    vdevs: BTreeMap<u32, VdevKept>,
}

/// The space of a vdev that is kept.
#[derive(Debug, Default)]
struct VdevKept {
    metaslab_shift: u8,
    ashift: u8,
    /// The ZAP of the vdev.
    zap: ObjectId,
    /// The map, if there is one.
    map: Option<ObjectId>,
    /// The ranges in the map.
    mapped: RangeSet,
    /// The ranges that are not in the map yet.
    new: RangeSet,
}

impl VdevKept {
    /// Returns the new ranges, split at the boundaries of metaslabs: an entry of the map must not cross one.
    fn split(&self, ranges: &RangeSet) -> Result<Vec<RangeSet>> {
        let mut parts: BTreeMap<u64, RangeSet> = BTreeMap::new();
        for (mut start, end) in ranges.iter() {
            while start < end {
                let metaslab = start >> self.metaslab_shift;
                let stop = end.min((metaslab + 1) << self.metaslab_shift);
                parts.entry(metaslab).or_default().add(start, stop)?;
                start = stop;
            }
        }
        Ok(parts.into_values().collect())
    }
}

impl Kept {
    /// Returns the space that is kept in a pool without a checkpoint: nothing.
    pub(super) fn new(spaces: &[VdevSpace], vdevs: &VdevTree) -> Result<Self> {
        let mut kept = Self::default();
        for space in spaces {
            let top = vdevs.tops().get(space.vdev as usize).ok_or_else(|| Error::no_vdev(space.vdev))?;
            let of_vdev = VdevKept {
                metaslab_shift: space.metaslab_shift,
                ashift: space.ashift,
                zap: ObjectId(top.config().zap.unwrap_or_default()),
                map: space.checkpoint_map,
                ..VdevKept::default()
            };
            kept.vdevs.insert(space.vdev, of_vdev);
        }
        Ok(kept)
    }

    /// Reads the maps of the checkpoint of a pool, or of one that is being discarded.
    pub(super) fn read(&mut self, mos: &dyn ObjectSet, spaces: &[VdevSpace]) -> Result<()> {
        let entry = Zap::open(mos, DIRECTORY_OBJECT)?.lookup(CHECKPOINT)?;
        let word = UberblockPhys::offset_of("txg") / 8;
        let txg = match &entry {
            Some(entry) => entry.u64s().get(word).copied().filter(|txg| *txg != 0).ok_or_else(|| {
                Error::corrupt("checkpoint", format!("{} words do not contain an uberblock", entry.len()))
            })?,
            None => 0,
        };
        self.txg = Txg(txg);
        for space in spaces {
            if let Some(kept) = self.vdevs.get_mut(&space.vdev) {
                let of_vdev = space.checkpointed(mos);
                kept.mapped = of_vdev.map_err(|error| error.on_vdev(format_args!("vdev {}", space.vdev)))?;
            }
        }
        Ok(())
    }

    /// Returns whether a block of this birth must stay allocated when it is freed.
    pub(super) fn needs(&self, birth: Txg) -> bool {
        birth <= self.txg
    }

    /// Keeps a range that was freed.
    ///
    /// # Errors
    /// Fails if part of it is already kept.
    pub(super) fn add(&mut self, vdev: u32, start: u64, end: u64) -> Result<()> {
        self.check(vdev, start, end)?;
        self.vdevs.get_mut(&vdev).ok_or_else(|| Error::no_vdev(vdev))?.new.add(start, end)
    }

    /// Checks that a range is not kept yet.
    pub(super) fn check(&self, vdev: u32, start: u64, end: u64) -> Result<()> {
        let is_kept = self
            .vdevs
            .get(&vdev)
            .is_some_and(|kept| kept.mapped.overlaps(start, end) || kept.new.overlaps(start, end));
        if is_kept {
            let detail = format!("{start:#x}..{end:#x} is freed, but only the checkpoint references it");
            return Err(Error::corrupt("space", detail));
        }
        Ok(())
    }

    /// Returns the size of all ranges.
    fn bytes(&self) -> u64 {
        self.vdevs.values().map(|kept| kept.mapped.bytes() + kept.new.bytes()).sum()
    }
}

impl Allocator {
    /// Keeps blocks that were born up to `txg`, the last transaction group, when they are freed.
    ///
    /// # Errors
    /// Fails if the pool has a checkpoint, and if there were frees in this transaction group.
    pub(crate) fn keep_since(&self, txg: Txg) -> Result<()> {
        let mut state = self.intact_state()?;
        if state.is_changed || state.kept.txg != Txg(0) {
            return Err(Error::internal("a checkpoint is taken after changes or over another one"));
        }
        state.kept.txg = txg;
        Ok(())
    }

    /// Returns the number of bytes that are kept for the checkpoint, including parity.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.state().kept.bytes()
    }

    /// Writes the new ranges to the maps of the checkpoint.
    pub(super) fn write_kept(
        &self,
        mos: &mut dyn ObjectStore,
        pass: u16,
        done: &mut SpaceMaps,
    ) -> Result<()> {
        let mut additions = Vec::new();
        for (vdev, kept) in &mut self.intact_state()?.kept.vdevs {
            let new = std::mem::take(&mut kept.new);
            if new.is_empty() {
                continue;
            }
            for (start, end) in new.iter() {
                kept.mapped.add(start, end)?;
            }
            additions.push(Addition {
                vdev: *vdev,
                zap: kept.zap,
                name: CHECKPOINT_MAP,
                map: kept.map,
                shift: kept.ashift,
                change: SpaceChange::Free,
                parts: kept.split(&new)?,
            });
        }
        // The store may free blocks during the write, so the lock must not be held.
        for addition in additions {
            let object = addition.write(mos, self.form(), self.txg(), pass)?;
            done.changed = true;
            done.created += u64::from(addition.map.is_none());
            if let Some(kept) = self.intact_state()?.kept.vdevs.get_mut(&addition.vdev) {
                kept.map = Some(object);
            }
        }
        Ok(())
    }

    /// Frees everything that is kept, and the maps. Returns the number of freed maps with a histogram.
    ///
    /// # Errors
    /// Fails if a range is not allocated, and if the store cannot be changed.
    pub(crate) fn discard_kept(&self, mos: &mut dyn ObjectStore) -> Result<u64> {
        let mut gone = Vec::new();
        {
            let state = &mut *self.intact_state()?;
            state.kept.txg = Txg(0);
            for (vdev, kept) in &mut state.kept.vdevs {
                for ranges in [&kept.mapped, &kept.new] {
                    for (start, end) in kept.split(ranges)?.iter().flat_map(RangeSet::iter) {
                        let top = state.tops.get_mut(*vdev as usize).and_then(Option::as_mut);
                        let top = top.ok_or_else(|| Error::no_vdev(*vdev))?;
                        top.free(state.mos.as_deref(), start, end, false)?;
                        state.used -= top.charged(end - start);
                        if top.class.is_some() {
                            state.allocated -= end - start;
                        }
                    }
                }
                state.is_changed = true;
                (kept.mapped, kept.new) = Default::default();
                gone.extend(kept.map.take().map(|map| (kept.zap, map)));
            }
        }
        let mut histograms = 0;
        for (zap, map) in gone {
            histograms += u64::from(SpaceMap::open(&*mos, map)?.histogram.is_some());
            ZapMut::open(mos, zap)?.remove(CHECKPOINT_MAP)?;
            mos.free(map)?;
        }
        Ok(histograms)
    }
}
