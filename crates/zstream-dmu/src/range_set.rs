//! Sets of byte ranges.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A set of byte ranges. Adjacent ranges are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Ends by start.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Returns an iterator over the ranges in ascending order, as start and end.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(start, end)| (*start, *end))
    }

    /// Returns the total length of all ranges in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(start, end)| end - start).sum()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the number of ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns whether all of `start..end` is in the set, which is true for an empty range.
    #[must_use]
    pub fn contains(&self, start: u64, end: u64) -> bool {
        start >= end || self.ranges.range(..=start).next_back().is_some_and(|(_, found)| *found >= end)
    }

    /// Returns whether any part of `start..end` is in the set.
    #[must_use]
    pub fn overlaps(&self, start: u64, end: u64) -> bool {
        start < end && self.ranges.range(..end).next_back().is_some_and(|(_, found)| *found > start)
    }

    /// Adds a range.
    ///
    /// # Errors
    ///
    /// Fails if part of it is already in the set.
    pub fn add(&mut self, start: u64, end: u64) -> Result<()> {
        if self.overlaps(start, end) {
            return Err(Error::corrupt("space", format!("{start:#x}..{end:#x} is allocated twice")));
        }
        if start >= end {
            return Ok(());
        }
        let mut merged = (start, end);
        if let Some((&before, &before_end)) = self.ranges.range(..start).next_back()
            && before_end == start
        {
            merged.0 = before;
        }
        if let Some(after_end) = self.ranges.remove(&end) {
            merged.1 = after_end;
        }
        self.ranges.insert(merged.0, merged.1);
        Ok(())
    }

    /// Adds a range. Parts of it may already be in the set.
    pub fn cover(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        while let Some((&found, &found_end)) =
            self.ranges.range(..=end).next_back().filter(|(_, found_end)| **found_end >= start)
        {
            (start, end) = (start.min(found), end.max(found_end));
            self.ranges.remove(&found);
        }
        self.ranges.insert(start, end);
    }

    /// Returns an iterator over the ranges that overlap `start..end`, in ascending order.
    pub(crate) fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self.ranges.range(..start).next_back().filter(move |(_, end)| **end > start);
        let inside = (start < end).then(|| self.ranges.range(start..end)).into_iter().flatten();
        before.into_iter().chain(inside).map(|(start, end)| (*start, *end))
    }

    /// Returns the end of the range that contains `at`.
    #[must_use]
    pub(crate) fn end_of(&self, at: u64) -> Option<u64> {
        self.ranges.range(..=at).next_back().map(|(_, end)| *end).filter(|end| *end > at)
    }

    /// Returns the first start of a range at or after `at`.
    #[must_use]
    pub(crate) fn next_start(&self, at: u64) -> Option<u64> {
        self.ranges.range(at..).next().map(|(start, _)| *start)
    }

    /// Removes a range.
    ///
    /// # Errors
    ///
    /// Fails if part of it is not in the set.
    pub fn remove(&mut self, start: u64, end: u64) -> Result<()> {
        if !self.contains(start, end) {
            return Err(Error::corrupt("space", format!("{start:#x}..{end:#x} is freed, but not allocated")));
        }
        if start >= end {
            return Ok(());
        }
        if let Some((&around, &around_end)) = self.ranges.range(..=start).next_back() {
            self.ranges.remove(&around);
            if around < start {
                self.ranges.insert(around, start);
            }
            if end < around_end {
                self.ranges.insert(end, around_end);
            }
        }
        Ok(())
    }

    /// Removes the part of `start..end` that is in the set, and returns the parts that were not in it.
    pub fn cut(&mut self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let first = self.ranges.range(..=start).next_back().map_or(start, |(first, _)| *first);
        let touched: Vec<(u64, u64)> =
            self.ranges.range(first..end).map(|(first, last)| (*first, *last)).collect();
        let (mut outside, mut at) = (Vec::new(), start);
        for (first, last) in touched.into_iter().filter(|(_, last)| *last > start) {
            self.ranges.remove(&first);
            if first < start {
                self.ranges.insert(first, start);
            }
            if end < last {
                self.ranges.insert(end, last);
            }
            if at < first {
                outside.push((at, first));
            }
            at = last.min(end);
        }
        if at < end {
            outside.push((at, end));
        }
        outside
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cutting_takes_out_what_is_there(
            steps in proptest::collection::vec((0_usize..40, 0_usize..8), 1..12), start in 0_usize..40, length in 1_usize..20,
        ) {
            let (mut set, mut model) = (RangeSet::default(), [false; 64]);
            for (start, length) in steps {
                if set.add(start as u64, (start + length) as u64).is_ok() {
                    model[start..start + length].fill(true);
                }
            }
            let outside = set.cut(start as u64, (start + length) as u64);
            let mut missing = [false; 64];
            for (first, last) in &outside {
                prop_assert!(first < last);
                missing[*first as usize..*last as usize].fill(true);
            }
            for at in 0..64 {
                let inside = (start..start + length).contains(&at);
                prop_assert_eq!(missing[at], inside && !model[at]);
                prop_assert_eq!(set.contains(at as u64, at as u64 + 1), model[at] && !inside);
            }
        }

        #[test]
        fn covering_is_a_union(steps in proptest::collection::vec((0_usize..40, 0_usize..8), 1..40)) {
            let (mut set, mut model) = (RangeSet::default(), [false; 48]);
            for (start, length) in steps {
                set.cover(start as u64, (start + length) as u64);
                model[start..start + length].fill(true);
                for at in 0..48 {
                    prop_assert_eq!(set.end_of(at).is_some(), model[at as usize]);
                    prop_assert_eq!(set.overlapping(at, at + 1).count() == 1, model[at as usize]);
                }
                let touching = set.iter().zip(set.iter().skip(1)).any(|((_, end), (start, _))| end >= start);
                prop_assert!(!touching);
            }
        }

        #[test]
        fn a_range_set_is_a_set(steps in proptest::collection::vec((0_usize..40, 0_usize..8, any::<bool>()), 1..60)) {
            let (mut set, mut model) = (RangeSet::default(), [false; 48]);
            for (start, length, add) in steps {
                let range = start..start + length;
                let result = if add { set.add(start as u64, range.end as u64) } else { set.remove(start as u64, range.end as u64) };
                let fits = model[range.clone()].iter().all(|is_in| *is_in != add);
                prop_assert_eq!(result.is_ok(), fits);
                if fits {
                    model[range].fill(add);
                }
                prop_assert_eq!(set.bytes(), model.iter().filter(|is_in| **is_in).count() as u64);
                let touching = set.iter().zip(set.iter().skip(1)).any(|((_, end), (start, _))| end >= start);
                prop_assert!(!touching);
            }
        }
    }
}
