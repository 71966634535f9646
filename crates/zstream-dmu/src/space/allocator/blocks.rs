//! The [`Space`] of an allocator: the allocation and the freeing of blocks.

use std::sync::atomic::Ordering;

use super::Allocator;
use crate::blkptr::{BLOCK_BYTES_MAX, BlockKind, BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::space::release::Release;
use crate::vdev::Vdev;
use crate::zio::gang;
use crate::zio::header::HEADER_BYTES_MIN;
use crate::zio::{AllocationClass, Same, Space};

/// When the space of a freed block can be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    /// In the same transaction group: nothing on disk refers to the block.
    AtOnce,
    /// When no uberblock that can be opened refers to the block.
    Deferred,
}

/// A freed range.
#[derive(Clone, Copy, Debug)]
pub(in crate::space) struct Freed {
    /// The transaction group in which the block was written.
    birth: Txg,
    /// When its space can be reused.
    reuse: Reuse,
}

impl Allocator {
    fn vdev(&self, number: u32) -> Result<&Vdev> {
        let vdev = self.reader.vdevs().tops().get(number as usize);
        vdev.ok_or_else(|| Error::no_vdev(number))
    }

    /// Frees the space of a block that was in a deduplication table and has no references.
    pub(crate) fn free_unshared(&self, block: &BlockPointer) -> Result<()> {
        self.free_places(block, self.reuse_of(block), 0)
    }

    /// Returns when the space of a freed block can be reused.
    fn reuse_of(&self, block: &BlockPointer) -> Reuse {
        if block.physical_birth() == self.txg() { Reuse::AtOnce } else { Reuse::Deferred }
    }

    /// Frees the space of a block without further references.
    fn free_places(&self, block: &BlockPointer, reuse: Reuse, depth: usize) -> Result<()> {
        if block.is_gang() {
            for piece in gang::pieces(&self.reader, block, depth)? {
                self.free_places(&piece, reuse, depth + 1)?;
            }
        }
        for place in block.dvas() {
            let birth = block.physical_birth();
            let size = self.own_bytes(place, birth)?;
            self.give_back(place, size, Freed { birth, reuse }).map_err(|error| error.at_address(place))?;
        }
        Ok(())
    }

    /// Returns the size of the range of a copy. The DVA of a gang header includes its pieces, which have ranges of their
    /// own.
    pub(in crate::space) fn own_bytes(&self, place: Dva, birth: Txg) -> Result<u64> {
        match place.is_gang() {
            true => Ok(self.vdev(place.vdev())?.asize(HEADER_BYTES_MIN as u64, birth)),
            false => Ok(place.asize()),
        }
    }

    fn give_back(&self, place: Dva, size: u64, freed: Freed) -> Result<()> {
        let end = place.offset_sectors().checked_mul(SECTOR_BYTES).and_then(|start| start.checked_add(size));
        let end = end.ok_or_else(|| Error::corrupt("block address", "end exceeds the maximum offset"))?;
        self.free_moved(place.vdev(), (end - size, end), freed, 0)
    }

    /// Frees a range of a vdev that was not removed.
    pub(in crate::space) fn free_range(
        &self,
        number: u32,
        (start, end): (u64, u64),
        freed: Freed,
    ) -> Result<()> {
        let vdev = self.vdev(number)?;
        let state = &mut *self.intact_state()?;
        let top = state.tops.get_mut(number as usize).and_then(Option::as_mut);
        let Some(top) = top else {
            let kind = vdev.config().kind.name();
            return Err(Error::unsupported(format!("freeing a block on {kind} vdev {number}")));
        };
        let mos = state.mos.as_deref();
        state.is_changed = true;
        if state.kept.needs(freed.birth) {
            top.check_allocated(mos, start, end)?;
            return state.kept.add(number, start, end);
        }
        state.kept.check(number, start, end)?;
        top.free(mos, start, end, freed.reuse == Reuse::AtOnce)?;
        state.used -= top.charged(end - start);
        if top.class.is_some() {
            state.allocated -= end - start;
        }
        Ok(())
    }
}

impl Space for Allocator {
    fn txg(&self) -> Txg {
        Txg(self.txg.load(Ordering::Relaxed))
    }

    fn unit_shift(&self) -> u8 {
        self.unit_shift
    }

    fn dsize(&self, block: &BlockPointer) -> u64 {
        if block.kind() != BlockKind::Normal {
            return 0;
        }
        block.dvas().map(|place| self.dva_dsize(place)).fold(0, u64::saturating_add)
    }

    fn gang_header_bytes(&self, place: Dva) -> usize {
        let top = self.vdevs().tops().get(place.vdev() as usize);
        top.map_or(HEADER_BYTES_MIN, |top| top.config().gang_header_bytes())
    }

    fn allocate(&self, psize: u64, copies: u8, class: AllocationClass) -> Result<Vec<Dva>> {
        let copies = usize::from(copies);
        if psize == 0 || psize > BLOCK_BYTES_MAX || !(1..=DVAS_PER_BLOCK_POINTER).contains(&copies) {
            return Err(Error::internal(format!(
                "cannot allocate a block of {psize} bytes in {copies} copies"
            )));
        }
        let state = &mut *self.intact_state()?;
        match self.allocations_left.load(Ordering::Relaxed) {
            u64::MAX => {}
            0 => return Err(Fault::NoSpace { bytes: psize }.into()),
            left => self.allocations_left.store(left - 1, Ordering::Relaxed),
        }
        let limit = state.room.limit(state.reserve);
        let vdevs = self.reader.vdevs();
        let mut places = Vec::with_capacity(copies);
        for copy in 0..copies {
            match state.take_copy(vdevs, psize, copy, class, limit, &places) {
                Ok(Some(place)) => places.push(place),
                other => {
                    for place in &places {
                        state.put_back(*place)?;
                    }
                    return Err(other.err().unwrap_or_else(|| Fault::NoSpace { bytes: psize }.into()));
                }
            }
        }
        Ok(places)
    }

    fn unallocate(&self, places: &[Dva]) {
        let state = &mut *self.state();
        for place in places {
            let result = state.put_back(*place);
            debug_assert!(result.is_ok(), "only allocated blocks are returned: {result:?}");
        }
    }

    fn write(&self, place: Dva, bytes: &[u8]) -> Result<()> {
        self.reader.vdevs().write(place, self.txg(), bytes)
    }

    fn write_places(&self, places: &[(Dva, &[u8])]) -> Result<()> {
        self.reader.vdevs().write_places(places, self.txg())
    }

    fn share(&self, block: &BlockPointer) -> Result<()> {
        self.add_reference(block)
    }

    fn find_same(&self, block: &BlockPointer, copies: u8, content: Option<&[u8]>) -> Result<Same> {
        self.find_dedup(&*self.reader, block, copies, content)
    }

    fn enter(&self, block: &BlockPointer, copies: u8) -> Result<bool> {
        self.enter_dedup(block, copies)
    }

    fn free(&self, block: &BlockPointer) -> Result<()> {
        match self.release(block)? {
            Release::Last => self.free_places(block, self.reuse_of(block), 0),
            Release::Shared => Ok(()),
        }
    }

    fn free_claimed(&self, block: &BlockPointer) -> Result<()> {
        match self.release(block)? {
            Release::Last => self.free_places(block, Reuse::Deferred, 0),
            Release::Shared => Ok(()),
        }
    }

    fn mark_obsolete(&self, place: Dva) -> Result<()> {
        self.note_obsolete(place)
    }
}
