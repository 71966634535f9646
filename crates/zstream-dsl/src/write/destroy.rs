//! Destruction of snapshots, filesystems and volumes (`dsl_destroy_snapshot_sync_impl`, `dsl_destroy_head_sync_impl`).
//!
//! The blocks that only a destroyed snapshot has are on the deadlist of the next snapshot, and are younger than the
//! previous one:
//!
//! ```text
//! before       S            next         next's deadlist:  keys below before's birth   before has them too
//!   |----------|-------------|                             keys from there on          only S has them: free
//! ```
//!
//! The rest of that deadlist and the deadlist of S are merged. Blocks are freed in the transaction group of the
//! destroy; OpenZFS leaves them to later ones.

use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::intent_log::{self, ZilHeader};
use zstream_dmu::traverse::{Floor, Options, Traverse, VisitKind};
use zstream_dmu::zap::{Value, number_key};
use zstream_format::errno::Errno;

use super::Tx;
use super::deadlist::has_places;
use super::make::FILESYSTEM_COUNT;
use super::snapshot::own_zaps;
use super::usage::{Change, Use, add};
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;
use crate::reader::MosReader;

impl Tx<'_> {
    /// Destroys snapshots by name, all or none. A snapshot with holds or clones is an error or, with `defer`, is
    /// destroyed together with the last of them.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EBUSY`, `EEXIST`.
    pub fn destroy_snapshots(&mut self, names: &[String], defer: bool) -> Result<()> {
        let snapshots = names
            .iter()
            .map(|name| self.dsl().snapshot(name).map(|snapshot| snapshot.object()))
            .collect::<Result<Vec<_>>>()?;
        if !defer {
            snapshots.iter().try_for_each(|snapshot| self.read().check_destroy_snapshot(*snapshot))?;
        }
        for snapshot in snapshots {
            if defer && (self.read().dataset(snapshot)?.children > 1 || self.read().hold_count(snapshot)? > 0)
            {
                self.change_dataset(snapshot, |dataset| dataset.flags |= DatasetFlags::DEFER_DESTROY)?;
            } else {
                self.destroy_snapshot(snapshot)?;
            }
        }
        Ok(())
    }

    /// Destroys a snapshot without clones and holds.
    pub(super) fn destroy_snapshot(&mut self, snapshot: ObjectId) -> Result<()> {
        let gone = self.read().dataset(snapshot)?;
        let next = gone.next.ok_or_else(|| {
            Error::corrupt("DSL dataset", format!("the snapshot {snapshot} has no next dataset"))
        })?;
        let name = self.read().short_name(snapshot)?;
        let head = self.read().head_of(gone.dir)?;
        let keeps_key = self.bookmarks_lose(head, snapshot, next)?;
        self.drop_features(snapshot)?;
        let before = match gone.prev_snapshot {
            Some(previous) => {
                let is_in_line = self.read().dataset(previous)?.next == Some(snapshot);
                self.step_in(previous, snapshot, next)?;
                Some(previous).filter(|_| is_in_line)
            }
            None => None,
        };
        let next_before = self.read().dataset(next)?;
        self.change_dataset(next, |dataset| {
            dataset.prev_snapshot = gone.prev_snapshot;
            dataset.prev_snapshot_txg = gone.prev_snapshot_txg;
        })?;

        let next_list = self.read().deadlist_of(next)?;
        if let Some(before) = before {
            let from = self.read().dataset(before)?.prev_snapshot_txg;
            let shared = self.read().dead_space(next_list, from, gone.prev_snapshot_txg)?;
            self.change_dataset(before, |dataset| add(&mut dataset.unique_bytes, shared.used_bytes as i64))?;
        }
        let freed = self.free_dead(next_list, gone.prev_snapshot_txg)?;
        self.use_space(gone.dir, Use::Snapshots, Change::of(&freed).negated())?;
        let own_list = self.read().deadlist_of(snapshot)?;
        self.merge_deadlists(next_list, own_list)?;
        self.free_deadlist(own_list)?;
        self.destroy_remapped(snapshot, next, gone.prev_snapshot_txg)?;
        if !keeps_key {
            self.remove_clones_key(gone.dir, gone.creation_txg)?;
        }

        if next_before.is_snapshot() {
            if let Some(after) = next_before.next {
                let list = self.read().deadlist_of(after)?;
                let shared = self.read().dead_space(list, gone.prev_snapshot_txg, gone.creation_txg)?;
                self.change_dataset(next, |dataset| {
                    add(&mut dataset.unique_bytes, shared.used_bytes as i64);
                })?;
            }
            if !keeps_key {
                let list = self.read().deadlist_of(head)?;
                self.remove_deadlist_key(list, gone.creation_txg)?;
            }
            self.remove_remapped_key(head, gone.creation_txg)?;
        } else {
            self.recount_unique(next, next_before.unique_bytes)?;
        }
        self.remove_snapshot_name(head, &name, true)?;
        self.clear_bootfs(snapshot)?;
        for object in own_zaps(&gone) {
            self.free(object)?;
        }
        self.free_zapified(snapshot)
    }

    /// Recounts the unique space of a head, after the snapshot before it was destroyed
    /// (`dsl_dataset_recalc_head_uniq`).
    fn recount_unique(&mut self, head: ObjectId, old_unique: u64) -> Result<()> {
        let phys = self.read().dataset(head)?;
        let before = match phys.prev_snapshot {
            Some(previous) => self.read().dataset(previous)?.referenced_bytes,
            None => 0,
        };
        let dead = self.read().deadlist(self.read().deadlist_of(head)?)?.space.used_bytes;
        let unique = phys.referenced_bytes.wrapping_sub(before.wrapping_sub(dead));
        self.change_dataset(head, |dataset| {
            dataset.unique_bytes = unique;
            dataset.flags |= DatasetFlags::UNIQUE_ACCURATE;
        })?;
        let reserved = self.read().refreservation(head)?;
        if old_unique < reserved {
            let less = unique.saturating_sub(old_unique).min(reserved - old_unique) as i64;
            let change = Change { used: -less, ..Change::default() };
            self.use_space(phys.dir, Use::Refreservation, change)?;
        }
        Ok(())
    }

    /// Removes a key from the deadlists of the younger clones of a directory, and of their clones
    /// (`dsl_dir_remove_clones_key`).
    pub(super) fn remove_clones_key(&mut self, dir: ObjectId, key: Txg) -> Result<()> {
        let mut dirs = vec![dir];
        while let Some(dir) = dirs.pop() {
            for clone in self.read().numbers(self.read().dir(dir)?.clones)? {
                let clone_dir = self.read().dataset(clone)?.dir;
                if self.read().origin_txg(clone_dir)? > key {
                    let list = self.read().deadlist_of(clone)?;
                    self.remove_deadlist_key(list, key)?;
                    self.remove_remapped_key(clone, key)?;
                    dirs.push(clone_dir);
                }
            }
        }
        Ok(())
    }

    /// Destroys a filesystem, volume or clone by name.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EBUSY` if it has snapshots, and `EEXIST` if it has children.
    pub fn destroy(&mut self, name: &str) -> Result<()> {
        let head = self.dsl().head(name)?.object();
        self.read().check_destroy_head(head)?;
        self.destroy_head(head)
    }

    /// Destroys a head without snapshots and children, and its origin if that is marked for destruction.
    pub(super) fn destroy_head(&mut self, head: ObjectId) -> Result<()> {
        let gone = self.read().dataset(head)?;
        self.set_refreservation(head, None)?;
        self.drop_features(head)?;
        let mut origin_waits = false;
        if let Some(origin) = gone.prev_snapshot {
            let phys = self.read().dataset(origin)?;
            if let Some(clones) = phys.next_clones {
                self.remove_number(clones, head)?;
            }
            self.change_dataset(origin, |origin| origin.children -= 1)?;
            if let Some(clones) = self.read().dir(phys.dir)?.clones {
                self.remove_number(clones, head)?;
            }
            origin_waits = phys.flags.contains(DatasetFlags::DEFER_DESTROY)
                && phys.children == 2
                && self.read().hold_count(origin)? == 0;
        }
        let list = self.read().deadlist_of(head)?;
        self.free_deadlist(list)?;
        self.drop_remapped(head)?;
        if !self.free_live(gone.dir)? {
            self.free_blocks(head)?;
        }
        self.free_log(head)?;
        let dir = self.read().dir(gone.dir)?;
        let used = Change {
            used: -(dir.used_bytes as i64),
            compressed: -(dir.compressed_bytes as i64),
            uncompressed: -(dir.uncompressed_bytes as i64),
        };
        self.use_space(gone.dir, Use::Head, used)?;
        for object in gone.snapshot_names.into_iter().chain(own_zaps(&gone)) {
            self.free(object)?;
        }
        self.free_bookmarks(head)?;
        self.clear_bootfs(head)?;
        self.forget_errors(head)?;
        self.free_zapified(head)?;
        self.destroy_dir(gone.dir)?;
        match gone.prev_snapshot {
            Some(origin) if origin_waits => self.destroy_snapshot(origin),
            _ => Ok(()),
        }
    }

    /// Frees the blocks of a head that are younger than the snapshot before it.
    fn free_blocks(&mut self, head: ObjectId) -> Result<()> {
        let phys = self.read().dataset(head)?;
        if phys.root.is_hole() || phys.root.birth() <= phys.prev_snapshot_txg {
            return Ok(());
        }
        let options =
            Options { floor: Floor::Allocated(phys.prev_snapshot_txg), locked: true, ..Options::default() };
        for visit in Traverse::new(self.reader.clone(), head.0, phys.root, options) {
            let visit = visit?;
            let is_young = visit.pointer.birth() > phys.prev_snapshot_txg;
            if visit.kind != VisitKind::Dnode && is_young && has_places(&visit.pointer) {
                self.has_changed = true;
                self.space.free(&visit.pointer)?;
            }
        }
        Ok(())
    }

    /// Frees the blocks of a head's intent log, which are not part of any count (`zil_destroy_sync`).
    fn free_log(&mut self, head: ObjectId) -> Result<()> {
        if self.read().dataset(head)?.root.is_hole() {
            return Ok(());
        }
        let set = self.read().objset_locked(head)?;
        let header = set.phys().zil;
        self.free_log_blocks(head, &header)
    }

    /// Frees the blocks of the intent log with this header: those that were allocated for further records, and of a log
    /// that was claimed those that its records refer to.
    pub(super) fn free_log_blocks(&mut self, head: ObjectId, header: &ZilHeader) -> Result<()> {
        if header.log.is_hole() {
            return Ok(());
        }
        let reader = self.reader.clone();
        for block in intent_log::blocks(&*reader, head.0, header) {
            if has_places(&block.pointer) {
                self.has_changed = true;
                self.space.free_claimed(&block.pointer)?;
            }
        }
        Ok(())
    }

    /// Checks that a snapshot of this transaction group does not have the header of an intent log. A head with its
    /// content needs an objset block without the header, and the snapshot could not be distinguished from it.
    pub(super) fn check_old_log(&self, snapshot: ObjectId) -> Result<()> {
        let phys = self.read().dataset(snapshot)?;
        if phys.creation_txg >= self.txg()
            && !phys.root.is_hole()
            && self.read().objset_locked(snapshot)?.has_intent_log()
        {
            let name = self.read().full_name(snapshot)?;
            return Err(Error::refused(
                Errno::EAGAIN,
                format!("{name} has an intent log and was created in this transaction group"),
            ));
        }
        Ok(())
    }

    /// Destroys a directory whose dataset was destroyed (`dsl_dir_destroy_sync`).
    fn destroy_dir(&mut self, dir: ObjectId) -> Result<()> {
        let phys = self.read().dir(dir)?;
        let parent = phys
            .parent
            .ok_or_else(|| Error::refused(Errno::EINVAL, "it is the root directory of the pool"))?;
        let name = self.read().dir_name(dir)?;
        let name = name.rsplit('/').next().unwrap_or_default();
        self.adjust_counts(parent, FILESYSTEM_COUNT, -1)?;
        self.reserve(dir, 0)?;
        self.drop_crypto_key(dir)?;
        for object in [phys.children, phys.props, phys.clones].into_iter().flatten() {
            self.free(object)?;
        }
        if let Some(permissions) = phys.permissions {
            for (_, set) in self.read().entries(Some(permissions))? {
                self.free(ObjectId(set.u64()?))?;
            }
            self.free(permissions)?;
        }
        let names = self.read().children_zap(parent)?;
        self.zap(names)?.remove(name)?;
        self.free_zapified(dir)
    }

    /// Clears the property `bootfs` if it names a dataset that is destroyed (`spa_prop_clear_bootfs`).
    fn clear_bootfs(&mut self, dataset: ObjectId) -> Result<()> {
        if let Some(props) = self.read().directory("pool_props")?
            && self.read().lookup_object(Some(props), "bootfs")? == Some(dataset)
        {
            self.zap(props)?.update("bootfs", &Value::word(0))?;
        }
        Ok(())
    }

    /// Removes the errors that were found in a head (`spa_delete_dataset_errlog`).
    fn forget_errors(&mut self, head: ObjectId) -> Result<()> {
        if !self.read().feature_enabled("head_errlog")? {
            return Ok(());
        }
        for log in ["errlog_last", "errlog_scrub"] {
            let Some(log) = self.read().directory(log)?.filter(|log| log.0 != 0) else { continue };
            if let Some(errors) = self.read().lookup_object(Some(log), &number_key(head.0))? {
                self.free(errors)?;
                self.zap(log)?.remove(number_key(head.0))?;
            }
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// Checks that a snapshot can be destroyed.
    pub(super) fn check_destroy_snapshot(self, snapshot: ObjectId) -> Result<()> {
        let phys = self.dataset(snapshot)?;
        if !phys.is_snapshot() {
            return Err(Error::refused(Errno::EINVAL, format!("dataset {snapshot} is not a snapshot")));
        }
        if self.hold_count(snapshot)? > 0 {
            let name = self.full_name(snapshot)?;
            return Err(Error::refused(Errno::EBUSY, format!("snapshot {name} has holds")));
        }
        if phys.children > 1 {
            let name = self.full_name(snapshot)?;
            return Err(Error::refused(Errno::EEXIST, format!("snapshot {name} has dependent clones")));
        }
        Ok(())
    }

    /// Checks that a head can be destroyed.
    pub(super) fn check_destroy_head(self, head: ObjectId) -> Result<()> {
        let phys = self.dataset(head)?;
        let name = || self.dir_name(phys.dir);
        if phys.is_snapshot() {
            return Err(Error::refused(Errno::EINVAL, format!("dataset {head} is a snapshot")));
        }
        if self.dir(phys.dir)?.parent.is_none() {
            return Err(Error::refused(Errno::EINVAL, format!("{} is the root of the pool", name()?)));
        }
        if let Some(previous) = phys.prev_snapshot
            && self.dataset(previous)?.next == Some(head)
        {
            return Err(Error::refused(Errno::EBUSY, format!("{} has snapshots", name()?)));
        }
        if !self.entries(self.dir(phys.dir)?.children)?.is_empty() {
            return Err(Error::refused(Errno::EEXIST, format!("{} has children", name()?)));
        }
        Ok(())
    }
}
