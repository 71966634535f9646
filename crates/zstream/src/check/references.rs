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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zstream_dmu::blkptr::{BlockKind, BlockPointer, Dva};
use zstream_dmu::brt::{Table, Totals};
use zstream_dmu::ddt;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::check::Item;
use zstream_dmu::space::wrong_dedup_histograms;
use zstream_dmu::zio::BlockCheck;
use zstream_dsl::scrub::{self, Lines, Part};

use super::damage::{self, DamagedBlock};
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

/// The address of the first copy of a block: vdev and offset.
type Address = (u32, u64);

#[derive(Clone, Copy)]
struct Seen {
    recorded: u64,
    found: u64,
    first: Option<(Part, Item)>,
}

/// The references that were found so far.
pub(super) struct Counting<'a> {
    open: &'a OpenPool,
    tables: Vec<Table>,
    /// The blocks with an entry.
    listed: HashMap<Address, Seen>,
    /// The blocks without an entry to which clones refer.
    unlisted: HashMap<Address, Seen>,
    /// The blocks in deduplication tables.
    dedup: HashMap<Address, Seen>,
}

impl<'a> Counting<'a> {
    /// Reads the tables of a pool; `None` if it has none.
    pub(super) fn begin(open: &'a OpenPool) -> Result<Option<Self>> {
        let mos = &**open.pool.mos();
        let dedup = deduplicated(mos)?;
        if !open.pool.features().is_active("block_cloning") && dedup.is_empty() {
            return Ok(None);
        }
        let mut counting =
            Self { open, tables: Vec::new(), listed: HashMap::new(), unlisted: HashMap::new(), dedup };
        for vdev in 0..open.pool.vdevs().tops().len() as u32 {
            let Some(table) = Table::open(mos, vdev)? else { continue };
            table.entries(mos, &mut |offset, count| {
                let seen = Seen { recorded: count.saturating_add(1), found: 0, first: None };
                counting.listed.insert((vdev, offset), seen);
            })?;
            counting.tables.push(table);
        }
        Ok(Some(counting))
    }

    /// Counts a reference.
    pub(super) fn count(&mut self, part: Part, item: &Item) {
        let Some(address) = address(&item.pointer) else { return };
        let in_table = match item.pointer.is_dedup() {
            true => self.dedup.get_mut(&address),
            false => None,
        };
        let seen = match in_table.or_else(|| self.listed.get_mut(&address)) {
            Some(seen) => seen,
            None if is_clone(&item.pointer) => {
                let none = Seen { recorded: 1, found: 0, first: None };
                self.unlisted.entry(address).or_insert(none)
            }
            None => return,
        };
        seen.found += 1;
        seen.first.get_or_insert((part, *item));
    }

