//! The references of a transaction group: tables with their changes, until they are committed.
//!
//! A clone counts from the moment when its block pointer is made, before it is on disk. So a block whose first
//! reference is freed in the same transaction group is not lost, whichever is synced first.

use std::collections::BTreeMap;

use super::counts::Counts;
use super::table::{Table, Totals};
use super::{REGION_BYTES, TablePhys};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object_set::ObjectSet;

/// The references of a pool that is open for writing.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// The table of each top-level vdev.
    pending: Vec<Pending>,
    /// Whether any vdev has or had a table in this transaction group.
    is_used: bool,
}

/// The count of a block in this transaction group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    /// As it is in the table: of the last transaction group, or already written in this one.
    written: u64,
    now: u64,
}

/// The table of a vdev, with its changes.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) vdev: u32,
    /// The number of regions of a new table.
    regions: u64,
    region_bytes: u64,
    /// The table in the MOS.
    table: Option<Table>,
    counts: Counts,
    totals: Totals,
    /// The entries that were changed in this transaction group, or read for a change.
    entries: BTreeMap<u64, Count>,
    is_dirty: bool,
}

impl References {
    /// Creates the references of a pool without tables. `sizes` are the sizes of the top-level vdevs, in whole
    /// metaslabs.
    pub(crate) fn new(sizes: impl IntoIterator<Item = u64>) -> Self {
        let pending = (0..).zip(sizes).map(|(vdev, size)| Pending {
            vdev,
            regions: size.div_ceil(REGION_BYTES),
            region_bytes: REGION_BYTES,
            table: None,
            counts: Counts::default(),
            totals: Totals::default(),
            entries: BTreeMap::new(),
            is_dirty: false,
        });
        Self { pending: pending.collect(), is_used: false }
    }

    /// Opens the tables.
    ///
    /// # Errors
    /// Fails if a table cannot be read or is corrupt.
    pub(crate) fn open(&mut self, mos: &dyn ObjectSet) -> Result<()> {
        for pending in &mut self.pending {
            if let Some(table) = Table::open(mos, pending.vdev)? {
                pending.load(mos, table)?;
                self.is_used = true;
            }
        }
        Ok(())
    }

    /// Returns `false` if no block has several references, which is known without a search.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Returns the sums of all tables.
    pub(crate) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for pending in &self.pending {
            sum.entries += pending.totals.entries;
            sum.used_bytes += pending.totals.used_bytes;
            sum.saved_bytes += pending.totals.saved_bytes;
        }
        sum
    }

    fn of(&mut self, vdev: u32) -> Result<&mut Pending> {
        self.pending.get_mut(vdev as usize).ok_or_else(|| Error::no_vdev(vdev))
    }

    /// Adds a reference to the block at `offset` of a vdev, whose copies occupy `bytes`. `mos` is the MOS of the last
    /// transaction group.
    ///
    /// # Errors
    /// Fails if the table cannot be read, and if its sums are corrupt.
    pub(crate) fn add(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        vdev: u32,
        offset: u64,
        bytes: u64,
    ) -> Result<()> {
        self.is_used = true;
        self.of(vdev)?.add(mos, offset, bytes)
    }

    /// Drops a reference to the block at `offset` of a vdev. Returns `false` if it was the last one.
    ///
    /// # Errors
    /// Fails as [`add`](Self::add).
    pub(crate) fn drop(
        &mut self,
        mos: Option<&dyn ObjectSet>,
        vdev: u32,
        offset: u64,
        bytes: u64,
    ) -> Result<bool> {
        if !self.is_used {
            return Ok(false);
        }
        self.of(vdev)?.drop(mos, offset, bytes)
    }

    /// Returns the tables that must be written.
    pub(crate) fn dirty(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.pending.iter_mut().filter(|pending| pending.is_dirty)
    }

    /// Returns whether a table must be written.
    pub(crate) fn is_dirty(&self) -> bool {
        self.pending.iter().any(|pending| pending.is_dirty)
    }

    /// Records that the transaction group is on stable storage.
    pub(crate) fn committed(&mut self) {
        for pending in &mut self.pending {
            pending.entries.clear();
        }
        self.is_used = self.pending.iter().any(|pending| pending.totals.entries > 0);
    }
}

impl Pending {
    fn load(&mut self, mos: &dyn ObjectSet, table: Table) -> Result<()> {
        self.region_bytes = table.phys.region_bytes;
        self.totals = table.totals();
        self.counts = if table.is_foreign() {
            let mut counts = Counts::default();
            let mut result = Ok(());
            table.entries(mos, &mut |offset, _| {
                result =
                    std::mem::replace(&mut result, Ok(())).and_then(|()| counts.add(table.region(offset), 1));
            })?;
            result?;
            counts
        } else {
            table.counts(mos)?
        };
        self.table = Some(table);
        Ok(())
    }

