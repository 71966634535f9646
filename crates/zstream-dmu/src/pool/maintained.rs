//! Which features zstream keeps right when it writes to a pool, and which of them new pools have.
//!
//! A feature that is enabled but not active asks nothing of a writer that does not use it. So of a pool that is opened only the
//! active ones matter, and of a new pool those that its datasets may come to need. New pools have what OpenZFS 2.1 and later
//! read: what would lock out older ones from the start has to be asked for.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::mos::features::{FEATURES, Feature, Features};

/// A feature that a writer may find active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintained {
    /// Its short name.
    pub name: &'static str,
    /// Whether new pools have it unless told otherwise.
    pub by_default: bool,
    /// What zstream does about it.
    pub how: &'static str,
}

const fn row(name: &'static str, by_default: bool, how: &'static str) -> Maintained {
    Maintained { name, by_default, how }
}

/// Everything that zstream writes, or keeps right when it changes what is beside it.
pub const MAINTAINED: &[Maintained] = &[
    row("async_destroy", true, "what waits to be destroyed stays in its list, for OpenZFS to go on with"),
    row("empty_bpobj", true, "empty entries of deadlists share one list"),
    row("lz4_compress", true, "metadata is compressed with it"),
    row("spacemap_histogram", true, "space maps count their free segments by size"),
    row("enabled_txg", true, "each feature has the transaction group in which it was enabled"),
    row("hole_birth", true, "holes remember when they came to be"),
    row("spacemap_v2", true, "long runs of a space map are one entry of two words"),
    row("log_spacemap", false, "logs that OpenZFS left are written to the metaslabs' own maps and freed"),
    row("livelist", false, "a clone that is written to gives up its list of blocks of its own"),
    row("extensible_dataset", true, "directories and datasets have entries of their own"),
    row("bookmarks", true, "bookmarks are made, and kept right when snapshots go"),
    row("bookmark_v2", true, "bookmarks of encrypted datasets and with redaction lists"),
    row("bookmark_written", true, "bookmarks count what was freed since"),
    row("filesystem_limits", true, "datasets and snapshots are counted where they are limited"),
    row("embedded_data", true, "blocks that compress to 112 bytes or less lie in their pointer"),
    row("large_blocks", true, "blocks of up to 16 MiB"),
    row("large_dnode", true, "dnodes of up to 16 KiB"),
    row("sha512", true, "checksum of datasets that have it"),
    row("skein", true, "checksum of datasets that have it"),
    row("edonr", true, "checksum of datasets that have it"),
    row("blake3", true, "checksum of datasets that have it"),
    row("zstd_compress", true, "compression of datasets that have it"),
    row("encryption", true, "datasets are created, written and received encrypted"),
    row("redaction_bookmarks", true, "redaction lists are written, and freed with their bookmarks"),
    row("redacted_datasets", true, "redacted streams are received, and such datasets cloned"),
    row("redaction_list_spill", true, "lists of many redaction snapshots"),
    row(
        "userobj_accounting",
        true,
        "objects are counted by owner where counting is complete; else OpenZFS does it",
    ),
    row("project_quota", true, "as userobj_accounting"),
    row("allocation_classes", true, "metadata goes to special vdevs"),
    row("zilsaxattr", true, "intent logs are not written"),
    row("longname", true, "names of files of up to 1023 bytes, received and kept"),
    row("large_microzap", true, "small ZAPs of up to 1 MiB, received and kept"),
    row("multi_vdev_crash_dump", false, "dump devices are not touched"),
    row("head_errlog", false, "error logs are not written"),
    row("vdev_zaps_v2", false, "the pool has an object of properties, as its vdevs do"),
    row(
        "raidz_expansion",
        false,
        "blocks are as wide as raidz was when they were born; none while it is expanded",
    ),
];

impl Maintained {
    /// The row of the feature with this short name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        MAINTAINED.iter().find(|row| row.name == name)
    }
}

