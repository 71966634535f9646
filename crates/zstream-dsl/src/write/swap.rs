//! Exchange of the content of a head and of a clone of it: rollback, and the end of an incremental receive
//! (`dsl_dataset_clone_swap_sync_impl`, `dsl_dataset_rollback_sync`).

use zstream_dmu::ids::{ObjectId, Txg};
use zstream_format::errno::Errno;

use super::Tx;
use super::usage::{Change, Use};
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;

/// The clone that a rollback creates and destroys.
const ROLLBACK_CLONE: &str = "%rollback";

impl Tx<'_> {
    /// Exchanges the content of a clone and of a head that have the same previous snapshot.
    ///
    /// # Errors
    /// Fails with `EINVAL` if they do not, or if one is a snapshot.
    pub(crate) fn swap_clone(&mut self, clone: ObjectId, head: ObjectId) -> Result<()> {
        let (c, h) = (self.read().dataset(clone)?, self.read().dataset(head)?);
        if c.is_snapshot() || h.is_snapshot() || c.prev_snapshot != h.prev_snapshot {
            return Err(Error::refused(
                Errno::EINVAL,
                format!("{clone} is not a clone of the last snapshot of {head}"),
            ));
        }
        let snapshot = h
            .prev_snapshot
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("{head} has no previous snapshot")))?;
        self.swap_features(clone, head)?;
        self.swap_remapped(clone, head)?;
        let reserved = self.read().refreservation(head)?;
        let unreserved = reserved.min(h.unique_bytes) as i64 - reserved.min(c.unique_bytes) as i64;

        let (clone_list, head_list) = (self.read().deadlist_of(clone)?, self.read().deadlist_of(head)?);
        let shared = self.read().dataset(snapshot)?;
        // The unique space of the snapshot depends on the next dataset in its own line. OpenZFS also recounts it if the
        // head is a clone without snapshots, which gives a wrong result.
        if shared.next == Some(head) {
            let unique =
                self.read().dead_space(clone_list, shared.prev_snapshot_txg, Txg(u64::MAX))?.used_bytes;
            self.change_dataset(snapshot, |dataset| dataset.unique_bytes = unique)?;
        }

        let referenced = |phys: &crate::phys::DatasetPhys| Change {
            used: phys.referenced_bytes as i64,
            compressed: phys.compressed_bytes as i64,
            uncompressed: phys.uncompressed_bytes as i64,
        };
        let all = |list: ObjectId| Ok::<_, Error>(Change::of(&self.read().deadlist(list)?.space));
        let grows = referenced(&c)
            .plus(all(clone_list)?)
            .plus(referenced(&h).negated())
            .plus(all(head_list)?.negated());
        self.use_space(h.dir, Use::Head, grows)?;
        self.use_space(c.dir, Use::Head, grows.negated())?;
        let origin_txg = self.read().origin_txg(h.dir)?;
        let young = |list: ObjectId| {
            Ok::<_, Error>(self.read().dead_space(list, origin_txg, Txg(u64::MAX))?.used_bytes as i64)
        };
        let to_snapshots = young(clone_list)? - young(head_list)?;
        self.move_space(h.dir, to_snapshots, Use::Head, Use::Snapshots)?;

        for (to, from) in [(clone, &h), (head, &c)] {
            self.change_dataset(to, |dataset| {
                super::make::take_content(dataset, from);
                dataset.unique_bytes = from.unique_bytes;
                dataset.deadlist = from.deadlist;
            })?;
        }
        let change = Change { used: unreserved, ..Change::default() };
        self.use_space(h.dir, Use::Refreservation, change)?;
        self.bookmarks_follow(head, snapshot)?;
        self.remove_livelist(c.dir)?;
        self.remove_livelist(h.dir)
    }

    fn swap_features(&mut self, a: ObjectId, b: ObjectId) -> Result<()> {
        let (of_a, of_b) = (self.read().dataset_features(a)?, self.read().dataset_features(b)?);
        self.drop_features(a)?;
        self.drop_features(b)?;
        for (to, features) in [(b, of_a), (a, of_b)] {
            for (feature, value) in features {
                self.activate_feature(to, feature.name, &value)?;
            }
        }
        Ok(())
    }

    /// Rolls a head back to its last snapshot, which must be `to` if that is given. The caller has to remove the header
    /// of the snapshot's intent log, if there is one.
    ///
    /// # Errors
    /// Fails with `ESRCH` if it has no snapshot, and `EEXIST` if there are snapshots or bookmarks younger than `to`.
    pub(super) fn rollback(&mut self, name: &str, to: Option<&str>) -> Result<()> {
        let head = self.dsl().head(name)?.object();
        let phys = self.read().dataset(head)?;
        let none = || Error::refused(Errno::ESRCH, format!("{name} has no snapshot to roll back to"));
        let last = phys.prev_snapshot.filter(|_| phys.prev_snapshot_txg.0 >= super::TXG_INITIAL.0);
        let last = last.ok_or_else(none)?;
        if let Some(to) = to {
            let to_object = self.dsl().snapshot(to)?.object();
            let to_phys = self.read().dataset(to_object)?;
            if to_object != last {
                let is_older =
                    to_phys.dir == phys.dir || self.read().dir(phys.dir)?.origin == Some(to_object);
                return Err(if is_older {
                    Error::refused(Errno::EEXIST, format!("more recent snapshots than {to} exist"))
                } else {
                    Error::refused(Errno::ESRCH, format!("{to} is not a snapshot of {name}"))
                });
            }
        }
        if phys.prev_snapshot_txg >= self.txg() {
            return Err(Error::refused(
                Errno::EAGAIN,
                format!("the last snapshot of {name} was created in this transaction group"),
            ));
        }
        if self
            .read()
            .bookmarks(head, "")?
            .last()
            .is_some_and(|mark| mark.creation_txg > phys.prev_snapshot_txg)
        {
            return Err(Error::refused(Errno::EEXIST, format!("more recent bookmarks of {name} exist")));
        }
        let target = self.read().dataset(last)?;
        let quota = self.read().number_property(phys.dir, "refquota")?;
        if quota != 0 && target.referenced_bytes > quota {
            return Err(Error::refused(
                Errno::EDQUOT,
                format!("the snapshot needs more than the refquota of {name}"),
            ));
        }
        self.check_old_log(last)?;
        let clone = self.create_dataset(phys.dir, ROLLBACK_CLONE, Some(last), DatasetFlags::empty())?;
        self.swap_clone(clone, head)?;
        self.destroy_head(clone)
    }
}
