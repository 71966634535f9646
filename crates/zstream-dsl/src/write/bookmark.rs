//! Changes of bookmarks (`dsl_bookmark_create`, `_destroy`, and the effects of snapshots and frees on them).
//!
//! A bookmark that counts what was freed since its snapshot (`HAS_FBN`) keeps the txg of that snapshot as a key in the
//! deadlists of the head and of its clones, even after the snapshot is destroyed.

use std::sync::Arc;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::zap::{NormFlags, Value};
use zstream_format::errno::Errno;

use super::Tx;
use super::redaction::CompleteHeader;
use super::usage::{Change, add};
use crate::bookmark::{BOOKMARKS, Bookmark, BookmarkFlags, BookmarkPhys, Space};
use crate::error::{Error, Kind, Result};
use crate::keys::IVSET_GUID;
use crate::pool::Dsl;
use crate::reader::{Mos, MosReader, ZAPIFIED};

impl Bookmark {
    /// Returns `true` if the bookmark counts what was freed since its snapshot.
    pub(super) fn counts_freed(&self) -> bool {
        self.flags.contains(BookmarkFlags::HAS_FBN)
    }

    /// Adds to the space that was freed before the next snapshot.
    pub(super) fn add_freed(&mut self, change: Change) {
        let freed = &mut self.phys.freed_before_next;
        add(&mut freed.used_bytes, change.used);
        add(&mut freed.compressed_bytes, change.compressed);
        add(&mut freed.uncompressed_bytes, change.uncompressed);
    }
}

