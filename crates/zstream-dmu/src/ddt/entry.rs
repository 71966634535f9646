//! Entries of deduplication tables: keys and variants, and their encoding in ZAPs and logs.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::compress::{compress_into, decompress};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::structure;
use zstream_format::wire::Field;

use crate::blkptr::{BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, NormalBlock, PROP, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;

/// The bit of the first byte of a stored entry that is set if its integers are little-endian.
const LITTLE_ENDIAN: u8 = 0x80;

/// The number of variants of a legacy entry (`DDT_PHYS_MAX`).
const VARIANTS: usize = 4;

/// The variant of legacy entries that had additional copies for many references. It is no longer written.
const DITTO: usize = 0;

/// The key of an entry: the checksum of a block, and its sizes, compression and encryption (`ddt_key_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key(pub(super) [u64; 5]);

impl Field for Key {
    const SIZE: usize = 40;

    fn get(bytes: &[u8], order: ByteOrder) -> Self {
        Self(Field::get(bytes, order))
    }

    fn put(self, bytes: &mut [u8], order: ByteOrder) {
        self.0.put(bytes, order);
    }

    fn swap(bytes: &mut [u8]) {
        <[u64; 5]>::swap(bytes);
    }
}

impl Key {
    /// The first key in order.
    pub(crate) const MIN: Self = Self([0; 5]);
    /// The last key in order.
    pub(crate) const MAX: Self = Self([u64::MAX; 5]);
    /// Its size in bytes.
    pub(super) const BYTES: usize = <Self as Field>::SIZE;

    /// Parses a little-endian key, which `bytes` start with.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self::get(bytes, ByteOrder::Little)
    }

    /// Returns the key of a block.
    #[must_use]
    pub fn of(block: &BlockPointer) -> Self {
        let [a, b, c, d] = block.checksum();
        // Sizes and compression are at the same positions in a block pointer.
        let sizes = block.words()[PROP] & ((1 << 39) - 1);
        Self([a, b, c, d, sizes | u64::from(block.uses_crypt()) << 39])
    }

    /// The words of the key.
    pub(crate) fn words(&self) -> &[u64; 5] {
        &self.0
    }

    /// The logical size of the block in bytes.
    #[must_use]
    pub fn lsize(self) -> u64 {
        ((self.0[4] & 0xffff) + 1) * SECTOR_BYTES
    }

    /// The stored size of the block in bytes.
    #[must_use]
    pub fn psize(self) -> u64 {
        ((self.0[4] >> 16 & 0xffff) + 1) * SECTOR_BYTES
    }

    /// Returns whether the block is encrypted.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        self.0[4] >> 39 & 1 != 0
    }

    fn compression(self) -> CompressionType {
        CompressionType((self.0[4] >> 32 & 0x7f) as u8)
    }
}

structure! {
    /// A block with the content of an entry (an element of `ddp_trad`).
    pub Variant[64] {
        /// The addresses of the copies. The third one of an encrypted block is a part of its IV.
        dvas: [Dva; DVAS_PER_BLOCK_POINTER],
        /// The number of references.
        references: u64,
        /// The transaction group in which the block was written; 0 if there is no block.
        birth: Txg,
    }

    /// An entry with four variants (`ddp_trad`).
    LegacyEntry[256] {
        variants: [Variant; VARIANTS],
    }

    /// An entry with one variant (`ddp_flat`).
    FlatEntry[72] {
        variant: Variant,
        class_start: u64,
    }
}

impl Variant {
    /// Returns whether there is a block.
    #[must_use]
    pub(crate) fn is_used(&self) -> bool {
        self.birth.0 != 0
    }

    /// Returns whether the variant is the block of this pointer (`ddt_phys_select`).
    fn is_block(&self, block: &BlockPointer) -> bool {
        self.is_used() && self.dvas[0] == block.dva(0) && self.birth == block.physical_birth()
    }