    /// Compares the counts, after all references were counted.
    pub(super) fn finish(mut self, lines: &Lines, keys: &dyn Keys) -> Result<ReferenceCheck> {
        self.count_originals(lines)?;
        let mut check = ReferenceCheck::default();
        for table in &self.tables {
            let totals = table.totals();
            check.totals.entries += totals.entries;
            check.totals.used_bytes = check.totals.used_bytes.saturating_add(totals.used_bytes);
            check.totals.saved_bytes = check.totals.saved_bytes.saturating_add(totals.saved_bytes);
            self.check_sums(table, &mut check.sums)?;
        }
        let pool = &self.open.pool;
        let wrong = wrong_dedup_histograms(&**pool.mos(), pool.vdevs().tops())?;
        check.sums.extend(wrong.iter().map(|name| format!("{name}: the histogram is wrong")));
        let all = self.listed.iter().chain(&self.unlisted).chain(&self.dedup);
        let mut wrong: Vec<(Address, Seen)> =
            all.filter(|(_, seen)| seen.recorded != seen.found).map(|(at, seen)| (*at, *seen)).collect();
        wrong.sort_by_key(|(address, seen)| (seen.recorded > seen.found, *address));
        check.not_listed = wrong.len().saturating_sub(COUNTS_KEPT) as u64;
        wrong.truncate(COUNTS_KEPT);
        let places = self.places(lines, keys, &wrong);
        check.wrong = wrong
            .into_iter()
            .map(|(address, Seen { recorded, found, .. })| WrongCount {
                vdev: address.0,
                offset: address.1,
                recorded,
                found,
                places: places.get(&address).cloned().unwrap_or_default(),
            })
            .collect();
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
                if let Some(seen) = address(&item.pointer).and_then(|address| unlisted.get_mut(&address)) {
                    seen.found += 1;
                }
            }
        })?)
    }

    /// Compares the sums of a table with its entries.
    fn check_sums(&self, table: &Table, sums: &mut Vec<String>) -> Result<()> {
        let entries = self.listed.iter().filter(|((vdev, _), _)| *vdev == table.vdev());
        let mut real = Totals::default();
        let mut is_complete = true;
        for (_, seen) in entries.clone() {
            real.entries += 1;
            match seen.first {
                Some((_, item)) => {
                    let bytes = self.accounted(&item.pointer);
                    real.used_bytes = real.used_bytes.saturating_add(bytes);
                    let saved = bytes.saturating_mul(seen.recorded - 1);
                    real.saved_bytes = real.saved_bytes.saturating_add(saved);
                }
                None => is_complete = false,
            }
        }
        let recorded = table.totals();
        let mut compare = |what: &str, recorded: u64, real: u64| {
            if recorded != real {
                let vdev = table.vdev();
                sums.push(format!("vdev {vdev}: the table records {recorded} {what}, expected {real}"));
            }
        };
        compare("entries", recorded.entries, real.entries);
        if is_complete {
            compare("bytes used", recorded.used_bytes, real.used_bytes);
            compare("bytes saved", recorded.saved_bytes, real.saved_bytes);
        }
        if !table.is_foreign() {
            let offsets = entries.map(|((_, offset), _)| *offset);
            for (region, recorded, real) in table.wrong_regions(&**self.open.pool.mos(), offsets)? {
                compare(&format!("entries in region {region}"), recorded.into(), real.into());
            }
        }
        Ok(())
    }

    /// The bytes that the copies of a block count for.
    fn accounted(&self, pointer: &BlockPointer) -> u64 {
        let tops = self.open.pool.vdevs().tops();
        let bytes = |place: Dva| {
            tops.get(place.vdev() as usize).map_or(0, |top| top.config().accounted(place.asize()))
        };
        pointer.dvas().map(bytes).fold(0, u64::saturating_add)
    }

    /// Names the files that have the blocks.
    fn places(
        &self,
        lines: &Lines,
        keys: &dyn Keys,
        wrong: &[(Address, Seen)],
    ) -> BTreeMap<Address, Vec<String>> {
        let intact = Arc::new(BlockCheck::default());
        let blocks: Vec<(Part, DamagedBlock)> = wrong
            .iter()
            .filter_map(|(_, seen)| seen.first)
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

/// The address by which the references to a block are counted; `None` for blocks that are not cloned.
fn address(pointer: &BlockPointer) -> Option<Address> {
    let is_content = pointer.kind() == BlockKind::Normal
        && pointer.level() == 0
        && (!pointer.object_type().is_metadata() || pointer.is_dedup());
    is_content.then(|| (pointer.dva(0).vdev(), pointer.dva(0).offset()))
}

/// The blocks in deduplication tables with the references that their entries count.
fn deduplicated(mos: &dyn ObjectSet) -> Result<HashMap<Address, Seen>> {
    let mut blocks = HashMap::new();
    for table in ddt::Table::open_all(mos)? {
        table.entries(mos, &mut |_, _, entry| {
            for variant in entry.variants() {
                let (place, recorded) = (variant.dvas[0], variant.references);
                blocks.insert((place.vdev(), place.offset()), Seen { recorded, found: 0, first: None });
            }
            Ok(())
        })?;
    }
    Ok(blocks)
}

/// True if the pointer was made by cloning, so that other pointers may refer to the same block.
fn is_clone(pointer: &BlockPointer) -> bool {
    !pointer.is_rewritten() && pointer.physical_birth() < pointer.logical_birth()
}
