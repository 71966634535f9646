//! Changes to leaves: chunks are allocated from the head of the free list and returned to it, as in OpenZFS.
//!
//! The kind of every chunk is validated, so that damaged chains and free lists are errors: a chunk that was allocated
//! from a looping free list has another kind when it is reached again.

use zstream_format::order::ByteOrder;
use zstream_format::phys::{ZapArrayChunk, ZapEntryChunk, ZapLeafHeader};

use crate::error::Result;
use crate::zap::leaf::{
    ARRAY_BYTES, CHAIN_END, CHUNK_ARRAY, CHUNK_BYTES, CHUNK_ENTRY, CHUNK_FREE, HEADER_BYTES, Leaf, NEXT, bad,
    chunks,
};
use crate::zap::value::{Key, Value};

const ORDER: ByteOrder = ByteOrder::Little;

/// The offsets of fields in the header.
const PREFIX: usize = ZapLeafHeader::offset_of("prefix");
const FREE_CHUNKS: usize = ZapLeafHeader::offset_of("free_chunks");
const ENTRIES: usize = ZapLeafHeader::offset_of("entries");
const PREFIX_LEN: usize = ZapLeafHeader::offset_of("prefix_len");
const FREE_LIST: usize = ZapLeafHeader::offset_of("free_list");
const FLAGS: usize = ZapLeafHeader::offset_of("flags");

/// The offset of the number of the next entry in an entry.
const ENTRY_NEXT: usize = ZapEntryChunk::offset_of("next");

/// The flag of leaves whose chains are sorted by differentiator (`ZLF_ENTRIES_CDSORTED`).
const FLAG_SORTED: u8 = 1;

/// The number of free chunks below which a leaf will soon be split (`ZAP_LEAF_LOW_WATER`).
const LOW_WATER: u16 = 20;

/// A writable leaf.
pub(super) type LeafMut = Leaf<Vec<u8>>;

/// The result of an attempt to store data in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The data was stored.
    Fits,
    /// The data did not fit. The leaf is unchanged and must be split.
    Full,
}

/// The reference to an entry in its chain.
#[derive(Clone, Copy)]
enum Link {
    Bucket(usize),
    Entry(u16),
}

/// The position of an entry.
pub(super) struct FoundChunk {
    link: Link,
    chunk: u16,
    entry: ZapEntryChunk,
}

/// Returns the number of array chunks for this number of bytes (`ZAP_LEAF_ARRAY_NCHUNKS`).
fn array_chunks(bytes: usize) -> usize {
    bytes.div_ceil(ARRAY_BYTES)
}

/// Returns the number of chunks of an entry with this key and value.
pub(super) fn entry_chunks(key: &Key, value: &Value) -> usize {
    let value_bytes = value.len() * usize::from(value.integer_bytes());
    1 + array_chunks(encode_key(key).0.len()) + array_chunks(value_bytes)
}

/// Returns a key as it is stored, and the number of its integers.
fn encode_key(key: &Key) -> (Vec<u8>, u16) {
    match key {
        Key::Name(name) => ([name, &[0][..]].concat(), name.len() as u16 + 1),
        Key::Words(words) => (words.iter().flat_map(|word| word.to_be_bytes()).collect(), words.len() as u16),
    }
}

impl LeafMut {
    /// Returns an empty leaf of `1 << block_shift` bytes for hashes with this prefix (`zap_leaf_init`).
    pub(super) fn new(block_shift: u32, prefix: u64, prefix_len: u32, sorted: bool) -> Self {
        let mut leaf = Self {
            block: vec![0; 1 << block_shift],
            block_shift,
            chunks: chunks(block_shift),
            prefix,
            prefix_len,
        };
        let header = ZapLeafHeader {
            block_type: ZapLeafHeader::BLOCK_TYPE,
            prefix,
            magic: ZapLeafHeader::MAGIC,
            free_chunks: leaf.chunks as u16,
            prefix_len: prefix_len as u16,
            flags: if sorted { FLAG_SORTED } else { 0 },
            ..ZapLeafHeader::default()
        };
        header.encode(&mut leaf.block, ORDER);
        let table_end = leaf.chunk_offset(0);
        leaf.block[HEADER_BYTES..table_end].fill(0xff);
        for chunk in 0..leaf.chunks as u16 {
            let at = leaf.chunk_offset(chunk);
            leaf.block[at] = CHUNK_FREE;
            let next = if usize::from(chunk) + 1 == leaf.chunks { CHAIN_END } else { chunk + 1 };
            leaf.put_u16(at + NEXT, next);
        }
        leaf
    }

