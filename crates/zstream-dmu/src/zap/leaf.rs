//! Leaves of fat ZAPs: a hash table of chains of chunks.
//!
//! ```text
//!   0  header: `ZapLeafHeader`
//!  48  hash table, u16[2^(bs-5)]: a chunk's number or 0xffff
//!      chunks of 24 bytes: `ZapEntryChunk`, `ZapArrayChunk`, or free
//! ```
//!
//! `bs` is the logarithm of the block size. Names and values are big-endian integers in chains of array chunks.
//! name_len and value_len count integers; a name includes its NUL. A leaf contains all entries whose hash starts with
//! the `prefix_len` bits of `prefix`; the following bits are the index of the chain.

use std::ops::Deref;

use zstream_format::order::ByteOrder;
use zstream_format::phys::{ZapArrayChunk, ZapEntryChunk, ZapLeafHeader};

use super::value::{Entry, Key, Value};
use crate::block::Block;
use crate::error::{Error, Result};

const ORDER: ByteOrder = ByteOrder::Little;

pub(super) const HEADER_BYTES: usize = ZapLeafHeader::LEN;
pub(super) const CHUNK_BYTES: usize = ZapEntryChunk::LEN;
/// The number of bytes of a name or value in a chunk.
pub(super) const ARRAY_BYTES: usize = NEXT - 1;
/// The offset of the number of the next chunk in array chunks and free chunks.
pub(super) const NEXT: usize = ZapArrayChunk::offset_of("next");
pub(super) const CHUNK_ENTRY: u8 = ZapEntryChunk::KIND;
pub(super) const CHUNK_ARRAY: u8 = ZapArrayChunk::KIND;
pub(super) const CHUNK_FREE: u8 = ZapArrayChunk::KIND_FREE;
pub(super) const CHAIN_END: u16 = 0xffff;

/// The maximum length of a name with its NUL in bytes, which is that of the feature `longname`.
pub(super) const NAME_BYTES_MAX: usize = 1024;
/// The maximum length of a value in bytes (`ZAP_MAXVALUELEN`).
pub(super) const VALUE_BYTES_MAX: usize = 8192;

/// A leaf with a validated header.
pub(super) struct Leaf<B = Block> {
    pub(super) block: B,
    pub(super) block_shift: u32,
    pub(super) chunks: usize,
    pub(super) prefix: u64,
    pub(super) prefix_len: u32,
}

/// The chunks that a walk has visited, so that each is visited only once.
pub(super) struct Seen(Vec<bool>);

impl Seen {
    fn mark(&mut self, chunk: u16) -> Result<()> {
        match self.0.get_mut(usize::from(chunk)) {
            Some(seen) if !*seen => {
                *seen = true;
                Ok(())
            }
            Some(_) => Err(bad(format!("chunk {chunk} is referenced twice"))),
            None => Err(bad(format!("chunk {chunk} does not exist, there are {} chunks", self.0.len()))),
        }
    }
}

pub(super) fn bad(detail: String) -> Error {
    Error::corrupt("ZAP leaf", detail)
}

/// Returns the number of chunks in a leaf of `1 << block_shift` bytes (`ZAP_LEAF_NUMCHUNKS`).
pub(super) fn chunks(block_shift: u32) -> usize {
    ((1 << block_shift) - (2 << (block_shift - 5))) / CHUNK_BYTES - HEADER_BYTES / CHUNK_BYTES
}

impl<B: Deref<Target = [u8]>> Leaf<B> {
    /// Parses a block of `1 << block_shift` bytes as a leaf.
    pub(super) fn parse(block: B, block_shift: u32) -> Result<Self> {
        if block.len() != 1 << block_shift {
            return Err(bad(format!("size is {} bytes, expected {}", block.len(), 1_u64 << block_shift)));
        }
        let header = ZapLeafHeader::read_short(&block, ORDER);
        let (block_type, magic) = (header.block_type, header.magic);
        if block_type != ZapLeafHeader::BLOCK_TYPE {
            return Err(bad(format!(
                "block type is {block_type:#x}, expected {:#x}",
                ZapLeafHeader::BLOCK_TYPE
            )));
        }
        if magic != ZapLeafHeader::MAGIC {
            return Err(bad(format!("magic is {magic:#x}, expected {:#x}", ZapLeafHeader::MAGIC)));
        }
        let (prefix, prefix_len) = (header.prefix, u32::from(header.prefix_len));
        if prefix_len >= u64::BITS || prefix >> prefix_len != 0 {
            return Err(bad(format!("prefix {prefix:#x} does not have {prefix_len} bits")));
        }
        Ok(Self { block, block_shift, chunks: chunks(block_shift), prefix, prefix_len })
    }

    pub(super) fn buckets(&self) -> usize {
        1 << (self.block_shift - 5)
    }

    pub(super) fn bucket_of(&self, hash: u64) -> usize {
        let shift =
            u64::BITS - (self.block_shift - 5) - self.prefix_len.min(u64::BITS - (self.block_shift - 5));
        (hash >> shift) as usize & (self.buckets() - 1)
    }

    pub(super) fn head(&self, bucket: usize) -> u16 {
        ORDER.u16(&self.block[HEADER_BYTES + 2 * bucket..])
    }

    /// Returns the offset of a chunk in the block.
    pub(super) fn chunk_offset(&self, number: u16) -> usize {
        HEADER_BYTES + 2 * self.buckets() + CHUNK_BYTES * usize::from(number)
    }

