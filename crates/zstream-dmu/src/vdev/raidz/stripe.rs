//! The columns of one block as they were read, and their reconstruction.

use std::collections::BTreeSet;

use super::galois::{self, PARITY_COLUMNS_MAX};
use super::map::{Column, Map, Row};

/// The content of the columns of a block, row by row; `None` for a column that could not be read.
#[derive(Debug)]
pub(super) struct Stripe<'a> {
    pub(super) map: &'a Map,
    pub(super) contents: Vec<Vec<Option<Vec<u8>>>>,
}

impl<'a> Stripe<'a> {
    /// Creates a stripe of which nothing has been read yet. Columns that are not stored are known to be empty.
    pub(super) fn new(map: &'a Map) -> Self {
        let known = |column: &Column| (column.stored_len() == 0).then(Vec::new);
        let contents = map.rows.iter().map(|row| row.columns.iter().map(known).collect()).collect();
        Self { map, contents }
    }

    /// Returns the members with columns that could not be read.
    pub(super) fn missing(&self) -> BTreeSet<usize> {
        self.unread(|_| true)
    }

    /// Returns the members with content or parity that could not be read.
    pub(super) fn lost(&self) -> BTreeSet<usize> {
        self.unread(|column| column.len > 0)
    }

    fn unread(&self, counts: impl Fn(&Column) -> bool) -> BTreeSet<usize> {
        let mut unread = BTreeSet::new();
        for (row, contents) in self.map.rows.iter().zip(&self.contents) {
            let columns = row.columns.iter().zip(contents);
            let lost = columns.filter(|(column, content)| content.is_none() && counts(column));
            unread.extend(lost.map(|(column, _)| column.child));
        }
        unread
    }

    /// Returns how many more members may be corrupt in the row with the fewest lost columns.
    pub(super) fn spare_parity(&self) -> usize {
        let left = |(row, contents): (&Row, &Vec<Option<Vec<u8>>>)| {
            let columns = row.columns.iter().zip(contents);
            let lost = columns.filter(|(column, content)| column.len > 0 && content.is_none()).count();
            self.map.parity.saturating_sub(lost)
        };
        self.map.rows.iter().zip(&self.contents).map(left).max().unwrap_or(0)
    }

    /// Reconstructs the data of the block, padded to sectors, from the columns of all members except `distrusted`.
    /// Returns `None` if parity does not suffice.
    pub(super) fn rebuild(&self, distrusted: &BTreeSet<usize>) -> Option<Vec<u8>> {
        let mut data = vec![0; self.map.padded_len];
        for (row, contents) in self.map.rows.iter().zip(&self.contents) {
            self.rebuild_row(row, contents, distrusted, &mut data)?;
        }
        Some(data)
    }

    fn rebuild_row(
        &self,
        row: &Row,
        contents: &[Option<Vec<u8>>],
        distrusted: &BTreeSet<usize>,
        data: &mut [u8],
    ) -> Option<()> {
        let parity = self.map.parity;
        // What is stored after the content is not read: it is zeros, even if the member has something else.
        let trusted = |n: usize| match (&row.columns[n], &contents[n]) {
            (Column { len: 0, .. }, _) => Some(&[][..]),
            (column, Some(content)) if !distrusted.contains(&column.child) => Some(&content[..column.len]),
            _ => None,
        };
        let mut lost = Vec::new();
        for n in parity..row.columns.len() {
            let column = &row.columns[n];
            match trusted(n) {
                Some(content) => data[column.start..column.start + column.len].copy_from_slice(content),
                None => lost.push(n),
            }
        }
        if lost.is_empty() {
            return Some(());
        }
        let with: Vec<usize> = (0..parity).filter(|&k| trusted(k).is_some()).take(lost.len()).collect();
        if with.len() < lost.len() {
            return None;
        }
        let columns = row.columns.len() - parity;
        let equations: Vec<_> = with
            .iter()
            .map(|&k| {
                let mut equation = [0; PARITY_COLUMNS_MAX];
                for (cell, &n) in equation.iter_mut().zip(&lost) {
                    *cell = galois::coefficient(k, n - parity, columns);
                }
                equation
            })
            .collect();
        let solution = galois::invert(&equations)?;
        // The difference between the parity and the sum of the known columns.
        let syndromes: Vec<Vec<u8>> = with
            .iter()
            .map(|&k| {
                let mut sum = sum_of(k, row.columns[0].len, (parity..row.columns.len()).map(&trusted));
                galois::add(&mut sum, trusted(k).unwrap_or_default());
                sum
            })
            .collect();
        for (&n, factors) in lost.iter().zip(&solution) {
            let column = &row.columns[n];
            let out = &mut data[column.start..column.start + column.len];
            out.fill(0);
            for (syndrome, &factor) in syndromes.iter().zip(factors) {
                galois::add_multiple(out, &syndrome[..column.len], factor);
            }
        }
        Some(())
    }

