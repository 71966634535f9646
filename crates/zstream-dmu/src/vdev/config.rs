//! Vdev trees as nvlists: in labels (one top-level vdev) and in the MOS (the whole pool).
//!
//! A tree is validated while it is parsed: types are known, ids are indices, shapes are possible, the depth is
//! limited. The devices are opened elsewhere.

use zstream_format::nvlist::NvList;

use super::draid::config::{check_spares, parse_shape, parse_spare};
pub use super::kind::VdevType;
use super::raidz::{Expansion, Geometry};
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, ObjectId};

/// The maximum depth of a tree: root, raidz, spare, replacing, disk, and a reserve.
pub(crate) const DEPTH_MAX: usize = 8;

/// The maximum number of vdevs in one tree.
pub(crate) const VDEVS_MAX: usize = 65_536;

/// The range of the binary logarithm of the sector size (`ASHIFT_MIN`, `ASHIFT_MAX`).
pub(crate) const ASHIFT_RANGE: std::ops::RangeInclusive<u64> = 9..=16;

/// The pair with the dirty time log of a member (`ZPOOL_CONFIG_DTL`).
pub(crate) const MISSED_LOG: &str = "DTL";

/// A vdev and its children.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VdevConfig {
    /// The kind of the vdev.
    pub kind: VdevType,
    /// The index among its siblings.
    pub id: u64,
    /// The guid.
    pub guid: Guid,
    /// The path at which the pool last found the device.
    pub path: Option<String>,
    /// The binary logarithm of the sector size; on top-level vdevs.
    pub ashift: Option<u8>,
    /// The allocatable bytes; on top-level vdevs.
    pub asize: Option<u64>,
    /// The MOS object with the space maps of the metaslabs; on top-level vdevs.
    pub metaslab_array: Option<u64>,
    /// The binary logarithm of the metaslab size; on top-level vdevs.
    pub metaslab_shift: Option<u64>,
    /// `true` if the vdev is a log device, for intent logs only.
    pub is_log: bool,
    /// The MOS object with the properties of the vdev; on top-level vdevs of pools that have such objects.
    pub zap: Option<u64>,
    /// `true` if the device is offline, faulted or removed: its content is out of date.
    pub is_offline: bool,
    /// The MOS object of the mapping; on indirect vdevs.
    pub indirect_object: Option<u64>,
    /// The MOS object with the transaction groups that the member missed; on members that ever missed some.
    pub missed_log: Option<u64>,
    /// The children.
    pub children: Vec<VdevConfig>,
}

impl VdevConfig {
    /// Returns the size of the vdev in whole metaslabs, according to its configuration (`vdev_get_min_asize`); 0 for a
    /// vdev without a size.
    pub(crate) fn whole_metaslabs(&self) -> u64 {
        let shift = self.metaslab_shift.and_then(|shift| u32::try_from(shift).ok()).unwrap_or(0);
        let asize = self.asize.unwrap_or(0);
        asize.checked_shr(shift).map_or(0, |metaslabs| metaslabs << shift)
    }

    /// Creates a config with only these properties.
    #[must_use]
    pub fn bare(kind: VdevType, id: u64, guid: Guid) -> Self {
        Self {
            kind,
            id,
            guid,
            path: None,
            ashift: None,
            asize: None,
            metaslab_array: None,
            metaslab_shift: None,
            is_log: false,
            zap: None,
            is_offline: false,
            indirect_object: None,
            missed_log: None,
            children: Vec::new(),
        }
    }

    /// Parses the tree in `list`.
    ///
    /// # Errors
    /// Fails if a required pair is missing, has the wrong type, or violates a rule of the format. An unknown type is
    /// an error of the kind unsupported, with its name.
    pub fn parse(list: &NvList) -> Result<Self> {
        let mut left = VDEVS_MAX;
        let config = parse(list, 0, &mut left)?;
        check_spares(&config, &mut Vec::new())?;
        Ok(config)
    }

    /// Returns the sum of all guids in the tree, modulo 2^64 (`ub_guid_sum` for the root).
    #[must_use]
    pub fn guid_sum(&self) -> u64 {
        self.children.iter().fold(self.guid.0, |sum, child| sum.wrapping_add(child.guid_sum()))
    }

    /// Returns the object of the dirty time log, if the member has one.
    #[must_use]
    pub(crate) fn missed_log(&self) -> Option<ObjectId> {
        self.missed_log.filter(|&object| object != 0).map(ObjectId)
    }

    /// Returns an iterator over all vdevs of the tree, parents first.
    pub fn walk(&self) -> impl Iterator<Item = &VdevConfig> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(next.children.iter().rev());
            Some(next)
        })
    }

    /// Returns the name as in the output of `zpool`, such as `mirror-0`; for devices, the path.
    #[must_use]
    pub(crate) fn display_name(&self) -> String {
        match &self.path {
            Some(path) if self.kind.is_leaf() || matches!(self.kind, VdevType::DraidSpare(_)) => path.clone(),
            _ if self.kind.is_leaf() => format!("{}", self.guid.0),
            _ => format!("{}-{}", self.kind.name(), self.id),
        }
    }
}

