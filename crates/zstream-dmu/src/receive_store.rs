//! The interface for receives, which extends [`ObjectStore`] with the shape of block trees and the stored form of
//! encrypted content.
//!
//! After a raw receive, the dnodes must be identical to those of the sender, because the stream contains a MAC over
//! each block of dnodes. So bonus areas are received in stored form, and so are the parameters of the shape of a block
//! tree.

use zstream_format::object_type::ObjectType;

use crate::block::{StoredBlock, StoredCrypt};
use crate::error::Result;
use crate::ids::{BlockId, ObjectId};
use crate::object_store::ObjectStore;

/// An [`ObjectStore`] that can receive a stream.
pub trait ReceiveStore: ObjectStore {
    /// Returns the store as an [`ObjectStore`].
    fn as_store(&mut self) -> &mut dyn ObjectStore;

    /// Returns the number of block pointers of the object's dnode, 1 to 3.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist.
    fn pointer_count(&self, object: ObjectId) -> Result<u8>;

    /// Returns a block in the form in which this or an earlier raw stream contained it, or `None` for a hole.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the block cannot be read or was not received encrypted.
    fn stored_block(&self, object: ObjectId, block: BlockId) -> Result<Option<StoredBlock>>;

    /// Sets the encryption parameters of the block of dnodes that contains `first` (`dmu_buf_set_crypt_params`).
    ///
    /// # Errors
    ///
    /// Fails if the set does not keep blocks in stored form.
    fn set_dnodes_crypt(&mut self, first: ObjectId, crypt: StoredCrypt) -> Result<()>;

    /// Gives an object's block tree its shape at the sender (`dmu_object_set_nlevels`, `dmu_object_set_maxblkid`). The
    /// number of levels can only grow. There are no blocks after `max_block`.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the shape is invalid.
    fn set_shape(&mut self, object: ObjectId, levels: u8, max_block: BlockId) -> Result<()>;

    /// Sets the whole bonus area in stored form, of which `bonus_len` bytes are used.
    ///
    /// # Errors
    ///
    /// Fails if the object does not exist, and if the area does not fit into its dnode.
    fn set_bonus_stored(
        &mut self,
        object: ObjectId,
        bonus_type: ObjectType,
        bonus_len: u16,
        area: &[u8],
    ) -> Result<()>;
}
