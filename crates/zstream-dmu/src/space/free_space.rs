//! The free ranges of a metaslab, indexed by offset and by size.
//!
//! A search starts at a cursor after the last allocated range, so that consecutive writes are stored next to each
//! other. The best fit anywhere is used only if there is no space near the cursor.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

/// The number of ranges after the cursor that are searched before the best fit is used.
const RANGES_LOOKED_AT: usize = 128;

/// The numbers of ranges by the logarithm of their size in bytes.
pub(super) type Histogram = [u64; 64];

/// A set of free ranges. Adjacent ranges are merged.
#[derive(Clone, Debug)]
pub(super) struct FreeSpace {
    /// Ends by start.
    by_start: BTreeMap<u64, u64>,
    /// Pairs of size and start.
    by_size: BTreeSet<(u64, u64)>,
    histogram: Histogram,
    bytes: u64,
}

impl FreeSpace {
    pub(super) fn new() -> Self {
        Self { by_start: BTreeMap::new(), by_size: BTreeSet::new(), histogram: [0; 64], bytes: 0 }
    }

    /// Returns the total size of all ranges in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the size of the largest range.
    pub(super) fn largest(&self) -> u64 {
        self.by_size.last().map_or(0, |(size, _)| *size)
    }

    pub(super) fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// Returns the number of ranges.
    pub(super) fn ranges(&self) -> usize {
        self.by_start.len()
    }

    /// Returns an iterator over the ranges by offset, as start and end.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_start.iter().map(|(start, end)| (*start, *end))
    }

    fn insert(&mut self, start: u64, end: u64) {
        self.by_start.insert(start, end);
        self.by_size.insert((end - start, start));
        self.histogram[bucket(end - start)] += 1;
        self.bytes += end - start;
    }

    fn remove(&mut self, start: u64, end: u64) {
        self.by_start.remove(&start);
        self.by_size.remove(&(end - start, start));
        self.histogram[bucket(end - start)] -= 1;
        self.bytes -= end - start;
    }

    /// Adds a free range.
    ///
    /// # Errors
    ///
    /// Fails if part of it is already free.
    pub(super) fn release(&mut self, start: u64, end: u64) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let before = self.by_start.range(..end).next_back().map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, before_end)| before_end > start) {
            return Err(Error::corrupt("space", format!("{start:#x}..{end:#x} is freed, but already free")));
        }
        let mut merged = (start, end);
        if let Some((before, before_end)) = before
            && before_end == start
        {
            self.remove(before, before_end);
            merged.0 = before;
        }
        if let Some(&after_end) = self.by_start.get(&end) {
            self.remove(end, after_end);
            merged.1 = after_end;
        }
        self.insert(merged.0, merged.1);
        Ok(())
    }

    /// Returns whether any part of `start..end` is free.
    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        start < end && self.by_start.range(..end).next_back().is_some_and(|(_, found)| *found > start)
    }

    /// Returns whether all of `start..end` is free.
    pub(super) fn has(&self, start: u64, end: u64) -> bool {
        start < end && self.by_start.range(..=start).next_back().is_some_and(|(_, last)| *last >= end)
    }

    /// Allocates exactly this range.
    ///
    /// # Errors
    ///
    /// Fails if part of it is not free.
    pub(super) fn claim(&mut self, start: u64, end: u64) -> Result<()> {
        let around = self.by_start.range(..=start).next_back().map(|(start, end)| (*start, *end));
        match around {
            Some((first, last)) if last >= end && start < end => {
                self.remove(first, last);
                if first < start {
                    self.insert(first, start);
                }
                if end < last {
                    self.insert(end, last);
                }
                Ok(())
            }
            _ => Err(Error::corrupt("space", format!("{start:#x}..{end:#x} is allocated twice"))),
        }
    }

    /// Allocates `size` bytes, preferably at `cursor` or shortly after it.
    pub(super) fn take(&mut self, size: u64, cursor: u64) -> Option<u64> {
        if size == 0 || self.largest() < size {
            return None;
        }
        let (start, end, at) = self.near(size, cursor).or_else(|| self.best(size))?;
        self.remove(start, end);
        if start < at {
            self.insert(start, at);
        }
        if at + size < end {
            self.insert(at + size, end);
        }
        Some(at)
    }

    /// Returns the first range that is large enough after the cursor, and the offset in it.
    fn near(&self, size: u64, cursor: u64) -> Option<(u64, u64, u64)> {
        let around = self.by_start.range(..cursor).next_back().map(|(start, end)| (*start, *end));
        if let Some((start, end)) = around
            && end > cursor
            && end - cursor >= size
        {
            return Some((start, end, cursor));
        }
        let behind = self.by_start.range(cursor..).take(RANGES_LOOKED_AT);
        behind.map(|(start, end)| (*start, *end, *start)).find(|(start, end, _)| end - start >= size)
    }

    /// Returns the smallest range that is large enough.
    fn best(&self, size: u64) -> Option<(u64, u64, u64)> {
        let &(found, start) = self.by_size.range((size, 0)..).next()?;
        Some((start, start + found, start))
    }
}

/// Returns the histogram bucket of a range of `size` bytes.
pub(super) fn bucket(size: u64) -> usize {
    size.checked_ilog2().unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn free(ranges: &[(u64, u64)]) -> FreeSpace {
        let mut free = FreeSpace::new();
        for (start, end) in ranges {
            free.release(*start, *end).unwrap();
        }
        free
    }

    #[test]
    fn ranges_are_taken_from_the_cursor_on_and_then_where_they_fit_best() {
        let mut space = free(&[(0, 100), (200, 210), (300, 1000)]);
        assert_eq!(space.take(50, 40), Some(40), "inside of a range");
        assert_eq!(space.take(50, 90), Some(300), "ranges that are too small are passed over");
        assert_eq!(space.take(10, 350), Some(350));
        assert_eq!(space.take(10, 1000), Some(90), "the smallest that is large enough");
        assert_eq!(space.take(701, 0), None);
        assert_eq!(space.bytes(), 810 - 120);
        assert!(space.release(299, 301).is_ok());
        assert!(space.release(205, 212).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_was_free_and_is_not_any_more(
            steps in proptest::collection::vec((1_u64..40, 0_u64..512, any::<bool>()), 1..80)
        ) {
            let (mut space, mut model) = (free(&[(0, 512)]), [true; 512]);
            for (size, at, take) in steps {
                if take {
                    match space.take(size, at) {
                        Some(start) => {
                            let range = start as usize..(start + size) as usize;
                            prop_assert!(model[range.clone()].iter().all(|free| *free));
                            model[range].fill(false);
                        }
                        None => {
                            let longest = model.split(|free| !free).map(<[bool]>::len).max();
                            prop_assert!(longest < Some(size as usize));
                        }
                    }
                } else {
                    let end = (at + size).min(512);
                    let range = at as usize..end as usize;
                    let fits = model[range.clone()].iter().all(|free| !free);
                    prop_assert_eq!(space.release(at, end).is_ok(), fits);
                    if fits {
                        model[range].fill(true);
                    }
                }
                prop_assert_eq!(space.bytes(), model.iter().filter(|free| **free).count() as u64);
                let mut histogram = [0; 64];
                for run in model.split(|free| !free).filter(|run| !run.is_empty()) {
                    histogram[bucket(run.len() as u64)] += 1;
                }
                prop_assert_eq!(space.histogram(), &histogram);
                prop_assert_eq!(space.ranges() as u64, histogram.iter().sum::<u64>());
            }
        }
    }
}
