//! Fat ZAPs: a header, a pointer table by hash, and leaves.
//!
//! [`FatZapHeader`] declares the header. As long as the pointer table has no blocks of its own, it is the second half
//! of the header's block.
//!
//! The table has `2^shift` entries. The upper `shift` bits of a hash are the index of an entry, which is the block
//! number of a leaf. A leaf with a shorter prefix has several adjacent entries. While the table grows, the old one
//! remains complete and in use.

use bitflags::bitflags;
use zstream_format::order::ByteOrder;
use zstream_format::phys::FatZapHeader;

use super::hash;
use super::leaf::Leaf;
use super::unicode::NormFlags;
use super::value::{Entry, Key, wrong_kind};
use crate::block::Block;
use crate::error::{Error, Result};
use crate::ids::{BlockId, ObjectId};
use crate::object_set::{ObjectInfo, ObjectSet};

/// The range of the logarithm of the block size of fat ZAPs.
pub(super) const BLOCK_SHIFT: std::ops::RangeInclusive<u32> = 9..=20;

bitflags! {
    /// Flags of a fat ZAP (`zap_flags_t`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ZapFlags: u64 {
        /// The hash has 48 significant bits instead of 28.
        const LONG_HASH = 1;
        /// Keys are arrays of words.
        const WORD_KEYS = 2;
        /// The first word of a key is its hash.
        const PREHASHED_KEY = 4;
        const _ = !0;
    }
}

/// A fat ZAP with a validated header.
pub(super) struct Fat<'a> {
    set: &'a dyn ObjectSet,
    object: ObjectId,
    block_shift: u32,
    header: Block,
    /// The first block of the table; `None` if it is embedded.
    table: Option<u64>,
    shift: u32,
    pub(super) leaves: u64,
    pub(super) entries: u64,
    pub(super) salt: u64,
    pub(super) norm_flags: NormFlags,
    pub(super) flags: ZapFlags,
}

fn bad(detail: String) -> Error {
    Error::corrupt("fat ZAP", detail)
}

impl<'a> Fat<'a> {
    pub(super) fn parse(set: &'a dyn ObjectSet, info: &ObjectInfo, header: Block) -> Result<Self> {
        let size = info.block_bytes;
        let block_shift = size.trailing_zeros();
        if !size.is_power_of_two() || !BLOCK_SHIFT.contains(&block_shift) || header.len() as u64 != size {
            return Err(bad(format!(
                "blocks are {size} bytes and the header {} bytes, expected one power of two",
                header.len()
            )));
        }
        // The smallest block can contain a header.
        let phys = FatZapHeader::parse(&header, ByteOrder::Little);
        if phys.magic != FatZapHeader::MAGIC {
            return Err(bad(format!("magic is {:#x}, expected {:#x}", phys.magic, FatZapHeader::MAGIC)));
        }
        let (first, blocks, shift) = (phys.table_block, phys.table_blocks, phys.table_shift);
        let table = if blocks == 0 {
            let expected = u64::from(block_shift) - 4;
            if shift != expected {
                return Err(bad(format!(
                    "embedded pointer table has 2^{shift} entries, expected 2^{expected}"
                )));
            }
            None
        } else {
            let entries_per_block = 1_u64 << (block_shift - 3);
            let fits = first.checked_add(blocks - 1).is_some_and(|last| last <= info.max_block.0);
            let entries = blocks.checked_mul(entries_per_block);
            if !fits || shift >= 64 || entries != Some(1 << shift) {
                return Err(bad(format!(
                    "pointer table has 2^{shift} entries in {blocks} blocks from {first}, the last block of the \
                     object is {}",
                    info.max_block
                )));
            }
            Some(first)
        };
        let flags = ZapFlags::from_bits_retain(phys.flags);
        let known = ZapFlags::LONG_HASH | ZapFlags::WORD_KEYS | ZapFlags::PREHASHED_KEY;
        if !known.contains(flags) {
            return Err(Error::unsupported(format!("ZAP with flags {:#x}", flags.bits())));
        }
        Ok(Self {
            set,
            object: info.object,
            block_shift,
            header,
            table,
            shift: shift as u32,
            leaves: phys.leaves,
            entries: phys.entries,
            salt: phys.salt,
            norm_flags: NormFlags::from_bits_retain(phys.norm_flags),
            flags,
        })
    }

