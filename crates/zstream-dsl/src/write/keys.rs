//! Keys of encrypted directories: the directories that use them, and the directory whose key wraps them.
//!
//! ```text
//! family    a directory and the clones of its snapshots, which share one table of keys
//! root      the directory whose key wraps the keys of a table; a family is *its own root* if that is one of its members
//! ```
//!
//! Invariant: the key of the encryption root unwraps the keys of every directory that names it. Before keys move to
//! another root, they are rewrapped ([`super::change_key`]), or their wrapping is known to be that of the other root,
//! or the directory becomes an encryption root of its own, which does not need a key.

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

/// The number of directories that use the keys: a clone has those of its origin.
const USES: &str = "DSL_CRYPTO_REFCOUNT";

impl Tx<'_> {
    /// Gives a dataset the wrapped keys of a raw stream. A dataset without keys becomes an encryption root with
    /// `keylocation=prompt` (`dsl_crypto_recv_raw_key_sync`). If an encryption root gets another wrapping, its
    /// dependents become encryption roots with the old key. Returns the heads of those.
    ///
    /// # Errors
    /// Fails with `EACCES` if the keys have another wrapping that the dataset must not take over, and if the MOS cannot
    /// be changed.
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
                format!("the keys of {name} are wrapped by the key of another dataset"),
            ));
        }
        let detached = self.detach_dependents(dir)?;
        self.store_keys(keys, format, wrapped)?;
        Ok(detached)
    }

    /// Makes encryption roots of the directories whose keys are wrapped by those of the root of `dir` and that do not
    /// share them, each with what is below it. Returns their heads.
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

    /// Makes a dataset an encryption root without rewrapping its keys: the same key still unwraps them
    /// (`DCP_CMD_FORCE_NEW_KEY`). `location` is the location of the key; `None` for `prompt`. Does nothing if the dataset
    /// already is an encryption root.
    ///
    /// # Errors
    /// Fails with `EINVAL` if it is a clone, which has the keys of its origin, or is not encrypted, and if the MOS
    /// cannot be changed.
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
        // Keys with a root elsewhere may be from old software, which did not store the format with them.
        let of_root = self.read().key_table(old)?.ok_or_else(|| {
            Error::corrupt("crypto key", format!("the encryption root {old} of {dir} has no keys"))
        })?;
        let format = CryptoKey::read(self.read().mos, of_root)?.format;
        self.store_format(keys, format)?;
        let location = Value::string(location.unwrap_or("prompt"));
        self.put_property(head, "keylocation", &Setting::Local(location))?;
        self.change_encryption_root(dir, old, dir)
    }

    /// Creates a table of keys for a head, whose encryption root is `root`.
    pub(super) fn add_keys(&mut self, head: ObjectId, root: ObjectId) -> Result<ObjectId> {
        let dir = self.read().dataset(head)?.dir;
        let keys = self.create_zap(ZAPIFIED, NormFlags::empty())?;
        self.zap(keys)?.update(ROOT, &Value::word(root.0))?;
        self.zap(keys)?.update(USES, &Value::word(1))?;
        self.set_entry(dir, CRYPTO_KEY, &Value::word(keys.0))?;
        self.activate_feature(head, "encryption", &Value::word(0))?;
        Ok(keys)
    }

    /// Stores wrapped keys in their table (`dsl_crypto_key_sync_impl`).
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

    /// Stores the form of the user key that wraps them in a table of keys.
    fn store_format(&mut self, keys: ObjectId, format: KeyFormat) -> Result<()> {
        let (format, salt, rounds) = format.numbers();
        let mut zap = self.zap(keys)?;
        for (name, number) in [("keyformat", format), ("pbkdf2iters", rounds), ("pbkdf2salt", salt)] {
            zap.update(name, &Value::word(number))?;
        }
        Ok(())
    }

    /// Replaces an encryption root by that of the directory above. The caller knows that the same key wraps both
    /// (`DCP_CMD_FORCE_INHERIT`, at the end of a raw receive of a tree).
    ///
    /// # Errors
    /// Fails with `EINVAL` if the directory above is not encrypted, and if the MOS cannot be changed.
    pub fn inherit_encryption_root(&mut self, head: ObjectId) -> Result<()> {
        let dir = self.read().dataset(head)?.dir;
        let above = self.read().encryption_root_above(dir)?.ok_or_else(|| {
            Error::refused(Errno::EINVAL, "cannot inherit a key: the dataset above is not encrypted")
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

    /// Removes one use of the keys of an encrypted directory (`dsl_crypto_key_destroy_sync`).
    pub(super) fn drop_crypto_key(&mut self, dir: ObjectId) -> Result<()> {
        let Some(key) = self.read().key_table(dir)? else { return Ok(()) };
        match self.read().lookup(Some(key), USES)?.map_or(Ok(1), |uses| uses.u64())? {
            0 | 1 => self.free(key),
            uses => Ok(self.zap(key)?.update(USES, &Value::word(uses - 1))?),
        }
    }

    /// Makes a promoted clone the encryption root if its origin was one (`dsl_dataset_promote_crypt_sync`).
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

    /// Replaces the encryption root `old` by `new` in the keys of a directory, of those below it and of their clones.
    /// The key of `new` already wraps them.
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
    /// Returns the encryption root that a head gets if it stops being one; `None` if it is not one, is a clone, or has no
    /// encrypted dataset above.
    ///
    /// # Errors
    /// Fails if the keys cannot be read.
    pub fn inheritable_root(&self) -> Result<Option<Arc<Dir<M>>>> {
        let (read, dir) = (self.dsl().read(), self.dir().object());
        if read.encryption_root(dir)? != Some(dir) || read.is_clone(dir)? {
            return Ok(None);
        }
        read.encryption_root_above(dir)?.map(|root| self.dsl().dir_by_object(root)).transpose()
    }
}

impl MosReader<'_> {
    /// Checks that a directory is not a clone, whose keys are those of its origin.
    pub(super) fn refuse_clone_key(self, dir: ObjectId) -> Result<()> {
        if !self.is_clone(dir)? {
            return Ok(());
        }
        let name = self.dir_name(dir)?;
        Err(Error::refused(Errno::EINVAL, format!("{name} is a clone and has the keys of its origin")))
    }

    /// Returns the encryption root of the directory above; `None` if that is not encrypted or does not exist.
    pub(super) fn encryption_root_above(self, dir: ObjectId) -> Result<Option<ObjectId>> {
        match self.dir(dir)?.parent {
            Some(parent) => self.encryption_root(parent),
            None => Ok(None),
        }
    }

    /// Checks that a moved directory keeps its encryption root (`dsl_dir_rename_crypt_check`).
    pub(super) fn check_rename_keys(self, dir: ObjectId, parent: ObjectId) -> Result<()> {
        let root = self.encryption_root(dir)?;
        if root.is_none() || root == Some(dir) || self.encryption_root(parent)? == root {
            return Ok(());
        }
        Err(Error::refused(Errno::EACCES, "cannot move a dataset away from its encryption root"))
    }

    /// Checks that the shared keys of a promoted clone keep their encryption root (`dsl_dataset_promote_crypt_check`).
    pub(super) fn check_promote_keys(self, target: ObjectId, origin: ObjectId) -> Result<()> {
        let root = self.encryption_root(origin)?;
        if root.is_none() || self.is_clone(origin)? || root == Some(origin) {
            return Ok(());
        }
        let above = |dir: ObjectId| self.encryption_root_above(dir);
        if above(origin)?.is_some() && above(origin)? == above(target)? {
            return Ok(());
        }
        Err(Error::refused(Errno::EACCES, "cannot promote a clone whose origin has another encryption root"))
    }

    /// Visits the table of keys of a directory, and those below it and below clones that have the encryption root
    /// `root`, each once, with a directory that uses it (`spa_keystore_change_key_sync_impl`).
    pub(super) fn visit_tables(
        self,
        dir: ObjectId,
        root: ObjectId,
        visit: &mut dyn FnMut(ObjectId, ObjectId) -> Result<()>,
    ) -> Result<()> {
        // The flag means that its own keys were visited with its origin.
        let mut dirs = vec![(dir, false)];
        // A directory may be below a clone of its own snapshots.
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

/// Returns `true` if ZFS reserves the last part of a name for itself.
fn is_hidden(last: &str) -> bool {
    last.starts_with(['$', '%'])
}
