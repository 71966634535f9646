//! Creation of snapshots (`dsl_dataset_snapshot_sync_impl`).

use zstream_dmu::ids::{Guid, ObjectId, Txg};
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::Tx;
use super::make::{SNAPSHOT_COUNT, take_content};
use super::usage::{Change, Use};
use crate::error::{Error, Result};
use crate::keys::IVSET_GUID;
use crate::phys::{DatasetFlags, DatasetPhys};

/// The entry of a directory for the time at which its snapshots last changed.
const SNAPSHOTS_CHANGED: &str = "com.ixsystems:snapshots_changed";

impl Tx<'_> {
    /// Creates a snapshot of a head whose blocks are all on disk. Nothing more may be written to it in this transaction
    /// group. The caller has checked that the name is unused.
    ///
    /// # Errors
    /// Fails if the MOS cannot be changed.
    pub(super) fn snapshot_head(&mut self, head: ObjectId, name: &str) -> Result<ObjectId> {
        let snapshot = self.snapshot_at(head, name, self.txg())?;
        let dir = self.read().dataset(head)?.dir;
        self.note_snapshots_changed(dir)?;
        Ok(snapshot)
    }

    pub(super) fn snapshot_at(&mut self, head: ObjectId, name: &str, txg: Txg) -> Result<ObjectId> {
        let before = self.read().dataset(head)?;
        if before.prev_snapshot_txg >= txg {
            return Err(Error::refused(
                Errno::EINVAL,
                format!(
                    "dataset {head} already has a snapshot of transaction group {}",
                    before.prev_snapshot_txg
                ),
            ));
        }
        self.adjust_counts(before.dir, SNAPSHOT_COUNT, 1)?;
        let snapshot = self.create_dataset_object()?;
        let (guid, fsid_guid) = (Guid(self.random()?), self.random56()?);
        let now = self.clock.seconds;
        self.change_dataset(snapshot, |dataset| {
            dataset.dir = before.dir;
            (dataset.guid, dataset.fsid_guid) = (guid, fsid_guid);
            dataset.prev_snapshot = before.prev_snapshot;
            dataset.prev_snapshot_txg = before.prev_snapshot_txg;
            dataset.next = Some(head);
            dataset.children = 1;
            (dataset.creation_time, dataset.creation_txg) = (now, txg);
            dataset.deadlist = before.deadlist;
            dataset.flags = before.flags;
            take_content(dataset, &before);
        })?;
        self.copy_features(head, snapshot)?;
        if let Some(previous) = before.prev_snapshot {
            self.step_in(previous, head, snapshot)?;
        }
        self.charge_refreservation(head, before.dir, before.unique_bytes)?;
        let old_list = self.read().deadlist_of(head)?;
        let deadlist = self.clone_deadlist(old_list, Txg(u64::MAX))?;
        self.add_deadlist_key(deadlist, before.prev_snapshot_txg)?;
        self.keep_bookmark_keys(head, deadlist, before.prev_snapshot_txg)?;
        self.pass_remapped(head, snapshot)?;
        if self.read().is_encrypted(before.dir)? && self.read().feature_enabled("bookmark_v2")? {
            let ivset = self.random56()?;
            self.set_entry(snapshot, IVSET_GUID, &Value::word(ivset))?;
        }
        self.change_dataset(head, |dataset| {
            dataset.deadlist = Some(deadlist);
            dataset.prev_snapshot = Some(snapshot);
            dataset.prev_snapshot_txg = txg;
            dataset.unique_bytes = 0;
            dataset.flags |= DatasetFlags::UNIQUE_ACCURATE;
        })?;
        let names = before
            .snapshot_names
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("{head} has no ZAP of snapshot names")))?;
        self.zap(names)?.add(name, &Value::word(snapshot.0))?;
        Ok(snapshot)
    }

    /// Puts `new` after the snapshot `previous` in place of `old`: in its own line, or as a clone.
    pub(super) fn step_in(&mut self, previous: ObjectId, old: ObjectId, new: ObjectId) -> Result<()> {
        let phys = self.read().dataset(previous)?;
        if phys.next == Some(old) {
            return self.change_dataset(previous, |dataset| dataset.next = Some(new));
        }
        if let Some(clones) = phys.next_clones {
            self.remove_number(clones, old)?;
            self.add_number(clones, new)?;
        }
        Ok(())
    }

    /// Adds the head's unique space so far to the space that its refreservation keeps.
    fn charge_refreservation(&mut self, head: ObjectId, dir: ObjectId, unique: u64) -> Result<()> {
        let reserved = self.read().refreservation(head)?;
        let used = unique.min(reserved) as i64;
        self.use_space(dir, Use::Refreservation, Change { used, ..Change::default() })
    }

    /// Records that the snapshots of a directory changed now (`dsl_dir_snap_cmtime_update`).
    pub(super) fn note_snapshots_changed(&mut self, dir: ObjectId) -> Result<()> {
        if !self.read().feature_enabled("extensible_dataset")? {
            return Ok(());
        }
        let now = [self.clock.seconds, u64::from(self.clock.nanoseconds)];
        self.set_entry(dir, SNAPSHOTS_CHANGED, &Value::words(&now))
    }
}

/// Returns the ZAPs that belong to a snapshot: clones, properties, holds.
pub(super) fn own_zaps(snapshot: &DatasetPhys) -> impl Iterator<Item = ObjectId> + use<> {
    [snapshot.next_clones, snapshot.props, snapshot.holds].into_iter().flatten()
}
