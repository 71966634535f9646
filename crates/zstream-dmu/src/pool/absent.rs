//! The record of what absent members miss: their dirty time logs, which OpenZFS reads to resilver them.
//!
//! ```text
//! config in the MOS   vdev_tree ... children ... DTL: object     of each member that ever missed something
//! the object          a space map of transaction groups
//! ```
//!
//! Each transaction group that is written without a member is added to the log of that member, in the same
//! transaction group.

use zstream_format::nvlist::{NvList, NvPair, NvValue};

use crate::error::Result;
use crate::ids::{Guid, ObjectId, Txg};
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::range_set::RangeSet;
use crate::space::{MapForm, missed_txgs};
use crate::tx::features;
use crate::vdev::config::MISSED_LOG;
use crate::vdev::{Vdev, VdevTree};

/// The pairs of the config of a member before the first of which its log is inserted (`vdev_config_generate`).
const AFTER_LOG: [&str; 11] = [
    "create_txg",
    "expansion_time",
    "com.delphix:vdev_zap_leaf",
    "com.delphix:vdev_zap_top",
    "com.datto:resilver_defer",
    "offline",
    "resilver_txg",
    "faulted",
    "degraded",
    "removed",
    "unspare",
];

/// Reads the dirty time logs of all members into the tree.
///
/// # Errors
/// Fails if a log cannot be read. Nothing is known of its member then.
pub(super) fn load(mos: &dyn ObjectSet, tree: &VdevTree) -> Result<()> {
    let mut first = None;
    for leaf in tree.with_logs() {
        let Some(object) = leaf.config().missed_log() else { continue };
        match missed_txgs::read(mos, object) {
            Ok(txgs) => tree.set_missed(leaf.guid(), txgs),
            Err(error) => first = first.or(Some(error.on_vdev(leaf.name()))),
        }
    }
    first.map_or(Ok(()), Err)
}

/// A member whose log changes.
#[derive(Debug)]
struct Member {
    guid: Guid,
    log: Option<ObjectId>,
    txgs: RangeSet,
    /// Whether it misses the transaction groups to come.
    is_absent: bool,
    /// Whether the log in the MOS lacks a transaction group.
    is_changed: bool,
}

/// The members of a pool that is open for writing that are absent, or missed more than their logs have.
#[derive(Debug, Default)]
pub(super) struct Absent(Vec<Member>);

impl Absent {
    /// Returns the members of a pool whose last transaction group is `last`. The logs must have been read.
    pub(super) fn of(tree: &VdevTree, last: Txg) -> Self {
        let member = |leaf: &Vdev| {
            let txgs = leaf.missed_txgs(last);
            let is_changed = leaf.lacks_in_log(last);
            let is_absent = !leaf.is_writable();
            let (guid, log) = (leaf.guid(), leaf.config().missed_log());
            (is_absent || is_changed).then_some(Member { guid, log, txgs, is_absent, is_changed })
        };
        Self(tree.leaves().into_iter().filter_map(member).collect())
    }

    /// Adds the transaction group that is written to the logs. Returns whether the config changed because a log is
    /// new.
    ///
    /// # Errors
    /// Fails if a log cannot be changed.
    pub(super) fn record(
        &mut self,
        mos: &mut dyn ObjectStore,
        config: &mut NvList,
        form: MapForm,
    ) -> Result<bool> {
        let txg = mos.txg();
        let mut is_config_changed = false;
        for member in &mut self.0 {
            if member.is_absent && !member.txgs.contains(txg.0, txg.0 + 1) {
                member.txgs.cover(txg.0, txg.0 + 1);
                member.is_changed = true;
            }
            if !std::mem::take(&mut member.is_changed) {
                continue;
            }
            let log = match member.log {
                Some(log) => log,
                None => {
                    let log = missed_txgs::create(mos, form)?;
                    if form.histogram {
                        features::add(mos, "spacemap_histogram", 1)?;
                    }
                    if let Some(tree) = config.get_mut("vdev_tree") {
                        set_log(tree, member.guid, log);
                    }
                    is_config_changed = true;
                    *member.log.insert(log)
                }
            };
            missed_txgs::write(mos, log, &member.txgs, form)?;
        }
        Ok(is_config_changed)
    }
}

/// Sets the log of a member in the config of its pool.
fn set_log(tree: &mut NvValue, member: Guid, log: ObjectId) {
    let lists = match tree {
        NvValue::List(list) => std::slice::from_mut(list),
        NvValue::ListArray(lists) => &mut lists[..],
        _ => return,
    };
    for list in lists {
        let is_member = list.get_u64("guid") == Some(member.0);
        match list.get_mut("children") {
            Some(children) => set_log(children, member, log),
            None if is_member => *list = with_log(list, log),
            None => {}
        }
    }
}

