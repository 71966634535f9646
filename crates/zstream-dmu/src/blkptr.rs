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
//!  7,8    padding                                       payload
//!  9      physical birth (0: as logical)                payload
//!  10     logical birth                                 logical birth
//!  11     fill count (encrypted: high half is IV)       payload
//!  12-15  checksum (X: words 14 and 15 are the MAC)     payload
//! ```
//!
//! With `X` set on an encrypted data block words 4 and 5 hold the salt and the first eight bytes of
//! the IV in place of a third address. A hole has no first address and is not embedded.

use std::fmt;

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use crate::ids::Txg;

/// Size of a block pointer in bytes.
pub const BLOCK_POINTER_BYTES: usize = 128;

/// Size of a sector (`SPA_MINBLOCKSIZE`), the unit of sizes and offsets in block pointers.
pub const SECTOR_BYTES: u64 = 512;

/// Size of the largest block (`SPA_MAXBLOCKSIZE`), in bytes.
pub const BLOCK_BYTES_MAX: u64 = 16 << 20;

/// The most payload that fits in an embedded block pointer, in bytes (`BPE_PAYLOAD_SIZE`).
pub const EMBEDDED_PAYLOAD_MAX: usize = 112;

/// Addresses in a block pointer (`SPA_DVAS_PER_BP`).
pub const DVAS_PER_BLOCK_POINTER: usize = 3;

const PROP: usize = 6;
const PHYSICAL_BIRTH: usize = 9;
const LOGICAL_BIRTH: usize = 10;
const FILL: usize = 11;
const CHECKSUM: usize = 12;

/// The words of an embedded block pointer that carry payload, in order.
const PAYLOAD_WORDS: [usize; 14] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15];

/// The address of one copy of a block (`dva_t`): a range of a top-level vdev.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Dva {
    words: [u64; 2],
}

impl Dva {
    /// The address of `asize` bytes at byte `offset` of the top-level vdev `vdev`.
    ///
    /// `offset` and `asize` are multiples of the sector size; what does not fit in the fields is cut off.
    #[must_use]
    pub fn new(vdev: u32, offset: u64, asize: u64, gang: bool) -> Self {
        Self {
            words: [
                field(u64::from(vdev), 32, 24) | field(asize / SECTOR_BYTES, 0, 24),
                field(u64::from(gang), 63, 1) | (offset / SECTOR_BYTES),
            ],
        }
    }

    /// The address in these two words.
    #[must_use]
    pub fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// The two words as stored.
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        self.words
    }

    /// Whether this is an address at all: unused ones have no allocated size (`DVA_IS_VALID`).
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.asize() != 0
    }

    /// Whether both words are zero (`DVA_IS_EMPTY`).
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.words == [0, 0]
    }

    /// Index of the top-level vdev.
    #[must_use]
    pub fn vdev(self) -> u32 {
        bits(self.words[0], 32, 24) as u32
    }

    /// Offset in the top-level vdev's allocatable space, in bytes. On a plain disk the space starts
    /// 4 MiB after the device does.
    #[must_use]
    pub fn offset(self) -> u64 {
        bits(self.words[1], 0, 63).wrapping_mul(SECTOR_BYTES)
    }

    /// Offset in sectors, as stored: offsets of 2^55 sectors and more do not fit in [`Dva::offset`].
    #[must_use]
    pub fn offset_sectors(self) -> u64 {
        bits(self.words[1], 0, 63)
    }

    /// Allocated size in bytes, with raidz parity and, on a gang block, with its members.
    #[must_use]
    pub fn asize(self) -> u64 {
        bits(self.words[0], 0, 24) * SECTOR_BYTES
    }

    /// Whether the address is that of a gang header instead of the data.
    #[must_use]
    pub fn is_gang(self) -> bool {
        bits(self.words[1], 63, 1) != 0
    }
}

impl fmt::Display for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}:{:x}", self.vdev(), self.offset(), self.asize())
    }
}

impl fmt::Debug for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dva({self}{})", if self.is_gang() { " gang" } else { "" })
    }
}

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