    /// Returns a chunk, whose kind is validated.
    pub(super) fn chunk(&self, number: u16, kind: u8) -> Result<&[u8; CHUNK_BYTES]> {
        if usize::from(number) >= self.chunks {
            return Err(bad(format!("chunk {number} does not exist, there are {} chunks", self.chunks)));
        }
        let start = self.chunk_offset(number);
        let chunk = self.block[start..]
            .first_chunk()
            .ok_or_else(|| bad(format!("chunk {number} exceeds the block")))?;
        let found = chunk[0];
        if found != kind {
            return Err(bad(format!("chunk {number} is of kind {found}, expected {kind}")));
        }
        Ok(chunk)
    }

    pub(super) fn entry_chunk(&self, number: u16) -> Result<ZapEntryChunk> {
        Ok(ZapEntryChunk::parse(self.chunk(number, CHUNK_ENTRY)?, ORDER))
    }

    /// Reads `length` bytes from a chain of array chunks.
    fn array(&self, first: u16, length: usize, seen: &mut Seen) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        let mut number = first;
        while bytes.len() < length {
            if number == CHAIN_END {
                return Err(bad(format!("chain has {} bytes, expected {length}", bytes.len())));
            }
            seen.mark(number)?;
            let chunk = ZapArrayChunk::parse(self.chunk(number, CHUNK_ARRAY)?, ORDER);
            let here = ARRAY_BYTES.min(length - bytes.len());
            bytes.extend_from_slice(&chunk.bytes[..here]);
            number = chunk.next;
        }
        Ok(bytes)
    }

    pub(super) fn key(&self, entry: &ZapEntryChunk, words: bool, seen: &mut Seen) -> Result<Key> {
        let length = usize::from(entry.name_len) * if words { 8 } else { 1 };
        if length == 0 || length > NAME_BYTES_MAX {
            return Err(bad(format!("key is {length} bytes, expected 1 to {NAME_BYTES_MAX}")));
        }
        let mut bytes = self.array(entry.name_chunk, length, seen)?;
        if words {
            return Ok(Key::Words(bytes.chunks_exact(8).map(|word| ByteOrder::Big.u64(word)).collect()));
        }
        if bytes.pop() != Some(0) || bytes.contains(&0) {
            return Err(bad(format!("name of {length} bytes does not end with its only NUL")));
        }
        Ok(Key::Name(bytes))
    }

    fn value(&self, entry: &ZapEntryChunk, seen: &mut Seen) -> Result<Value> {
        if ![1, 2, 4, 8].contains(&entry.integer_bytes) {
            return Err(bad(format!("integers are {} bytes, expected 1, 2, 4 or 8", entry.integer_bytes)));
        }
        let length = usize::from(entry.value_len) * usize::from(entry.integer_bytes);
        if length > VALUE_BYTES_MAX {
            return Err(bad(format!("value is {length} bytes, at most {VALUE_BYTES_MAX} are allowed")));
        }
        Ok(Value::array(entry.integer_bytes, self.array(entry.value_chunk, length, seen)?))
    }

    fn read(&self, chunk: &ZapEntryChunk, words: bool, seen: &mut Seen) -> Result<Entry> {
        Ok(Entry {
            key: self.key(chunk, words, seen)?,
            hash: chunk.hash,
            differentiator: chunk.differentiator,
            value: self.value(chunk, seen)?,
        })
    }

    pub(super) fn seen(&self) -> Seen {
        Seen(vec![false; self.chunks])
    }

    /// Returns whether entries of this hash belong to this leaf.
    pub(super) fn covers(&self, hash: u64) -> bool {
        self.prefix_len == 0 || hash >> (u64::BITS - self.prefix_len) == self.prefix
    }

    /// Returns all entries, sorted by hash and differentiator. If `words`, keys are arrays of words.
    pub(super) fn entries(&self, words: bool) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut seen = self.seen();
        for bucket in 0..self.buckets() {
            let mut next = self.head(bucket);
            while next != CHAIN_END {
                seen.mark(next)?;
                let chunk = self.entry_chunk(next)?;
                if !self.covers(chunk.hash) || self.bucket_of(chunk.hash) != bucket {
                    return Err(bad(format!("hash {:#018x} does not belong to chain {bucket}", chunk.hash)));
                }
                next = chunk.next;
                entries.push(self.read(&chunk, words, &mut seen)?);
            }
        }
        entries.sort_by_key(|entry| (entry.hash, entry.differentiator));
        Ok(entries)
    }

    /// Returns the first entry with this hash, by differentiator, whose key `matches`.
    pub(super) fn find(
        &self,
        hash: u64,
        words: bool,
        matches: impl Fn(&Key) -> bool,
    ) -> Result<Option<Entry>> {
        let mut found: Option<Entry> = None;
        let mut seen = self.seen();
        let mut next = self.head(self.bucket_of(hash));
        while next != CHAIN_END {
            seen.mark(next)?;
            let chunk = self.entry_chunk(next)?;
            next = chunk.next;
            if chunk.hash != hash
                || found.as_ref().is_some_and(|found| found.differentiator <= chunk.differentiator)
            {
                continue;
            }
            let mut seen = self.seen();
            if matches(&self.key(&chunk, words, &mut seen)?) {
                found = Some(self.read(&chunk, words, &mut self.seen())?);
            }
        }
        Ok(found)
    }
}
