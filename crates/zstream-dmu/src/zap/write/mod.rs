//! ZAPs that change, as OpenZFS changes them: block sizes, order of chunks and chains, and when a ZAP becomes fat, a leaf
//! is split or the pointer table grows.
//!
//! Two things are done at once that OpenZFS spreads over several calls: a pointer table in blocks of its own doubles in
//! one step, and a ZAP grows only when an entry is really added. Empty leaves stay.
//!
//! A new ZAP's salt comes from the caller, so that images can be reproducible.

mod fat;
mod leaf;
mod micro;

use zstream_format::object_type::ObjectType;
use zstream_format::phys::{FatZapHeader, MicroZapHeader};

use self::fat::FatMut;
use self::micro::{MicroMut, Place};
use super::leaf::{NAME_BYTES_MAX, VALUE_BYTES_MAX};
use super::unicode::NormFlags;
use super::value::{Key, Value};
use super::{ZapFlags, fat as fat_format};
use crate::dnode::NewObject;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_store::ObjectStore;

/// What a ZAP is to be when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewZap {
    /// What its hashes start with; the lowest bit is set in any case.
    pub salt: u64,
    /// How names are normalized.
    pub norm_flags: NormFlags,
    /// Flags. A ZAP with any is fat from the start, with blocks of the object's size.
    pub flags: ZapFlags,
}

impl NewZap {
    /// A plain ZAP of names.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { salt, norm_flags: NormFlags::empty(), flags: ZapFlags::empty() }
    }
}

/// Makes an object of this type that is an empty ZAP (`zap_create`).
///
/// # Errors
///
/// As for [`create_in`].
pub fn create(store: &mut dyn ObjectStore, object_type: ObjectType, zap: &NewZap) -> Result<ObjectId> {
    create_with(store, &NewObject::new(object_type, 0), zap)
}

/// Makes an object of this description that is an empty ZAP.
///
/// # Errors
///
/// As for [`create_in`].
pub fn create_with(store: &mut dyn ObjectStore, new: &NewObject, zap: &NewZap) -> Result<ObjectId> {
    let object = store.allocate(new)?;
    create_in(store, object, zap)?;
    Ok(object)
}

/// Makes an object that has no content an empty ZAP (`mzap_create_impl`).
///
/// # Errors
///
/// There is no such object, it cannot be written, or flags are asked for in blocks whose size is no power of two.
pub fn create_in(store: &mut dyn ObjectStore, object: ObjectId, zap: &NewZap) -> Result<()> {
    let info = store.info(object)?;
    let salt = zap.salt | 1;
    if zap.flags.is_empty() {
        return store.write(object, 0, &micro::empty(info.block_bytes as usize, salt, zap.norm_flags));
    }
    let shift = info.block_bytes.trailing_zeros();
    if !info.block_bytes.is_power_of_two() || !fat_format::BLOCK_SHIFT.contains(&shift) {
        return Err(Error::bad_request(format!("a fat ZAP with blocks of {} bytes", info.block_bytes)));
    }
    FatMut::create(store, object, shift, salt, zap.norm_flags, zap.flags).map(drop)
}

enum Repr {
    Micro(MicroMut),
    Fat(FatMut),
}

/// A ZAP open for change. It is to be opened anew after its object was changed in another way.
pub struct ZapMut<'a> {
    store: &'a mut dyn ObjectStore,
    object: ObjectId,
    repr: Repr,
}

impl<'a> ZapMut<'a> {
    /// Opens `object` of `store`.
    ///
    /// # Errors
    ///
    /// The object is not there, its first block cannot be read, or it is no ZAP.
    pub fn open(store: &'a mut dyn ObjectStore, object: ObjectId) -> Result<Self> {
        let at = Bookmark { objset: store.objset_id(), object, level: 0, block: BlockId(0) };
        let place = |error: Error| error.at_bookmark(at);
        let block = store
            .block(object, BlockId(0))?
            .ok_or_else(|| place(Error::corrupt("ZAP", "its first block is a hole")))?;
        let repr = match block.first_chunk::<8>().map(|word| u64::from_le_bytes(*word)) {
            Some(MicroZapHeader::BLOCK_TYPE) => Repr::Micro(MicroMut::parse(block.to_vec()).map_err(place)?),
            Some(FatZapHeader::BLOCK_TYPE) => Repr::Fat(FatMut::open(store, object, &block).map_err(place)?),
            found => {
                let found = found.unwrap_or_default();
                return Err(place(Error::corrupt("ZAP", format!("block type {found:#x}"))));
            }
        };
        Ok(Self { store, object, repr })
    }

    fn place(&self, error: Error) -> Error {
        let at =
            Bookmark { objset: self.store.objset_id(), object: self.object, level: 0, block: BlockId(0) };
        error.at_bookmark(at)
    }

    /// Adds an entry that is not there (`zap_add`).
    ///
    /// # Errors
    ///
    /// [`Fault::Exists`] when there is an entry of this key; key or value are too large, a block cannot be read or is bad.
    pub fn add(&mut self, key: impl Into<Key>, value: &Value) -> Result<()> {
        let key = key.into();
        judge(&key, value)?;
        if self.insert(&key, value).map_err(|error| self.place(error))? {
            Ok(())
        } else {
            Err(self.place(Error::exists("ZAP entry", key)))
        }
    }

    /// Sets the value of an entry, which is made where there is none (`zap_update`).
    ///
    /// # Errors
    ///
    /// Key or value are too large, a block cannot be read or is bad.
    pub fn update(&mut self, key: impl Into<Key>, value: &Value) -> Result<()> {
        let key = key.into();
        judge(&key, value)?;
        self.replace(&key, value).map_err(|error| self.place(error))
    }

