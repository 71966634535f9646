//! The MOS of a pool whose labels are incomplete: the members that are needed to read it are found by trial.
//!
//! The uberblock points to up to three copies of the root of the MOS, on different top-level vdevs. A top-level vdev that
//! the labels describe has its shape, and strangers take the places of its missing members. Of one without any label, not
//! even the shape is known: a single device or one side of a mirror is tried, then all strangers as raidz, in every order.

use std::collections::HashMap;
use std::sync::Arc;

use zstream_format::nvlist::NvList;

use super::Stranger;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::block::ReadBlock;
use crate::error::{Fault, Result};
use crate::ids::{Bookmark, Guid};
use crate::pool::{Notice, open};
use crate::traverse::{Options, Traverse, VisitKind};
use crate::vdev::config::{PoolConfig, VdevConfig, VdevType};
use crate::vdev::raidz::{Expansion, Geometry, with_scratch};
use crate::vdev::uberblock::Uberblock;
use crate::vdev::{Member, VdevTree};
use crate::zio::BlockReader;

/// The maximum number of orders of members that are tried: all orders of six, and of two out of 26.
const ARRANGEMENTS_MAX: usize = 720;

/// The maximum number of members of a raidz vdev without any label.
const UNKNOWN_MEMBERS_MAX: usize = 6;

/// The maximum number of blocks of the MOS by which members are recognized.
const PROBES_MAX: usize = 300;

/// The size of the cache while members are tried.
const CACHE_BYTES: usize = 1 << 20;

/// A block of the MOS, by which members are recognized.
pub(super) type Probe = (BlockPointer, Bookmark);

/// The label of a member: its config, as parsed and as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct LabelOf<'a> {
    pub(super) config: &'a PoolConfig,
    pub(super) list: &'a NvList,
}

/// What is known before the MOS is read.
pub(super) struct Start<'a> {
    /// The labels of the pool.
    pub(super) labels: &'a [LabelOf<'a>],
    /// The members with labels.
    pub(super) members: HashMap<Guid, Member>,
    /// The devices that may be other members.
    pub(super) strangers: &'a [Stranger],
    /// The uberblock.
    pub(super) root: Uberblock,
}

/// A vdev tree that is tried: its top-level vdevs and the members.
#[derive(Debug, Clone)]
struct Guess {
    tops: Vec<VdevConfig>,
    members: HashMap<Guid, Member>,
}

/// The config in the MOS, as parsed and as stored, and blocks of the MOS.
pub(super) struct Known {
    pub(super) config: PoolConfig,
    pub(super) list: NvList,
    pub(super) probes: Vec<Probe>,
    /// A notice that the config is that of the labels.
    pub(super) notice: Option<Notice>,
}

