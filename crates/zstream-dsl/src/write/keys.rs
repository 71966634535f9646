//! Keys of encrypted directories: who uses them, and which directory's key wraps them.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::{NormFlags, Value};
use zstream_dmu::zio::crypt::{KeyFormat, WrappedKey};

use super::Tx;
use super::props::Setting;
use crate::keys::CRYPTO_KEY;
use crate::pool::ZAPIFIED;

/// How many directories use the keys: a clone has those of its origin.
const USES: &str = "DSL_CRYPTO_REFCOUNT";
/// The directory that is the encryption root.
const ROOT: &str = "DSL_CRYPTO_ROOT_DDOBJ";

impl Tx<'_> {
    /// Gives a dataset the keys of a raw stream, wrapped as they came. One that had none becomes its own encryption root,
    /// whose key is asked for (`dsl_crypto_recv_raw_key_sync`).
    ///
    /// # Errors
    /// When the MOS cannot be changed.
    pub fn receive_keys(&mut self, head: ObjectId, format: KeyFormat, wrapped: &WrappedKey) -> Result<()> {
        let dir = self.dataset(head)?.dir;
        let keys = match self.crypto_key(dir)? {
            Some(keys) => keys,
            None => {
                let keys = self.add_keys(head, dir)?;
                self.put_property(head, "keylocation", &Setting::Local(Value::string("prompt")))?;
                keys
            }
        };
        self.store_keys(keys, format, wrapped)
    }

    /// Gives a head a table for keys of its own, whose encryption root is `root`.
    pub(super) fn add_keys(&mut self, head: ObjectId, root: ObjectId) -> Result<ObjectId> {
        let dir = self.dataset(head)?.dir;
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
        let (format, salt, rounds) = format.numbers();
        let mut zap = self.zap(keys)?;
        for (name, number) in [
            ("DSL_CRYPTO_SUITE", u64::from(wrapped.suite.0)),
            ("DSL_CRYPTO_GUID", wrapped.guid.0),
            ("DSL_CRYPTO_VERSION", wrapped.version),
            ("keyformat", format),
            ("pbkdf2iters", rounds),
            ("pbkdf2salt", salt),
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
        Ok(())
    }

    /// Whether a dataset is an encryption root below another one.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub fn can_inherit_encryption_root(&self, head: ObjectId) -> Result<bool> {
        let dir = self.dataset(head)?.dir;
        Ok(self.encryption_root_above(dir)?.is_some()
            && self.encryption_root(dir)? == Some(dir)
            && !self.is_clone(dir)?)
    }

    /// Gives up an encryption root for that of the directory above, whose key wraps the same keys
    /// (`zfs change-key -i`, as a raw receive of a tree ends).
    ///
    /// # Errors
    /// `EINVAL` when the directory above is not encrypted, or when the MOS cannot be changed.
    pub fn inherit_encryption_root(&mut self, head: ObjectId) -> Result<()> {
        let dir = self.dataset(head)?.dir;
        let above = self.encryption_root_above(dir)?.ok_or_else(|| {
            Error::refused("EINVAL", "a dataset cannot inherit a key where nothing above it has one")
        })?;
        if self.encryption_root(dir)? != Some(dir) {
            return Ok(());
        }
        self.put_property(head, "keylocation", &Setting::Forget)?;
        self.change_encryption_root(dir, dir, above)
    }

    /// The encryption root of the directory above; none where that is not encrypted, or there is none.
    fn encryption_root_above(&self, dir: ObjectId) -> Result<Option<ObjectId>> {
        match self.dir(dir)?.parent {
            Some(parent) => self.encryption_root(parent),
            None => Ok(None),
        }
    }

    /// The keys of a directory; none unless it is encrypted.
    pub(super) fn crypto_key(&self, dir: ObjectId) -> Result<Option<ObjectId>> {
        self.lookup_object(self.own_zap(dir)?, CRYPTO_KEY)
    }

    /// The directory whose key wraps those of a directory; none unless it is encrypted.
    pub(super) fn encryption_root(&self, dir: ObjectId) -> Result<Option<ObjectId>> {
        match self.crypto_key(dir)? {
            Some(key) => self.lookup_object(Some(key), ROOT),
            None => Ok(None),
        }
    }

    /// Gives a clone the keys of its origin (`dsl_crypto_key_clone_sync`).
    pub(super) fn share_crypto_key(&mut self, from: ObjectId, to: ObjectId) -> Result<()> {
        let Some(key) = self.crypto_key(from)? else { return Ok(()) };
        let uses = self.lookup(Some(key), USES)?.map_or(Ok(1), |uses| uses.u64())?;
        self.zap(key)?.update(USES, &Value::word(uses + 1))?;
        self.set_entry(to, CRYPTO_KEY, &Value::word(key.0))
    }

    /// Uses the keys of an encrypted directory once less (`dsl_crypto_key_destroy_sync`).
    pub(super) fn drop_crypto_key(&mut self, dir: ObjectId) -> Result<()> {
        let Some(key) = self.crypto_key(dir)? else { return Ok(()) };
        match self.lookup(Some(key), USES)?.map_or(Ok(1), |uses| uses.u64())? {
            0 | 1 => self.free(key),
            uses => self.zap(key)?.update(USES, &Value::word(uses - 1)),
        }
    }

    /// Whether a directory is a clone of anything but the pool's empty origin.
    fn is_clone(&self, dir: ObjectId) -> Result<bool> {
        let origin = self.dir(dir)?.origin;
        Ok(origin.is_some() && origin != self.origin_snapshot()?)
    }

    /// Refuses to move a directory to where its keys would have another encryption root
    /// (`dsl_dir_rename_crypt_check`).
    pub(super) fn check_rename_keys(&self, dir: ObjectId, parent: ObjectId) -> Result<()> {
        let root = self.encryption_root(dir)?;
        if root.is_none() || root == Some(dir) || self.encryption_root(parent)? == root {
            return Ok(());
        }
        Err(Error::refused("EACCES", "a dataset cannot be moved away from its encryption root"))
    }

    /// Refuses to promote a clone where the keys that it shares would have another encryption root
    /// (`dsl_dataset_promote_crypt_check`).
    pub(super) fn check_promote_keys(&self, target: ObjectId, origin: ObjectId) -> Result<()> {
        let root = self.encryption_root(origin)?;
        if root.is_none() || self.is_clone(origin)? || root == Some(origin) {
            return Ok(());
        }
        let above = |dir: ObjectId| match self.dir(dir)?.parent {
            Some(parent) => self.encryption_root(parent),
            None => Ok(None),
        };
        if above(origin)?.is_some() && above(origin)? == above(target)? {
            return Ok(());
        }
        Err(Error::refused("EACCES", "a clone cannot take over keys that have another encryption root"))
    }

    /// Makes a clone that is promoted the encryption root where its origin was that
    /// (`dsl_dataset_promote_crypt_sync`).
    pub(super) fn promote_keys(&mut self, target: ObjectId, origin: ObjectId) -> Result<()> {
        if self.encryption_root(origin)? != Some(origin) || self.is_clone(origin)? {
            return Ok(());
        }
        let location = self.lookup(self.dir(origin)?.props, "keylocation")?;
        let (target_head, origin_head) = (self.head_of(target)?, self.head_of(origin)?);
        if let Some(location) = location {
            self.put_property(target_head, "keylocation", &Setting::Local(location))?;
        }
        self.put_property(origin_head, "keylocation", &Setting::Revert)?;
        self.change_encryption_root(origin, origin, target)
    }

    /// Makes the keys of a directory, and of those below and of their clones that had `old` as encryption root, have
    /// `new` (`spa_keystore_change_key_sync_impl`).
    fn change_encryption_root(&mut self, dir: ObjectId, old: ObjectId, new: ObjectId) -> Result<()> {
        // Each with whether its own keys were changed with those of its origin.
        let mut dirs = vec![(dir, false)];
        while let Some((dir, is_done)) = dirs.pop() {
            let name = self.dir_name(dir)?;
            let is_hidden = name.rsplit('/').next().is_some_and(|last| last.starts_with(['$', '%']));
            let Some(root) = self.encryption_root(dir)?.filter(|_| !is_hidden) else { continue };
            if !is_done {
                if root != old || self.is_clone(dir)? {
                    continue;
                }
                if let Some(key) = self.crypto_key(dir)? {
                    self.zap(key)?.update(ROOT, &Value::word(new.0))?;
                }
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
