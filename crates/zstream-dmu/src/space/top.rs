//! The space of one top-level vdev.

use super::metaslab::{self, MapChange, Metaslab, Writing};
use super::space_map::SpaceChange;
use super::vdev_space::VdevSpace;
use crate::blkptr::DVAS_PER_BLOCK_POINTER;
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object_set::ObjectSet;
use crate::vdev::arithmetic::deflated;
use crate::vdev::config::VdevConfig;
use crate::zio::AllocationClass;

/// Bytes for each data disk of a vdev after which the next vdev's turn comes (`metaslab_aliquot`).
const ALIQUOT_BYTES: u64 = 1 << 20;

/// The metaslabs of a top-level vdev.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) vdev: u32,
    /// What it may be used for; `None` for log devices and those from which nothing may be taken.
    pub(super) class: Option<AllocationClass>,
    /// What it takes of what datasets can use, in bytes for each sector of 512: 0 for log devices and special vdevs.
    charge: u64,
    pub(super) ashift: u8,
    /// Disks that hold data, parity not counted.
    data_disks: u64,
    metaslab_shift: u8,
    pub(super) array: ObjectId,
    metaslabs: Vec<Metaslab>,
    /// The metaslab that was last taken from, for each copy of a block: copies do not lie close to each other, and what is
    /// written in a row does.
    active: [Option<usize>; DVAS_PER_BLOCK_POINTER],
    /// Bytes taken since its turn came.
    pub(super) taken: u64,
}

impl Top {
    /// The space of a vdev that nothing is allocated on, `config` being its part of the pool's config and `ratio` what each of its
    /// sectors counts for.
    pub(super) fn new(space: &VdevSpace, config: &VdevConfig, ratio: u64) -> Result<Self> {
        space.validate()?;
        let metaslab = |n| Metaslab::new(n << space.metaslab_shift, 1 << space.metaslab_shift);
        Ok(Self {
            vdev: space.vdev,
            class: space.class,
            charge: if space.belongs_to == Some(AllocationClass::Normal) { ratio } else { 0 },
            ashift: space.ashift,
            data_disks: config.kind.data_disks(),
            metaslab_shift: space.metaslab_shift,
            array: space.metaslab_array,
            metaslabs: (0..space.metaslabs()).map(metaslab).collect(),
            active: [None; DVAS_PER_BLOCK_POINTER],
            taken: 0,
        })
    }

    /// Reads the headers of all maps.
    pub(super) fn open(&mut self, mos: &dyn ObjectSet) -> Result<()> {
        let maps = metaslab::read_array(mos, self.array, self.metaslabs.len() as u64)?;
        for (n, object) in maps.into_iter().enumerate().filter(|(_, object)| *object != 0) {
            let (start, size) = ((n as u64) << self.metaslab_shift, 1 << self.metaslab_shift);
            self.metaslabs[n] = Metaslab::open(mos, ObjectId(object), start, size)?;
        }
        Ok(())
    }

    /// What `bytes` that are taken from it count for in what datasets can use.
    pub(super) fn charged(&self, bytes: u64) -> u64 {
        deflated(bytes, self.charge)
    }

    pub(super) fn capacity(&self) -> u64 {
        (self.metaslabs.len() as u64) << self.metaslab_shift
    }

    pub(super) fn allocated(&self) -> u64 {
        self.metaslabs.iter().map(Metaslab::allocated).sum()
    }

    /// Bytes after which the next vdev's turn comes, when this one is as free as the others.
    pub(super) fn aliquot(&self) -> u64 {
        ALIQUOT_BYTES * self.data_disks.max(1)
    }

    /// Takes a range for copy number `copy`, in none of the metaslabs `avoid`.
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
            && let Some(start) = self.metaslabs[active].take(mos, self.ashift, size)?
        {
            return Ok(Some(start));
        }
        for n in self.candidates(size, copy).into_iter().filter(|n| !avoided(*n)) {
            if let Some(start) = self.metaslabs[n].take(mos, self.ashift, size)? {
                self.active[copy] = Some(n);
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    /// The metaslabs with room, best first: those that no other copy is being taken from, then by free space, where the
    /// first of a vdev count for up to twice as much as the last, since disks are faster at their beginning.
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

    /// The metaslab that holds a range.
    fn holder(&mut self, start: u64, end: u64) -> Result<&mut Metaslab> {
        let (n, last) = (start >> self.metaslab_shift, end.saturating_sub(1) >> self.metaslab_shift);
        let (vdev, count) = (self.vdev, self.metaslabs.len());
        let found = usize::try_from(n).ok().and_then(|n| self.metaslabs.get_mut(n));
        found.filter(|_| n == last && start < end).ok_or_else(|| {
            let detail = format!("{start:#x}..{end:#x} of vdev {vdev} lies in none of its {count} metaslabs");
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
        self.holder(start, end)?.free(mos, shift, (start, end), at_once)
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

    /// Takes what the maps do not have yet, with the numbers of their metaslabs.
    pub(super) fn take_changes(&mut self, writing: &Writing) -> Result<Vec<(usize, MapChange)>> {
        let writing = Writing { shift: self.ashift, ..*writing };
        let changes = self.metaslabs.iter_mut().map(|metaslab| metaslab.take_changes(&writing));
        (0..)
            .zip(changes)
            .filter_map(|(n, change)| Some(change.transpose()?.map(|change| (n, change))))
            .collect()
    }

    /// Says which object the map is in that was made for a metaslab.
    pub(super) fn set_map(&mut self, metaslab: usize, object: ObjectId) {
        self.metaslabs[metaslab].set_map(object);
    }

    pub(super) fn committed(&mut self) -> Result<()> {
        self.metaslabs.iter_mut().try_for_each(Metaslab::committed)
    }
}
