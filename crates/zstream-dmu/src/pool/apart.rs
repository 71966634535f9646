//! Members that were written apart from their siblings: the halves of a mirror, each changed alone, and then put together.
//!
//! The pool is opened as of the newest uberblock. A sibling that has another uberblock of the same transaction group, or one
//! of a group that was skipped here, has another history. It may have reused space that is still in use here, so none of its
//! blocks is expected to be right, not even old ones. OpenZFS distrusts only the groups in the dirty time log of the sibling,
//! and finds the other blocks with a scrub.
//!
//! ```text
//! a   97  98  99        100a 101a 102a        newest: the pool is as of 102a
//! b   97  98  99        100b 101b             101b is not 101a: nothing on b is trusted
//! ```

use std::collections::{HashMap, HashSet};

use super::open::Ring;
use super::scan::Candidate;
use crate::ids::Guid;
use crate::vdev::VdevTree;
use crate::vdev::uberblock::Uberblock;

/// The relation of members to the newest uberblock.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// The members with another history.
    certain: HashSet<Guid>,
    /// The members whose newest uberblock is older than all others, so that the dirty time log decides.
    unknown: HashMap<Guid, u64>,
}

impl Apart {
    /// Compares the uberblocks on the members.
    pub(super) fn of(candidates: &[Candidate], rings: &[Ring]) -> Self {
        let mut found = Self::default();
        let newest = |ring: &Ring| ring.iter().flatten().map(Uberblock::rank).max();
        let all: Vec<_> = candidates.iter().zip(rings).collect();
        let top = |candidate: &Candidate| candidate.config().map(|config| config.vdev_tree.guid);
        for (candidate, ring) in &all {
            let siblings = all.iter().filter(|(other, _)| top(other) == top(candidate));
            let Some((_, reference)) = siblings.max_by_key(|(_, ring)| newest(ring)) else { continue };
            let own = ring.iter().flatten().max_by_key(|uberblock| uberblock.rank());
            let guid = candidate.config().and_then(|config| config.guid);
            let (Some(own), Some(guid)) = (own, guid) else { continue };
            match shares(reference, own) {
                Some(true) => {}
                Some(false) => drop(found.certain.insert(guid)),
                None => drop(found.unknown.insert(guid, own.txg.0)),
            }
        }
        found
    }

    /// Marks the members with another history. The dirty time logs must have been read. Returns their names.
    pub(super) fn mark(&self, tree: &VdevTree) -> Vec<String> {
        let is_apart = |guid: Guid, logged: &dyn Fn(u64) -> bool| {
            self.certain.contains(&guid) || self.unknown.get(&guid).is_some_and(|txg| logged(*txg))
        };
        let leaves = tree.leaves().into_iter();
        let apart = leaves.filter(|leaf| is_apart(leaf.guid(), &|txg| leaf.missed_in_log(txg)));
        apart
            .map(|leaf| {
                leaf.distrust();
                leaf.name().to_owned()
            })
            .collect()
    }
}

/// Returns whether an uberblock is in the history of a ring; `None` if the ring does not go back so far.
fn shares(ring: &Ring, own: &Uberblock) -> Option<bool> {
    let ring = || ring.iter().flatten();
    let mut same = ring().filter(|other| other.txg == own.txg).peekable();
    if same.peek().is_some() {
        // The uberblocks of multihost differ in their times.
        return Some(same.any(|other| other.root == own.root));
    }
    let has_older = ring().any(|other| other.txg < own.txg);
    has_older.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blkptr::BlockPointer;
    use crate::ids::Txg;
    use crate::vdev::uberblock::UBERBLOCK_BYTES;

    /// An uberblock of a group, whose root has this birth.
    fn uberblock(txg: u64, birth: u64) -> Uberblock {
        let mut bytes = [0; UBERBLOCK_BYTES];
        bytes[..8].copy_from_slice(&crate::vdev::uberblock::MAGIC.to_le_bytes());
        let mut found = Uberblock::parse(&bytes).expect("a magic number");
        found.phys.txg = Txg(txg);
        let mut words = [0; 16];
        words[10] = birth;
        found.phys.root = BlockPointer::from_words(words);
        found
    }

    #[test]
    fn another_uberblock_of_a_group_or_a_skipped_one_is_another_history() {
        let ring: Ring = Ok([97, 98, 99, 100, 102].map(|txg| uberblock(txg, txg)).to_vec());
        let shares = |txg, birth| shares(&ring, &uberblock(txg, birth));
        assert_eq!(shares(100, 100), Some(true));
        assert_eq!(shares(100, 99), Some(false));
        assert_eq!(shares(101, 101), Some(false));
        assert_eq!(shares(103, 103), Some(false));
        assert_eq!(shares(96, 96), None);
        let ring: Ring = Ok(vec![uberblock(100, 99), uberblock(100, 100)]);
        assert_eq!(super::shares(&ring, &uberblock(100, 100)), Some(true));
    }
}
