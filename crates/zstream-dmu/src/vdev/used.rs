//! The ranges of members that ranges of a top-level vdev occupy.

use std::collections::BTreeMap;

use super::{Kind, LEAF_DATA_START, Vdev};
use crate::ids::Guid;
use crate::range_set::RangeSet;

/// Ranges of members, by their guids.
pub(crate) type MemberRanges = BTreeMap<Guid, RangeSet>;

impl Vdev {
    /// Adds the ranges of the members below this vdev that its range `start..end` occupies, as offsets on their devices.
    /// They may include bytes of other blocks in the same rows.
    pub(crate) fn add_used(&self, start: u64, end: u64, found: &mut MemberRanges) {
        match &self.kind {
            Kind::Leaf(_) => {
                let [start, end] = [start, end].map(|offset| LEAF_DATA_START.saturating_add(offset));
                found.entry(self.guid()).or_default().cover(start, end);
            }
            Kind::Mirror(children) => children.iter().for_each(|child| child.add_used(start, end, found)),
            Kind::Raidz(geometry, children) => {
                let sector = 1 << geometry.ashift;
                // During an expansion, blocks are at their places for the old number of members or for the new one.
                let fewest = children.len() - usize::from(geometry.expansion.reflowed_to.is_some());
                for width in fewest..=children.len() {
                    let row = sector * width as u64;
                    let (start, end) = (start / row * sector, end.div_ceil(row) * sector);
                    children.iter().for_each(|child| child.add_used(start, end, found));
                }
            }
            // The rows of a group are spread over all members by the permutations, and spares take the place of some.
            Kind::Draid(family) => {
                family.children.iter().for_each(|child| child.add_used(0, u64::MAX, found));
            }
            Kind::DraidSpare(_) | Kind::Indirect(_) | Kind::Nothing => {}
        }
    }
}
