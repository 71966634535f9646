//! Keys of encrypted directories: who uses them, and which directory's key wraps them.
//!
//! ```text
//! family    a directory and the clones of its snapshots, which share one table of keys
//! root      the directory whose key wraps the keys of a table; a family is *its own root* where that is one of it
//! ```
//!
//! What always holds: the key of the encryption root opens the keys of every directory that names it. Keys that are moved to
//! another root are wrapped anew ([`super::change_key`]), or their wrapping is known to be that of the other root, or the
//! directory becomes a root of its own, which needs no key.

use std::collections::BTreeSet;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::{NormFlags, Value};
use zstream_dmu::zio::crypt::{KeyFormat, WrappedKey};
use zstream_format::errno::Errno;

use super::Tx;
use super::props::Setting;
use crate::dataset::{Dataset, Dir};
use crate::error::{Error, Result};
use crate::keys::{CRYPTO_KEY, CryptoKey, ROOT};
use crate::reader::{Mos, MosReader, ZAPIFIED};

/// How many directories use the keys: a clone has those of its origin.
const USES: &str = "DSL_CRYPTO_REFCOUNT";

impl Tx<'_> {
    /// Gives a dataset the keys of a raw stream, wrapped as they came. One that had none becomes its own encryption root,
    /// whose key is asked for (`dsl_crypto_recv_raw_key_sync`). Where an encryption root gets another wrapping, what is
    /// wrapped by its old key becomes a root of its own, which the old key still opens; gives the heads of those.
    ///
    /// # Errors
    /// `EACCES` when the keys come with another wrapping and that is not for the dataset to change; when the MOS cannot be
    /// changed.
    pub fn receive_keys(
        &mut self,
        head: ObjectId,
        format: KeyFormat,
        wrapped: &WrappedKey,
    ) -> Result<Vec<ObjectId>> {
        let dir = self.read().dataset(head)?.dir;
        let Some(keys) = self.read().key_table(dir)? else {
            let keys = self.add_keys(head, dir)?;
            self.put_property(head, "keylocation", &Setting::Local(Value::string("prompt")))?;
            self.store_keys(keys, format, wrapped)?;
            return Ok(Vec::new());
        };
        if CryptoKey::read(self.read().mos, keys)?.wrapped == *wrapped {
            return Ok(Vec::new());
        }
        if !self.read().is_own_encryption_root(dir)? {
            let name = self.read().dir_name(dir)?;
            return Err(Error::refused(
                Errno::EACCES,
                format!("the key of {name} is wrapped by that of another dataset"),
            ));
        }
        let detached = self.detach_dependents(dir)?;
        self.store_keys(keys, format, wrapped)?;
        Ok(detached)
    }

    /// Makes the directories whose keys are wrapped by those of the root of `dir`, and that do not share them, encryption
    /// roots of their own, each with what is below it; gives their heads.
    fn detach_dependents(&mut self, dir: ObjectId) -> Result<Vec<ObjectId>> {
        let Some(root) = self.read().encryption_root(dir)? else { return Ok(Vec::new()) };
        let (mut found, mut family) = (Vec::new(), vec![root]);
        while let Some(at) = family.pop() {
            let phys = self.read().dir(at)?;
            for (name, child) in self.read().entries(phys.children)? {
                let child = ObjectId(child.u64()?);
                let depends = !is_hidden(&name)
                    && self.read().encryption_root(child)? == Some(root)
                    && !self.read().is_clone(child)?;
                if depends {
                    found.push(child);
                }
            }
            for clone in self.read().numbers(phys.clones)? {
                family.push(self.read().dataset(clone)?.dir);
            }
        }
        let heads = found.into_iter().map(|child| self.read().head_of(child)).collect::<Result<Vec<_>>>()?;
        heads.iter().try_for_each(|head| self.make_encryption_root(*head, None))?;
        Ok(heads)
    }

    /// Makes a dataset an encryption root without changing what wraps its keys: the same key opens it as before
    /// (`DCP_CMD_FORCE_NEW_KEY`). `location` is where the key comes from, unless it is asked for. Does nothing where it is
    /// one.
    ///
    /// # Errors
    /// `EINVAL` when it is a clone, which has the keys of its origin, or not encrypted; when the MOS cannot be changed.
    pub fn make_encryption_root(&mut self, head: ObjectId, location: Option<&str>) -> Result<()> {
        let dir = self.read().dataset(head)?.dir;
        let (keys, old) = match (self.read().key_table(dir)?, self.read().encryption_root(dir)?) {
            (Some(keys), Some(old)) => (keys, old),
            _ => {
                return Err(Error::refused(
                    Errno::EINVAL,
                    format!("{} is not encrypted", self.read().dir_name(dir)?),
                ));
            }
        };
        if old == dir {
            return Ok(());
        }
        self.read().refuse_clone_key(dir)?;
        // What is stored beside keys that have a root elsewhere may be of old software, which left it out.
        let of_root = self.read().key_table(old)?.ok_or_else(|| {
            Error::corrupt("crypto key", format!("the encryption root {old} of {dir} has no keys"))
        })?;
        let format = CryptoKey::read(self.read().mos, of_root)?.format;
        self.store_format(keys, format)?;
        let location = Value::string(location.unwrap_or("prompt"));
        self.put_property(head, "keylocation", &Setting::Local(location))?;
        self.change_encryption_root(dir, old, dir)
    }

    /// Gives a head a table for keys of its own, whose encryption root is `root`.
    pub(super) fn add_keys(&mut self, head: ObjectId, root: ObjectId) -> Result<ObjectId> {
        let dir = self.read().dataset(head)?.dir;
        let keys = self.create_zap(ZAPIFIED, NormFlags::empty())?;
        self.zap(keys)?.update(ROOT, &Value::word(root.0))?;
        self.zap(keys)?.update(USES, &Value::word(1))?;
        self.set_entry(dir, CRYPTO_KEY, &Value::word(keys.0))?;
        self.activate_feature(head, "encryption", &Value::word(0))?;
        Ok(keys)
    }

    /// Puts wrapped keys into their table (`dsl_crypto_key_sync_impl`).
    pub(super) fn store_keys(
        &mut self,
        keys: ObjectId,
        format: KeyFormat,
        wrapped: &WrappedKey,
    ) -> Result<()> {
        let mut zap = self.zap(keys)?;
        for (name, number) in [
            ("DSL_CRYPTO_SUITE", u64::from(wrapped.suite.0)),
            ("DSL_CRYPTO_GUID", wrapped.guid.0),
            ("DSL_CRYPTO_VERSION", wrapped.version),
        ] {
            zap.update(name, &Value::word(number))?;
        }
        for (name, bytes) in [
            ("DSL_CRYPTO_IV", &wrapped.iv[..]),
            ("DSL_CRYPTO_MAC", &wrapped.mac),
            ("DSL_CRYPTO_MASTER_KEY_1", &wrapped.master),
            ("DSL_CRYPTO_HMAC_KEY_1", &wrapped.hmac),
        ] {
            zap.update(name, &Value::from_bytes(bytes))?;
        }
        self.store_format(keys, format)
    }

    /// Puts into a table of keys in what form the user gives the key that wraps them.
    fn store_format(&mut self, keys: ObjectId, format: KeyFormat) -> Result<()> {
        let (format, salt, rounds) = format.numbers();
        let mut zap = self.zap(keys)?;
        for (name, number) in [("keyformat", format), ("pbkdf2iters", rounds), ("pbkdf2salt", salt)] {
            zap.update(name, &Value::word(number))?;
        }
        Ok(())
    }

    /// Gives up an encryption root for that of the directory above, of which the caller knows that the same key wraps both
    /// (`DCP_CMD_FORCE_INHERIT`, as a raw receive of a tree ends).
    ///
    /// # Errors
    /// `EINVAL` when the directory above is not encrypted, or when the MOS cannot be changed.
    pub fn inherit_encryption_root(&mut self, head: ObjectId) -> Result<()> {
        let dir = self.read().dataset(head)?.dir;
        let above = self.read().encryption_root_above(dir)?.ok_or_else(|| {
            Error::refused(Errno::EINVAL, "a dataset cannot inherit a key where nothing above it has one")
        })?;
        if self.read().encryption_root(dir)? != Some(dir) {
            return Ok(());
        }
        self.put_property(head, "keylocation", &Setting::Forget)?;
        self.change_encryption_root(dir, dir, above)
    }

    /// Gives a clone the keys of its origin (`dsl_crypto_key_clone_sync`).
    pub(super) fn share_crypto_key(&mut self, from: ObjectId, to: ObjectId) -> Result<()> {
        let Some(key) = self.read().key_table(from)? else { return Ok(()) };
        let uses = self.read().lookup(Some(key), USES)?.map_or(Ok(1), |uses| uses.u64())?;
        self.zap(key)?.update(USES, &Value::word(uses + 1))?;
        self.set_entry(to, CRYPTO_KEY, &Value::word(key.0))
    }

    /// Uses the keys of an encrypted directory once less (`dsl_crypto_key_destroy_sync`).
    pub(super) fn drop_crypto_key(&mut self, dir: ObjectId) -> Result<()> {
        let Some(key) = self.read().key_table(dir)? else { return Ok(()) };
        match self.read().lookup(Some(key), USES)?.map_or(Ok(1), |uses| uses.u64())? {
            0 | 1 => self.free(key),
            uses => Ok(self.zap(key)?.update(USES, &Value::word(uses - 1))?),
        }
    }

    /// Makes a clone that is promoted the encryption root where its origin was that
    /// (`dsl_dataset_promote_crypt_sync`).
    pub(super) fn promote_keys(&mut self, target: ObjectId, origin: ObjectId) -> Result<()> {
        if self.read().encryption_root(origin)? != Some(origin) || self.read().is_clone(origin)? {
            return Ok(());
        }
        let location = self.read().lookup(self.read().dir(origin)?.props, "keylocation")?;
        let (target_head, origin_head) = (self.read().head_of(target)?, self.read().head_of(origin)?);
        if let Some(location) = location {
            self.put_property(target_head, "keylocation", &Setting::Local(location))?;
        }
        self.put_property(origin_head, "keylocation", &Setting::Revert)?;
        self.change_encryption_root(origin, origin, target)
    }

    /// Makes the keys of a directory, and of those below and of their clones that had `old` as encryption root, have
    /// `new`, whose key wraps them already.
    fn change_encryption_root(&mut self, dir: ObjectId, old: ObjectId, new: ObjectId) -> Result<()> {
        let mut tables = Vec::new();
        self.read().visit_tables(dir, old, &mut |_, table| {
            tables.push(table);
            Ok(())
        })?;
        tables.into_iter().try_for_each(|table| self.set_root(table, new))
    }

    /// Sets the encryption root of a table of keys.
    pub(super) fn set_root(&mut self, table: ObjectId, root: ObjectId) -> Result<()> {
        Ok(self.zap(table)?.update(ROOT, &Value::word(root.0))?)
    }
}

