//! The histograms of deduplication tables.

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::{Entry, Key};
use crate::blkptr::Dva;
use crate::error::{Error, Result};

/// The number of columns of a histogram.
const COLUMNS: usize = 64;

structure! {
    /// The sums of a set of entries (`ddt_stat_t`).
    pub Statistics[64] {
        /// The number of blocks.
        blocks: u64,
        /// Their logical bytes.
        logical_bytes: u64,
        /// Their stored bytes.
        stored_bytes: u64,
        /// Their allocated bytes, deflated.
        allocated_bytes: u64,
        /// The number of references.
        references: u64,
        /// The logical bytes of all references.
        referenced_logical_bytes: u64,
        /// The stored bytes of all references.
        referenced_stored_bytes: u64,
        /// The allocated bytes that the references would have without deduplication.
        referenced_allocated_bytes: u64,
    }
}

impl Statistics {
    /// Returns the sums of one entry (`ddt_stat_generate`). `dsize` returns the deflated size of a copy.
    #[must_use]
    pub fn of(key: Key, entry: &Entry, dsize: &dyn Fn(Dva) -> u64) -> Self {
        let mut sums = Self::default();
        for variant in entry.variants() {
            let allocated = variant.copies(key).map(dsize).fold(0, u64::wrapping_add);
            let references = variant.references;
            sums.change(
                &Self {
                    blocks: 1,
                    logical_bytes: key.lsize(),
                    stored_bytes: key.psize(),
                    allocated_bytes: allocated,
                    references,
                    referenced_logical_bytes: key.lsize().wrapping_mul(references),
                    referenced_stored_bytes: key.psize().wrapping_mul(references),
                    referenced_allocated_bytes: allocated.wrapping_mul(references),
                },
                u64::wrapping_add,
            );
        }
        sums
    }

    /// Changes each sum. The sums wrap as in OpenZFS, so that a wrong sum is not lost, and can be right again later.
    fn change(&mut self, other: &Self, by: fn(u64, u64) -> u64) {
        let mut words = self.words();
        for (word, other) in words.iter_mut().zip(other.words()) {
            *word = by(*word, other);
        }
        *self = Self::from_words(&words);
    }

    fn words(&self) -> [u64; 8] {
        let bytes = self.to_bytes(ByteOrder::Little);
        std::array::from_fn(|n| ByteOrder::Little.u64(&bytes[8 * n..]))
    }

    fn from_words(words: &[u64; 8]) -> Self {
        let [
            blocks,
            logical_bytes,
            stored_bytes,
            allocated_bytes,
            references,
            referenced_logical_bytes,
            referenced_stored_bytes,
            referenced_allocated_bytes,
        ] = *words;
        Self {
            blocks,
            logical_bytes,
            stored_bytes,
            allocated_bytes,
            references,
            referenced_logical_bytes,
            referenced_stored_bytes,
            referenced_allocated_bytes,
        }
    }
}

/// The sums of the entries of a table by the binary logarithm of their number of references (`ddt_histogram_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    columns: Vec<Statistics>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { columns: vec![Statistics::default(); COLUMNS] }
    }
}

impl Histogram {
    /// Parses the words of a histogram.
    pub(super) fn parse(words: &[u64]) -> Result<Self> {
        if words.len() != COLUMNS * 8 {
            let expected = COLUMNS * 8;
            let detail = format!("histogram has {} words, expected {expected}", words.len());
            return Err(Error::corrupt("deduplication statistics", detail));
        }
        let (columns, _) = words.as_chunks();
        Ok(Self { columns: columns.iter().map(Statistics::from_words).collect() })
    }

    /// The words of the histogram.
    pub(crate) fn words(&self) -> Vec<u64> {
        self.columns.iter().flat_map(Statistics::words).collect()
    }

    /// The columns: those of entries with 1 reference, with 2 and 3, with 4 to 7, and so on.
    #[must_use]
    pub fn columns(&self) -> &[Statistics] {
        &self.columns
    }

    /// Returns the sums of all columns.
    #[must_use]
    pub fn total(&self) -> Statistics {
        let mut total = Statistics::default();
        self.columns.iter().for_each(|column| total.change(column, u64::wrapping_add));
        total
    }

    /// Adds an entry with these sums.
    pub(crate) fn add(&mut self, sums: &Statistics) {
        self.change(sums, u64::wrapping_add);
    }

    /// Removes an entry with these sums.
    pub(crate) fn remove(&mut self, sums: &Statistics) {
        self.change(sums, u64::wrapping_sub);
    }

    /// Adds another histogram.
    pub(super) fn join(&mut self, other: &Self) {
        for (column, other) in self.columns.iter_mut().zip(&other.columns) {
            column.change(other, u64::wrapping_add);
        }
    }

    fn change(&mut self, sums: &Statistics, by: fn(u64, u64) -> u64) {
        if let Some(column) = sums.references.checked_ilog2() {
            self.columns[column as usize].change(sums, by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { Statistics }
}
