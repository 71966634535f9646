//! Allocation, as the writer of blocks needs it.

use crate::blkptr::{BlockPointer, Dva};
use crate::error::Result;
use crate::ids::Txg;

/// Which vdevs a block may lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllocationClass {
    /// Those of file data, and of everything where there are no others.
    Normal,
    /// Special vdevs where there are some: metadata.
    Special,
    /// Vdevs for deduplication tables where there are some.
    Dedup,
}

/// Where blocks get their places from, and give them back: the space of one transaction group of a pool.
pub trait Space: Send + Sync {
    /// The transaction group that is written.
    fn txg(&self) -> Txg;

    /// Logarithm of the smallest allocation in bytes: compressed blocks are padded to a multiple of it (`spa_min_alloc`).
    fn unit_shift(&self) -> u8;

    /// What a block counts for in the space of its object and dataset (`bp_get_dsize`): the allocated bytes of all copies,
    /// with raidz parity taken out by the vdev's deflate ratio. 0 for holes and embedded blocks.
    fn dsize(&self, block: &BlockPointer) -> u64;

    /// Takes `copies` places of `psize` bytes each, on different vdevs where there are several.
    ///
    /// # Errors
    ///
    /// [`Fault::NoSpace`](crate::error::Fault::NoSpace) when there is no room; nothing is taken then. A
    /// smaller `psize` may still fit (gang blocks).
    fn allocate(&self, psize: u64, copies: u8, class: AllocationClass) -> Result<Vec<Dva>>;

    /// Gives back places that were taken in this transaction group and are not used.
    fn unallocate(&self, places: &[Dva]);

    /// Writes `bytes` at a place, with parity and to every side of a mirror. They may be fewer than were allocated, by
    /// less than a unit. Called by many threads at once.
    ///
    /// # Errors
    ///
    /// Fewer members took the write than the vdev needs to be read.
    fn write(&self, place: Dva, bytes: &[u8]) -> Result<()>;

    /// Writes at several places as [`write`](Self::write) does; what lies one behind the other may go to the devices together.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); any of them may have been written.
    fn write_places(&self, places: &[(Dva, &[u8])]) -> Result<()> {
        places.iter().try_for_each(|(place, bytes)| self.write(*place, bytes))
    }

    /// Gives back the places of a block that nothing points at any more, gang members included. They are used again only
    /// when no uberblock that could be opened needs them.
    ///
    /// # Errors
    ///
    /// A place is not allocated, or a gang header cannot be read.
    fn free(&self, block: &BlockPointer) -> Result<()>;
}
