//! Block pointers that are made.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::{
    BlockPointer, CHECKSUM, DVAS_PER_BLOCK_POINTER, Dva, EMBEDDED_PAYLOAD_MAX, FILL, LOGICAL_BIRTH,
    PAYLOAD_WORDS, PHYSICAL_BIRTH, PROP, SECTOR_BYTES, field,
};
use crate::ids::Txg;

/// Everything that a block pointer to a block on a vdev says, to make one from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalBlock {
    /// Addresses of the copies; unused ones are all zero.
    pub dvas: [Dva; DVAS_PER_BLOCK_POINTER],
    /// Logical size in bytes: a multiple of the sector size, 512 to 32 MiB.
    pub lsize: u64,
    /// Stored size in bytes: a multiple of the sector size, 512 to 32 MiB.
    pub psize: u64,
    /// How the content is compressed.
    pub compression: CompressionType,
    /// How the stored bytes are summed.
    pub checksum_type: ChecksumType,
    /// DMU object type.
    pub object_type: ObjectType,
    /// Level in the object's tree, 0 for data.
    pub level: u8,
    /// Whether the block is in the dedup table.
    pub dedup: bool,
    /// The `X` bit: encrypted, authenticated or an indirect block over such.
    pub uses_crypt: bool,
    /// The byte order the block was written in.
    pub byte_order: ByteOrder,
    /// Transaction group in which the block was born in its dataset.
    pub logical_birth: Txg,
    /// Transaction group in which the block was written, where that differs; otherwise 0.
    pub physical_birth: Txg,
    /// Fill count.
    pub fill: u64,
    /// Checksum words.
    pub checksum: [u64; 4],
}

impl BlockPointer {
    /// A block pointer to a block on a vdev.
    #[must_use]
    pub fn normal(block: &NormalBlock) -> Self {
        let mut words = [0; 16];
        for (n, dva) in block.dvas.iter().enumerate() {
            words[2 * n..2 * n + 2].copy_from_slice(&dva.words());
        }
        words[PROP] = field((block.lsize / SECTOR_BYTES).wrapping_sub(1), 0, 16)
            | field((block.psize / SECTOR_BYTES).wrapping_sub(1), 16, 16)
            | field(u64::from(block.compression.0), 32, 7)
            | field(u64::from(block.checksum_type.0), 40, 8)
            | field(u64::from(block.object_type.0), 48, 8)
            | field(u64::from(block.level), 56, 5)
            | field(u64::from(block.uses_crypt), 61, 1)
            | field(u64::from(block.dedup), 62, 1)
            | field(u64::from(block.byte_order == ByteOrder::Little), 63, 1);
        words[PHYSICAL_BIRTH] = block.physical_birth.0;
        words[LOGICAL_BIRTH] = block.logical_birth.0;
        words[FILL] = block.fill;
        words[CHECKSUM..].copy_from_slice(&block.checksum);
        Self { words }
    }

    /// A hole that remembers its birth (feature `hole_birth`): what the freed block was, and when it
    /// was freed.
    #[must_use]
    pub fn hole(object_type: ObjectType, level: u8, lsize: u64, birth: Txg) -> Self {
        let mut words = [0; 16];
        words[PROP] = field((lsize / SECTOR_BYTES).wrapping_sub(1), 0, 16)
            | field(u64::from(object_type.0), 48, 8)
            | field(u64::from(level), 56, 5);
        words[LOGICAL_BIRTH] = birth.0;
        Self { words }
    }

    /// A block pointer that carries `payload` (`BP_EMBEDDED_TYPE_DATA`): `lsize` bytes compressed with
    /// `compression`, or as they are.
    ///
    /// `None` when the payload is empty or longer than [`EMBEDDED_PAYLOAD_MAX`], or `lsize` is 0 or
    /// above 32 MiB.
    #[must_use]
    pub fn embedded(
        payload: &[u8],
        lsize: u64,
        compression: CompressionType,
        object_type: ObjectType,
        level: u8,
        birth: Txg,
    ) -> Option<Self> {
        if payload.is_empty() || payload.len() > EMBEDDED_PAYLOAD_MAX || lsize == 0 || lsize > 1 << 25 {
            return None;
        }
        let mut words = [0; 16];
        for (bytes, word) in payload.chunks(8).zip(PAYLOAD_WORDS) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            words[word] = u64::from_le_bytes(padded);
        }
        words[PROP] = field(lsize - 1, 0, 25)
            | field(payload.len() as u64 - 1, 25, 7)
            | field(u64::from(compression.0), 32, 7)
            | field(1, 39, 1)
            | field(u64::from(object_type.0), 48, 8)
            | field(u64::from(level), 56, 5)
            | field(1, 63, 1);
        words[LOGICAL_BIRTH] = birth.0;
        Some(Self { words })
    }

    /// A redacted block pointer (`BP_EMBEDDED_TYPE_REDACTED`) of a block of `lsize` bytes.
    #[must_use]
    pub fn redacted(object_type: ObjectType, lsize: u64, birth: Txg) -> Self {
        let mut words = [0; 16];
        words[PROP] = field(lsize.wrapping_sub(1), 0, 25)
            | field(1, 39, 1)
            | field(2, 40, 8)
            | field(u64::from(object_type.0), 48, 8);
        words[LOGICAL_BIRTH] = birth.0;
        Self { words }
    }
}
