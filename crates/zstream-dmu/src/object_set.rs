//! What readers of content see: numbered objects with data, bonus and spill.
//!
//! A dataset in a pool is one ([`Objset`](crate::objset::Objset)), and so is a view of stored send
//! streams. Nothing here knows of block pointers. All content is little-endian where its type says
//! what its integers are; system attributes and files are bytes.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::block::Block;
use crate::dnode::Dnode;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, ObjectId};

/// What an object is (`dmu_object_info_t`, with the bonus).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The object's number.
    pub object: ObjectId,
    /// What its blocks hold.
    pub object_type: ObjectType,
    /// What its bonus holds.
    pub bonus_type: ObjectType,
    /// The used part of the bonus, or `None` where it is encrypted and the key is not loaded.
    pub bonus: Option<Box<[u8]>>,
    /// Size of its data blocks, in bytes.
    pub block_bytes: u64,
    /// Size of its indirect blocks, in bytes, where known.
    pub indirect_bytes: Option<u64>,
    /// Levels of its tree of blocks, where known.
    pub levels: Option<u8>,
    /// Its highest block; 0 also when it has none.
    pub max_block: BlockId,
    /// Slots of 512 bytes that its dnode takes.
    pub dn_slots: u8,
    /// Whether it has a spill block.
    pub has_spill: bool,
    /// Checksum function for its new blocks, usually inherited.
    pub checksum_type: ChecksumType,
    /// Compression function for its new blocks, usually inherited.
    pub compression: CompressionType,
    /// Space that its blocks take in the pool, in bytes, where known.
    pub used_bytes: Option<u64>,
}

impl ObjectInfo {
    /// What a dnode says of its object. `hidden` leaves out the bonus.
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

    /// The used part of the bonus.
    ///
    /// # Errors
    ///
    /// [`Fault::Encrypted`] where the key is not loaded.
    pub fn bonus(&self) -> Result<&[u8]> {
        self.bonus
            .as_deref()
            .ok_or_else(|| Fault::Encrypted { what: format!("bonus of object {}", self.object) }.into())
    }

    /// The end of the last block, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.max_block.0.saturating_add(1).saturating_mul(self.block_bytes)
    }

    /// The object's type, checked to be `expected`.
    ///
    /// # Errors
    ///
    /// [`Fault::Corrupt`] when the object is of another type.
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

/// A set of objects, as it stood at one moment.
///
/// Errors that callers tell apart: [`Fault::NoObject`] (no such object), [`Fault::Redacted`] and
/// [`Fault::Encrypted`] (content that is there but not to be had), [`Fault::Absent`] (content that a cut
/// or incremental stream does not carry); everything else is damage or I/O.
pub trait ObjectSet: Send + Sync {
    /// The set's number in its pool, for errors to name: the dataset's object in the MOS, 0 for the MOS
    /// itself and for what lies in no pool.
    fn objset_id(&self) -> u64;

    /// What the set is for.
    fn objset_type(&self) -> ObjsetType;

    /// What `object` is.
    ///
    /// # Errors
    ///
    /// [`Fault::NoObject`] when there is none of this number.
    fn info(&self, object: ObjectId) -> Result<ObjectInfo>;

    /// The lowest allocated object whose number is at least `from`.
    ///
    /// # Errors
    ///
    /// A block of dnodes cannot be read.
    fn next_object(&self, from: ObjectId) -> Result<Option<ObjectId>>;

    /// One data block of an object, or `None` for a hole and beyond the object's end.
    ///
    /// # Errors
    ///
    /// The block cannot be read.
    fn block(&self, object: ObjectId, block: BlockId) -> Result<Option<Block>>;

    /// Fills `out` with the object's content from byte `offset` on. Holes and what lies beyond the
    /// object's last block read as zeros.
    ///
    /// # Errors
    ///
    /// A block of the range cannot be read; `out` then holds nothing of use.
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

    /// The offset of the first byte at or after `offset` that lies in a block with content
    /// (`SEEK_DATA` in whole blocks).
    ///
    /// # Errors
    ///
    /// The object's tree cannot be read.
    fn next_data(&self, object: ObjectId, offset: u64) -> Result<Option<u64>>;

    /// The offset of the first byte at or after `offset` that lies in a hole or beyond the last block
    /// (`SEEK_HOLE` in whole blocks).
    ///
    /// # Errors
    ///
    /// The object's tree cannot be read.
    fn next_hole(&self, object: ObjectId, offset: u64) -> Result<u64>;

    /// The content of the object's spill block, if it has one.
    ///
    /// # Errors
    ///
    /// The block cannot be read.
    fn spill(&self, object: ObjectId) -> Result<Option<Block>>;
}

/// Part of a range that lies in one block.
pub(crate) struct Piece<'a> {
    /// The block.
    pub(crate) block: BlockId,
    /// Where the part starts in the block.
    pub(crate) start: usize,
    /// Where it goes.
    pub(crate) out: &'a mut [u8],
}

impl Piece<'_> {
    /// Copies the part out of its block.
    pub(crate) fn fill(self, block: &[u8]) -> Result<()> {
        let end = self.start + self.out.len();
        let Some(part) = block.get(self.start..end) else {
            return Err(Error::corrupt("block", format!("{} bytes, expected at least {end}", block.len())));
        };
        self.out.copy_from_slice(part);
        Ok(())
    }
}

/// Cuts the range of `out.len()` bytes at `offset` where blocks of `block_bytes` end. What would lie
/// beyond the last address is zeroed.
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
