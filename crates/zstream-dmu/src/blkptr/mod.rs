//! Block pointers (`blkptr_t`): where a block lies, how it is stored and what proves it.
//!
//! A block pointer is 128 bytes, sixteen 64-bit words. It lies in the byte order of the block that
//! holds it; the words are kept here as numbers, so that parsing in an order and encoding in the same
//! one gives the same bytes whatever they say. Parsing cannot fail: [`BlockPointer::validate`] holds
//! the rules.
//!
//! ```text
//!  word   normal                                        embedded (E = 1)
//!  0,2,4  DVA n: pad:8 vdev:24 pad:8 asize:24 sectors   payload
//!  1,3,5  DVA n: gang:1 offset:63 sectors               payload
//!  6      B:1 D:1 X:1 level:5 type:8 checksum:8 E:1     B:1 0 0 level:5 type:8 etype:8 E:1
//!         compression:7 psize-1:16 lsize-1:16 sectors   compression:7 psize-1:7 lsize-1:25 bytes
//!  7      R:1 padding                                   payload
//!  8      padding                                       payload
//!  9      physical birth (0: as logical)                payload
//!  10     logical birth                                 logical birth
//!  11     fill count (encrypted: high half is IV)       payload
//!  12-15  checksum (X: words 14 and 15 are the MAC)     payload
//! ```
//!
//! With `X` set on an encrypted data block words 4 and 5 hold the salt and the first eight bytes of
//! the IV in place of a third address. A hole has no first address and is not embedded.
//!
//! A block has three births, of which two are stored:
//!
//! | | when | what goes by it |
//! | --- | --- | --- |
//! | [logical](BlockPointer::logical_birth) | its content changed | increments, redaction |
//! | [physical](BlockPointer::physical_birth) | it was written where it lies; older for blocks that are deduplicated or cloned, younger for those that were moved or rewritten | gang headers, raidz widths, whether two pointers are to the same place |
//! | [allocation](BlockPointer::birth) | it became this dataset's: physical if it was rewritten (`R`), or else logical | which snapshots have it: scrubs, deadlists, what is freed |

mod build;
mod crypt;
mod display;
mod dva;
mod validate;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::wire::Field;

use crate::ids::Txg;

pub use self::build::NormalBlock;
pub use self::crypt::CryptKind;
pub use self::dva::Dva;
pub use self::validate::BlockPointerFault;

/// Size of a block pointer in bytes.
pub const BLOCK_POINTER_BYTES: usize = 128;

/// Size of a sector (`SPA_MINBLOCKSIZE`), the unit of sizes and offsets in block pointers.
pub const SECTOR_BYTES: u64 = 512;

/// Size of the largest block (`SPA_MAXBLOCKSIZE`), in bytes.
pub const BLOCK_BYTES_MAX: u64 = zstream_format::record::MAX_BLOCK_BYTES;

/// The most payload that fits in an embedded block pointer, in bytes (`BPE_PAYLOAD_SIZE`).
pub const EMBEDDED_PAYLOAD_MAX: usize = 112;

/// Addresses in a block pointer (`SPA_DVAS_PER_BP`).
pub const DVAS_PER_BLOCK_POINTER: usize = 3;

const PROP: usize = 6;
const PROP_2: usize = 7;
const PHYSICAL_BIRTH: usize = 9;
const LOGICAL_BIRTH: usize = 10;
const FILL: usize = 11;
const CHECKSUM: usize = 12;

/// The words of an embedded block pointer that carry payload, in order.
const PAYLOAD_WORDS: [usize; 14] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15];

/// What a block pointer points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Nothing: the block reads as zeros.
    Hole,
    /// The content lies in the block pointer itself.
    Embedded,
    /// The content was left out of a redacted stream; it cannot be read.
    Redacted,
    /// An embedded block pointer of a kind that no version defines.
    UnknownEmbedded(u8),
    /// A block on a vdev.
    Normal,
}

/// A block pointer (`blkptr_t`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BlockPointer {
    words: [u64; 16],
}

impl BlockPointer {
    /// The block pointer of a block that was never written: all zero.
    pub const EMPTY: Self = Self { words: [0; 16] };

    /// Reads a block pointer stored in `order`.
    #[must_use]
    pub fn parse(bytes: &[u8; BLOCK_POINTER_BYTES], order: ByteOrder) -> Self {
        Self::get(bytes, order)
    }

