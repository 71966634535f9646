//! What writers of content see: an [`ObjectSet`] whose objects can be made, changed and freed.
//!
//! Changes gather in memory until the transaction group that they belong to is synced; whoever reads through the same
//! value sees them at once. Nothing here knows of block pointers, vdevs or datasets.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;

use crate::blkptr::CryptKind;
use crate::error::Result;
use crate::ids::{BlockId, ObjectId, Txg};
use crate::object_set::ObjectSet;

/// What an object is to be when it is made (`dmu_object_alloc_dnsize`, `dmu_object_claim_dnsize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// What its blocks hold.
    pub object_type: ObjectType,
    /// Size of its data blocks in bytes, a multiple of 512; 0 for the smallest.
    pub block_bytes: u32,
    /// Logarithm of the size of its indirect blocks; 0 for the set's usual one.
    pub indirect_shift: u8,
    /// What its bonus holds.
    pub bonus_type: ObjectType,
    /// Bytes of its bonus that are used; it starts as zeros.
    pub bonus_len: u16,
    /// Slots of 512 bytes that its dnode takes; 0 for one.
    pub dn_slots: u8,
    /// Checksum function of its blocks, [`ChecksumType::INHERIT`] for the set's.
    pub checksum_type: ChecksumType,
    /// Compression of its blocks, [`CompressionType::INHERIT`] for the set's.
    pub compression: CompressionType,
}

impl NewObject {
    /// An object of one slot with the set's usual checksum and compression.
    #[must_use]
    pub fn new(object_type: ObjectType, block_bytes: u32) -> Self {
        Self {
            object_type,
            block_bytes,
            indirect_shift: 0,
            bonus_type: ObjectType::NONE,
            bonus_len: 0,
            dn_slots: 0,
            checksum_type: ChecksumType::INHERIT,
            compression: CompressionType::INHERIT,
        }
    }

    /// The same with a bonus.
    #[must_use]
    pub fn with_bonus(self, bonus_type: ObjectType, bonus_len: u16) -> Self {
        Self { bonus_type, bonus_len, ..self }
    }
}

/// How encrypted content that comes with its parameters was encrypted (raw receive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCrypt {
    /// Whether the content is encrypted or only authenticated.
    pub kind: CryptKind,
    /// Salt of the key.
    pub salt: [u8; 8],
    /// Initialization vector.
    pub iv: [u8; 12],
    /// Message authentication code.
    pub mac: [u8; 16],
    /// Whether the integers of the content are big-endian.
    pub big_endian: bool,
}

/// A block that comes in the form in which it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// Its bytes, compressed and encrypted as said below.
    pub bytes: Vec<u8>,
    /// Size of the content in bytes.
    pub logical_bytes: u32,
    /// How the bytes are compressed.
    pub compression: CompressionType,
    /// How they are encrypted, if they are.
    pub crypt: Option<StoredCrypt>,
    /// Whether they are to be kept in the block pointer itself (`WRITE_EMBEDDED`).
    pub embedded: bool,
}

/// What an object keeps when it is made one of another description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its blocks, where type and block size stay the same.
    pub content: bool,
    /// Its spill block.
    pub spill: bool,
}

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

    /// Makes an existing object one of this description. Its content stays where it is to be kept and type and block size
    /// are the same, and goes where not. Where the dnode has room for fewer block pointers than before, a level is added
    /// to the tree.
    ///
    /// # Errors
    ///
    /// As for [`claim`](Self::claim); there is no such object.
    fn reclaim(&mut self, object: ObjectId, new: &NewObject, kept: Kept) -> Result<()>;

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
