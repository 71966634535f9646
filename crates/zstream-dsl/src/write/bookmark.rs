//! Bookmarks that change (`dsl_bookmark_create`, `_destroy`, and what snapshots and frees do to them).
//!
//! A bookmark that counts what was freed since its snapshot (`HAS_FBN`) keeps the txg of that snapshot a key of the
//! deadlists of the head and of its clones, also when the snapshot is gone.

use zstream_dmu::error::Result;
use zstream_dmu::ids::{ObjectId, Txg};

use super::Tx;
use super::usage::{Change, add};
use crate::bookmark::{BOOKMARKS, Bookmark, BookmarkFlags};

impl Bookmark {
    /// Whether it counts what was freed since its snapshot.
    pub(super) fn counts_freed(&self) -> bool {
        self.flags.contains(BookmarkFlags::HAS_FBN)
    }

    /// Counts more as freed before the next snapshot.
    pub(super) fn add_freed(&mut self, change: Change) {
        add(&mut self.freed_before_next.used_bytes, change.used);
        add(&mut self.freed_before_next.compressed_bytes, change.compressed);
        add(&mut self.freed_before_next.uncompressed_bytes, change.uncompressed);
    }
}

impl Tx<'_> {
    /// The ZAP of a head's bookmarks.
    pub(super) fn bookmarks_zap(&self, head: ObjectId) -> Result<Option<ObjectId>> {
        self.lookup_object(self.own_zap(head)?, BOOKMARKS)
    }

    /// The bookmarks of a head by age; their names are short ones.
    pub(super) fn bookmarks(&self, head: ObjectId) -> Result<Vec<Bookmark>> {
        let entries = self.entries(self.bookmarks_zap(head)?)?;
        let mut bookmarks = entries
            .into_iter()
            .map(|(name, value)| Bookmark::new(name, &value))
            .collect::<Result<Vec<_>>>()?;
        bookmarks.sort_by(|a, b| (a.creation_txg, &a.name).cmp(&(b.creation_txg, &b.name)));
        Ok(bookmarks)
    }

    /// Writes a bookmark that counts what was freed.
    pub(super) fn put_bookmark(&mut self, head: ObjectId, bookmark: &Bookmark) -> Result<()> {
        match self.bookmarks_zap(head)? {
            Some(zap) => self.zap(zap)?.update(bookmark.name.as_str(), &bookmark.encode(true)),
            None => Ok(()),
        }
    }

    /// Gives the deadlist of a head that was snapshotted the keys of bookmarks that are younger than the snapshot before
    /// (`dsl_bookmark_snapshotted`).
    pub(super) fn keep_bookmark_keys(
        &mut self,
        head: ObjectId,
        deadlist: ObjectId,
        after: Txg,
    ) -> Result<()> {
        let mut keys: Vec<Txg> = self
            .bookmarks(head)?
            .iter()
            .filter(|mark| mark.counts_freed() && mark.creation_txg > after)
            .map(|mark| mark.creation_txg)
            .collect();
        keys.dedup();
        keys.into_iter().try_for_each(|key| self.add_deadlist_key(deadlist, key))
    }
}
