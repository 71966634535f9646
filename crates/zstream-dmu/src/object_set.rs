//! The interface for readers of content: numbered objects with data, bonus and spill.
//!
//! A dataset in a pool implements it ([`Objset`](crate::objset::Objset)), and so does a view of stored send streams.
//! The interface does not contain block pointers. All content with integers of known types is little-endian; system
//! attributes and files are bytes.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::block::Block;
use crate::dnode::Dnode;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, ObjectId};

/// The description of an object (`dmu_object_info_t`, and the bonus).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The object number.
    pub object: ObjectId,
    /// The type of its blocks.
    pub object_type: ObjectType,
    /// The type of its bonus.
    pub bonus_type: ObjectType,
    /// The used part of the bonus, or `None` if it is encrypted and the key is not loaded.
    pub bonus: Option<Box<[u8]>>,
    /// The size of its data blocks in bytes.
    pub block_bytes: u64,
    /// The size of its indirect blocks in bytes, if known.
    pub indirect_bytes: Option<u64>,
    /// The number of levels of its block tree, if known.
    pub levels: Option<u8>,
    /// Its last block; also 0 if it has no blocks.
    pub max_block: BlockId,
    /// The number of slots of 512 bytes of its dnode.
    pub dn_slots: u8,
    /// Whether it has a spill block.
    pub has_spill: bool,
    /// The checksum function of its new blocks, usually inherited.
    pub checksum_type: ChecksumType,
    /// The compression function of its new blocks, usually inherited.
    pub compression: CompressionType,
    /// The allocated space of its blocks in the pool in bytes, if known.
    pub used_bytes: Option<u64>,
}

impl ObjectInfo {
    /// Returns the description in a dnode, without the bonus if it is `hidden`.
    pub(crate) fn of(object: ObjectId, dnode: &Dnode, hidden: bool) -> Self {
        Self {
            object,
            object_type: dnode.object_type,
            bonus_type: dnode.bonus_type,
            bonus: (!hidden).then(|| dnode.bonus().into()),
            block_bytes: dnode.block_bytes(),
            indirect_bytes: Some(dnode.indirect_bytes()),
            levels: Some(dnode.levels),
            max_block: dnode.max_block,
            dn_slots: dnode.extra_slots + 1,
            has_spill: dnode.spill().is_some(),
            checksum_type: dnode.checksum_type,
            compression: dnode.compression,
            used_bytes: Some(dnode.used_bytes()),
        }
    }

    /// Returns the used part of the bonus.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Encrypted`] if the key is not loaded.
    pub fn bonus(&self) -> Result<&[u8]> {
        self.bonus
            .as_deref()
            .ok_or_else(|| Fault::Encrypted { what: format!("bonus of object {}", self.object) }.into())
    }

    /// Returns the end of the last block in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.max_block.0.saturating_add(1).saturating_mul(self.block_bytes)
    }

    /// Validates that the object's type is `expected`.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`] if the object is of another type.
    pub fn expect_type(&self, expected: ObjectType) -> Result<()> {
        if self.object_type != expected {
            return Err(Error::corrupt(
                "object",
                format!("object {} is of type {}, expected {expected}", self.object, self.object_type),
            ));
        }
        Ok(())
    }
}

/// A set of objects, as of one moment.
///
/// Callers can distinguish these errors: [`Fault::NoObject`] (the object does not exist), [`Fault::Redacted`] and
/// [`Fault::Encrypted`] (the content exists but is not accessible), and [`Fault::Absent`] (a truncated or incremental
/// stream does not contain the content). All others are damage or I/O errors.
pub trait ObjectSet: Send + Sync {
    /// Returns the id of the set in its pool, for error messages: the object of the dataset in the MOS. It is 0 for
    /// the MOS itself and for sets outside a pool.
    fn objset_id(&self) -> u64;

    /// Returns the type of the set.
    fn objset_type(&self) -> ObjsetType;

    /// Returns the description of `object`.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::NoObject`] if the object does not exist.
    fn info(&self, object: ObjectId) -> Result<ObjectInfo>;

    /// Returns the first allocated object at or after `from`.
    ///
    /// # Errors
    ///
    /// Fails if a block of dnodes cannot be read.
    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>>;

    /// Returns a data block of an object, or `None` for holes and after the end of the object.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be read.
    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>>;

    /// Reads the object's content at byte `offset` into `out`. Holes, and the range after the last block, are read as
    /// zeros.
    ///
    /// # Errors
    ///
    /// Fails if a block of the range cannot be read. The content of `out` is then undefined.
    fn read(&self, object: ObjectId, offset: u64, out: &mut [u8]) -> Result<()> {
        let info = self.info(object)?;
        for piece in pieces(info.block_bytes, offset, out) {
            match self.block(object, piece.block)? {
                Some(block) => piece.fill(&block)?,
                None => piece.out.fill(0),
            }
        }
        Ok(())
    }

    /// Returns the offset of the first byte at or after `offset` in a block with content (`SEEK_DATA` in whole
    /// blocks).
    ///
    /// # Errors
    ///
    /// Fails if the block tree of the object cannot be read.
    fn next_data(&self, object: ObjectId, offset: u64) -> Result<Option<u64>>;

    /// Returns the offset of the first byte at or after `offset` in a hole or after the last block (`SEEK_HOLE` in
    /// whole blocks).
    ///
    /// # Errors
    ///
    /// Fails if the block tree of the object cannot be read.
    fn next_hole(&self, object: ObjectId, offset: u64) -> Result<u64>;

    /// Returns the content of the object's spill block, if it has one.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be read.
    fn spill(&self, object: ObjectId) -> Result<Option<Block>>;
}

/// The part of a range that is in one block.
pub(crate) struct Piece<'a> {
    /// The block.
    pub(crate) block: BlockId,
    /// The start of the part in the block.
    pub(crate) start: usize,
    /// The destination of the part.
    pub(crate) out: &'a mut [u8],
}

impl Piece<'_> {
    /// Copies the part from its block.
    pub(crate) fn fill(self, block: &[u8]) -> Result<()> {
        let end = self.start + self.out.len();
        let Some(part) = block.get(self.start..end) else {
            return Err(Error::corrupt(
                "block",
                format!("size is {} bytes, expected at least {end}", block.len()),
            ));
        };
        self.out.copy_from_slice(part);
        Ok(())
    }
}

/// Splits the range of `out.len()` bytes at `offset` into blocks of `block_bytes`. The part beyond the maximum offset
/// is filled with zeros.
pub(crate) fn pieces(block_bytes: u64, offset: u64, mut out: &mut [u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = Some(offset);
    while !out.is_empty() {
        let Some(here) = at else {
            out.fill(0);
            break;
        };
        let start = here % block_bytes;
        let length = out.len().min(usize::try_from(block_bytes - start).unwrap_or(usize::MAX));
        let (head, tail) = out.split_at_mut(length);
        pieces.push(Piece { block: BlockId(here / block_bytes), start: start as usize, out: head });
        out = tail;
        at = here.checked_add(length as u64);
    }
    pieces
}
