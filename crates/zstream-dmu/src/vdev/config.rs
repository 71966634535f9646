//! Vdev trees as nvlists describe them: in labels (one top-level vdev) and in the MOS (the whole pool).
//!
//! A tree is judged while it is read: types are known, ids are indices, shapes are possible, depth is bounded. Where its
//! devices are is another matter.

use zstream_format::nvlist::NvList;

pub use super::kind::VdevType;
use super::raidz::{Expansion, Geometry};
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;

/// Deepest tree: root, raidz, spare, replacing, disk, and some to spare.
pub const DEPTH_MAX: usize = 8;

/// Most vdevs in one tree.
pub const VDEVS_MAX: usize = 65_536;

/// Smallest and largest binary logarithm of a sector size (`ASHIFT_MIN`, `ASHIFT_MAX`).
pub const ASHIFT_RANGE: std::ops::RangeInclusive<u64> = 9..=16;

/// A vdev and what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VdevConfig {
    /// What it is.
    pub kind: VdevType,
    /// Index among its siblings.
    pub id: u64,
    /// Its guid.
    pub guid: Guid,
    /// Where the pool last found the device.
    pub path: Option<String>,
    /// Binary logarithm of the sector size; on top-level vdevs.
    pub ashift: Option<u8>,
    /// Allocatable bytes; on top-level vdevs.
    pub asize: Option<u64>,
    /// MOS object that lists the space maps of the vdev's metaslabs; on top-level vdevs.
    pub metaslab_array: Option<u64>,
    /// Binary logarithm of the metaslab size; on top-level vdevs.
    pub metaslab_shift: Option<u64>,
    /// Whether the vdev is only for intent logs.
    pub is_log: bool,
    /// MOS object with properties of the vdev; on top-level vdevs of pools that have such objects.
    pub zap: Option<u64>,
    /// Whether the device was taken out of use (`zpool offline`, faulted or removed): what is on it is out of date.
    pub is_offline: bool,
    /// On indirect vdevs: the MOS object that holds the mapping.
    pub indirect_object: Option<u64>,
    /// Its children.
    pub children: Vec<VdevConfig>,
}

impl VdevConfig {
    /// One of which nothing else is known.
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
            children: Vec::new(),
        }
    }

    /// Reads the tree in `list`.
    ///
    /// # Errors
    /// A member that must be there is not, is of the wrong type, or breaks a rule of the format; a type that is unknown is
    /// unsupported, and named.
    pub fn parse(list: &NvList) -> Result<Self> {
        let mut left = VDEVS_MAX;
        parse(list, 0, &mut left)
    }

    /// The sum of all guids in the tree, modulo 2^64 (`ub_guid_sum` when this is the root).
    #[must_use]
    pub fn guid_sum(&self) -> u64 {
        self.children.iter().fold(self.guid.0, |sum, child| sum.wrapping_add(child.guid_sum()))
    }

    /// All vdevs of the tree, parents first.
    pub fn walk(&self) -> impl Iterator<Item = &VdevConfig> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(next.children.iter().rev());
            Some(next)
        })
    }

    /// `mirror-0`, as `zpool` calls a vdev; leaves by their path.
    #[must_use]
    pub fn display_name(&self) -> String {
        match &self.path {
            Some(path) if self.kind.is_leaf() => path.clone(),
            _ if self.kind.is_leaf() => format!("{}", self.guid.0),
            _ => format!("{}-{}", self.kind.name(), self.id),
        }
    }
}

