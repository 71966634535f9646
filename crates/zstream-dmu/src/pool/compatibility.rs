//! The sets of features that versions of OpenZFS and other programs support, by their names in `compatibility.d` of
//! OpenZFS 2.4 (`zpool-features(7)`). A file of this name on the host has precedence.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::maintained::{FeatureSet, MAINTAINED};
use crate::error::{Error, Result};

/// The directories of compatibility files (`zpool-features(7)`).
const COMPATIBILITY_DIRS: [&str; 2] = ["/etc/zfs/compatibility.d", "/usr/share/zfs/compatibility.d"];

/// The size limit of compatibility files (`ZPOOL_COMPAT_MAXSIZE`).
const COMPATIBILITY_BYTES_MAX: u64 = 16 << 10;

/// The names and the features of each set.
const SETS: &[(&[&str], &str)] = &[
    (
        &["compat-2018", "2018"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress spacemap_histogram",
    ),
    (
        &["compat-2019", "2019"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump sha512 skein spacemap_histogram",
    ),
    (
        &["compat-2020", "2020"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump sha512 skein spacemap_histogram",
    ),
    (
        &["compat-2021", "2021"],
        "async_destroy bookmarks device_removal embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump obsolete_counts sha512 skein spacemap_histogram spacemap_v2 zpool_checkpoint",
    ),
    (
        &["freebsd-11.0", "freebsd-11.1", "freenas-11.0", "freenas-11.1"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump sha512 skein spacemap_histogram",
    ),
    (
        &["freebsd-11.2", "freenas-11.2"],
        "async_destroy bookmarks device_removal embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump obsolete_counts sha512 skein spacemap_histogram zpool_checkpoint",
    ),
    (
        &[
            "freebsd-11.3",
            "freebsd-11.4",
            "freebsd-12.0",
            "freebsd-12.1",
            "freebsd-12.2",
            "freebsd-12.3",
            "freebsd-12.4",
            "freenas-11.3",
        ],
        "async_destroy bookmarks device_removal embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump obsolete_counts sha512 skein spacemap_histogram spacemap_v2 zpool_checkpoint",
    ),
    (
        &["freenas-9.10.2"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump spacemap_histogram",
    ),
    (
        &["grub2-2.06"],
        "allocation_classes async_destroy block_cloning device_rebuild embedded_data empty_bpobj enabled_txg hole_birth log_spacemap lz4_compress resilver_defer spacemap_histogram spacemap_v2 zpool_checkpoint",
    ),
    (
        &["grub2-2.12", "grub2"],
        "allocation_classes async_destroy block_cloning bookmarks device_rebuild embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks livelist log_spacemap lz4_compress project_quota resilver_defer spacemap_histogram spacemap_v2 userobj_accounting zilsaxattr zpool_checkpoint",
    ),
    (
        &["openzfs-2.0-freebsd", "truenas-12.0"],
        "allocation_classes async_destroy bookmark_v2 bookmark_written bookmarks device_rebuild device_removal embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits hole_birth large_blocks large_dnode livelist log_spacemap lz4_compress multi_vdev_crash_dump obsolete_counts project_quota redacted_datasets redaction_bookmarks resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfs-2.0-linux"],
        "allocation_classes async_destroy bookmark_v2 bookmark_written bookmarks device_rebuild device_removal edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits hole_birth large_blocks large_dnode livelist log_spacemap lz4_compress multi_vdev_crash_dump obsolete_counts project_quota redacted_datasets redaction_bookmarks resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfs-2.1-freebsd", "freebsd-13.0", "freebsd-13.1", "freebsd-13.2"],
        "allocation_classes async_destroy bookmark_v2 bookmark_written bookmarks device_rebuild device_removal draid embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits hole_birth large_blocks large_dnode livelist log_spacemap lz4_compress multi_vdev_crash_dump obsolete_counts project_quota redacted_datasets redaction_bookmarks resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfs-2.1-linux", "ubuntu-22.04"],
        "allocation_classes async_destroy bookmark_v2 bookmark_written bookmarks device_rebuild device_removal draid edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits hole_birth large_blocks large_dnode livelist log_spacemap lz4_compress multi_vdev_crash_dump obsolete_counts project_quota redacted_datasets redaction_bookmarks resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfs-2.2", "openzfs-2.2-freebsd", "openzfs-2.2-linux"],
        "allocation_classes async_destroy blake3 block_cloning bookmark_v2 bookmark_written bookmarks device_rebuild device_removal draid edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits head_errlog hole_birth large_blocks large_dnode livelist log_spacemap lz4_compress multi_vdev_crash_dump obsolete_counts project_quota redacted_datasets redaction_bookmarks resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting vdev_zaps_v2 zilsaxattr zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfs-2.3", "openzfs-2.3-freebsd", "openzfs-2.3-linux"],
        "allocation_classes async_destroy blake3 block_cloning bookmark_v2 bookmark_written bookmarks device_rebuild device_removal draid edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset fast_dedup filesystem_limits head_errlog hole_birth large_blocks large_dnode large_microzap livelist log_spacemap longname lz4_compress multi_vdev_crash_dump obsolete_counts project_quota raidz_expansion redacted_datasets redaction_bookmarks redaction_list_spill resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting vdev_zaps_v2 zilsaxattr zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfs-2.4", "openzfs-2.4-freebsd", "openzfs-2.4-linux"],
        "allocation_classes async_destroy blake3 block_cloning block_cloning_endian bookmark_v2 bookmark_written bookmarks device_rebuild device_removal draid dynamic_gang_header edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset fast_dedup filesystem_limits head_errlog hole_birth large_blocks large_dnode large_microzap livelist log_spacemap longname lz4_compress multi_vdev_crash_dump obsolete_counts physical_rewrite project_quota raidz_expansion redacted_datasets redaction_bookmarks redaction_list_spill resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting vdev_zaps_v2 zilsaxattr zpool_checkpoint zstd_compress",
    ),
    (
        &["openzfsonosx-1.7.0"],
        "async_destroy bookmarks edonr embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump sha512 skein spacemap_histogram",
    ),
    (
        &["openzfsonosx-1.8.1"],
        "async_destroy bookmarks device_removal edonr embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress multi_vdev_crash_dump obsolete_counts sha512 skein spacemap_histogram spacemap_v2 zpool_checkpoint",
    ),
    (
        &["openzfsonosx-1.9.3", "openzfsonosx-1.9.4"],
        "allocation_classes async_destroy bookmark_v2 bookmarks device_removal edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits hole_birth large_blocks large_dnode lz4_compress multi_vdev_crash_dump obsolete_counts project_quota resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting zpool_checkpoint",
    ),
    (&["zol-0.6.1"], "async_destroy empty_bpobj lz4_compress"),
    (
        &["zol-0.6.4"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset hole_birth lz4_compress spacemap_histogram",
    ),
    (
        &["zol-0.6.5"],
        "async_destroy bookmarks embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks lz4_compress spacemap_histogram",
    ),
    (
        &["zol-0.7", "ubuntu-18.04"],
        "async_destroy bookmarks edonr embedded_data empty_bpobj enabled_txg extensible_dataset filesystem_limits hole_birth large_blocks large_dnode lz4_compress multi_vdev_crash_dump sha512 skein spacemap_histogram userobj_accounting",
    ),
    (
        &["zol-0.8", "ubuntu-20.04"],
        "allocation_classes async_destroy bookmark_v2 bookmarks device_removal edonr embedded_data empty_bpobj enabled_txg encryption extensible_dataset filesystem_limits hole_birth large_blocks large_dnode lz4_compress multi_vdev_crash_dump obsolete_counts project_quota resilver_defer sha512 skein spacemap_histogram spacemap_v2 userobj_accounting zpool_checkpoint",
    ),
];

