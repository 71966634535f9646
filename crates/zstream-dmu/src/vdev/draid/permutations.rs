//! The permutations that spread groups over the members.
//!
//! A table has 256 permutations, from 32 members on 512. Each one shuffles the one before it, with numbers of a generator
//! that starts with a seed for this number of members. The table is computed when the first vdev with so many members
//! is opened, and compared with its checksum. This corresponds to `vdev_draid_generate_perms`.

use std::sync::OnceLock;

use zstream_format::fletcher::fletcher4;
use zstream_format::order::ByteOrder;

use super::MEMBERS;
use super::seeds::SEEDS;

/// The first half of the state of the generator (`VDEV_DRAID_SEED`).
const SEED: u64 = 0x000d_7a1d_5eed;

/// The number of members from which a table has more permutations.
const MANY_MEMBERS: usize = 32;

/// The numbers of permutations of a table.
const PERMUTATIONS: (usize, usize) = (256, 512);

/// The tables by number of members, as far as they were needed.
static TABLES: [OnceLock<Vec<u8>>; *MEMBERS.end() + 1] = [const { OnceLock::new() }; *MEMBERS.end() + 1];

/// The table of permutations for a number of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permutations {
    table: &'static [u8],
    members: usize,
}

impl Permutations {
    /// Returns the table for this number of members; `None` if there is none.
    pub(super) fn of(members: usize) -> Option<Self> {
        if !MEMBERS.contains(&members) {
            return None;
        }
        let (seed, checksum) = SEEDS[members - MEMBERS.start()];
        let table = TABLES[members].get_or_init(|| {
            let table = generate(members, seed);
            assert_eq!(
                fletcher4(&table, ByteOrder::Little).0[0],
                checksum,
                "permutations of {members} members"
            );
            table
        });
        Some(Self { table, members })
    }

    /// Returns the member in column `column` of the slice with this number. Each permutation serves as many slices in a
    /// row as there are members, shifted by one each time.
    pub(super) fn member(self, slice: u64, column: usize) -> usize {
        let at = (slice % self.table.len() as u64) as usize;
        let (first, shift) = (at - at % self.members, at % self.members);
        (usize::from(self.table[first + column]) + shift) % self.members
    }
}

fn generate(members: usize, seed: u64) -> Vec<u8> {
    let count = if members < MANY_MEMBERS { PERMUTATIONS.0 } else { PERMUTATIONS.1 };
    let mut numbers = Xoroshiro([SEED, seed]);
    let mut row: Vec<u8> = (0..members).map(|member| member as u8).collect();
    let mut table = Vec::with_capacity(count * members);
    for _ in 0..count {
        for last in (1..members).rev() {
            row.swap(last, (numbers.next() % (last as u64 + 1)) as usize);
        }
        table.extend_from_slice(&row);
    }
    table
}

/// The generator xoroshiro128++ 1.0 of Blackman and Vigna, which is in the public domain.
struct Xoroshiro([u64; 2]);

impl Xoroshiro {
    fn next(&mut self) -> u64 {
        let [a, b] = self.0;
        let mixed = a ^ b;
        self.0 = [a.rotate_left(49) ^ mixed ^ (mixed << 21), mixed.rotate_left(28)];
        a.wrapping_add(b).rotate_left(17).wrapping_add(a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every table has the checksum of OpenZFS, and every row of it names each member once.
    #[test]
    fn all_tables_are_those_of_openzfs() {
        for members in MEMBERS {
            let permutations = Permutations::of(members).unwrap();
            let (seed, checksum) = SEEDS[members - MEMBERS.start()];
            assert_eq!(fletcher4(permutations.table, ByteOrder::Little).0[0], checksum, "{members} members");
            assert_ne!(fletcher4(&generate(members, seed + 1), ByteOrder::Little).0[0], checksum);
            for row in permutations.table.chunks(members) {
                let mut sorted = row.to_vec();
                sorted.sort_unstable();
                assert!(sorted.iter().enumerate().all(|(n, member)| n == usize::from(*member)));
            }
        }
        assert_eq!((Permutations::of(1), Permutations::of(256), Permutations::of(0)), (None, None, None));
    }

    #[test]
    fn a_permutation_serves_several_slices_and_the_table_starts_again() {
        let five = Permutations::of(5).unwrap();
        let slice = |slice| (0..5).map(|column| five.member(slice, column)).collect::<Vec<_>>();
        let shifted: Vec<usize> = slice(0).iter().map(|member| (member + 2) % 5).collect();
        assert_eq!(slice(2), shifted);
        assert_ne!(slice(5), slice(0));
        assert_eq!(slice(256 * 5 + 7), slice(7));
        assert_eq!(slice(u64::MAX), slice(u64::MAX % (256 * 5)));
    }
}
