//! ZAPs: objects that map names, or arrays of words, to arrays of integers.
//!
//! A small ZAP, a micro ZAP, is a single block of names and words. A larger one is a fat ZAP, a hash table that grows
//! by splitting its leaves. Both are read through any [`ObjectSet`], so directories of pools and of stored streams are
//! read in the same way.
//!
//! Entries are sorted as OpenZFS iterates: by hash, then by the number that distinguishes entries of the same hash. A
//! damaged ZAP is an error: a chain may visit each chunk only once, and every leaf must be at its position in the
//! pointer table, so that work and memory are limited by the real blocks of the object.

mod fat;
mod hash;
mod leaf;
mod micro;
mod unicode;
mod value;
pub(crate) mod write;

use std::vec;

use zstream_format::phys::{FatZapHeader, MicroZapHeader};

use self::fat::Fat;
use self::micro::Micro;
use crate::block::Block;
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_set::ObjectSet;

pub use self::fat::ZapFlags;
pub use self::unicode::NormFlags;
pub use self::value::{Entry, Key, Value, number_key};
pub use self::write::{NewZap, ZapMut, create, create_in, create_with};

/// The comparison of a name with those in a ZAP (`matchtype_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Match {
    /// Names are compared byte by byte.
    #[default]
    Exact,
    /// Names are compared in the normalization form of the ZAP (`MT_NORMALIZE`).
    Normalized,
    /// Names are compared in that form, but without the conversion to upper case (`MT_NORMALIZE | MT_MATCH_CASE`).
    NormalizedWithCase,
}

impl Match {
    /// Returns the form in which names are compared in a ZAP with these normalization flags.
    fn flags(self, norm_flags: NormFlags) -> NormFlags {
        match self {
            Self::Exact => NormFlags::empty(),
            Self::Normalized => norm_flags,
            Self::NormalizedWithCase => norm_flags - NormFlags::UPPER,
        }
    }

    /// Returns the key of a name: names with the same key are the same in a ZAP with these normalization flags. The
    /// key contains the form that is compared, and the form that is hashed, because only names of the same hash are
    /// compared. Returns `None` for a name that the ZAP cannot contain.
    #[must_use]
    pub fn key(self, norm_flags: NormFlags, name: &[u8]) -> Option<Vec<u8>> {
        let hashed = norm_flags.form(name)?;
        let compared = self.flags(norm_flags);
        if compared == norm_flags {
            return Some(hashed);
        }
        Some([&compared.form(name)?[..], &hashed].join(&0))
    }
}

/// An open ZAP.
pub struct Zap<'a> {
    at: Bookmark,
    repr: Repr<'a>,
}

enum Repr<'a> {
    Micro(Micro),
    Fat(Fat<'a>),
}

/// The properties of a ZAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZapInfo {
    /// Whether it is a micro ZAP.
    pub is_micro: bool,
    /// The salt of its hash.
    pub salt: u64,
    /// The normalization of names.
    pub norm_flags: NormFlags,
    /// The flags; empty for a micro ZAP.
    pub flags: ZapFlags,
    /// The number of leaves; 0 for a micro ZAP.
    pub leaves: u64,
    /// The number of entries. The header of a fat ZAP has it; those of a micro ZAP are counted.
    pub entries: u64,
}

impl<'a> Zap<'a> {
    /// Opens `object` of `set`.
    ///
    /// # Errors
    /// Fails if the object does not exist, if its first block cannot be read, and if it is not a ZAP.
    pub fn open(set: &'a dyn ObjectSet, object: ObjectId) -> Result<Self> {
        let info = set.info(object)?;
        let at = Bookmark { objset: set.objset_id(), object, level: 0, block: BlockId(0) };
        let place = |error: Error| error.at_bookmark(at);
        let block = set
            .block(object, BlockId(0))?
            .ok_or_else(|| place(Error::corrupt("ZAP", "first block is a hole")))?;
        let block_type = block.first_chunk::<8>().map(|word| u64::from_le_bytes(*word));
        let repr = match block_type {
            Some(MicroZapHeader::BLOCK_TYPE) => Repr::Micro(Micro::parse(block).map_err(place)?),
            Some(FatZapHeader::BLOCK_TYPE) => Repr::Fat(Fat::parse(set, &info, block).map_err(place)?),
            _ => {
                let found = block_type.unwrap_or_default();
                return Err(place(Error::corrupt("ZAP", format!("block type is {found:#x}"))));
            }
        };
        Ok(Self { at, repr })
    }

