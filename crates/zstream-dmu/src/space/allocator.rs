//! Allocation and freeing of space: the [`Space`] of a pool that is open for writing.
//!
//! One allocator exists as long as its pool is open. It has the transaction group that is being written, and must be
//! notified when that is on stable storage. Maps are loaded on the first allocation from their metaslab, or the first
//! free in it, from the MOS as of the last committed transaction group.
//!
//! A lock is held while a map is read. So the read must not wait for other threads of a thread pool, which may wait
//! for the lock: maps are read block by block.

mod blocks;
mod choose;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub(super) use self::blocks::Freed;
use super::capacity::{self, Capacity};
use super::kept::Kept;
use super::metaslab::Writing;
use super::obsolete::Obsolete;
use super::top::Top;
use super::vdev_space::{LOG_SPACE_MAPS, LogSpaceMaps, VdevSpace};
use super::{Reserve, SpaceMaps, SpaceUse, space_map_write};
use crate::brt::References;
use crate::ddt;
use crate::error::{Error, Result};
use crate::ids::Txg;
use crate::lock::{self, lock};
use crate::mos::{DIRECTORY_OBJECT, Features};
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::vdev::config::ASHIFT_RANGE;
use crate::vdev::{Vdev, VdevTree};
use crate::zap::Zap;
use crate::zio::BlockReader;
use crate::zio::{AllocationClass, Space};

/// The number of allocation classes.
const CLASSES: usize = 4;

/// The features that determine the encoding of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapForm {
    /// Whether entries may have two words (`spacemap_v2`).
    pub two_words: bool,
    /// Whether new maps have a histogram (`spacemap_histogram`).
    pub histogram: bool,
}

impl From<&Features> for MapForm {
    fn from(features: &Features) -> Self {
        Self {
            two_words: features.is_enabled("spacemap_v2"),
            histogram: features.is_enabled("spacemap_histogram"),
        }
    }
}

/// The space of a pool.
pub struct Allocator {
    pub(super) reader: Arc<BlockReader>,
    form: MapForm,
    unit_shift: u8,
    /// The deflated bytes per sector of each vdev.
    pub(super) deflate: Vec<u64>,
    txg: AtomicU64,
    state: Mutex<State>,
    /// The number of allocations before the limit; unlimited at the maximum.
    allocations_left: AtomicU64,
    /// The deduplication tables; `None` while they are written.
    pub(super) dedup: Mutex<Option<ddt::References>>,
    /// Whether any block may have several references.
    pub(super) has_references: AtomicBool,
}

pub(super) struct State {
    /// The MOS as of the last committed transaction group; `None` while a pool is being created.
    pub(super) mos: Option<Arc<dyn ObjectSet>>,
    /// The counts of references to blocks; `None` while they are written.
    pub(super) references: Option<References>,
    /// The top-level vdevs by number; `None` for those that cannot store blocks.
    pub(super) tops: Vec<Option<Top>>,
    /// The current vdev of each class.
    turn: [usize; CLASSES],
    /// The size of all vdevs that can be allocated from, and the allocated part of it.
    capacity: u64,
    pub(super) allocated: u64,
    /// The space that datasets can use, and the used part of it.
    room: Capacity,
    pub(super) used: u64,
    reserve: Reserve,
    /// Whether there were allocations or frees since the maps were written.
    pub(super) is_changed: bool,
    /// Whether the MOS has log space maps.
    has_logs: bool,
    /// The space that is kept for the checkpoint of the pool.
    pub(super) kept: Kept,
    /// The obsolete ranges of removed vdevs.
    pub(super) obsolete: Obsolete,
}

impl std::fmt::Debug for Allocator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allocator").field("txg", &self.txg()).finish_non_exhaustive()
    }
}

impl Allocator {
    /// Creates the allocator of the empty vdevs of `reader`. `spaces` lists the vdevs that store blocks.
    ///
    /// # Errors
    ///
    /// Fails if the metaslabs of a vdev are invalid.
    pub fn create(reader: Arc<BlockReader>, spaces: &[VdevSpace], form: MapForm, txg: Txg) -> Result<Self> {
        Self::empty(reader, spaces, form, txg, true)
    }