impl Tx<'_> {
    /// Stores a bookmark that counts what was freed.
    pub(super) fn put_bookmark(&mut self, head: ObjectId, bookmark: &Bookmark) -> Result<()> {
        match self.read().bookmarks_zap(head)? {
            Some(zap) => Ok(self.zap(zap)?.update(bookmark.short_name(), &bookmark.encode(true))?),
            None => Ok(()),
        }
    }

    /// Adds the keys of bookmarks that are younger than the previous snapshot to the deadlist of a head that was
    /// snapshotted (`dsl_bookmark_snapshotted`).
    pub(super) fn keep_bookmark_keys(
        &mut self,
        head: ObjectId,
        deadlist: ObjectId,
        after: Txg,
    ) -> Result<()> {
        let mut keys: Vec<Txg> = self
            .read()
            .bookmarks(head, "")?
            .iter()
            .filter(|mark| mark.counts_freed() && mark.creation_txg > after)
            .map(|mark| mark.creation_txg)
            .collect();
        keys.dedup();
        keys.into_iter().try_for_each(|key| self.add_deadlist_key(deadlist, key))
    }

    /// Adds a bookmark to a head (`dsl_bookmark_node_add`).
    pub(super) fn add_bookmark(&mut self, head: ObjectId, mark: &Bookmark) -> Result<()> {
        let zap = match self.read().bookmarks_zap(head)? {
            Some(zap) => zap,
            None => {
                let zap = self.create_zap(ZAPIFIED, NormFlags::UPPER)?;
                self.feature_add("bookmarks", 1)?;
                self.set_entry(head, BOOKMARKS, &Value::word(zap.0))?;
                zap
            }
        };
        let needs_more = mark.ivset_guid != 0 || mark.counts_freed() || mark.redaction_object.is_some();
        let is_long = needs_more && self.read().feature_enabled("bookmark_v2")?;
        if is_long {
            self.feature_add("bookmark_v2", 1)?;
        }
        Ok(self.zap(zap)?.add(mark.short_name(), &mark.encode(is_long))?)
    }

    /// Creates a bookmark of a snapshot or of another bookmark (`dsl_bookmark_create`).
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EEXIST`, or `EINVAL` if the source is not in the line of snapshots of the bookmark's
    /// dataset.
    pub fn bookmark(&mut self, source: &str, name: &str) -> Result<()> {
        let not_before = || Error::refused(Errno::EINVAL, format!("{source} is not an ancestor of {name}"));
        let (head, short) = self.dsl().vacant_bookmark(name)?;
        let mark = if source.contains('#') {
            let (of, mark) = self.dsl().bookmark(source).map(|(of, mark)| (of.object(), mark))?;
            if !self.read().is_mark_before(head, of, &mark)? {
                return Err(not_before());
            }
            Bookmark { name: short, phys: BookmarkPhys { redaction_object: None, ..mark.phys } }
        } else {
            let snapshot = self.dsl().snapshot(source)?.object();
            if !self.read().is_before(head, snapshot)? {
                return Err(not_before());
            }
            self.mark_snapshot(&short, snapshot)?
        };
        if mark.counts_freed() {
            self.feature_add("bookmark_written", 1)?;
        }
        self.add_bookmark(head, &mark)
    }

    /// Returns the bookmark of a snapshot, with an empty redaction list if the snapshot is redacted.
    fn mark_snapshot(&mut self, name: &str, snapshot: ObjectId) -> Result<Bookmark> {
        let mut mark = self.read().bookmark_of(name, snapshot)?;
        if let Some(guids) = self.read().entry(snapshot, crate::dataset::feature::REDACTED_DATASETS)? {
            let header = CompleteHeader::new(guids.u64s());
            mark.phys.redaction_object = Some(self.create_redaction_list(&header)?);
        }
        Ok(mark)
    }

    /// Creates a bookmark of a snapshot with a redaction list (`dsl_bookmark_create_redacted`).
    pub(super) fn add_redaction_bookmark(
        &mut self,
        head: ObjectId,
        name: &str,
        snapshot: ObjectId,
        list: ObjectId,
    ) -> Result<()> {
        let mut mark = self.read().bookmark_of(name, snapshot)?;
        mark.phys.redaction_object = Some(list);
        if mark.counts_freed() {
            self.feature_add("bookmark_written", 1)?;
        }
        self.add_bookmark(head, &mark)
    }

    /// Destroys a bookmark (`dsl_bookmark_destroy_sync_impl`).
    ///
    /// # Errors
    /// Fails with `ENOENT`.
    pub fn destroy_bookmark(&mut self, name: &str) -> Result<()> {
        let (head, mark) = self.dsl().bookmark(name).map(|(head, mark)| (head.object(), mark))?;
        let zap = self.read().bookmarks_zap(head)?.ok_or_else(|| Error::not_found(Kind::Bookmark, name))?;
        let is_long =
            self.read().lookup(Some(zap), mark.short_name())?.is_some_and(|value| value.u64s().len() > 3);
        if is_long {
            self.feature_add("bookmark_v2", -1)?;
        }
        let phys = self.read().dataset(head)?;
        let is_last = !self.read().bookmarks(head, "")?.iter().any(|other| {
            other.counts_freed()
                && other.creation_txg == mark.creation_txg
                && other.short_name() != mark.short_name()
        });
        if mark.counts_freed()
            && !mark.flags.contains(BookmarkFlags::SNAPSHOT_EXISTS)
            && is_last
            && mark.creation_txg < phys.prev_snapshot_txg
        {
            self.remove_clones_key(phys.dir, mark.creation_txg)?;
            let list = self.read().deadlist_of(head)?;
            self.remove_deadlist_key(list, mark.creation_txg)?;
        }
        self.drop_bookmark(&mark)?;
        Ok(self.zap(zap)?.remove(mark.short_name())?)
    }

    /// Frees what belongs to a bookmark that is destroyed.
    fn drop_bookmark(&mut self, mark: &Bookmark) -> Result<()> {
        if mark.counts_freed() {
            self.feature_add("bookmark_written", -1)?;
        }
        let Some(list) = mark.redaction_object else { return Ok(()) };
        if self.mos.info(list)?.has_spill {
            self.feature_add("redaction_list_spill", -1)?;
        }
        self.free(list)?;
        self.feature_add("redaction_bookmarks", -1)
    }

    /// Destroys all bookmarks of a head that is destroyed.
    pub(super) fn free_bookmarks(&mut self, head: ObjectId) -> Result<()> {
        let Some(zap) = self.read().bookmarks_zap(head)? else { return Ok(()) };
        let long = self.read().entries(Some(zap))?.iter().filter(|(_, value)| value.u64s().len() > 3).count();
        if long > 0 {
            self.feature_add("bookmark_v2", -(long as i64))?;
        }
        for mark in self.read().bookmarks(head, "")? {
            self.drop_bookmark(&mark)?;
        }
        self.free(zap)?;
        self.feature_add("bookmarks", -1)
    }

    /// Updates the bookmarks of a head when one of its snapshots is destroyed. More was then freed before the next
    /// snapshot of bookmarks between this snapshot and the previous one, and bookmarks of the snapshot itself lose it.
    /// Returns `true` if one of the latter keeps its txg as a key in deadlists (`dsl_bookmark_ds_destroyed`).
    pub(super) fn bookmarks_lose(
        &mut self,
        head: ObjectId,
        snapshot: ObjectId,
        next: ObjectId,
    ) -> Result<bool> {
        let gone = self.read().dataset(snapshot)?;
        let mut keeps_key = false;
        for mut mark in self.read().bookmarks(head, "")? {
            if !mark.counts_freed() || mark.creation_txg < gone.prev_snapshot_txg {
                continue;
            }
            if mark.creation_txg < gone.creation_txg {
                let list = self.read().deadlist_of(next)?;
                let space = self.read().dead_space(list, Txg(0), mark.creation_txg)?;
                mark.add_freed(Change::of(&space));
            } else if mark.creation_txg == gone.creation_txg {
                mark.phys.flags -= BookmarkFlags::SNAPSHOT_EXISTS;
                keeps_key = true;
            } else {
                continue;
            }
            self.put_bookmark(head, &mark)?;
        }
        Ok(keeps_key)
    }

    /// Recounts the bookmarks of a snapshot that is followed by another dataset now (`dsl_bookmark_next_changed`).
    pub(super) fn bookmarks_follow(&mut self, head: ObjectId, snapshot: ObjectId) -> Result<()> {
        let txg = self.read().dataset(snapshot)?.creation_txg;
        for mark in self.read().bookmarks(head, "")? {
            if mark.counts_freed() && mark.creation_txg == txg {
                let mut now = self.read().bookmark_of(mark.short_name(), snapshot)?;
                now.phys.redaction_object = mark.redaction_object;
                self.put_bookmark(head, &now)?;
            }
        }
        Ok(())
    }

    /// Moves the bookmarks that are not younger than `last` from one head to another.
    pub(super) fn move_bookmarks(&mut self, from: ObjectId, to: ObjectId, last: Txg) -> Result<()> {
        for mark in self.read().bookmarks(from, "")? {
            if mark.creation_txg <= last
                && let Some(zap) = self.read().bookmarks_zap(from)?
            {
                let is_long = self
                    .read()
                    .lookup(Some(zap), mark.short_name())?
                    .is_some_and(|value| value.u64s().len() > 3);
                self.zap(zap)?.remove(mark.short_name())?;
                if is_long {
                    self.feature_add("bookmark_v2", -1)?;
                }
                self.add_bookmark(to, &mark)?;
            }
        }
        Ok(())
    }
}

impl<M: Mos> Dsl<M> {
    /// Checks that a bookmark can be created, and returns its head and short name.
    pub(crate) fn vacant_bookmark(self: &Arc<Self>, name: &str) -> Result<(ObjectId, String)> {
        let (head, short) = self.split_bookmark(name)?;
        self.read().require_feature("bookmarks")?;
        if head.bookmark(&short)?.is_some() {
            return Err(Error::exists(Kind::Bookmark, name));
        }
        Ok((head.object(), short))
    }
}

impl MosReader<'_> {
    /// Returns the bookmark of a snapshot (`dsl_bookmark_set_phys`).
    pub(super) fn bookmark_of(self, name: &str, snapshot: ObjectId) -> Result<Bookmark> {
        let phys = self.dataset(snapshot)?;
        let mut mark = BookmarkPhys {
            guid: phys.guid,
            creation_txg: phys.creation_txg,
            creation_time: phys.creation_time,
            ..BookmarkPhys::default()
        };
        if self.is_encrypted(phys.dir)? && self.feature_enabled("bookmark_v2")? {
            mark.ivset_guid = self.entry(snapshot, IVSET_GUID)?.map_or(Ok(0), |guid| guid.u64())?;
        }
        if self.feature_enabled("bookmark_written")? {
            mark.flags = BookmarkFlags::SNAPSHOT_EXISTS | BookmarkFlags::HAS_FBN;
            mark.referenced = Space {
                used_bytes: phys.referenced_bytes,
                compressed_bytes: phys.compressed_bytes,
                uncompressed_bytes: phys.uncompressed_bytes,
            };
            if let Some(next) = phys.next {
                mark.freed_before_next = self.deadlist(self.deadlist_of(next)?)?.space;
            }
        }
        Ok(Bookmark { name: name.to_owned(), phys: mark })
    }

    /// Returns `true` if a bookmark of the head `of` is in the line of snapshots that leads to `head`: in its own
    /// directory, or before the point at which that was cloned.
    pub(super) fn is_mark_before(self, head: ObjectId, of: ObjectId, mark: &Bookmark) -> Result<bool> {
        let mut dir = self.dataset(head)?.dir;
        let wanted = self.dataset(of)?.dir;
        for _ in 0..crate::reader::DEPTH_MAX * 8 {
            if dir == wanted {
                return Ok(true);
            }
            let Some(origin) = self.dir(dir)?.origin else { return Ok(false) };
            let origin = self.dataset(origin)?;
            if mark.creation_txg > origin.creation_txg {
                return Ok(false);
            }
            dir = origin.dir;
        }
        Ok(false)
    }
}
