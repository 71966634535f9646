//! The verbs `create`, `snapshot` and `clone`.

use std::collections::BTreeSet;

use zstream_dmu::ids::ObjectId;
use zstream_format::errno::Errno;

use super::Tx;
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;

impl Tx<'_> {
    /// Makes a filesystem or volume without an object set: whoever makes that has the ledger count its blocks. The names
    /// of its snapshots are case-insensitive where those of its files are.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT` when there is nothing above it, `EINVAL` when that is a volume or this cannot be its name,
    /// `ENAMETOOLONG`.
    pub fn create(&mut self, name: &str, is_case_insensitive: bool) -> Result<ObjectId> {
        let place = self.read().vacant(name)?;
        self.create_dataset(place.parent, &place.name, None, DatasetFlags::of_new(is_case_insensitive))
    }

    /// Makes snapshots, all or none (`dsl_dataset_snapshot`). What was written to their datasets in this transaction group
    /// must be synced, and nothing more may be written to them in it.
    ///
    /// # Errors
    /// `ENOENT` when there is no dataset of the name, `EEXIST`, `EXDEV` when two are of one dataset, `ENAMETOOLONG`, `EBUSY`
    /// when one was received in part only, `EAGAIN` when one has a snapshot of this transaction group.
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
                    format!("{name} is the second snapshot of one dataset"),
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

    /// Refuses to make the snapshot `name` in the transaction group of the one before it.
    pub(super) fn check_not_too_close(&self, head: ObjectId, name: &str) -> Result<()> {
        if self.read().dataset(head)?.prev_snapshot_txg >= self.txg() {
            return Err(Error::refused(Errno::EAGAIN, format!("{name} follows a snapshot too closely")));
        }
        Ok(())
    }

    /// Makes a clone of a snapshot, with the header of its intent log where it has one: that is still to be taken away.
    ///
    /// # Errors
    /// `ENOENT` when there is no such snapshot; as for [`create`](Self::create).
    pub(super) fn clone_snapshot(&mut self, origin: &str, name: &str) -> Result<ObjectId> {
        let snapshot = self.dsl().snapshot(origin)?.object();
        let place = self.read().vacant(name)?;
        if self.read().dataset(snapshot)?.flags.contains(DatasetFlags::DEFER_DESTROY) {
            return Err(Error::refused(Errno::ENOENT, format!("{origin} is to be destroyed")));
        }
        self.check_old_log(snapshot)?;
        self.create_dataset(place.parent, &place.name, Some(snapshot), DatasetFlags::empty())
    }
}
