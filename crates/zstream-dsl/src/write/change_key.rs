//! The verb `change-key`, which changes the user keys that wrap the keys of datasets (`spa_keystore_change_key`).
//!
//! The keys that protect data do not change. They are unwrapped with the old key and wrapped with the new one, together
//! with those of all datasets below, or below a clone, that have the same encryption root.

use std::sync::Arc;
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;
use zstream_dmu::zio::crypt::{KeyFormat, WrappedKey, WrappingKey};
use zstream_format::errno::Errno;

use super::{Setting, Tx, Wrapping, WritablePool};
use crate::dataset::Dir;
use crate::error::{Error, Result};
use crate::keys::CryptoKey;
use crate::pool::Dsl;
use crate::reader::{Mos, MosReader};

/// The new key of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The form in which the user gives the key.
    pub format: KeyFormat,
    /// The key.
    pub key: WrappingKey,
    /// The location of the key, the property `keylocation`; `None` to keep the old one.
    pub location: Option<String>,
}

/// The dataset of a change of keys, after all checks.
struct Subject {
    head: ObjectId,
    dir: ObjectId,
    /// Its encryption root so far.
    root: ObjectId,
}

impl<M: Mos> Dsl<M> {
    /// Returns the encryption root of a dataset whose key is to be changed, and whether that is the dataset itself.
    ///
    /// # Errors
    /// Fails like [`WritablePool::change_key`].
    pub fn changeable_key(self: &Arc<Self>, name: &str) -> Result<(Arc<Dir<M>>, bool)> {
        let Subject { dir, root, .. } = self.subject(name)?;
        Ok((self.dir_by_object(root)?, root == dir))
    }

    /// Returns the encryption root that a dataset gets when it stops being one itself (`change-key -i`).
    ///
    /// # Errors
    /// Fails like [`WritablePool::inherit_key`].
    pub fn inheritable_key(self: &Arc<Self>, name: &str) -> Result<Arc<Dir<M>>> {
        let Subject { dir, root, .. } = self.subject(name)?;
        let dir = self.dir_by_object(dir)?;
        let refuse = |why: String| Err(Error::refused(Errno::EINVAL, why));
        if root != dir.object() {
            return refuse(format!("{name} is not an encryption root: it inherits its key already"));
        }
        let Some(parent) = dir.parent() else {
            return refuse(format!("{name} is the root of the pool, and cannot inherit a key"));
        };
        match self.read().encryption_root(parent.object())? {
            Some(above) => self.dir_by_object(above),
            None => refuse(format!("{} is not encrypted, and has no key to inherit", parent.name())),
        }
    }

    fn subject(self: &Arc<Self>, name: &str) -> Result<Subject> {
        let head = self.head(name)?;
        let dir = head.dir().object();
        let Some(root) = self.read().encryption_root(dir)? else {
            return Err(Error::refused(Errno::EINVAL, format!("{name} is not encrypted")));
        };
        self.read().refuse_clone_key(dir)?;
        Ok(Subject { head: head.object(), dir, root })
    }
}

impl Tx<'_> {
    /// Rewraps the keys of a dataset and its dependents. Nothing changes unless all of them can be unwrapped.
    fn rewrap(&mut self, subject: &Subject, old: &WrappingKey, new: (ObjectId, &NewKey)) -> Result<()> {
        let (root, new) = new;
        let mut wrapped: Vec<(ObjectId, WrappedKey)> = Vec::new();
        let read = self.read();
        read.visit_tables(subject.dir, subject.root, &mut |dir, table| {
            let keys = CryptoKey::read(read.mos, table)?.wrapped.unwrap(old).map_err(|error| match error.fault() {
                PoolFault::WrongKey if dir != subject.dir => match read.dir_name(dir) {
                    Ok(name) => Error::refused(
                        Errno::EACCES,
                        format!("cannot rewrap the keys of {name}: they are not wrapped by the key of its encryption root"),
                    ),
                    Err(error) => error,
                },
                _ => error.into(),
            })?;
            wrapped.push((table, keys.wrap(&new.key)?));
            Ok(())
        })?;
        for (table, wrapped) in wrapped {
            self.store_keys(table, new.format, &wrapped)?;
            self.set_root(table, root)?;
        }
        Ok(())
    }
}

