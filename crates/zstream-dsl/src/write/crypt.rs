//! Creation (`dsl_crypto_key_create_sync`) and loading of the keys of encrypted datasets.
//!
//! A new encrypted dataset gets keys of its own. They are wrapped by the key of its encryption root: the dataset itself
//! if a key is given for it, or else that of the dataset above.

use std::sync::Arc;

use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::zap::Value;
use zstream_dmu::zio::crypt::{DatasetKey, KeyFormat, WrappedKey, WrappingKey};
use zstream_format::algorithm::CryptSuite;
use zstream_format::errno::Errno;

use super::{Setting, Tx, WritablePool};
use crate::dataset::{Dataset, Dir};
use crate::erratum::Erratum;
use crate::error::{Error, Result};
use crate::keys::CryptoKey;
use crate::reader::RECEIVE_CHILD;

/// The wrapping of the keys of a new dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// The encryption root; `None` if it is the new dataset.
    pub root: Option<ObjectId>,
    /// The form in which the user gives the key.
    pub format: KeyFormat,
    /// The key.
    pub key: WrappingKey,
}

impl Tx<'_> {
    /// Creates keys for a new head without an object set.
    ///
    /// # Errors
    /// Fails with `ENOTSUP` if the pool does not support encrypted datasets, or if the suite does not exist.
    pub(crate) fn create_keys(
        &mut self,
        head: ObjectId,
        suite: CryptSuite,
        wrapping: &Wrapping,
    ) -> Result<Arc<DatasetKey>> {
        self.read().require_feature("encryption")?;
        if !self.read().feature_enabled("bookmark_v2")? {
            let erratum = Erratum::NoIvSet;
            let why = format!(
                "new encrypted datasets require feature bookmark_v2: without it they would have {erratum}"
            );
            return Err(Error::refused(Errno::ENOTSUP, why));
        }
        let dir = self.read().dataset(head)?.dir;
        let key = DatasetKey::generate(suite, Guid(self.random()?))?;
        let wrapped = key.wrap(&wrapping.key)?;
        let keys = self.add_keys(head, wrapping.root.unwrap_or(dir))?;
        self.store_keys(keys, wrapping.format, &wrapped)?;
        Ok(Arc::new(key))
    }
}

impl WritablePool {
    /// Creates keys for a new head without an object set, with which its blocks are protected and read from now on.
    /// `location` is the location of the key of a new encryption root.
    ///
    /// # Errors
    /// Fails if the keys cannot be created, and like [`Tx::set_property`].
    pub fn encrypt(
        &mut self,
        head: ObjectId,
        suite: CryptSuite,
        wrapping: &Wrapping,
        location: Option<&str>,
    ) -> Result<()> {
        let mut tx = self.tx();
        let key = tx.create_keys(head, suite, wrapping)?;
        if let Some(location) = location {
            tx.set_property(head, "keylocation", &Setting::Local(Value::string(location)))?;
        }
        let root = wrapping.root.map_or_else(|| Ok(tx.read().dataset(head)?.dir), Ok::<_, Error>)?;
        self.add_key(head, &key);
        self.set_wrapping(root, Some(wrapping.clone()));
        Ok(())
    }

    /// Returns the wrapping of the datasets whose encryption root is `root`, if its key is loaded. A clone that became
    /// the root because it was promoted has the key of the former root.
    ///
    /// # Errors
    /// Fails if the keys of the root cannot be read.
    pub fn wrapping(&self, root: ObjectId) -> Result<Option<Wrapping>> {
        if let Some(wrapping) = self.wrappings.get(&root) {
            return Ok(Some(wrapping.clone()));
        }
        let Some(keys) = CryptoKey::of(&*self.dsl().dir_by_object(root)?)? else { return Ok(None) };
        let mut loaded = self.wrappings.values();
        let of_root = loaded.find(|wrapping| keys.wrapped.unwrap(&wrapping.key).is_ok());
        Ok(of_root.map(|wrapping| Wrapping { root: Some(root), ..wrapping.clone() }))
    }