/// Refuses pools with an active feature that is not kept right.
///
/// # Errors
/// It names the features.
pub fn check_maintained(features: &Features) -> Result<()> {
    features.check_writable()?;
    let active = features.iter().filter(|(_, count)| *count > 0);
    let known = active.filter_map(|(guid, _)| Feature::by_guid(guid));
    let missing: Vec<_> =
        known.map(|feature| feature.name).filter(|name| Maintained::by_name(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (plural, list) = (if missing.len() > 1 { "s" } else { "" }, missing.join(", "));
    Err(Error::unsupported(format!("writing to a pool with active feature{plural} {list}")))
}

/// Refuses a feature that is not to be enabled in an existing pool.
///
/// # Errors
/// It names the feature.
pub fn check_can_enable(feature: &Feature) -> Result<()> {
    match feature.name {
        // The root vdev would need an object of its own.
        "vdev_zaps_v2" => Err(Error::unsupported(format!("enabling {} in an existing pool", feature.name))),
        _ => FeatureSet::none().enable(feature.name),
    }
}

/// The features of a new pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSet(BTreeSet<&'static str>);

impl Default for FeatureSet {
    /// Those that new pools have unless told otherwise.
    fn default() -> Self {
        let rows = MAINTAINED.iter().filter(|row| row.by_default);
        Self(rows.map(|row| row.name).collect())
    }
}

impl FeatureSet {
    /// No feature.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Adds a feature and those that it needs.
    ///
    /// # Errors
    /// There is no such feature, or zstream does not keep it right.
    pub fn enable(&mut self, name: &str) -> Result<()> {
        let feature = Feature::by_name(name).ok_or_else(|| Error::no_entry("feature", name))?;
        // Of these, what OpenZFS left is dealt with, and nothing new is made.
        let is_retired = ["log_spacemap", "livelist"].contains(&name);
        if is_retired || Maintained::by_name(name).is_none() {
            return Err(Error::unsupported(format!("enabling feature {name}")));
        }
        for needed in feature.depends {
            self.enable(needed)?;
        }
        self.0.insert(feature.name);
        Ok(())
    }

    /// Takes away a feature and those that need it.
    ///
    /// # Errors
    /// There is no such feature.
    pub fn disable(&mut self, name: &str) -> Result<()> {
        let feature = Feature::by_name(name).ok_or_else(|| Error::no_entry("feature", name))?;
        self.0.remove(feature.name);
        for dependent in FEATURES.iter().filter(|other| other.depends.contains(&feature.name)) {
            if self.0.contains(dependent.name) {
                self.disable(dependent.name)?;
            }
        }
        Ok(())
    }

    /// Keeps those that are in `names` too, as a compatibility file lists them.
    pub fn retain(&mut self, names: &BTreeSet<String>) {
        let missing: Vec<_> = self.0.iter().copied().filter(|name| !names.contains(*name)).collect();
        for name in missing {
            // What is in the set is known.
            let _ = self.disable(name);
        }
    }

    /// Whether a feature is in the set.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The features, those that others need before them.
    pub fn iter(&self) -> impl Iterator<Item = &'static Feature> + '_ {
        // `enabled_txg` first: it notes when the others were enabled.
        let first = FEATURES.iter().filter(|feature| feature.name == "enabled_txg");
        let rest = FEATURES.iter().filter(|feature| feature.name != "enabled_txg");
        first.chain(rest).filter(|feature| self.contains(feature.name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_default_set_is_closed_and_known() {
        let set = FeatureSet::default();
        for row in MAINTAINED {
            let feature = Feature::by_name(row.name).expect(row.name);
            if row.by_default {
                assert!(feature.depends.iter().all(|name| set.contains(name)), "{}", row.name);
            }
        }
        assert_eq!(set.iter().count(), MAINTAINED.iter().filter(|row| row.by_default).count());
        assert_eq!(set.iter().next().map(|feature| feature.name), Some("enabled_txg"));
        // OpenZFS 2.1 must be able to read the MOS of a new pool.
        let at_once =
            set.iter().filter(|feature| feature.active_when_enabled && !feature.read_only_compatible);
        let names: Vec<_> = at_once.map(|feature| feature.name).collect();
        assert_eq!(names, ["lz4_compress", "hole_birth", "embedded_data"]);
    }

    #[test]
    fn features_come_and_go_with_those_they_need() {
        let mut set = FeatureSet::none();
        set.enable("redaction_bookmarks").unwrap();
        let names = |set: &FeatureSet| set.iter().map(|feature| feature.name).collect::<Vec<_>>();
        assert_eq!(names(&set), ["extensible_dataset", "bookmarks", "redaction_bookmarks", "bookmark_v2"]);
        set.disable("bookmarks").unwrap();
        assert_eq!(names(&set), ["extensible_dataset"]);
        assert!(set.enable("draid").unwrap_err().to_string().contains("enabling feature draid"));
        assert!(set.enable("nothing").is_err());
        let mut set = FeatureSet::default();
        set.retain(&["lz4_compress".to_owned(), "bookmarks".to_owned(), "encryption".to_owned()].into());
        assert_eq!(names(&set), ["lz4_compress"], "the others need extensible_dataset");
    }

    #[test]
    fn pools_with_other_active_features_are_refused_by_name() {
        let features = |list: &[(&str, u64)]| {
            let list: BTreeMap<_, _> = list.iter().map(|(guid, n)| ((*guid).to_owned(), *n)).collect();
            Features::new(BTreeMap::new(), list)
        };
        assert!(
            check_maintained(&features(&[("com.delphix:livelist", 0), ("com.delphix:log_spacemap", 1)]))
                .is_ok()
        );
        let error = check_maintained(&features(&[
            ("com.fudosecurity:block_cloning", 1),
            ("org.openzfs:device_rebuild", 2),
        ]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "writing to a pool with active features block_cloning, device_rebuild is not supported"
        );
        assert!(check_maintained(&features(&[("org.example:new", 1)])).is_err());
    }
}
