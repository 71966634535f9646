//! Blocks with entries in deduplication tables.

use std::sync::Arc;

use super::Allocator;
use crate::blkptr::{BlockPointer, Dva};
use crate::block::ReadBlock;
use crate::ddt::{self, Found, References, Table, Totals};
use crate::error::{Error, Result};
use crate::ids::{Bookmark, ObjectId};
use crate::lock;
use crate::mos::DIRECTORY_OBJECT;
use crate::object_set::ObjectSet;
use crate::vdev::Vdev;
use crate::vdev::arithmetic::deflated;
use crate::zap::Zap;
use crate::zio::{Same, Space as _};

impl Allocator {
    /// Drops a reference to a block with the dedup bit. Returns `false` if no table has the block, because its entry was
    /// removed (`zpool ddtprune`). The space of a block in a table is freed when the table is written, because another
    /// block pointer may refer to it until then.
    pub(super) fn release_dedup(&self, block: &BlockPointer) -> Result<bool> {
        let mos = self.committed_mos()?;
        let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
        let references = dedup.as_mut().ok_or_else(in_use)?;
        references.drop(&*mos, &|dva| self.dva_dsize(dva), block)
    }

    /// Adds a reference to a block with the dedup bit (`ddt_addref`). Returns `false` if no table has the block.
    pub(super) fn share_dedup(&self, block: &BlockPointer) -> Result<bool> {
        let mos = self.committed_mos()?;
        let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
        let references = dedup.as_mut().ok_or_else(in_use)?;
        references.add(&*mos, &|dva| self.dva_dsize(dva), block)
    }

    /// Returns a block with the content of `block`, as [`find_same`](crate::zio::Space::find_same).
    pub(super) fn find_dedup(
        &self,
        reader: &dyn ReadBlock,
        block: &BlockPointer,
        copies: u8,
        content: Option<&[u8]>,
    ) -> Result<Same> {
        let (mos, dsize) = (self.committed_mos()?, |dva| self.dva_dsize(dva));
        loop {
            let found = {
                let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
                let references = dedup.as_mut().ok_or_else(in_use)?;
                let found = references.find_same(&*mos, &dsize, block, copies)?;
                if let (Found::Block(same), None) = (found, content) {
                    references.add(&*mos, &dsize, &same)?;
                }
                found
            };
            let same = match found {
                Found::Nothing if self.are_tables_full(&*mos)? => return Ok(Same::Apart),
                Found::Nothing => return Ok(Same::New),
                Found::TooFewCopies => return Ok(Same::Apart),
                Found::Block(same) => same.born_again(self.txg()),
            };
            // The block is read without the lock, because other threads may wait for it.
            let Some(content) = content else { return Ok(Same::Shared(same)) };
            if *reader.read_stored(&same, Bookmark::default())? != *content {
                return Ok(Same::Apart);
            }
            if self.share_dedup(&same)? {
                return Ok(Same::Shared(same));
            }
        }
    }

    /// Returns whether the tables have reached their quota, so that no block is entered (`ddt_over_quota`).
    fn are_tables_full(&self, mos: &dyn ObjectSet) -> Result<bool> {
        let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
        let references = dedup.as_mut().ok_or_else(in_use)?;
        if let Some(is_full) = references.is_full {
            return Ok(is_full);
        }
        let quota = match Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64("pool_props")? {
            Some(props) => Zap::open(mos, ObjectId(props))?.lookup_u64(ddt::QUOTA)?,
            None => None,
        };
        let is_full = match quota.unwrap_or(u64::MAX) {
            0 => false,
            // The default is the size of the vdevs that are for the tables, if there are any.
            u64::MAX => self.intact_state()?.is_table_class_full(),
            bytes => references.allocated_bytes(mos)? > bytes,
        };
        references.is_full = Some(is_full);
        Ok(is_full)
    }

