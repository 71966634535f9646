//! The references to cloned and deduplicated blocks, compared with their counts in the block reference tables and the
//! deduplication tables.
//!
//! A block with an entry of `n` must have `n + 1` block pointers in datasets, intent logs and lists of blocks that are
//! not freed yet. Of the pointers to a block without an entry, only one can be to a block of its own. Any further one
//! is a clone, which can be seen: it was born after the block was written. So blocks without an entry are counted only
//! if a clone refers to them, in a second pass that reads no data.
//!
//! A block with the dedup bit must have as many block pointers as its entry in the deduplication table counts. Without
//! an entry it has one, unless it is cloned.
//!
//! The tables also say which blocks need not be read again: those that were found intact with an equal pointer.

use std::collections::{BTreeMap, HashMap};
use std::hash::RandomState;
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockPointer, Dva};
use zstream_dmu::brt::{Table, Totals};
use zstream_dmu::ddt;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::check::{Item, SharedBlocks};
use zstream_dmu::space::wrong_dedup_histograms;
use zstream_dmu::zio::BlockCheck;
use zstream_dsl::scrub::{self, Lines, Part};

use super::damage::{self, DamagedBlock};
use super::shared::{Address, Blocks, Entry, address, fingerprint};
use crate::error::Result;
use crate::place::{Keys, OpenPool};

/// The maximum number of wrong counts that are listed; more are only counted.
const COUNTS_KEPT: usize = 1 << 16;

/// A block whose count of references is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongCount {
    /// The top-level vdev of the first copy of the block.
    pub vdev: u32,
    /// The offset on it in bytes.
    pub offset: u64,
    /// The references according to the tables: 1 for a block without an entry.
    pub recorded: u64,
    /// The block pointers that were found.
    pub found: u64,
    /// Files and other objects that have the block.
    pub places: Vec<String>,
}

impl WrongCount {
    /// True if the block would be freed while it is still referenced. Otherwise its space would never be freed.
    #[must_use]
    pub fn is_too_low(&self) -> bool {
        self.recorded < self.found
    }
}

/// The result of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReferenceCheck {
    /// The sums of the tables.
    pub totals: Totals,
    /// Blocks with wrong counts, those that are too low first.
    pub wrong: Vec<WrongCount>,
    /// Wrong counts that are not listed, because there are too many.
    pub not_listed: u64,
    /// Sums of the tables that are wrong.
    pub sums: Vec<String>,
}

impl ReferenceCheck {
    /// True if all counts and sums are right.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty() && self.not_listed == 0 && self.sums.is_empty()
    }
}

/// The references that were found so far.
pub(super) struct Counting<'a> {
    open: &'a OpenPool,
    tables: Vec<CountedTable>,
    listed: Listed,
    /// The blocks without an entry to which clones refer, with the references that were found.
    unlisted: HashMap<Address, u64>,
    /// The key of the fingerprints of pointers.
    hasher: RandomState,
}

/// A block reference table, and the sums that follow from its entries and the pointers to their blocks.
struct CountedTable {
    table: Table,
    real: Totals,
}

/// The blocks in tables.
struct Listed {
    cloned: Blocks,
    dedup: Blocks,
}

impl Listed {
    /// Returns the entry of the block of a pointer, and whether it is in a deduplication table. A deduplicated block
    /// whose entry was pruned is counted by the block reference tables.
    fn entry(&mut self, address: Address, pointer: &BlockPointer) -> Option<(&mut Entry, bool)> {
        if pointer.is_dedup()
            && let Some(entry) = self.dedup.get_mut(address)
        {
            return Some((entry, true));
        }
        Some((self.cloned.get_mut(address)?, false))
    }
}

/// A block with a wrong count.
#[derive(Clone, Copy)]
struct Wrong {
    /// The references in the table without those that were found.
    left: i64,
    found: u64,
    first: Option<(Part, Item)>,
}

impl<'a> Counting<'a> {
    /// Reads the tables of a pool; `None` if it has none.
    pub(super) fn begin(open: &'a OpenPool) -> Result<Option<Self>> {
        let mos = &**open.pool.mos();
        let dedup = deduplicated(mos)?;
        if !open.pool.features().is_active("block_cloning") && dedup.is_empty() {
            return Ok(None);
        }
        let (mut tables, mut cloned) = (Vec::new(), Blocks::default());
        for vdev in 0..open.pool.vdevs().tops().len() as u32 {
            let Some(table) = Table::open(mos, vdev)? else { continue };
            let mut real = Totals::default();
            table.entries(mos, &mut |offset, count| {
                real.entries += 1;
                cloned.add((vdev, offset), count.saturating_add(1));
            })?;
            tables.push(CountedTable { table, real });
        }
        cloned.sort();
        let (listed, unlisted) = (Listed { cloned, dedup }, HashMap::new());
        Ok(Some(Self { open, tables, listed, unlisted, hasher: RandomState::new() }))
    }