    fn block(&self, block: u64) -> Result<Block> {
        self.set.block(self.object, BlockId(block))?.ok_or_else(|| bad(format!("block {block} is a hole")))
    }

    /// Returns the block number of the leaf at `index` in the pointer table. `kept` is the last block used of the
    /// table.
    fn leaf_block(&self, index: u64, kept: &mut Option<(u64, Block)>) -> Result<u64> {
        let Some(first) = self.table else {
            let half = self.header.len() / 2;
            return Ok(ByteOrder::Little.u64(&self.header[half + 8 * index as usize..]));
        };
        let per_block_shift = self.block_shift - 3;
        let number = first + (index >> per_block_shift);
        let block = match kept {
            Some((kept_number, block)) if *kept_number == number => block,
            _ => &kept.insert((number, self.block(number)?)).1,
        };
        let offset = 8 * (index & ((1 << per_block_shift) - 1)) as usize;
        let bytes =
            block.get(offset..offset + 8).ok_or_else(|| bad(format!("block {number} is too short")))?;
        Ok(ByteOrder::Little.u64(bytes))
    }

    /// Returns the leaf at `index` in the pointer table.
    fn leaf(&self, index: u64, kept: &mut Option<(u64, Block)>) -> Result<Leaf> {
        let number = self.leaf_block(index, kept)?;
        let leaf = Leaf::parse(self.block(number)?, self.block_shift)?;
        if leaf.prefix_len > self.shift || leaf.prefix != index >> (self.shift - leaf.prefix_len) {
            return Err(bad(format!(
                "entry {index} of the pointer table of 2^{} refers to the leaf of prefix {:#x} of {} bits",
                self.shift, leaf.prefix, leaf.prefix_len
            )));
        }
        Ok(leaf)
    }

    fn has_word_keys(&self) -> bool {
        self.flags.contains(ZapFlags::WORD_KEYS)
    }

    /// Returns the hash of a key as it is stored in its entry.
    pub(super) fn hash(&self, key: &Key) -> Result<u64> {
        Self::hash_of(key, self.salt, self.norm_flags, self.flags)
    }

    /// Returns the hash of a key in a ZAP with these properties.
    pub(super) fn hash_of(key: &Key, salt: u64, norm_flags: NormFlags, flags: ZapFlags) -> Result<u64> {
        let long = flags.contains(ZapFlags::LONG_HASH);
        let has_word_keys = flags.contains(ZapFlags::WORD_KEYS);
        match key {
            Key::Name(name) if !has_word_keys => Ok(hash::of_name(salt, &norm_flags.normalize(name), long)),
            Key::Words(words) if has_word_keys => {
                Ok(hash::of_words(salt, words, flags.contains(ZapFlags::PREHASHED_KEY), long))
            }
            _ => Err(wrong_kind(key)),
        }
    }

    /// Returns the first entry with the hash of `key` whose key `matches`.
    pub(super) fn find(&self, key: &Key, matches: impl Fn(&Key) -> bool) -> Result<Option<Entry>> {
        let hash = self.hash(key)?;
        let index = if self.shift == 0 { 0 } else { hash >> (u64::BITS - self.shift) };
        self.leaf(index, &mut None)?.find(hash, self.has_word_keys(), matches)
    }

    /// Returns the entries of the leaf at `index` in the pointer table, and the index at which the next leaf starts.
    pub(super) fn leaf_entries(
        &self,
        index: u64,
        kept: &mut Option<(u64, Block)>,
    ) -> Result<(Vec<Entry>, u64)> {
        let leaf = self.leaf(index, kept)?;
        let next = (leaf.prefix + 1) << (self.shift - leaf.prefix_len);
        Ok((leaf.entries(self.has_word_keys())?, next))
    }

    /// Returns the number of entries of the pointer table.
    pub(super) fn table_len(&self) -> u64 {
        1 << self.shift
    }
}