impl WritablePool {
    /// Gives a dataset another key, which makes it an encryption root. `input` is the user's input for its present key,
    /// which is that of its encryption root.
    ///
    /// # Errors
    /// Fails with `EINVAL` if the dataset is not encrypted, is a clone, or becomes an encryption root without
    /// `keylocation`; with `EACCES` if its key does not wrap the keys of a dependent; and with
    /// [`WrongKey`](PoolFault::WrongKey). Nothing has changed then.
    pub fn change_key(&mut self, name: &str, input: &[u8], new: &NewKey) -> Result<()> {
        let mut tx = self.tx();
        let subject = tx.dsl().subject(name)?;
        if subject.root != subject.dir && new.location.is_none() {
            return Err(Error::refused(
                Errno::EINVAL,
                format!("{name} becomes an encryption root, which requires keylocation"),
            ));
        }
        let old = tx.read().current_key(&subject, input)?;
        tx.rewrap(&subject, &old, (subject.dir, new))?;
        if let Some(location) = &new.location {
            tx.put_property(subject.head, "keylocation", &Setting::Local(Value::string(location)))?;
        }
        let wrapping = Wrapping { root: None, format: new.format, key: new.key.clone() };
        self.set_wrapping(subject.dir, Some(wrapping));
        Ok(())
    }

    /// Makes a dataset inherit the key of the dataset above it, so that it is no longer an encryption root. `input` is
    /// the user's input for its own key, `above` for that of the encryption root above.
    ///
    /// # Errors
    /// Fails with `EINVAL` if the dataset is not an encryption root, is a clone or the root of the pool, or is below a
    /// dataset that is not encrypted; with `EACCES` if its key does not wrap the keys of a dependent; and with
    /// [`WrongKey`](PoolFault::WrongKey). Nothing has changed then.
    pub fn inherit_key(&mut self, name: &str, input: &[u8], above: &[u8]) -> Result<()> {
        let mut tx = self.tx();
        let root = tx.dsl().inheritable_key(name)?.object();
        let subject = tx.dsl().subject(name)?;
        let old = tx.read().current_key(&subject, input)?;
        let keys = tx
            .read()
            .keys_of(root)?
            .ok_or_else(|| Error::corrupt("crypto key", "an encryption root has no keys"))?;
        let key = WrappingKey::new(keys.format, above)?;
        drop(keys.wrapped.unwrap(&key)?);
        let new = NewKey { format: keys.format, key, location: None };
        tx.rewrap(&subject, &old, (root, &new))?;
        tx.put_property(subject.head, "keylocation", &Setting::Revert)?;
        self.set_wrapping(subject.dir, None);
        self.set_wrapping(root, Some(Wrapping { root: None, format: new.format, key: new.key }));
        Ok(())
    }
}

impl MosReader<'_> {
    /// Returns the key that wraps the keys of a dataset: that of its encryption root or, if old software has parted the
    /// two, the one that belonged to the keys.
    fn current_key(self, subject: &Subject, input: &[u8]) -> Result<WrappingKey> {
        let missing = || Error::corrupt("crypto key", "an encryption root has no keys");
        let own = self.keys_of(subject.dir)?.ok_or_else(missing)?;
        let of_root = self.keys_of(subject.root)?.ok_or_else(missing)?;
        let mut failed = None;
        for format in [of_root.format, own.format] {
            let key = WrappingKey::new(format, input)?;
            match own.wrapped.unwrap(&key) {
                Ok(_) => return Ok(key),
                Err(error) => failed = Some(error.into()),
            }
        }
        Err(failed.unwrap_or_else(missing))
    }
}
