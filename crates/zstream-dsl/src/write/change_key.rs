//! The verb `change-key`: other keys of users that wrap the keys of datasets (`spa_keystore_change_key`).
//!
//! The keys that protect data stay what they are; they are unwrapped with the old key and wrapped with the new one, those of
//! everything that has the same encryption root and lies below, or below a clone, too.

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

/// The key that a dataset is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// In what form the user gives it.
    pub format: KeyFormat,
    /// The key.
    pub key: WrappingKey,
    /// Where it comes from, the property `keylocation`; none for where the old one came from.
    pub location: Option<String>,
}

/// What a change of keys works on, after every rule was asked.
struct Subject {
    head: ObjectId,
    dir: ObjectId,
    /// Its encryption root so far.
    root: ObjectId,
}

impl<M: Mos> Dsl<M> {
    /// The encryption root of a dataset whose key is to be changed, by name, and whether that is itself.
    ///
    /// # Errors
    /// As [`WritablePool::change_key`].
    pub fn changeable_key(self: &Arc<Self>, name: &str) -> Result<(Arc<Dir<M>>, bool)> {
        let Subject { dir, root, .. } = self.subject(name)?;
        Ok((self.dir_by_object(root)?, root == dir))
    }

    /// The encryption root that a dataset has after it gave up being one itself (`change-key -i`).
    ///
    /// # Errors
    /// As [`WritablePool::inherit_key`].
    pub fn inheritable_key(self: &Arc<Self>, name: &str) -> Result<Arc<Dir<M>>> {
        let Subject { dir, root, .. } = self.subject(name)?;
        let dir = self.dir_by_object(dir)?;
        let refuse = |why: String| Err(Error::refused(Errno::EINVAL, why));
        if root != dir.object() {
            return refuse(format!("{name} is not an encryption root, and inherits its key already"));
        }
        let Some(parent) = dir.parent() else {
            return refuse(format!(
                "{name} is the root of the pool, which has nothing to inherit a key from"
            ));
        };
        match self.read().encryption_root(parent.object())? {
            Some(above) => self.dir_by_object(above),
            None => refuse(format!("{} is not encrypted, so it has no key to inherit", parent.name())),
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
    /// Wraps the keys of a dataset and of what depends on it anew. Nothing is changed unless all of them can be unwrapped.
    fn rewrap(&mut self, subject: &Subject, old: &WrappingKey, new: (ObjectId, &NewKey)) -> Result<()> {
        let (root, new) = new;
        let mut wrapped: Vec<(ObjectId, WrappedKey)> = Vec::new();
        let read = self.read();
        read.visit_tables(subject.dir, subject.root, &mut |dir, table| {
            let keys = CryptoKey::read(read.mos, table)?.wrapped.unwrap(old).map_err(|error| match error.fault() {
                PoolFault::WrongKey if dir != subject.dir => match read.dir_name(dir) {
                    Ok(name) => Error::refused(
                        Errno::EACCES,
                        format!("the key of its encryption root does not open {name}, so its keys cannot be wrapped anew"),
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
    /// Gives a dataset another key, with which it is an encryption root. `input` is what the user knows of its key so far,
    /// which is that of its encryption root.
    ///
    /// # Errors
    /// `EINVAL` when it is not encrypted, a clone, or becomes a root without a place of its key; `EACCES` when something that
    /// depends on it is not opened by its key; [`WrongKey`](PoolFault::WrongKey). Nothing was changed then.
    pub fn change_key(&mut self, name: &str, input: &[u8], new: &NewKey) -> Result<()> {
        let mut tx = self.tx();
        let subject = tx.dsl().subject(name)?;
        if subject.root != subject.dir && new.location.is_none() {
            return Err(Error::refused(
                Errno::EINVAL,
                format!("{name} becomes an encryption root: it needs a keylocation"),
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

    /// Makes a dataset inherit the key of the one above it, so that it is an encryption root no longer. `input` is what the
    /// user knows of its own key, `above` of that of the encryption root above.
    ///
    /// # Errors
    /// `EINVAL` when it is not an encryption root, a clone, the root of the pool, or below a dataset that is not encrypted;
    /// `EACCES` when something that depends on it is not opened by its key; [`WrongKey`](PoolFault::WrongKey). Nothing was changed then.
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
    /// The key that wraps the keys of a dataset: that of its encryption root, or where the two were parted, which old
    /// software did, the one that it came with.
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