    /// Removes an entry whose name is byte by byte this one (`zap_remove`).
    ///
    /// # Errors
    ///
    /// [`Fault::NoEntry`] when there is no entry of this key; a block cannot be read or is bad.
    pub fn remove(&mut self, key: impl Into<Key>) -> Result<()> {
        let key = key.into();
        if self.delete(&key).map_err(|error| self.place(error))? {
            Ok(())
        } else {
            Err(self.place(Error::no_entry("ZAP entry", key)))
        }
    }

    /// As [`remove`](Self::remove), but says whether there was such an entry.
    ///
    /// # Errors
    ///
    /// A block cannot be read or is bad.
    pub fn remove_if_there(&mut self, key: impl Into<Key>) -> Result<bool> {
        self.delete(&key.into()).map_err(|error| self.place(error))
    }

    /// A name that cannot be brought into the form that is hashed cannot be looked up (`zap_name_alloc`).
    fn check_form(&self, key: &Key) -> Result<()> {
        let norm_flags = match &self.repr {
            Repr::Micro(micro) => micro.norm_flags,
            Repr::Fat(fat) => fat.norm_flags,
        };
        match key {
            Key::Name(name) if norm_flags.form(name).is_none() => Err(Fault::NoForm(format!(
                    "the name {key} has no form in which it can be compared: it is too long in that form, or not UTF-8"
            )).into()),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, key: &Key, value: &Value) -> Result<bool> {
        self.check_form(key)?;
        loop {
            let micro = match &mut self.repr {
                Repr::Fat(fat) => return fat.add(self.store, key, value, None),
                Repr::Micro(micro) => micro,
            };
            let name = MicroMut::name_of(key).ok_or_else(|| word_key(self.object, key))?;
            if micro.find(name).is_some() {
                return Ok(false);
            }
            match (micro.place(name), value.single_word()) {
                ((Place::Slot(slot), differentiator), Some(word)) => {
                    micro.put(slot, name, word, differentiator);
                    self.put_slot(slot)?;
                    return Ok(true);
                }
                ((Place::Grown(bytes), _), Some(_)) => {
                    micro.block.resize(bytes, 0);
                    self.store.set_block_size(self.object, bytes as u32, 0)?;
                    self.store.write(self.object, 0, &micro.block)?;
                }
                _ => self.fatten()?,
            }
        }
    }

    fn replace(&mut self, key: &Key, value: &Value) -> Result<()> {
        if let Repr::Micro(micro) = &mut self.repr {
            let name = MicroMut::name_of(key).ok_or_else(|| word_key(self.object, key))?;
            let Some(slot) = micro.find(name) else {
                self.insert(key, value)?;
                return Ok(());
            };
            if let Some(word) = value.single_word() {
                micro.put_value(slot, word);
                return self.put_slot(slot);
            }
            self.fatten()?;
        }
        if let Repr::Fat(fat) = &mut self.repr
            && fat.update(self.store, key, value)?
        {
            return Ok(());
        }
        self.insert(key, value).map(drop)
    }

    fn delete(&mut self, key: &Key) -> Result<bool> {
        let micro = match &mut self.repr {
            Repr::Fat(fat) => return fat.remove(self.store, key),
            Repr::Micro(micro) => micro,
        };
        let name = MicroMut::name_of(key).ok_or_else(|| word_key(self.object, key))?;
        let Some(slot) = micro.find(name) else { return Ok(false) };
        micro.clear(slot);
        self.put_slot(slot)?;
        Ok(true)
    }

    /// Writes a slot of a micro ZAP.
    fn put_slot(&mut self, slot: usize) -> Result<()> {
        let Repr::Micro(micro) = &self.repr else { return Ok(()) };
        self.store.write(self.object, MicroMut::slot_offset(slot) as u64, micro.slot(slot))
    }

    /// Makes a micro ZAP a fat one (`mzap_upgrade`).
    fn fatten(&mut self) -> Result<()> {
        let Repr::Micro(micro) = &self.repr else { return Ok(()) };
        let entries = micro.entries()?;
        self.store.set_block_size(self.object, 1 << micro::FAT_SHIFT, 0)?;
        let mut fat = FatMut::create(
            self.store,
            self.object,
            micro::FAT_SHIFT,
            micro.salt,
            micro.norm_flags,
            ZapFlags::empty(),
        )?;
        for entry in entries {
            fat.add(self.store, &entry.key, &entry.value, Some(entry.differentiator))?;
        }
        self.repr = Repr::Fat(fat);
        Ok(())
    }
}

fn word_key(object: ObjectId, key: &Key) -> Error {
    Error::bad_request(format!("ZAP object {object} is asked for key {key}, but its keys are names"))
}

/// Holds key and value to their limits.
fn judge(key: &Key, value: &Value) -> Result<()> {
    let key_bytes = match key {
        Key::Name(name) if name.is_empty() || name.contains(&0) => {
            return Err(Fault::BadName(format!("{key} cannot be the name of a ZAP entry")).into());
        }
        Key::Name(name) => name.len() + 1,
        Key::Words(words) => 8 * words.len(),
    };
    if key_bytes > NAME_BYTES_MAX {
        return Err(too_large("ZAP key", key_bytes, NAME_BYTES_MAX));
    }
    let value_bytes = value.len() * usize::from(value.integer_bytes());
    if value_bytes > VALUE_BYTES_MAX {
        return Err(too_large("ZAP value", value_bytes, VALUE_BYTES_MAX));
    }
    Ok(())
}

fn too_large(what: &'static str, size: usize, limit: usize) -> Error {
    Fault::TooLarge { what, size: size as u64, limit: limit as u64 }.into()
}

#[cfg(test)]
mod tests;
