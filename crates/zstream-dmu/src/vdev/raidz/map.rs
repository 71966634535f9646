//! The layout of blocks on the members of a raidz vdev.
//!
//! On a vdev of `n` members with `p` parity, a block of `s` data sectors at sector `b` occupies
//! `tot = s + p * rows` sectors. Sector number `i` of the vdev is sector `i div n` of member `i mod n`. With n = 4,
//! p = 1, s = 5 and b = 1:
//!
//! ```text
//! member      0     1     2     3        the columns of the block, parity first:
//! row 0             P0    D0    D2         0: P0 P1  (member 1)
//! row 1       D4    P1    D1    D3         1: D0 D1  (member 2)
//! row 2       pad                          2: D2 D3  (member 3)
//!                                          3: D4     (member 0)
//! ```
//!
//! Data is stored column by column: the first data column has the first sectors of the block, and so on. The first
//! columns are one sector longer than the last ones if the sectors do not divide evenly. Allocated sectors after
//! `tot` are padding.
//!
//! With single parity, the first data column and the parity column are swapped if bit 20 of the offset of the block
//! is set.
//!
//! After an expansion, older blocks keep the width with which they were written (`L`), but their sectors are moved to
//! their locations with the new number of members. Such a block is mapped row by row, each with its own parity.
//!
//! This corresponds to `vdev_raidz_map_alloc` and `vdev_raidz_map_alloc_expanded`.

use super::galois::PARITY_COLUMNS_MAX;

/// The maximum number of members of a raidz vdev: the coefficients of parity repeat after 255 columns.
pub(crate) const MEMBERS_MAX: usize = 255;

/// The bit of the offset of a block with which single-parity raidz swaps the first two columns.
const SWAP_BIT: u64 = 1 << 20;

/// The part of a block on one member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// The index of the member.
    pub child: usize,
    /// The byte offset in the allocatable space of the member.
    pub offset: u64,
    /// The size of the content in bytes. Content that is shorter than parity counts as filled with zeros.
    pub len: usize,
    /// The number of zeros that are stored after the content: dRAID fills all columns of a row.
    pub skip: usize,
    /// The byte offset in the block, padded to whole sectors. Unused for parity.
    pub start: usize,
    /// During an expansion, where the column is written a second time: member and byte offset. Its row is partly moved,
    /// so it is read at its old location, but after the expansion continues, this sector is expected at the new one.
    pub shadow: Option<(usize, u64)>,
}

impl Column {
    /// Returns the size on the member in bytes. It is 0 for a column of a short row that is not stored.
    #[must_use]
    pub(crate) fn stored_len(&self) -> usize {
        self.len + self.skip
    }
}

/// Columns that share parity: first the parity columns, then the data columns in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// All columns.
    pub columns: Vec<Column>,
}

/// The layout of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Map {
    /// The number of parity columns in each row.
    pub parity: usize,
    /// The size of the data of the block, padded to whole sectors.
    pub padded_len: usize,
    /// The rows: one, unless a raidz vdev was expanded after the block was written, or the block is in two groups of
    /// dRAID.
    pub rows: Vec<Row>,
}

/// The expansions of a raidz vdev by attached members (feature `raidz_expansion`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expansion {
    /// The transaction groups in which expansions were completed, in ascending order.
    pub done_txgs: Vec<u64>,
    /// During an expansion, the byte offset in the vdev up to which sectors have been moved.
    pub reflowed_to: Option<u64>,
}

/// The shape of a raidz vdev.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Geometry {
    /// The number of members.
    pub children: usize,
    /// The number of parity columns, 1 to 3.
    pub parity: usize,
    /// The binary logarithm of the sector size.
    pub ashift: u8,
    /// The expansions.
    pub expansion: Expansion,
}

