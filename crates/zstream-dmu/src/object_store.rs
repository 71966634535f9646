//! What writers of content see: an [`ObjectSet`] whose objects can be made, changed and freed.
//!
//! Changes gather in memory until the transaction group that they belong to is synced; whoever reads through the same
//! value sees them at once. Nothing here knows of block pointers, vdevs or datasets.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;

use crate::block::StoredBlock;
use crate::dnode::NewObject;
use crate::error::Result;
use crate::ids::{BlockId, ObjectId, Txg};
use crate::object_set::ObjectSet;

/// A set of objects, open for change within one transaction group.
///
/// Errors leave the set as it was unless said otherwise.
pub trait ObjectStore: ObjectSet {
    /// The transaction group to which changes belong.
    fn txg(&self) -> Txg;

    /// Makes an object and gives its number.
    ///
    /// # Errors
    ///
    /// The description breaks a rule, or a block of dnodes cannot be read.
    fn allocate(&mut self, new: &NewObject) -> Result<ObjectId>;

    /// Makes the object of this number.
    ///
    /// # Errors
    ///
    /// As for [`allocate`](Self::allocate); a slot that it would take is in use.
    fn claim(&mut self, object: ObjectId, new: &NewObject) -> Result<()>;

    /// Makes an existing object one of this description. Its content stays where type and block size are the same and
    /// goes where they are not; the spill block goes unless `keep_spill`.
    ///
    /// # Errors
    ///
    /// As for [`claim`](Self::claim); there is no such object.
    fn reclaim(&mut self, object: ObjectId, new: &NewObject, keep_spill: bool) -> Result<()>;

    /// Frees an object with all its blocks.
    ///
    /// # Errors
    ///
    /// There is no such object.
    fn free(&mut self, object: ObjectId) -> Result<()>;

    /// Writes `bytes` at byte `offset`; the object grows as needed.
    ///
    /// # Errors
    ///
    /// There is no such object, or a block that is changed in part cannot be read.
    fn write(&mut self, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes a whole block one that comes as it is to be stored.
    ///
    /// # Errors
    ///
    /// There is no such object, or the block does not fit it.
    fn write_stored(&mut self, object: ObjectId, block: BlockId, stored: StoredBlock) -> Result<()>;

    /// Makes `length` bytes from byte `offset` on a hole, as far as they are whole blocks, and zeros else. `u64::MAX`
    /// means to the end.
    ///
    /// # Errors
    ///
    /// There is no such object, or a block that is changed in part cannot be read.
    fn free_range(&mut self, object: ObjectId, offset: u64, length: u64) -> Result<()>;

    /// Sets the bonus: its type and its used part.
    ///
    /// # Errors
    ///
    /// There is no such object, or the bonus is larger than its dnode has room for.
    fn set_bonus(&mut self, object: ObjectId, bonus_type: ObjectType, bytes: &[u8]) -> Result<()>;

    /// Sets size of data blocks, and of indirect blocks where it is not 0, of an object that has at most its first block.
    ///
    /// # Errors
    ///
    /// There is no such object, it has more than one block, or the size breaks a rule.
    fn set_block_size(&mut self, object: ObjectId, block_bytes: u32, indirect_shift: u8) -> Result<()>;

    /// Sets what new blocks of the object are summed and compressed with.
    ///
    /// # Errors
    ///
    /// There is no such object.
    fn set_algorithms(
        &mut self,
        object: ObjectId,
        checksum: ChecksumType,
        compression: CompressionType,
    ) -> Result<()>;

    /// Sets the content of the spill block; `None` removes it.
    ///
    /// # Errors
    ///
    /// There is no such object, or the size breaks a rule.
    fn set_spill(&mut self, object: ObjectId, content: Option<StoredBlock>) -> Result<()>;
}
