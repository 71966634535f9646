//! Truncated members: images that were copied in part, files that were cut short.
//!
//! The config of a top-level vdev has its allocatable size. The required size of each member follows from that and
//! the layout, as in `vdev_get_min_asize`: the remainder after the last metaslab, which has no blocks, may be
//! missing.

use std::fmt;

use super::label::LABEL_BYTES;
use super::{Kind, LEAF_DATA_START, Vdev, VdevTree};
use crate::ids::Guid;

/// The minimum size of a member in bytes (`SPA_MINDEVSIZE`). OpenZFS does not open smaller ones, even if the pool
/// needs less.
pub(crate) const MEMBER_BYTES_MIN: u64 = 64 << 20;

/// A truncated member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutMember {
    /// The path or name of the member.
    pub name: String,
    /// The guid of the member.
    pub guid: Guid,
    /// The size of the member in bytes.
    pub bytes: u64,
    /// The required size in bytes.
    pub needed_bytes: u64,
}

impl fmt::Display for CutMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, bytes, needed_bytes, .. } = self;
        let missing = needed_bytes - bytes;
        write!(
            f,
            "{name} is cut short: it has {bytes} bytes, the pool requires {needed_bytes}, {missing} bytes are missing"
        )
    }
}

impl VdevTree {
    /// Returns the truncated members, in order.
    #[must_use]
    pub(crate) fn cut_members(&self) -> Vec<CutMember> {
        let mut found = Vec::new();
        for top in self.tops() {
            let Some(asize) = top.config.asize else { continue };
            let metaslab = 1_u64.checked_shl(top.config.metaslab_shift.unwrap_or(0) as u32).unwrap_or(1);
            top.find_cut(asize - asize % metaslab, &mut found);
        }
        found
    }
}

impl Vdev {
    /// Adds the truncated members below this vdev, which requires `asize_min` bytes without labels.
    fn find_cut(&self, asize_min: u64, found: &mut Vec<CutMember>) {
        let of_child = match &self.kind {
            Kind::Leaf(Some(device)) => {
                // The labels at the end are aligned to multiples of their size.
                let bytes = asize_min.saturating_add(LEAF_DATA_START + 2 * LABEL_BYTES);
                let needed_bytes = bytes.checked_next_multiple_of(LABEL_BYTES).unwrap_or(bytes);
                let needed_bytes = needed_bytes.max(MEMBER_BYTES_MIN);
                if device.len() < needed_bytes {
                    let (name, guid) = (self.name.clone(), self.guid());
                    found.push(CutMember { name, guid, bytes: device.len(), needed_bytes });
                }
                return;
            }
            Kind::Raidz(..) | Kind::Draid(_) => self.config.kind.member_bytes(asize_min),
            Kind::Leaf(None) | Kind::Mirror(_) | Kind::DraidSpare(_) | Kind::Indirect(_) | Kind::Nothing => {
                asize_min
            }
        };
        self.children().iter().for_each(|child| child.find_cut(of_child, found));
    }
}
