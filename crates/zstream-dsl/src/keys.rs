//! Keys of encrypted datasets: reading the wrapped ones, and unwrapping them with the user's input.
//!
//! Each encrypted dataset has keys of its own. They are wrapped by the key of its *encryption root*, the dataset itself
//! or one above it, so that one passphrase unlocks a whole tree.

use std::sync::Arc;

use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::{Value, Zap};
use zstream_dmu::zio::crypt::{DatasetKey, KeyFormat, WrappedKey, WrappingKey};
use zstream_format::algorithm::CryptSuite;

use crate::dataset::{Dataset, Dir};
use crate::error::{Error, Fault, Result};
use crate::pool::Dsl;
use crate::reader::{Mos, MosReader};

/// The entry of an encrypted directory that refers to its keys.
pub(crate) const CRYPTO_KEY: &str = "com.datto:crypto_key_obj";

/// The entry of an encrypted snapshot that identifies this encryption of its content.
pub(crate) const IVSET_GUID: &str = "com.datto:ivset_guid";

/// The entry of a table of keys for the directory of the encryption root.
pub(crate) const ROOT: &str = "DSL_CRYPTO_ROOT_DDOBJ";

impl MosReader<'_> {
    /// Returns the table of keys of a directory; `None` unless it is encrypted.
    pub(crate) fn key_table(self, dir: ObjectId) -> Result<Option<ObjectId>> {
        self.entry_object(dir, CRYPTO_KEY)
    }

    /// Returns `true` if a directory has keys.
    pub(crate) fn is_encrypted(self, dir: ObjectId) -> Result<bool> {
        Ok(self.key_table(dir)?.is_some())
    }

    /// Returns the stored keys of a directory; `None` unless it is encrypted.
    pub(crate) fn keys_of(self, dir: ObjectId) -> Result<Option<CryptoKey>> {
        self.key_table(dir)?.map(|table| CryptoKey::read(self.mos, table)).transpose()
    }

    /// Returns the directory whose key wraps the keys of a directory; `None` unless it is encrypted.
    pub(crate) fn encryption_root(self, dir: ObjectId) -> Result<Option<ObjectId>> {
        match self.key_table(dir)? {
            Some(table) => self.lookup_object(Some(table), ROOT),
            None => Ok(None),
        }
    }

    /// Returns `true` if a directory is its own encryption root, or a clone that shares the keys of one.
    pub(crate) fn is_own_encryption_root(self, dir: ObjectId) -> Result<bool> {
        match self.encryption_root(dir)? {
            Some(root) => Ok(root == dir || self.key_table(root)? == self.key_table(dir)?),
            None => Ok(false),
        }
    }
}

/// The stored keys of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CryptoKey {
    /// The wrapped keys.
    pub wrapped: WrappedKey,
    /// The form in which the user gives the key that wraps them.
    pub format: KeyFormat,
    /// The directory that is the encryption root.
    pub root: ObjectId,
}

impl CryptoKey {
    /// Reads the keys of a directory; `None` unless it is encrypted.
    ///
    /// # Errors
    /// Fails if they cannot be read, or are not in ZFS's format.
    pub fn of<M: Mos>(dir: &Dir<M>) -> Result<Option<Self>> {
        dir.dsl().read().keys_of(dir.object())
    }

    /// Reads the keys in an object of the MOS.
    ///
    /// # Errors
    /// Fails if they cannot be read, or are not in ZFS's format.
    pub fn read(mos: &dyn ObjectSet, object: ObjectId) -> Result<Self> {
        let zap = Zap::open(mos, object)?;
        let find = |name: &str| -> Result<Value> {
            zap.lookup(name)?
                .ok_or_else(|| Error::corrupt("crypto key", format!("object {object} has no {name}")))
        };
        let number = |name: &str| Ok::<_, Error>(find(name)?.u64()?);
        let optional = |name: &str| zap.lookup_u64(name).map(Option::unwrap_or_default);
        let suite = number("DSL_CRYPTO_SUITE")?;
        Ok(Self {
            wrapped: WrappedKey {
                suite: CryptSuite(u8::try_from(suite).unwrap_or(u8::MAX)),
                guid: Guid(number("DSL_CRYPTO_GUID")?),
                version: optional("DSL_CRYPTO_VERSION")?,
                iv: bytes(&find("DSL_CRYPTO_IV")?)?,
                mac: bytes(&find("DSL_CRYPTO_MAC")?)?,
                master: bytes(&find("DSL_CRYPTO_MASTER_KEY_1")?)?,
                hmac: bytes(&find("DSL_CRYPTO_HMAC_KEY_1")?)?,
            },
            format: KeyFormat::from_number(
                number("keyformat")?,
                optional("pbkdf2salt")?,
                optional("pbkdf2iters")?,
            )?,
            root: ObjectId(number(ROOT)?),
        })
    }
}

