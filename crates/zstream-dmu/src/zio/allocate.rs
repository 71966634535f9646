//! The interface of the block writer to the allocator.

use crate::blkptr::{BlockPointer, Dva};
use crate::error::{Error, Result};
use crate::ids::Txg;

/// The class of vdevs on which a block is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllocationClass {
    /// Normal vdevs: file data, and everything if there are no other vdevs.
    Normal,
    /// Special vdevs, if there are any: metadata.
    Special,
    /// Special vdevs while they have more than their reserve for metadata: small blocks of files and volumes.
    Small,
    /// Dedup vdevs, if there are any: deduplication tables.
    Dedup,
}

/// The result of a search for a block of the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// A pointer to such a block, with a new reference.
    Shared(BlockPointer),
    /// There is none: the block must be written, and then be entered.
    New,
    /// There is one, but it has too few copies or another content: the block must be written without deduplication.
    Apart,
}

/// The space of one transaction group of a pool, in which blocks are allocated and freed.
pub trait Space: Send + Sync {
    /// Returns the transaction group that is being written.
    fn txg(&self) -> Txg;

    /// Returns the binary logarithm of the smallest allocation in bytes: compressed blocks are padded to a multiple
    /// of it (`spa_min_alloc`).
    fn unit_shift(&self) -> u8;

    /// Returns the size of a block that is accounted for its object and dataset (`bp_get_dsize`): the allocated bytes
    /// of all copies, deflated by the ratio of the vdev, which excludes raidz parity. It is 0 for holes and embedded
    /// blocks.
    fn dsize(&self, block: &BlockPointer) -> u64;

    /// Returns the size of a gang header at an allocated range with the feature `dynamic_gang_header`.
    fn gang_header_bytes(&self, place: Dva) -> usize;

    /// Allocates `copies` ranges of `psize` bytes each, on different vdevs if possible.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::NoSpace`](crate::error::Fault::NoSpace) if there is not enough space. Nothing is allocated
    /// then. A smaller `psize` may still fit (gang blocks).
    fn allocate(&self, psize: u64, copies: u8, class: AllocationClass) -> Result<Vec<Dva>>;

    /// Frees ranges that were allocated in this transaction group and are not used.
    fn unallocate(&self, places: &[Dva]);

    /// Writes `bytes` at an allocated range, with parity and to every side of a mirror. They may be shorter than the
    /// range, by less than a unit. It is called by several threads at once.
    ///
    /// # Errors
    ///
    /// Fails if too few members were written for the vdev to be readable.
    fn write(&self, place: Dva, bytes: &[u8]) -> Result<()>;

    /// Writes to several ranges like [`write`](Self::write). Adjacent ranges may be written together.
    ///
    /// # Errors
    ///
    /// Fails like [`write`](Self::write). Any of the ranges may have been written.
    fn write_places(&self, places: &[(Dva, &[u8])]) -> Result<()> {
        places.iter().try_for_each(|(place, bytes)| self.write(*place, bytes))
    }

    /// Adds a reference to a block of content that was written in a previous transaction group.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot have several references, and if their counts cannot be read.
    fn share(&self, block: &BlockPointer) -> Result<()>;

    /// Searches the deduplication tables for a block with the content of `block`, which has no addresses yet, and adds
    /// a reference to it. `content` is the stored content to compare, unless the checksum is trusted.
    ///
    /// # Errors
    ///
    /// Fails if the tables or the block that was found cannot be read.
    fn find_same(&self, block: &BlockPointer, copies: u8, content: Option<&[u8]>) -> Result<Same> {
        let _ = (block, copies, content);
        Ok(Same::Apart)
    }

    /// Enters a block that was written in this transaction group into its deduplication table. Returns `false` if there
    /// is such a block by now.
    ///
    /// # Errors
    ///
    /// Fails if the tables cannot be read.
    fn enter(&self, block: &BlockPointer, copies: u8) -> Result<bool> {
        Err(Error::internal(format!("block {block} in {copies} copies cannot be deduplicated")))
    }

    /// Drops a reference to a block. Every reference that is removed from the pool is dropped here, with its whole
    /// pointer. The last one frees the space of the block, gang members included. The space is reused only after no
    /// uberblock that can be opened requires it.
    ///
    /// # Errors
    ///
    /// Fails if a range is not allocated, and if a gang header cannot be read.
    fn free(&self, block: &BlockPointer) -> Result<()>;

    /// Drops a reference to a block of an intent log like [`free`](Self::free). Such a block may have been written in a
    /// transaction group with the number of the current one, in which another program was interrupted: its space is
    /// never reused at once.
    ///
    /// # Errors
    ///
    /// Fails like [`free`](Self::free).
    fn free_claimed(&self, block: &BlockPointer) -> Result<()> {
        self.free(block)
    }

    /// Records that nothing refers to a range of a removed vdev any more, although its content stays allocated: the
    /// block pointer was replaced by one to the new location (`spa_vdev_indirect_mark_obsolete`).
    ///
    /// # Errors
    ///
    /// Fails if the range is not on a removed vdev, and if it was recorded in this transaction group already.
    fn mark_obsolete(&self, place: Dva) -> Result<()> {
        Err(Error::internal(format!("{place} is not on a removed vdev")))
    }
}
