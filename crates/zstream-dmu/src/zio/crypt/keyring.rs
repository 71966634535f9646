//! The loaded keys, by dataset.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use zstream_format::object_type::ObjectType;

use super::{CryptParams, DatasetKey};
use crate::blkptr::{BlockPointer, CryptKind};
use crate::error::{Error, Result};
use crate::ids::Bookmark;
use crate::lock;
use crate::zio::Decrypt;

/// The keys by the number of the object set whose blocks they decrypt. It is shared by the code that loads keys and
/// the block reader.
#[derive(Default)]
pub struct Keyring(RwLock<HashMap<u64, Arc<DatasetKey>>>);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} datasets)", lock::read(&self.0).len())
    }
}

impl Keyring {
    /// Adds the key of an object set.
    pub fn insert(&self, objset: u64, key: Arc<DatasetKey>) {
        lock::write(&self.0).insert(objset, key);
    }

    /// Returns the key of an object set, if it is loaded.
    #[must_use]
    pub fn get(&self, objset: u64) -> Option<Arc<DatasetKey>> {
        lock::read(&self.0).get(&objset).cloned()
    }
}

impl Decrypt for Keyring {
    fn decrypt(&self, bp: &BlockPointer, at: Bookmark, stored: &mut [u8]) -> Result<bool> {
        let Some(key) = self.get(at.objset) else { return Ok(false) };
        let object_type = bp.object_type();
        if object_type == ObjectType::OBJSET {
            key.verify_objset(stored, bp.byte_order())?;
            return Ok(true);
        }
        if object_type == ObjectType::INTENT_LOG && bp.crypt_kind() == CryptKind::Encrypted {
            let (Some(salt), Some(iv)) = (bp.salt(), bp.iv()) else {
                return Err(Error::corrupt("block pointer", "encrypted log block has no salt and IV"));
            };
            key.decrypt_log(stored, salt, iv)?;
            return Ok(true);
        }
        let mac = bp.mac().ok_or_else(|| Error::corrupt("block pointer", "encrypted block has no MAC"))?;
        if bp.crypt_kind() != CryptKind::Encrypted {
            key.authenticate(stored, &mac)?;
            return Ok(true);
        }
        let (Some(salt), Some(iv)) = (bp.salt(), bp.iv()) else {
            return Err(Error::corrupt("block pointer", "encrypted block has no salt and IV"));
        };
        let params = CryptParams { salt, iv, mac };
        if object_type == ObjectType::DNODE {
            key.decrypt_dnodes(stored, &params, bp.byte_order())?;
        } else {
            key.decrypt(stored, &params)?;
        }
        Ok(true)
    }
}