impl Geometry {
    /// Validates the shape.
    ///
    /// # Errors
    /// Fails if no raidz vdev has this shape. The error is the text of the reason.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let Self { children, parity, expansion, .. } = self;
        if !(1..=PARITY_COLUMNS_MAX).contains(parity) {
            return Err(format!("raidz has parity {parity}, expected 1 to {PARITY_COLUMNS_MAX}"));
        }
        if *children <= *parity || *children > MEMBERS_MAX {
            return Err(format!(
                "raidz{parity} has {children} members, expected {} to {MEMBERS_MAX}",
                parity + 1
            ));
        }
        if self.original_width() <= *parity {
            return Err(format!(
                "raidz{parity} has {children} members after {} expansions",
                expansion.done_txgs.len()
            ));
        }
        Ok(())
    }

    fn original_width(&self) -> usize {
        let added = self.expansion.done_txgs.len() + usize::from(self.expansion.reflowed_to.is_some());
        self.children.saturating_sub(added)
    }

    /// Returns the number of members with which a block born in `birth` was written.
    #[must_use]
    pub fn logical_width(&self, birth: u64) -> usize {
        self.original_width() + self.expansion.done_txgs.iter().filter(|&&txg| txg <= birth).count()
    }

    /// Returns the allocated size of a block of `psize` bytes that is written with `width` members
    /// (`vdev_raidz_asize`).
    #[must_use]
    pub fn asize(&self, psize: u64, width: usize) -> u64 {
        let parity = self.parity as u64;
        let data = psize.div_ceil(1 << self.ashift);
        let sectors = data + parity * data.div_ceil(width as u64 - parity);
        sectors.next_multiple_of(parity + 1) << self.ashift
    }

    /// Returns the layout of the block of `psize` bytes at byte `offset` of the vdev, born in `birth`.
    ///
    /// `psize` must not exceed the maximum block size, `offset` must be below 2^63, and the shape must be valid.
    #[must_use]
    pub fn map(&self, offset: u64, psize: usize, birth: u64) -> Map {
        let width = self.logical_width(birth);
        let split = Split::new(psize.div_ceil(1 << self.ashift), width, self.parity);
        let mut rows = if width == self.children {
            vec![self.plain_row(offset, &split)]
        } else {
            (0..split.rows).map(|row| self.expanded_row(offset, width, row, &split)).collect()
        };
        if self.parity == 1 && offset & SWAP_BIT != 0 {
            for row in &mut rows {
                swap_places(&mut row.columns);
            }
        }
        Map { parity: self.parity, padded_len: psize.next_multiple_of(1 << self.ashift), rows }
    }

    fn plain_row(&self, offset: u64, split: &Split) -> Row {
        let first = offset >> self.ashift;
        let count = if split.full == 0 { split.big } else { self.children };
        let mut start = 0;
        let columns = (0..count)
            .map(|c| {
                let len = (split.full + usize::from(c < split.big)) << self.ashift;
                let (child, offset) = self.locate(first + c as u64, self.children);
                let column = Column { child, offset, len, skip: 0, start, shadow: None };
                if c >= self.parity {
                    start += len;
                }
                column
            })
            .collect();
        Row { columns }
    }

    fn expanded_row(&self, offset: u64, width: usize, row: usize, split: &Split) -> Row {
        let first = (offset >> self.ashift) + (row * width) as u64;
        let count = split.total.min(width);
        let moved = self.expansion.reflowed_to.map(|bytes| bytes >> self.ashift);
        // A row that is not completely moved is still at its location with one member less.
        let is_old = moved.is_some_and(|moved| first + count as u64 > moved);
        let physical = if is_old { self.children - 1 } else { self.children };
        let last = row + 1 == split.rows;
        let columns = (0..count)
            .map(|c| {
                let (child, offset) = self.locate(first + c as u64, physical);
                let stored = !(last && split.big != 0 && c >= split.big);
                let data = c.saturating_sub(self.parity);
                let remainder = split.remainder;
                let sector = if c < split.big || remainder == 0 {
                    data * split.rows + row
                } else {
                    remainder * split.rows + (data - remainder) * (split.rows - 1) + row
                };
                let len = if stored { 1 << self.ashift } else { 0 };
                let start = if c < self.parity { 0 } else { sector << self.ashift };
                let is_twice = is_old && moved.is_some_and(|moved| first + (c as u64) < moved);
                let shadow = is_twice.then(|| self.locate(first + c as u64, self.children));
                Column { child, offset, len, skip: 0, start, shadow }
            })
            .collect();
        Row { columns }
    }

    /// Returns the member that holds a sector of the vdev, and the byte offset on it.
    fn locate(&self, sector: u64, members: usize) -> (usize, u64) {
        let members = members as u64;
        ((sector % members) as usize, (sector / members) << self.ashift)
    }
}

