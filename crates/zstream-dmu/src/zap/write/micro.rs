//! Changes to micro ZAPs: entries are written in place, and the block grows by sectors.

use zstream_format::order::ByteOrder;
use zstream_format::phys::{MicroZapEntry, MicroZapHeader};

use crate::error::Result;
use crate::zap::hash;
use crate::zap::leaf;
use crate::zap::micro::{Micro, NAME_OFFSET};
use crate::zap::unicode::NormFlags;
use crate::zap::value::{Entry, Key};

const ORDER: ByteOrder = ByteOrder::Little;

/// The maximum size to which micro ZAPs grow in bytes (`zap_micro_max_size`).
const GROWN_BYTES_MAX: usize = 128 << 10;
/// The step by which micro ZAPs grow in bytes.
const STEP_BYTES: usize = 512;
/// The size of an entry in bytes.
const ENTRY_BYTES: usize = MicroZapEntry::LEN;
/// The maximum length of a name with its NUL in bytes (`MZAP_NAME_LEN`).
const NAME_BYTES: usize = ENTRY_BYTES - NAME_OFFSET;

/// The logarithm of the block size of fat ZAPs that were micro ZAPs (`fzap_default_block_shift`).
pub(super) const FAT_SHIFT: u32 = 14;

/// The number of chunks of an entry after the conversion to a fat ZAP: the entry, the longest name, a value.
const ENTRY_CHUNKS: usize = 1 + NAME_BYTES.div_ceil(leaf::ARRAY_BYTES) + 1;

/// A writable micro ZAP.
pub(super) struct MicroMut {
    pub(super) block: Vec<u8>,
    pub(super) salt: u64,
    pub(super) norm_flags: NormFlags,
    /// The hash of the name in each slot, `None` for free slots. Computed on first use.
    hashes: Option<Vec<Option<u64>>>,
}

/// The place for a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A slot.
    Slot(usize),
    /// A slot in a block of this larger size, for which the place must be requested again.
    Grown(usize),
    /// None: the ZAP must become a fat ZAP.
    Fat,
}

/// Returns the block of an empty micro ZAP.
pub(super) fn empty(bytes: usize, salt: u64, norm_flags: NormFlags) -> Vec<u8> {
    let mut block = vec![0; bytes];
    let header = MicroZapHeader {
        block_type: MicroZapHeader::BLOCK_TYPE,
        salt,
        norm_flags: norm_flags.bits(),
        ..MicroZapHeader::default()
    };
    header.encode(&mut block, ORDER);
    block
}

impl MicroMut {
    pub(super) fn parse(block: Vec<u8>) -> Result<Self> {
        let micro = Micro::parse(block.as_slice().into())?;
        Ok(Self { salt: micro.salt, norm_flags: micro.norm_flags, block, hashes: None })
    }

    /// Returns all entries.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        Ok(Micro::parse(self.block.as_slice().into())?.entries())
    }

    pub(super) fn slot_offset(slot: usize) -> usize {
        MicroZapHeader::LEN + slot * ENTRY_BYTES
    }

    /// Returns the bytes of a slot.
    pub(super) fn slot(&self, slot: usize) -> &[u8] {
        &self.block[Self::slot_offset(slot)..][..ENTRY_BYTES]
    }

    fn entry(&self, slot: usize) -> MicroZapEntry {
        MicroZapEntry::parse(self.slot(slot), ORDER)
    }

    /// Returns the number of slots.
    fn slots(&self) -> usize {
        (self.block.len() - MicroZapHeader::LEN) / ENTRY_BYTES
    }

    /// Returns the name in a slot, which is empty if the slot is free.
    fn name(&self, slot: usize) -> &[u8] {
        let name = &self.slot(slot)[NAME_OFFSET..];
        name.split(|byte| *byte == 0).next().unwrap_or(name)
    }

    /// Returns the slot of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let is_it = |slot: &usize| self.name(*slot) == name;
        match &self.hashes {
            // Known hashes limit the number of names to compare.
            Some(hashes) => {
                let wanted = Some(self.hash_of(name));
                let (known, new) = (0..hashes.len(), hashes.len()..self.slots());
                known.filter(|slot| hashes[*slot] == wanted).chain(new).find(is_it)
            }
            None => (0..self.slots()).find(is_it),
        }
    }

    fn hash_of(&self, name: &[u8]) -> u64 {
        hash::of_name(self.salt, &self.norm_flags.normalize(name), false)
    }

    /// Computes the missing hashes.
    fn hash_new(&mut self) {
        let mut hashes = self.hashes.take().unwrap_or_default();
        let of_slot =
            |slot| Some(self.name(slot)).filter(|name| !name.is_empty()).map(|name| self.hash_of(name));
        hashes.extend((hashes.len()..self.slots()).map(of_slot));
        self.hashes = Some(hashes);
    }

    /// Returns the place and the differentiator for a new entry of this name.
    pub(super) fn place(&mut self, name: &[u8]) -> (Place, u32) {
        if name.len() >= NAME_BYTES {
            return (Place::Fat, 0);
        }
        self.hash_new();
        let hashes = self.hashes.as_deref().unwrap_or_default();
        let free = hashes.iter().position(Option::is_none);
        let wanted = Some(self.hash_of(name));
        let same = (0..hashes.len()).filter(|slot| hashes[*slot] == wanted);
        let mut used: Vec<u32> = same.map(|slot| self.entry(slot).differentiator).collect();
        if (used.len() + 1) * ENTRY_CHUNKS >= leaf::chunks(FAT_SHIFT) {
            return (Place::Fat, 0);
        }
        used.sort_unstable();
        let differentiator = used.iter().zip(0_u32..).take_while(|(used, n)| **used == *n).count() as u32;
        let place = match free {
            Some(slot) => Place::Slot(slot),
            None if self.block.len() + STEP_BYTES <= GROWN_BYTES_MAX => {
                Place::Grown(self.block.len() + STEP_BYTES)
            }
            None => Place::Fat,
        };
        (place, differentiator)
    }

    /// Writes a slot.
    pub(super) fn put(&mut self, slot: usize, name: &[u8], value: u64, differentiator: u32) {
        let at = Self::slot_offset(slot);
        let mut entry = MicroZapEntry { value, differentiator, ..MicroZapEntry::default() };
        entry.name[..name.len()].copy_from_slice(name);
        entry.encode(&mut self.block[at..], ORDER);
        let hash = self.hash_of(name);
        self.note_hash(slot, Some(hash));
    }

    fn note_hash(&mut self, slot: usize, hash: Option<u64>) {
        if let Some(place) = self.hashes.as_mut().and_then(|hashes| hashes.get_mut(slot)) {
            *place = hash;
        }
    }

    /// Sets the value in a slot.
    pub(super) fn put_value(&mut self, slot: usize, value: u64) {
        let entry = MicroZapEntry { value, ..self.entry(slot) };
        entry.encode(&mut self.block[Self::slot_offset(slot)..], ORDER);
    }

    /// Clears a slot.
    pub(super) fn clear(&mut self, slot: usize) {
        let at = Self::slot_offset(slot);
        self.block[at..at + ENTRY_BYTES].fill(0);
        self.note_hash(slot, None);
    }

    /// Returns the name of a key, or `None` for a key of words, which a micro ZAP cannot contain.
    pub(super) fn name_of(key: &Key) -> Option<&[u8]> {
        match key {
            Key::Name(name) => Some(name),
            Key::Words(_) => None,
        }
    }
}
