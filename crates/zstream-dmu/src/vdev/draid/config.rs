//! dRAID vdevs and distributed spares in configs.

use zstream_format::nvlist::NvList;

use super::{Geometry, Numbers};
use crate::error::{Error, Result};
use crate::vdev::config::{VdevConfig, VdevType};

/// Parses the shape of a dRAID vdev with this number of children.
pub(in crate::vdev) fn parse_shape(list: &NvList, ashift: Option<u8>, children: usize) -> Result<Geometry> {
    let bad = |detail: String| Error::corrupt("vdev tree", detail);
    if list.contains("draid_nchildren") {
        return Err(Error::unsupported("dRAID with failure domains (feature draid_failure_domains)"));
    }
    let number = |key: &str| {
        let value = list.get_u64(key).ok_or_else(|| bad(format!("a draid vdev has no {key}")))?;
        Ok::<_, Error>(usize::try_from(value).unwrap_or(usize::MAX))
    };
    let ashift = ashift.ok_or_else(|| bad("a draid vdev has no ashift".to_owned()))?;
    let numbers = Numbers {
        children,
        parity: number("nparity")?,
        data: number("draid_ndata")?,
        spares: number("draid_nspares")?,
    };
    Geometry::new(numbers, number("draid_ngroups")?, ashift).map_err(bad)
}

/// Parses the number of a distributed spare. In a tree, it is also in its name: `draid2-0-1` is spare 1 of vdev 0.
pub(in crate::vdev) fn parse_spare(list: &NvList) -> Result<usize> {
    let id = list.get_u64("spareid").and_then(|id| usize::try_from(id).ok());
    id.ok_or_else(|| Error::corrupt("vdev tree", "a dspare vdev has no spareid"))
}