impl<M: Mos> Dataset<M> {
    /// The encryption root that a head would have if it gave up being one; none where it is not one, is a clone, or lies
    /// below nothing that is encrypted.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub fn inheritable_root(&self) -> Result<Option<Arc<Dir<M>>>> {
        let (read, dir) = (self.dsl().read(), self.dir().object());
        if read.encryption_root(dir)? != Some(dir) || read.is_clone(dir)? {
            return Ok(None);
        }
        read.encryption_root_above(dir)?.map(|root| self.dsl().dir_by_object(root)).transpose()
    }
}

impl MosReader<'_> {
    /// Refuses to change the keys of a clone: they are those of its origin.
    pub(super) fn refuse_clone_key(self, dir: ObjectId) -> Result<()> {
        if !self.is_clone(dir)? {
            return Ok(());
        }
        let name = self.dir_name(dir)?;
        Err(Error::refused(Errno::EINVAL, format!("{name} is a clone and has the keys of its origin")))
    }

    /// The encryption root of the directory above; none where that is not encrypted, or there is none.
    pub(super) fn encryption_root_above(self, dir: ObjectId) -> Result<Option<ObjectId>> {
        match self.dir(dir)?.parent {
            Some(parent) => self.encryption_root(parent),
            None => Ok(None),
        }
    }

    /// Refuses to move a directory to where its keys would have another encryption root
    /// (`dsl_dir_rename_crypt_check`).
    pub(super) fn check_rename_keys(self, dir: ObjectId, parent: ObjectId) -> Result<()> {
        let root = self.encryption_root(dir)?;
        if root.is_none() || root == Some(dir) || self.encryption_root(parent)? == root {
            return Ok(());
        }
        Err(Error::refused(Errno::EACCES, "a dataset cannot be moved away from its encryption root"))
    }

    /// Refuses to promote a clone where the keys that it shares would have another encryption root
    /// (`dsl_dataset_promote_crypt_check`).
    pub(super) fn check_promote_keys(self, target: ObjectId, origin: ObjectId) -> Result<()> {
        let root = self.encryption_root(origin)?;
        if root.is_none() || self.is_clone(origin)? || root == Some(origin) {
            return Ok(());
        }
        let above = |dir: ObjectId| self.encryption_root_above(dir);
        if above(origin)?.is_some() && above(origin)? == above(target)? {
            return Ok(());
        }
        Err(Error::refused(Errno::EACCES, "a clone cannot take over keys that have another encryption root"))
    }

    /// Visits the table of keys of a directory, and those of what is below it and below clones that have the encryption root
    /// `root`, each once, with a directory that has it (`spa_keystore_change_key_sync_impl`).
    pub(super) fn visit_tables(
        self,
        dir: ObjectId,
        root: ObjectId,
        visit: &mut dyn FnMut(ObjectId, ObjectId) -> Result<()>,
    ) -> Result<()> {
        // Each with whether its own keys were visited with its origin.
        let mut dirs = vec![(dir, false)];
        // A directory may lie below a clone of its own snapshots.
        let mut seen = BTreeSet::new();
        while let Some((dir, is_done)) = dirs.pop() {
            let name = self.dir_name(dir)?;
            if name.rsplit('/').next().is_some_and(is_hidden) {
                continue;
            }
            let (Some(found), Some(table)) = (self.encryption_root(dir)?, self.key_table(dir)?) else {
                continue;
            };
            if !is_done && (found != root || self.is_clone(dir)?) {
                continue;
            }
            if !seen.insert(dir) {
                continue;
            }
            if !is_done {
                visit(dir, table)?;
            }
            let phys = self.dir(dir)?;
            for (_, child) in self.entries(phys.children)? {
                dirs.push((ObjectId(child.u64()?), false));
            }
            for clone in self.numbers(phys.clones)? {
                dirs.push((self.dataset(clone)?.dir, true));
            }
        }
        Ok(())
    }
}

/// Whether the last part of a name is one that ZFS keeps for itself.
fn is_hidden(last: &str) -> bool {
    last.starts_with(['$', '%'])
}
