//! Deduplication tables: their size, and the removal of entries that share nothing (`zpool ddtprune`).

use std::collections::BTreeMap;

use zstream_dmu::ddt::Table;
use zstream_dmu::error::{Error as PoolError, Result as PoolResult};
use zstream_dmu::object_set::ObjectSet;
use zstream_dsl::write::WritablePool;

use crate::error::{Cause, Error, Result};

/// The entries that one transaction group removes.
const BATCH: u64 = 100_000;

/// Entries with one reference that are removed from the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Those that have had one reference for so many seconds.
    Older(u64),
    /// So many percent of them, those that have had one reference for the longest time.
    Percent(u8),
}

/// Returns the allocated bytes of all tables and their logs (`dedup_table_size`).
///
/// # Errors
/// Fails if a table cannot be read.
pub(crate) fn allocated_bytes(mos: &dyn ObjectSet) -> PoolResult<u64> {
    Table::open_all(mos)?.iter().map(|table| table.allocated_bytes(mos)).sum()
}

/// Removes entries with one reference from the fast tables of a pool, and completes transaction groups for it. Returns
/// their number. Their blocks stay and are freed like blocks that were not deduplicated; content that is written again
/// does not share them.
///
/// # Errors
/// Fails if the feature `fast_dedup` is not enabled, if a table cannot be read, and if the pool cannot be changed.
pub fn prune_dedup(pool: &mut WritablePool, prune: Prune) -> Result<u64> {
    let name = pool.pool().name().to_owned();
    let failed = |source: Cause| Error::Change { action: format!("prune {name}"), source };
    let has_tables = pool.pool().features().map_err(|error| failed(error.into()))?.is_enabled("fast_dedup");
    if !has_tables {
        return Err(failed(PoolError::unsupported("pruning tables without the feature fast_dedup").into()));
    }
    let (before, mut left) = match prune {
        Prune::Older(seconds) => (pool.pool().now().saturating_sub(seconds), u64::MAX),
        Prune::Percent(percent) => {
            oldest(&ages(pool.pool().mos()).map_err(|error| failed(error.into()))?, percent)
        }
    };
    let mut done = 0;
    while left > 0 {
        let limit = usize::try_from(left.min(BATCH)).unwrap_or(usize::MAX);
        let pruned = pool.prune_dedup(before, limit).map_err(|error| failed(error.into()))? as u64;
        if pruned == 0 {
            break;
        }
        pool.commit().map_err(|error| failed(error.into()))?;
        (done, left) = (done + pruned, left.saturating_sub(pruned));
    }
    Ok(done)
}

/// The numbers of entries with one reference by the time since which they have had one.
fn ages(mos: &dyn ObjectSet) -> PoolResult<BTreeMap<u64, u64>> {
    let mut ages = BTreeMap::new();
    for table in Table::open_all(mos)? {
        table.entries(mos, &mut |_, _, entry| {
            if let Some(time) = entry.unique_since() {
                *ages.entry(time).or_default() += 1;
            }
            Ok(())
        })?;
    }
    Ok(ages)
}

/// The time up to which entries belong to the oldest `percent` of all, and the number of these.
fn oldest(ages: &BTreeMap<u64, u64>, percent: u8) -> (u64, u64) {
    let all: u64 = ages.values().sum();
    let wanted = (u128::from(all) * u128::from(percent) / 100) as u64;
    let mut sum = 0;
    let last = ages.iter().find(|(_, count)| {
        sum += **count;
        sum >= wanted
    });
    (last.map_or(0, |(time, _)| *time), wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_chosen() {
        let ages = BTreeMap::from([(10, 5), (20, 3), (30, 2)]);
        assert_eq!(oldest(&ages, 0), (10, 0));
        assert_eq!(oldest(&ages, 50), (10, 5));
        assert_eq!(oldest(&ages, 60), (20, 6));
        assert_eq!(oldest(&ages, 100), (30, 10));
        assert_eq!(oldest(&BTreeMap::new(), 100), (0, 0));
    }
}
