//! The verbs `create`, `snapshot` and `clone`.

use std::collections::BTreeSet;

use zstream_dmu::ids::ObjectId;
use zstream_format::errno::Errno;

use super::Tx;
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;

impl Tx<'_> {
    /// Creates a filesystem or volume without an object set. Its creator has the blocks of the object set counted by
    /// the ledger. The names of its snapshots are case-insensitive if those of its files are.
    ///
    /// # Errors
    /// Fails with `EEXIST`, `ENOENT` if the parent does not exist, `EINVAL` if the parent is a volume or the name is
    /// not valid, and `ENAMETOOLONG`.
    pub fn create(&mut self, name: &str, is_case_insensitive: bool) -> Result<ObjectId> {
        let place = self.read().vacant(name)?;
        self.create_dataset(place.parent, &place.name, None, DatasetFlags::of_new(is_case_insensitive))
    }

    /// Creates snapshots, all or none (`dsl_dataset_snapshot`). Changes of their datasets in this transaction group
    /// must be synced, and no more may follow in it.
    ///
    /// # Errors
    /// Fails with `ENOENT` if a dataset does not exist, `EEXIST`, `EXDEV` if two snapshots are of one dataset,
    /// `ENAMETOOLONG`, `EBUSY` if a dataset was only partially received, and `EAGAIN` if a dataset has a snapshot of this
    /// transaction group.
    pub fn snapshot(&mut self, names: &[String]) -> Result<Vec<ObjectId>> {
        let mut heads = BTreeSet::new();
        let mut plan = Vec::new();
        for name in names {
            let (head, short) =
                self.dsl().split_snapshot(name).map(|(head, short)| (head.object(), short))?;
            self.read().check_snapshot_name(head, &short)?;
            if !heads.insert(head) {
                return Err(Error::refused(
                    Errno::EXDEV,
                    format!("{name} is the second snapshot of the same dataset"),
                ));
            }
            self.read().check_not_filled(head)?;
            self.check_not_too_close(head, name)?;
            plan.push((head, short));
        }
        plan.into_iter()
            .map(|(head, short)| {
                self.check_refreserved(head)?;
                self.snapshot_head(head, &short)
            })
            .collect()
    }

    /// Checks that the snapshot `name` is not created in the transaction group of the previous one.
    pub(super) fn check_not_too_close(&self, head: ObjectId, name: &str) -> Result<()> {
        if self.read().dataset(head)?.prev_snapshot_txg >= self.txg() {
            return Err(Error::refused(
                Errno::EAGAIN,
                format!("{name} is in the same transaction group as another snapshot"),
            ));
        }
        Ok(())
    }

    /// Creates a clone of a snapshot, with the header of the snapshot's intent log, if any, which the caller has to
    /// remove.
    ///
    /// # Errors
    /// Fails with `ENOENT` if there is no such snapshot, and like [`create`](Self::create).
    pub(super) fn clone_snapshot(&mut self, origin: &str, name: &str) -> Result<ObjectId> {
        let snapshot = self.dsl().snapshot(origin)?.object();
        let place = self.read().vacant(name)?;
        if self.read().dataset(snapshot)?.flags.contains(DatasetFlags::DEFER_DESTROY) {
            return Err(Error::refused(Errno::ENOENT, format!("{origin} is marked for destruction")));
        }
        self.check_old_log(snapshot)?;
        self.create_clone(place.parent, &place.name, snapshot)
    }
}
