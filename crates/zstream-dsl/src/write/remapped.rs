//! Blocks that were remapped after the removal of a vdev, and that snapshots still refer to at their old place
//! (`dsl_dataset_block_remapped`, `dsl_destroy_snapshot_handle_remaps`).
//!
//! When OpenZFS writes an indirect block, it replaces pointers to removed vdevs by pointers to the new locations. The
//! old range is obsolete then, unless an older snapshot has the block. Such ranges are in a deadlist of their own, which
//! is changed like that of the dead blocks:
//!
//! ```text
//! snapshot                           the list moves from the head to the snapshot
//! destroy of S, before `next`        next's list: ranges younger than the snapshot before S  -->  obsolete
//!                                    S's list                                                -->  next's list
//! destroy of a head                  the list is freed; older snapshots still have the blocks
//! rollback, end of a receive         the lists of clone and head are exchanged
//! ```
//!
//! Nothing is remapped here. The feature `obsolete_counts` counts the lists.

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::zap::Value;
use zstream_dmu::zio::Space;

use super::Tx;
use crate::error::Result;
use crate::reader::MosReader;

/// The entry of a dataset for the list.
const LIST: &str = "com.delphix:remap_deadlist";

/// The feature that counts the lists.
const FEATURE: &str = "obsolete_counts";

impl Tx<'_> {
    /// Returns the list of a dataset, which is created if there is none (`dsl_dataset_create_remap_deadlist`).
    fn need_remapped(&mut self, dataset: ObjectId) -> Result<ObjectId> {
        if let Some(list) = self.read().remapped(dataset)? {
            return Ok(list);
        }
        let list = self.clone_deadlist(self.read().deadlist_of(dataset)?, Txg(u64::MAX))?;
        self.set_entry(dataset, LIST, &Value::word(list.0))?;
        self.feature_add(FEATURE, 1)?;
        Ok(list)
    }

    /// Frees the list of a dataset that is destroyed (`dsl_dataset_destroy_remap_deadlist`).
    pub(super) fn drop_remapped(&mut self, dataset: ObjectId) -> Result<()> {
        let Some(list) = self.read().remapped(dataset)? else { return Ok(()) };
        self.free_deadlist(list)?;
        self.remove_entry(dataset, LIST)?;
        self.feature_add(FEATURE, -1)
    }

    /// Moves the list of a head to its new snapshot.
    pub(super) fn pass_remapped(&mut self, head: ObjectId, snapshot: ObjectId) -> Result<()> {
        let Some(list) = self.read().remapped(head)? else { return Ok(()) };
        self.remove_entry(head, LIST)?;
        self.set_entry(snapshot, LIST, &Value::word(list.0))
    }

    /// Exchanges the lists of two datasets.
    pub(super) fn swap_remapped(&mut self, a: ObjectId, b: ObjectId) -> Result<()> {
        let (of_a, of_b) = (self.read().remapped(a)?, self.read().remapped(b)?);
        for (dataset, list) in [(a, of_b), (b, of_a)] {
            match list {
                Some(list) => self.set_entry(dataset, LIST, &Value::word(list.0))?,
                None => drop(self.remove_entry(dataset, LIST)?),
            }
        }
        Ok(())
    }

    /// Updates the lists when a snapshot is destroyed that is followed by `next` and preceded by a snapshot born in
    /// `previous_txg`. The deadlist of `next` must be up to date.
    pub(super) fn destroy_remapped(
        &mut self,
        snapshot: ObjectId,
        next: ObjectId,
        previous_txg: Txg,
    ) -> Result<()> {
        if let Some(list) = self.read().remapped(next)? {
            self.take_dead(list, previous_txg, &mut |space: &dyn Space, block: &BlockPointer| {
                space.mark_obsolete(block.dva(0))
            })?;
        }
        if let Some(list) = self.read().remapped(snapshot)? {
            let into = self.need_remapped(next)?;
            self.merge_deadlists(into, list)?;
            self.drop_remapped(snapshot)?;
        }
        Ok(())
    }

    /// Removes the key of a snapshot that is destroyed from the list of a younger head.
    pub(super) fn remove_remapped_key(&mut self, head: ObjectId, key: Txg) -> Result<()> {
        match self.read().remapped(head)? {
            Some(list) => self.remove_deadlist_key(list, key),
            None => Ok(()),
        }
    }
}

impl MosReader<'_> {
    /// Returns the list of a dataset, if it has one.
    fn remapped(self, dataset: ObjectId) -> Result<Option<ObjectId>> {
        self.entry_object(dataset, LIST)
    }
}