    /// Reads the block pointer at byte `offset` of `block`, or `None` when the block ends before it does.
    #[must_use]
    pub fn parse_at(block: &[u8], offset: usize, order: ByteOrder) -> Option<Self> {
        let bytes = block.get(offset..)?.first_chunk()?;
        Some(Self::parse(bytes, order))
    }

    /// The block pointer in these words.
    #[must_use]
    pub fn from_words(words: [u64; 16]) -> Self {
        Self { words }
    }

    /// The sixteen words.
    #[must_use]
    pub fn words(&self) -> &[u64; 16] {
        &self.words
    }

    /// The 128 bytes in `order`.
    #[must_use]
    pub fn encode(&self, order: ByteOrder) -> [u8; BLOCK_POINTER_BYTES] {
        let mut bytes = [0; BLOCK_POINTER_BYTES];
        self.put(&mut bytes, order);
        bytes
    }

    /// What the block pointer points at.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        if self.prop(39, 1) != 0 {
            match self.prop(40, 8) as u8 {
                0 => BlockKind::Embedded,
                2 => BlockKind::Redacted,
                other => BlockKind::UnknownEmbedded(other),
            }
        } else if self.words[0] == 0 && self.words[1] == 0 {
            BlockKind::Hole
        } else {
            BlockKind::Normal
        }
    }

    /// Whether this is a hole, with or without a birth.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.kind() == BlockKind::Hole
    }

    /// Whether the content lies in the block pointer.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.kind() == BlockKind::Embedded
    }

    /// Whether the content was redacted.
    #[must_use]
    pub fn is_redacted(&self) -> bool {
        self.kind() == BlockKind::Redacted
    }

    /// Whether the block is in pieces behind a gang header (`BP_IS_GANG`).
    #[must_use]
    pub fn is_gang(&self) -> bool {
        self.kind() == BlockKind::Normal && self.dva(0).is_gang()
    }

    /// The address in place `n`. On an encrypted block the third place holds no address; see
    /// [`BlockPointer::dvas`] for the addresses alone.
    ///
    /// # Panics
    ///
    /// When `n` is not below [`DVAS_PER_BLOCK_POINTER`].
    #[must_use]
    pub fn dva(&self, n: usize) -> Dva {
        assert!(n < DVAS_PER_BLOCK_POINTER, "a block pointer has three addresses");
        Dva::from_words([self.words[2 * n], self.words[2 * n + 1]])
    }

    /// The valid addresses of the block, in order: none for holes, embedded and redacted blocks, at most
    /// two for encrypted ones.
    pub fn dvas(&self) -> impl Iterator<Item = Dva> + use<> {
        let bp = *self;
        let places = match (bp.kind(), bp.crypt_kind()) {
            (BlockKind::Normal, CryptKind::Encrypted) => 2,
            (BlockKind::Normal, _) => DVAS_PER_BLOCK_POINTER,
            _ => 0,
        };
        (0..places).map(move |n| bp.dva(n)).filter(|dva| dva.is_valid())
    }

    /// Logical size in bytes. For a hole it is that of the freed block; a hole that was never written
    /// says 512, and the object's block size counts.
    #[must_use]
    pub fn lsize(&self) -> u64 {
        if self.prop(39, 1) != 0 { self.prop(0, 25) + 1 } else { (self.prop(0, 16) + 1) * SECTOR_BYTES }
    }

    /// Stored size in bytes, 0 when nothing is stored outside of the block pointer.
    #[must_use]
    pub fn psize(&self) -> u64 {
        if self.kind() == BlockKind::Normal { (self.prop(16, 16) + 1) * SECTOR_BYTES } else { 0 }
    }

    /// What the block counts for before compression in the sums of deadlists (`BP_GET_UCSIZE`): the
    /// logical size of data, the stored size of metadata, whose compression is not the user's choice.
    #[must_use]
    pub fn uncompressed_bytes(&self) -> u64 {
        if self.level() > 0 || self.object_type().is_metadata() { self.psize() } else { self.lsize() }
    }

    /// Allocated bytes of all copies.
    #[must_use]
    pub fn asize(&self) -> u64 {
        self.dvas().map(Dva::asize).sum()
    }

    /// How the content is compressed.
    #[must_use]
    pub fn compression(&self) -> CompressionType {
        CompressionType(self.prop(32, 7) as u8)
    }

    /// How the stored bytes are summed. Embedded and redacted block pointers have no checksum:
    /// [`ChecksumType::OFF`].
    #[must_use]
    pub fn checksum_type(&self) -> ChecksumType {
        if self.prop(39, 1) != 0 { ChecksumType::OFF } else { ChecksumType(self.prop(40, 8) as u8) }
    }

    /// The DMU object type.
    #[must_use]
    pub fn object_type(&self) -> ObjectType {
        ObjectType(self.prop(48, 8) as u32)
    }

    /// Level in the object's tree: 0 is data.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.prop(56, 5) as u8
    }

    /// Whether the block is in the dedup table.
    #[must_use]
    pub fn is_dedup(&self) -> bool {
        self.prop(39, 1) == 0 && self.prop(62, 1) != 0
    }

    /// The byte order in which the block was written.
    #[must_use]
    pub fn byte_order(&self) -> ByteOrder {
        if self.prop(63, 1) != 0 { ByteOrder::Little } else { ByteOrder::Big }
    }

    /// Transaction group in which the content of the block changed: changes for its readers are found by it.
    #[must_use]
    pub fn logical_birth(&self) -> Txg {
        Txg(self.words[LOGICAL_BIRTH])
    }

    /// Transaction group in which the block was allocated for its dataset (`BP_GET_BIRTH`): what the snapshots before it do not
    /// have. A block that was rewritten keeps its logical birth, but was allocated in its physical one.
    #[must_use]
    pub fn birth(&self) -> Txg {
        if self.is_rewritten() { self.physical_birth() } else { self.logical_birth() }
    }

    /// Whether the block was written again with the same content (`BP_GET_REWRITE`, feature `physical_rewrite`).
    #[must_use]
    pub fn is_rewritten(&self) -> bool {
        self.prop(39, 1) == 0 && self.words[PROP_2] >> 63 != 0
    }

    /// Transaction group in which the block was written to where it lies (`BP_GET_BIRTH`): gang headers
    /// are verified with it. Holes and embedded blocks have only the logical one.
    #[must_use]
    pub fn physical_birth(&self) -> Txg {
        let physical = self.words[PHYSICAL_BIRTH];
        if self.prop(39, 1) == 0 && physical != 0 { Txg(physical) } else { self.logical_birth() }
    }

    /// Fill count: data blocks below, allocated dnodes below for the meta-dnode.
    #[must_use]
    pub fn fill(&self) -> u64 {
        match self.kind() {
            BlockKind::Hole => 0,
            BlockKind::Normal if self.crypt_kind() == CryptKind::Encrypted => bits(self.words[FILL], 0, 32),
            BlockKind::Normal => self.words[FILL],
            _ => 1,
        }
    }

    /// The four checksum words as stored. With encryption the last two hold the MAC.
    #[must_use]
    pub fn checksum(&self) -> [u64; 4] {
        [self.words[12], self.words[13], self.words[14], self.words[15]]
    }

    /// The payload of an embedded block pointer, still compressed, or `None` for every other form and
    /// for a payload size that cannot be.
    #[must_use]
    pub fn embedded_payload(&self) -> Option<Vec<u8>> {
        let psize = self.prop(25, 7) as usize + 1;
        if !self.is_embedded() || psize > EMBEDDED_PAYLOAD_MAX {
            return None;
        }
        let mut payload: Vec<u8> = PAYLOAD_WORDS.iter().flat_map(|&n| self.words[n].to_le_bytes()).collect();
        payload.truncate(psize);
        Some(payload)
    }

    /// Size of the payload of an embedded block pointer, in bytes; 0 for every other form.
    #[must_use]
    pub fn embedded_psize(&self) -> u64 {
        if self.is_embedded() { self.prop(25, 7) + 1 } else { 0 }
    }

    fn prop(&self, low: u32, width: u32) -> u64 {
        bits(self.words[PROP], low, width)
    }
}

/// A part of a declared structure.
impl Field for BlockPointer {
    const SIZE: usize = BLOCK_POINTER_BYTES;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        Self { words: Field::get(bytes, order) }
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        self.words.put(bytes, order);
    }

    fn swap(bytes: &mut [u8]) {
        <[u64; 16]>::swap(bytes);
    }
}

fn bits(word: u64, low: u32, width: u32) -> u64 {
    (word >> low) & ((1 << width) - 1)
}

fn field(value: u64, low: u32, width: u32) -> u64 {
    (value & ((1 << width) - 1)) << low
}

#[cfg(test)]
mod tests;
