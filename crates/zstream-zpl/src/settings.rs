//! What filesystems and volumes say of themselves besides their files: settings that are fixed at creation, sizes, tables of
//! quotas, and files that wait to be freed.
//!
//! Whoever lists datasets or makes redaction bookmarks asks for it without knowing files: these functions are given to it.

use std::collections::BTreeSet;

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::ObjsetType;

use crate::volume;

/// A setting of a filesystem or volume as a number, under the name of its property; `None` where the set does not have it.
///
/// | set | names |
/// | --- | --- |
/// | filesystem | `version`, `utf8only`, `normalization`, `casesensitivity`; `userquota@` and others: the object of the table |
/// | volume | `volsize`, `volblocksize` |
///
/// # Errors
/// The set cannot be read.
pub fn setting(set: &dyn ObjectSet, name: &str) -> Result<Option<u64>> {
    let entry = |object, key| {
        let bad = |error| Error::corrupt("dataset", format!("{name}: {error}"));
        Zap::open(set, object)?.lookup_u64(key).map_err(bad)
    };
    match (set.objset_type(), name) {
        (ObjsetType::ZFS, "version") => entry(ObjectId::MASTER_NODE, "VERSION"),
        (ObjsetType::ZFS, _) => entry(ObjectId::MASTER_NODE, name),
        (ObjsetType::ZVOL, "volsize") => entry(volume::PROPERTIES, "size"),
        (ObjsetType::ZVOL, "volblocksize") => Ok(Some(set.info(volume::DATA)?.block_bytes)),
        _ => Ok(None),
    }
}

/// Whether a set is a filesystem that has a master node: the root filesystem of a pool may be without content.
///
/// # Errors
/// The set cannot be read.
pub fn has_master_node(set: &dyn ObjectSet) -> Result<bool> {
    Ok(set.objset_type() == ObjsetType::ZFS
        && set.next_object(ObjectId::MASTER_NODE)? == Some(ObjectId::MASTER_NODE))
}

/// The files of a filesystem that have no name any more and wait to be freed (`DELETE_QUEUE`).
///
/// # Errors
/// The set cannot be read.
pub fn unlinked(set: &dyn ObjectSet) -> Result<BTreeSet<u64>> {
    let mut objects = BTreeSet::new();
    if has_master_node(set)?
        && let Some(queue) = Zap::open(set, ObjectId::MASTER_NODE)?.lookup_u64("DELETE_QUEUE")?
    {
        for entry in Zap::open(set, ObjectId(queue))?.entries() {
            objects.insert(entry?.value.u64()?);
        }
    }
    Ok(objects)
}