    /// Returns what is stored of column `n` of row `row` for a block with the padded data `data`.
    pub(super) fn expected(&self, row: usize, n: usize, data: &[u8]) -> Vec<u8> {
        let row = &self.map.rows[row];
        if n < self.map.parity {
            return parity_of(self.map, row, n, data);
        }
        let mut content = row.columns[n].content(data).to_vec();
        content.resize(row.columns[n].stored_len(), 0);
        content
    }

    /// Returns the members with columns that were read and do not match `data`.
    pub(super) fn wrong(&self, data: &[u8]) -> BTreeSet<usize> {
        let mut wrong = BTreeSet::new();
        for (r, (row, contents)) in self.map.rows.iter().zip(&self.contents).enumerate() {
            for (n, (column, content)) in row.columns.iter().zip(contents).enumerate() {
                if content.as_ref().is_some_and(|content| *content != self.expected(r, n, data)) {
                    wrong.insert(column.child);
                }
            }
        }
        wrong
    }
}

impl Column {
    /// Returns the content of a data column of a block with the padded data `data`.
    pub(super) fn content<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        &data[self.start..self.start + self.len]
    }
}

/// Returns parity column `parity` of a row of a block with the padded data `data`.
pub(super) fn parity_of(map: &Map, row: &Row, parity: usize, data: &[u8]) -> Vec<u8> {
    let columns = row.columns[map.parity..].iter();
    sum_of(parity, row.columns[0].len, columns.map(|column| Some(column.content(data))))
}

/// Computes parity column `parity` over data columns; `None` counts as zeros.
fn sum_of<T: AsRef<[u8]>>(parity: usize, len: usize, columns: impl Iterator<Item = Option<T>>) -> Vec<u8> {
    let mut sum = vec![0; len];
    for column in columns {
        match column {
            Some(content) => galois::shift_add(&mut sum, parity, content.as_ref()),
            None => galois::shift(&mut sum, parity),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::map::{Expansion, Geometry};
    use super::*;

    fn written<'a>(map: &'a Map, data: &[u8]) -> Stripe<'a> {
        let mut stripe = Stripe::new(map);
        for row in 0..map.rows.len() {
            for n in 0..map.rows[row].columns.len() {
                if map.rows[row].columns[n].stored_len() > 0 {
                    stripe.contents[row][n] = Some(stripe.expected(row, n, data));
                }
            }
        }
        stripe
    }

    #[test]
    fn parity_of_known_bytes() {
        // With two data columns 0x80 and 0x01, P is their sum, Q is 2*0x80 + 0x01, and R is 4*0x80 + 0x01.
        let geometry = Geometry { children: 5, parity: 3, ashift: 9, expansion: Expansion::default() };
        let map = geometry.map(0, 1024, 0);
        let mut data = vec![0x80; 512];
        data.extend([0x01; 512]);
        let stripe = Stripe::new(&map);
        assert_eq!([0, 1, 2].map(|n| stripe.expected(0, n, &data)[0]), [0x81, 0x1c, 0x3b]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Any members up to the number of parity columns can be lost, and one more cannot.
        #[test]
        fn any_members_up_to_the_parity_can_be_lost(
            parity in 1_usize..4, more in 1_usize..5, sectors in 1_usize..24, at in 0_u64..4096, seed: u64, old: bool,
        ) {
            let done_txgs = if old { vec![10] } else { vec![] };
            let children = parity + more + usize::from(old);
            let geometry =
                Geometry { children, parity, ashift: 9, expansion: Expansion { done_txgs, reflowed_to: None } };
            let map = geometry.map(at << 9, sectors << 9, 0);
            let mut state = seed | 1;
            let data: Vec<u8> = (0..map.padded_len).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            }).collect();
            let stripe = written(&map, &data);
            prop_assert!(stripe.wrong(&data).is_empty());
            for a in 0..children {
                for b in a..children {
                    for c in b..children {
                        let lost = BTreeSet::from([a, b, c]);
                        if lost.len() <= parity {
                            let rebuilt = stripe.rebuild(&lost);
                            prop_assert_eq!(rebuilt.as_ref(), Some(&data), "without {:?}", lost);
                        }
                    }
                }
            }
            let too_many: BTreeSet<usize> = (0..children).collect();
            prop_assert!(stripe.rebuild(&too_many).is_none());
        }
    }
}