fn bytes<const N: usize>(value: &Value) -> Result<[u8; N]> {
    let found = value.bytes()?;
    found
        .try_into()
        .map_err(|_| Error::corrupt("crypto key", format!("key part is {} bytes, expected {N}", found.len())))
}

/// The datasets that the key of an encryption root unlocks.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The directories whose keys it wraps, the root included, with their keys.
    pub keys: Vec<(Arc<Dir>, Arc<DatasetKey>)>,
    /// Directories that name it as their encryption root, but whose keys it does not unwrap.
    pub locked: Vec<Arc<Dir>>,
}

impl Dsl {
    /// Unwraps the keys of every dataset whose encryption root is `root`, with the user's input: see
    /// [`WrappingKey::new`].
    ///
    /// # Errors
    /// Fails with [`Fault::NotEncrypted`] or [`Fault::NotEncryptionRoot`] if `root` is not an encryption root, with
    /// [`BadKey`](PoolFault::BadKey) if the input does not have the right form, and with
    /// [`WrongKey`](PoolFault::WrongKey) if it is another key.
    pub fn open_keys(self: &Arc<Self>, root: &Arc<Dir>, input: &[u8]) -> Result<Opened> {
        let not_encrypted = || Fault::NotEncrypted(root.name().to_owned());
        let key = CryptoKey::of(root)?.ok_or_else(not_encrypted)?;
        if key.root != root.object() {
            let above = self.dir_by_object(key.root)?.name().to_owned();
            return Err(Fault::NotEncryptionRoot { name: root.name().to_owned(), root: above }.into());
        }
        let wrapping = WrappingKey::new(key.format, input)?;
        drop(key.wrapped.unwrap(&wrapping)?);
        let mut opened = Opened { keys: Vec::new(), locked: Vec::new() };
        // Clones have the encryption root of their origin, wherever they are in the tree.
        self.walk(&mut |dir| {
            if let Some(key) = CryptoKey::of(dir)?
                && key.root == root.object()
            {
                match key.wrapped.unwrap(&wrapping) {
                    Ok(key) => opened.keys.push((dir.clone(), Arc::new(key))),
                    Err(error) if matches!(error.fault(), PoolFault::WrongKey) => {
                        opened.locked.push(dir.clone())
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        Ok(opened)
    }

    /// Loads the keys of every dataset whose encryption root is `root`, like `zfs load-key`. Returns the number of
    /// datasets, snapshots included. Datasets that name that root, but whose keys it does not unwrap, remain locked.
    ///
    /// # Errors
    /// Fails like [`open_keys`](Self::open_keys). Nothing is loaded then.
    pub fn load_key(self: &Arc<Self>, root: &Arc<Dir>, input: &[u8]) -> Result<usize> {
        let mut count = 0;
        for (dir, key) in self.open_keys(root, input)?.keys {
            let head = dir.head()?;
            for dataset in head.snapshots()?.iter().chain([&head]) {
                self.keyring().insert(dataset.object().0, key.clone());
                count += 1;
            }
        }
        Ok(count)
    }
}

impl<M: Mos> Dataset<M> {
    /// Returns its stored keys; `None` unless it is encrypted.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn crypto_key(&self) -> Result<Option<CryptoKey>> {
        CryptoKey::of(self.dir())
    }

    /// Returns the IV set of an encrypted snapshot; `None` if the version of ZFS that took it did not give it one.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn ivset_guid(&self) -> Result<Option<u64>> {
        let guid = self.entry(IVSET_GUID)?.map(|guid| guid.u64()).transpose()?;
        Ok(guid.filter(|guid| *guid != 0))
    }

    /// Returns the directory whose key unlocks it; `None` unless it is encrypted.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn encryption_root(&self) -> Result<Option<Arc<Dir<M>>>> {
        self.crypto_key()?.map(|key| self.dsl().dir_by_object(key.root)).transpose()
    }

    /// Returns `true` if it is its own encryption root, or a clone that shares the keys of one.
    ///
    /// # Errors
    /// Fails if the keys cannot be read.
    pub fn is_own_encryption_root(&self) -> Result<bool> {
        self.dsl().read().is_own_encryption_root(self.dir().object())
    }

    /// Returns `true` if its key is loaded, or if it is not encrypted.
    ///
    /// # Errors
    /// Fails if its keys cannot be read.
    pub fn is_unlocked(&self) -> Result<bool> {
        Ok(self.dsl().keyring().get(self.object().0).is_some() || self.crypto_key()?.is_none())
    }
}