fn parse(list: &NvList, depth: usize, left: &mut usize) -> Result<VdevConfig> {
    let bad = |detail: String| Error::corrupt("vdev tree", detail);
    if depth >= DEPTH_MAX {
        return Err(bad(format!("tree has more than {DEPTH_MAX} levels")));
    }
    *left = left.checked_sub(1).ok_or_else(|| bad(format!("tree has more than {VDEVS_MAX} vdevs")))?;
    let name = list.get_str("type").ok_or_else(|| bad("a vdev has no type".to_owned()))?;
    let number = |key: &str| list.get_u64(key);
    let needed = |key: &str| number(key).ok_or_else(|| bad(format!("a {name} vdev has no {key}")));
    let (id, guid) = (needed("id")?, Guid(needed("guid")?));
    let ashift = match number("ashift") {
        Some(ashift) if ASHIFT_RANGE.contains(&ashift) => Some(ashift as u8),
        // Devices that were never present have no sector size.
        Some(0) | None => None,
        Some(ashift) => {
            return Err(bad(format!("{name} vdev {guid} has ashift {ashift}, expected {ASHIFT_RANGE:?}")));
        }
    };
    let children = match list.get_list_array("children") {
        Some(lists) => lists.iter().map(|child| parse(child, depth + 1, left)).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    for (index, child) in children.iter().enumerate() {
        if child.id != index as u64 {
            return Err(bad(format!("child {index} of {name} vdev {guid} has id {}", child.id)));
        }
    }
    let kind = kind(name, list, ashift, &children)?;
    if children.is_empty() && matches!(kind, VdevType::Mirror | VdevType::Replacing | VdevType::Spare) {
        return Err(bad(format!("{name} vdev {guid} has no children")));
    }
    if kind.is_leaf() && !children.is_empty() {
        return Err(bad(format!("{name} vdev {guid} has children")));
    }
    Ok(VdevConfig {
        kind,
        id,
        guid,
        path: list.get_string("path").map(ToString::to_string),
        ashift,
        asize: number("asize"),
        metaslab_array: number("metaslab_array"),
        metaslab_shift: number("metaslab_shift"),
        is_log: number("is_log").unwrap_or(0) != 0,
        zap: number("com.delphix:vdev_zap_top"),
        is_offline: ["offline", "faulted", "removed"].iter().any(|key| number(key).unwrap_or(0) != 0),
        indirect_object: number("com.delphix:indirect_object"),
        missed_log: number(MISSED_LOG),
        children,
    })
}

fn kind(name: &str, list: &NvList, ashift: Option<u8>, children: &[VdevConfig]) -> Result<VdevType> {
    Ok(match name {
        "root" => VdevType::Root,
        "file" => VdevType::File,
        "disk" => VdevType::Disk,
        "mirror" => VdevType::Mirror,
        "replacing" => VdevType::Replacing,
        "spare" => VdevType::Spare,
        "raidz" => {
            // Very old pools have no nparity: only single parity existed.
            let parity = list.get_u64("nparity").unwrap_or(1);
            let Some(ashift) = ashift else {
                return Err(Error::corrupt("vdev tree", "a raidz vdev has no ashift"));
            };
            let done_txgs = list.get_u64_array("raidz_expand_txgs").unwrap_or_default().to_vec();
            // The progress of an expansion is in the uberblock.
            let reflowed_to = list.contains("raidz_expanding").then_some(0);
            let geometry = Geometry {
                children: children.len(),
                parity: usize::try_from(parity).unwrap_or(usize::MAX),
                ashift,
                expansion: Expansion { done_txgs, reflowed_to },
            };
            geometry.validate().map_err(|detail| Error::corrupt("vdev tree", detail))?;
            VdevType::Raidz(geometry)
        }
        "draid" => VdevType::Draid(parse_shape(list, ashift, children.len())?),
        "dspare" => VdevType::DraidSpare(parse_spare(list)?),
        "hole" => VdevType::Hole,
        "missing" => VdevType::Missing,
        "indirect" => VdevType::Indirect,
        other => return Err(Fault::Unsupported(format!("vdev type {other:?}")).into()),
    })
}

/// The config of a pool in a label or in the MOS.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The version of the pool: 1 to 28, or 5000 for feature flags.
    pub version: u64,
    /// The name of the pool.
    pub name: String,
    /// The state of the pool when the config was written.
    pub state: PoolState,
    /// The transaction group in which the config was written.
    pub txg: u64,
    /// The guid of the pool.
    pub pool_guid: Guid,
    /// The id of the host that last imported the pool, if it has one.
    pub hostid: Option<u64>,
    /// The name of the host that last imported the pool.
    pub hostname: Option<String>,
    /// The number of top-level vdevs. Labels from before log devices could be removed do not have it.
    pub vdev_children: Option<u64>,
    /// The guid of the device; in labels.
    pub guid: Option<Guid>,
    /// The guid of the top-level vdev of the device; in labels.
    pub top_guid: Option<Guid>,
    /// The top-level vdev (in labels) or the root (in the MOS).
    pub vdev_tree: VdevConfig,
    /// The features that are required to read the MOS; in labels.
    pub features_for_read: Vec<String>,
}

