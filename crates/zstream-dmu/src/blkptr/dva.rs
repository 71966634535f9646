//! Addresses of the copies of blocks.

use std::fmt;

use zstream_format::order::ByteOrder;
use zstream_format::wire::Field;

use super::{SECTOR_BYTES, bits, field};

/// The address of one copy of a block (`dva_t`): a range of a top-level vdev.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Dva {
    words: [u64; 2],
}

/// DVAs are fields of declared structures.
impl Field for Dva {
    const SIZE: usize = 16;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        Self { words: Field::get(bytes, order) }
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        self.words.put(bytes, order);
    }

    fn swap(bytes: &mut [u8]) {
        <[u64; 2]>::swap(bytes);
    }
}

impl Dva {
    /// Creates the address of `asize` bytes at byte `offset` of the top-level vdev `vdev`.
    ///
    /// `offset` and `asize` are multiples of the sector size. Bits that do not fit into the fields are truncated.
    #[must_use]
    pub fn new(vdev: u32, offset: u64, asize: u64, gang: bool) -> Self {
        Self {
            words: [
                field(u64::from(vdev), 32, 24) | field(asize / SECTOR_BYTES, 0, 24),
                field(u64::from(gang), 63, 1) | (offset / SECTOR_BYTES),
            ],
        }
    }

    /// Creates the address from its two words.
    #[must_use]
    pub fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// Returns the two words as stored.
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        self.words
    }

    /// Returns `true` if the address is used: unused ones have an allocated size of 0 (`DVA_IS_VALID`).
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.asize() != 0
    }

    /// Returns `true` if both words are zero (`DVA_IS_EMPTY`).
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.words == [0, 0]
    }

    /// Returns the index of the top-level vdev.
    #[must_use]
    pub fn vdev(self) -> u32 {
        bits(self.words[0], 32, 24) as u32
    }

    /// Returns the offset in the allocatable space of the top-level vdev, in bytes. On a single disk this space
    /// starts at 4 MiB.
    #[must_use]
    pub fn offset(self) -> u64 {
        bits(self.words[1], 0, 63).wrapping_mul(SECTOR_BYTES)
    }

    /// Returns the offset in sectors, as stored. Offsets of 2^55 sectors and more exceed the range of
    /// [`Dva::offset`].
    #[must_use]
    pub(crate) fn offset_sectors(self) -> u64 {
        bits(self.words[1], 0, 63)
    }

    /// Returns the allocated size in bytes, including raidz parity and, for a gang block, its members.
    #[must_use]
    pub fn asize(self) -> u64 {
        bits(self.words[0], 0, 24) * SECTOR_BYTES
    }

    /// Returns `true` if the address is that of a gang header instead of data.
    #[must_use]
    pub fn is_gang(self) -> bool {
        bits(self.words[1], 63, 1) != 0
    }
}

impl fmt::Display for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}:{:x}", self.vdev(), self.offset(), self.asize())
    }
}

impl fmt::Debug for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dva({self}{})", if self.is_gang() { " gang" } else { "" })
    }
}
