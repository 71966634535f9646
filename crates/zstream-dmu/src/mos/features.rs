//! Pool features: their names, their dependencies, and their state in a pool.
//!
//! A pool of version 5000 lists its features by guid in two ZAPs of the MOS. A feature is *enabled* if it is listed,
//! and *active* if its count is above zero. An active feature in `features_for_read` must be supported to read
//! anything, one in `features_for_write` only to write.

use std::collections::BTreeMap;

use crate::error::{Error, Fault, Result};

/// A feature that zstream knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feature {
    /// The short name, as in `zpool get feature@NAME`.
    pub name: &'static str,
    /// The guid, which is the name in the pool.
    pub guid: &'static str,
    /// A short description, which is stored in pools for software that does not know the feature.
    pub description: &'static str,
    /// Whether a pool can be read without support for the feature (it is listed in `features_for_write`).
    pub read_only_compatible: bool,
    /// Whether labels list the feature while it is active, because the MOS cannot be read without support for it.
    pub needed_for_mos: bool,
    /// Whether the feature becomes active when it is enabled.
    pub active_when_enabled: bool,
    /// Whether each dataset that uses the feature is marked and counted.
    pub per_dataset: bool,
    /// The names of the features that must be enabled first.
    pub depends: &'static [&'static str],
}

macro_rules! features {
    ($($name:literal $guid:literal $description:literal $($flag:ident)* [$($depends:literal),*];)*) => {
        /// All features that zstream knows.
        pub const FEATURES: &[Feature] = &[$({
            #[allow(unused_mut)]
            let mut feature = Feature {
                name: $name,
                guid: $guid,
                description: $description,
                read_only_compatible: false,
                needed_for_mos: false,
                active_when_enabled: false,
                per_dataset: false,
                depends: &[$($depends),*],
            };
            $(features!(@ feature $flag);)*
            feature
        },)*];
    };
    (@ $feature:ident write) => { $feature.read_only_compatible = true; };
    (@ $feature:ident mos) => { $feature.needed_for_mos = true; };
    (@ $feature:ident auto) => { $feature.active_when_enabled = true; };
    (@ $feature:ident dataset) => { $feature.per_dataset = true; };
}

