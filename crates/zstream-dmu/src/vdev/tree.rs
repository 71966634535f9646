//! The tree of a pool's vdevs, and reads by the addresses in block pointers.

use std::collections::HashMap;

use super::config::VdevConfig;
use super::draid::Home;
use super::indirect::{self, Mapping};
use super::reading::Reading;
use super::{Found, Kind, Member, Vdev, VdevState};
use crate::blkptr::{Dva, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, Txg};

/// All top-level vdevs of a pool.
#[derive(Debug)]
pub struct VdevTree {
    guid: Guid,
    pub(super) tops: Vec<Vdev>,
}

impl VdevTree {
    /// Builds the tree of the top-level vdevs `tops`, in the order of their ids, with their devices. `reflowed_to` is
    /// the progress of a raidz expansion in bytes of the vdev.
    ///
    /// # Errors
    /// Fails if the tree has a vdev that zstream cannot read; the error has its name.
    pub fn build(
        guid: Guid,
        tops: &[VdevConfig],
        members: &HashMap<Guid, Member>,
        reflowed_to: u64,
    ) -> Result<Self> {
        let found = Found { members, reflowed_to };
        let tops =
            tops.iter().map(|top| Vdev::build(top, &found, &Home::default())).collect::<Result<_>>()?;
        Ok(Self { guid, tops })
    }

    /// Returns the guid of the root vdev, which is that of the pool.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.guid
    }

    /// Returns the top-level vdevs.
    #[must_use]
    pub fn tops(&self) -> &[Vdev] {
        &self.tops
    }

    /// Returns the state of the worst top-level vdev. A missing log device counts only as degraded.
    #[must_use]
    pub fn state(&self) -> VdevState {
        let state =
            |top: &Vdev| if top.config.is_log { top.state().min(VdevState::Degraded) } else { top.state() };
        self.tops.iter().map(state).max().unwrap_or(VdevState::Unavailable)
    }

    /// Returns the top-level vdevs that cannot be read, except log devices.
    pub fn lost(&self) -> impl Iterator<Item = &Vdev> {
        self.tops.iter().filter(|top| !top.is_available() && !top.config.is_log)
    }

    /// Sets the mapping of an indirect vdev. Only the first one is used.
    ///
    /// # Errors
    /// Fails if there is no indirect vdev with that id.
    pub(crate) fn set_mapping(&self, vdev: u64, mapping: Mapping) -> Result<()> {
        match self.tops.get(vdev as usize).map(|top| &top.kind) {
            Some(Kind::Indirect(place)) => {
                let _ = place.set(mapping);
                Ok(())
            }
            None
            | Some(
                Kind::Leaf(_)
                | Kind::Mirror(_)
                | Kind::Raidz(..)
                | Kind::Draid(_)
                | Kind::DraidSpare(_)
                | Kind::Nothing,
            ) => Err(Error::corrupt("mapping", format!("vdev {vdev} is not indirect"))),
        }
    }

    /// Reads `out.len()` bytes at `dva` that pass the verification. `birth` is the physical birth of the block.
    ///
    /// # Errors
    /// Fails if the address is not on a vdev, and if no copy or reconstruction passes.
    pub(crate) fn read(&self, dva: Dva, birth: Txg, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        self.read_range(dva, birth, out, reading).map_err(|error| error.at_address(dva))
    }

    fn read_range(&self, dva: Dva, birth: Txg, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        let (top, offset) = self.locate(dva, out.len() as u64)?;
        match &top.kind {
            Kind::Indirect(mapping) => {
                let Some(mapping) = mapping.get() else {
                    return Err(Fault::NoMapping(dva.vdev()).into());
                };
                indirect::Place { tree: self, mapping, offset, birth: birth.0 }.read(out, reading)
            }
            Kind::Leaf(_)
            | Kind::Mirror(_)
            | Kind::Raidz(..)
            | Kind::Draid(_)
            | Kind::DraidSpare(_)
            | Kind::Nothing => top.read(offset, birth.0, out, reading),
        }
    }

    /// Returns the vdev and byte offset of an address, of which the first `len` bytes are requested.
    pub(super) fn locate(&self, dva: Dva, len: u64) -> Result<(&Vdev, u64)> {
        let bad = |detail: String| Error::corrupt("block address", detail);
        let top = self.tops.get(dva.vdev() as usize);
        let top = top.ok_or_else(|| {
            bad(format!("address is on vdev {} of a pool with {} vdevs", dva.vdev(), self.tops.len()))
        })?;
        let end = dva.offset_sectors().checked_mul(SECTOR_BYTES).and_then(|at| at.checked_add(len));
        let end = end.ok_or_else(|| bad(format!("sector {:#x} is too large", dva.offset_sectors())))?;
        match top.config.asize {
            Some(asize) if end > asize => {
                Err(bad(format!("range ends at {end:#x}, but {} ends at {asize:#x}", top.name)))
            }
            // No vdev of OpenZFS is so large that it requires the upper bits, and later code adds to offsets.
            _ if end > i64::MAX as u64 => Err(bad(format!("range ends at {end:#x}, which is too large"))),
            _ if !(end - len).is_multiple_of(top.config.kind.block_alignment()) => {
                let unit = top.config.kind.block_alignment();
                Err(bad(format!("offset {:#x} on {} is not a multiple of {unit}", end - len, top.name)))
            }
            _ => Ok((top, end - len)),
        }
    }
}
