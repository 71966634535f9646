//! Blocks with entries in deduplication tables.

use std::sync::Arc;

use super::Allocator;
use crate::blkptr::{BlockPointer, Dva};
use crate::ddt::{References, Table, Totals};
use crate::error::{Error, Result};
use crate::lock;
use crate::object_set::ObjectSet;
use crate::vdev::Vdev;
use crate::vdev::arithmetic::deflated;

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