    /// The addresses of the copies of the block of `key`.
    pub fn copies(&self, key: Key) -> impl Iterator<Item = Dva> + '_ {
        let room = if key.is_encrypted() { DVAS_PER_BLOCK_POINTER - 1 } else { DVAS_PER_BLOCK_POINTER };
        self.dvas[..room].iter().copied().filter(|dva| dva.is_valid())
    }

    /// Returns a pointer to the block that is not in the table (`ddt_bp_create`, `ddt_phys_free`). It has not all that
    /// is required to decrypt the block.
    #[must_use]
    pub(crate) fn pointer(&self, checksum: ChecksumType, key: Key) -> BlockPointer {
        let [a, b, c, d, _] = key.0;
        BlockPointer::normal(&NormalBlock {
            dvas: self.dvas,
            lsize: key.lsize(),
            psize: key.psize(),
            compression: key.compression(),
            checksum_type: checksum,
            object_type: ObjectType::DEDUP,
            level: 0,
            dedup: false,
            uses_crypt: key.is_encrypted(),
            byte_order: ByteOrder::Little,
            logical_birth: self.birth,
            physical_birth: Txg(0),
            fill: 1,
            checksum: [a, b, c, d],
        })
    }
}

/// The value of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    variants: [Variant; VARIANTS],
    /// The time in seconds since 1970 at which the entry was changed, in a flat entry.
    class_start: Option<u64>,
}

impl Entry {
    /// Returns an entry without blocks.
    #[must_use]
    pub(crate) fn new(is_flat: bool) -> Self {
        Self { variants: [Variant::default(); VARIANTS], class_start: is_flat.then_some(0) }
    }

    /// Parses an entry in its form without compression.
    pub(super) fn parse(bytes: &[u8], is_flat: bool, order: ByteOrder) -> Option<Self> {
        if is_flat {
            let flat = FlatEntry::read(bytes, order)?;
            let mut variants = [Variant::default(); VARIANTS];
            variants[0] = flat.variant;
            Some(Self { variants, class_start: Some(flat.class_start) })
        } else {
            Some(Self { variants: LegacyEntry::read(bytes, order)?.variants, class_start: None })
        }
    }

    /// The size of an entry in its form without compression.
    pub(super) fn bytes(is_flat: bool) -> usize {
        if is_flat { FlatEntry::LEN } else { LegacyEntry::LEN }
    }

    fn encode(&self) -> Vec<u8> {
        match self.class_start {
            Some(class_start) => {
                FlatEntry { variant: self.variants[0], class_start }.to_bytes(ByteOrder::Little).to_vec()
            }
            None => LegacyEntry { variants: self.variants }.to_bytes(ByteOrder::Little).to_vec(),
        }
    }

    /// Decodes the value in a ZAP: a byte with compression and byte order, and the content
    /// (`ddt_zap_decompress`).
    ///
    /// # Errors
    ///
    /// Fails if the content does not have the size of an entry.
    pub(super) fn decode(stored: &[u8], is_flat: bool) -> Result<Self> {
        let bad = |detail: String| Error::corrupt("deduplication table entry", detail);
        let Some((&form, content)) = stored.split_first() else { return Err(bad("is empty".to_owned())) };
        let mut bytes = vec![0; Self::bytes(is_flat)];
        match CompressionType(form & !LITTLE_ENDIAN) {
            CompressionType::ZLE => {
                decompress(CompressionType::ZLE, content, &mut bytes)
                    .map_err(|error| bad(error.to_string()))?;
            }
            CompressionType::OFF if content.len() == bytes.len() => bytes.copy_from_slice(content),
            CompressionType::OFF => {
                return Err(bad(format!("is {} bytes, expected {}", content.len(), bytes.len())));
            }
            other => return Err(bad(format!("has compression {other}"))),
        }
        let order = if form & LITTLE_ENDIAN == 0 { ByteOrder::Big } else { ByteOrder::Little };
        Self::parse(&bytes, is_flat, order).ok_or_else(|| bad("is too short".to_owned()))
    }