/// Validates that each distributed spare is below a dRAID vdev that has it, and only once. `idle` are the spares of the
/// dRAID vdev around `config` that were not found yet.
pub(in crate::vdev) fn check_spares(config: &VdevConfig, idle: &mut Vec<usize>) -> Result<()> {
    match &config.kind {
        VdevType::Draid(geometry) => {
            let mut idle = (0..geometry.spares).collect();
            return config.children.iter().try_for_each(|child| check_spares(child, &mut idle));
        }
        VdevType::DraidSpare(id) => {
            let Some(place) = idle.iter().position(|idle| idle == id) else {
                let detail = format!("distributed spare {id} ({}) is not free", config.display_name());
                return Err(Error::corrupt("vdev tree", detail));
            };
            idle.remove(place);
        }
        VdevType::Root
        | VdevType::File
        | VdevType::Disk
        | VdevType::Mirror
        | VdevType::Replacing
        | VdevType::Spare
        | VdevType::Raidz(_)
        | VdevType::Hole
        | VdevType::Missing
        | VdevType::Indirect => {}
    }
    config.children.iter().try_for_each(|child| check_spares(child, idle))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(id: u64, guid: u64) -> NvList {
        let mut list = NvList::new();
        list.add_string("type", "file").add_u64("id", id).add_u64("guid", guid).add_string("path", "/x");
        list
    }

    fn draid(numbers: [u64; 4], children: Vec<NvList>) -> NvList {
        let mut list = NvList::new();
        list.add_string("type", "draid").add_u64("id", 0).add_u64("guid", 100).add_u64("ashift", 12);
        let names = ["nparity", "draid_ndata", "draid_nspares", "draid_ngroups"];
        for (name, number) in names.into_iter().zip(numbers) {
            list.add_u64(name, number);
        }
        list.add_list_array("children", children);
        list
    }

    fn leaves(count: u64) -> Vec<NvList> {
        (0..count).map(|n| leaf(n, n + 1)).collect()
    }

    #[test]
    fn draid_is_named_as_in_zpool_status() {
        let tree = VdevConfig::parse(&draid([1, 2, 1, 4], leaves(5))).unwrap();
        assert_eq!(tree.display_name(), "draid1:2d:5c:1s-0");
    }

    #[test]
    fn impossible_draid_is_refused() {
        let message = |list: NvList| VdevConfig::parse(&list).unwrap_err().to_string();
        assert!(message(draid([1, 2, 1, 3], leaves(5))).contains("3 groups of 3 in a slice over 4 members"));
        assert!(message(draid([1, 2, 1, u64::MAX], leaves(5))).contains("groups of 3"));
        assert!(message(draid([1, 0, 1, 4], leaves(5))).contains("without data"));
        assert!(message(draid([0, 2, 1, 4], leaves(5))).contains("parity 0"));
        assert!(message(draid([1, 2, 1, 4], leaves(0))).contains("has 0 members, expected 2 to 255"));
        assert!(message(draid([1, 2, u64::MAX, 4], leaves(5))).contains("at most 100"));
        assert!(message(draid([1, u64::MAX, 1, 4], leaves(5))).contains("members, at least"));
        assert!(message(draid([1, 2, 1, 1], leaves(256))).contains("256 members"));
        let mut domains = draid([1, 2, 1, 4], leaves(10));
        domains.add_u64("draid_nchildren", 5);
        assert_eq!(
            message(domains),
            "dRAID with failure domains (feature draid_failure_domains) is not supported"
        );
        for key in ["nparity", "draid_ndata", "draid_nspares", "draid_ngroups", "ashift"] {
            let mut list = draid([1, 2, 1, 4], leaves(5));
            list.remove(key);
            assert!(message(list).contains(&format!("a draid vdev has no {key}")), "{key}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Whatever a config claims, it is refused, or every block is mapped onto its members.
        #[test]
        fn a_shape_is_possible_or_refused(
            numbers in prop::array::uniform4(prop_oneof![0_u64..6, 0_u64..300, any::<u64>()]),
            children in prop_oneof![0_u64..20, 0_u64..300],
            ashift in 8_u64..18, at: u64, size in 1_usize..1 << 24, fits: bool,
        ) {
            let mut numbers = numbers;
            if fits {
                numbers[3] = children.saturating_sub(numbers[2]);
            }
            let mut list = draid(numbers, leaves(children));
            list.set("ashift", zstream_format::nvlist::NvValue::Uint64(ashift));
            let Ok(tree) = VdevConfig::parse(&list) else { return Ok(()) };
            let VdevType::Draid(geometry) = &tree.kind else { panic!("{:?}", tree.kind) };
            let asize = tree.asize_of(size as u64, crate::ids::Txg(1));
            prop_assert!(asize >= size as u64 && asize.is_multiple_of(tree.kind.block_alignment()));
            prop_assert!(tree.deflate_ratio() > 0 && tree.kind.member_bytes(1 << 40) > 1 << 24);
            let at = (at >> 1) / tree.kind.block_alignment() * tree.kind.block_alignment();
            let map = geometry.map(at, size);
            prop_assert!(map.rows.len() <= 2);
            for row in &map.rows {
                let members: std::collections::BTreeSet<_> = row.columns.iter().map(|column| column.child).collect();
                prop_assert_eq!(members.len(), row.columns.len());
                prop_assert!(members.last() < Some(&(children as usize)));
            }
            for spare in 0..geometry.spares {
                prop_assert!(geometry.spare_member(spare, at) < children as usize);
            }
        }
    }

    #[test]
    fn a_distributed_spare_is_in_the_tree_once_and_below_its_vdev() {
        let spare = |id: u64, guid: u64, number: u64| {
            let mut list = NvList::new();
            list.add_string("type", "dspare").add_u64("id", id).add_u64("guid", guid);
            list.add_string("path", format!("draid1-0-{number}")).add_u64("spareid", number);
            list
        };
        let in_use = |id: u64, number: u64| {
            let mut list = NvList::new();
            list.add_string("type", "spare").add_u64("id", id).add_u64("guid", 50 + id);
            list.add_list_array("children", vec![leaf(0, 60 + id), spare(1, 70 + id, number)]);
            list
        };
        let with = |numbers: [u64; 2]| {
            let mut children = leaves(5);
            (children[1], children[3]) = (in_use(1, numbers[0]), in_use(3, numbers[1]));
            VdevConfig::parse(&draid([1, 2, 2, 1], children))
        };
        let tree = with([1, 0]).unwrap();
        assert_eq!(tree.children[1].children[1].display_name(), "draid1-0-1");
        assert!(
            with([1, 1]).unwrap_err().to_string().contains("distributed spare 1 (draid1-0-1) is not free")
        );
        assert!(with([1, 2]).unwrap_err().to_string().contains("distributed spare 2"));
        assert!(VdevConfig::parse(&in_use(0, 0)).unwrap_err().to_string().contains("spare 0"));
        assert!(VdevConfig::parse(&spare(0, 2, 0)).is_err());
        let mut nameless = draid([1, 2, 1, 4], leaves(5));
        let mut broken = spare(0, 1, 0);
        broken.remove("spareid");
        nameless.set("children", zstream_format::nvlist::NvValue::ListArray(vec![broken]));
        assert!(VdevConfig::parse(&nameless).unwrap_err().to_string().contains("no spareid"));
    }
}