impl Start<'_> {
    /// Reads the config in the MOS.
    ///
    /// # Errors
    /// Fails if it cannot be read with any arrangement of the devices.
    pub(super) fn read_config(&self) -> Result<Known> {
        let mut ids: Vec<u64> = self.root.root.dvas().map(|dva| u64::from(dva.vdev())).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut tops = if self.labels.is_empty() { Vec::new() } else { open::label_tops(&self.configs())? };
        let count = ids.last().map_or(0, |last| last + 1);
        if count > open::TOPS_MAX {
            let (what, limit) = ("number of top-level vdevs", open::TOPS_MAX);
            return Err(Fault::TooLarge { what, size: count, limit }.into());
        }
        let missing = |id| VdevConfig::bare(VdevType::Missing, id, Guid(0));
        tops.extend((tops.len() as u64..count).map(missing));
        let mut guess = Guess { tops, members: self.members.clone() };
        let mut first = match self.config_of(&guess) {
            Ok(known) => return Ok(known),
            Err(error) => error,
        };
        for id in ids {
            if self.fill(&mut guess, id as usize) {
                match self.config_of(&guess) {
                    Ok(known) => return Ok(known),
                    Err(error) => first = error,
                }
            }
        }
        Err(first)
    }

    /// Completes a top-level vdev with strangers so that the root of the MOS can be read from it. Returns `false` if that
    /// is not possible.
    fn fill(&self, guess: &mut Guess, id: usize) -> bool {
        let top = &guess.tops[id];
        let leaves: Vec<Guid> = top
            .walk()
            .filter(|vdev| vdev.kind.is_leaf() && !guess.members.contains_key(&vdev.guid))
            .map(|vdev| vdev.guid)
            .collect();
        let with = |guess: &Guess, top: &VdevConfig, places: &[(Guid, usize)]| {
            let mut guess = guess.clone();
            guess.tops[id] = top.clone();
            let member = |&(guid, n): &(Guid, usize)| (guid, self.strangers[n].member.clone());
            guess.members.extend(places.iter().map(member));
            guess
        };
        let mut tries: Vec<Guess> = Vec::new();
        match top.kind {
            VdevType::Missing => {
                let guid = Guid(u64::MAX - id as u64);
                let single = VdevConfig::bare(VdevType::File, id as u64, guid);
                tries.extend((0..self.strangers.len()).map(|n| with(guess, &single, &[(guid, n)])));
                for top in self.unknown_raidz(id as u64) {
                    let guids: Vec<Guid> = top.children.iter().map(|child| child.guid).collect();
                    let all = arrangements(&guids, &self.with_uberblocks());
                    tries.extend(all.iter().map(|places| with(guess, &top, places)));
                }
            }
            VdevType::Raidz(_) | VdevType::Draid(_) => {
                let strangers: Vec<usize> = (0..self.strangers.len()).collect();
                tries.extend(arrangements(&leaves, &strangers).iter().map(|places| with(guess, top, places)));
            }
            _ => {
                let first = leaves.first();
                tries.extend(first.into_iter().flat_map(|guid| {
                    (0..self.strangers.len()).map(|n| with(guess, top, &[(*guid, n)])).collect::<Vec<_>>()
                }));
            }
        }
        let is_sole = guess.tops.len() == 1;
        let good = tries.into_iter().find(|tried| {
            // A small block does not show the order of all members.
            self.reads_from(tried, id) && (!is_sole || self.config_of(tried).is_ok())
        });
        good.map(|good| *guess = good).is_some()
    }

    /// Returns whether the root of the MOS can be read from one top-level vdev.
    fn reads_from(&self, guess: &Guess, id: usize) -> bool {
        let mut alone = guess.clone();
        for (n, top) in alone.tops.iter_mut().enumerate().filter(|(n, _)| *n != id) {
            *top = VdevConfig::bare(VdevType::Missing, n as u64, Guid(0));
        }
        self.reader(&alone.tops, &alone.members)
            .is_ok_and(|reader| open::open_mos(&reader, &self.root).is_ok())
    }

    fn with_uberblocks(&self) -> Vec<usize> {
        let numbered = self.strangers.iter().enumerate();
        numbered.filter(|(_, one)| !one.uberblocks.is_empty()).map(|(n, _)| n).collect()
    }

    /// Returns the raidz vdevs that all strangers with uberblocks may be together.
    fn unknown_raidz(&self, id: u64) -> Vec<VdevConfig> {
        let strangers = self.with_uberblocks();
        if !(2..=UNKNOWN_MEMBERS_MAX).contains(&strangers.len()) {
            return Vec::new();
        }
        let shifts: &[u8] = match self.strangers[strangers[0]].shift {
            Some(10) | None => &[9, 10],
            Some(11) => &[11],
            Some(12) => &[12],
            Some(_) => &[13, 14],
        };
        let top = |parity: usize, ashift: u8| {
            let guid = |n: usize| Guid(u64::MAX - (1 << 20) - (id << 8) - n as u64);
            let child = |n: usize| VdevConfig::bare(VdevType::File, n as u64, guid(n));
            let children: Vec<_> = (0..strangers.len()).map(child).collect();
            let expansion = Expansion::default();
            let geometry = Geometry { children: children.len(), parity, ashift, expansion };
            let kind = VdevType::Raidz(geometry);
            VdevConfig {
                ashift: Some(ashift),
                children,
                ..VdevConfig::bare(kind, id, Guid(u64::MAX - (1 << 32) - id))
            }
        };
        let parities = 1..strangers.len().min(4);
        parities.flat_map(|parity| shifts.iter().map(move |shift| top(parity, *shift))).collect()
    }

    /// Reads the config in the MOS with a guess, and the pointers of some blocks of the MOS. If only the config cannot be
    /// read and the labels have the whole vdev tree, it is that of the labels.
    fn config_of(&self, guess: &Guess) -> Result<Known> {
        let reader = self.reader(&guess.tops, &guess.members)?;
        let (mut notice, labelled) = (None, self.config_of_labels());
        let (config, list) = match (open::read_config(&reader, &self.root), labelled) {
            (Ok(config), _) => config,
            (Err(error), Some(config)) => {
                open::open_mos(&reader, &self.root)?;
                notice = Some(Notice::unread("the config in the MOS", &error));
                config
            }
            (Err(error), None) => return Err(error),
        };
        let blocks = Arc::clone(&reader) as Arc<dyn ReadBlock>;
        let visits = Traverse::new(blocks, 0, self.root.root, Options::default()).filter_map(Result::ok);
        let stored = visits
            .filter(|visit| visit.pointer.kind() == BlockKind::Normal && visit.kind != VisitKind::Dnode);
        let probes = stored.take(PROBES_MAX).map(|visit| (visit.pointer, visit.at)).collect();
        Ok(Known { config, list, probes, notice })
    }

    /// Returns the config of the pool in its labels, if they have all its vdevs.
    fn config_of_labels(&self) -> Option<(PoolConfig, NvList)> {
        let newest = self.labels.iter().max_by_key(|label| label.config.txg)?;
        let children = open::label_tops(&self.configs()).ok()?;
        let root = VdevConfig { children, ..VdevConfig::bare(VdevType::Root, 0, newest.config.pool_guid) };
        let is_whole = root.guid_sum() == self.root.guid_sum;
        is_whole.then(|| (PoolConfig { vdev_tree: root, ..newest.config.clone() }, newest.list.clone()))
    }

    fn configs(&self) -> Vec<&PoolConfig> {
        self.labels.iter().map(|label| label.config).collect()
    }

    /// Returns a reader of the blocks of a vdev tree.
    pub(super) fn reader(
        &self,
        tops: &[VdevConfig],
        members: &HashMap<Guid, Member>,
    ) -> Result<Arc<BlockReader>> {
        let members = with_scratch(members, tops, &self.root);
        let guid = self.labels.first().map_or(Guid(0), |label| label.config.pool_guid);
        let tree = VdevTree::build(guid, tops, &members, self.root.reflowed_to())?;
        Ok(Arc::new(BlockReader::new(Arc::new(tree), CACHE_BYTES, None)))
    }
}

