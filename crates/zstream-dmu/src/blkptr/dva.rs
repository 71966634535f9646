//! Addresses of copies.

use std::fmt;

use zstream_format::order::ByteOrder;
use zstream_format::wire::Field;

use super::{SECTOR_BYTES, bits, field};

/// The address of one copy of a block (`dva_t`): a range of a top-level vdev.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Dva {
    words: [u64; 2],
}

/// A part of a declared structure.
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
    /// The address of `asize` bytes at byte `offset` of the top-level vdev `vdev`.
    ///
    /// `offset` and `asize` are multiples of the sector size; what does not fit in the fields is cut off.
    #[must_use]
    pub fn new(vdev: u32, offset: u64, asize: u64, gang: bool) -> Self {
        Self {
            words: [
                field(u64::from(vdev), 32, 24) | field(asize / SECTOR_BYTES, 0, 24),
                field(u64::from(gang), 63, 1) | (offset / SECTOR_BYTES),
            ],
        }
    }

    /// The address in these two words.
    #[must_use]
    pub fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// The two words as stored.
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        self.words
    }

    /// Whether this is an address at all: unused ones have no allocated size (`DVA_IS_VALID`).
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.asize() != 0
    }

    /// Whether both words are zero (`DVA_IS_EMPTY`).
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.words == [0, 0]
    }

    /// Index of the top-level vdev.
    #[must_use]
    pub fn vdev(self) -> u32 {
        bits(self.words[0], 32, 24) as u32
    }

    /// Offset in the top-level vdev's allocatable space, in bytes. On a plain disk the space starts
    /// 4 MiB after the device does.
    #[must_use]
    pub fn offset(self) -> u64 {
        bits(self.words[1], 0, 63).wrapping_mul(SECTOR_BYTES)
    }

    /// Offset in sectors, as stored: offsets of 2^55 sectors and more do not fit in [`Dva::offset`].
    #[must_use]
    pub fn offset_sectors(self) -> u64 {
        bits(self.words[1], 0, 63)
    }

    /// Allocated size in bytes, with raidz parity and, on a gang block, with its members.
    #[must_use]
    pub fn asize(self) -> u64 {
        bits(self.words[0], 0, 24) * SECTOR_BYTES
    }

    /// Whether the address is that of a gang header instead of the data.
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
