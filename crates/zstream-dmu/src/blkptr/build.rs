//! Creation of block pointers.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::{
    BlockKind, BlockPointer, CHECKSUM, DVAS_PER_BLOCK_POINTER, Dva, EMBEDDED_PAYLOAD_MAX, FILL,
    LOGICAL_BIRTH, PAYLOAD_WORDS, PHYSICAL_BIRTH, PROP, PROP_2, REWRITTEN, SECTOR_BYTES, field,
};
use crate::ids::Txg;

/// The fields of a block pointer to a block on a vdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalBlock {
    /// The addresses of the copies. Unused ones are zero.
    pub dvas: [Dva; DVAS_PER_BLOCK_POINTER],
    /// The logical size in bytes: a multiple of the sector size, 512 to 32 MiB.
    pub lsize: u64,
    /// The stored size in bytes: a multiple of the sector size, 512 to 32 MiB.
    pub psize: u64,
    /// The compression.
    pub compression: CompressionType,
    /// The checksum function.
    pub checksum_type: ChecksumType,
    /// The DMU object type.
    pub object_type: ObjectType,
    /// The level in the block tree, 0 for data.
    pub level: u8,
    /// `true` if the block is in the deduplication table.
    pub dedup: bool,
    /// The `X` bit: `true` for an encrypted or authenticated block, or an indirect block above such blocks.
    pub uses_crypt: bool,
    /// The byte order in which the block was written.
    pub byte_order: ByteOrder,
    /// The transaction group in which the block was born in its dataset.
    pub logical_birth: Txg,
    /// The transaction group in which the block was written, if it differs; otherwise 0.
    pub physical_birth: Txg,
    /// The fill count.
    pub fill: u64,
    /// The words of the checksum.
    pub checksum: [u64; 4],
}

impl BlockPointer {
    /// Creates a block pointer to a block on a vdev.
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

    /// Creates a hole with a birth (feature `hole_birth`): the properties of the freed block, and the time at which
    /// it was freed.
    #[must_use]
    pub fn hole(object_type: ObjectType, level: u8, lsize: u64, birth: Txg) -> Self {
        let mut words = [0; 16];
        words[PROP] = field((lsize / SECTOR_BYTES).wrapping_sub(1), 0, 16)
            | field(u64::from(object_type.0), 48, 8)
            | field(u64::from(level), 56, 5);
        words[LOGICAL_BIRTH] = birth.0;
        Self { words }
    }

    /// Creates a block pointer with an embedded `payload` (`BP_EMBEDDED_TYPE_DATA`): `lsize` bytes compressed with
    /// `compression`, or not compressed.
    ///
    /// Returns `None` if the payload is empty or longer than [`EMBEDDED_PAYLOAD_MAX`], or if `lsize` is 0 or exceeds
    /// 32 MiB.
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

    /// Returns a pointer to a block of a deduplication table, born in `txg` for another place (`ddt_bp_fill`).
    #[must_use]
    pub(crate) fn born_again(&self, txg: Txg) -> Self {
        let mut words = self.words;
        let birth = self.physical_birth();
        words[PHYSICAL_BIRTH] = if birth == txg { 0 } else { birth.0 };
        words[LOGICAL_BIRTH] = txg.0;
        Self { words }
    }

    /// Returns the same pointer to other addresses, which were written in `birth`.
    #[must_use]
    pub(crate) fn moved(&self, dvas: &[Dva; DVAS_PER_BLOCK_POINTER], birth: Txg) -> Self {
        let mut words = self.words;
        for (n, dva) in dvas.iter().enumerate() {
            words[2 * n..2 * n + 2].copy_from_slice(&dva.words());
        }
        words[PHYSICAL_BIRTH] = birth.0;
        Self { words }
    }

    /// Returns the same pointer without the dedup bit.
    #[must_use]
    pub(crate) fn without_dedup(&self) -> Self {
        let mut words = self.words;
        words[PROP] &= !field(1, 62, 1);
        Self { words }
    }

    /// Returns a pointer to the same content, born in `txg` for another place (`dmu_brt_clone`). The block on vdevs, if
    /// there is one, keeps its physical birth.
    #[must_use]
    pub fn cloned(&self, txg: Txg) -> Self {
        let mut words = self.words;
        if self.kind() == BlockKind::Normal {
            words[PHYSICAL_BIRTH] = if self.physical_birth() == txg { 0 } else { self.physical_birth().0 };
            words[PROP_2] &= !REWRITTEN;
        }
        if self.logical_birth().0 != 0 {
            words[LOGICAL_BIRTH] = txg.0;
        }
        Self { words }
    }

    /// Creates a redacted block pointer (`BP_EMBEDDED_TYPE_REDACTED`) of a block of `lsize` bytes.
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
