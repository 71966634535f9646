//! The missing members of a pool whose config is known, recognized among devices without labels of their own.
//!
//! Each device is tried in the place of each missing member. Blocks of the MOS that are on the vdev are read from there:
//! their checksums show whether the device is that member. Members of raidz are tried together if too many are missing.

use std::collections::{HashMap, HashSet};

use super::bootstrap::{Known, Probe, Start, arrangements};
use crate::ids::Guid;
use crate::vdev::config::{VdevConfig, VdevType};
use crate::vdev::{Member, VdevState};
use crate::zio::BlockReader;

/// A device is accepted if at most one in this many blocks is not what it must be: it may be damaged.
const RIGHT_PER_WRONG: usize = 4;

/// The number of blocks of which at least one must be readable.
const FIRST_PROBES: usize = 3;

/// Returns the members of the pool, and the names of the devices and members that were recognized.
pub(super) fn complete(start: &Start<'_>, known: &Known) -> (HashMap<Guid, Member>, Vec<(String, String)>) {
    let (mut members, mut used, mut recognized) = (start.members.clone(), HashSet::new(), Vec::new());
    for top in &known.config.vdev_tree.children {
        let trial = Trial { start, known, top };
        for (place, n) in trial.places(&members, &used) {
            let member = start.strangers[n].member.clone();
            let name = top.walk().find(|vdev| vdev.guid == place).map(VdevConfig::display_name);
            recognized.push((member.name.clone(), name.unwrap_or_default()));
            members.insert(place, member);
            used.insert(n);
        }
    }
    (members, recognized)
}

/// The trial of devices in the places of the missing members of one top-level vdev.
struct Trial<'a> {
    start: &'a Start<'a>,
    known: &'a Known,
    top: &'a VdevConfig,
}

impl Trial<'_> {
    /// Returns the places of devices, by their number.
    fn places(&self, members: &HashMap<Guid, Member>, used: &HashSet<usize>) -> Vec<(Guid, usize)> {
        let missing = |vdev: &&VdevConfig| vdev.kind.is_leaf() && !members.contains_key(&vdev.guid);
        let mut leaves: Vec<Guid> = self.top.walk().filter(missing).map(|vdev| vdev.guid).collect();
        let mut free: Vec<usize> = (0..self.start.strangers.len()).filter(|n| !used.contains(n)).collect();
        let is_striped = matches!(self.top.kind, VdevType::Raidz(_) | VdevType::Draid(_));
        if is_striped && self.is_unreadable(members) {
            let tried = arrangements(&leaves, &free).into_iter();
            let scored = tried.filter_map(|places| Some((self.wrong(members, &places)?, places)));
            return best(scored).unwrap_or_default();
        }
        let mut found: Vec<(Guid, usize)> = Vec::new();
        let mut members = members.clone();
        while let Some(place) = leaves.pop() {
            let scored = free.iter().filter_map(|&n| Some((self.wrong(&members, &[(place, n)])?, n)));
            if let Some(n) = best(scored) {
                found.push((place, n));
                members.insert(place, self.start.strangers[n].member.clone());
                free.retain(|other| *other != n);
            }
        }
        found
    }

    /// Returns whether the vdev lacks so many members that it cannot be read.
    fn is_unreadable(&self, members: &HashMap<Guid, Member>) -> bool {
        self.reader(members).is_none_or(|reader| {
            let top = reader.vdevs().tops().get(self.top.id as usize);
            top.is_none_or(|top| top.state() == VdevState::Unavailable)
        })
    }

    fn reader(&self, members: &HashMap<Guid, Member>) -> Option<std::sync::Arc<BlockReader>> {
        self.start.reader(&self.known.config.vdev_tree.children, members).ok()
    }

    /// Returns the number of blocks that are wrong if the devices are in these places; `None` if they are not the members.
    fn wrong(&self, members: &HashMap<Guid, Member>, places: &[(Guid, usize)]) -> Option<usize> {
        let mut members = members.clone();
        let placed = places.iter().map(|&(guid, n)| (guid, self.start.strangers[n].member.clone()));
        members.extend(placed);
        let reader = self.reader(&members)?;
        let guids: HashSet<Guid> = places.iter().map(|(guid, _)| *guid).collect();
        let (mut right, mut wrong) = (0, 0);
        let on_top = |(pointer, _): &&Probe| pointer.dvas().any(|dva| u64::from(dva.vdev()) == self.top.id);
        for (n, (pointer, at)) in self.known.probes.iter().filter(on_top).enumerate() {
            let Ok(check) = reader.check_block(pointer, *at) else { continue };
            let here = |address: crate::blkptr::Dva| u64::from(address.vdev()) == self.top.id;
            let lost = check.bad.iter().filter(|bad| here(bad.address) && bad.error.is_some()).count();
            let damaged =
                check.bad.iter().flat_map(|bad| &bad.damage).filter(|damage| guids.contains(&damage.guid));
            right += pointer.dvas().filter(|dva| here(*dva)).count().saturating_sub(lost);
            wrong += lost + damaged.count();
            if n + 1 >= FIRST_PROBES && right == 0 {
                return None;
            }
        }
        (right > 0 && wrong * RIGHT_PER_WRONG <= right).then_some(wrong)
    }
}

/// Returns the item with the fewest wrong blocks, the first one without any.
fn best<T>(scored: impl Iterator<Item = (usize, T)>) -> Option<T> {
    let mut best: Option<(usize, T)> = None;
    for (wrong, item) in scored {
        if best.as_ref().is_none_or(|(least, _)| wrong < *least) {
            best = Some((wrong, item));
        }
        if wrong == 0 {
            break;
        }
    }
    best.map(|(_, item)| item)
}
