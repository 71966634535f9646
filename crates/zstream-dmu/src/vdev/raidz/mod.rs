//! Raidz: blocks that are spread over members with one to three parity columns. The blocks of dRAID are read and
//! written here too; only the layout differs.
//!
//! Only the checksum of a block shows if its data is correct; a single column has no checksum. Reading is therefore a
//! search: first the data columns as they are, then reconstructed without the members that could not be read, then
//! without further members, one, two or three at a time as far as parity allows, until the checksum matches.

mod galois;
mod map;
mod scratch;
mod stripe;

use std::collections::BTreeSet;

pub(crate) use map::{Column, Expansion, Geometry, MEMBERS_MAX, Map, Row};

pub(crate) use self::galois::PARITY_COLUMNS_MAX as PARITY_MAX;
pub(crate) use self::scratch::with_scratch;

use self::stripe::{Stripe, parity_of};
use super::{Damage, DamageCause, Effort, Reading, Vdev};
use crate::error::{Error, Fault, Result};

/// The maximum number of sets of members that are assumed corrupt in turn before reading of a block fails. It exceeds
/// the number of sets of three out of 60 members.
pub(crate) const COMBINATIONS_MAX: usize = 40_000;

/// The maximum number of combinations that are tried of the two halves of members that are being replaced.
pub(crate) const SOURCES_MAX: usize = 64;

/// A block of a raidz or dRAID vdev.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) map: Map,
    pub(super) children: &'a [Vdev],
    pub(super) offset: u64,
    pub(super) birth: u64,
}

