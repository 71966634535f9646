//! Micro ZAPs: one block of names with a 64-bit value each.
//!
//! ```text
//!   0  block_type 0x8000000000000003   salt   normflags   pad u64[5]
//!  64  entries: value u64   cd u32   pad u16   name[50], NUL-terminated; an empty name is a free slot
//! ```

use zstream_format::order::ByteOrder;

use super::hash;
use super::unicode::NormFlags;
use super::value::{Entry, Key, Value};
use crate::block::Block;
use crate::error::{Error, Result};

/// First word of a micro ZAP (`ZBT_MICRO`).
pub(super) const BLOCK_TYPE: u64 = 0x8000_0000_0000_0003;

/// The largest micro ZAP, in bytes: that of the feature `large_microzap`.
const BLOCK_BYTES_MAX: usize = 1 << 20;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const ENTRY_BYTES: usize = 64;
pub(super) const NAME_OFFSET: usize = 14;

/// A micro ZAP.
pub(super) struct Micro {
    block: Block,
    pub(super) salt: u64,
    pub(super) norm_flags: NormFlags,
}

impl Micro {
    pub(super) fn parse(block: Block) -> Result<Self> {
        if block.len() < HEADER_BYTES || block.len() > BLOCK_BYTES_MAX {
            let found = block.len();
            return Err(Error::corrupt(
                "micro ZAP",
                format!("block of {found} bytes, expected {HEADER_BYTES} to {BLOCK_BYTES_MAX}"),
            ));
        }
        let word = |n: usize| ByteOrder::Little.u64(&block[n * 8..]);
        let (salt, norm_flags) = (word(1), NormFlags::from_bits_retain(word(2)));
        Ok(Self { block, salt, norm_flags })
    }

    fn slots(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.block[HEADER_BYTES..].chunks_exact(ENTRY_BYTES).filter_map(|slot| {
            let name = &slot[NAME_OFFSET..];
            let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
            (!name.is_empty()).then_some((name, slot))
        })
    }

    fn entry(&self, name: &[u8], slot: &[u8]) -> Entry {
        Entry {
            hash: hash::of_name(self.salt, &self.norm_flags.normalize(name), false),
            key: Key::Name(name.to_vec()),
            differentiator: ByteOrder::Little.u32(&slot[8..]),
            value: Value::word(ByteOrder::Little.u64(slot)),
        }
    }

    /// All entries, by hash and differentiator.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.slots().map(|(name, slot)| self.entry(name, slot)).collect();
        entries.sort_by_key(|entry| (entry.hash, entry.differentiator));
        entries
    }

    /// The first entry of the hash of `name`, in order, whose name `matches`.
    pub(super) fn find(&self, name: &[u8], matches: impl Fn(&[u8]) -> bool) -> Option<Entry> {
        let hash = hash::of_name(self.salt, &self.norm_flags.normalize(name), false);
        self.slots()
            .filter(|(name, _)| matches(name))
            .map(|(name, slot)| self.entry(name, slot))
            .filter(|entry| entry.hash == hash)
            .min_by_key(|entry| (entry.hash, entry.differentiator))
    }
}
