//! The merge of three flows of ranges: the redactions, the changes, and the previous redactions of the source.
//!
//! ```text
//!  redaction list ──┐            priority: redaction list, changes, base
//!  changes ─────────┼──> merged
//!  base's list ─────┘
//! ```
//!
//! The next range is the one with the earliest start; of several, that of the highest priority. If a range of higher
//! priority starts inside it, or another range ends there, it is split at that point, and its rest is processed later. So
//! every block in a range of any flow is in exactly one range of the result, that of the flow with the highest priority. For
//! example (see the test below), the ranges `[2,4)`, `[3,5)` and `[1,3)` of one object, by priority, give `[1,2)` of the
//! third, `[2,4)` of the first (in two pieces) and `[4,5)` of the second.
//!
//! A block that is redacted now and was redacted before is in neither form in the result.

use crate::error::Result;
use crate::range::{Range, What};

/// A flow of ranges in canonical order. An error is the last item.
pub(crate) type Flow<'a> = Box<dyn Iterator<Item = Result<Range>> + Send + 'a>;

const FLOWS: usize = 3;
const REDACT: usize = 0;
const CHANGES: usize = 1;
const BASE: usize = 2;

/// The merged flow. An error is the last item.
pub(crate) struct Merge<'a> {
    /// The flows, by priority.
    flows: [Flow<'a>; FLOWS],
    /// The first pending range of each flow; `None` before the start.
    fronts: Option<[Option<Range>; FLOWS]>,
    failed: bool,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(redact: Flow<'a>, changes: Flow<'a>, base: Flow<'a>) -> Self {
        Self { flows: [redact, changes, base], fronts: None, failed: false }
    }

    fn step(&mut self) -> Result<Option<Range>> {
        let mut fronts = match self.fronts.take() {
            Some(fronts) => fronts,
            None => [self.pull(REDACT)?, self.pull(CHANGES)?, self.pull(BASE)?],
        };
        let found = loop {
            match self.next_range(&mut fronts)? {
                Some((_, among)) if among[REDACT] && among[BASE] => {}
                other => break other,
            }
        };
        self.fronts = Some(fronts);
        Ok(found.map(|(range, _)| range))
    }

    fn pull(&mut self, flow: usize) -> Result<Option<Range>> {
        self.flows[flow].next().transpose()
    }

    /// Takes the front of a flow and replaces it with the next range.
    fn advance(&mut self, fronts: &mut [Option<Range>; FLOWS], flow: usize) -> Result<Option<Range>> {
        let next = self.pull(flow)?;
        Ok(std::mem::replace(&mut fronts[flow], next))
    }

    /// Returns the next range, and the flows that contain it (`find_next_range`).
    fn next_range(&mut self, fronts: &mut [Option<Range>; FLOWS]) -> Result<Option<(Range, [bool; FLOWS])>> {
        let mut among = [false; FLOWS];
        if let [None, Some(_), None] = fronts {
            among[CHANGES] = true;
            return Ok(self.advance(fronts, CHANGES)?.map(|range| (range, among)));
        }
        let mut earliest: Option<(usize, &Range)> = None;
        for (flow, front) in fronts.iter().enumerate() {
            if let Some(range) = front
                && earliest.is_none_or(|(_, best)| range.cmp_start(best).is_lt())
            {
                earliest = Some((flow, range));
            }
        }
        let Some((lead, range)) = earliest else { return Ok(None) };
        let (object, end) = (range.object, range.end);
        let stands_alone = matches!(range.what, What::ObjectRange { .. });
        for (flow, front) in fronts.iter().enumerate() {
            among[flow] =
                front.as_ref().is_some_and(|other| other.object == object && other.cmp_start(range).is_eq());
        }
        // Find the end of the part to which the state at its start applies.
        let mut cut = end;
        for (flow, front) in fronts.iter().enumerate() {
            match front {
                Some(other) if flow != lead && other.object == object && !stands_alone => {
                    let edge = if among[flow] { other.end } else { other.start };
                    cut = cut.min(edge);
                }
                _ => {}
            }
        }
        for flow in (0..FLOWS).filter(|&flow| flow != lead) {
            if let Some(other) = fronts[flow].as_mut().filter(|_| among[flow]) {
                other.start = cut;
                if other.start >= other.end {
                    self.advance(fronts, flow)?;
                }
            }
        }
        let range = match &mut fronts[lead] {
            Some(range) if cut < end => {
                let first = Range { end: cut, ..range.clone() };
                range.start = cut;
                Some(first)
            }
            _ => self.advance(fronts, lead)?,
        };
        Ok(range.map(|range| (range, among)))
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let outcome = self.step().transpose();
        self.failed = !matches!(outcome, Some(Ok(_)));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(ranges: &[(u64, u64)], what: &What) -> Flow<'static> {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&(start, end)| Ok(Range { object: 7, start, end, what: what.clone() }))
            .collect();
        Box::new(ranges.into_iter())
    }

    const REDACTED: What = What::Redact { block_bytes: 512 };
    const CHANGED: What = What::Hole { block_bytes: 512 };

    fn merged(redact: &[(u64, u64)], changes: &[(u64, u64)], base: &[(u64, u64)]) -> Vec<(u64, u64, What)> {
        Merge::new(flow(redact, &REDACTED), flow(changes, &CHANGED), flow(base, &What::PreviouslyRedacted))
            .map(|range| range.map(|range| (range.start, range.end, range.what)).unwrap())
            .collect()
    }

    /// The pieces of a range of one flow are consecutive.
    #[test]
    fn the_example_of_find_next_range() {
        let mut merge = Merge::new(
            flow(&[(2, 4)], &REDACTED),
            flow(&[(3, 5)], &CHANGED),
            flow(&[(1, 3)], &What::PreviouslyRedacted),
        );
        let mut fronts = [0, 1, 2].map(|flow| merge.pull(flow).unwrap());
        let mut found = Vec::new();
        while let Some((range, among)) = merge.next_range(&mut fronts).unwrap() {
            found.push(((range.start, range.end), range.what, among));
        }
        assert_eq!(
            found,
            [
                ((1, 2), What::PreviouslyRedacted, [false, false, true]),
                ((2, 3), REDACTED, [true, false, true]),
                ((3, 4), REDACTED, [true, true, false]),
                ((4, 5), CHANGED, [false, true, false]),
            ]
        );
    }

    #[test]
    fn an_error_is_the_last_item() {
        let bad: Flow<'_> = Box::new(
            [Err(crate::Error::internal("bad")), Ok(Range { object: 1, start: 0, end: 1, what: CHANGED })]
                .into_iter(),
        );
        let mut merge = Merge::new(bad, flow(&[(0, 1)], &CHANGED), flow(&[], &CHANGED));
        assert!(merge.next().unwrap().is_err());
        assert!(merge.next().is_none());
    }

    /// Sorted ranges that do not overlap.
    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0_u64..4, 1_u64..4), 0..6).prop_map(|steps| {
            let mut at = 0;
            steps
                .into_iter()
                .map(|(gap, length)| {
                    let start = at + gap;
                    at = start + length;
                    (start, at)
                })
                .collect()
        })
    }

    proptest! {
        /// Each block is in the range of the flow with the highest priority, or in none if both lists contain it.
        #[test]
        fn every_block_is_what_the_highest_flow_says(redact in ranges(), changes in ranges(), base in ranges()) {
            let has = |ranges: &[(u64, u64)], block| ranges.iter().any(|&(start, end)| (start..end).contains(&block));
            let result = merged(&redact, &changes, &base);
            prop_assert!(result.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", result);
            for block in 0..64 {
                let expected = match (has(&redact, block), has(&changes, block), has(&base, block)) {
                    (true, _, true) => None,
                    (true, ..) => Some(REDACTED),
                    (_, true, _) => Some(CHANGED),
                    (.., true) => Some(What::PreviouslyRedacted),
                    _ => None,
                };
                let found = result.iter().find(|(start, end, _)| (*start..*end).contains(&block));
                prop_assert_eq!(found.map(|(.., what)| what.clone()), expected, "block {}", block);
            }
        }
    }
}
