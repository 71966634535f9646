//! Changes to ZAPs, as in OpenZFS: the block sizes, the order of chunks and chains, and the conditions for the
//! conversion to a fat ZAP, for the splitting of leaves and for the growth of the pointer table.
//!
//! Two operations are atomic here that OpenZFS spreads over several calls: an external pointer table doubles in one
//! step, and a ZAP grows only if an entry is really added. Empty leaves remain.
//!
//! The salt of a new ZAP is a parameter, so that images can be reproducible.

mod fat;
mod leaf;
mod micro;

use zstream_format::object_type::ObjectType;
use zstream_format::phys::{FatZapHeader, MicroZapHeader};

use self::fat::FatMut;
use self::micro::{MicroMut, Place};
use super::leaf::{NAME_BYTES_MAX, VALUE_BYTES_MAX};
use super::unicode::NormFlags;
use super::value::{Key, Value, wrong_kind};
use super::{ZapFlags, fat as fat_format};
use crate::dnode::NewObject;
use crate::error::{Error, Fault, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_store::ObjectStore;

/// The properties of a new ZAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewZap {
    /// The salt of the hash, whose lowest bit is always set.
    pub salt: u64,
    /// The normalization of names.
    pub norm_flags: NormFlags,
    /// The flags. A ZAP with flags is fat from the start, with the block size of the object.
    pub flags: ZapFlags,
}

impl NewZap {
    /// Returns the properties of a ZAP of names without normalization.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { salt, norm_flags: NormFlags::empty(), flags: ZapFlags::empty() }
    }
}

/// Allocates an object of this type and creates an empty ZAP in it (`zap_create`).
///
/// # Errors
///
/// Fails as [`create_in`].
pub fn create(store: &mut dyn ObjectStore, object_type: ObjectType, zap: &NewZap) -> Result<ObjectId> {
    create_with(store, &NewObject::new(object_type, 0), zap)
}

/// Allocates an object with this description and creates an empty ZAP in it.
///
/// # Errors
///
/// Fails as [`create_in`].
pub fn create_with(store: &mut dyn ObjectStore, new: &NewObject, zap: &NewZap) -> Result<ObjectId> {
    let object = store.allocate(new)?;
    create_in(store, object, zap)?;
    Ok(object)
}

/// Creates an empty ZAP in an object without content (`mzap_create_impl`).
///
/// # Errors
///
/// Fails if the object does not exist, if it cannot be written, and if there are flags and the block size is not a
/// power of two.
pub fn create_in(store: &mut dyn ObjectStore, object: ObjectId, zap: &NewZap) -> Result<()> {
    let info = store.info(object)?;
    let salt = zap.salt | 1;
    if zap.flags.is_empty() {
        return store.write(object, 0, &micro::empty(info.block_bytes as usize, salt, zap.norm_flags));
    }
    let shift = info.block_bytes.trailing_zeros();
    if !info.block_bytes.is_power_of_two() || !fat_format::BLOCK_SHIFT.contains(&shift) {
        return Err(Error::bad_request(format!(
            "fat ZAP has blocks of {} bytes, expected a power of two from 512 to 1048576",
            info.block_bytes
        )));
    }
    FatMut::create(store, object, shift, salt, zap.norm_flags, zap.flags).map(drop)
}

enum Repr {
    Micro(MicroMut),
    Fat(FatMut),
}

/// A writable ZAP. It must be reopened if its object is changed in another way.
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
    /// Fails if the object does not exist, if its first block cannot be read, and if it is not a ZAP.
    pub fn open(store: &'a mut dyn ObjectStore, object: ObjectId) -> Result<Self> {
        let at = Bookmark { objset: store.objset_id(), object, level: 0, block: BlockId(0) };
        let place = |error: Error| error.at_bookmark(at);
        let block = store
            .block(object, BlockId(0))?
            .ok_or_else(|| place(Error::corrupt("ZAP", "first block is a hole")))?;
        let repr = match block.first_chunk::<8>().map(|word| u64::from_le_bytes(*word)) {
            Some(MicroZapHeader::BLOCK_TYPE) => Repr::Micro(MicroMut::parse(block.to_vec()).map_err(place)?),
            Some(FatZapHeader::BLOCK_TYPE) => Repr::Fat(FatMut::open(store, object, &block).map_err(place)?),
            found => {
                let found = found.unwrap_or_default();
                return Err(place(Error::corrupt("ZAP", format!("block type is {found:#x}"))));
            }
        };
        Ok(Self { store, object, repr })
    }

    fn place(&self, error: Error) -> Error {
        let at =
            Bookmark { objset: self.store.objset_id(), object: self.object, level: 0, block: BlockId(0) };
        error.at_bookmark(at)
    }

    /// Adds a new entry (`zap_add`).
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Exists`] if the key already exists. Fails if key or value are too large, and if a block cannot
    /// be read or is corrupt.
    pub fn add(&mut self, key: impl Into<Key>, value: &Value) -> Result<()> {
        let key = key.into();
        judge(&key, value)?;
        if self.insert(&key, value).map_err(|error| self.place(error))? {
            Ok(())
        } else {
            Err(self.place(Error::exists("ZAP entry", key)))
        }
    }

    /// Sets the value of an entry, which is added if it does not exist (`zap_update`).
    ///
    /// # Errors
    ///
    /// Fails if key or value are too large, and if a block cannot be read or is corrupt.
    pub fn update(&mut self, key: impl Into<Key>, value: &Value) -> Result<()> {
        let key = key.into();
        judge(&key, value)?;
        self.replace(&key, value).map_err(|error| self.place(error))
    }

    /// Removes the entry with exactly this name (`zap_remove`).
    ///
    /// # Errors
    ///
    /// Returns [`Fault::NoEntry`] if the key does not exist. Fails if a block cannot be read or is corrupt.
    pub fn remove(&mut self, key: impl Into<Key>) -> Result<()> {
        let key = key.into();
        if self.delete(&key).map_err(|error| self.place(error))? {
            Ok(())
        } else {
            Err(self.place(Error::no_entry("ZAP entry", key)))
        }
    }

    /// Removes an entry like [`remove`](Self::remove), and returns whether it existed.
    ///
    /// # Errors
    ///
    /// Fails if a block cannot be read or is corrupt.
    pub fn remove_if_there(&mut self, key: impl Into<Key>) -> Result<bool> {
        self.delete(&key.into()).map_err(|error| self.place(error))
    }

    /// Refuses a name without a normalization form, which cannot be looked up (`zap_name_alloc`).
    fn check_form(&self, key: &Key) -> Result<()> {
        let norm_flags = match &self.repr {
            Repr::Micro(micro) => micro.norm_flags,
            Repr::Fat(fat) => fat.norm_flags,
        };
        match key {
            Key::Name(name) if norm_flags.form(name).is_none() => Err(Fault::NoForm(format!(
                "name {key} cannot be normalized: it is not UTF-8, or too long after normalization"
            ))
            .into()),
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
            let name = MicroMut::name_of(key).ok_or_else(|| wrong_kind(key))?;
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
            let name = MicroMut::name_of(key).ok_or_else(|| wrong_kind(key))?;
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
        let name = MicroMut::name_of(key).ok_or_else(|| wrong_kind(key))?;
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

    /// Converts a micro ZAP to a fat ZAP (`mzap_upgrade`).
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

/// Checks the limits of key and value.
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