/// How encryption touches the block (`X` bit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptKind {
    /// Not at all.
    Plain,
    /// The content is ciphertext: salt, IV and MAC are in the block pointer.
    Encrypted,
    /// The content is plain and authenticated by a MAC in the block pointer (for an objset block: in
    /// the block).
    Authenticated,
    /// An indirect block: its MAC covers those of its children.
    IndirectMac,
}

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
        let mut words = [0; 16];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = order.u64(bytes);
        }
        Self { words }
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
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.words) {
            order.put_u64(bytes, word);
        }
        bytes
    }

    /// A block pointer to a block on a vdev.
    #[must_use]
    pub fn normal(block: &NormalBlock) -> Self {
        let mut words = [0; 16];
        for (n, dva) in block.dvas.iter().enumerate() {
            words[2 * n..2 * n + 2].copy_from_slice(&dva.words);
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
        Dva { words: [self.words[2 * n], self.words[2 * n + 1]] }
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

    /// Whether the block is encrypted, authenticated or an indirect block over such (`BP_USES_CRYPT`).
    #[must_use]
    pub fn uses_crypt(&self) -> bool {
        self.prop(39, 1) == 0 && self.prop(61, 1) != 0
    }

    /// How encryption touches the block.
    #[must_use]
    pub fn crypt_kind(&self) -> CryptKind {
        if !self.uses_crypt() {
            CryptKind::Plain
        } else if self.level() > 0 {
            CryptKind::IndirectMac
        } else if self.object_type().is_encrypted() {
            CryptKind::Encrypted
        } else {
            CryptKind::Authenticated
        }
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

    /// Transaction group in which the block was born in its dataset: what changes are found by.
    #[must_use]
    pub fn logical_birth(&self) -> Txg {
        Txg(self.words[LOGICAL_BIRTH])
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

    /// The salt from which the block's key is derived; only on encrypted blocks.
    #[must_use]
    pub fn salt(&self) -> Option<[u8; 8]> {
        (self.crypt_kind() == CryptKind::Encrypted).then(|| self.word_bytes(4))
    }

    /// The block's 12-byte IV; only on encrypted blocks.
    #[must_use]
    pub fn iv(&self) -> Option<[u8; 12]> {
        (self.crypt_kind() == CryptKind::Encrypted).then(|| {
            let mut iv = [0; 12];
            iv[..8].copy_from_slice(&self.word_bytes(5));
            self.byte_order().put_u32(&mut iv[8..], (self.words[FILL] >> 32) as u32);
            iv
        })
    }

    /// The 16-byte MAC in the block pointer, where it uses encryption. Objset blocks hold theirs in the
    /// block, so that they have none here.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 16]> {
        (self.uses_crypt() && self.object_type() != ObjectType::OBJSET).then(|| {
            let mut mac = [0; 16];
            mac[..8].copy_from_slice(&self.word_bytes(14));
            mac[8..].copy_from_slice(&self.word_bytes(15));
            mac
        })
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

    /// Holds the rules that need no knowledge of the pool: sizes, compression, checksum and embedded
    /// form must be ones that some version writes (`zfs_blkptr_verify` without its vdev part).
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), BlockPointerFault> {
        let kind = self.kind();
        if let BlockKind::UnknownEmbedded(found) = kind {
            return Err(BlockPointerFault::EmbeddedType { found });
        }
        if kind == BlockKind::Hole {
            return Ok(());
        }
        if !self.compression().is_known() {
            return Err(BlockPointerFault::Compression { found: self.compression().0 });
        }
        if self.lsize() > BLOCK_BYTES_MAX {
            return Err(BlockPointerFault::LogicalSize { found: self.lsize() });
        }
        if kind == BlockKind::Embedded {
            let found = self.embedded_psize();
            if found > EMBEDDED_PAYLOAD_MAX as u64 {
                return Err(BlockPointerFault::PayloadSize { found });
            }
        }
        if kind == BlockKind::Normal {
            if !self.checksum_type().is_known() {
                return Err(BlockPointerFault::Checksum { found: self.checksum_type().0 });
            }
            if self.psize() > BLOCK_BYTES_MAX {
                return Err(BlockPointerFault::StoredSize { found: self.psize() });
            }
            if !self.dva(0).is_valid() {
                return Err(BlockPointerFault::Address);
            }
        }
        Ok(())
    }

    fn prop(&self, low: u32, width: u32) -> u64 {
        bits(self.words[PROP], low, width)
    }

    fn word_bytes(&self, n: usize) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.byte_order().put_u64(&mut bytes, self.words[n]);
        bytes
    }
}

/// Why a block pointer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockPointerFault {
    /// An embedded type that no version defines.
    #[error("block pointer has unknown embedded type {found}")]
    EmbeddedType {
        /// The number found.
        found: u8,
    },
    /// An unknown compression function.
    #[error("block pointer has unknown compression {found}")]
    Compression {
        /// The number found.
        found: u8,
    },
    /// An unknown checksum function.
    #[error("block pointer has unknown checksum {found}")]
    Checksum {
        /// The number found.
        found: u8,
    },
    /// A logical size above the largest block.
    #[error("block pointer has logical size {found}, above the largest block of {BLOCK_BYTES_MAX}")]
    LogicalSize {
        /// The size found, in bytes.
        found: u64,
    },
    /// A stored size above the largest block.
    #[error("block pointer has stored size {found}, above the largest block of {BLOCK_BYTES_MAX}")]
    StoredSize {
        /// The size found, in bytes.
        found: u64,
    },
    /// An embedded payload longer than the block pointer.
    #[error("embedded block pointer has a payload of {found} bytes, at most {EMBEDDED_PAYLOAD_MAX} fit")]
    PayloadSize {
        /// The size found, in bytes.
        found: u64,
    },
    /// A first address without a size.
    #[error("block pointer has no valid first address")]
    Address,
}