    /// Returns the count of a block. `entries` has it from then on if it is not 0.
    fn count(&mut self, mos: Option<&dyn ObjectSet>, offset: u64) -> Result<u64> {
        if let Some(count) = self.entries.get(&offset) {
            return Ok(count.now);
        }
        let (Some(table), Some(mos)) = (&self.table, mos) else { return Ok(0) };
        if self.counts.get(offset / self.region_bytes) == 0 {
            return Ok(0);
        }
        let count = table.lookup(mos, offset)?;
        if count > 0 {
            self.entries.insert(offset, Count { written: count, now: count });
        }
        Ok(count)
    }

    fn add(&mut self, mos: Option<&dyn ObjectSet>, offset: u64, bytes: u64) -> Result<()> {
        let old = self.count(mos, offset)?;
        let new = old.checked_add(1).ok_or_else(|| self.bad("count of references", offset))?;
        let Totals { entries, used_bytes, saved_bytes } = self.totals;
        let is_new = u64::from(old == 0);
        let totals = (|| {
            Some(Totals {
                entries: entries.checked_add(is_new)?,
                used_bytes: used_bytes.checked_add(bytes * is_new)?,
                saved_bytes: saved_bytes.checked_add(bytes)?,
            })
        })();
        let totals = totals.ok_or_else(|| self.bad("sum", offset))?;
        if old == 0 {
            let region = offset / self.region_bytes;
            // A region that is not in the table would be without entries for the next reader.
            let regions = self.table.as_ref().map_or(0, |table| table.phys.regions).max(self.regions);
            if region >= regions {
                return Err(self.bad("region", offset));
            }
            self.counts.add(region, 1)?;
        }
        self.totals = totals;
        self.entries.entry(offset).or_insert(Count { written: 0, now: 0 }).now = new;
        self.is_dirty = true;
        Ok(())
    }

    fn drop(&mut self, mos: Option<&dyn ObjectSet>, offset: u64, bytes: u64) -> Result<bool> {
        let Some(new) = self.count(mos, offset)?.checked_sub(1) else { return Ok(false) };
        let Totals { entries, used_bytes, saved_bytes } = self.totals;
        let is_gone = u64::from(new == 0);
        let totals = (|| {
            Some(Totals {
                entries: entries.checked_sub(is_gone)?,
                used_bytes: used_bytes.checked_sub(bytes * is_gone)?,
                saved_bytes: saved_bytes.checked_sub(bytes)?,
            })
        })();
        let totals = totals.ok_or_else(|| self.bad("sum", offset))?;
        if new == 0 {
            self.counts.add(offset / self.region_bytes, -1)?;
        }
        self.totals = totals;
        if let Some(count) = self.entries.get_mut(&offset) {
            count.now = new;
        }
        self.is_dirty = true;
        Ok(true)
    }

    fn bad(&self, what: &str, offset: u64) -> Error {
        let detail = format!("vdev {}: {what} is out of range at offset {offset:#x}", self.vdev);
        Error::corrupt("block reference table", detail)
    }

    /// The object of the table and that of its entries.
    pub(crate) fn objects(&self) -> Option<(ObjectId, ObjectId)> {
        self.table.as_ref().map(|table| (table.object, ObjectId(table.phys.entries)))
    }

    /// Returns whether no block has several references, so that the vdev needs no table.
    pub(crate) fn is_empty(&self) -> bool {
        self.totals.entries == 0
    }

    /// Records the objects of a new table.
    pub(crate) fn created(&mut self, object: ObjectId, entries: ObjectId) {
        let phys = TablePhys { entries: entries.0, region_bytes: self.region_bytes, ..TablePhys::default() };
        self.table = Some(Table::new(self.vdev, object, phys));
    }

    /// Records that the table was destroyed, with all entries.
    pub(crate) fn destroyed(&mut self) {
        self.table = None;
        self.counts = Counts::default();
        for count in self.entries.values_mut() {
            count.written = 0;
        }
        self.is_dirty = false;
    }

    /// Returns the changed entries, each with its new count, which is 0 if it must be removed. They count as written.
    pub(crate) fn take_entries(&mut self) -> Vec<(u64, u64)> {
        let changed = self.entries.iter_mut().filter(|(_, count)| count.written != count.now);
        changed
            .map(|(offset, count)| {
                count.written = count.now;
                (*offset, count.now)
            })
            .collect()
    }

    /// Returns the changed blocks of counts and the bonus. They count as written.
    pub(crate) fn take_counts(&mut self) -> (Vec<(u64, Vec<u8>)>, TablePhys) {
        self.is_dirty = false;
        let (order, mut phys) = match &self.table {
            Some(table) => (table.order(), table.phys),
            None => (zstream_format::order::ByteOrder::Little, TablePhys::default()),
        };
        phys.regions = phys.regions.max(self.regions);
        phys.total = self.totals.entries;
        phys.used_bytes = self.totals.used_bytes;
        phys.saved_bytes = self.totals.saved_bytes;
        if let Some(table) = &mut self.table {
            table.phys = phys;
        }
        (self.counts.take_dirty(order), phys)
    }
}