/// The numbers of sectors in the columns of a block.
struct Split {
    /// The number of rows with a sector of every data column.
    full: usize,
    /// The number of data sectors after the full rows.
    remainder: usize,
    /// The number of columns, parity included, that have one more sector.
    big: usize,
    /// The total number of rows.
    rows: usize,
    /// The total number of sectors, parity included.
    total: usize,
}

impl Split {
    fn new(sectors: usize, width: usize, parity: usize) -> Self {
        let (full, remainder) = (sectors / (width - parity), sectors % (width - parity));
        let partial = usize::from(remainder != 0);
        let rows = full + partial;
        Self {
            full,
            remainder,
            big: if remainder == 0 { 0 } else { remainder + parity },
            rows,
            total: sectors + parity * rows,
        }
    }
}

/// Swaps the locations of the first two columns; their content remains.
fn swap_places(columns: &mut [Column]) {
    if let [first, second, ..] = columns {
        std::mem::swap(&mut first.child, &mut second.child);
        std::mem::swap(&mut first.offset, &mut second.offset);
        std::mem::swap(&mut first.shadow, &mut second.shadow);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn geometry(children: usize, parity: usize, ashift: u8) -> Geometry {
        Geometry { children, parity, ashift, expansion: Expansion::default() }
    }

    fn places(map: &Map) -> Vec<(usize, u64, usize, usize)> {
        let columns = map.rows.iter().flat_map(|row| &row.columns);
        columns.map(|c| (c.child, c.offset >> 9, c.len >> 9, c.start >> 9)).collect()
    }

    #[test]
    fn the_drawn_example() {
        let map = geometry(4, 1, 9).map(512, 5 * 512, 0);
        assert_eq!(places(&map), [(1, 0, 2, 0), (2, 0, 2, 0), (3, 0, 2, 2), (0, 1, 1, 4)]);
        assert_eq!(geometry(4, 1, 9).asize(5 * 512, 4), 8 * 512);
    }

    #[test]
    fn a_small_block_has_fewer_columns_than_members() {
        let map = geometry(5, 2, 12).map(3 << 12, 512, 0);
        assert_eq!(map.rows[0].columns.len(), 3);
        assert_eq!(map.padded_len, 4096);
    }

    #[test]
    fn single_parity_swaps_its_first_two_columns_in_every_second_mebibyte() {
        let straight = geometry(4, 1, 9).map(0, 3 * 512, 0);
        let swapped = geometry(4, 1, 9).map(1 << 20, 3 * 512, 0);
        assert_eq!(places(&straight), [(0, 0, 1, 0), (1, 0, 1, 0), (2, 0, 1, 1), (3, 0, 1, 2)]);
        assert_eq!(places(&swapped), [(1, 512, 1, 0), (0, 512, 1, 0), (2, 512, 1, 1), (3, 512, 1, 2)]);
        let double = geometry(4, 2, 9).map(1 << 20, 512, 0);
        assert_eq!(double.rows[0].columns[0].child, 0);
    }

    #[test]
    fn blocks_from_before_an_expansion_keep_their_width() {
        let expanded = Geometry {
            expansion: Expansion { done_txgs: vec![100], reflowed_to: None },
            ..geometry(5, 1, 9)
        };
        assert_eq!((expanded.logical_width(99), expanded.logical_width(100)), (4, 5));
        // Five sectors at sector 1 of the old width: rows [P D0 D2 D4] and [P D1 D3 -], laid over five members.
        let map = expanded.map(512, 5 * 512, 99);
        assert_eq!(
            places(&map),
            [
                (1, 0, 1, 0),
                (2, 0, 1, 0),
                (3, 0, 1, 2),
                (4, 0, 1, 4),
                (0, 1, 1, 0),
                (1, 1, 1, 1),
                (2, 1, 1, 3),
                (3, 1, 0, 5),
            ]
        );
        assert_eq!(expanded.map(512, 5 * 512, 100), geometry(5, 1, 9).map(512, 5 * 512, 0));
    }

    #[test]
    fn rows_beyond_the_reflow_offset_are_where_they_were() {
        let mut expanding = geometry(5, 1, 9);
        expanding.expansion.reflowed_to = Some(512 * 6);
        let map = expanding.map(512, 5 * 512, 99);
        let row = |n: usize| map.rows[n].columns.iter().map(|c| (c.child, c.offset >> 9)).collect::<Vec<_>>();
        assert_eq!(row(0), [(1, 0), (2, 0), (3, 0), (4, 0)]);
        assert_eq!(row(1), [(1, 1), (2, 1), (3, 1), (0, 2)]);
        // Sector 5, the first one of the second row, was moved: it is written at both locations.
        let shadows = |n: usize| map.rows[n].columns.iter().map(|c| c.shadow).collect::<Vec<_>>();
        assert_eq!(shadows(0), [None; 4]);
        assert_eq!(shadows(1), [Some((0, 512)), None, None, None]);
    }

    #[test]
    fn impossible_shapes_are_named() {
        assert!(geometry(3, 1, 9).validate().is_ok());
        for (children, parity) in [(1, 1), (3, 3), (5, 0), (5, 4), (256, 1), (0, 1)] {
            assert!(geometry(children, parity, 9).validate().is_err());
        }
        let mut shrunk = geometry(4, 2, 9);
        shrunk.expansion.done_txgs = vec![1, 2, 3, 4, 5];
        assert!(shrunk.validate().is_err());
    }

    proptest! {
        /// Every data sector has one location, no two sectors share one, and all are within the allocation.
        #[test]
        fn a_map_covers_the_block_once(
            children in 2_usize..12, parity in 1_usize..4, added in 0_usize..3, sectors in 1_usize..200,
            at in 0_u64..5000, reflowed in proptest::option::of(0_u64..6000),
        ) {
            let reflowed_to = reflowed.map(|sector| sector << 9);
            let geometry = Geometry {
                children: children + added + usize::from(reflowed_to.is_some()), parity, ashift: 9,
                expansion: Expansion { done_txgs: (0..added as u64).map(|n| 100 + n).collect(), reflowed_to },
            };
            prop_assume!(geometry.validate().is_ok());
            for birth in [0, 100, 101, 102] {
                let width = geometry.logical_width(birth);
                let map = geometry.map(at << 9, sectors << 9, birth);
                let mut places = HashSet::new();
                let mut covered = vec![0; sectors];
                let mut stored = 0;
                for row in &map.rows {
                    let mut members = HashSet::new();
                    for (n, column) in row.columns.iter().enumerate() {
                        prop_assert!(members.insert(column.child), "two columns of a row on one member");
                        stored += column.len >> 9;
                        for sector in 0..column.len as u64 >> 9 {
                            // While sectors are being moved, an old and a new place may coincide.
                            let new = places.insert((column.child, (column.offset >> 9) + sector));
                            prop_assert!(new || geometry.expansion.reflowed_to.is_some());
                            if n >= parity {
                                covered[(column.start >> 9) + sector as usize] += 1;
                            }
                        }
                    }
                }
                prop_assert!(covered.iter().all(|&times| times == 1), "{covered:?}");
                prop_assert!((stored as u64) << 9 <= geometry.asize((sectors as u64) << 9, width));
            }
        }
    }
}
