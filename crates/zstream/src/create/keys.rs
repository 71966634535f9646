//! Encryption of new datasets: the suite, and the wrapping key.

use std::fs;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zio::crypt::{KeyFormat, WrappingKey};
use zstream_dsl::CryptoKey;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::prop::Parsed;
use zstream_dsl::write::{NewKey, Wrapping, WritablePool};
use zstream_format::algorithm::CryptSuite;
use zstream_recv::{Encryption as Received, OwnKey};

use crate::error::{EncryptionFault, Error, Result};
use crate::place::keys::{load_key, new_key};
use crate::place::{Keys, Secret};

/// The default and the minimum number of PBKDF2 iterations (`DEFAULT_PBKDF2_ITERATIONS`, `MIN_PBKDF2_ITERATIONS`).
const ROUNDS: u64 = 350_000;
const ROUNDS_MIN: u64 = 100_000;

/// The values of `encryption` that are not a suite, and the suite of `on`.
const ENCRYPTION_ON: u64 = 1;
const ENCRYPTION_OFF: u64 = 2;

/// The key in the file of a `keylocation`; none if it does not name a file.
#[must_use]
pub(crate) fn key_at(location: &str) -> Option<Result<Secret>> {
    let path = location.strip_prefix("file://")?;
    Some(fs::read(path).map(Secret::new).map_err(|source| Error::File { path: path.into(), source }))
}

/// The encryption properties of a new dataset: `encryption`, `keyformat`, `keylocation`, `pbkdf2iters`.
#[derive(Clone, Debug, Default)]
pub struct EncryptionProperties {
    encryption: Option<u64>,
    format: Option<u64>,
    /// The format was given as `none`.
    is_format_none: bool,
    location: Option<String>,
    rounds: Option<u64>,
}

/// The encryption of a new dataset.
#[derive(Debug)]
pub(crate) struct Encryption {
    suite: CryptSuite,
    wrapping: Wrapping,
    /// The property `keylocation`, if the dataset is an encryption root.
    location: Option<String>,
}

impl Encryption {
    /// Gives a new dataset its keys.
    pub(crate) fn apply(self, pool: &mut WritablePool, head: ObjectId) -> Result<(), DatasetError> {
        let Self { suite, wrapping, location } = self;
        pool.encrypt(head, suite, &wrapping, location.as_deref())
    }
}

impl EncryptionProperties {
    /// Consumes an encryption property; returns false for any other.
    pub fn take(&mut self, parsed: &Parsed) -> bool {
        let number = parsed.value.u64().ok();
        match parsed.name.as_str() {
            "encryption" => self.encryption = number,
            "keyformat" => {
                self.format = number.filter(|format| *format != 0);
                self.is_format_none = number == Some(0);
            }
            "pbkdf2iters" => self.rounds = number,
            "keylocation" => self.location = parsed.value.text().ok().map(str::to_owned),
            _ => return false,
        }
        true
    }

    /// The keys of a new dataset; none if it is not encrypted. Requests the key of the parent if the new dataset
    /// inherits it.
    pub(crate) fn decide(
        &self,
        pool: &mut WritablePool,
        name: &str,
        keys: &dyn Keys,
    ) -> Result<Option<Encryption>> {
        let refuse = |fault| Err(Error::Encryption { action: "create", name: name.to_owned(), fault });
        let above = match name.rsplit_once('/') {
            Some((parent, _)) => {
                pool.dsl().find_dir(parent)?.map(|dir| CryptoKey::of(&dir)).transpose()?.flatten()
            }
            None => None,
        };
        let asks_for_key = self.asks_for_key();
        let suite = match (self.encryption, &above) {
            (Some(ENCRYPTION_OFF), _) | (None, None) if asks_for_key => {
                return refuse(EncryptionFault::KeyWithoutEncryption);
            }
            (Some(ENCRYPTION_OFF), _) | (None, None) => return Ok(None),
            (Some(ENCRYPTION_ON), _) => CryptSuite::AES_256_GCM,
            (Some(suite), _) => CryptSuite(u8::try_from(suite).unwrap_or(u8::MAX)),
            (None, Some(above)) => above.wrapped.suite,
        };
        if let Some(own) = self.own_key(pool, name, keys)? {
            return Ok(Some(Encryption { suite, wrapping: own.wrapping, location: Some(own.location) }));
        }
        let Some(above) = above else { return refuse(EncryptionFault::NoFormat) };
        let wrapping = load_key(pool, above.root, keys)?;
        Ok(Some(Encryption { suite, wrapping, location: None }))
    }

