//! The columns of one block as they were read, and their reconstruction.

use std::collections::BTreeSet;

use super::galois::{self, PARITY_COLUMNS_MAX};
use super::map::{Map, Row};

/// The content of the columns of a block, row by row; `None` for a column that could not be read.
#[derive(Debug)]
pub(super) struct Stripe<'a> {
    pub(super) map: &'a Map,
    pub(super) contents: Vec<Vec<Option<Vec<u8>>>>,
}

impl<'a> Stripe<'a> {
    /// Creates a stripe of which nothing has been read yet. Columns that are not stored are known to be empty.
    pub(super) fn new(map: &'a Map) -> Self {
        let known = |len: usize| (len == 0).then(Vec::new);
        let contents =
            map.rows.iter().map(|row| row.columns.iter().map(|column| known(column.len)).collect()).collect();
        Self { map, contents }
    }

    /// Returns the members with columns that could not be read.
    pub(super) fn missing(&self) -> BTreeSet<usize> {
        let mut missing = BTreeSet::new();
        for (row, contents) in self.map.rows.iter().zip(&self.contents) {
            let lost = row.columns.iter().zip(contents).filter(|(_, content)| content.is_none());
            missing.extend(lost.map(|(column, _)| column.child));
        }
        missing
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
        let trusted = |n: usize| match &contents[n] {
            Some(content) if content.is_empty() || !distrusted.contains(&row.columns[n].child) => {
                Some(content)
            }
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
                galois::add(&mut sum, trusted(k).map_or(&[], Vec::as_slice));
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

    /// Returns the content of column `n` of row `row` for a block with the padded data `data`.
    pub(super) fn expected(&self, row: usize, n: usize, data: &[u8]) -> Vec<u8> {
        let columns = &self.map.rows[row].columns;
        let content = |n: usize| &data[columns[n].start..columns[n].start + columns[n].len];
        if n >= self.map.parity {
            return content(n).to_vec();
        }
        sum_of(n, columns[0].len, (self.map.parity..columns.len()).map(|n| Some(content(n))))
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

/// Computes parity column `parity` over data columns; `None` counts as zeros.
fn sum_of<T: AsRef<[u8]>>(parity: usize, len: usize, columns: impl Iterator<Item = Option<T>>) -> Vec<u8> {
    let mut sum = vec![0; len];
    for column in columns {
        galois::shift(&mut sum, parity);
        if let Some(content) = column {
            galois::add(&mut sum, content.as_ref());
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
                if map.rows[row].columns[n].len > 0 {
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
