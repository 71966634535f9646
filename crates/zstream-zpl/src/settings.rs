//! Facts about filesystems and volumes other than their files: settings that are fixed at creation, sizes, limits of users,
//! groups and projects, and files that wait to be freed.
//!
//! Layers that list datasets, make redaction bookmarks or send filesystems need these facts without knowing files. They
//! accept these functions as callbacks.

use std::collections::BTreeSet;

use zstream_dmu::error::Result;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::ObjsetType;

use crate::master;
use crate::volume;

/// Returns a setting of a filesystem or volume as a number, by the name of its property; `None` if the set does not have
/// it.
///
/// | set | names |
/// | --- | --- |
/// | filesystem | `version`, `utf8only`, `normalization`, `casesensitivity`; `userquota@1000` and others |
/// | volume | `volsize`, `volblocksize` |
///
/// # Errors
/// Fails if the set cannot be read.
pub fn setting(set: &dyn ObjectSet, name: &str) -> Result<Option<u64>> {
    let entry = |object, key| Zap::open(set, object)?.lookup_u64(key);
    match (set.objset_type(), name) {
        (ObjsetType::ZFS, "version") => entry(master::NODE, master::VERSION),
        (ObjsetType::ZFS, _) => match name.split_once('@') {
            Some((table, id)) => limit(set, table, id),
            None => entry(master::NODE, name),
        },
        (ObjsetType::ZVOL, "volsize") => entry(volume::PROPERTIES, "size"),
        (ObjsetType::ZVOL, "volblocksize") => Ok(Some(set.info(volume::DATA)?.block_bytes)),
        _ => Ok(None),
    }
}

/// Returns the limit of a user, group or project, given by number: an entry of a table with hexadecimal ids.
fn limit(set: &dyn ObjectSet, table: &str, id: &str) -> Result<Option<u64>> {
    let Ok(id) = id.parse::<u64>() else { return Ok(None) };
    match master::open(set)?.lookup_u64(format!("{table}@"))? {
        Some(table) => Zap::open(set, ObjectId(table))?.lookup_u64(format!("{id:x}")),
        None => Ok(None),
    }
}

/// Returns `true` if the files of a set have system attributes, and so may have spill blocks. Volumes have none.
///
/// # Errors
/// Fails if the version of a filesystem cannot be read.
pub fn has_system_attributes(set: &dyn ObjectSet) -> Result<bool> {
    if set.objset_type() != ObjsetType::ZFS {
        return Ok(false);
    }
    let master = master::open(set)?;
    Ok(master::required(&master, master::VERSION)? >= master::VERSION_SA)
}

/// Returns `true` if a set is a filesystem that has a master node: the root filesystem of a pool may be without content.
///
/// # Errors
/// Fails if the set cannot be read.
pub fn has_master_node(set: &dyn ObjectSet) -> Result<bool> {
    Ok(set.objset_type() == ObjsetType::ZFS && set.next_object(master::NODE)? == Some(master::NODE))
}

/// Returns the files of a filesystem that have no name any more and wait to be freed (`DELETE_QUEUE`).
///
/// # Errors
/// Fails if the set cannot be read.
pub fn unlinked(set: &dyn ObjectSet) -> Result<BTreeSet<u64>> {
    let mut objects = BTreeSet::new();
    if has_master_node(set)?
        && let Some(queue) = master::open(set)?.lookup_u64(master::DELETE_QUEUE)?
    {
        for entry in Zap::open(set, ObjectId(queue))?.entries() {
            objects.insert(entry?.value.u64()?);
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use zstream_dmu::error::Fault;

    use super::*;
    use crate::made::Memory;

    #[test]
    fn a_setting_that_cannot_be_read_is_an_io_error() {
        let mut set = Memory::new(&[("normalization", 3)], 0);
        assert_eq!(setting(&set, "normalization").unwrap(), Some(3));
        assert_eq!(setting(&set, "utf8only").unwrap(), None);
        set.0.get_mut(&1).expect("the master node").fails = true;
        for name in ["version", "normalization", "userquota@1000"] {
            let error = setting(&set, name).unwrap_err();
            assert!(matches!(error.fault(), Fault::Io(_)), "{name}: {error}");
        }
    }
}
