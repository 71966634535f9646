//! What a receive changes in an object set beyond [`ObjectStore`]: content that was left out, and the stored form of what
//! came encrypted.
//!
//! In a raw receive the dnodes have to become what they were at the sender, to the bit: a MAC over each block of dnodes
//! came with the stream. Bonus areas come as they are stored, and so do the numbers that give a tree its shape.

use zstream_format::object_type::ObjectType;

use crate::block::{StoredBlock, StoredCrypt};
use crate::error::Result;
use crate::ids::{BlockId, ObjectId};
use crate::object_store::ObjectStore;

/// An [`ObjectStore`] that can take in a stream.
pub trait ReceiveStore: ObjectStore {
    /// The same, where only the writing of objects is wanted.
    fn as_store(&mut self) -> &mut dyn ObjectStore;

    /// How many block pointers the object's dnode has, 1 to 3.
    ///
    /// # Errors
    ///
    /// There is no such object.
    fn pointer_count(&self, object: ObjectId) -> Result<u8>;

    /// A block in the form in which a raw stream brought it, now or in an earlier one; `None` for a hole.
    ///
    /// # Errors
    ///
    /// There is no such object, or the block cannot be read or did not come encrypted.
    fn stored_block(&self, object: ObjectId, block: BlockId) -> Result<Option<StoredBlock>>;

    /// Says how the block of dnodes that `first` lies in was encrypted (`dmu_buf_set_crypt_params`).
    ///
    /// # Errors
    ///
    /// The set does not keep blocks as they came.
    fn set_dnodes_crypt(&mut self, first: ObjectId, crypt: StoredCrypt) -> Result<()>;

    /// Gives an object's tree the shape that it had at the sender (`dmu_object_set_nlevels`,
    /// `dmu_object_set_maxblkid`). Levels only grow; there are no blocks above `max_block`.
    ///
    /// # Errors
    ///
    /// There is no such object, or the shape is none.
    fn set_shape(&mut self, object: ObjectId, levels: u8, max_block: BlockId) -> Result<()>;

    /// Sets the whole bonus area as it is stored; `bonus_len` bytes of it are used.
    ///
    /// # Errors
    ///
    /// There is no such object, or the area is larger than its dnode has room for.
    fn set_bonus_stored(
        &mut self,
        object: ObjectId,
        bonus_type: ObjectType,
        bonus_len: u16,
        area: &[u8],
    ) -> Result<()>;
}
