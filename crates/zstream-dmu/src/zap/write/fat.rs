//! Changes to fat ZAPs: the header, the pointer table and the splitting of leaves.

use std::ops::Range;

use zstream_format::order::ByteOrder;
use zstream_format::phys::FatZapHeader;

use super::leaf::{self, LeafMut, Room};
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, ObjectId};
use crate::object_store::ObjectStore;
use crate::zap::fat::{Fat, ZapFlags};
use crate::zap::leaf::{Leaf, chunks};
use crate::zap::unicode::NormFlags;
use crate::zap::value::{Key, Value};

const ORDER: ByteOrder = ByteOrder::Little;

/// The range of the header that changes: from the first block of the pointer table to the number of entries.
const CHANGING: Range<usize> = FatZapHeader::offset_of("table_block")..FatZapHeader::offset_of("salt");
/// The offset of the number of entries.
const ENTRIES: u64 = FatZapHeader::offset_of("entries") as u64;

/// The number of entries of the pointer table that are written at a time.
const ENTRIES_PER_WRITE: u64 = 1 << 14;

/// A writable fat ZAP.
pub(super) struct FatMut {
    object: ObjectId,
    block_shift: u32,
    /// The first block and the number of blocks of the pointer table; both are 0 if it is embedded.
    table: (u64, u64),
    shift: u32,
    /// The first block of the new table while the table grows, and the number of copied blocks.
    growing: (u64, u64),
    free_block: u64,
    leaves: u64,
    entries: u64,
    salt: u64,
    pub(super) norm_flags: NormFlags,
    flags: ZapFlags,
}

fn bad(detail: String) -> Error {
    Error::corrupt("fat ZAP", detail)
}

impl FatMut {
    /// Writes the header and the first leaf of an empty ZAP (`fzap_upgrade`).
    pub(super) fn create(
        store: &mut dyn ObjectStore,
        object: ObjectId,
        block_shift: u32,
        salt: u64,
        norm_flags: NormFlags,
        flags: ZapFlags,
    ) -> Result<Self> {
        let size = 1_usize << block_shift;
        let fat = Self {
            object,
            block_shift,
            table: (0, 0),
            shift: block_shift - 4,
            growing: (0, 0),
            free_block: 2,
            leaves: 1,
            entries: 0,
            salt,
            norm_flags,
            flags,
        };
        let mut header = vec![0; size];
        fat.phys().encode(&mut header, ORDER);
        for entry in header[size / 2..].chunks_exact_mut(8) {
            ORDER.put_u64(entry, 1);
        }
        store.write(object, 0, &header)?;
        let leaf = LeafMut::new(block_shift, 0, 0, fat.is_sorted());
        store.write(object, size as u64, &leaf.block)?;
        Ok(fat)
    }

    /// Opens a ZAP with a validated header. Completes an interrupted growth of the pointer table.
    pub(super) fn open(store: &mut dyn ObjectStore, object: ObjectId, header: &[u8]) -> Result<Self> {
        let info = store.info(object)?;
        let fat = Fat::parse(&*store, &info, header.into())?;
        let phys = FatZapHeader::parse(header, ORDER);
        let mut fat = Self {
            object,
            block_shift: info.block_bytes.trailing_zeros(),
            table: (phys.table_block, phys.table_blocks),
            shift: phys.table_shift as u32,
            growing: (phys.next_table_block, phys.copied_blocks),
            free_block: phys.free_block,
            leaves: fat.leaves,
            entries: fat.entries,
            salt: fat.salt,
            norm_flags: fat.norm_flags,
            flags: fat.flags,
        };
        if fat.free_block <= info.max_block.0 {
            return Err(bad(format!(
                "next free block is {}, but the last block of the object is {}",
                fat.free_block, info.max_block
            )));
        }
        if fat.growing.0 != 0 {
            fat.grow_external(store)?;
        }
        Ok(fat)
    }

    fn phys(&self) -> FatZapHeader {
        FatZapHeader {
            block_type: FatZapHeader::BLOCK_TYPE,
            magic: FatZapHeader::MAGIC,
            table_block: self.table.0,
            table_blocks: self.table.1,
            table_shift: self.shift.into(),
            next_table_block: self.growing.0,
            copied_blocks: self.growing.1,
            free_block: self.free_block,
            leaves: self.leaves,
            entries: self.entries,
            salt: self.salt,
            norm_flags: self.norm_flags.bits(),
            flags: self.flags.bits(),
        }
    }

    fn put_header(&self, store: &mut dyn ObjectStore) -> Result<()> {
        store.write(self.object, CHANGING.start as u64, &self.phys().to_bytes(ORDER)[CHANGING])
    }