impl Place<'_> {
    /// Reads `out.len()` bytes that pass the verification of `reading`.
    pub(super) fn read(&self, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        let map = &self.map;
        if reading.effort == Effort::AnyCopy
            && self.are_trusted(map)
            && self.read_data(map, out, 0).is_ok()
            && (reading.verify)(out).is_ok()
        {
            return Ok(());
        }
        let mut errors = Vec::new();
        for source in 0..self.sources() {
            let stripe = self.read_all(map, source, &mut errors);
            match self.search(&stripe, out.len(), reading) {
                Ok(data) => {
                    out.copy_from_slice(&data[..out.len()]);
                    self.report(&stripe, source, &data, reading);
                    return Ok(());
                }
                Err(error) => errors.push(error),
            }
        }
        // The errors of the members explain the failure better than that of the last attempt.
        Err(Fault::NoGoodCopy(errors).into())
    }

    /// Reads the data columns without verification.
    pub(super) fn read_unverified(&self, out: &mut [u8], source: usize) -> Result<()> {
        self.read_data(&self.map, out, source)
    }

    /// Returns the number of ways to read all columns, which exceeds one only while a member is being replaced.
    fn sources(&self) -> usize {
        self.children
            .iter()
            .map(Vdev::sources)
            .fold(1_usize, |product, n| product.saturating_mul(n.max(1)))
            .min(SOURCES_MAX)
    }

    /// Returns the source from which member `child` is read in combination number `source`.
    fn source_of(&self, child: usize, mut source: usize) -> usize {
        for vdev in &self.children[..child] {
            source /= vdev.sources().max(1);
        }
        source % self.children[child].sources().max(1)
    }

    fn read_at(&self, child: usize, offset: u64, out: &mut [u8], source: usize) -> Result<()> {
        self.children[child].read_unverified(offset, out, self.birth, self.source_of(child, source))
    }

    fn read_data(&self, map: &Map, out: &mut [u8], source: usize) -> Result<()> {
        if map.rows.len() > 1 {
            return self.read_moved_data(map, out, source);
        }
        for row in &map.rows {
            for column in &row.columns[map.parity..] {
                // The last sector may be partly padding, or all of it if the block is very small.
                let end = (column.start + column.len).min(out.len());
                if column.start < end {
                    self.read_at(column.child, column.offset, &mut out[column.start..end], source)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the data of several rows. Those of an expanded vdev are single sectors; adjacent sectors on a member are
    /// read at once.
    fn read_moved_data(&self, map: &Map, out: &mut [u8], source: usize) -> Result<()> {
        let data = map.rows.iter().flat_map(|row| &row.columns[map.parity..]);
        for run in runs(data, |column| column.len) {
            let mut bytes = vec![0; run.len];
            self.read_at(run.child, run.offset, &mut bytes, source)?;
            for column in run.columns {
                let at = (column.offset - run.offset) as usize;
                let end = (column.start + column.len).min(out.len());
                if column.start < end {
                    out[column.start..end].copy_from_slice(&bytes[at..at + end - column.start]);
                }
            }
        }
        Ok(())
    }

    /// Reads every column, parity included, and records the errors of columns that could not be read.
    fn read_all<'m>(&self, map: &'m Map, source: usize, errors: &mut Vec<Error>) -> Stripe<'m> {
        let mut stripe = Stripe::new(map);
        for run in runs(map.rows.iter().flat_map(|row| &row.columns), Column::stored_len) {
            let mut bytes = vec![0; run.len];
            match self.read_at(run.child, run.offset, &mut bytes, source) {
                Err(error) if source == 0 => errors.push(error),
                Err(_) => {}
                Ok(()) => {
                    for (row, contents) in map.rows.iter().zip(&mut stripe.contents) {
                        let columns = row.columns.iter().zip(contents);
                        for (column, content) in columns.filter(|(column, _)| run.covers(column)) {
                            let at = (column.offset - run.offset) as usize;
                            *content = Some(bytes[at..at + column.stored_len()].to_vec());
                        }
                    }
                }
            }
        }
        stripe
    }

    /// Returns the padded data that passes the verification.
    fn search(&self, stripe: &Stripe<'_>, len: usize, reading: &Reading<'_>) -> Result<Vec<u8>> {
        let missing = stripe.lost();
        let members: Vec<usize> = self.used(stripe.map).difference(&missing).copied().collect();
        let mut tried = 0;
        let mut last = None;
        let mut stale = missing.clone();
        stale.extend(members.iter().filter(|&&child| !self.children[child].counts(self.birth)));
        if missing.len() < stale.len()
            && stale.len() <= self.map.parity
            && let Some(data) = stripe.rebuild(&stale)
            && (reading.verify)(&data[..len]).is_ok()
        {
            return Ok(data);
        }
        for more in 0..=stripe.spare_parity().min(members.len()) {
            let mut chosen: Vec<usize> = (0..more).collect();
            loop {
                let mut distrusted = missing.clone();
                distrusted.extend(chosen.iter().map(|&i| members[i]));
                if let Some(data) = stripe.rebuild(&distrusted) {
                    match (reading.verify)(&data[..len]) {
                        Ok(()) => return Ok(data),
                        Err(error) => last = Some(last.unwrap_or(error)),
                    }
                }
                tried += 1;
                if tried >= COMBINATIONS_MAX {
                    let tries = format!("{}: trying more than {tried} reconstructions of a block", self.name);
                    return Err(Error::unsupported(tries));
                }
                if !next_combination(&mut chosen, members.len()) {
                    break;
                }
            }
        }
        Err(last.unwrap_or_else(|| self.too_many(missing.len())).on_vdev(self.name).at_offset(self.offset))
    }

    /// Returns `true` if the data of the block is expected to be on all members that store it.
    fn are_trusted(&self, map: &Map) -> bool {
        let data = map.rows.iter().flat_map(|row| &row.columns[map.parity..]);
        let mut used = data.filter(|column| column.len > 0);
        used.all(|column| self.children[column.child].counts(self.birth))
    }

    fn too_many(&self, missing: usize) -> Error {
        let (children, allowed) = (self.children.len(), self.map.parity);
        Fault::TooManyMissing { vdev: self.name.to_owned(), missing, children, allowed }.into()
    }

    fn used(&self, map: &Map) -> BTreeSet<usize> {
        map.rows
            .iter()
            .flat_map(|row| &row.columns)
            .filter(|column| column.len > 0)
            .map(|c| c.child)
            .collect()
    }

    /// Reports the members whose content was corrupt or unreadable. If all copies are requested, all sources of a
    /// member that is being replaced are compared.
    fn report(&self, stripe: &Stripe<'_>, source: usize, data: &[u8], reading: &mut Reading<'_>) {
        let blamed = |wrong: BTreeSet<usize>, source: usize| {
            let counts = move |child: &usize| {
                self.children[*child].source_counts(self.birth, self.source_of(*child, source))
            };
            wrong.into_iter().filter(counts)
        };
        let mut wrong: BTreeSet<usize> = blamed(stripe.wrong(data), source).collect();
        let missing = stripe.missing();
        if reading.effort == Effort::EveryCopy {
            for other in (0..self.sources()).filter(|other| *other != source) {
                let again = self.read_all(stripe.map, other, &mut Vec::new());
                wrong.extend(blamed(again.wrong(data), other));
            }
        }
        for (children, cause) in [(wrong, DamageCause::Wrong), (missing, DamageCause::Unreadable)] {
            for child in children.into_iter().filter(|&child| self.children[child].counts(self.birth)) {
                let columns = stripe.map.rows.iter().flat_map(|row| &row.columns);
                let mine: Vec<_> =
                    columns.filter(|column| column.child == child && column.stored_len() > 0).collect();
                let start = mine.iter().map(|column| column.offset).min().unwrap_or(0);
                let end = mine.iter().map(|column| column.offset + column.stored_len() as u64).max();
                let end = end.unwrap_or(0);
                let vdev = &self.children[child];
                reading.damage.push(Damage {
                    vdev: vdev.name().to_owned(),
                    guid: vdev.guid(),
                    offset: super::LEAF_DATA_START.saturating_add(start),
                    len: end - start,
                    cause,
                });
            }
        }
    }
}

/// Calls `put` with everything that is stored of a block with the content `data`, in whole sectors: member, byte offset in
/// its space, and the bytes in pieces. In each row, parity is first. A column with a second location is stored twice.
pub(super) fn store(
    map: &Map,
    data: &[u8],
    mut put: impl FnMut(usize, u64, &[&[u8]]) -> Result<()>,
) -> Result<()> {
    let zeros = vec![0; map.rows.iter().flat_map(|row| &row.columns).map(|c| c.skip).max().unwrap_or(0)];
    for row in &map.rows {
        let (parity, content) = row.columns.split_at(map.parity);
        let mut put_column = |column: &Column, pieces: &[&[u8]]| {
            put(column.child, column.offset, pieces)?;
            column.shadow.map_or(Ok(()), |(child, offset)| put(child, offset, pieces))
        };
        for (n, column) in parity.iter().enumerate() {
            put_column(column, &[&parity_of(map, row, n, data)])?;
        }
        for column in content.iter().filter(|column| column.stored_len() > 0) {
            let pieces = [column.content(data), &zeros[..column.skip]];
            put_column(column, if column.skip == 0 { &pieces[..1] } else { &pieces })?;
        }
    }
    Ok(())
}

/// Adjacent columns on one member.
struct Run<'a> {
    child: usize,
    offset: u64,
    len: usize,
    columns: Vec<&'a Column>,
}

