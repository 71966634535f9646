//! Changes of deadlists (`dsl_deadlist_insert`, `_clone`, `_merge`, ...).
//!
//! Each entry is a list of its own. If the pool has the feature `empty_bpobj`, empty ones share one list of the whole
//! pool, whose feature count is the number of uses. The first block gives an entry a list of its own.

use std::collections::BTreeMap;

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::bpobj as lists;
use zstream_dmu::bpobj::{BpObj, LIST_BLOCK_BYTES, ListChange, SizedBlock};
use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::DIRECTORY_OBJECT;
use zstream_dmu::zap::{self, NewZap, Value, number_key};
use zstream_dmu::zio::Space;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::Tx;
use super::usage::{Change, add};
use crate::bookmark::Space as DeadSpace;
use crate::deadlist::{Deadlist, DeadlistPhys, Entry};
use crate::error::{Error, Result};
use crate::reader::MosReader;

/// The name of the shared empty list in the MOS's directory.
const EMPTY_LIST: &str = "empty_bpobj";

impl Deadlist {
    /// Returns the entry for blocks of this birth.
    fn entry_of(&self, birth: Txg) -> Result<Entry> {
        let before = self.entries.partition_point(|entry| entry.min_txg < birth);
        before.checked_sub(1).and_then(|at| self.entries.get(at)).copied().ok_or_else(|| {
            Error::corrupt("deadlist", format!("{} has no entry for a block born in {birth}", self.object))
        })
    }
}

