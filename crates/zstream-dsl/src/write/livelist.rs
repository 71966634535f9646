//! Changes of livelists: the blocks that a clone wrote itself (`dsl_flush_pending_livelist`, `dsl_async_clone_destroy`,
//! `livelist_delete_sync`).
//!
//! ```text
//! clone is created     an empty livelist
//! clone is synced      blocks born: +    blocks killed: -    for blocks that are younger than its origin
//! afterwards           no livelist if the clone shares too little with its origin
//! promote, rollback    no livelist: it depends on the origin
//! clone is destroyed   blocks with + and without - are freed
//! ```
//!
//! A list consists of parts. Both entries of a block are in the same part: that of its birth. So a part is only begun
//! with the first sync in a transaction group.
//!
//! The list is never required. Without it, the blocks of a clone are found by a traversal.

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::bpobj::{BpObj, ListChange};
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::DIRECTORY_OBJECT;
use zstream_dmu::zap::Value;

use super::Tx;
use super::deadlist::{change_of, has_places};
use super::usage::{Change, Use};
use crate::deadlist::Entry;
use crate::error::{Error, Result};
use crate::livelist::{self, DELETED_CLONES};
use crate::reader::MosReader;

/// The entry of a clone's directory for the list.
const LIST: &str = "com.delphix:livelist";

/// The feature that counts the lists.
const FEATURE: &str = "livelist";

/// The number of entries that wait in memory.
const ENTRIES_WAITING_MAX: usize = 4096;

/// The limits of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of blocks in a part after which the next part is begun (`zfs_livelist_max_entries`).
    pub(super) part_blocks_max: u64,
    /// The part of the clone that is shared with its origin, in percent; with less there is no list
    /// (`zfs_livelist_min_percent_shared`).
    pub(super) shared_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { part_blocks_max: 500_000, shared_percent: 75 }
    }
}

/// The list of a clone that is synced.
pub(super) struct Live {
    list: ObjectId,
    /// Only younger blocks are listed.
    origin_txg: Txg,
    waiting: Vec<ListChange>,
}

impl Live {
    /// Adds a block that was born or killed, in this order of events: the place of a killed block may be used again.
    /// Returns `true` if the list should be written.
    pub(super) fn add(&mut self, change: ListChange) -> bool {
        let pointer = &change.block.pointer;
        if has_places(pointer) && pointer.birth() > self.origin_txg {
            self.waiting.push(change);
        }
        self.waiting.len() >= ENTRIES_WAITING_MAX
    }
}

impl Tx<'_> {
    /// Creates the list of a new clone, if the pool has the feature.
    pub(super) fn create_livelist(&mut self, dir: ObjectId) -> Result<()> {
        if !self.read().feature_enabled(FEATURE)? {
            return Ok(());
        }
        let list = self.create_deadlist()?;
        self.set_entry(dir, LIST, &Value::word(list.0))?;
        self.feature_add(FEATURE, 1)
    }

    /// Opens the list of a clone whose head is synced, if it has one.
    pub(super) fn open_livelist(&mut self, head: ObjectId, dir: ObjectId) -> Result<Option<Live>> {
        let Some(list) = self.read().entry_object(dir, LIST)? else { return Ok(None) };
        let origin_txg = self.read().origin_txg(dir)?;
        let last = self.read().deadlist(list)?.entries.last().copied();
        if self.is_part_needed(head, last)? {
            self.add_deadlist_key(list, Txg(self.txg().0 - 1))?;
        }
        Ok(Some(Live { list, origin_txg, waiting: Vec::new() }))
    }

    /// Returns `true` if there is no part for the blocks of this transaction group. Those of an earlier sync of the same
    /// group are in the last one.
    fn is_part_needed(&self, head: ObjectId, last: Option<Entry>) -> Result<bool> {
        let Some(last) = last else { return Ok(true) };
        if self.read().dataset(head)?.root.birth() >= self.txg() {
            return Ok(false);
        }
        let part = BpObj::open(&*self.mos, last.blocks)?;
        Ok(part.count.saturating_sub(part.freed.unwrap_or_default()) > self.livelists.part_blocks_max)
    }

    /// Writes the waiting entries of a list.
    pub(super) fn write_livelist(&mut self, live: &mut Live) -> Result<()> {
        self.insert_changes(live.list, &std::mem::take(&mut live.waiting))
    }

    /// Removes the list of a clone that was synced, if the clone shares too little with its origin
    /// (`dsl_livelist_should_disable`).
    pub(super) fn prune_livelist(&mut self, head: ObjectId, dir: ObjectId) -> Result<()> {
        let referenced = u128::from(self.read().dataset(head)?.referenced_bytes);
        let own = u128::from(self.read().dir(dir)?.breakdown.head);
        let shared = referenced.saturating_sub(own);
        if referenced > 0 && 100 * shared / referenced <= u128::from(self.livelists.shared_percent) {
            self.remove_livelist(dir)?;
        }
        Ok(())
    }

    /// Removes the list of a clone (`dsl_dir_remove_livelist`).
    pub(super) fn remove_livelist(&mut self, dir: ObjectId) -> Result<()> {
        let Some(list) = self.read().entry_object(dir, LIST)? else { return Ok(()) };
        self.remove_entry(dir, LIST)?;
        self.free_deadlist(list)?;
        self.feature_add(FEATURE, -1)
    }

    /// Frees the blocks of a clone that is destroyed by its list, and the list. Returns `false` if there is none, or if
    /// it does not have all blocks that the directory counts: these are then found by a traversal.
    pub(super) fn free_live(&mut self, dir: ObjectId) -> Result<bool> {
        let Some(list) = self.read().entry_object(dir, LIST)? else { return Ok(false) };
        let (phys, live) = (self.read().dir(dir)?, self.read().deadlist(list)?);
        let listed = (live.space.used_bytes, live.space.compressed_bytes);
        let is_complete = listed == (phys.used_bytes, phys.compressed_bytes);
        if is_complete {
            live.entries.iter().try_for_each(|part| self.free_part(*part).map(drop))?;
        }
        self.remove_livelist(dir)?;
        Ok(is_complete)
    }

    /// Frees the allocated blocks of a part of a list, and returns their space.
    fn free_part(&mut self, part: Entry) -> Result<Change> {
        let mut sum = Change::default();
        for block in self.read().live_blocks(part)? {
            self.has_changed = true;
            self.space.free(&block)?;
            sum = sum.plus(change_of(&self.sized(&block)));
        }
        Ok(sum)
    }

    /// Frees the blocks of clones that OpenZFS destroyed and whose lists wait to be processed. Returns the number of
    /// lists, and the errors of those that could not be read, which are kept.
    pub(super) fn free_deleted_clones(&mut self) -> Result<(usize, Vec<Error>)> {
        let (mut freed, mut unread) = (0, Vec::new());
        let Some(clones) = self.read().directory(DELETED_CLONES)? else { return Ok((freed, unread)) };
        for list in self.read().numbers(Some(clones))? {
            match self.read().live_parts(list) {
                Ok(parts) => self.free_deleted_clone(clones, list, &parts)?,
                Err(error) => {
                    unread.push(error);
                    continue;
                }
            }
            freed += 1;
        }
        if unread.is_empty() {
            self.zap(DIRECTORY_OBJECT)?.remove(DELETED_CLONES)?;
            self.free(clones)?;
        }
        Ok((freed, unread))
    }

    fn free_deleted_clone(&mut self, clones: ObjectId, list: ObjectId, parts: &[Entry]) -> Result<()> {
        let mut sum = Change::default();
        for part in parts {
            sum = sum.plus(self.free_part(*part)?);
        }
        if let Some(dir) = self.read().child(self.read().root_dir()?, "$FREE")? {
            self.use_space(dir, Use::Head, sum.negated())?;
        }
        self.remove_number(clones, list)?;
        self.free_deadlist(list)?;
        self.feature_add(FEATURE, -1)
    }
}

