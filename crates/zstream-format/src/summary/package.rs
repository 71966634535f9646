//! The list behind the header of a package: which datasets and snapshots there were at the sender, with
//! their properties and holds.

use crate::ids::Guid;
use crate::nvlist::{NvList, NvString, NvValue};

/// What the list of a package says.
#[derive(Debug)]
pub struct PackageList {
    /// Short name of the incremental source.
    pub from_snap: Option<NvString>,
    /// Short name of the last snapshot.
    pub to_snap: Option<NvString>,
    /// Sent with the descendants of the top filesystem (`zfs send -R`).
    pub recursive: bool,
    /// Sent as it lies on disk (`zfs send -w`).
    pub raw: bool,
    /// The datasets, in the list's order.
    pub datasets: Vec<Dataset>,
    /// The whole list.
    pub list: NvList,
}

/// A dataset of a package.
#[derive(Debug)]
pub struct Dataset {
    /// Its name at the sender.
    pub name: NvString,
    /// Guid of the dataset itself.
    pub guid: Option<Guid>,
    /// Guid of the snapshot it is a clone of.
    pub origin: Option<Guid>,
    /// Guid of its parent's snapshot that the increment starts from, or of the parent's last one where the parent is new.
    pub parent_from_snap: Option<Guid>,
    /// Whether it is an encryption root.
    pub is_encryption_root: bool,
    /// Its properties, local and received ones.
    pub properties: Vec<(NvString, NvValue)>,
    /// Its snapshots, sent or not.
    pub snapshots: Vec<PackageSnapshot>,
}

/// A snapshot of a dataset of a package.
#[derive(Debug)]
pub struct PackageSnapshot {
    /// Short name.
    pub name: NvString,
    /// Its guid.
    pub guid: Guid,
    /// Its properties.
    pub properties: Vec<(NvString, NvValue)>,
    /// Its holds: tag, and since when in seconds since 1970.
    pub holds: Vec<(NvString, u64)>,
}

impl PackageList {
    /// Takes apart what is there; what has another type than OpenZFS gives it counts as absent.
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
        // A package may list very many snapshots; each name is looked up in these lists once.
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