    /// Encodes the value for a ZAP (`ddt_zap_compress`).
    ///
    /// # Errors
    ///
    /// Fails only if compression fails.
    pub(crate) fn stored(&self) -> Result<Vec<u8>> {
        let bytes = self.encode();
        let mut stored = vec![0; 1 + bytes.len()];
        let made =
            compress_into(CompressionType::ZLE, None, &bytes, &mut stored[1..]).map_err(Fault::from)?;
        match made {
            Some(made) if made != bytes.len() => {
                stored[0] = CompressionType::ZLE.0 | LITTLE_ENDIAN;
                stored.truncate(1 + made);
            }
            _ => {
                stored[0] = CompressionType::OFF.0 | LITTLE_ENDIAN;
                stored[1..].copy_from_slice(&bytes);
            }
        }
        Ok(stored)
    }

    /// The blocks with the content, each with the number of its references.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| variant.is_used())
    }

    /// The number of references that determines the class of the entry (`ddt_phys_total_refcnt`).
    #[must_use]
    pub fn references(&self) -> u64 {
        let first = if self.class_start.is_some() { 0 } else { DITTO + 1 };
        self.variants[first..].iter().map(|variant| variant.references).fold(0, u64::saturating_add)
    }

    /// Returns the time in seconds since 1970 since which a flat entry has one reference; `None` if it has several.
    #[must_use]
    pub fn unique_since(&self) -> Option<u64> {
        self.class_start.filter(|_| self.references() == 1)
    }

    /// Sets the time of the change, if the entry has it.
    pub(crate) fn set_time(&mut self, now: u64) {
        self.class_start = self.class_start.map(|_| now);
    }

    /// Drops a reference to a block. Returns `false` if the block is not of this entry.
    ///
    /// # Errors
    ///
    /// Fails if there are no references.
    pub(super) fn drop_reference(&mut self, block: &BlockPointer) -> Result<bool> {
        let Some(variant) = self.variants.iter_mut().find(|variant| variant.is_block(block)) else {
            return Ok(false);
        };
        variant.references = variant.references.checked_sub(1).ok_or_else(|| {
            Error::corrupt(
                "deduplication table entry",
                format!("block {} has more references than its entry counts", block.dva(0)),
            )
        })?;
        Ok(true)
    }

    /// Returns the block for pointers to this number of copies.
    pub(super) fn for_copies(&self, copies: u8) -> &Variant {
        let n = if self.class_start.is_some() { 0 } else { usize::from(copies) };
        &self.variants[n]
    }

    /// Adds a new block with one reference. Returns `false` if there is already one for this number of copies.
    pub(super) fn enter(&mut self, block: &BlockPointer, copies: u8) -> bool {
        let n = if self.class_start.is_some() { 0 } else { usize::from(copies) };
        if self.variants[n].is_used() {
            return false;
        }
        let dvas = std::array::from_fn(|n| block.dva(n));
        self.variants[n] = Variant { dvas, references: 1, birth: block.physical_birth() };
        true
    }

    /// Adds a reference to a block. Returns `false` if the block is not of this entry.
    pub(super) fn add_reference(&mut self, block: &BlockPointer) -> bool {
        let variant = self.variants.iter_mut().find(|variant| variant.is_block(block));
        variant.map(|variant| variant.references += 1).is_some()
    }

    /// Removes and returns the blocks without references, and those of the obsolete variant.
    pub(crate) fn take_unused(&mut self) -> Vec<Variant> {
        let is_flat = self.class_start.is_some();
        let mut unused = Vec::new();
        for (n, variant) in self.variants.iter_mut().enumerate() {
            if variant.is_used() && (variant.references == 0 || (n == DITTO && !is_flat)) {
                unused.push(std::mem::take(variant));
            }
        }
        unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { Variant, LegacyEntry, FlatEntry }
}
