//! Keys of encrypted datasets that are made (`dsl_crypto_key_create_sync`) and loaded.
//!
//! A new encrypted dataset gets keys of its own, wrapped by the key of its encryption root: itself, where a key is given for
//! it, else the one of the dataset above.

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

/// What wraps the keys of a new dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// The encryption root; none where that is the new dataset.
    pub root: Option<ObjectId>,
    /// In what form the user gives its key.
    pub format: KeyFormat,
    /// The key.
    pub key: WrappingKey,
}

impl Tx<'_> {
    /// Gives a new head without an object set keys of its own.
    ///
    /// # Errors
    /// `ENOTSUP` when the pool cannot have encrypted datasets; the suite does not exist.
    pub fn create_keys(
        &mut self,
        head: ObjectId,
        suite: CryptSuite,
        wrapping: &Wrapping,
    ) -> Result<Arc<DatasetKey>> {
        self.read().require_feature("encryption")?;
        if !self.read().feature_enabled("bookmark_v2")? {
            let erratum = Erratum::NoIvSet;
            let why =
                format!("new encrypted datasets need the feature bookmark_v2, or they would have {erratum}");
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
    /// Gives a new head without an object set keys of its own, with which its blocks are protected and read from now on.
    /// `location` is where the key of a new encryption root comes from.
    ///
    /// # Errors
    /// As [`Tx::create_keys`] and [`Tx::set_property`].
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

    /// What wraps the keys of those whose encryption root is `root`, if its key was loaded.
    #[must_use]
    pub fn wrapping(&self, root: ObjectId) -> Option<&Wrapping> {
        self.wrappings.get(&root)
    }

    /// Gives a head the keys of a raw stream, as [`Tx::receive_keys`] does, after it was made an encryption root with its old
    /// ones where `becomes_root` asks for it; gives the heads that became encryption roots because they have the old key.
    ///
    /// # Errors
    /// As [`Tx::make_encryption_root`] and [`Tx::receive_keys`].
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

    /// Keeps what wraps the keys of those whose encryption root is `root` from now on; none where nothing of it is known.
    pub(super) fn set_wrapping(&mut self, root: ObjectId, wrapping: Option<Wrapping>) {
        match wrapping {
            Some(wrapping) => self.wrappings.insert(root, Wrapping { root: Some(root), ..wrapping }),
            None => self.wrappings.remove(&root),
        };
    }

    /// Sets the keys with which the blocks of a head are protected and read.
    pub fn add_key(&mut self, head: ObjectId, key: &Arc<DatasetKey>) {
        self.keyring.insert(head.0, Arc::clone(key));
        self.pool.parts().writer.add_key(head.0, Arc::clone(key));
    }

    /// Loads the keys of every dataset whose encryption root is `root`, with what the user knows, and gives what wraps them:
    /// also those of what an interrupted receive has left. Those whose keys it does not open, though they say so, stay
    /// locked.
    ///
    /// # Errors
    /// [`WrongKey`](PoolFault::WrongKey) when the input is not the key; the root is not encrypted.
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
