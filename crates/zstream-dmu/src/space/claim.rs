//! Claiming of blocks of intent logs: allocation of the space of blocks that were written after the last transaction
//! group, so that the maps do not have them yet (`zio_claim`).

use super::Allocator;
use super::space_map::SpaceChange;
use crate::blkptr::{BlockKind, BlockPointer, Dva, SECTOR_BYTES};
use crate::error::{Error, Result};
use crate::zio::gang;

/// A range of a vdev.
type Part = (usize, u64, u64);

impl Allocator {
    /// Allocates the space of a block of an intent log. Returns `false`, without any change, if a part of it is
    /// allocated or is not on a vdev: such a block does not belong to the log.
    ///
    /// # Errors
    /// Fails if a map or a gang header cannot be read.
    pub(crate) fn claim(&self, block: &BlockPointer) -> Result<bool> {
        let mut parts = Vec::new();
        if block.kind() != BlockKind::Normal || !self.parts(block, 0, &mut parts)? {
            return Ok(false);
        }
        parts.sort_unstable();
        if parts.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].2 > pair[1].1) {
            return Ok(false);
        }
        let state = &mut *self.intact_state()?;
        let mos = state.mos.clone();
        let mos = mos.as_deref();
        for &(vdev, start, end) in &parts {
            let Some(top) = state.tops.get_mut(vdev).and_then(Option::as_mut) else { return Ok(false) };
            if !top.is_free(mos, start, end)? {
                return Ok(false);
            }
        }
        let mos = mos.ok_or_else(|| Error::internal("a pool that is being created has no intent logs"))?;
        for (vdev, start, end) in parts {
            let Some(top) = state.tops.get_mut(vdev).and_then(Option::as_mut) else { return Ok(false) };
            top.replay(mos, SpaceChange::Alloc, start, end)?;
            state.used += top.charged(end - start);
            if top.class.is_some() {
                state.allocated += end - start;
            }
            state.is_changed = true;
        }
        Ok(true)
    }

    /// Adds the ranges of a block. Returns `false` if an address is invalid.
    fn parts(&self, block: &BlockPointer, depth: usize, parts: &mut Vec<Part>) -> Result<bool> {
        if block.is_gang() {
            for piece in gang::pieces(&self.reader, block, depth)? {
                if !self.parts(&piece, depth + 1, parts)? {
                    return Ok(false);
                }
            }
        }
        for place in block.dvas() {
            let Some(part) = self.part(place, block) else { return Ok(false) };
            parts.push(part);
        }
        Ok(true)
    }

    fn part(&self, place: Dva, block: &BlockPointer) -> Option<Part> {
        let vdev = usize::try_from(place.vdev()).ok()?;
        self.vdevs().tops().get(vdev)?;
        let size = self.own_bytes(place, block.physical_birth()).ok()?;
        let start = place.offset_sectors().checked_mul(SECTOR_BYTES)?;
        Some((vdev, start, start.checked_add(size)?))
    }
}
