//! The verb `redact`, which finds the blocks of a snapshot that are in none of the redaction snapshots
//! (`dmu_redact_snap`).
//!
//! Each redaction snapshot is younger than the snapshot, and contributes the ranges of blocks that it changed:
//! overwritten, punched, or freed with their objects. Ranges that all of them changed are redacted:
//!
//! ```text
//! block       1  2  3  4  5  6  7
//! snapshot 1  [===========]
//! snapshot 2     [=====]     [==]      redacted: 2 3 (the last start up to the first end), then the range that
//!                                      ended first is replaced by the next of its snapshot
//! ```

use std::collections::BTreeSet;

use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::{BlockId, ObjectId, Txg};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::traverse::{Floor, Options, Traverse, Visit, VisitKind};
use zstream_format::errno::Errno;

use super::Tx;
use super::redaction::CompleteHeader;
use crate::dataset::feature::REDACTED_DATASETS;
use crate::error::{Error, Result};
use crate::reader::MosReader;
use crate::redact::{ListEntry, RedactedBlocks};

/// The number of entries in one write.
const ENTRIES_PER_WRITE: usize = 4096;
/// The limit on snapshots of one redaction: as many as a list can name.
const SNAPSHOTS_MAX: usize = 16_000;
/// The unit of the meta dnode's blocks: a dnode slot of 512 bytes.
const DNODE_BYTES: u64 = 512;

/// A function that returns the files of a filesystem without a name that wait to be freed. `zstream-zpl` has one.
pub type UnlinkedOf = fn(&dyn ObjectSet) -> PoolResult<BTreeSet<u64>>;

/// A range of blocks, first and last included, each given by object and block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: (u64, u64),
    end: (u64, u64),
}

impl Range {
    fn object(object: u64) -> Self {
        Self { start: (object, 0), end: (object, u64::MAX) }
    }

    /// Appends a range that starts where this one ends.
    fn join(&mut self, next: &Self) -> bool {
        let follows = self.end.0 == next.start.0 && self.end.1 != u64::MAX && self.end.1 + 1 == next.start.1;
        let follows_object =
            self.end.1 == u64::MAX && next.start.1 == 0 && self.end.0.checked_add(1) == Some(next.start.0);
        if follows || follows_object {
            self.end = next.end;
        }
        follows || follows_object
    }
}

/// An iterator over ranges that joins adjacent ones.
struct Joined<I: Iterator<Item = Result<Range>>> {
    ranges: I,
    last: Option<Range>,
}

impl<I: Iterator<Item = Result<Range>>> Iterator for Joined<I> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ranges.next() {
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(range)) => {
                    if !self.last.as_mut().is_some_and(|last| last.join(&range))
                        && let Some(done) = self.last.replace(range)
                    {
                        return Some(Ok(done));
                    }
                }
                None => return self.last.take().map(Ok),
            }
        }
    }
}

/// An iterator over the changes of a redaction snapshot since a transaction group.
struct Changed {
    visits: Traverse,
    /// Files that are only waiting to be freed.
    unlinked: BTreeSet<u64>,
    /// The object that was reported as a whole.
    whole: Option<u64>,
}

impl Changed {
    fn range(&mut self, visit: &Visit) -> Option<Range> {
        let object = visit.at.object.0;
        if self.whole == Some(object) {
            return None;
        }
        match visit.kind {
            VisitKind::Root => None,
            VisitKind::Dnode => {
                let is_gone = visit.dnode.is_none() || self.unlinked.contains(&object);
                (object != 0 && is_gone).then(|| {
                    self.whole = Some(object);
                    Range::object(object)
                })
            }
            VisitKind::Block if !visit.pointer.is_hole() => {
                let at = (object, visit.at.block.0);
                (visit.at.level == 0 && object != 0).then_some(Range { start: at, end: at })
            }
            VisitKind::Block => {
                let dnode = visit.dnode.as_ref()?;
                let level = u32::try_from(visit.at.level).ok()?;
                let per_block = u32::from(dnode.indirect_shift).saturating_sub(7);
                let span = 1_u64.checked_shl(per_block.saturating_mul(level)).unwrap_or(u64::MAX);
                let start = visit.at.block.0.saturating_mul(span);
                let end = start.saturating_add(span - 1);
                Some(if object == 0 {
                    let dnodes = dnode.block_bytes() / DNODE_BYTES;
                    Range {
                        start: (start.saturating_mul(dnodes), 0),
                        end: (end.saturating_add(1).saturating_mul(dnodes).saturating_sub(1), u64::MAX),
                    }
                } else {
                    Range { start: (object, start), end: (object, end) }
                })
            }
        }
    }
}

