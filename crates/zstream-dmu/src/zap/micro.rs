//! Micro ZAPs: one block of names with a 64-bit value each.

use zstream_format::order::ByteOrder;
use zstream_format::phys::{MicroZapEntry, MicroZapHeader};

use super::hash;
use super::unicode::NormFlags;
use super::value::{Entry, Key, Value};
use crate::block::Block;
use crate::error::{Error, Result};

/// The size limit of a micro ZAP in bytes, which is that of the feature `large_microzap`.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The offset of the name in an entry.
pub(super) const NAME_OFFSET: usize = MicroZapEntry::offset_of("name");

/// A micro ZAP.
pub(super) struct Micro {
    block: Block,
    pub(super) salt: u64,
    pub(super) norm_flags: NormFlags,
}

impl Micro {
    pub(super) fn parse(block: Block) -> Result<Self> {
        let header = MicroZapHeader::read(&block, ByteOrder::Little);
        let Some(header) = header.filter(|_| block.len() <= BLOCK_BYTES_MAX) else {
            let (found, least) = (block.len(), MicroZapHeader::LEN);
            return Err(Error::corrupt(
                "micro ZAP",
                format!("block is {found} bytes, expected {least} to {BLOCK_BYTES_MAX}"),
            ));
        };
        Ok(Self { block, salt: header.salt, norm_flags: NormFlags::from_bits_retain(header.norm_flags) })
    }

    fn slots(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.block[MicroZapHeader::LEN..].chunks_exact(MicroZapEntry::LEN).filter_map(|slot| {
            let name = &slot[NAME_OFFSET..];
            let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
            (!name.is_empty()).then_some((name, slot))
        })
    }

    fn entry(&self, name: &[u8], slot: &[u8]) -> Entry {
        let MicroZapEntry { value, differentiator, .. } = MicroZapEntry::parse(slot, ByteOrder::Little);
        Entry {
            hash: hash::of_name(self.salt, &self.norm_flags.normalize(name), false),
            key: Key::Name(name.to_vec()),
            differentiator,
            value: Value::word(value),
        }
    }

    /// Returns all entries, sorted by hash and differentiator.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.slots().map(|(name, slot)| self.entry(name, slot)).collect();
        entries.sort_by_key(|entry| (entry.hash, entry.differentiator));
        entries
    }

    /// Returns the first entry with the hash of `name` whose name `matches`.
    pub(super) fn find(&self, name: &[u8], matches: impl Fn(&[u8]) -> bool) -> Option<Entry> {
        let hash = hash::of_name(self.salt, &self.norm_flags.normalize(name), false);
        self.slots()
            .filter(|(name, _)| matches(name))
            .map(|(name, slot)| self.entry(name, slot))
            .filter(|entry| entry.hash == hash)
            .min_by_key(|entry| (entry.hash, entry.differentiator))
    }
}