    /// Returns the properties of the ZAP.
    #[must_use]
    pub fn info(&self) -> ZapInfo {
        match &self.repr {
            Repr::Micro(micro) => ZapInfo {
                is_micro: true,
                salt: micro.salt,
                norm_flags: micro.norm_flags,
                flags: ZapFlags::empty(),
                leaves: 0,
                entries: micro.entries().len() as u64,
            },
            Repr::Fat(fat) => ZapInfo {
                is_micro: false,
                salt: fat.salt,
                norm_flags: fat.norm_flags,
                flags: fat.flags,
                leaves: fat.leaves,
                entries: fat.entries,
            },
        }
    }

    /// Returns the value of `name`, if it exists.
    ///
    /// # Errors
    ///
    /// Fails if a block cannot be read or is corrupt. A ZAP whose keys are words is corrupt: callers know the kind that
    /// the keys must have.
    pub fn lookup(&self, name: impl AsRef<[u8]>) -> Result<Option<Value>> {
        Ok(self.find(name, Match::Exact)?.map(|entry| entry.value))
    }

    /// Returns the value of `name` as a single integer, if it exists.
    ///
    /// # Errors
    ///
    /// Fails as [`Zap::lookup`], and if the value is not a single integer.
    pub fn lookup_u64(&self, name: impl AsRef<[u8]>) -> Result<Option<u64>> {
        self.lookup(name)?.map(|value| value.u64().map_err(|error| self.place(error))).transpose()
    }

    /// Returns the entry of `name` with the comparison `how`, if it exists. The entry has the name as it is stored.
    ///
    /// # Errors
    ///
    /// Fails as [`Zap::lookup`].
    pub fn find(&self, name: impl AsRef<[u8]>, how: Match) -> Result<Option<Entry>> {
        let name = name.as_ref();
        let flags = how.flags(self.norm_flags());
        let wanted = flags.normalize(name);
        let matches = |found: &[u8]| found == name || (!flags.is_empty() && flags.normalize(found) == wanted);
        match &self.repr {
            Repr::Micro(micro) => Ok(micro.find(name, matches)),
            Repr::Fat(fat) => fat
                .find(&Key::Name(name.to_vec()), |key| key.name().is_ok_and(matches))
                .map_err(|error| self.place(error)),
        }
    }

    /// Returns the value of a key of words, if it exists.
    ///
    /// # Errors
    ///
    /// Fails as [`Zap::lookup`]. A ZAP whose keys are names is corrupt.
    pub fn lookup_words(&self, words: &[u64]) -> Result<Option<Value>> {
        let key = Key::Words(words.to_vec());
        match &self.repr {
            Repr::Micro(_) => Err(self.place(value::wrong_kind(&key))),
            Repr::Fat(fat) => {
                let found = fat.find(&key, |found| *found == key).map_err(|error| self.place(error))?;
                Ok(found.map(|entry| entry.value))
            }
        }
    }

    /// Returns an iterator over all entries, in order. It ends after the first error.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        let (fat, ready) = match &self.repr {
            Repr::Micro(micro) => (None, micro.entries()),
            Repr::Fat(fat) => (Some(fat), Vec::new()),
        };
        Entries { at: self.at, fat, next: 0, table: None, ready: ready.into_iter() }
    }

    fn norm_flags(&self) -> NormFlags {
        match &self.repr {
            Repr::Micro(micro) => micro.norm_flags,
            Repr::Fat(fat) => fat.norm_flags,
        }
    }

    fn place(&self, error: Error) -> Error {
        error.at_bookmark(self.at)
    }
}

/// The entries of a ZAP, in order.
pub struct Entries<'a> {
    at: Bookmark,
    /// The ZAP, until its last leaf was read.
    fat: Option<&'a Fat<'a>>,
    /// The index in the pointer table at which the next leaf starts.
    next: u64,
    table: Option<(u64, Block)>,
    ready: vec::IntoIter<Entry>,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Some(Ok(entry));
            }
            let fat = self.fat?;
            if self.next >= fat.table_len() {
                return None;
            }
            match fat.leaf_entries(self.next, &mut self.table) {
                Ok((entries, next)) => (self.ready, self.next) = (entries.into_iter(), next),
                Err(error) => {
                    self.fat = None;
                    return Some(Err(error.at_bookmark(self.at)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