    /// Removes entries with one reference, as [`References::prune`]. Their blocks stay.
    pub(crate) fn prune_dedup(&self, before: u64, limit: usize) -> Result<usize> {
        let mos = self.committed_mos()?;
        let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
        let references = dedup.as_mut().ok_or_else(in_use)?;
        references.prune(&*mos, &|dva| self.dva_dsize(dva), before, limit)
    }

    /// Enters a new block, as [`enter`](crate::zio::Space::enter).
    pub(super) fn enter_dedup(&self, block: &BlockPointer, copies: u8) -> Result<bool> {
        let mos = self.committed_mos()?;
        let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
        let references = dedup.as_mut().ok_or_else(in_use)?;
        references.enter(&*mos, &|dva| self.dva_dsize(dva), block, copies)
    }

    /// Opens the tables of a pool.
    pub(super) fn open_dedup(&self, mos: &dyn ObjectSet) -> Result<()> {
        *lock::intact(&self.dedup, "the deduplication tables")? = Some(References::open(mos)?);
        Ok(())
    }

    /// Returns whether a table must be written.
    pub(super) fn is_dedup_changed(&self) -> bool {
        lock::lock(&self.dedup).as_ref().is_some_and(|references| references.is_dirty)
    }

    /// Begins the next transaction group.
    pub(super) fn dedup_committed(&self) -> Result<()> {
        lock::intact(&self.dedup, "the deduplication tables")?.as_mut().ok_or_else(in_use)?.committed();
        Ok(())
    }

    /// Takes the tables to write them, if they changed. No block may be freed until they are put back.
    pub(crate) fn take_dedup(&self) -> Result<Option<References>> {
        let mut dedup = lock::intact(&self.dedup, "the deduplication tables")?;
        Ok(dedup.take_if(|references| references.is_dirty))
    }

    /// Puts the tables back.
    pub(crate) fn put_dedup(&self, references: References) -> Result<()> {
        *lock::intact(&self.dedup, "the deduplication tables")? = Some(references);
        Ok(())
    }

    /// Returns the deflated size of a copy.
    pub(crate) fn dva_dsize(&self, place: Dva) -> u64 {
        let ratio = self.deflate.get(place.vdev() as usize).copied().unwrap_or(0);
        deflated(place.asize(), ratio)
    }

    fn committed_mos(&self) -> Result<Arc<dyn ObjectSet>> {
        let mos = self.intact_state()?.mos.clone();
        mos.ok_or_else(|| Error::internal("a pool has no MOS yet"))
    }
}

/// Returns the names of the objects of deduplication tables whose histograms are not those of their entries.
///
/// # Errors
///
/// Fails if a table cannot be read.
pub fn wrong_dedup_histograms(mos: &dyn ObjectSet, tops: &[Vdev]) -> Result<Vec<String>> {
    let tables = Table::open_all(mos)?;
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let ratios = super::allocator::ratios(mos, tops)?;
    let dsize = |place: Dva| deflated(place.asize(), ratios.get(place.vdev() as usize).copied().unwrap_or(0));
    let mut wrong = Vec::new();
    for table in &tables {
        wrong.extend(table.wrong_histograms(mos, &dsize)?);
    }
    Ok(wrong)
}

/// Returns the sums of the deduplication tables of a pool.
///
/// # Errors
///
/// Fails if a table cannot be read.
pub fn dedup_totals(mos: &dyn ObjectSet, tops: &[Vdev]) -> Result<Totals> {
    let tables = Table::open_all(mos)?;
    if tables.is_empty() {
        return Ok(Totals::default());
    }
    let ratios = super::allocator::ratios(mos, tops)?;
    let dsize = |place: Dva| deflated(place.asize(), ratios.get(place.vdev() as usize).copied().unwrap_or(0));
    Ok(Totals::of(&tables, &dsize))
}

fn in_use() -> Error {
    Error::internal("a block was freed while the deduplication tables are written")
}