    /// Gives a head the keys of a raw stream, like [`Tx::receive_keys`]. With `becomes_root`, it first becomes an
    /// encryption root with its old keys. Returns the heads that became encryption roots because they keep the old key.
    ///
    /// # Errors
    /// Fails like [`Tx::make_encryption_root`] and [`Tx::receive_keys`].
    pub fn receive_keys(
        &mut self,
        head: ObjectId,
        format: KeyFormat,
        wrapped: &WrappedKey,
        becomes_root: bool,
    ) -> Result<Vec<ObjectId>> {
        let mut tx = self.tx();
        let dir = tx.read().dataset(head)?.dir;
        let changes = tx.read().keys_of(dir)?.is_some_and(|keys| keys.wrapped != *wrapped);
        if changes && becomes_root && !tx.read().is_own_encryption_root(dir)? {
            tx.make_encryption_root(head, None)?;
        }
        let detached = tx.receive_keys(head, format, wrapped)?;
        if let (true, Some(root)) = (changes, tx.read().encryption_root(dir)?) {
            self.set_wrapping(root, None);
        }
        Ok(detached)
    }

    /// Stores the wrapping of the datasets whose encryption root is `root`; `None` if it is unknown.
    pub(super) fn set_wrapping(&mut self, root: ObjectId, wrapping: Option<Wrapping>) {
        match wrapping {
            Some(wrapping) => self.wrappings.insert(root, Wrapping { root: Some(root), ..wrapping }),
            None => self.wrappings.remove(&root),
        };
    }

    /// Sets the key with which the blocks of a head are protected and read.
    pub fn add_key(&mut self, head: ObjectId, key: &Arc<DatasetKey>) {
        self.keyring.insert(head.0, Arc::clone(key));
        self.pool.parts().writer.add_key(head.0, Arc::clone(key));
    }

    /// Loads the keys of every dataset whose encryption root is `root`, the state of interrupted receives included,
    /// with the user's input. Returns the wrapping. Datasets whose keys cannot be unwrapped with it, although they name
    /// that root, remain locked.
    ///
    /// # Errors
    /// Fails with [`WrongKey`](PoolFault::WrongKey) if the input is not the key, and if the root is not encrypted.
    pub fn load_key(&mut self, root: ObjectId, input: &[u8]) -> Result<Wrapping> {
        let mut found = Vec::new();
        let (wrapping, keys) = {
            let dsl = self.dsl();
            let dir = dsl.dir_by_object(root)?;
            let keys = CryptoKey::of(&dir)?.filter(|keys| keys.root == root);
            let keys = keys.ok_or_else(|| {
                Error::refused(Errno::EINVAL, format!("{} is not an encryption root", dir.name()))
            })?;
            let wrapping = WrappingKey::new(keys.format, input)?;
            drop(keys.wrapped.unwrap(&wrapping)?);
            let mut find = |dir: &Arc<Dir<_>>| -> Result<()> {
                let Some(keys) = CryptoKey::of(dir)?.filter(|keys| keys.root == root) else { return Ok(()) };
                match keys.wrapped.unwrap(&wrapping) {
                    Ok(key) => {
                        let head = dir.head()?;
                        let snapshots: Vec<_> = head.snapshots()?.iter().map(Dataset::object).collect();
                        found.push((head.object(), snapshots, Arc::new(key)));
                        Ok(())
                    }
                    Err(error) if matches!(error.fault(), PoolFault::WrongKey) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            };
            dsl.walk(&mut |dir| {
                find(dir)?;
                dir.child(RECEIVE_CHILD)?.map_or(Ok(()), |hidden| find(&hidden))
            })?;
            (wrapping, keys)
        };
        for (head, snapshots, key) in found {
            self.add_key(head, &key);
            for snapshot in snapshots {
                self.keyring.insert(snapshot.0, Arc::clone(&key));
            }
        }
        let wrapping = Wrapping { root: Some(root), format: keys.format, key: wrapping };
        self.wrappings.insert(root, wrapping.clone());
        Ok(wrapping)
    }
}
