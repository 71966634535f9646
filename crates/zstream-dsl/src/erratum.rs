//! Errata: mistakes of earlier versions of ZFS in the format on disk, which newer versions report by number
//! (`zpool_errata_t`).
//!
//! | number | name | mistake | consequence |
//! | --- | --- | --- | --- |
//! | 3 | `ZOL_6845_ENCRYPTION` | the keys of a dataset are of version 0, whose MACs cover fields that differ between machines | the dataset is read-only; no receiver accepts it raw |
//! | 4 | `ZOL_8308_ENCRYPTION` | an encrypted snapshot has no IV set | no receiver accepts a raw increment that starts from it |
//!
//! Errata 1 and 2 were left by scrubs and destroys of 2014, and disappear when OpenZFS imports the pool.

use std::collections::BTreeMap;
use std::fmt;

use crate::dataset::Dataset;
use crate::error::Result;
use crate::keys::CryptoKey;
use crate::lines::Lines;
use crate::reader::Mos;

/// A known mistake in data that an earlier version of ZFS wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Erratum {
    /// Encryption keys of the first format.
    FirstKeys,
    /// An encrypted snapshot without an IV set.
    NoIvSet,
}

impl Erratum {
    /// Returns the number that `zpool status` shows.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::FirstKeys => 3,
            Self::NoIvSet => 4,
        }
    }

    /// Returns the name in OpenZFS's documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstKeys => "ZOL_6845_ENCRYPTION",
            Self::NoIvSet => "ZOL_8308_ENCRYPTION",
        }
    }

    /// Returns the advice for users.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::FirstKeys => {
                "datasets with keys of the first format can only be read: send them without -w into new datasets"
            }
            Self::NoIvSet => {
                "snapshots without an IV set cannot be the source of a raw increment: take new ones where the pool has bookmark_v2, and send those raw in full"
            }
        }
    }

    /// Returns the erratum of a dataset's keys.
    #[must_use]
    pub fn of_keys(keys: &CryptoKey) -> Option<Self> {
        (keys.wrapped.version == 0).then_some(Self::FirstKeys)
    }

    /// Returns the errata of a dataset or snapshot.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn of<M: Mos>(dataset: &Dataset<M>) -> Result<Vec<Self>> {
        let Some(keys) = dataset.crypto_key()? else { return Ok(Vec::new()) };
        let mut found: Vec<Self> = Self::of_keys(&keys).into_iter().collect();
        if dataset.is_snapshot() && dataset.ivset_guid()?.is_none() {
            found.push(Self::NoIvSet);
        }
        Ok(found)
    }

    /// Returns the errata of a pool, with the names of the affected datasets. Datasets that cannot be read are skipped.
    #[must_use]
    pub fn of_pool(lines: &Lines) -> BTreeMap<Self, Vec<String>> {
        let mut found: BTreeMap<Self, Vec<String>> = BTreeMap::new();
        for dataset in lines.datasets() {
            for erratum in Self::of(dataset).unwrap_or_default() {
                found.entry(erratum).or_default().push(dataset.name().to_owned());
            }
        }
        found
    }
}

impl fmt::Display for Erratum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "erratum {} ({})", self.number(), self.name())
    }
}