/// Printed as zdb does (`snprintf_blkptr`).
impl fmt::Display for BlockPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, kind) = (self.level(), self.object_type().name());
        let birth = self.logical_birth().0;
        match self.kind() {
            BlockKind::Hole if self.words == [0; 16] => f.write_str("<hole>"),
            BlockKind::Hole => {
                write!(f, "HOLE [L{level} {kind}] size={:x}L birth={birth}L", self.lsize())
            }
            BlockKind::Embedded | BlockKind::UnknownEmbedded(_) => write!(
                f,
                "EMBEDDED [L{level} {kind}] et={} {} size={:x}L/{:x}P birth={birth}L",
                self.prop(40, 8),
                self.compression(),
                self.lsize(),
                self.prop(25, 7) + 1,
            ),
            BlockKind::Redacted => {
                write!(f, "REDACTED [L{level} {kind}] size={:x}L birth={birth}L", self.lsize())
            }
            BlockKind::Normal => self.fmt_normal(f),
        }
    }
}

impl BlockPointer {
    fn fmt_normal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, dva) in self.dvas().enumerate() {
            write!(f, "DVA[{n}]=<{dva}> ")?;
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if let (Some(salt), Some(iv)) = (self.salt(), self.iv()) {
            write!(f, "salt={} iv={} ", hex(&salt), hex(&iv))?;
        }
        write!(
            f,
            "[L{} {}] {} {} {} {} {} {} size={:x}L/{:x}P birth={}L/{}P fill={} cksum={:016x}:{:016x}:{:016x}:{:016x}",
            self.level(),
            self.object_type().name(),
            self.checksum_type(),
            if self.compression() == CompressionType::OFF {
                "uncompressed".to_owned()
            } else {
                self.compression().to_string()
            },
            match self.crypt_kind() {
                CryptKind::Plain => "unencrypted",
                CryptKind::Encrypted => "encrypted",
                CryptKind::Authenticated => "authenticated",
                CryptKind::IndirectMac => "indirect-MAC",
            },
            if self.byte_order() == ByteOrder::Little { "LE" } else { "BE" },
            if self.is_gang() { "gang" } else { "contiguous" },
            if self.is_dedup() { "dedup" } else { "unique" },
            self.lsize(),
            self.psize(),
            self.logical_birth(),
            self.physical_birth(),
            self.fill(),
            self.words[12],
            self.words[13],
            self.words[14],
            self.words[15],
        )
    }
}

impl fmt::Debug for BlockPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockPointer({self})")
    }
}

fn bits(word: u64, low: u32, width: u32) -> u64 {
    (word >> low) & ((1 << width) - 1)
}

