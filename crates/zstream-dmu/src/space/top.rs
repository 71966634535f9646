//! The space of a top-level vdev.

use super::metaslab::{self, MapChange, Metaslab, Writing};
use super::space_map::SpaceChange;
use super::vdev_space::VdevSpace;
use crate::blkptr::DVAS_PER_BLOCK_POINTER;
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object_set::ObjectSet;
use crate::range_set::RangeSet;
use crate::vdev::arithmetic::deflated;
use crate::vdev::config::VdevConfig;
use crate::zio::AllocationClass;

/// The bytes per data disk after which allocation moves to the next vdev (`metaslab_aliquot`).
const ALIQUOT_BYTES: u64 = 1 << 20;

/// The metaslabs of a top-level vdev.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) vdev: u32,
    /// The allocation class; `None` for log devices and for vdevs that must not be allocated from.
    pub(super) class: Option<AllocationClass>,
    /// The usable bytes per sector of 512 bytes: 0 for log devices and special vdevs.
    charge: u64,
    pub(super) ashift: u8,
    /// The number of data disks, excluding parity.
    data_disks: u64,
    metaslab_shift: u8,
    pub(super) array: ObjectId,
    metaslabs: Vec<Metaslab>,
    /// The size of all metaslabs.
    capacity: u64,
    /// The metaslab of the last allocation, for each copy of a block. Copies are stored far apart, and consecutive
    /// writes next to each other.
    active: [Option<usize>; DVAS_PER_BLOCK_POINTER],
    /// The bytes allocated since allocation moved to this vdev.
    pub(super) taken: u64,
    /// The ranges that were freed in this transaction group, if the vdev can discard them.
    discarded: Option<RangeSet>,
}

impl Top {
    /// Returns the space of an empty vdev. `config` is its part of the pool's config, and `ratio` its deflate ratio. What is
    /// freed is collected for discards if `discards`.
    pub(super) fn new(space: &VdevSpace, config: &VdevConfig, ratio: u64, discards: bool) -> Result<Self> {
        space.validate()?;
        let metaslab = |n| {
            let (start, size) = space.metaslab(n);
            Metaslab::new(start, size)
        };
        Ok(Self {
            vdev: space.vdev,
            class: space.class,
            charge: if space.belongs_to == Some(AllocationClass::Normal) { ratio } else { 0 },
            ashift: space.ashift,
            data_disks: config.kind.data_disks(),
            metaslab_shift: space.metaslab_shift,
            array: space.metaslab_array,
            metaslabs: (0..space.metaslabs()).map(metaslab).collect(),
            capacity: space.capacity(),
            active: [None; DVAS_PER_BLOCK_POINTER],
            taken: 0,
            discarded: discards.then(RangeSet::default),
        })
    }

    /// Reads the headers of all maps.
    pub(super) fn open(&mut self, mos: &dyn ObjectSet) -> Result<()> {
        let maps = metaslab::read_array(mos, self.array, self.metaslabs.len() as u64)?;
        for (n, object) in maps.into_iter().enumerate().filter(|(_, object)| *object != 0) {
            let (start, size) = self.metaslabs[n].range();
            self.metaslabs[n] = Metaslab::open(mos, ObjectId(object), start, size)?;
        }
        Ok(())
    }

