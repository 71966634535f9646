//! Clones and rollbacks of a pool that is open for changes: what begins with the content of a snapshot has no intent log,
//! though the snapshot may have been taken while one was in use (`dsl_dataset_zero_zil`).
//!
//! Only the head that was snapshotted owns the blocks of its log. So the new head gets an objset block of its own, without
//! the header; in an encrypted dataset neither of the block's codes covers that, and no key is needed.

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::writer::ObjsetWriter;
use zstream_dmu::zio::write::Protection;
use zstream_format::file_info::owners;

use super::WritablePool;
use crate::error::Result;

impl WritablePool {
    /// Makes a clone of a snapshot.
    ///
    /// # Errors
    /// `ENOENT` when there is no such snapshot; as for [`create`](super::Tx::create); `EAGAIN` when the snapshot is of this
    /// transaction group and has an intent log.
    pub fn clone_snapshot(&mut self, origin: &str, name: &str) -> Result<ObjectId> {
        let head = self.tx().clone_snapshot(origin, name)?;
        self.zero_log(head)?;
        Ok(head)
    }

    /// Makes a head what its last snapshot is, which must be `to` where that is given (`zfs rollback`).
    ///
    /// # Errors
    /// `ESRCH` when it has no snapshot, `EEXIST` when there are younger snapshots or bookmarks than `to`, `EDQUOT`, `EAGAIN`
    /// when the snapshot is of this transaction group.
    pub fn rollback(&mut self, name: &str, to: Option<&str>) -> Result<()> {
        let mut tx = self.tx();
        tx.rollback(name, to)?;
        let head = tx.dsl().head(name)?.object();
        self.zero_log(head)
    }

    /// Goes back to a snapshot, after all that [`plan_rollback`](super::Tx::plan_rollback) names is destroyed.
    ///
    /// # Errors
    /// As [`rollback`](Self::rollback) and [`destroy_all`](super::Tx::destroy_all).
    pub fn rollback_over(&mut self, to: &str, younger: &[String]) -> Result<()> {
        let mut tx = self.tx();
        tx.rollback_over(to, younger)?;
        let head = tx.dsl().head(to.split('@').next().unwrap_or_default())?.object();
        self.zero_log(head)
    }

    /// Makes the clone of a snapshot that a receive fills.
    ///
    /// # Errors
    /// As [`clone_snapshot`](Self::clone_snapshot).
    pub fn create_received_clone(&mut self, origin: ObjectId, name: &str) -> Result<ObjectId> {
        let mut tx = self.tx();
        tx.check_old_log(origin)?;
        let head = tx.create_received_clone(origin, name)?;
        self.zero_log(head)?;
        Ok(head)
    }

    /// Makes the hidden dataset that is filled instead of `head`: a clone of one of its snapshots, or an empty one, which
    /// has no object set yet.
    ///
    /// # Errors
    /// `EBUSY` when there is one; as [`clone_snapshot`](Self::clone_snapshot).
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

    /// Takes the header of an intent log from a head that has the content of a snapshot.
    fn zero_log(&mut self, head: ObjectId) -> Result<()> {
        let tx = self.tx();
        let phys = tx.read().dataset(head)?;
        if phys.root.is_hole() || !tx.read().objset_locked(head)?.has_intent_log() {
            return Ok(());
        }
        let is_encrypted = tx.read().is_encrypted(phys.dir)?;
        let mut properties = tx.read().set_properties(head)?;
        if is_encrypted {
            properties.protection = Protection::Kept;
        }
        let set = self.read_set(head, properties.protection)?;
        let mut set =
            ObjsetWriter::open(set, Arc::clone(self.pool.parts().writer), properties)?.with_owners(owners);
        set.forget_intent_log();
        self.sync(head, &mut set)?;
        Ok(())
    }
}