features! {
    "async_destroy" "com.delphix:async_destroy" "destroyed filesystems are freed little by little" write [];
    "empty_bpobj" "com.delphix:empty_bpobj" "empty lists of freed blocks share one object" write [];
    "lz4_compress" "org.illumos:lz4_compress" "compression lz4" auto [];
    "multi_vdev_crash_dump" "com.joyent:multi_vdev_crash_dump" "crash dumps into pools of several vdevs" [];
    "spacemap_histogram" "com.delphix:spacemap_histogram" "space maps count free segments by size" write [];
    "enabled_txg" "com.delphix:enabled_txg" "the transaction group in which each feature was enabled" write [];
    "hole_birth" "com.delphix:hole_birth" "holes remember the transaction group of their birth" mos auto ["enabled_txg"];
    "zpool_checkpoint" "com.delphix:zpool_checkpoint" "the whole pool can go back to a checkpoint" write [];
    "spacemap_v2" "com.delphix:spacemap_v2" "space map entries of two words" write auto [];
    "extensible_dataset" "com.delphix:extensible_dataset" "datasets with entries of their own, which other features use" [];
    "bookmarks" "com.delphix:bookmarks" "bookmarks of snapshots" write ["extensible_dataset"];
    "filesystem_limits" "com.joyent:filesystem_limits" "limits of the number of filesystems and snapshots" write ["extensible_dataset"];
    "embedded_data" "com.delphix:embedded_data" "very small blocks lie in their block pointers" mos auto [];
    "livelist" "com.delphix:livelist" "lists of a clone's own blocks, which make destroying it faster" write ["extensible_dataset"];
    "log_spacemap" "com.delphix:log_spacemap" "changes of all space maps in one log" write ["spacemap_v2"];
    "large_blocks" "org.open-zfs:large_blocks" "blocks larger than 128 KiB" dataset ["extensible_dataset"];
    "large_dnode" "org.zfsonlinux:large_dnode" "dnodes larger than 512 bytes" dataset ["extensible_dataset"];
    "sha512" "org.illumos:sha512" "checksum sha512" dataset ["extensible_dataset"];
    "skein" "org.illumos:skein" "checksum skein" dataset ["extensible_dataset"];
    "edonr" "org.illumos:edonr" "checksum edonr" dataset ["extensible_dataset"];
    "redaction_bookmarks" "com.delphix:redaction_bookmarks" "bookmarks with redaction lists" ["bookmark_v2", "extensible_dataset", "bookmarks"];
    "redacted_datasets" "com.delphix:redacted_datasets" "datasets that were received redacted" dataset ["extensible_dataset"];
    "bookmark_written" "com.delphix:bookmark_written" "bookmarks that know what was written since" ["bookmark_v2", "extensible_dataset", "bookmarks"];
    "device_removal" "com.delphix:device_removal" "top-level vdevs can be removed" mos [];
    "obsolete_counts" "com.delphix:obsolete_counts" "removed vdevs note which of their blocks are gone" write ["extensible_dataset", "device_removal"];
    "userobj_accounting" "org.zfsonlinux:userobj_accounting" "objects are counted by user and group" write dataset ["extensible_dataset"];
    "bookmark_v2" "com.datto:bookmark_v2" "bookmarks with more fields" ["extensible_dataset", "bookmarks"];
    "encryption" "com.datto:encryption" "encrypted datasets" dataset ["extensible_dataset", "bookmark_v2"];
    "project_quota" "org.zfsonlinux:project_quota" "space and objects are counted by project" write dataset ["extensible_dataset"];
    "allocation_classes" "org.zfsonlinux:allocation_classes" "vdevs for metadata and for deduplication tables" write [];
    "resilver_defer" "com.datto:resilver_defer" "a resilver can wait for the one that is under way" write [];
    "device_rebuild" "org.openzfs:device_rebuild" "mirrors are rebuilt in the order of their space" write [];
    "zstd_compress" "org.freebsd:zstd_compress" "compression zstd" dataset ["extensible_dataset"];
    "draid" "org.openzfs:draid" "raidz with distributed spares" mos [];
    "zilsaxattr" "org.openzfs:zilsaxattr" "extended attributes in the intent log" write dataset ["extensible_dataset"];
    "head_errlog" "com.delphix:head_errlog" "error logs by dataset" auto [];
    "blake3" "org.openzfs:blake3" "checksum blake3" dataset ["extensible_dataset"];
    "block_cloning" "com.fudosecurity:block_cloning" "blocks that files share, in block reference tables" write [];
    "vdev_zaps_v2" "com.klarasystems:vdev_zaps_v2" "properties of the root vdev" mos [];
    "redaction_list_spill" "com.delphix:redaction_list_spill" "redaction lists of many snapshots" ["redaction_bookmarks"];
    "raidz_expansion" "org.openzfs:raidz_expansion" "raidz vdevs can be widened" mos [];
    "fast_dedup" "com.klarasystems:fast_dedup" "deduplication with a log" write [];
    "longname" "org.zfsonlinux:longname" "file names of up to 1023 bytes" dataset ["extensible_dataset"];
    "large_microzap" "com.klarasystems:large_microzap" "micro ZAPs larger than 128 KiB" write dataset ["extensible_dataset", "large_blocks"];
    "dynamic_gang_header" "com.klarasystems:dynamic_gang_header" "gang headers with as many pointers as fit into a sector" mos [];
    "block_cloning_endian" "com.truenas:block_cloning_endian" "block reference tables in one byte order" write [];
    "physical_rewrite" "com.truenas:physical_rewrite" "blocks that were rewritten keep their logical birth" write dataset ["extensible_dataset"];
}

impl Feature {
    /// Returns the feature with this guid.
    #[must_use]
    pub fn by_guid(guid: &str) -> Option<&'static Self> {
        FEATURES.iter().find(|feature| feature.guid == guid)
    }

    /// Returns the feature with this short name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        FEATURES.iter().find(|feature| feature.name == name)
    }
}

/// The state of a feature in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureState {
    /// The pool does not have the feature.
    Disabled,
    /// The feature may be used, but is not in use.
    Enabled,
    /// The feature is in use. The meaning of the count depends on the feature.
    Active(u64),
}

/// The features of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    for_read: BTreeMap<String, u64>,
    for_write: BTreeMap<String, u64>,
}

