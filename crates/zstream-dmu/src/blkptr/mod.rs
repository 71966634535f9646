//! Block pointers (`blkptr_t`): the location of a block, its stored form and its checksum.
//!
//! A block pointer is sixteen 64-bit words, 128 bytes, in the byte order of the block that contains it. The words are
//! kept as numbers here, so that parsing and encoding in the same byte order preserves all bytes. Parsing cannot
//! fail; [`BlockPointer::validate`] checks the rules.
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
//! If `X` is set on an encrypted data block, words 4 and 5 have the salt and the first eight bytes of the IV in place
//! of a third address. A hole does not have a first address, and is not embedded.
//!
//! A block has three births, two of which are stored:
//!
//! | | transaction group in which | used for |
//! | --- | --- | --- |
//! | [logical](BlockPointer::logical_birth) | its content changed | increments, redaction |
//! | [physical](BlockPointer::physical_birth) | it was written at its location; earlier for deduplicated or cloned blocks, later for moved or rewritten ones | gang headers, raidz widths, comparison of the locations of two pointers |
//! | [allocation](BlockPointer::birth) | it was allocated for this dataset: physical if it was rewritten (`R`), otherwise logical | snapshots that share it: scrubs, deadlists, freeing |

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

/// The size of a block pointer in bytes.
pub const BLOCK_POINTER_BYTES: usize = 128;

/// The size of a sector (`SPA_MINBLOCKSIZE`), the unit of sizes and offsets in block pointers.
pub const SECTOR_BYTES: u64 = 512;

/// The maximum size of a block in bytes (`SPA_MAXBLOCKSIZE`).
pub const BLOCK_BYTES_MAX: u64 = zstream_format::record::MAX_BLOCK_BYTES;

/// The maximum payload of an embedded block pointer in bytes (`BPE_PAYLOAD_SIZE`).
pub const EMBEDDED_PAYLOAD_MAX: usize = 112;

/// The number of addresses in a block pointer (`SPA_DVAS_PER_BP`).
pub const DVAS_PER_BLOCK_POINTER: usize = 3;

/// The word with the sizes and the other properties.
pub(crate) const PROP: usize = 6;
const PROP_2: usize = 7;
/// The bit `R` of word 7.
const REWRITTEN: u64 = 1 << 63;
const PHYSICAL_BIRTH: usize = 9;
const LOGICAL_BIRTH: usize = 10;
const FILL: usize = 11;
const CHECKSUM: usize = 12;

/// The words of an embedded block pointer with payload, in order.
const PAYLOAD_WORDS: [usize; 14] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15];