    fn empty(
        reader: Arc<BlockReader>,
        spaces: &[VdevSpace],
        form: MapForm,
        txg: Txg,
        is_deflated: bool,
    ) -> Result<Self> {
        let vdevs = reader.vdevs();
        let deflate = ratios_of(vdevs.tops(), is_deflated);
        let discards = vdevs.is_flush_atomic();
        let mut counted = Vec::new();
        let mut tops: Vec<Option<Top>> = vdevs.tops().iter().map(|_| None).collect();
        for space in spaces {
            let vdev = vdevs.tops().get(space.vdev as usize);
            let place = tops.get_mut(space.vdev as usize);
            let (Some(vdev), Some(place)) = (vdev, place) else {
                return Err(Error::no_vdev(space.vdev));
            };
            *place = Some(Top::new(space, vdev.config(), deflate[space.vdev as usize], discards)?);
            counted.push((space, vdev.config()));
        }
        let room = Capacity::of(counted, is_deflated);
        let counted = tops.iter().flatten().filter(|top| top.class.is_some());
        let capacity = counted.map(Top::capacity).sum();
        let of_data = tops.iter().flatten().filter(|top| top.class == Some(AllocationClass::Normal));
        let unit_shift = of_data.map(|top| top.ashift).min().unwrap_or(*ASHIFT_RANGE.start() as u8);
        // A removed vdev has no metaslabs, but blocks that can be cloned.
        let mut sizes: Vec<u64> = vdevs.tops().iter().map(|top| top.config().whole_metaslabs()).collect();
        for space in spaces {
            sizes[space.vdev as usize] = space.metaslabs() << space.metaslab_shift;
        }
        let state = State {
            mos: None,
            references: Some(References::new(sizes)),
            tops,
            turn: [0; CLASSES],
            capacity,
            allocated: 0,
            room,
            used: 0,
            reserve: Reserve::default(),
            is_changed: false,
            has_logs: false,
            kept: Kept::new(spaces, vdevs)?,
            obsolete: Obsolete::default(),
        };
        Ok(Self {
            reader,
            form,
            unit_shift,
            deflate,
            txg: AtomicU64::new(txg.0),
            state: Mutex::new(state),
            allocations_left: AtomicU64::new(u64::MAX),
            dedup: Mutex::new(Some(ddt::References::default())),
            has_references: AtomicBool::new(false),
        })
    }

    /// Makes allocations fail after this number of blocks as if the pool were full, for tests.
    #[cfg(feature = "testing")]
    pub fn limit_allocations(&self, left: u64) {
        self.allocations_left.store(left, Ordering::Relaxed);
    }

    /// Opens the allocator of a pool from its `mos`. The content of log space maps is loaded, and is written to the
    /// maps of the metaslabs with the next changes.
    ///
    /// # Errors
    ///
    /// Fails if the header of a map or a log cannot be read.
    pub fn open(
        reader: Arc<BlockReader>,
        mos: Arc<dyn ObjectSet>,
        spaces: &[VdevSpace],
        form: MapForm,
        txg: Txg,
    ) -> Result<Self> {
        let is_deflated = is_deflated(&*mos)?;
        let this = Self::empty(reader, spaces, form, txg, is_deflated)?;
        this.open_dedup(&*mos)?;
        {
            let mut state = this.state();
            state.mos = Some(Arc::clone(&mos));
            state.kept.read(&*mos, spaces)?;
            state.obsolete = Obsolete::open(&*mos, this.vdevs())?;
            for top in state.tops.iter_mut().flatten() {
                top.open(&*mos).map_err(|error| error.on_vdev(format_args!("vdev {}", top.vdev)))?;
            }
            state.replay_logs(&*mos, spaces)?;
            if let Some(references) = &mut state.references {
                references.open(&*mos)?;
                this.has_references.store(references.is_used(), Ordering::Relaxed);
            }
            state.allocated =
                state.tops.iter().flatten().filter(|top| top.class.is_some()).map(Top::allocated).sum();
            state.used = state.tops.iter().flatten().map(|top| top.charged(top.allocated())).sum();
        }
        Ok(this)
    }

    /// Locks the state for changes and for writing it to the pool.
    pub(super) fn intact_state(&self) -> Result<MutexGuard<'_, State>> {
        lock::intact(&self.state, "the space of the pool")
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The vdevs of the allocator.
    #[must_use]
    pub fn vdevs(&self) -> &VdevTree {
        self.reader.vdevs()
    }

    /// The encoding of maps.
    #[must_use]
    pub fn form(&self) -> MapForm {
        self.form
    }

    /// Returns whether there were allocations or frees that are not in the maps yet, except those from log space maps.
    #[must_use]
    pub(crate) fn is_changed(&self) -> bool {
        self.state().is_changed || self.is_dedup_changed()
    }

    /// Returns whether the MOS has log space maps, whose content is loaded into the allocator.
    pub(crate) fn has_logs(&self) -> bool {
        self.state().has_logs
    }