fn field(value: u64, low: u32, width: u32) -> u64 {
    (value & ((1 << width) - 1)) << low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: ObjectType = ObjectType::PLAIN_FILE_CONTENTS;

    fn sample() -> NormalBlock {
        NormalBlock {
            dvas: [
                Dva::new(1, 0x40_0000, 0x1000, false),
                Dva::new(2, 0x123_4000, 0x2000, true),
                Dva::default(),
            ],
            lsize: 131_072,
            psize: 4096,
            compression: CompressionType::LZ4,
            checksum_type: ChecksumType::FLETCHER_4,
            object_type: FILE,
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: ByteOrder::Little,
            logical_birth: Txg(77),
            physical_birth: Txg(0),
            fill: 1,
            checksum: [1, 2, 3, 4],
        }
    }

    #[test]
    fn fields_of_a_normal_block_come_back() {
        let bp = BlockPointer::normal(&sample());
        assert_eq!(bp.kind(), BlockKind::Normal);
        assert_eq!((bp.lsize(), bp.psize(), bp.asize()), (131_072, 4096, 0x3000));
        assert_eq!(bp.dvas().count(), 2);
        assert_eq!((bp.dva(1).vdev(), bp.dva(1).offset(), bp.dva(1).is_gang()), (2, 0x123_4000, true));
        assert_eq!((bp.logical_birth(), bp.fill(), bp.byte_order()), (Txg(77), 1, ByteOrder::Little));
        assert_eq!(bp.validate(), Ok(()));
        let physical = BlockPointer::normal(&NormalBlock { physical_birth: Txg(80), ..sample() });
        assert_eq!((physical.physical_birth(), physical.logical_birth()), (Txg(80), Txg(77)));
    }

    #[test]
    fn encryption_parameters_take_the_third_address_and_the_upper_fill() {
        let mut words =
            *BlockPointer::normal(&NormalBlock { uses_crypt: true, fill: 0x0403_0201_0000_0005, ..sample() })
                .words();
        words[4] = 0x8877_6655_4433_2211;
        words[5] = 0x0807_0605_0403_0201;
        let bp = BlockPointer::from_words(words);
        assert_eq!(bp.crypt_kind(), CryptKind::Encrypted);
        assert_eq!((bp.dvas().count(), bp.fill()), (2, 5));
        assert_eq!(bp.salt(), Some([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]));
        assert_eq!(bp.iv(), Some([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]));
        assert_eq!(bp.mac(), Some([3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]));
        // A block written by a big-endian machine keeps the same words for the bytes in the other order.
        words[PROP] &= !(1 << 63);
        assert_eq!(
            BlockPointer::from_words(words).salt(),
            Some([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
        );
        // The ZFS master node is authenticated only, an indirect block covers its children.
        let authenticated = BlockPointer::normal(&NormalBlock {
            uses_crypt: true,
            object_type: ObjectType::MASTER_NODE,
            ..sample()
        });
        assert_eq!(authenticated.crypt_kind(), CryptKind::Authenticated);
        let indirect = BlockPointer::normal(&NormalBlock { uses_crypt: true, level: 1, ..sample() });
        assert_eq!(indirect.crypt_kind(), CryptKind::IndirectMac);
        assert_eq!((indirect.salt(), authenticated.iv()), (None, None));
    }

    #[test]
    fn embedded_payload_comes_back_at_every_size() {
        let bytes: Vec<u8> = (1..=112).collect();
        for size in 1..=EMBEDDED_PAYLOAD_MAX {
            let bp =
                BlockPointer::embedded(&bytes[..size], 4096, CompressionType::LZ4, FILE, 0, Txg(9)).unwrap();
            assert_eq!(bp.embedded_payload().as_deref(), Some(&bytes[..size]));
            assert_eq!((bp.kind(), bp.lsize(), bp.psize(), bp.fill()), (BlockKind::Embedded, 4096, 0, 1));
            assert_eq!((bp.logical_birth(), bp.validate(), bp.dvas().count()), (Txg(9), Ok(()), 0));
        }
        assert!(BlockPointer::embedded(&[0; 113], 512, CompressionType::OFF, FILE, 0, Txg(9)).is_none());
        assert!(BlockPointer::embedded(&[], 512, CompressionType::OFF, FILE, 0, Txg(9)).is_none());
    }

    #[test]
    fn holes_and_redacted_blocks_have_no_address() {
        let hole = BlockPointer::hole(FILE, 2, 131_072, Txg(5));
        assert!(hole.is_hole() && BlockPointer::EMPTY.is_hole());
        assert_eq!((hole.level(), hole.lsize(), hole.logical_birth(), hole.fill()), (2, 131_072, Txg(5), 0));
        let redacted = BlockPointer::redacted(FILE, 131_072, Txg(6));
        assert_eq!((redacted.kind(), redacted.lsize(), redacted.psize()), (BlockKind::Redacted, 131_072, 0));
        assert_eq!((redacted.embedded_payload(), redacted.validate()), (None, Ok(())));
    }

    proptest! {
        #[test]
        fn any_words_survive_either_byte_order_and_no_accessor_panics(words: [u64; 16]) {
            let bp = BlockPointer::from_words(words);
            for order in [ByteOrder::Little, ByteOrder::Big] {
                prop_assert_eq!(BlockPointer::parse(&bp.encode(order), order), bp);
            }
            let _ = (bp.validate(), bp.embedded_payload(), bp.to_string(), bp.asize(), bp.mac(), bp.iv());
        }

        #[test]
        fn an_address_keeps_its_parts(vdev in 0_u32..1 << 24, sectors in 0_u64..1 << 54, asize in 0_u64..1 << 24, gang: bool) {
            let dva = Dva::new(vdev, sectors * 512, asize * 512, gang);
            prop_assert_eq!((dva.vdev(), dva.offset(), dva.asize(), dva.is_gang()), (vdev, sectors * 512, asize * 512, gang));
        }
    }
}