/// The kind of a block pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A hole, which is read as zeros.
    Hole,
    /// The content is in the block pointer itself.
    Embedded,
    /// The content was removed from a redacted stream and cannot be read.
    Redacted,
    /// An embedded type that no version defines.
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

    /// Parses a block pointer stored in `order`.
    #[must_use]
    pub fn parse(bytes: &[u8; BLOCK_POINTER_BYTES], order: ByteOrder) -> Self {
        Self::get(bytes, order)
    }

    /// Parses the block pointer at byte `offset` of `block`. Returns `None` if it exceeds the block.
    #[must_use]
    pub fn parse_at(block: &[u8], offset: usize, order: ByteOrder) -> Option<Self> {
        let bytes = block.get(offset..)?.first_chunk()?;
        Some(Self::parse(bytes, order))
    }

    /// Creates a block pointer from its words.
    #[must_use]
    pub fn from_words(words: [u64; 16]) -> Self {
        Self { words }
    }

    /// Returns the sixteen words.
    #[must_use]
    pub fn words(&self) -> &[u64; 16] {
        &self.words
    }

    /// Encodes the block pointer in `order`.
    #[must_use]
    pub fn encode(&self, order: ByteOrder) -> [u8; BLOCK_POINTER_BYTES] {
        let mut bytes = [0; BLOCK_POINTER_BYTES];
        self.put(&mut bytes, order);
        bytes
    }

    /// Returns the kind of the block pointer.
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

    /// Returns `true` if this is a hole, with or without a birth.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.kind() == BlockKind::Hole
    }

    /// Returns `true` if the content is embedded in the block pointer.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.kind() == BlockKind::Embedded
    }

    /// Returns `true` if the content was redacted.
    #[must_use]
    pub fn is_redacted(&self) -> bool {
        self.kind() == BlockKind::Redacted
    }

    /// Returns `true` if the block is a gang block (`BP_IS_GANG`).
    #[must_use]
    pub fn is_gang(&self) -> bool {
        self.kind() == BlockKind::Normal && self.dva(0).is_gang()
    }

    /// Returns the address with index `n`. In an encrypted block the third one is not an address; see
    /// [`BlockPointer::dvas`].
    ///
    /// # Panics
    ///
    /// Panics if `n` is not below [`DVAS_PER_BLOCK_POINTER`].
    #[must_use]
    pub fn dva(&self, n: usize) -> Dva {
        assert!(n < DVAS_PER_BLOCK_POINTER, "a block pointer has three addresses");
        Dva::from_words([self.words[2 * n], self.words[2 * n + 1]])
    }

    /// Returns the valid addresses of the block, in order: none for holes, embedded and redacted blocks, at most two
    /// for encrypted blocks.
    pub fn dvas(&self) -> impl Iterator<Item = Dva> + use<> {
        let bp = *self;
        let places = match (bp.kind(), bp.crypt_kind()) {
            (BlockKind::Normal, CryptKind::Encrypted) => 2,
            (BlockKind::Normal, _) => DVAS_PER_BLOCK_POINTER,
            _ => 0,
        };
        (0..places).map(move |n| bp.dva(n)).filter(|dva| dva.is_valid())
    }

    /// Returns the logical size in bytes. For a hole it is the size of the freed block; for a hole that was never
    /// written it is 512, and the block size of the object applies.
    #[must_use]
    pub fn lsize(&self) -> u64 {
        if self.prop(39, 1) != 0 { self.prop(0, 25) + 1 } else { (self.prop(0, 16) + 1) * SECTOR_BYTES }
    }

    /// Returns the stored size in bytes, or 0 if nothing is stored outside of the block pointer.
    #[must_use]
    pub fn psize(&self) -> u64 {
        if self.kind() == BlockKind::Normal { (self.prop(16, 16) + 1) * SECTOR_BYTES } else { 0 }
    }

    /// Returns the uncompressed size in the sums of deadlists (`BP_GET_UCSIZE`): the logical size of data, but the
    /// stored size of metadata, whose compression the user does not choose.
    #[must_use]
    pub fn uncompressed_bytes(&self) -> u64 {
        if self.level() > 0 || self.object_type().is_metadata() { self.psize() } else { self.lsize() }
    }

    /// Returns the allocated size of all copies in bytes.
    #[must_use]
    pub fn asize(&self) -> u64 {
        self.dvas().map(Dva::asize).sum()
    }

    /// Returns the compression.
    #[must_use]
    pub fn compression(&self) -> CompressionType {
        CompressionType(self.prop(32, 7) as u8)
    }

    /// Returns the checksum function; [`ChecksumType::OFF`] for embedded and redacted block pointers, which do not
    /// have a checksum.
    #[must_use]
    pub fn checksum_type(&self) -> ChecksumType {
        if self.prop(39, 1) != 0 { ChecksumType::OFF } else { ChecksumType(self.prop(40, 8) as u8) }
    }

    /// Returns the DMU object type.
    #[must_use]
    pub fn object_type(&self) -> ObjectType {
        ObjectType(self.prop(48, 8) as u32)
    }

    /// Returns the level in the block tree: 0 for data.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.prop(56, 5) as u8
    }

    /// Returns `true` if the block is in the deduplication table.
    #[must_use]
    pub fn is_dedup(&self) -> bool {
        self.prop(39, 1) == 0 && self.prop(62, 1) != 0
    }

    /// Returns the byte order in which the block was written.
    #[must_use]
    pub fn byte_order(&self) -> ByteOrder {
        if self.prop(63, 1) != 0 { ByteOrder::Little } else { ByteOrder::Big }
    }

    /// Returns the transaction group in which the content of the block changed, which determines the changes for
    /// increments.
    #[must_use]
    pub fn logical_birth(&self) -> Txg {
        Txg(self.words[LOGICAL_BIRTH])
    }

    /// Returns the transaction group in which the block was allocated for its dataset (`BP_GET_BIRTH`): earlier
    /// snapshots do not have it. A block that was rewritten keeps its logical birth, but was allocated at its
    /// physical birth.
    #[must_use]
    pub fn birth(&self) -> Txg {
        if self.is_rewritten() { self.physical_birth() } else { self.logical_birth() }
    }

    /// Returns `true` if the block was rewritten with the same content (`BP_GET_REWRITE`, feature
    /// `physical_rewrite`).
    #[must_use]
    pub fn is_rewritten(&self) -> bool {
        self.prop(39, 1) == 0 && self.words[PROP_2] & REWRITTEN != 0
    }

    /// Returns the transaction group in which the block was written at its location (`BP_GET_BIRTH`), with which gang
    /// headers are verified. Holes and embedded blocks have only a logical birth.
    #[must_use]
    pub fn physical_birth(&self) -> Txg {
        let physical = self.words[PHYSICAL_BIRTH];
        if self.prop(39, 1) == 0 && physical != 0 { Txg(physical) } else { self.logical_birth() }
    }

    /// Returns the fill count: the number of data blocks below, or for the meta dnode of allocated dnodes.
    #[must_use]
    pub fn fill(&self) -> u64 {
        match self.kind() {
            BlockKind::Hole => 0,
            BlockKind::Normal if self.crypt_kind() == CryptKind::Encrypted => bits(self.words[FILL], 0, 32),
            BlockKind::Normal => self.words[FILL],
            _ => 1,
        }
    }

    /// Returns the four words of the checksum as stored. With encryption the last two are the MAC.
    #[must_use]
    pub fn checksum(&self) -> [u64; 4] {
        [self.words[12], self.words[13], self.words[14], self.words[15]]
    }

    /// Returns the payload of an embedded block pointer, still compressed. Returns `None` for all other forms and for
    /// an invalid payload size.
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

    /// Returns the size of the payload of an embedded block pointer in bytes, or 0 for all other forms.
    #[must_use]
    pub fn embedded_psize(&self) -> u64 {
        if self.is_embedded() { self.prop(25, 7) + 1 } else { 0 }
    }

    fn prop(&self, low: u32, width: u32) -> u64 {
        bits(self.words[PROP], low, width)
    }
}

/// Block pointers are fields of declared structures.
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
