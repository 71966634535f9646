//! The transaction groups that a member missed while it was absent.
//!
//! ```text
//! dirty time log of the member, in the MOS   transaction groups that were written without it (`DTL_MISSING`)
//! its newest uberblock                       it knows nothing of later ones, for example if it is an old copy
//! another history of uberblocks              nothing on it is known, see `pool/apart.rs`
//! ```
//!
//! A block that was born in one of these may be missing on the member. Such a member is read last, and if its content
//! does not match the checksum, that is not damage. It still gets everything that is written. OpenZFS resilvers it,
//! and clears the log.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::{Kind, Vdev, VdevTree};
use crate::ids::{Guid, Txg};
use crate::range_set::RangeSet;

/// What a member missed.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// The transaction group of the newest uberblock on a member that is older than its siblings.
    since: OnceLock<Txg>,
    /// The content of the dirty time log. If the member has one that was not read yet, nothing on it is known.
    log: OnceLock<RangeSet>,
    /// Set if the member was written apart from its siblings, so that nothing on it is known.
    apart: OnceLock<()>,
}

impl Vdev {
    /// Returns `true` if blocks that were born in `birth` may be missing on this member.
    pub(super) fn missed(&self, birth: u64) -> bool {
        let is_after = self.missed.since.get().is_some_and(|since| birth > since.0);
        is_after
            || self.missed.apart.get().is_some()
            || match self.missed.log.get() {
                Some(log) => log.contains(birth, birth.saturating_add(1)),
                None => self.config.missed_log().is_some(),
            }
    }

    /// Returns all transaction groups whose blocks may be missing on this member, up to `last`.
    pub(crate) fn missed_txgs(&self, last: Txg) -> RangeSet {
        let mut txgs = self.missed.log.get().cloned().unwrap_or_default();
        if self.missed.apart.get().is_some() {
            txgs.cover(1, last.0.saturating_add(1));
        }
        if let Some(since) = self.missed.since.get() {
            txgs.cover(since.0.saturating_add(1), last.0.saturating_add(1));
        }
        txgs
    }

    /// Returns `true` if the dirty time log has a transaction group.
    pub(crate) fn missed_in_log(&self, txg: u64) -> bool {
        self.missed.log.get().is_some_and(|log| log.contains(txg, txg.saturating_add(1)))
    }

    /// Expects no block on this member from now on: it was written apart from its siblings.
    pub(crate) fn distrust(&self) {
        let _ = self.missed.apart.set(());
    }

    /// Returns `true` if the dirty time log lacks transaction groups that the member missed, up to `last`.
    pub(crate) fn lacks_in_log(&self, last: Txg) -> bool {
        let missed = self.missed_txgs(last);
        self.missed.log.get().map_or(!missed.is_empty(), |log| *log != missed)
    }

    /// Returns `true` if the vdev can be written: it is a member that is present and was not taken offline, or it has
    /// enough of them.
    #[must_use]
    pub(crate) fn is_writable(&self) -> bool {
        let absent = |children: &[Vdev]| children.iter().filter(|child| !child.is_writable()).count();
        match &self.kind {
            Kind::Leaf(device) => device.is_some() && !self.config.is_offline,
            Kind::Mirror(children) => absent(children) < children.len(),
            Kind::Raidz(..) | Kind::Draid(_) => {
                let children = self.children();
                Some(absent(children)) <= self.config.kind.losses_allowed(children.len())
            }
            Kind::DraidSpare(_) | Kind::Indirect(_) => true,
            Kind::Nothing => self.is_available(),
        }
    }