/// Returns ways to put the devices at the places: all places are filled, or all devices are used. There are at most
/// [`ARRANGEMENTS_MAX`], none if there would be more.
pub(super) fn arrangements(places: &[Guid], devices: &[usize]) -> Vec<Vec<(Guid, usize)>> {
    let (few, many) = (places.len().min(devices.len()), places.len().max(devices.len()));
    let count = (0..few).try_fold(1_usize, |count, n| count.checked_mul(many - n));
    if few == 0 || count.is_none_or(|count| count > ARRANGEMENTS_MAX) {
        return Vec::new();
    }
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..few {
        let longer = |order: &Vec<usize>| {
            let order = order.clone();
            let unused = (0..many).filter(|n| !order.contains(n)).collect::<Vec<_>>();
            unused.into_iter().map(move |n| [&order[..], &[n]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    let pair = |n: usize, other: usize| match places.len() <= devices.len() {
        true => (places[n], devices[other]),
        false => (places[other], devices[n]),
    };
    orders
        .into_iter()
        .map(|order| order.into_iter().enumerate().map(|(n, other)| pair(n, other)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrangements_fill_all_places_or_use_all_devices() {
        let guids = |count: u64| (1..=count).map(Guid).collect::<Vec<_>>();
        assert_eq!(arrangements(&guids(2), &[7]), [[(Guid(1), 7)], [(Guid(2), 7)]]);
        assert_eq!(arrangements(&guids(1), &[7, 8]), [[(Guid(1), 7)], [(Guid(1), 8)]]);
        let three = arrangements(&guids(3), &[4, 5, 6]);
        assert_eq!(three.len(), 6);
        assert!(three.contains(&vec![(Guid(1), 6), (Guid(2), 4), (Guid(3), 5)]));
        assert_eq!(arrangements(&guids(6), &[0, 1, 2, 3, 4, 5]).len(), 720);
        assert!(arrangements(&guids(7), &[0, 1, 2, 3, 4, 5, 6]).is_empty());
        assert!(arrangements(&guids(0), &[1]).is_empty() && arrangements(&guids(2), &[]).is_empty());
    }
}