    /// The encryption of datasets that a receive creates at `name` or below; none if no property was given.
    pub(crate) fn for_receive(
        &self,
        pool: &mut WritablePool,
        name: &str,
        keys: &dyn Keys,
    ) -> Result<Option<Received>> {
        let own = self.own_key(pool, name, keys)?;
        match (self.encryption, own) {
            (None, None) => Ok(None),
            (Some(ENCRYPTION_OFF), None) => Ok(Some(Received::Off)),
            (Some(ENCRYPTION_OFF), Some(_)) => {
                let fault = EncryptionFault::KeyWithoutEncryption;
                Err(Error::Encryption { action: "receive into", name: name.to_owned(), fault })
            }
            (Some(ENCRYPTION_ON), own) => {
                Ok(Some(Received::On { suite: Some(CryptSuite::AES_256_GCM), own }))
            }
            (suite, own) => {
                let suite = suite.map(|suite| CryptSuite(u8::try_from(suite).unwrap_or(u8::MAX)));
                Ok(Some(Received::On { suite, own }))
            }
        }
    }

    /// The key of a new encryption root; none if no key format is given.
    fn own_key(&self, pool: &mut WritablePool, name: &str, keys: &dyn Keys) -> Result<Option<OwnKey>> {
        let refuse = |fault| Err(Error::Encryption { action: "create", name: name.to_owned(), fault });
        let Some(format) = self.format else {
            return if self.asks_for_key() { refuse(EncryptionFault::NoFormat) } else { Ok(None) };
        };
        let format = match self.new_format(pool, format)? {
            Ok(format) => format,
            Err(fault) => return refuse(fault),
        };
        let location = self.location.clone().unwrap_or_else(|| "prompt".to_owned());
        let input = match key_at(&location) {
            Some(key) => key?,
            None if location == "prompt" => new_key(keys, name)?,
            None => return refuse(EncryptionFault::Location),
        };
        let key = WrappingKey::new(format, &input)?;
        Ok(Some(OwnKey { wrapping: Wrapping { root: None, format, key }, location }))
    }

    /// The format of a new key, with a salt if it is a passphrase.
    fn new_format(
        &self,
        pool: &mut WritablePool,
        format: u64,
    ) -> Result<std::result::Result<KeyFormat, EncryptionFault>> {
        let rounds = self.rounds.unwrap_or(ROUNDS);
        if rounds < ROUNDS_MIN {
            return Ok(Err(EncryptionFault::FewRounds));
        }
        Ok(match format {
            3 => Ok(KeyFormat::Passphrase { salt: pool.tx().random()?, rounds }),
            _ if self.rounds.is_some() => Err(EncryptionFault::RoundsWithoutPassphrase),
            other => Ok(KeyFormat::from_number(other, 0, 0)?),
        })
    }

    /// The new wrapping key of a dataset (`change-key`). `now` is the current format and location, which are kept
    /// unless the properties change them. `new` prompts for a key.
    ///
    /// # Errors
    /// The properties are not consistent; the key cannot be read, or has another format.
    pub(crate) fn changed_key(
        &self,
        pool: &mut WritablePool,
        name: &str,
        now: Option<(KeyFormat, String)>,
        new: &dyn Keys,
    ) -> Result<NewKey> {
        let action = "change the key of";
        let refuse = |fault| Err(Error::Encryption { action, name: name.to_owned(), fault });
        if self.is_format_none {
            return refuse(EncryptionFault::FormatNone);
        }
        let Some(format) = self.format.or(now.as_ref().map(|(format, _)| format.numbers().0)) else {
            return refuse(EncryptionFault::NoFormat);
        };
        let format = match self.new_format(pool, format)? {
            Ok(format) => format,
            Err(fault) => return refuse(fault),
        };
        let known = now.map(|(_, location)| location);
        let location = self.location.clone().or_else(|| known.is_none().then(|| "prompt".to_owned()));
        let place = location.as_ref().or(known.as_ref()).map_or("prompt", String::as_str);
        let input = match key_at(place) {
            Some(key) => key?,
            None if place == "prompt" => new_key(new, name)?,
            None => return refuse(EncryptionFault::Location),
        };
        Ok(NewKey { format, key: WrappingKey::new(format, &input)?, location })
    }

    /// The key location, if no other encryption property is given: it may then apply to existing or received keys.
    pub(crate) fn location_only(&self) -> Option<&str> {
        let Self { encryption, format, location, rounds, .. } = self;
        location.as_deref().filter(|_| encryption.is_none() && format.is_none() && rounds.is_none())
    }

    fn asks_for_key(&self) -> bool {
        self.format.is_some() || self.location.is_some() || self.rounds.is_some()
    }
}