fn with_log(leaf: &NvList, log: ObjectId) -> NvList {
    let mut out = NvList::new();
    (out.version, out.nvflag) = (leaf.version, leaf.nvflag);
    let mut is_due = true;
    for NvPair { name, value } in leaf {
        let key = name.to_str().unwrap_or_default();
        if is_due && AFTER_LOG.contains(&key) {
            out.add_u64(MISSED_LOG, log.0);
            is_due = false;
        }
        if key != MISSED_LOG {
            out.push(name.clone(), value.clone());
        }
    }
    if is_due {
        out.add_u64(MISSED_LOG, log.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::made::Store;
    use crate::vdev::tests::leaf;
    use crate::vdev::{VdevConfig, VdevType};

    /// A mirror without devices, whose sides have these logs.
    fn mirror(logs: [Option<u64>; 2]) -> VdevTree {
        let side = |n: usize| VdevConfig { missed_log: logs[n], ..leaf(n as u64, n as u64 + 2) };
        let children = vec![side(0), side(1)];
        let mirror = VdevConfig { kind: VdevType::Mirror, path: None, children, ..leaf(0, 10) };
        VdevTree::build(Guid(1), &[mirror], &HashMap::new(), 0).unwrap()
    }

    #[test]
    fn a_log_that_cannot_be_read_is_named_and_the_others_are_read() {
        let mut mos = Store::default();
        let form = MapForm { two_words: false, histogram: true };
        let log = missed_txgs::create(&mut mos, form).unwrap();
        let mut txgs = RangeSet::default();
        txgs.cover(4, 7);
        missed_txgs::write(&mut mos, log, &txgs, form).unwrap();
        let missed = |tree: &VdevTree| [0, 1].map(|n| tree.leaves()[n].missed_txgs(Txg(9)));
        let tree = mirror([None, Some(log.0)]);
        load(&mos, &tree).unwrap();
        assert_eq!(missed(&tree), [RangeSet::default(), txgs.clone()]);

        let tree = mirror([Some(log.0 + 1), Some(log.0)]);
        let error = load(&mos, &tree).unwrap_err().to_string();
        assert!(error.contains("/dev/2"), "{error}");
        assert_eq!(missed(&tree), [RangeSet::default(), txgs]);

        // The second word is the only range; as the first one it is there twice.
        let word = mos.block(log, crate::ids::BlockId(0)).unwrap().unwrap()[8..16].to_vec();
        mos.write(log, 0, &word).unwrap();
        let tree = mirror([None, Some(log.0)]);
        let error = load(&mos, &tree).unwrap_err().to_string();
        assert!(error.contains("allocated twice") && error.contains("/dev/3"), "{error}");
    }

    #[test]
    fn each_transaction_group_without_a_member_is_added_to_its_log() {
        let mut mos = Store::default();
        let form = MapForm { two_words: false, histogram: false };
        let tree = mirror([None, None]);
        let mut absent = Absent::of(&tree, Txg(3));
        let mut config = NvList::new();
        let mut root = NvList::new();
        let sides = [2, 3].map(|guid| {
            let mut side = NvList::new();
            side.add_string("type", "file").add_u64("guid", guid);
            side
        });
        root.add_list_array("children", sides.to_vec());
        config.add_list("vdev_tree", root);
        for (txg, is_new) in [(4, true), (5, false), (5, false), (9, false)] {
            mos.txg = Txg(txg);
            assert_eq!(absent.record(&mut mos, &mut config, form).unwrap(), is_new);
        }
        let mut expected = RangeSet::default();
        expected.cover(4, 6);
        expected.cover(9, 10);
        for side in config.get_list("vdev_tree").unwrap().get_list_array("children").unwrap() {
            let log = ObjectId(side.get_u64(MISSED_LOG).unwrap());
            assert_eq!(missed_txgs::read(&mos, log).unwrap(), expected);
        }
    }

    #[test]
    fn a_log_has_its_place_in_the_config_of_its_member() {
        let leaf = |guid: u64| {
            let mut leaf = NvList::new();
            leaf.add_string("type", "file").add_u64("id", guid - 1).add_u64("guid", guid);
            leaf.add_u64("create_txg", 4).add_u64("com.delphix:vdev_zap_leaf", 7);
            leaf
        };
        let mut top = NvList::new();
        top.add_string("type", "mirror")
            .add_u64("guid", 9)
            .add_list_array("children", vec![leaf(1), leaf(2)]);
        let mut root = NvList::new();
        root.add_string("type", "root").add_list_array("children", vec![top]);
        let mut tree = NvValue::List(root);
        set_log(&mut tree, Guid(2), ObjectId(50));
        set_log(&mut tree, Guid(2), ObjectId(51));
        let NvValue::List(root) = &tree else { panic!("it was a list") };
        let children = root.get_list_array("children").unwrap()[0].get_list_array("children").unwrap();
        let names: Vec<_> = children[1].iter().map(|pair| pair.name.to_string()).collect();
        assert_eq!(names, ["type", "id", "guid", "DTL", "create_txg", "com.delphix:vdev_zap_leaf"]);
        assert_eq!((children[1].get_u64(MISSED_LOG), children[0].get_u64(MISSED_LOG)), (Some(51), None));
    }
}