    fn put_entries(&self, store: &mut dyn ObjectStore) -> Result<()> {
        store.write(self.object, ENTRIES, &self.entries.to_le_bytes())
    }

    fn is_sorted(&self) -> bool {
        !self.norm_flags.is_empty()
    }

    fn hash(&self, key: &Key) -> Result<u64> {
        Fat::hash_of(key, self.salt, self.norm_flags, self.flags)
    }

    fn index(&self, hash: u64) -> u64 {
        if self.shift == 0 { 0 } else { hash >> (u64::BITS - self.shift) }
    }

    /// Returns the offset in the object of the first entry of the pointer table.
    fn table_offset(&self) -> u64 {
        match self.table {
            (_, 0) => 1 << (self.block_shift - 1),
            (first, _) => first << self.block_shift,
        }
    }

    fn leaf(&self, store: &dyn ObjectStore, hash: u64) -> Result<(u64, LeafMut)> {
        let mut bytes = [0; 8];
        store.read(self.object, self.table_offset() + 8 * self.index(hash), &mut bytes)?;
        let number = u64::from_le_bytes(bytes);
        if number == 0 || number >= self.free_block {
            return Err(bad(format!("leaf {number} does not exist, there are {} blocks", self.free_block)));
        }
        let block = store
            .block(self.object, BlockId(number))?
            .ok_or_else(|| bad(format!("block {number} is a hole")))?;
        let leaf = Leaf::parse(block.to_vec(), self.block_shift)?;
        if leaf.prefix_len > self.shift || !leaf.covers(hash) {
            return Err(bad(format!(
                "hash {hash:#018x} refers to the leaf of prefix {:#x} of {} bits",
                leaf.prefix, leaf.prefix_len
            )));
        }
        Ok((number, leaf))
    }

    fn put_leaf(&self, store: &mut dyn ObjectStore, number: u64, leaf: &LeafMut) -> Result<()> {
        store.write(self.object, number << self.block_shift, &leaf.block)
    }

    /// Allocates blocks at the end of the object (`zap_allocate_blocks`).
    fn allocate_blocks(&mut self, count: u64) -> Result<u64> {
        let first = self.free_block;
        self.free_block =
            first.checked_add(count).filter(|end| *end < 1 << (u64::BITS - self.block_shift)).ok_or_else(
                || bad(format!("object has {first} blocks, there is no space for {count} more")),
            )?;
        Ok(first)
    }

    /// Doubles the pointer table (`zap_grow_ptrtbl`). Returns false if it has its maximum size.
    fn grow_table(&mut self, store: &mut dyn ObjectStore) -> Result<bool> {
        let hash_bits = if self.flags.contains(ZapFlags::LONG_HASH) { 48 } else { 28 };
        if self.shift >= hash_bits - 2 {
            return Ok(false);
        }
        if self.table.1 != 0 {
            self.growing = (self.allocate_blocks(2 * self.table.1)?, 0);
            self.grow_external(store)?;
            return Ok(true);
        }
        let mut old = vec![0; 1 << (self.block_shift - 1)];
        store.read(self.object, self.table_offset(), &mut old)?;
        let first = self.allocate_blocks(1)?;
        store.write(self.object, first << self.block_shift, &doubled(&old))?;
        (self.table, self.shift) = ((first, 1), self.shift + 1);
        self.put_header(store)?;
        Ok(true)
    }

    /// Copies the rest of a growing table to its new blocks, and frees the old ones.
    fn grow_external(&mut self, store: &mut dyn ObjectStore) -> Result<()> {
        let ((first, blocks), (next, copied)) = (self.table, self.growing);
        let end = blocks.checked_mul(2).and_then(|count| next.checked_add(count));
        if copied > blocks || end.is_none_or(|end| end > self.free_block) {
            return Err(bad(format!(
                "pointer table of {blocks} blocks grows to block {next} with {copied} copied, but the next free \
                 block is {}",
                self.free_block
            )));
        }
        for n in copied..blocks {
            let mut old = vec![0; 1 << self.block_shift];
            store.read(self.object, (first + n) << self.block_shift, &mut old)?;
            store.write(self.object, (next + 2 * n) << self.block_shift, &doubled(&old))?;
        }
        store.free_range(self.object, first << self.block_shift, blocks << self.block_shift)?;
        (self.table, self.shift, self.growing) = ((next, 2 * blocks), self.shift + 1, (0, 0));
        self.put_header(store)
    }