    fn put_prefix(&mut self, prefix: u64, prefix_len: u32) {
        (self.prefix, self.prefix_len) = (prefix, prefix_len);
        ORDER.put_u64(&mut self.block[PREFIX..], prefix);
        self.put_u16(PREFIX_LEN, prefix_len as u16);
    }

    fn u16(&self, offset: usize) -> u16 {
        ORDER.u16(&self.block[offset..])
    }

    fn put_u16(&mut self, offset: usize, value: u16) {
        ORDER.put_u16(&mut self.block[offset..], value);
    }

    fn is_sorted(&self) -> bool {
        self.block[FLAGS] & FLAG_SORTED != 0
    }

    /// Returns whether the leaf will soon be split.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.u16(FREE_CHUNKS) < LOW_WATER
    }

    fn target(&self, link: Link) -> Result<u16> {
        match link {
            Link::Bucket(bucket) => Ok(self.head(bucket)),
            Link::Entry(chunk) => Ok(self.entry_chunk(chunk)?.next),
        }
    }

    fn put_target(&mut self, link: Link, chunk: u16) {
        let at = match link {
            Link::Bucket(bucket) => HEADER_BYTES + 2 * bucket,
            Link::Entry(entry) => self.chunk_offset(entry) + ENTRY_NEXT,
        };
        self.put_u16(at, chunk);
    }

    /// Calls `visit` with each entry of the chain of `hash` until it returns true. Returns that entry and the link to
    /// it.
    fn chain(
        &self,
        hash: u64,
        mut visit: impl FnMut(u16, &ZapEntryChunk) -> Result<bool>,
    ) -> Result<(Link, Option<(u16, ZapEntryChunk)>)> {
        let mut link = Link::Bucket(self.bucket_of(hash));
        for _ in 0..=self.chunks {
            let chunk = self.target(link)?;
            if chunk == CHAIN_END {
                return Ok((link, None));
            }
            let entry = self.entry_chunk(chunk)?;
            if visit(chunk, &entry)? {
                return Ok((link, Some((chunk, entry))));
            }
            link = Link::Entry(chunk);
        }
        Err(bad(format!("chain of hash {hash:#018x} is a loop")))
    }

    /// Returns the entry of exactly this key.
    pub(super) fn locate(&self, hash: u64, key: &Key) -> Result<Option<FoundChunk>> {
        let words = matches!(key, Key::Words(_));
        let (link, found) = self.chain(hash, |_, entry| {
            Ok(entry.hash == hash && self.key(entry, words, &mut self.seen())? == *key)
        })?;
        Ok(found.map(|(chunk, entry)| FoundChunk { link, chunk, entry }))
    }

    /// Returns the smallest unused differentiator of this hash.
    fn free_differentiator(&self, hash: u64) -> Result<u32> {
        let mut used = Vec::new();
        self.chain(hash, |_, entry| {
            if entry.hash == hash {
                used.push(entry.differentiator);
            }
            Ok(false)
        })?;
        used.sort_unstable();
        used.dedup();
        Ok(used.iter().zip(0_u32..).take_while(|(used, n)| **used == *n).count() as u32)
    }

    /// Allocates a chunk from the free list.
    fn allocate(&mut self, kind: u8) -> Result<u16> {
        let number = self.u16(FREE_LIST);
        let next = ORDER.u16(&self.chunk(number, CHUNK_FREE)?[NEXT..]);
        let free =
            self.u16(FREE_CHUNKS).checked_sub(1).ok_or_else(|| bad("no free chunk is left".to_owned()))?;
        self.put_u16(FREE_LIST, next);
        self.put_u16(FREE_CHUNKS, free);
        let at = self.chunk_offset(number);
        self.block[at..at + CHUNK_BYTES].fill(0);
        self.block[at] = kind;
        Ok(number)
    }

    /// Returns a chunk of this kind to the free list.
    fn release(&mut self, number: u16, kind: u8) -> Result<()> {
        self.chunk(number, kind)?;
        let at = self.chunk_offset(number);
        let next = self.u16(FREE_LIST);
        self.block[at..at + CHUNK_BYTES].fill(0);
        self.block[at] = CHUNK_FREE;
        self.put_u16(at + NEXT, next);
        self.put_u16(FREE_LIST, number);
        self.put_u16(FREE_CHUNKS, self.u16(FREE_CHUNKS).saturating_add(1));
        Ok(())
    }

    fn create_array(&mut self, bytes: &[u8]) -> Result<u16> {
        let mut first = CHAIN_END;
        let mut last_at = None;
        for part in bytes.chunks(ARRAY_BYTES) {
            let number = self.allocate(CHUNK_ARRAY)?;
            let at = self.chunk_offset(number);
            self.block[at + 1..at + 1 + part.len()].copy_from_slice(part);
            match last_at {
                Some(last) => self.put_u16(last, number),
                None => first = number,
            }
            last_at = Some(at + NEXT);
        }
        if let Some(last) = last_at {
            self.put_u16(last, CHAIN_END);
        }
        Ok(first)
    }

    fn free_array(&mut self, first: u16) -> Result<()> {
        let mut number = first;
        while number != CHAIN_END {
            // If the chain is a loop, the next chunk is already free, which is an error.
            let next = ORDER.u16(&self.chunk(number, CHUNK_ARRAY)?[NEXT..]);
            self.release(number, CHUNK_ARRAY)?;
            number = next;
        }
        Ok(())
    }

    fn put_entry(&mut self, number: u16, entry: &ZapEntryChunk) {
        let at = self.chunk_offset(number);
        entry.encode(&mut self.block[at..], ORDER);
    }

    /// Inserts an entry into its chain, before the first one with a larger differentiator.
    fn link(&mut self, number: u16) -> Result<()> {
        let entry = self.entry_chunk(number)?;
        let (link, behind) =
            self.chain(entry.hash, |_, other| Ok(other.differentiator > entry.differentiator))?;
        let next = behind.map_or(CHAIN_END, |(chunk, _)| chunk);
        self.put_entry(number, &ZapEntryChunk { next, ..entry });
        self.put_target(link, number);
        Ok(())
    }

    /// Adds a new entry (`zap_entry_create`), with the next free differentiator unless one is given.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: &Key,
        value: &Value,
        differentiator: Option<u32>,
    ) -> Result<Room> {
        let (name, name_len) = encode_key(key);
        let bytes = value.encode();
        if 1 + array_chunks(name.len()) + array_chunks(bytes.len()) > usize::from(self.u16(FREE_CHUNKS)) {
            return Ok(Room::Full);
        }
        let differentiator = match differentiator {
            Some(given) => given,
            None => self.free_differentiator(hash)?,
        };
        let number = self.allocate(CHUNK_ENTRY)?;
        let name_chunk = self.create_array(&name)?;
        let value_chunk = self.create_array(&bytes)?;
        self.put_entry(
            number,
            &ZapEntryChunk {
                kind: CHUNK_ENTRY,
                integer_bytes: value.integer_bytes(),
                next: CHAIN_END,
                name_chunk,
                name_len,
                value_chunk,
                value_len: value.len() as u16,
                differentiator,
                hash,
            },
        );
        self.link(number)?;
        self.put_u16(ENTRIES, self.u16(ENTRIES).saturating_add(1));
        Ok(Room::Fits)
    }

    /// Replaces the value of an entry (`zap_entry_update`).
    pub(super) fn update(&mut self, found: &FoundChunk, value: &Value) -> Result<Room> {
        let bytes = value.encode();
        let old = usize::from(found.entry.value_len) * usize::from(found.entry.integer_bytes);
        if array_chunks(bytes.len()) > usize::from(self.u16(FREE_CHUNKS)) + array_chunks(old) {
            return Ok(Room::Full);
        }
        self.free_array(found.entry.value_chunk)?;
        let value_chunk = self.create_array(&bytes)?;
        let entry = ZapEntryChunk {
            value_chunk,
            value_len: value.len() as u16,
            integer_bytes: value.integer_bytes(),
            ..self.entry_chunk(found.chunk)?
        };
        self.put_entry(found.chunk, &entry);
        Ok(Room::Fits)
    }

    /// Removes an entry (`zap_entry_remove`).
    pub(super) fn remove(&mut self, found: &FoundChunk) -> Result<()> {
        self.free_array(found.entry.name_chunk)?;
        self.free_array(found.entry.value_chunk)?;
        self.put_target(found.link, found.entry.next);
        self.release(found.chunk, CHUNK_ENTRY)?;
        self.put_u16(ENTRIES, self.u16(ENTRIES).saturating_sub(1));
        Ok(())
    }

    /// Returns whether all entries have this hash, so that splitting creates no space.
    pub(super) fn is_of_one_hash(&self, hash: u64) -> Result<bool> {
        for number in 0..self.chunks as u16 {
            if self.block[self.chunk_offset(number)] == CHUNK_ENTRY && self.entry_chunk(number)?.hash != hash
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Splits the leaf by the next bit of the hash. Returns the new leaf, to which entries with this bit set are moved
    /// (`zap_leaf_split`).
    pub(super) fn split(&mut self, sorted: bool) -> Result<Self> {
        let mask = 1_u64 << (u64::BITS - 1 - self.prefix_len);
        let (prefix, prefix_len) = (self.prefix << 1, self.prefix_len + 1);
        let mut sibling = Self::new(self.block_shift, prefix | 1, prefix_len, sorted);
        self.put_prefix(prefix, prefix_len);
        let table_end = self.chunk_offset(0);
        self.block[HEADER_BYTES..table_end].fill(0xff);
        if sorted {
            self.block[FLAGS] |= FLAG_SORTED;
        }
        debug_assert!(!sorted || self.is_sorted());
        for number in 0..self.chunks as u16 {
            if self.block[self.chunk_offset(number)] != CHUNK_ENTRY {
                continue;
            }
            let entry = self.entry_chunk(number)?;
            if entry.hash & mask == 0 {
                self.link(number)?;
            } else {
                self.transfer(number, &entry, &mut sibling)?;
            }
        }
        Ok(sibling)
    }

    /// Moves an entry that is not in a chain to another leaf.
    fn transfer(&mut self, number: u16, entry: &ZapEntryChunk, to: &mut Self) -> Result<()> {
        let moved = to.allocate(CHUNK_ENTRY)?;
        to.put_entry(moved, entry);
        to.link(moved)?;
        let name_chunk = self.transfer_array(entry.name_chunk, to)?;
        let value_chunk = self.transfer_array(entry.value_chunk, to)?;
        let there = ZapEntryChunk { name_chunk, value_chunk, ..to.entry_chunk(moved)? };
        to.put_entry(moved, &there);
        self.release(number, CHUNK_ENTRY)?;
        self.put_u16(ENTRIES, self.u16(ENTRIES).saturating_sub(1));
        to.put_u16(ENTRIES, to.u16(ENTRIES).saturating_add(1));
        Ok(())
    }

    fn transfer_array(&mut self, first: u16, to: &mut Self) -> Result<u16> {
        let mut bytes = Vec::new();
        let mut number = first;
        while number != CHAIN_END && bytes.len() <= self.block.len() {
            let chunk = ZapArrayChunk::parse(self.chunk(number, CHUNK_ARRAY)?, ORDER);
            bytes.extend_from_slice(&chunk.bytes);
            number = chunk.next;
        }
        self.free_array(first)?;
        to.create_array(&bytes)
    }
}
