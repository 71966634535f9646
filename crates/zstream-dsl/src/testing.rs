//! Test support: changes of datasets that no operation makes.
//!
//! Requires the feature `testing`. Nothing in this module is covered by semantic versioning.

use zstream_dmu::ids::ObjectId;

use crate::error::Result;
use crate::phys::DatasetPhys;
use crate::write::Tx;

/// Changes the bonus buffer of a dataset.
///
/// # Errors
/// Fails if the object is not a dataset.
pub fn change_dataset<T>(
    tx: &mut Tx<'_>,
    object: ObjectId,
    change: impl FnOnce(&mut DatasetPhys) -> T,
) -> Result<T> {
    tx.change_dataset(object, change)
}

/// Removes an entry from the object of a directory or dataset, and returns whether it existed.
///
/// # Errors
/// Fails if the object cannot be changed.
pub fn remove_entry(tx: &mut Tx<'_>, object: ObjectId, name: &str) -> Result<bool> {
    tx.remove_entry(object, name)
}

/// Destroys a clone that has a livelist, and leaves its blocks to the list, as OpenZFS does.
///
/// # Errors
/// Fails if there is no such clone, or if it cannot be destroyed.
pub fn leave_deleted_clone(tx: &mut Tx<'_>, name: &str) -> Result<()> {
    tx.leave_deleted_clone(name)
}
