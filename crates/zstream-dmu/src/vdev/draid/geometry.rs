//! The layout of blocks on the members of a dRAID vdev.
//!
//! ```text
//! row      16 MiB of each member, at the same offset
//! group    as many columns as data and parity together, 16 MiB high; blocks fill one group after the other
//! slice    the rows that hold a whole number of groups; the columns of a slice are permuted members
//! ```
//!
//! With 7 members, one of them spare, and groups of 4 (3 data, 1 parity), a slice has 3 groups in 2 rows:
//!
//! ```text
//! column    0     1     2     3     4     5     6
//! row 0    P0    D0    D1    D2   |P1    D0  | spare
//! row 1    D1    D2   |P2    D0    D1    D2  | spare
//! ```
//!
//! A block of `s` data sectors at sector `b` takes `b / width` as its first sector on each of the columns of its group,
//! and `ceil(s / data)` sectors on each of them. Data is stored column by column, as in raidz. The sectors that are left
//! over are written with zeros and count for parity, so that a group can be rebuilt without knowing its blocks. A block
//! that does not fit into the rest of its group is continued in the next group.
//!
//! This corresponds to `vdev_draid_logical_to_physical` and `vdev_draid_map_alloc`.

use super::permutations::Permutations;
use super::{MEMBERS, ROW_BYTES, SPARES_MAX};
use crate::vdev::raidz::{Column, Map, PARITY_MAX, Row};

/// The space at the end of each member that is left free for expansions (`VDEV_DRAID_REFLOW_RESERVE`).
const RESERVE_BYTES: u64 = 2 * ROW_BYTES;

/// The shape of a dRAID vdev.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Geometry {
    permutations: Permutations,
    /// The number of members.
    pub children: usize,
    /// The number of parity columns of a group, 1 to 3.
    pub parity: usize,
    /// The number of data columns of a group.
    pub data: usize,
    /// The number of distributed spares.
    pub spares: usize,
    /// The number of groups in a slice.
    pub groups: usize,
    /// The binary logarithm of the sector size.
    pub ashift: u8,
}

/// The numbers that define a shape, as in configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Numbers {
    /// The number of members.
    pub children: usize,
    /// The number of parity columns of a group.
    pub parity: usize,
    /// The number of data columns of a group.
    pub data: usize,
    /// The number of distributed spares.
    pub spares: usize,
}

impl Numbers {
    /// Returns the name of the shape, such as `draid2:4d:11c:1s`.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { children, parity, data, spares } = self;
        format!("draid{parity}:{data}d:{children}c:{spares}s")
    }

    /// Returns the least number of groups in a slice: groups and rows then end together.
    ///
    /// The numbers must be possible.
    #[must_use]
    pub(crate) fn groups_min(&self) -> usize {
        let (width, disks) = (self.data + self.parity, self.disks());
        (1..=disks).find(|groups| (groups * width).is_multiple_of(disks)).unwrap_or(disks)
    }

    /// The number of columns of a group.
    fn width(&self) -> u64 {
        (self.data + self.parity) as u64
    }

    /// Returns the number of members without the capacity of the spares.
    #[must_use]
    pub(crate) fn disks(&self) -> usize {
        self.children - self.spares
    }

    /// Returns the size of a vdev whose smallest member has `member` allocatable bytes: whole groups in whole rows
    /// (`vdev_draid_open`).
    #[must_use]
    pub(crate) fn vdev_bytes(&self, member: u64) -> u64 {
        let rows = member.saturating_sub(RESERVE_BYTES) / ROW_BYTES;
        let groups = rows.saturating_mul(self.disks() as u64) / self.width();
        groups.saturating_mul(self.width() * ROW_BYTES)
    }
}

