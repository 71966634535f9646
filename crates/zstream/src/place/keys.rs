//! Keys of encrypted datasets: their sources, and loading them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use zeroize::Zeroizing;
use zstream_dmu::ids::ObjectId;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::write::{Wrapping, WritablePool};
use zstream_format::errno::Errno;

use crate::control::{Control, Warning};
use crate::error::{Cause, Error, OtherError, Result};

/// An upper limit of the length of a key: a passphrase has up to 512 bytes.
const KEY_BYTES_MAX: u64 = 4096;

/// A key as its user knows it: a passphrase, hex digits or raw bytes. Its memory is overwritten when it is dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// A source of the keys of encrypted datasets.
pub trait Keys {
    /// The key of an encryption root: a passphrase, hex digits or raw bytes, according to its `keyformat`.
    ///
    /// # Errors
    /// The key is not available.
    fn key(&self, root: &str) -> Result<Secret, OtherError>;

    /// The key of an encryption root that is about to be created, or the new key of one. A prompt should ask twice, since
    /// nothing else notices a typing error.
    ///
    /// # Errors
    /// The key is not available.
    fn new_key(&self, root: &str) -> Result<Secret, OtherError> {
        self.key(root)
    }

    /// True if [`key`](Self::key) returns a key without a prompt. If false, optional keys are not requested.
    fn is_at_hand(&self) -> bool {
        true
    }
}

/// A function that takes the name of an encryption root.
impl<F: Fn(&str) -> Result<Secret, OtherError>> Keys for F {
    fn key(&self, root: &str) -> Result<Secret, OtherError> {
        self(root)
    }
}

/// No keys: encrypted datasets stay locked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

impl Keys for NoKeys {
    fn key(&self, root: &str) -> Result<Secret, OtherError> {
        Err(format!("{root} is encrypted, and no key was given").into())
    }

    fn is_at_hand(&self) -> bool {
        false
    }
}

/// One key, for all encryption roots.
#[derive(Clone)]
pub struct Key(
    /// A passphrase, hex digits or raw bytes.
    pub Secret,
);

impl Key {
    /// This key.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(key.into()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Keys for Key {
    fn key(&self, _: &str) -> Result<Secret, OtherError> {
        Ok(self.0.clone())
    }
}

/// A file that holds one key, for all encryption roots.
#[derive(Clone, Debug)]
pub struct KeyFile(
    /// Its path.
    pub PathBuf,
);

impl Keys for KeyFile {
    fn key(&self, _: &str) -> Result<Secret, OtherError> {
        let mut key = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX as usize));
        File::open(&self.0)
            .and_then(|file| file.take(KEY_BYTES_MAX).read_to_end(&mut key))
            .map_err(|error| format!("{}: {error}", self.0.display()))?;
        Ok(key)
    }
}

/// The key of an encryption root.
pub(crate) fn key(keys: &dyn Keys, root: &str) -> Result<Secret> {
    keys.key(root).map_err(|source| Error::NoKey { root: root.to_owned(), source })
}

/// The key that an encryption root is to get.
pub(crate) fn new_key(keys: &dyn Keys, root: &str) -> Result<Secret> {
    keys.new_key(root).map_err(|source| Error::NoKey { root: root.to_owned(), source })
}

/// The error of a key that does not open an encryption root.
pub(crate) fn wrong(root: &str) -> impl FnOnce(DatasetError) -> Error + '_ {
    move |source| Error::Key { root: root.to_owned(), source: source.into() }
}

/// Loads the key of a dataset, and thus of all datasets with the same encryption root. Does nothing if the dataset is
/// not encrypted or already unlocked.
///
/// # Errors
/// The key is not available ([`Error::NoKey`]) or does not open the dataset ([`Error::Key`]).
pub fn unlock(dataset: &Dataset, keys: &dyn Keys) -> Result<()> {
    if dataset.is_unlocked()? {
        return Ok(());
    }
    let Some(root) = dataset.encryption_root()? else { return Ok(()) };
    let key = key(keys, root.name())?;
    dataset.dsl().load_key(&root, &key).map_err(wrong(root.name()))?;
    if dataset.is_unlocked()? {
        return Ok(());
    }
    let name = dataset.dir().name();
    let why = format!(
        "it does not open {name}, which inherits it: run change-key on {name} with its original key to make it an \
         encryption root"
    );
    Err(wrong(root.name())(DatasetError::refused(Errno::EACCES, why)))
}

/// Loads the key of a head for writing, if it is encrypted.
///
/// # Errors
/// As [`unlock`].
pub fn unlock_to_write(pool: &mut WritablePool, head: ObjectId, keys: &dyn Keys) -> Result<()> {
    let of_head = pool.dsl().dataset_by_object(head)?.crypto_key()?;
    let Some(of_head) = of_head else { return Ok(()) };
    load_key(pool, of_head.root, keys).map(drop)
}

/// Loads the key of an encryption root of a pool that is open for changes.
///
/// # Errors
/// As [`unlock`].
pub fn load_key(pool: &mut WritablePool, root: ObjectId, keys: &dyn Keys) -> Result<Wrapping> {
    let name = pool.dsl().dir_by_object(root)?.name().to_owned();
    pool.load_key(root, &key(keys, &name)?).map_err(wrong(&name))
}

/// Available keys for reading many datasets. They unlock the datasets that they open, without a prompt.
pub(crate) struct TriedKeys<'a> {
    keys: &'a dyn Keys,
    /// Encryption roots that were tried, and the reason that the key does not open them.
    tried: BTreeMap<String, Option<Cause>>,
}

impl<'a> TriedKeys<'a> {
    pub(crate) fn new(keys: &'a dyn Keys) -> Self {
        Self { keys, tried: BTreeMap::new() }
    }

    /// Unlocks a dataset, if it is encrypted and the key opens it.
    pub(crate) fn unlock(&mut self, dataset: &Dataset) -> Result<()> {
        if !self.keys.is_at_hand() || dataset.is_unlocked()? {
            return Ok(());
        }
        let Some(root) = dataset.encryption_root()? else { return Ok(()) };
        if self.tried.contains_key(root.name()) {
            return Ok(());
        }
        let key = key(self.keys, root.name())?;
        let error = dataset.dsl().load_key(&root, &key).err().map(Cause::from);
        self.tried.insert(root.name().to_owned(), error);
        Ok(())
    }

    /// Fails if the key opens none of the datasets. Datasets with another key remain locked, with a warning.
    pub(crate) fn judge(self, control: &mut Control<'_>) -> Result<()> {
        let fits = self.tried.values().any(Option::is_none);
        for (root, error) in self.tried {
            match error {
                Some(source) if fits => control.warn(Warning::StaysLocked { root, source }),
                Some(source) => return Err(Error::Key { root, source }),
                None => {}
            }
        }
        Ok(())
    }
}