impl Run<'_> {
    fn covers(&self, column: &Column) -> bool {
        let end = self.offset + self.len as u64;
        let inside = column.offset >= self.offset && column.offset + column.stored_len() as u64 <= end;
        column.child == self.child && column.stored_len() > 0 && inside
    }
}

/// Returns the runs of the columns, of each as many bytes as `len` says.
fn runs<'a>(columns: impl Iterator<Item = &'a Column>, len: fn(&Column) -> usize) -> Vec<Run<'a>> {
    let mut columns: Vec<_> = columns.filter(|column| len(column) > 0).collect();
    columns.sort_by_key(|column| (column.child, column.offset));
    let mut runs: Vec<Run<'a>> = Vec::new();
    for column in columns {
        match runs.last_mut() {
            Some(run) if run.child == column.child && run.offset + run.len as u64 == column.offset => {
                run.len += len(column);
                run.columns.push(column);
            }
            _ => runs.push(Run {
                child: column.child,
                offset: column.offset,
                len: len(column),
                columns: vec![column],
            }),
        }
    }
    runs
}

/// Advances to the next combination of `chosen.len()` out of `n`, in lexical order.
fn next_combination(chosen: &mut [usize], n: usize) -> bool {
    let k = chosen.len();
    let Some(i) = (0..k).rev().find(|&i| chosen[i] < n - k + i) else { return false };
    chosen[i] += 1;
    for j in i + 1..k {
        chosen[j] = chosen[j - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_and_distinct() {
        for (n, k, count) in [(5, 3, 10), (4, 4, 1), (6, 1, 6), (3, 0, 1)] {
            let mut chosen: Vec<usize> = (0..k).collect();
            let mut all = vec![chosen.clone()];
            while next_combination(&mut chosen, n) {
                all.push(chosen.clone());
            }
            assert_eq!(all.len(), count);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), count);
        }
    }
}
