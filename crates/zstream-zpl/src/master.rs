//! The master node of a filesystem: the ZAP that leads to everything else.
//!
//! ```text
//! VERSION                                          version of the filesystem
//! ROOT                                             root directory
//! SA_ATTRS                                         system attributes, from version 5 on
//! DELETE_QUEUE                                     files without a name that wait to be freed
//! FUID                                             domains of users and groups
//! normalization, utf8only, casesensitivity         properties that are fixed at creation
//! userquota@, groupquota@, userobjquota@, ...      tables of limits, by owner
//! ```

use std::ops::RangeInclusive;

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::Zap;

/// The object of the master node (`MASTER_NODE_OBJ`).
pub(crate) const NODE: ObjectId = ObjectId(1);

/// The versions of filesystems that exist.
pub(crate) const VERSIONS: RangeInclusive<u64> = 1..=5;
/// The version of filesystems that are created and written (`ZPL_VERSION`).
pub(crate) const VERSION_WRITTEN: u64 = 5;
/// The first version with system attributes (`ZPL_VERSION_SA`).
pub(crate) const VERSION_SA: u64 = 5;

/// The entry with the version.
pub(crate) const VERSION: &str = "VERSION";
/// The entry with the root directory.
pub(crate) const ROOT: &str = "ROOT";
/// The entry with the object of the system attributes.
pub(crate) const SA_ATTRS: &str = "SA_ATTRS";
/// The entry with the table of files that wait to be freed.
pub(crate) const DELETE_QUEUE: &str = "DELETE_QUEUE";

/// Opens the master node.
pub(crate) fn open(set: &dyn ObjectSet) -> Result<Zap<'_>> {
    Zap::open(set, NODE)
}

/// Returns the number of an entry that every master node has.
pub(crate) fn required(master: &Zap<'_>, name: &str) -> Result<u64> {
    let missing = || Error::corrupt("master node", format!("it has no {name}"));
    master.lookup_u64(name)?.ok_or_else(missing)
}