impl Tx<'_> {
    /// Creates an empty deadlist (`dsl_deadlist_alloc`).
    pub(super) fn create_deadlist(&mut self) -> Result<ObjectId> {
        let new = NewObject::new(ObjectType::DEADLIST, 0)
            .with_bonus(ObjectType::DEADLIST_HDR, DeadlistPhys::LEN as u16);
        let zap = NewZap::new(self.random()?);
        Ok(zap::create_with(self.mos_mut(), &new, &zap)?)
    }

    /// Creates a deadlist with the keys of another one that are less than `below`, and without blocks
    /// (`dsl_deadlist_clone`).
    pub(super) fn clone_deadlist(&mut self, from: ObjectId, below: Txg) -> Result<ObjectId> {
        let keys = self.read().deadlist(from)?.entries;
        let object = self.create_deadlist()?;
        for entry in keys.iter().filter(|entry| entry.min_txg < below) {
            self.add_deadlist_key(object, entry.min_txg)?;
        }
        Ok(object)
    }

    /// Adds an empty entry (`dsl_deadlist_add_key`).
    pub(super) fn add_deadlist_key(&mut self, object: ObjectId, key: Txg) -> Result<()> {
        let list = self.empty_list()?;
        Ok(self.zap(object)?.add(number_key(key.0), &Value::word(list.0))?)
    }

    /// Creates a list of blocks, in the form that deadlists without a count of frees use.
    pub(super) fn create_list(&mut self) -> Result<ObjectId> {
        let counts_freed = self.read().feature_active("livelist")?;
        Ok(lists::create(self.mos_mut(), LIST_BLOCK_BYTES, counts_freed)?)
    }

    /// Returns an empty list, which counts as one more use if it is the shared one (`bpobj_alloc_empty`).
    fn empty_list(&mut self) -> Result<ObjectId> {
        if !self.read().feature_enabled(EMPTY_LIST)? {
            return self.create_list();
        }
        let list = match self.read().directory(EMPTY_LIST)? {
            Some(list) => list,
            None => {
                let list = self.create_list()?;
                self.zap(DIRECTORY_OBJECT)?.add(EMPTY_LIST, &Value::word(list.0))?;
                list
            }
        };
        self.feature_add(EMPTY_LIST, 1)?;
        Ok(list)
    }

    /// Removes one use of the shared empty list (`bpobj_decr_empty`).
    fn drop_empty(&mut self) -> Result<()> {
        self.feature_add(EMPTY_LIST, -1)?;
        if !self.read().feature_active(EMPTY_LIST)?
            && let Some(list) = self.read().directory(EMPTY_LIST)?
        {
            self.zap(DIRECTORY_OBJECT)?.remove(EMPTY_LIST)?;
            self.free(list)?;
        }
        Ok(())
    }

    /// Changes the sums of a deadlist.
    fn add_deadlist_space(&mut self, object: ObjectId, change: Change) -> Result<()> {
        let mut bonus = self.mos.info(object)?.bonus()?.to_vec();
        let short =
            || Error::corrupt("deadlist", format!("bonus is {} bytes, which is too short", bonus.len()));
        let mut space = DeadSpace::read(&bonus, ByteOrder::Little).ok_or_else(short)?;
        add(&mut space.used_bytes, change.used);
        add(&mut space.compressed_bytes, change.compressed);
        add(&mut space.uncompressed_bytes, change.uncompressed);
        space.encode(&mut bonus, ByteOrder::Little);
        Ok(self.mos_mut().set_bonus(object, ObjectType::DEADLIST_HDR, &bonus)?)
    }

    /// Adds blocks.
    pub(super) fn insert_dead(&mut self, object: ObjectId, blocks: &[SizedBlock]) -> Result<()> {
        let changes: Vec<_> =
            blocks.iter().map(|block| ListChange { block: *block, is_free: false }).collect();
        self.insert_changes(object, &changes)
    }

    /// Adds blocks that were allocated or freed, in this order (`dsl_deadlist_insert`).
    pub(super) fn insert_changes(&mut self, object: ObjectId, changes: &[ListChange]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let deadlist = self.read().deadlist(object)?;
        let mut sum = Change::default();
        let mut sorted: BTreeMap<Txg, (ObjectId, Vec<ListChange>)> = BTreeMap::new();
        for change in changes {
            let entry = deadlist.entry_of(change.block.pointer.birth())?;
            sorted.entry(entry.min_txg).or_insert_with(|| (entry.blocks, Vec::new())).1.push(*change);
            let space = change_of(&change.block);
            sum = sum.plus(if change.is_free { space.negated() } else { space });
        }
        self.add_deadlist_space(object, sum)?;
        for (key, (list, changes)) in sorted {
            let mut list = list;
            if self.read().is_shared_empty(list)? {
                list = self.create_list()?;
                self.drop_empty()?;
                self.zap(object)?.update(number_key(key.0), &Value::word(list.0))?;
            }
            lists::enqueue_changes(self.mos_mut(), list, &changes)?;
        }
        Ok(())
    }

    /// Adds a list to an entry of a deadlist, which owns it from then on (`dle_enqueue_subobj`).
    fn put_below(&mut self, object: ObjectId, entry: Entry, list: ObjectId) -> Result<()> {
        if self.read().is_shared_empty(list)? {
            return self.drop_empty();
        }
        if self.read().is_shared_empty(entry.blocks)? {
            self.drop_empty()?;
            return Ok(self.zap(object)?.update(number_key(entry.min_txg.0), &Value::word(list.0))?);
        }
        Ok(lists::enqueue_list(self.mos_mut(), entry.blocks, list)?)
    }

    /// Removes a key and moves its blocks to the previous one (`dsl_deadlist_remove_key`). A missing key is not an
    /// error.
    pub(super) fn remove_deadlist_key(&mut self, object: ObjectId, key: Txg) -> Result<()> {
        let deadlist = self.read().deadlist(object)?;
        let Some(at) = deadlist.entries.iter().position(|entry| entry.min_txg == key) else {
            return Ok(());
        };
        let Some(before) = at.checked_sub(1) else {
            return Err(Error::corrupt("deadlist", format!("{object} has no entry before its key {key}")));
        };
        self.zap(object)?.remove(number_key(key.0))?;
        self.put_below(object, deadlist.entries[before], deadlist.entries[at].blocks)
    }

    /// Moves all entries of the deadlist `from` into another one (`dsl_deadlist_merge`).
    pub(super) fn merge_deadlists(&mut self, into: ObjectId, from: ObjectId) -> Result<()> {
        let old = self.read().deadlist(from)?;
        for entry in &old.entries {
            let space = self.read().list_space(entry.blocks)?;
            // Read again, since an entry may have got a list of its own.
            let to = self.read().deadlist(into)?;
            // The blocks of an entry are younger than its key, and not older than the blocks of the key before it.
            let to =
                to.entries.iter().rev().find(|to| to.min_txg <= entry.min_txg).copied().ok_or_else(|| {
                    Error::corrupt("deadlist", format!("{into} has no entry for the key {}", entry.min_txg))
                })?;
            self.add_deadlist_space(into, Change::of(&space))?;
            self.zap(from)?.remove(number_key(entry.min_txg.0))?;
            self.put_below(into, to, entry.blocks)?;
        }
        self.add_deadlist_space(from, Change::of(&old.space).negated())
    }

    /// Removes the entries whose keys are at least `from`, and frees their blocks. Returns their space.
    pub(super) fn free_dead(&mut self, object: ObjectId, from: Txg) -> Result<DeadSpace> {
        self.take_dead(object, from, &mut |space, block| {
            if has_places(block) { space.free(block) } else { Ok(()) }
        })
    }

    /// Removes the entries whose keys are at least `from`, and passes their blocks to `take`. Returns their space.
    pub(super) fn take_dead(
        &mut self,
        object: ObjectId,
        from: Txg,
        take: &mut dyn FnMut(&dyn Space, &BlockPointer) -> PoolResult<()>,
    ) -> Result<DeadSpace> {
        let sum = self.read().dead_space(object, from, Txg(u64::MAX))?;
        for entry in self.read().deadlist(object)?.entries {
            if entry.min_txg >= from {
                self.zap(object)?.remove(number_key(entry.min_txg.0))?;
                self.take_list(entry.blocks, take)?;
            }
        }
        self.add_deadlist_space(object, Change::of(&sum).negated())?;
        Ok(sum)
    }

    /// Frees a list, after its blocks are passed to `take`.
    fn take_list(
        &mut self,
        list: ObjectId,
        take: &mut dyn FnMut(&dyn Space, &BlockPointer) -> PoolResult<()>,
    ) -> Result<()> {
        if self.read().is_shared_empty(list)? {
            return self.drop_empty();
        }
        for entry in BpObj::open(&*self.mos, list)?.entries(&*self.mos) {
            take(self.space, &entry?.pointer)?;
        }
        Ok(lists::free(self.mos_mut(), list)?)
    }

    /// Frees a deadlist and its lists, but not the blocks in them (`dsl_deadlist_free`).
    pub(super) fn free_deadlist(&mut self, object: ObjectId) -> Result<()> {
        for entry in self.read().deadlist(object)?.entries {
            if self.read().is_shared_empty(entry.blocks)? {
                self.drop_empty()?;
            } else {
                lists::free(self.mos_mut(), entry.blocks)?;
            }
        }
        self.free(object)
    }
}