/// Returns the features of the set with this name.
fn built_in(name: &str) -> Option<impl Iterator<Item = &'static str>> {
    let (_, features) = SETS.iter().find(|(names, _)| names.contains(&name))?;
    Some(features.split(' '))
}

/// Returns the features that are in all named sets and maintained.
///
/// # Errors
/// Fails if a set does not exist.
pub(super) fn compatible(sets: &str) -> Result<FeatureSet> {
    compatible_in(sets, &COMPATIBILITY_DIRS.map(PathBuf::from))
}

/// Returns the same, with the files in these directories.
fn compatible_in(sets: &str, dirs: &[PathBuf]) -> Result<FeatureSet> {
    match sets {
        "off" | "" => return Ok(FeatureSet::default()),
        "legacy" => return Ok(FeatureSet::none()),
        _ => {}
    }
    let mut features = FeatureSet::none();
    for row in MAINTAINED {
        // Features that are maintained only in existing pools are skipped.
        let _ = features.enable(row.name);
    }
    for set in sets.split(',') {
        features.retain(&read_set(set, dirs)?);
    }
    Ok(features)
}

fn read_set(name: &str, dirs: &[PathBuf]) -> Result<BTreeSet<String>> {
    let paths = match name.starts_with('/') {
        true => vec![PathBuf::from(name)],
        false if name.is_empty() || name.contains('/') => Vec::new(),
        false => dirs.iter().map(|dir| dir.join(name)).collect(),
    };
    let path = paths.iter().find(|path| path.is_file());
    if path.is_none()
        && let Some(features) = built_in(name)
    {
        return Ok(features.map(str::to_owned).collect());
    }
    let path = path.ok_or_else(|| Error::no_entry("set of compatible features", name))?;
    let text = read_text(path).map_err(|error| error.on_vdev(path.display()))?;
    let words = text.lines().flat_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        line.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
    });
    Ok(words.map(str::to_owned).collect())
}

fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(COMPATIBILITY_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > COMPATIBILITY_BYTES_MAX {
        let limit = COMPATIBILITY_BYTES_MAX;
        return Err(Error::bad_request(format!("compatibility file is larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_one_set() {
        let mut names: Vec<_> = SETS.iter().flat_map(|(names, _)| *names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for (name, features) in
            [("openzfs-2.4", 47), ("openzfs-2.3-linux", 44), ("zol-0.6.1", 3), ("grub2", 22)]
        {
            assert_eq!(built_in(name).map(Iterator::count), Some(features), "{name}");
        }
        assert!(built_in("openzfs-2.4").is_some_and(|mut all| all.any(|name| name == "dynamic_gang_header")));
        assert!(built_in("openzfs-9").is_none());
    }

    #[test]
    fn compatibility_is_what_all_sets_have() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("a"),
            "# old\nlz4_compress,hole_birth enabled_txg # more\nbookmarks\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("b"), "enabled_txg\nlz4_compress\nhead_errlog\n").unwrap();
        let dirs = [dir.path().to_owned()];
        let names = |sets: &str| {
            compatible_in(sets, &dirs).unwrap().iter().map(|feature| feature.name).collect::<Vec<_>>()
        };
        assert_eq!(names("a"), ["enabled_txg", "lz4_compress", "hole_birth"], "bookmarks need more");
        assert_eq!(names("a,b"), ["enabled_txg", "lz4_compress"]);
        assert_eq!(names("b"), ["enabled_txg", "lz4_compress", "head_errlog"], "not only default ones");
        assert_eq!(names("legacy"), [""; 0]);
        assert!(compatible_in("../a", &dirs).is_err());
    }
}