    /// Splits a leaf and returns the one that contains `hash` (`zap_expand_leaf`).
    fn expand(
        &mut self,
        store: &mut dyn ObjectStore,
        hash: u64,
        number: u64,
        mut leaf: LeafMut,
    ) -> Result<(u64, LeafMut)> {
        // OpenZFS would first grow the table to its maximum.
        let hopeless = leaf.is_of_one_hash(hash)?;
        if hopeless || leaf.prefix_len == self.shift && !self.grow_table(store)? {
            return Err(Error::bad_request(format!(
                "ZAP object {} has too many keys with hashes similar to {hash:#x}",
                self.object
            )));
        }
        let sibling = leaf.split(self.is_sorted())?;
        let new = self.allocate_blocks(1)?;
        self.leaves += 1;
        let spread = self.shift - sibling.prefix_len;
        let (first, count) = (sibling.prefix << spread, 1_u64 << spread);
        let piece = new.to_le_bytes().repeat(count.min(ENTRIES_PER_WRITE) as usize);
        for at in (0..count).step_by(ENTRIES_PER_WRITE as usize) {
            store.write(self.object, self.table_offset() + 8 * (first + at), &piece)?;
        }
        self.put_leaf(store, number, &leaf)?;
        self.put_leaf(store, new, &sibling)?;
        self.put_header(store)?;
        Ok(if sibling.covers(hash) { (new, sibling) } else { (number, leaf) })
    }

    /// Grows the table in advance if a leaf is nearly full and cannot be split otherwise
    /// (`zap_put_leaf_maybe_grow_ptrtbl`).
    fn maybe_grow(&mut self, store: &mut dyn ObjectStore, leaf: &LeafMut) -> Result<()> {
        if leaf.prefix_len == self.shift && leaf.is_nearly_full() {
            self.grow_table(store)?;
        }
        Ok(())
    }

    /// Refuses an entry that is larger than a leaf, for which splitting creates no space.
    fn judge(&self, key: &Key, value: &Value) -> Result<()> {
        let (wanted, limit) = (leaf::entry_chunks(key, value), chunks(self.block_shift));
        if wanted > limit {
            return Err(Fault::TooLarge {
                what: "ZAP entry in chunks",
                size: wanted as u64,
                limit: limit as u64,
            }
            .into());
        }
        Ok(())
    }

    /// Adds an entry. Returns false if the key already exists.
    pub(super) fn add(
        &mut self,
        store: &mut dyn ObjectStore,
        key: &Key,
        value: &Value,
        differentiator: Option<u32>,
    ) -> Result<bool> {
        self.judge(key, value)?;
        let hash = self.hash(key)?;
        let (mut number, mut leaf) = self.leaf(store, hash)?;
        if leaf.locate(hash, key)?.is_some() {
            return Ok(false);
        }
        while leaf.insert(hash, key, value, differentiator)? == Room::Full {
            (number, leaf) = self.expand(store, hash, number, leaf)?;
        }
        self.put_leaf(store, number, &leaf)?;
        self.entries += 1;
        self.put_entries(store)?;
        self.maybe_grow(store, &leaf)?;
        Ok(true)
    }

    /// Replaces the value of an entry. Returns false if the key does not exist.
    pub(super) fn update(&mut self, store: &mut dyn ObjectStore, key: &Key, value: &Value) -> Result<bool> {
        self.judge(key, value)?;
        let hash = self.hash(key)?;
        let (mut number, mut leaf) = self.leaf(store, hash)?;
        loop {
            let Some(found) = leaf.locate(hash, key)? else { return Ok(false) };
            if leaf.update(&found, value)? == Room::Fits {
                break;
            }
            (number, leaf) = self.expand(store, hash, number, leaf)?;
        }
        self.put_leaf(store, number, &leaf)?;
        self.maybe_grow(store, &leaf)?;
        Ok(true)
    }

    /// Removes an entry. Returns false if the key does not exist.
    pub(super) fn remove(&mut self, store: &mut dyn ObjectStore, key: &Key) -> Result<bool> {
        let hash = self.hash(key)?;
        let (number, mut leaf) = self.leaf(store, hash)?;
        let Some(found) = leaf.locate(hash, key)? else { return Ok(false) };
        leaf.remove(&found)?;
        self.put_leaf(store, number, &leaf)?;
        self.entries = self.entries.saturating_sub(1);
        self.put_entries(store)?;
        Ok(true)
    }
}

/// Returns a pointer table in which each entry is repeated.
fn doubled(table: &[u8]) -> Vec<u8> {
    table.chunks_exact(8).flat_map(|entry| [entry, entry].concat()).collect()
}