impl MosReader<'_> {
    /// Returns a deadlist of the current format.
    pub(super) fn deadlist(self, object: ObjectId) -> Result<Deadlist> {
        let list = Deadlist::open(self.mos, object)?;
        if self.mos.info(object)?.bonus_type != ObjectType::DEADLIST_HDR {
            return Err(Error::unsupported("changing a deadlist of a pool version before 26"));
        }
        Ok(list)
    }

    pub(super) fn is_shared_empty(self, list: ObjectId) -> Result<bool> {
        Ok(self.directory(EMPTY_LIST)? == Some(list))
    }

    /// Returns the space of a list.
    pub(super) fn list_space(self, list: ObjectId) -> Result<DeadSpace> {
        let list = BpObj::open(self.mos, list)?;
        Ok(DeadSpace {
            used_bytes: list.bytes,
            compressed_bytes: list.compressed_bytes.unwrap_or_default(),
            uncompressed_bytes: list.uncompressed_bytes.unwrap_or_default(),
        })
    }

    /// Returns the space of the entries whose keys are at least `from` and less than `below`
    /// (`dsl_deadlist_space_range`).
    pub(super) fn dead_space(self, object: ObjectId, from: Txg, below: Txg) -> Result<DeadSpace> {
        let mut sum = DeadSpace::default();
        for entry in self.deadlist(object)?.entries {
            if (from..below).contains(&entry.min_txg) {
                let space = self.list_space(entry.blocks)?;
                sum.used_bytes += space.used_bytes;
                sum.compressed_bytes += space.compressed_bytes;
                sum.uncompressed_bytes += space.uncompressed_bytes;
            }
        }
        Ok(sum)
    }
}

/// Returns `true` if a block uses space on vdevs.
pub(super) fn has_places(block: &BlockPointer) -> bool {
    !block.is_hole() && !block.is_embedded() && !block.is_redacted()
}

/// Returns the amount that a block adds to the sums.
pub(super) fn change_of(block: &SizedBlock) -> Change {
    Change {
        used: block.used_bytes as i64,
        compressed: block.pointer.psize() as i64,
        uncompressed: block.pointer.uncompressed_bytes() as i64,
    }
}
