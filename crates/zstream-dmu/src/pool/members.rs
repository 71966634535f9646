//! The members of an open pool, and the ranges of them that the pool uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Pool;
use super::intent_logs;
use crate::blkptr::Dva;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ids::Guid;
use crate::intent_log;
use crate::range_set::RangeSet;
use crate::space::{LogSpaceMaps, VdevSpace};
use crate::vdev::Vdev;
use crate::vdev::config::ASHIFT_RANGE;
use crate::vdev::label;
use crate::vdev::used::MemberRanges;

/// A member of a pool, with what the pool stores on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UsedMember {
    /// Its guid.
    pub guid: Guid,
    /// Its path, or another name for the user.
    pub name: String,
    /// Its device.
    pub device: Arc<dyn Device>,
    /// The binary logarithm of its sector size.
    pub ashift: u8,
    /// The ranges of the device that have blocks, as of the transaction group of the pool. They may include some bytes in
    /// between, but neither the labels nor the boot area.
    pub ranges: RangeSet,
}

impl Pool {
    /// Returns the members that are present, with the ranges that have blocks: those in the space maps, and the blocks of
    /// intent logs that were written after the last transaction group.
    ///
    /// # Errors
    /// Fails if a space map or an intent log cannot be read.
    pub fn used_members(&self) -> Result<Vec<UsedMember>> {
        let mos = &**self.mos();
        let logs = LogSpaceMaps::open(mos)?;
        let mut found = MemberRanges::new();
        for top in self.vdevs().tops() {
            let Some(space) = VdevSpace::find(mos, top.config())? else { continue };
            for (start, end) in space.allocated(mos, &logs)?.iter() {
                top.add_used(start, end, &mut found);
            }
        }
        for place in self.unclaimed_places()? {
            let top = self.vdevs().tops().get(place.vdev() as usize);
            let top = top.ok_or_else(|| Error::no_vdev(place.vdev()))?;
            let start = place.offset();
            top.add_used(start, start.saturating_add(place.asize()), &mut found);
        }
        let mut members = Vec::new();
        for top in self.vdevs().tops() {
            let ashift = top.config().ashift.unwrap_or(*ASHIFT_RANGE.start() as u8);
            add_members(top, ashift, &mut found, &mut members)?;
        }
        Ok(members)
    }

    /// Returns the addresses of the blocks of intent logs that may not be in the space maps.
    fn unclaimed_places(&self) -> Result<Vec<Dva>> {
        let mut places = Vec::new();
        intent_logs::each_unclaimed(self, &mut |head, header| {
            let blocks = intent_log::blocks(&**self.reader(), head.0, header);
            blocks.for_each(|block| places.extend(block.pointer.dvas()));
        })?;
        Ok(places)
    }
}

fn add_members(
    vdev: &Vdev,
    ashift: u8,
    found: &mut BTreeMap<Guid, RangeSet>,
    members: &mut Vec<UsedMember>,
) -> Result<()> {
    if let Some(device) = vdev.device() {
        let mut ranges = RangeSet::default();
        let end = label::offset(device.len(), 2).unwrap_or(device.len());
        for (start, stop) in found.remove(&vdev.guid()).unwrap_or_default().iter() {
            if start < end {
                ranges.cover(start, stop.min(end));
            }
        }
        let (guid, name, device) = (vdev.guid(), vdev.name().to_owned(), Arc::clone(device));
        members.push(UsedMember { guid, name, device, ashift, ranges });
    }
    vdev.children().iter().try_for_each(|child| add_members(child, ashift, found, members))
}
