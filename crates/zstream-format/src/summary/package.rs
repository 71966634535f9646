//! The list after the header of a package: the datasets and snapshots of the sender, with their properties
//! and holds.

use crate::ids::Guid;
use crate::nvlist::{NvList, NvString, NvValue};

/// The content of the list of a package.
#[derive(Debug)]
#[non_exhaustive]
pub struct PackageList {
    /// The short name of the incremental source.
    pub from_snap: Option<NvString>,
    /// The short name of the last snapshot.
    pub to_snap: Option<NvString>,
    /// `true` if the package includes the descendants of the top filesystem (`zfs send -R`).
    pub recursive: bool,
    /// `true` if the package is raw (`zfs send -w`).
    pub raw: bool,
    /// The datasets, in the order of the list.
    pub datasets: Vec<Dataset>,
    /// The whole list.
    pub list: NvList,
}

/// A dataset of a package.
#[derive(Debug)]
#[non_exhaustive]
pub struct Dataset {
    /// The name at the sender.
    pub name: NvString,
    /// The guid of the dataset.
    pub guid: Option<Guid>,
    /// The guid of the origin, if the dataset is a clone.
    pub origin: Option<Guid>,
    /// The guid of the parent's snapshot that the increment starts from, or of the last snapshot of a new parent.
    pub parent_from_snap: Option<Guid>,
    /// `true` if the dataset is an encryption root.
    pub is_encryption_root: bool,
    /// The local and received properties.
    pub properties: Vec<(NvString, NvValue)>,
    /// The snapshots, including those that are not sent.
    pub snapshots: Vec<PackageSnapshot>,
}

/// A snapshot of a dataset of a package.
#[derive(Debug)]
#[non_exhaustive]
pub struct PackageSnapshot {
    /// The short name.
    pub name: NvString,
    /// The guid of the snapshot.
    pub guid: Guid,
    /// The properties.
    pub properties: Vec<(NvString, NvValue)>,
    /// The holds: the tag, and the time in seconds since 1970.
    pub holds: Vec<(NvString, u64)>,
}

impl PackageList {
    /// Parses the list. An entry whose type differs from that in OpenZFS is ignored.
    #[must_use]
    pub fn new(list: NvList) -> Self {
        let datasets = list.get_list("fss").into_iter().flatten().filter_map(|pair| match &pair.value {
            NvValue::List(entry) => Some(Dataset::new(&pair.name, entry)),
            _ => None,
        });
        Self {
            from_snap: list.get_string("fromsnap").cloned(),
            to_snap: list.get_string("tosnap").cloned(),
            recursive: !list.get_boolean("not_recursive"),
            raw: list.get_boolean("raw"),
            datasets: datasets.collect(),
            list,
        }
    }
}

fn pairs(list: Option<&NvList>) -> Vec<(NvString, NvValue)> {
    list.into_iter().flatten().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}

impl Dataset {
    fn new(key: &NvString, entry: &NvList) -> Self {
        let guid = key.to_str().and_then(|key| u64::from_str_radix(key.strip_prefix("0x")?, 16).ok());
        // A package may list very many snapshots, and each name is looked up in these lists.
        let sorted = |name| {
            let mut pairs: Vec<_> = entry.get_list(name).into_iter().flatten().collect();
            pairs.sort_by(|a, b| a.name.cmp(&b.name));
            pairs
        };
        let (properties, holds) = (sorted("snapprops"), sorted("snapholds"));
        let find = |pairs: &[&crate::nvlist::NvPair], name: &NvString| match pairs
            .binary_search_by(|pair| pair.name.cmp(name))
            .map(|at| pairs[at].value.clone())
        {
            Ok(NvValue::List(list)) => Some(list),
            _ => None,
        };
        let snapshots = entry.get_list("snaps").into_iter().flatten().filter_map(|pair| {
            let NvValue::Uint64(guid) = pair.value else { return None };
            let tags = find(&holds, &pair.name).into_iter().flatten();
            Some(PackageSnapshot {
                name: pair.name.clone(),
                guid: Guid(guid),
                properties: pairs(find(&properties, &pair.name).as_ref()),
                holds: tags
                    .filter_map(|tag| match tag.value {
                        NvValue::Uint64(since) => Some((tag.name, since)),
                        _ => None,
                    })
                    .collect(),
            })
        });
        Self {
            name: entry.get_string("name").cloned().unwrap_or_default(),
            guid: guid.map(Guid),
            origin: entry.get_u64("origin").filter(|guid| *guid != 0).map(Guid),
            parent_from_snap: entry.get_u64("parentfromsnap").filter(|guid| *guid != 0).map(Guid),
            is_encryption_root: entry.get_boolean("is_encroot"),
            properties: pairs(entry.get_list("props")),
            snapshots: snapshots.collect(),
        }
    }
}