    /// Records that the log space maps of the MOS were removed.
    pub(crate) fn forget_logs(&self) {
        self.state().has_logs = false;
    }

    /// Returns the space of the pool.
    #[must_use]
    pub fn space_use(&self) -> SpaceUse {
        let state = self.state();
        let State { capacity, allocated, room, used, .. } = *state;
        SpaceUse { capacity, allocated, room, used }
    }

    /// Sets the reserve that allocations must leave free, and returns the previous one.
    pub fn set_reserve(&self, reserve: Reserve) -> Reserve {
        std::mem::replace(&mut self.state().reserve, reserve)
    }

    /// Writes the changes since the last call to the space maps: allocations and frees, including those of the space
    /// maps themselves. `pass` counts from 1 in each transaction group.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be changed.
    pub(crate) fn write_maps(&self, mos: &mut dyn ObjectStore, pass: u16) -> Result<SpaceMaps> {
        let mut done = SpaceMaps::default();
        let MapForm { two_words, histogram } = self.form;
        let writing = Writing { txg: self.txg(), pass, shift: 0, two_words, histogram };
        self.intact_state()?.is_changed = false;
        for n in 0..self.deflate.len() {
            let (array, changes) = match &mut self.intact_state()?.tops[n] {
                Some(top) => (top.array, top.take_changes(&writing)?),
                None => continue,
            };
            // The store may allocate during the write, so the lock must not be held.
            for (metaslab, change) in changes {
                let object = match change.map {
                    Some(object) => object,
                    None => {
                        let object = space_map_write::create(mos, histogram)?;
                        mos.write(array, 8 * metaslab as u64, &object.0.to_le_bytes())?;
                        if let Some(top) = &mut self.intact_state()?.tops[n] {
                            top.set_map(metaslab, object);
                        }
                        done.created += 1;
                        object
                    }
                };
                change.write(mos, object)?;
                done.changed = true;
            }
        }
        self.write_kept(mos, pass, &mut done)?;
        self.write_obsolete(mos, pass, &mut done)?;
        Ok(done)
    }

    /// Discards what this transaction group freed on the devices that support it, after everything else was written.
    ///
    /// # Errors
    ///
    /// Fails if a device fails.
    pub(crate) fn discard_freed(&self) -> Result<()> {
        for n in 0..self.deflate.len() {
            let discarded = match &mut self.intact_state()?.tops[n] {
                Some(top) => top.take_discarded(),
                None => continue,
            };
            discarded.iter().try_for_each(|range| self.vdevs().discard(n as u32, range))?;
        }
        Ok(())
    }

    /// Records that the transaction group is on stable storage with this `mos`, and begins the next one.
    ///
    /// # Errors
    ///
    /// Fails only if deferred space was reallocated, which is a bug.
    pub fn committed(&self, mos: Arc<dyn ObjectSet>, next: Txg) -> Result<()> {
        self.dedup_committed()?;
        let mut state = self.intact_state()?;
        state.mos = Some(mos);
        self.txg.store(next.0, Ordering::Relaxed);
        if let Some(references) = &mut state.references {
            references.committed();
            self.has_references.store(references.is_used(), Ordering::Relaxed);
        }
        state.tops.iter_mut().flatten().try_for_each(Top::committed)
    }
}

impl State {
    /// Loads the changes from the log space maps, in chronological order.
    fn replay_logs(&mut self, mos: &dyn ObjectSet, spaces: &[VdevSpace]) -> Result<()> {
        let logs = LogSpaceMaps::open(mos)?;
        self.has_logs = Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64(LOG_SPACE_MAPS)?.is_some()
            || spaces.iter().any(|space| space.unflushed_txgs.is_some());
        if logs.maps().is_empty() {
            return Ok(());
        }
        for space in spaces {
            let Some(Some(top)) = self.tops.get_mut(space.vdev as usize) else { continue };
            space.replay_logs(mos, &logs, &mut |change, start, end| top.replay(mos, change, start, end))?;
        }
        Ok(())
    }
}

fn is_deflated(mos: &dyn ObjectSet) -> Result<bool> {
    Ok(Zap::open(mos, DIRECTORY_OBJECT)?.lookup("deflate")?.is_some())
}

fn ratios_of(tops: &[Vdev], is_deflated: bool) -> Vec<u64> {
    tops.iter().map(|top| capacity::ratio(top.config(), is_deflated)).collect()
}

/// Returns the deflated bytes per sector of each vdev of a pool.
pub(super) fn ratios(mos: &dyn ObjectSet, tops: &[Vdev]) -> Result<Vec<u64>> {
    Ok(ratios_of(tops, is_deflated(mos)?))
}