#[cfg(any(test, feature = "testing"))]
impl Tx<'_> {
    /// Destroys a clone and leaves its blocks to its list, as OpenZFS does. For tests.
    pub(crate) fn leave_deleted_clone(&mut self, name: &str) -> Result<()> {
        use zstream_dmu::zap::NormFlags;

        let head = self.dsl().head(name)?.object();
        self.read().check_destroy_head(head)?;
        let dir = self.read().dataset(head)?.dir;
        let missing = || Error::corrupt("livelist", format!("{name} has none"));
        let list = self.read().entry_object(dir, LIST)?.ok_or_else(missing)?;
        let clones = match self.read().directory(DELETED_CLONES)? {
            Some(clones) => clones,
            None => {
                let clones = self.create_zap(crate::reader::ZAPIFIED, NormFlags::empty())?;
                self.zap(DIRECTORY_OBJECT)?.add(DELETED_CLONES, &Value::word(clones.0))?;
                clones
            }
        };
        self.add_number(clones, list)?;
        self.remove_entry(dir, LIST)?;
        let space = Change::of(&self.read().deadlist(list)?.space);
        self.use_space(dir, Use::Head, space.negated())?;
        if let Some(free) = self.read().child(self.read().root_dir()?, "$FREE")? {
            self.use_space(free, Use::Head, space)?;
        }
        // No block is reached from it any more.
        self.change_dataset(head, |dataset| dataset.root = BlockPointer::default())?;
        self.destroy_head(head)
    }
}

impl MosReader<'_> {
    /// Returns the parts of a list, after all were read.
    fn live_parts(self, list: ObjectId) -> Result<Vec<Entry>> {
        let parts = self.deadlist(list)?.entries;
        parts.iter().try_for_each(|part| self.live_blocks(*part).map(drop))?;
        Ok(parts)
    }

    /// Returns the allocated blocks of a part of a list, which must be those that its sums count.
    fn live_blocks(self, part: Entry) -> Result<Vec<BlockPointer>> {
        let list = BpObj::open(self.mos, part.blocks)?;
        let left: Vec<_> =
            livelist::allocated(self.mos, &list)?.into_iter().map(|item| item.pointer).collect();
        let stored = left.iter().map(BlockPointer::psize).fold(0, u64::wrapping_add);
        if list.compressed_bytes != Some(stored) {
            let detail = format!("object {} has blocks of {stored} bytes, its header differs", list.object);
            return Err(Error::corrupt("livelist", detail));
        }
        Ok(left)
    }
}