    /// Returns the usable bytes that an allocation of `bytes` occupies.
    pub(super) fn charged(&self, bytes: u64) -> u64 {
        deflated(bytes, self.charge)
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn allocated(&self) -> u64 {
        self.metaslabs.iter().map(Metaslab::allocated).sum()
    }

    /// Returns the bytes after which allocation moves to the next vdev, if this one has average free space.
    pub(super) fn aliquot(&self) -> u64 {
        ALIQUOT_BYTES * self.data_disks.max(1)
    }

    /// Allocates a range for copy number `copy`, in none of the metaslabs of the offsets `avoid`.
    pub(super) fn take(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        size: u64,
        copy: usize,
        avoid: &[u64],
    ) -> Result<Option<u64>> {
        let shift = self.metaslab_shift;
        let avoided = |n: usize| avoid.iter().any(|offset| offset >> shift == n as u64);
        if let Some(active) = self.active[copy].filter(|n| !avoided(*n))
            && let Some(start) = self.take_from(active, mos, size)?
        {
            return Ok(Some(start));
        }
        for n in self.candidates(size, copy).into_iter().filter(|n| !avoided(*n)) {
            if let Some(start) = self.take_from(n, mos, size)? {
                self.active[copy] = Some(n);
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    /// Allocates a range from a metaslab.
    fn take_from(&mut self, metaslab: usize, mos: Option<&dyn ObjectSet>, size: u64) -> Result<Option<u64>> {
        let start = self.metaslabs[metaslab].take(mos, self.ashift, size)?;
        if let (Some(start), Some(discarded)) = (start, &mut self.discarded) {
            discarded.cut(start, start + size);
        }
        Ok(start)
    }

    /// Returns the metaslabs with enough space, best first: first those that are not active for another copy, then by
    /// free space. The weight of metaslabs falls from the first of a vdev to the last by half, because disks are
    /// faster at the start.
    fn candidates(&self, size: u64, copy: usize) -> Vec<usize> {
        let count = self.metaslabs.len() as u128;
        let used = |n| self.active.iter().enumerate().any(|(k, active)| k != copy && *active == Some(n));
        let mut list: Vec<(bool, std::cmp::Reverse<u128>, usize)> = (self.metaslabs.iter().enumerate())
            .filter(|(_, metaslab)| metaslab.room() >= size)
            .map(|(n, metaslab)| {
                let weight = u128::from(metaslab.free_bytes()) * (2 * count - n as u128);
                (used(n), std::cmp::Reverse(weight), n)
            })
            .collect();
        list.sort_unstable();
        list.into_iter().map(|(_, _, n)| n).collect()
    }

    /// Returns the metaslab that contains a range.
    fn holder(&mut self, start: u64, end: u64) -> Result<&mut Metaslab> {
        let (n, last) = (start >> self.metaslab_shift, end.saturating_sub(1) >> self.metaslab_shift);
        let (vdev, count) = (self.vdev, self.metaslabs.len());
        let found = usize::try_from(n).ok().and_then(|n| self.metaslabs.get_mut(n));
        found.filter(|_| n == last && start < end).ok_or_else(|| {
            let detail =
                format!("{start:#x}..{end:#x} of vdev {vdev} is not in one of its {count} metaslabs");
            Error::corrupt("space", detail)
        })
    }

    pub(super) fn free(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        start: u64,
        end: u64,
        at_once: bool,
    ) -> Result<()> {
        let shift = self.ashift;
        self.holder(start, end)?.free(mos, shift, (start, end), at_once)?;
        match &mut self.discarded {
            Some(discarded) => discarded.add(start, end),
            None => Ok(()),
        }
    }

    /// Returns the ranges that were freed since the last call and are still free.
    pub(super) fn take_discarded(&mut self) -> RangeSet {
        self.discarded.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Checks that the whole range is allocated.
    pub(super) fn check_allocated(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        start: u64,
        end: u64,
    ) -> Result<()> {
        let shift = self.ashift;
        self.holder(start, end)?.check_allocated(mos, shift, start, end)
    }

    /// Returns whether the whole range is free. A range that is not in one metaslab is not.
    pub(super) fn is_free(&mut self, mos: Option<&dyn ObjectSet>, start: u64, end: u64) -> Result<bool> {
        let shift = self.ashift;
        match self.holder(start, end) {
            Ok(metaslab) => metaslab.is_free(mos, shift, start, end),
            Err(_) => Ok(false),
        }
    }

    pub(super) fn replay(
        &mut self,
        mos: &dyn ObjectSet,
        change: SpaceChange,
        start: u64,
        end: u64,
    ) -> Result<()> {
        let shift = self.ashift;
        self.holder(start, end)?.replay(Some(mos), shift, change, (start, end))
    }

    /// Returns the changes that are not in the maps yet, with the indexes of their metaslabs.
    pub(super) fn take_changes(&mut self, writing: &Writing) -> Result<Vec<(usize, MapChange)>> {
        let writing = Writing { shift: self.ashift, ..*writing };
        let changes = self.metaslabs.iter_mut().map(|metaslab| metaslab.take_changes(&writing));
        (0..)
            .zip(changes)
            .filter_map(|(n, change)| Some(change.transpose()?.map(|change| (n, change))))
            .collect()
    }

    /// Sets the object of a metaslab's new map.
    pub(super) fn set_map(&mut self, metaslab: usize, object: ObjectId) {
        self.metaslabs[metaslab].set_map(object);
    }

    pub(super) fn committed(&mut self) -> Result<()> {
        self.metaslabs.iter_mut().try_for_each(Metaslab::committed)
    }
}