    /// Compares the counts, after all references were counted.
    pub(super) fn finish(mut self, lines: &Lines, keys: &dyn Keys) -> Result<ReferenceCheck> {
        self.count_originals(lines)?;
        let mut check = ReferenceCheck::default();
        for counted in &self.tables {
            let totals = counted.table.totals();
            check.totals.entries += totals.entries;
            check.totals.used_bytes = check.totals.used_bytes.saturating_add(totals.used_bytes);
            check.totals.saved_bytes = check.totals.saved_bytes.saturating_add(totals.saved_bytes);
            self.check_sums(counted, &mut check.sums)?;
        }
        let pool = &self.open.pool;
        let wrong = wrong_dedup_histograms(&**pool.mos(), pool.vdevs().tops())?;
        check.sums.extend(wrong.iter().map(|name| format!("{name}: the histogram is wrong")));
        let mut wrong = self.wrong();
        check.not_listed = wrong.len().saturating_sub(COUNTS_KEPT) as u64;
        wrong.truncate(COUNTS_KEPT);
        let wrong = self.find(lines, &wrong)?;
        let places = self.places(lines, keys, &wrong);
        check.wrong = wrong
            .into_iter()
            .map(|((address, _), Wrong { left, found, .. })| WrongCount {
                vdev: address.0,
                offset: address.1,
                recorded: found.saturating_add_signed(left),
                found,
                places: places.get(&address).cloned().unwrap_or_default(),
            })
            .collect();
        check.wrong.sort_by_key(|wrong| (!wrong.is_too_low(), wrong.vdev, wrong.offset));
        Ok(check)
    }

    /// Counts the references to blocks without an entry that are not clones.
    fn count_originals(&mut self, lines: &Lines) -> Result<()> {
        if self.unlisted.is_empty() {
            return Ok(());
        }
        let unlisted = &mut self.unlisted;
        Ok(scrub::parts(&self.open.pool, lines, &mut |_, blocks| {
            for item in blocks.flatten().filter(|item| !is_clone(&item.pointer)) {
                if let Some(found) = address(&item.pointer).and_then(|address| unlisted.get_mut(&address)) {
                    *found += 1;
                }
            }
        })?)
    }

    /// Returns the blocks with wrong counts, those that are too low first: the address, whether it is that of an entry
    /// in a deduplication table, and the difference.
    fn wrong(&self) -> Vec<(Address, bool, i64)> {
        let of = |blocks: &'_ Blocks, is_dedup| {
            let wrong = blocks.iter().filter(|(_, entry)| entry.left() != 0);
            wrong.map(|(address, entry)| (address, is_dedup, entry.left())).collect::<Vec<_>>()
        };
        let unlisted = self.unlisted.iter().filter(|(_, found)| **found != 1);
        let mut wrong: Vec<_> = unlisted
            .map(|(address, found)| (*address, false, 1_i64.saturating_sub_unsigned(*found)))
            .chain(of(&self.listed.cloned, false))
            .chain(of(&self.listed.dedup, true))
            .collect();
        wrong.sort_by_key(|(address, _, left)| (*left > 0, *address));
        wrong
    }

    /// Finds the references to these blocks.
    fn find(
        &mut self,
        lines: &Lines,
        wrong: &[(Address, bool, i64)],
    ) -> Result<BTreeMap<(Address, bool), Wrong>> {
        let new = |left| Wrong { left, found: 0, first: None };
        let mut found: BTreeMap<_, _> =
            wrong.iter().map(|(address, is_dedup, left)| ((*address, *is_dedup), new(*left))).collect();
        if found.is_empty() {
            return Ok(found);
        }
        let listed = &mut self.listed;
        scrub::parts(&self.open.pool, lines, &mut |part, blocks| {
            for item in blocks.flatten() {
                let Some(address) = address(&item.pointer) else { continue };
                let is_dedup = listed.entry(address, &item.pointer).is_some_and(|(_, is_dedup)| is_dedup);
                if let Some(wrong) = found.get_mut(&(address, is_dedup)) {
                    wrong.found += 1;
                    wrong.first.get_or_insert((part, item));
                }
            }
        })?;
        Ok(found)
    }

    /// Compares the sums of a table with its entries.
    fn check_sums(&self, counted: &CountedTable, sums: &mut Vec<String>) -> Result<()> {
        let CountedTable { table, real } = counted;
        let entries = self.listed.cloned.of_vdev(table.vdev());
        let recorded = table.totals();
        let mut compare = |what: &str, recorded: u64, real: u64| {
            if recorded != real {
                let vdev = table.vdev();
                sums.push(format!("vdev {vdev}: the table records {recorded} {what}, expected {real}"));
            }
        };
        compare("entries", recorded.entries, real.entries);
        if entries.iter().all(Entry::is_referenced) {
            compare("bytes used", recorded.used_bytes, real.used_bytes);
            compare("bytes saved", recorded.saved_bytes, real.saved_bytes);
        }
        if !table.is_foreign() {
            let offsets = entries.iter().map(Entry::offset);
            for (region, recorded, real) in table.wrong_regions(&**self.open.pool.mos(), offsets)? {
                compare(&format!("entries in region {region}"), recorded.into(), real.into());
            }
        }
        Ok(())
    }

    /// Names the files that have the blocks.
    fn places(
        &self,
        lines: &Lines,
        keys: &dyn Keys,
        wrong: &BTreeMap<(Address, bool), Wrong>,
    ) -> BTreeMap<Address, Vec<String>> {
        let intact = Arc::new(BlockCheck::default());
        let blocks: Vec<(Part, DamagedBlock)> = wrong
            .values()
            .filter_map(|wrong| wrong.first)
            .map(|(part, item)| {
                let check = Arc::clone(&intact);
                (part, DamagedBlock { at: item.at, pointer: item.pointer, check })
            })
            .collect();
        let mut places: BTreeMap<Address, Vec<String>> = BTreeMap::new();
        for damaged in damage::assign(self.open, keys, lines, &blocks) {
            let names: Vec<String> = match &damaged.paths[..] {
                [] => vec![format!("{}: {}", damaged.within, damaged.what)],
                paths => paths.iter().map(|path| format!("{}:{path}", damaged.within)).collect(),
            };
            for address in damaged.blocks.iter().filter_map(|block| address(&block.pointer)) {
                places.entry(address).or_default().extend(names.iter().cloned());
            }
        }
        for names in places.values_mut() {
            names.sort();
            names.dedup();
        }
        places
    }
}

