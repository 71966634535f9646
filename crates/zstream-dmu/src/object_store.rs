//! The interface for writers of content: an [`ObjectSet`] in which objects can be allocated, changed and freed.
//!
//! Changes are kept in memory until their transaction group is synced, and are visible at once to reads through the
//! same value. The interface does not contain block pointers, vdevs or datasets.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;

use crate::blkptr::BlockPointer;
use crate::block::StoredBlock;
use crate::dnode::NewObject;
use crate::error::Result;
use crate::ids::{BlockId, ObjectId, Txg};
use crate::object_set::ObjectSet;

/// The parts of an object that are kept when it is reallocated with a new description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The blocks, if type and block size do not change.
    pub content: bool,
    /// The spill block.
    pub spill: bool,
}

/// A set of objects that can be changed within one transaction group.
///
/// An error leaves the set unchanged, unless stated otherwise.
pub trait ObjectStore: ObjectSet {
    /// Returns the transaction group to which changes belong.
    fn txg(&self) -> Txg;

    /// Allocates an object and returns its number.
    ///
    /// # Errors
    ///
    /// Fails if the description is invalid, and if a block of dnodes cannot be read.
    fn allocate(&mut self, new: &NewObject) -> Result<ObjectId>;

    /// Allocates the object of this number.
    ///
    /// # Errors
    ///
    /// Fails as [`allocate`](Self::allocate), and if a slot that the object requires is in use.
    fn claim(&mut self, object: ObjectId, new: &NewObject) -> Result<()>;

    /// Reallocates an existing object with a new description. Its content is kept if that is requested and type and
    /// block size are the same, and is freed otherwise. If the dnode has space for fewer block pointers than before, a
    /// level is added to the block tree.
    ///
    /// # Errors
    ///
    /// Fails as [`claim`](Self::claim), and if the object does not exist.
    fn reclaim(&mut self, object: ObjectId, new: &NewObject, kept: Kept) -> Result<()>;

    /// Frees an object and all its blocks.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist.
    fn free(&mut self, object: ObjectId) -> Result<()>;

    /// Writes `bytes` at byte `offset`. The object grows as needed.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if a partially overwritten block cannot be read.
    fn write(&mut self, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Replaces a block with one that is already in stored form.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the block does not match it.
    fn write_stored(&mut self, object: ObjectId, block: BlockId, stored: StoredBlock) -> Result<()>;

    /// Frees the whole blocks in `length` bytes at byte `offset`, and fills the rest of the range with zeros. A length
    /// of `u64::MAX` extends to the end.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if a partially overwritten block cannot be read.
    fn free_range(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()>;

    /// Sets the type and the used part of the bonus.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the bonus does not fit into its dnode.
    fn set_bonus(&mut self, object: ObjectId, bonus_type: ObjectType, bytes: &[u8]) -> Result<()>;

    /// Sets the size of data blocks, and unless it is 0 of indirect blocks, of an object that has at most its first
    /// block.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, if it has more than one block, and if the size is invalid.
    fn set_block_size(&mut self, object: ObjectId, block_bytes: u32, indirect_shift: u8) -> Result<()>;

    /// Sets the checksum and compression functions of new blocks of the object.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist.
    fn set_algorithms(
        &mut self,
        object: ObjectId,
        checksum: ChecksumType,
        compression: CompressionType,
    ) -> Result<()>;

    /// Sets the content of the spill block. `None` removes it.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the size is invalid.
    fn set_spill(&mut self, object: ObjectId, content: Option<StoredBlock>) -> Result<()>;
}

/// An object store in which blocks can be cloned.
pub trait CloneStore: ObjectStore {
    /// Replaces blocks of an object from `first` on with these (`dmu_brt_clone`). Every block that is not a hole or
    /// embedded gets a further reference.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, if a block is not one of content of the size of its blocks, and if a count of
    /// references cannot be read. Some blocks may be replaced then.
    fn put_clones(&mut self, to: ObjectId, first: BlockId, pointers: &[BlockPointer]) -> Result<()>;
}
