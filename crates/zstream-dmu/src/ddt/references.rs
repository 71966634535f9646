//! The changes of deduplication tables in a transaction group.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

use zstream_format::algorithm::ChecksumType;

use super::{Class, Entry, Key, Statistics, Table};
use crate::blkptr::{BlockPointer, Dva};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::{DIRECTORY_OBJECT, Feature};
use crate::object_set::ObjectSet;
use crate::zap::Zap;

/// The place of an entry on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The class of the object that has it.
    pub class: Class,
    /// Its sums in the histogram of the object, unless a log replaces it.
    pub counted: Option<Statistics>,
}

/// An entry that was used in this transaction group (`ddt_entry_t`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched {
    /// Its place on disk; `None` for a new entry, and for one that only a log has.
    pub stored: Option<Stored>,
    /// The current value.
    pub entry: Entry,
    /// Whether the value must be written.
    pub is_dirty: bool,
    /// Whether the entry is removed although its block is in use.
    pub is_pruned: bool,
}

impl Touched {
    /// Returns an entry that was not changed yet.
    pub(crate) fn clean(stored: Option<Stored>, entry: Entry) -> Self {
        Self { stored, entry, is_dirty: false, is_pruned: false }
    }
}

/// The result of a search for a block of the same content.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// A pointer to it.
    Block(BlockPointer),
    /// There is none.
    Nothing,
    /// There is one with too few copies.
    TooFewCopies,
}

/// The tables of a pool that is open for writing.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// The tables on disk.
    pub tables: Vec<Table>,
    /// The entries that were used in this transaction group, by checksum function and key.
    pub touched: BTreeMap<(ChecksumType, Key), Touched>,
    /// Whether an entry must be written.
    pub is_dirty: bool,
    /// Whether the tables are as large as they may be, once that was asked in this transaction group.
    pub is_full: Option<bool>,
}

impl References {
    /// Opens the tables of a pool.
    pub(crate) fn open(mos: &dyn ObjectSet) -> Result<Self> {
        Ok(Self { tables: Table::open_all(mos)?, ..Self::default() })
    }

    /// Begins the next transaction group.
    pub(crate) fn committed(&mut self) {
        self.touched.clear();
        self.is_full = None;
    }

    /// Returns the entry of `key`, if there is one. `mos` is that of the last transaction group. `dsize` returns the
    /// deflated size of a copy.
    fn find(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        checksum: ChecksumType,
        key: Key,
    ) -> Result<Option<&mut Touched>> {
        let Some(table) = self.tables.iter().find(|table| table.checksum == checksum) else {
            return Ok(None);
        };
        match self.touched.entry((checksum, key)) {
            Place::Occupied(place) => Ok(Some(place.into_mut())),
            Place::Vacant(place) => {
                let touched = match table.logged.get(&key) {
                    Some(logged) => {
                        let stored = logged.class.map(|class| Stored { class, counted: None });
                        Touched::clean(stored, logged.entry)
                    }
                    None => match table.lookup(mos, key)? {
                        Some((class, entry)) => {
                            let counted = Some(Statistics::of(key, &entry, dsize));
                            Touched::clean(Some(Stored { class, counted }), entry)
                        }
                        None => return Ok(None),
                    },
                };
                Ok(Some(place.insert(touched)))
            }
        }
    }

    /// Drops a reference to a block. Returns `false` if no table has it: it then has one reference.
    ///
    /// # Errors
    ///
    /// Fails if the entry cannot be read, and if it has no references.
    pub(crate) fn drop(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        block: &BlockPointer,
    ) -> Result<bool> {
        self.change(mos, dsize, block, |entry| entry.drop_reference(block))
    }

    /// Changes the entry of a block. Returns what `change` returns, `true` if it changed the entry; `false` if no table
    /// has the block.
    fn change(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        block: &BlockPointer,
        change: impl FnOnce(&mut Entry) -> Result<bool>,
    ) -> Result<bool> {
        let key = Key::of(block);
        let Some(touched) = self.find(mos, dsize, block.checksum_type(), key)? else { return Ok(false) };
        let is_changed = change(&mut touched.entry)?;
        touched.is_dirty |= is_changed;
        self.is_dirty |= is_changed;
        Ok(is_changed)
    }