impl Geometry {
    /// Creates a shape.
    ///
    /// # Errors
    /// Fails if no dRAID vdev has this shape. The error is the text of the reason.
    pub fn new(numbers: Numbers, groups: usize, ashift: u8) -> Result<Self, String> {
        let Numbers { children, parity, data, spares } = numbers;
        let name = numbers.name();
        let Some(permutations) = Permutations::of(children) else {
            let (least, most) = MEMBERS.into_inner();
            return Err(format!("{name} has {children} members, expected {least} to {most}"));
        };
        if !(1..=PARITY_MAX).contains(&parity) {
            return Err(format!("{name} has parity {parity}, expected 1 to {PARITY_MAX}"));
        }
        if data == 0 {
            return Err(format!("{name} has groups without data"));
        }
        if spares > SPARES_MAX {
            return Err(format!("{name} has {spares} spares, at most {SPARES_MAX} are allowed"));
        }
        let needed = data.saturating_add(parity).saturating_add(spares);
        if needed > children {
            return Err(format!("{name} has {children} members, at least {needed} are required"));
        }
        let disks = children - spares;
        if !(1..=*MEMBERS.end()).contains(&groups) || !((data + parity) * groups).is_multiple_of(disks) {
            let width = data + parity;
            return Err(format!("{name} has {groups} groups of {width} in a slice over {disks} members"));
        }
        Ok(Self { permutations, children, parity, data, spares, groups, ashift })
    }