fn parse(list: &NvList, depth: usize, left: &mut usize) -> Result<VdevConfig> {
    let bad = |detail: String| Error::corrupt("vdev tree", detail);
    if depth >= DEPTH_MAX {
        return Err(bad(format!("deeper than {DEPTH_MAX} levels")));
    }
    *left = left.checked_sub(1).ok_or_else(|| bad(format!("more than {VDEVS_MAX} vdevs")))?;
    let name = list.get_str("type").ok_or_else(|| bad("a vdev without type".to_owned()))?;
    let number = |key: &str| list.get_u64(key);
    let needed = |key: &str| number(key).ok_or_else(|| bad(format!("a {name} vdev without {key}")));
    let (id, guid) = (needed("id")?, Guid(needed("guid")?));
    let ashift = match number("ashift") {
        Some(ashift) if ASHIFT_RANGE.contains(&ashift) => Some(ashift as u8),
        // Devices that are not there yet have no sector size.
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
            return Err(bad(format!("child {index} of {name} vdev {guid} says it is number {}", child.id)));
        }
    }
    let kind = kind(name, list, ashift, &children)?;
    if children.is_empty() && matches!(kind, VdevType::Mirror | VdevType::Replacing | VdevType::Spare) {
        return Err(bad(format!("{name} vdev {guid} without children")));
    }
    if kind.is_leaf() && !children.is_empty() {
        return Err(bad(format!("{name} vdev {guid} with children")));
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
            // Very old pools have no nparity: there was only one kind.
            let parity = list.get_u64("nparity").unwrap_or(1);
            let Some(ashift) = ashift else {
                return Err(Error::corrupt("vdev tree", "raidz vdev without ashift"));
            };
            let done_txgs = list.get_u64_array("raidz_expand_txgs").unwrap_or_default().to_vec();
            // How far an expansion has come is in the uberblock.
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
        "draid" => {
            let number = |key: &str| list.get_u64(key).map_or("?".to_owned(), |value| value.to_string());
            VdevType::Draid(format!(
                "draid{}:{}d:{}c:{}s",
                number("nparity"),
                number("draid_ndata"),
                children.len(),
                number("draid_nspares")
            ))
        }
        "hole" => VdevType::Hole,
        "missing" => VdevType::Missing,
        "indirect" => VdevType::Indirect,
        other => return Err(Fault::Unsupported(format!("vdev type {other:?}")).into()),
    })
}

/// What a label or the MOS says about the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// Pool version: 1 to 28, or 5000 for feature flags.
    pub version: u64,
    /// Name of the pool.
    pub name: String,
    /// What the pool was doing when this was written.
    pub state: PoolState,
    /// Transaction group in which this was written.
    pub txg: u64,
    /// The pool's guid.
    pub pool_guid: Guid,
    /// Number of the host that last had the pool; hosts may have none.
    pub hostid: Option<u64>,
    /// Name of the host that last had the pool.
    pub hostname: Option<String>,
    /// Number of top-level vdevs; labels written before log devices could be removed do not have it.
    pub vdev_children: Option<u64>,
    /// In labels: the guid of the device itself.
    pub guid: Option<Guid>,
    /// In labels: the guid of the top-level vdev that the device belongs to.
    pub top_guid: Option<Guid>,
    /// The top-level vdev (label) or the root (MOS).
    pub vdev_tree: VdevConfig,
    /// Features that must be known to read the MOS; only in labels.
    pub features_for_read: Vec<String>,
}

/// State of a pool (`pool_state_t`).
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
    /// Reads the list in a label or in the MOS's config object.
    ///
    /// # Errors
    /// A member that must be there is not, or the vdev tree is bad.
    pub fn parse(list: &NvList) -> Result<Self> {
        let needed = |key: &str| {
            list.get_u64(key).ok_or_else(|| Error::corrupt("pool config", format!("no number named {key}")))
        };
        let name = list
            .get_str("name")
            .ok_or_else(|| Error::corrupt("pool config", "no string named name"))?
            .to_owned();
        let tree = list
            .get_list("vdev_tree")
            .ok_or_else(|| Error::corrupt("pool config", "no list named vdev_tree"))?;
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
        assert!(message(raidz(vec![leaf(0, 1), leaf(0, 2)])).contains("says it is number 0"));
        assert!(message(raidz(vec![leaf(0, 1)])).contains("raidz1 of 1 members"));
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
        assert!(message(deep).contains("deeper"));
    }

    #[test]
    fn draid_keeps_its_full_name() {
        let mut list = raidz(vec![leaf(0, 1), leaf(1, 2)]);
        list.set("type", zstream_format::nvlist::NvValue::String("draid".into()));
        list.add_u64("draid_ndata", 4).add_u64("draid_nspares", 1);
        assert_eq!(VdevConfig::parse(&list).unwrap().kind.name(), "draid1:4d:2c:1s");
    }
}
