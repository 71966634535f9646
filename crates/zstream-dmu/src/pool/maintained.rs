//! The features that zstream maintains when it writes to a pool, and those that new pools have.
//!
//! A feature that is enabled but not active requires nothing of a writer that does not use it. So only the active
//! features of an existing pool matter, and of a new pool those that its datasets may need. New pools have the
//! features that OpenZFS 2.1 and later support. Features that would make a new pool unreadable for older versions must
//! be requested.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::mos::features::{FEATURES, Feature, Features};

/// A feature that zstream maintains while it is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maintained {
    /// The short name.
    pub name: &'static str,
    /// Whether new pools have the feature by default.
    pub by_default: bool,
    /// The way in which zstream maintains the feature.
    pub how: &'static str,
}

const fn row(name: &'static str, by_default: bool, how: &'static str) -> Maintained {
    Maintained { name, by_default, how }
}

/// All features that zstream uses, or maintains when it changes related metadata.
pub(crate) const MAINTAINED: &[Maintained] = &[
    row("async_destroy", true, "pending destroys stay in their list, and OpenZFS resumes them"),
    row("empty_bpobj", true, "empty entries of deadlists share one list"),
    row("lz4_compress", true, "metadata is compressed with it"),
    row("spacemap_histogram", true, "space maps count their free segments by size"),
    row("enabled_txg", true, "each feature has the transaction group in which it was enabled"),
    row("hole_birth", true, "holes have a birth transaction group"),
    row("spacemap_v2", true, "long runs of a space map are one entry of two words"),
    row("log_spacemap", false, "logs from OpenZFS are flushed to the space maps of the metaslabs and freed"),
    row("livelist", false, "the livelist of a clone is removed when the clone is written"),
    row("extensible_dataset", true, "directories and datasets are ZAPs with extra entries"),
    row("bookmarks", true, "bookmarks are created, and updated when snapshots are destroyed"),
    row("bookmark_v2", true, "bookmarks of encrypted datasets and with redaction lists"),
    row("bookmark_written", true, "bookmarks count what was freed since"),
    row("filesystem_limits", true, "datasets and snapshots are counted if they are limited"),
    row("embedded_data", true, "blocks that compress to 112 bytes or less are stored in their pointer"),
    row("large_blocks", true, "blocks of up to 16 MiB"),
    row("large_dnode", true, "dnodes of up to 16 KiB"),
    row("sha512", true, "checksum property of datasets"),
    row("skein", true, "checksum property of datasets"),
    row("edonr", true, "checksum property of datasets"),
    row("blake3", true, "checksum property of datasets"),
    row("zstd_compress", true, "compression property of datasets"),
    row("encryption", true, "datasets are created, written and received encrypted"),
    row("redaction_bookmarks", true, "redaction lists are written, and freed with their bookmarks"),
    row("redacted_datasets", true, "redacted streams are received, and redacted datasets are cloned"),
    row("redaction_list_spill", true, "lists of many redaction snapshots"),
    row(
        "userobj_accounting",
        true,
        "objects are counted by owner if counting is complete; otherwise OpenZFS counts them",
    ),
    row("project_quota", true, "as userobj_accounting"),
    row("allocation_classes", true, "metadata is stored on special vdevs"),
    row(
        "draid",
        true,
        "blocks are written in whole stripes of a group; pools with a spare in use are not written",
    ),
    row("zilsaxattr", true, "intent logs are not written"),
    row("longname", true, "names of files of up to 1023 bytes, received and kept"),
    row("large_microzap", true, "small ZAPs of up to 1 MiB, received and kept"),
    row("device_removal", false, "blocks on removed vdevs are freed where they were moved to"),
    row(
        "obsolete_counts",
        false,
        "freed ranges of removed vdevs are noted, so that OpenZFS condenses their mapping",
    ),
    row("zpool_checkpoint", false, "blocks that the checkpoint needs stay allocated when they are freed"),
    row("dynamic_gang_header", false, "gang blocks have large headers while it is active, and activate it"),
    row("physical_rewrite", false, "rewritten blocks keep their births; none are rewritten"),
    row("resilver_defer", false, "OpenZFS restarts a resilver of a pool that was written meanwhile"),
    row("fast_dedup", false, "deduplication tables count references; their logs are moved to them"),
    row("block_cloning", false, "references to blocks are counted in the tables of the vdevs"),
    row("block_cloning_endian", false, "new tables have big-endian entries"),
    row("multi_vdev_crash_dump", false, "dump devices are not touched"),
    row("head_errlog", false, "error logs are not written"),
    row("vdev_zaps_v2", false, "the root vdev has a ZAP of properties, as the others do"),
    row(
        "raidz_expansion",
        false,
        "blocks have the width of the raidz vdev at their birth, and are where it says",
    ),
];

impl Maintained {
    /// Returns the row of the feature with this short name.
    #[must_use]
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        MAINTAINED.iter().find(|row| row.name == name)
    }
}

/// Refuses a pool with active features that are not maintained.
///
/// # Errors
/// Fails if there are such features, and names them.
pub(crate) fn check_maintained(features: &Features) -> Result<()> {
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

/// Refuses a feature that zstream cannot enable in an existing pool.
///
/// # Errors
/// Fails if the feature is such a one, and names it.
pub fn check_can_enable(feature: &Feature) -> Result<()> {
    match feature.name {
        // The root vdev would require a ZAP of its own.
        "vdev_zaps_v2" => Err(Error::unsupported(format!("enabling {} in an existing pool", feature.name))),
        _ => FeatureSet::none().enable(feature.name),
    }
}

/// The features of a new pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSet(BTreeSet<&'static str>);

impl Default for FeatureSet {
    /// Returns the features that new pools have by default.
    fn default() -> Self {
        let rows = MAINTAINED.iter().filter(|row| row.by_default);
        Self(rows.map(|row| row.name).collect())
    }
}

impl FeatureSet {
    /// Returns an empty set.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Adds a feature and its dependencies.
    ///
    /// # Errors
    /// Fails if the feature does not exist or is not maintained.
    pub fn enable(&mut self, name: &str) -> Result<()> {
        let feature = Feature::by_name(name).ok_or_else(|| Error::no_entry("feature", name))?;
        // These features are maintained in existing pools, but not used in new ones.
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

    /// Removes a feature and those that depend on it.
    ///
    /// # Errors
    /// Fails if the feature does not exist.
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

    /// Retains the features that are also in `names`, the list of a compatibility file.
    pub fn retain(&mut self, names: &BTreeSet<String>) {
        let missing: Vec<_> = self.0.iter().copied().filter(|name| !names.contains(*name)).collect();
        for name in missing {
            // All features of the set are known.
            let _ = self.disable(name);
        }
    }

    /// Returns whether a feature is in the set.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Returns an iterator over the features. Dependencies precede the features that need them.
    pub fn iter(&self) -> impl Iterator<Item = &'static Feature> + '_ {
        // `enabled_txg` is first because it records when the others were enabled.
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
        assert!(
            set.enable("device_rebuild").unwrap_err().to_string().contains("enabling feature device_rebuild")
        );
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
        let error = check_maintained(&features(&[("org.openzfs:device_rebuild", 2)]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "writing to a pool with active feature device_rebuild is not supported"
        );
        assert!(check_maintained(&features(&[("org.example:new", 1)])).is_err());
    }
}