    /// Returns the numbers that define the shape.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let Self { children, parity, data, spares, .. } = *self;
        Numbers { children, parity, data, spares }
    }

    /// Returns the name, such as `draid2:4d:11c:1s`.
    #[must_use]
    pub fn name(&self) -> String {
        self.numbers().name()
    }

    /// Returns the number of members without the capacity of the spares.
    #[must_use]
    pub(crate) fn disks(&self) -> usize {
        self.children - self.spares
    }

    /// The number of columns of a group.
    fn width(&self) -> u64 {
        (self.data + self.parity) as u64
    }

    /// Returns the size of one sector on each column of a group: the unit of allocation.
    #[must_use]
    pub(crate) fn stripe_bytes(&self) -> u64 {
        self.width() << self.ashift
    }

    fn group_bytes(&self) -> u64 {
        self.width() * ROW_BYTES
    }

    /// The number of rows of a slice.
    fn slice_rows(&self) -> u64 {
        self.width() * self.groups as u64 / self.disks() as u64
    }

    /// Returns the allocated size of a block of `psize` bytes: whole stripes (`vdev_draid_psize_to_asize`).
    #[must_use]
    pub fn asize(&self, psize: u64) -> u64 {
        psize.div_ceil((self.data as u64) << self.ashift) * self.stripe_bytes()
    }

    /// Returns the size that each member needs for a vdev of `asize` bytes (`vdev_draid_min_asize`).
    #[must_use]
    pub(crate) fn member_bytes(&self, asize: u64) -> u64 {
        let rows = asize.div_ceil(self.disks() as u64).div_ceil(ROW_BYTES);
        rows.saturating_mul(ROW_BYTES).saturating_add(RESERVE_BYTES)
    }

    /// Returns the member whose space at byte `offset` belongs to a distributed spare (`vdev_draid_spare_get_child`).
    #[must_use]
    pub(crate) fn spare_member(&self, spare: usize, offset: u64) -> usize {
        let slice = offset / ROW_BYTES / self.slice_rows();
        self.permutations.member(slice, self.children - 1 - spare)
    }

    /// Returns the layout of the block of `psize` bytes at byte `offset` of the vdev.
    ///
    /// `psize` must not exceed the maximum block size, and `offset` must be a multiple of the stripe below 2^63.
    #[must_use]
    pub fn map(&self, offset: u64, psize: usize) -> Map {
        let sectors = psize.div_ceil(1 << self.ashift);
        let (mut at, mut done) = (offset, 0);
        let mut rows = Vec::with_capacity(1);
        while done < sectors {
            let end = (at / self.group_bytes() + 1) * self.group_bytes();
            let room = ((end - at) / self.stripe_bytes()) as usize * self.data;
            let count = room.min(sectors - done);
            if count > 0 {
                rows.push(self.row(at, done, count));
            }
            (at, done) = (end, done + count);
        }
        Map { parity: self.parity, padded_len: sectors << self.ashift, rows }
    }

    /// Returns the columns of `count` sectors of a block from its sector `first` on, which are in one group.
    fn row(&self, at: u64, first: usize, count: usize) -> Row {
        let disks = self.disks() as u64;
        let group = at / self.group_bytes();
        let slice = group / self.groups as u64;
        let column = group % self.groups as u64 * self.width();
        let row = slice * self.slice_rows() + column / disks;
        let stripe = (at % self.group_bytes()) / self.stripe_bytes();
        let offset = row * ROW_BYTES + (stripe << self.ashift);
        let (stripes, full) = (count.div_ceil(self.data), count / self.data);
        let remainder = count % self.data;
        let mut start = first << self.ashift;
        let columns = (0..self.width()).map(|n| {
            let column = column % disks + n;
            let data = (n as usize).checked_sub(self.parity);
            let sectors = match data {
                Some(data) => full + usize::from(data < remainder),
                None => stripes,
            };
            let len = sectors << self.ashift;
            let place = Column {
                child: self.permutations.member(slice, (column % disks) as usize),
                offset: offset + column / disks * ROW_BYTES,
                len,
                skip: (stripes - sectors) << self.ashift,
                start,
                shadow: None,
            };
            start += if data.is_some() { len } else { 0 };
            place
        });
        Row { columns: columns.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn geometry(name: &str, ashift: u8) -> Geometry {
        let numbers: Vec<usize> =
            name.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        let [parity, data, children, spares] = numbers[..] else { panic!("{name}") };
        let numbers = Numbers { children, parity, data, spares };
        Geometry::new(numbers, numbers.groups_min(), ashift).unwrap()
    }

    fn places(map: &Map) -> Vec<(u64, usize, usize, usize)> {
        let columns = map.rows.iter().flat_map(|row| &row.columns);
        columns.map(|c| (c.offset >> 12, c.len >> 12, c.skip >> 12, c.start >> 12)).collect()
    }

    #[test]
    fn the_drawn_example() {
        let drawn = geometry("draid1:3d:7c:1s", 12);
        assert_eq!((drawn.groups, drawn.slice_rows()), (3, 2));
        let members = |map: &Map| map.rows[0].columns.iter().map(|c| c.child).collect::<Vec<_>>();
        let columns =
            |columns: [usize; 4]| columns.map(|column| drawn.permutations.member(0, column)).to_vec();
        // The second group has its first two columns in row 0, and the others in row 1.
        let map = drawn.map(drawn.group_bytes(), 4 << 12);
        assert_eq!(members(&map), columns([4, 5, 0, 1]));
        assert_eq!(places(&map), [(0, 2, 0, 0), (0, 2, 0, 0), (4096, 1, 1, 2), (4096, 1, 1, 3)]);
        assert_eq!(members(&drawn.map(0, 1)), columns([0, 1, 2, 3]));
        assert_eq!(drawn.spare_member(0, 2 * ROW_BYTES - 1), drawn.permutations.member(0, 6));
        assert_eq!(drawn.spare_member(0, 2 * ROW_BYTES), drawn.permutations.member(1, 6));
    }

    #[test]
    fn a_block_continues_in_the_next_group() {
        let one = geometry("draid1:2d:3c:0s", 12);
        let last = one.group_bytes() - one.stripe_bytes();
        let map = one.map(last, 5 << 12);
        let first_row = ROW_BYTES >> 12;
        let expected = [
            (first_row - 1, 1, 0, 0),
            (first_row - 1, 1, 0, 0),
            (first_row - 1, 1, 0, 1),
            (first_row, 2, 0, 2),
            (first_row, 2, 0, 2),
            (first_row, 1, 1, 4),
        ];
        assert_eq!(places(&map), expected);
    }

    #[test]
    fn sizes_are_those_of_openzfs() {
        // Members of 100 MiB with labels: four rows over four disks, in groups of three.
        let dr = geometry("draid1:2d:5c:1s", 9);
        let member = (100 << 20) - LABELS;
        assert_eq!(dr.numbers().vdev_bytes(member), 201_326_592);
        assert_eq!((dr.asize(512), dr.asize(1024), dr.asize(1025)), (1536, 1536, 3072));
        assert!(dr.member_bytes(201_326_592) <= member);
        assert_eq!(dr.numbers().vdev_bytes(0), 0);
    }

    const LABELS: u64 = 9 << 19;

    #[test]
    fn impossible_shapes_are_named() {
        let good = Numbers { children: 7, parity: 1, data: 3, spares: 1 };
        assert!(Geometry::new(good, 3, 12).is_ok());
        assert!(Geometry::new(good, 6, 12).is_ok());
        for (bad, groups) in [
            (Numbers { children: 0, ..good }, 3),
            (Numbers { children: 1, ..good }, 3),
            (Numbers { children: 256, ..good }, 3),
            (Numbers { children: usize::MAX, ..good }, 3),
            (Numbers { parity: 0, ..good }, 3),
            (Numbers { parity: 4, ..good }, 3),
            (Numbers { data: 0, ..good }, 3),
            (Numbers { data: 6, ..good }, 3),
            (Numbers { data: usize::MAX, ..good }, 3),
            (Numbers { spares: 4, ..good }, 3),
            (Numbers { spares: 101, ..good }, 3),
            (Numbers { spares: usize::MAX, ..good }, 3),
            (good, 0),
            (good, 4),
            (good, 300),
            (good, usize::MAX),
        ] {
            assert!(Geometry::new(bad, groups, 12).is_err(), "{bad:?} {groups}");
        }
    }

    proptest! {
        /// Every data sector has one location, no two columns of a row are on one member, none is on a spare, and
        /// neighbours do not overlap.
        #[test]
        fn a_map_covers_the_block_once(
            parity in 1_usize..4, data in 1_usize..9, more in 0_usize..9, spares in 0_usize..4,
            sectors in 1_usize..200, group in 0_u64..2000, stripe in prop_oneof![0_u64..10, 4000_u64..4096],
        ) {
            let numbers = Numbers { children: parity + data + more + spares, parity, data, spares };
            let geometry = Geometry::new(numbers, numbers.groups_min(), 12).unwrap();
            let offset = group * geometry.group_bytes() + stripe * geometry.stripe_bytes();
            let asize = geometry.asize((sectors << 12) as u64);
            let maps = [(offset, sectors), (offset + asize, 1)];
            let mut places = HashSet::new();
            for (offset, sectors) in maps {
                let map = geometry.map(offset, sectors << 12);
                let mut covered = vec![0; sectors];
                let mut stored = 0;
                for row in &map.rows {
                    let mut members = HashSet::new();
                    for (n, column) in row.columns.iter().enumerate() {
                        prop_assert!(members.insert(column.child), "two columns of a row on one member");
                        for spare in 0..spares {
                            prop_assert_ne!(geometry.spare_member(spare, column.offset), column.child);
                        }
                        stored += column.stored_len();
                        for sector in 0..column.stored_len() as u64 >> 12 {
                            prop_assert!(places.insert((column.child, (column.offset >> 12) + sector)));
                        }
                        for sector in 0..column.len >> 12 {
                            if n >= parity {
                                covered[(column.start >> 12) + sector] += 1;
                            }
                        }
                    }
                }
                prop_assert!(covered.iter().all(|&times| times == 1), "{covered:?}");
                prop_assert_eq!(stored as u64, geometry.asize((sectors << 12) as u64));
            }
        }
    }
}