/// The state of a pool (`pool_state_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PoolState {
    Active,
    Exported,
    Destroyed,
    Spare,
    L2Cache,
    Unknown(u64),
}

impl From<u64> for PoolState {
    fn from(state: u64) -> Self {
        match state {
            0 => Self::Active,
            1 => Self::Exported,
            2 => Self::Destroyed,
            3 => Self::Spare,
            4 => Self::L2Cache,
            other => Self::Unknown(other),
        }
    }
}

impl From<PoolState> for u64 {
    fn from(state: PoolState) -> Self {
        match state {
            PoolState::Active => 0,
            PoolState::Exported => 1,
            PoolState::Destroyed => 2,
            PoolState::Spare => 3,
            PoolState::L2Cache => 4,
            PoolState::Unknown(state) => state,
        }
    }
}

impl std::fmt::Display for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Exported => f.write_str("exported"),
            Self::Destroyed => f.write_str("destroyed"),
            Self::Spare => f.write_str("spare"),
            Self::L2Cache => f.write_str("l2cache"),
            Self::Unknown(state) => write!(f, "unknown({state})"),
        }
    }
}

impl PoolConfig {
    /// Parses the nvlist in a label or in the config object of the MOS.
    ///
    /// # Errors
    /// Fails if a required pair is missing, or if the vdev tree is not valid.
    pub fn parse(list: &NvList) -> Result<Self> {
        let needed = |key: &str| {
            list.get_u64(key)
                .ok_or_else(|| Error::corrupt("pool config", format!("{key} is missing or not a number")))
        };
        let name = list
            .get_str("name")
            .ok_or_else(|| Error::corrupt("pool config", "name is missing or not a string"))?
            .to_owned();
        let tree = list
            .get_list("vdev_tree")
            .ok_or_else(|| Error::corrupt("pool config", "vdev_tree is missing or not a list"))?;
        let features = list.get_list("features_for_read");
        Ok(Self {
            version: needed("version")?,
            name,
            state: needed("state")?.into(),
            txg: needed("txg")?,
            pool_guid: Guid(needed("pool_guid")?),
            hostid: list.get_u64("hostid"),
            hostname: list.get_string("hostname").map(ToString::to_string),
            vdev_children: list.get_u64("vdev_children"),
            guid: list.get_u64("guid").map(Guid),
            top_guid: list.get_u64("top_guid").map(Guid),
            vdev_tree: VdevConfig::parse(tree)?,
            features_for_read: features
                .map(|list| list.iter().map(|pair| pair.name.to_string()).collect())
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(id: u64, guid: u64) -> NvList {
        let mut list = NvList::new();
        list.add_string("type", "file").add_u64("id", id).add_u64("guid", guid).add_string("path", "/x");
        list
    }

    fn raidz(children: Vec<NvList>) -> NvList {
        let mut list = NvList::new();
        list.add_string("type", "raidz").add_u64("id", 0).add_u64("guid", 100).add_u64("ashift", 12);
        list.add_u64("nparity", 1).add_list_array("children", children);
        list
    }

    #[test]
    fn a_tree_is_read_and_its_guids_add_up() {
        let tree = VdevConfig::parse(&raidz(vec![leaf(0, 1), leaf(1, u64::MAX), leaf(2, 3)])).unwrap();
        assert_eq!(
            (tree.guid_sum(), tree.walk().count(), tree.display_name()),
            (103, 4, "raidz1-0".to_owned())
        );
    }

    #[test]
    fn broken_trees_are_named() {
        let message = |list: NvList| VdevConfig::parse(&list).unwrap_err().to_string();
        assert!(message(raidz(vec![leaf(0, 1), leaf(0, 2)])).contains("has id 0"));
        assert!(message(raidz(vec![leaf(0, 1)])).contains("raidz1 has 1 members"));
        let mut odd = leaf(0, 1);
        odd.set("type", zstream_format::nvlist::NvValue::String("tape".into()));
        assert_eq!(message(odd), "vdev type \"tape\" is not supported");
        let mut deep = leaf(0, 1);
        for _ in 0..DEPTH_MAX {
            let mut parent = NvList::new();
            parent.add_string("type", "mirror").add_u64("id", 0).add_u64("guid", 1);
            parent.add_list_array("children", vec![deep]);
            deep = parent;
        }
        assert!(message(deep).contains("more than 8 levels"));
    }
}