impl Iterator for Changed {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.visits.next()? {
                Ok(visit) => {
                    if let Some(range) = self.range(&visit) {
                        return Some(Ok(range));
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// An iterator over the intersection of several sorted lists of ranges.
struct Common<I: Iterator<Item = Result<Range>>> {
    /// Each list with its current range.
    lists: Vec<(I, Range)>,
    /// The list that advances next, if there is one.
    spent: Option<usize>,
    is_over: bool,
}

impl<I: Iterator<Item = Result<Range>>> Common<I> {
    fn new(lists: Vec<I>) -> Result<Self> {
        let mut common = Self { lists: Vec::new(), spent: None, is_over: false };
        for mut list in lists {
            match list.next().transpose()? {
                Some(range) => common.lists.push((list, range)),
                None => common.is_over = true,
            }
        }
        Ok(common)
    }

    fn step(&mut self) -> Result<Option<Range>> {
        while !self.is_over {
            if let Some((list, range)) = self.spent.take().and_then(|spent| self.lists.get_mut(spent)) {
                match list.next().transpose()? {
                    Some(next) => *range = next,
                    None => break,
                }
            }
            let starts = self.lists.iter().map(|(_, range)| range.start);
            let ends = self.lists.iter().enumerate().map(|(n, (_, range))| (range.end, n));
            let (Some(start), Some((end, spent))) = (starts.max(), ends.min()) else { break };
            self.spent = Some(spent);
            if start <= end {
                return Ok(Some(Range { start, end }));
            }
        }
        self.is_over = true;
        Ok(None)
    }
}

impl<I: Iterator<Item = Result<Range>>> Iterator for Common<I> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The entries to be written to the list, with the last one, which may still grow.
struct Entries<'t, 'a> {
    tx: &'t mut Tx<'a>,
    list: ObjectId,
    last: Option<RedactedBlocks>,
    waiting: Vec<u8>,
    written: u64,
}

impl Entries<'_, '_> {
    fn add(&mut self, blocks: RedactedBlocks) -> Result<()> {
        match &mut self.last {
            Some(last) if last.object == blocks.object && last.block.0 + last.count == blocks.block.0 => {
                last.count += blocks.count;
            }
            last => {
                if let Some(done) = last.replace(blocks) {
                    self.waiting.extend(done.encode());
                }
            }
        }
        if self.waiting.len() >= ENTRIES_PER_WRITE * ListEntry::LEN { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let at = self.written * ListEntry::LEN as u64;
        self.tx.mos_mut().write(self.list, at, &self.waiting)?;
        self.written += (self.waiting.len() / ListEntry::LEN) as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Adds the part of a range that the snapshot has: blocks of data, not of metadata.
    fn add_range(&mut self, set: &Objset, range: &Range) -> Result<()> {
        let mut from = range.start.0.max(1);
        while let Some(object) = set.next_object(ObjectId(from))?
            && object.0 <= range.end.0
        {
            let Some(after) = object.0.checked_add(1) else { break };
            from = after;
            let info = set.info(object)?;
            if info.object_type.is_metadata() {
                continue;
            }
            let start = if object.0 == range.start.0 { range.start.1 } else { 0 };
            let end =
                if object.0 == range.end.0 { range.end.1.min(info.max_block.0) } else { info.max_block.0 };
            if start <= end {
                self.add(RedactedBlocks {
                    object,
                    block: BlockId(start),
                    count: end - start + 1,
                    block_bytes: info.block_bytes,
                })?;
            }
        }
        Ok(())
    }
}

impl Tx<'_> {
    /// Creates a redaction bookmark of a snapshot in its own filesystem, which lists the blocks that are in none of the
    /// redaction snapshots (`zfs redact`).
    ///
    /// Files without a name are freed when the snapshot is mounted, so that they count as changed; `unlinked` finds
    /// them.
    ///
    /// # Errors
    /// Fails with `ENOENT`, `EEXIST`, `EINVAL` if a redaction snapshot is not a descendant of the snapshot, `EALREADY`
    /// if one of them is itself redacted, and `ENOTSUP` without the feature `redaction_bookmarks`.
    pub fn redact(
        &mut self,
        snapshot: &str,
        bookmark: &str,
        redaction: &[String],
        unlinked: UnlinkedOf,
    ) -> Result<()> {
        self.read().require_feature("redaction_bookmarks")?;
        if redaction.len() > SNAPSHOTS_MAX {
            return Err(Error::refused(
                Errno::E2BIG,
                format!("there are more than {SNAPSHOTS_MAX} redaction snapshots"),
            ));
        }
        let base = self.dsl().snapshot(snapshot)?.object();
        let filesystem = snapshot.split('@').next().unwrap_or_default();
        let short = bookmark.strip_prefix('#').unwrap_or(bookmark);
        let (head, short) = self.dsl().vacant_bookmark(&format!("{filesystem}#{short}"))?;
        let mut datasets = Vec::new();
        let mut guids = Vec::new();
        self.read().refuse_redacted(base, snapshot)?;
        for name in redaction {
            let object = self.dsl().snapshot(name)?.object();
            if !self.read().is_before(object, base)? {
                return Err(Error::refused(
                    Errno::EINVAL,
                    format!("{name} is not a descendant of {snapshot}"),
                ));
            }
            self.read().refuse_redacted(object, name)?;
            let guid = self.read().dataset(object)?.guid.0;
            if !guids.contains(&guid) {
                guids.push(guid);
                datasets.push(object);
            }
        }
        let phys = self.read().dataset(base)?;
        let set = self.read().objset(base)?;
        let changed = datasets
            .iter()
            .map(|object| self.read().changed_since(*object, phys.creation_txg, unlinked))
            .collect::<Result<Vec<_>>>()?;

        let mut header = CompleteHeader::new(guids);
        let list = self.create_redaction_list(&header)?;
        self.add_redaction_bookmark(head, &short, base, list)?;
        let mut entries = Entries { tx: self, list, last: None, waiting: Vec::new(), written: 0 };
        if changed.is_empty() {
            entries.add_range(&set, &Range { start: (1, 0), end: (u64::MAX, u64::MAX) })?;
        } else {
            for range in (Joined { ranges: Common::new(changed)?, last: None }) {
                entries.add_range(&set, &range?)?;
            }
        }
        if let Some(last) = entries.last.take() {
            entries.waiting.extend(last.encode());
        }
        entries.write()?;
        header.entries = entries.written;
        self.put_list_header(list, &header)
    }
}

impl MosReader<'_> {
    fn refuse_redacted(self, dataset: ObjectId, name: &str) -> Result<()> {
        match self.entry(dataset, REDACTED_DATASETS)? {
            None => Ok(()),
            Some(_) => Err(Error::refused(Errno::EALREADY, format!("{name} is itself redacted"))),
        }
    }

    fn changed_since(self, dataset: ObjectId, txg: Txg, unlinked: UnlinkedOf) -> Result<Joined<Changed>> {
        let root = self.dataset(dataset)?.root;
        let set = self.objset(dataset)?;
        let options = Options { floor: Floor::Logical(txg), ..Options::default() };
        let visits = Traverse::new(self.blocks.clone(), dataset.0, root, options);
        Ok(Joined { ranges: Changed { visits, unlinked: unlinked(&set)?, whole: None }, last: None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(ranges: &[(u64, u64)]) -> Vec<Range> {
        ranges.iter().map(|(start, end)| Range { start: (1, *start), end: (1, *end) }).collect()
    }

    fn common(lists: Vec<Vec<Range>>) -> Vec<Range> {
        let lists = lists.into_iter().map(|list| list.into_iter().map(Ok)).collect();
        Joined { ranges: Common::new(lists).unwrap(), last: None }.collect::<Result<_>>().unwrap()
    }

    #[test]
    fn the_drawing_holds() {
        assert_eq!(common(vec![blocks(&[(1, 4)]), blocks(&[(2, 3), (6, 7)])]), blocks(&[(2, 3)]));
        assert_eq!(common(vec![blocks(&[(1, 2), (3, 9)])]), blocks(&[(1, 9)]));
        assert_eq!(common(vec![blocks(&[(1, 9)]), Vec::new()]), []);
    }

    #[test]
    fn whole_objects_join_when_their_numbers_follow() {
        let mut range = Range::object(4);
        assert!(range.join(&Range::object(5)) && !range.join(&Range::object(7)));
        assert_eq!(range, Range { start: (4, 0), end: (5, u64::MAX) });
        assert!(!Range::object(u64::MAX).join(&Range::object(0)));
    }

    proptest! {
        #[test]
        fn what_is_common_is_what_every_list_has(
            lists in proptest::collection::vec(proptest::collection::btree_set(0_u64..60, 0..50), 1..4)
        ) {
            let runs = |set: &BTreeSet<u64>| {
                let ranges = set.iter().map(|block| Ok(Range { start: (1, *block), end: (1, *block) }));
                Joined { ranges, last: None }.collect::<Result<Vec<_>>>().unwrap()
            };
            let all = lists.iter().skip(1).fold(lists[0].clone(), |all, list| &all & list);
            prop_assert_eq!(common(lists.iter().map(runs).collect()), runs(&all));
        }
    }
}