    /// Adds a reference to a block. Returns `false` if no table has it.
    ///
    /// # Errors
    ///
    /// Fails if the entry cannot be read.
    pub(crate) fn add(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        block: &BlockPointer,
    ) -> Result<bool> {
        self.change(mos, dsize, block, |entry| Ok(entry.add_reference(block)))
    }

    /// Returns a block with the content of `block` for a pointer to this number of copies.
    ///
    /// # Errors
    ///
    /// Fails if the entry cannot be read.
    pub(crate) fn find_same(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        block: &BlockPointer,
        copies: u8,
    ) -> Result<Found> {
        let key = Key::of(block);
        let Some(touched) = self.find(mos, dsize, block.checksum_type(), key)? else {
            return Ok(Found::Nothing);
        };
        let variant = touched.entry.for_copies(copies);
        Ok(match variant.is_used() {
            false => Found::Nothing,
            true if variant.copies(key).count() < usize::from(copies) => Found::TooFewCopies,
            true => Found::Block(block.moved(&variant.dvas, variant.birth)),
        })
    }

    /// Returns the allocated bytes of the tables and their logs (`ddt_get_ddt_dsize`).
    ///
    /// # Errors
    ///
    /// Fails if the dnode of a table cannot be read.
    pub(crate) fn allocated_bytes(&self, mos: &dyn ObjectSet) -> Result<u64> {
        self.tables.iter().map(|table| table.allocated_bytes(mos)).sum()
    }

    /// Marks entries with one reference that was not dropped or added after the time `before` to be removed, at most
    /// `limit` of them, and returns their number.
    ///
    /// # Errors
    ///
    /// Fails if an entry cannot be read.
    pub(crate) fn prune(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        before: u64,
        limit: usize,
    ) -> Result<usize> {
        let mut old = Vec::new();
        for table in &self.tables {
            table.entries(mos, &mut |_, key, entry| {
                if old.len() < limit && entry.unique_since().is_some_and(|time| time <= before) {
                    old.push((table.checksum, key));
                }
                Ok(())
            })?;
        }
        for (checksum, key) in &old {
            if let Some(touched) = self.find(mos, dsize, *checksum, *key)? {
                (touched.is_pruned, touched.is_dirty) = (true, true);
            }
        }
        self.is_dirty |= !old.is_empty();
        Ok(old.len())
    }

    /// Enters a block with one reference. The first block of a checksum function creates its table. Returns `false` if
    /// there is already one for this number of copies.
    ///
    /// # Errors
    ///
    /// Fails if the entry cannot be read.
    pub(crate) fn enter(
        &mut self,
        mos: &dyn ObjectSet,
        dsize: &dyn Fn(Dva) -> u64,
        block: &BlockPointer,
        copies: u8,
    ) -> Result<bool> {
        let (checksum, key) = (block.checksum_type(), Key::of(block));
        let is_flat = match self.tables.iter().find(|table| table.checksum == checksum) {
            Some(table) => table.is_flat(),
            None => {
                let table = Table::new(checksum, has_fast(mos)?);
                self.tables.push(table);
                self.tables.last().is_some_and(Table::is_flat)
            }
        };
        let is_new = match self.find(mos, dsize, checksum, key)? {
            Some(touched) => {
                let is_new = touched.entry.enter(block, copies);
                touched.is_dirty |= is_new;
                is_new
            }
            None => {
                let mut entry = Entry::new(is_flat);
                let is_new = entry.enter(block, copies);
                self.touched
                    .insert((checksum, key), Touched { is_dirty: is_new, ..Touched::clean(None, entry) });
                is_new
            }
        };
        self.is_dirty |= is_new;
        Ok(is_new)
    }
}

/// Returns whether new tables are fast tables.
fn has_fast(mos: &dyn ObjectSet) -> Result<bool> {
    let Some(object) = Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64("features_for_write")? else {
        return Ok(false);
    };
    let feature = Feature::by_name("fast_dedup").ok_or_else(|| Error::no_entry("feature", "fast_dedup"))?;
    Ok(Zap::open(mos, ObjectId(object))?.lookup(feature.guid)?.is_some())
}
