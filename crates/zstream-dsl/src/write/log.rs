//! Intent logs of a pool that is open for changes: they are claimed when it is opened, replayed, or discarded.
//!
//! A head that starts with the content of a snapshot has no intent log, even if the snapshot was taken while one was in
//! use (`dsl_dataset_zero_zil`).
//!
//! Only the head that was snapshotted owns the blocks of its log. The new head therefore gets an objset block of its
//! own, without the header. In an encrypted dataset neither MAC of the block covers the header, so that no key is
//! needed.

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::intent_log::has_records;
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::zio::Protection;
use zstream_format::file_info::owners;

use super::WritablePool;
use crate::error::Result;

/// The feature that records of extended attributes need.
const XATTR_RECORDS: &str = "zilsaxattr";

impl WritablePool {
    /// Creates a clone of a snapshot.
    ///
    /// # Errors
    /// Fails with `ENOENT` if there is no such snapshot, like [`create`](super::Tx::create), and with `EAGAIN` if the
    /// snapshot is of this transaction group and has an intent log.
    pub fn clone_snapshot(&mut self, origin: &str, name: &str) -> Result<ObjectId> {
        let head = self.tx().clone_snapshot(origin, name)?;
        self.zero_log(head)?;
        Ok(head)
    }

    /// Rolls a head back to its last snapshot, which must be `to` if that is given (`zfs rollback`).
    ///
    /// # Errors
    /// Fails with `ESRCH` if the head has no snapshot, `EEXIST` if there are snapshots or bookmarks younger than `to`,
    /// `EDQUOT`, and `EAGAIN` if the snapshot is of this transaction group.
    pub fn rollback(&mut self, name: &str, to: Option<&str>) -> Result<()> {
        let mut tx = self.tx();
        tx.rollback(name, to)?;
        let head = tx.dsl().head(name)?.object();
        self.zero_log(head)
    }

    /// Rolls back to a snapshot, after everything in [`plan_rollback`](crate::pool::Dsl::plan_rollback) is destroyed.
    ///
    /// # Errors
    /// Fails like [`rollback`](Self::rollback) and [`destroy_all`](super::Tx::destroy_all).
    pub fn rollback_over(&mut self, to: &str, younger: &[String]) -> Result<()> {
        let mut tx = self.tx();
        tx.rollback_over(to, younger)?;
        let head = tx.dsl().head(to.split('@').next().unwrap_or_default())?.object();
        self.zero_log(head)
    }

    /// Creates the clone of a snapshot that a receive fills.
    ///
    /// # Errors
    /// Fails like [`clone_snapshot`](Self::clone_snapshot).
    pub fn create_received_clone(&mut self, origin: ObjectId, name: &str) -> Result<ObjectId> {
        let mut tx = self.tx();
        tx.check_old_log(origin)?;
        let head = tx.create_received_clone(origin, name)?;
        self.zero_log(head)?;
        Ok(head)
    }

    /// Creates the hidden dataset that is filled instead of `head`: a clone of one of its snapshots, or an empty
    /// dataset without an object set.
    ///
    /// # Errors
    /// Fails with `EBUSY` if the dataset exists, and like [`clone_snapshot`](Self::clone_snapshot).
    pub fn create_receive_child(
        &mut self,
        head: ObjectId,
        base: Option<ObjectId>,
        is_case_insensitive: bool,
    ) -> Result<ObjectId> {
        let mut tx = self.tx();
        if let Some(base) = base {
            tx.check_old_log(base)?;
        }
        let filled = tx.create_receive_child(head, base, is_case_insensitive)?;
        self.zero_log(filled)?;
        Ok(filled)
    }

    /// Removes the header of an intent log from a head that has the content of a snapshot.
    fn zero_log(&mut self, head: ObjectId) -> Result<()> {
        let tx = self.tx();
        let phys = tx.read().dataset(head)?;
        if phys.root.is_hole() || !tx.read().objset_locked(head)?.has_intent_log() {
            return Ok(());
        }
        let mut set = self.open_log(head)?;
        set.forget_intent_log();
        self.sync(head, &mut set)?;
        Ok(())
    }

    /// Opens the object set of a head to change the header of its intent log. No key is needed.
    fn open_log(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        let tx = self.tx();
        let is_encrypted = tx.read().is_encrypted(tx.read().dataset(head)?.dir)?;
        let mut properties = tx.read().set_properties(head)?;
        if is_encrypted {
            properties.protection = Protection::Kept;
        }
        let set = self.read_set(head, properties.protection)?;
        Ok(ObjsetWriter::open(set, Arc::clone(self.pool.parts().writer), properties)?.with_owners(owners))
    }

    /// Claims the intent logs of a pool that was not exported, as OpenZFS does when it imports one. All are claimed
    /// before anything is written: what one header needs could be in the space of another log.
    pub(super) fn claim_logs(&mut self) -> Result<()> {
        let mut claimed = Vec::new();
        for head in self.pool.unclaimed_logs().to_vec() {
            claimed.push((head, self.claim_log(head)?));
        }
        self.pool.set_logs_claimed();
        claimed.into_iter().try_for_each(|(head, mut set)| self.sync(head, &mut set).map(drop))
    }

    /// Claims the intent log of a head, and returns its object set with the new header.
    fn claim_log(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        let mut set = self.open_log(head)?;
        let header = self.pool.claim_log(head.0, set.intent_log())?;
        set.set_intent_log(header);
        Ok(set)
    }

    /// Returns `true` if the intent log of a head has records that were not replayed.
    ///
    /// # Errors
    /// Fails if the object set cannot be read.
    pub fn has_log_records(&self, head: ObjectId) -> Result<bool> {
        let dsl = self.dsl();
        if dsl.read().dataset(head)?.root.is_hole() {
            return Ok(false);
        }
        let set = dsl.read().objset_locked(head)?;
        Ok(has_records(&**self.pool.reader(), head.0, &set.phys().zil))
    }

    /// Opens the object set of a head for the replay of its intent log, which is claimed if it was not.
    ///
    /// # Errors
    /// Fails like [`open_head`](Self::open_head).
    pub fn open_to_replay(&mut self, head: ObjectId) -> Result<ObjsetWriter> {
        self.check_keys(head)?;
        let mut claimed = self.claim_log(head)?;
        self.sync(head, &mut claimed)?;
        let properties = self.tx().read().set_properties(head)?;
        let set = self.read_set(head, properties.protection)?;
        Ok(ObjsetWriter::open(set, Arc::clone(self.pool.parts().writer), properties)?.with_owners(owners))
    }

    /// Discards the intent log of a head after its records were replayed (`zil_destroy`).
    ///
    /// # Errors
    /// Fails if a block cannot be freed.
    pub fn discard_log(&mut self, head: ObjectId, set: &mut ObjsetWriter) -> Result<()> {
        let header = *set.intent_log();
        set.forget_intent_log();
        let mut tx = self.tx();
        tx.free_log_blocks(head, &header)?;
        // A log that does not exist has no records of extended attributes.
        let features = tx.read().dataset_features(head)?;
        if features.iter().any(|(feature, _)| feature.name == XATTR_RECORDS) {
            tx.deactivate_feature(head, XATTR_RECORDS)?;
        }
        Ok(())
    }
}