impl Features {
    /// Creates the features with these counts, by guid.
    #[must_use]
    pub fn new(for_read: BTreeMap<String, u64>, for_write: BTreeMap<String, u64>) -> Self {
        Self { for_read, for_write }
    }

    /// Returns the state of the feature with this guid.
    #[must_use]
    pub fn state(&self, guid: &str) -> FeatureState {
        match self.for_read.get(guid).or_else(|| self.for_write.get(guid)) {
            None => FeatureState::Disabled,
            Some(0) => FeatureState::Enabled,
            Some(&count) => FeatureState::Active(count),
        }
    }

    /// Returns whether the feature with this short name is active.
    #[must_use]
    pub fn is_active(&self, name: &str) -> bool {
        Feature::by_name(name)
            .is_some_and(|feature| matches!(self.state(feature.guid), FeatureState::Active(_)))
    }

    /// Returns the reference count of the feature with this short name: 0 if it is not active.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        match Feature::by_name(name).map(|feature| self.state(feature.guid)) {
            Some(FeatureState::Active(count)) => count,
            Some(FeatureState::Disabled | FeatureState::Enabled) | None => 0,
        }
    }

    /// Returns whether the feature with this short name is enabled or active.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        Feature::by_name(name).is_some_and(|feature| self.state(feature.guid) != FeatureState::Disabled)
    }

    /// Returns an iterator over the guids and counts of all features of the pool, sorted by guid.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut all: Vec<(&str, u64)> = self
            .for_read
            .iter()
            .chain(&self.for_write)
            .map(|(guid, count)| (guid.as_str(), *count))
            .collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// Refuses a pool that cannot be read.
    ///
    /// # Errors
    /// Returns [`Fault::UnknownFeatures`] with the active features that reading requires and that are unknown.
    pub(crate) fn check_readable(&self) -> Result<()> {
        unknown(self.for_read.iter().filter(|(_, count)| **count > 0).map(|(guid, _)| guid.as_str()))
    }

    /// Refuses a pool that cannot be written.
    ///
    /// # Errors
    /// Returns [`Fault::UnknownFeatures`] with the active features that writing requires and that are unknown.
    pub fn check_writable(&self) -> Result<()> {
        let all = self.for_read.iter().chain(&self.for_write);
        unknown(all.filter(|(_, count)| **count > 0).map(|(guid, _)| guid.as_str()))
    }
}

/// Refuses unknown features.
///
/// # Errors
/// Returns [`Fault::UnknownFeatures`] with their guids.
pub(crate) fn unknown<'a>(guids: impl Iterator<Item = &'a str>) -> Result<()> {
    let names: Vec<String> =
        guids.filter(|guid| Feature::by_guid(guid).is_none()).map(str::to_owned).collect();
    if names.is_empty() { Ok(()) } else { Err(Error::from(Fault::UnknownFeatures(names))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_known_and_come_without_cycles() {
        fn depth(feature: &Feature) -> usize {
            let needs = feature.depends.iter().map(|name| depth(Feature::by_name(name).expect(name)));
            1 + needs.max().unwrap_or(0)
        }
        assert!(FEATURES.iter().map(depth).max() <= Some(5));
        for feature in FEATURES {
            assert_eq!(Feature::by_guid(feature.guid), Some(feature), "{} is there twice", feature.guid);
        }
    }

    #[test]
    fn only_active_features_that_are_needed_refuse() {
        let list =
            |entries: &[(&str, u64)]| entries.iter().map(|(guid, n)| ((*guid).to_owned(), *n)).collect();
        let features = Features::new(
            list(&[("org.example:later", 0), ("com.datto:encryption", 2)]),
            list(&[("org.example:write", 1), ("com.fudosecurity:block_cloning", 0)]),
        );
        assert!(features.check_readable().is_ok());
        let error = features.check_writable().unwrap_err().to_string();
        assert_eq!(error, "the pool uses unknown features: org.example:write");
        assert!(features.is_active("encryption") && !features.is_active("block_cloning"));
        assert!(features.is_enabled("block_cloning") && !features.is_enabled("blake3"));
        let error = Features::new(list(&[("org.example:later", 1)]), list(&[])).check_readable().unwrap_err();
        assert_eq!(error.to_string(), "the pool uses unknown features: org.example:later");
    }
}