    /// Returns the transaction groups up to `last` whose blocks are on too few members of this vdev to be read
    /// (`DTL_OUTAGE`).
    pub(crate) fn outage(&self, last: Txg) -> RangeSet {
        let of_children = |children: &[Vdev], least: usize| {
            let outages: Vec<_> = children.iter().map(|child| child.outage(last)).collect();
            covered(&outages, least)
        };
        match &self.kind {
            Kind::Leaf(_) if !self.is_writable() => everything(last),
            Kind::Leaf(_) | Kind::DraidSpare(_) => self.missed_txgs(last),
            Kind::Mirror(children) => of_children(children, children.len()),
            Kind::Raidz(..) | Kind::Draid(_) => {
                let children = self.children();
                of_children(children, self.config.kind.losses_allowed(children.len()).unwrap_or(0) + 1)
            }
            Kind::Indirect(_) => RangeSet::default(),
            Kind::Nothing if self.is_available() => RangeSet::default(),
            Kind::Nothing => everything(last),
        }
    }
}

fn everything(last: Txg) -> RangeSet {
    let mut all = RangeSet::default();
    all.cover(0, last.0.saturating_add(1));
    all
}

/// Returns what is in at least `least` of the sets.
fn covered(sets: &[RangeSet], least: usize) -> RangeSet {
    let mut edges: Vec<(u64, i32)> =
        sets.iter().flat_map(RangeSet::iter).flat_map(|(start, end)| [(start, 1), (end, -1)]).collect();
    edges.sort_unstable();
    let (mut out, mut depth) = (RangeSet::default(), 0);
    for (n, (at, change)) in edges.iter().enumerate() {
        depth += change;
        if let Some((next, _)) = edges.get(n + 1)
            && depth >= least as i32
        {
            out.cover(*at, *next);
        }
    }
    out
}

impl VdevTree {
    /// Sets the transaction groups of the newest uberblocks on the members. In each transaction group, either all
    /// members of a top-level vdev get an uberblock or none. So a member that lacks more than the last one of its
    /// siblings knows nothing of what was written since.
    pub(crate) fn set_newest(&self, newest: &HashMap<Guid, Txg>) {
        for top in &self.tops {
            let leaves = top.leaves();
            let of = |leaf: &&Vdev| newest.get(&leaf.guid()).copied();
            let last = leaves.iter().filter_map(of).max().unwrap_or_default();
            for leaf in leaves {
                if let Some(own) = of(&leaf).filter(|own| own.0.saturating_add(1) < last.0) {
                    let _ = leaf.missed.since.set(own);
                }
            }
        }
    }

    /// Returns the vdevs that can have a dirty time log: members and distributed spares.
    pub(crate) fn with_logs(&self) -> Vec<&Vdev> {
        let (mut found, mut left) = (Vec::new(), self.tops.iter().collect::<Vec<_>>());
        while let Some(vdev) = left.pop() {
            if matches!(vdev.kind, Kind::Leaf(_) | Kind::DraidSpare(_)) {
                found.push(vdev);
            }
            left.extend(vdev.children());
        }
        found
    }

    /// Sets the content of the dirty time log of a member. Only the first one is used.
    pub(crate) fn set_missed(&self, member: Guid, txgs: RangeSet) {
        if let Some(vdev) = self.with_logs().into_iter().find(|vdev| vdev.guid() == member) {
            let _ = vdev.missed.log.set(txgs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        let mut set = RangeSet::default();
        ranges.iter().for_each(|&(start, end)| set.cover(start, end));
        set
    }

    #[test]
    fn what_is_missing_on_enough_members_is_lost() {
        let sets = [set(&[(4, 9), (20, 30)]), set(&[(6, 22)]), set(&[(8, 9), (40, 41)]), RangeSet::default()];
        assert_eq!(covered(&sets, 1), set(&[(4, 30), (40, 41)]));
        assert_eq!(covered(&sets, 2), set(&[(6, 9), (20, 22)]));
        assert_eq!(covered(&sets, 3), set(&[(8, 9)]));
        assert_eq!(covered(&sets, 4), RangeSet::default());
        assert_eq!(covered(&[set(&[(3, 5)]), set(&[(5, 7)])], 2), RangeSet::default());
    }
}