impl SharedBlocks for Counting<'_> {
    fn refer(&mut self, item: &Item) -> bool {
        let pointer = &item.pointer;
        let Some(address) = address(pointer) else { return false };
        let Some((entry, is_dedup)) = self.listed.entry(address, pointer) else {
            if is_clone(pointer) {
                *self.unlisted.entry(address).or_insert(0) += 1;
            }
            return false;
        };
        let is_intact = entry.is_intact(|| fingerprint(&self.hasher, pointer));
        let first = entry.refer();
        if let Some(recorded) = first
            && !is_dedup
            && let Some(counted) = self.tables.iter_mut().find(|counted| counted.table.vdev() == address.0)
        {
            let bytes = accounted(self.open, pointer);
            let (used, saved) = (&mut counted.real.used_bytes, &mut counted.real.saved_bytes);
            *used = used.saturating_add(bytes);
            *saved = saved.saturating_add(bytes.saturating_mul(recorded.saturating_sub(1)));
        }
        is_intact
    }

    fn record(&mut self, item: &Item, is_intact: bool) -> bool {
        let pointer = &item.pointer;
        let entry = address(pointer).and_then(|address| self.listed.entry(address, pointer));
        entry.is_some_and(|(entry, _)| entry.record(fingerprint(&self.hasher, pointer), is_intact))
    }
}

/// Returns the bytes that the copies of a block count for.
fn accounted(open: &OpenPool, pointer: &BlockPointer) -> u64 {
    let tops = open.pool.vdevs().tops();
    let bytes =
        |place: Dva| tops.get(place.vdev() as usize).map_or(0, |top| top.config().accounted(place.asize()));
    pointer.dvas().map(bytes).fold(0, u64::saturating_add)
}

/// The blocks in deduplication tables with the references that their entries count.
fn deduplicated(mos: &dyn ObjectSet) -> Result<Blocks> {
    let mut blocks = Blocks::default();
    for table in ddt::Table::open_all(mos)? {
        table.entries(mos, &mut |_, _, entry| {
            for variant in entry.variants() {
                let place = variant.dvas[0];
                blocks.add((place.vdev(), place.offset()), variant.references);
            }
            Ok(())
        })?;
    }
    blocks.sort();
    Ok(blocks)
}

/// True if the pointer was made by cloning, so that other pointers may refer to the same block.
fn is_clone(pointer: &BlockPointer) -> bool {
    !pointer.is_rewritten() && pointer.physical_birth() < pointer.logical_birth()
}
