//! Encryption of what `zstream create` and `zstream recv` make: which suite, and whose key wraps its keys.

use std::fs;

use zstream_dmu::error::Error;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::zio::crypt::{KeyFormat, WrappingKey};
use zstream_dsl::prop::parse::Parsed;
use zstream_dsl::write::{NewKey, Wrapping, WritablePool};
use zstream_format::algorithm::CryptSuite;
use zstream_recv::rules::{Encryption as Received, OwnKey};

use crate::failure::Failure;
use crate::pool::PoolOptions;
use crate::prompt;

/// Rounds of PBKDF2 unless told otherwise, and the least (`DEFAULT_PBKDF2_ITERATIONS`, `MIN_PBKDF2_ITERATIONS`).
const ROUNDS: u64 = 350_000;
const ROUNDS_MIN: u64 = 100_000;

/// The numbers of `encryption` that are no suite, and the suite that `on` means.
const ENCRYPTION_ON: u64 = 1;
const ENCRYPTION_OFF: u64 = 2;

const NO_FORMAT: &str = "no key format is given: -o keyformat=passphrase, hex or raw";
const KEY_WITHOUT_ENCRYPTION: &str = "a key is given, but encryption is off";

const NO_LOCATION: &str = "keylocation is prompt or file:///PATH";

/// The key in the file that a `keylocation` names; none where it names no file.
pub(super) fn key_at(location: &str) -> Option<Result<Vec<u8>, Failure>> {
    let path = location.strip_prefix("file://")?;
    Some(fs::read(path).map_err(|error| Failure::new(format_args!("{path}: {error}"))))
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    encryption: Option<u64>,
    format: Option<u64>,
    location: Option<String>,
    rounds: Option<u64>,
}

/// How a new dataset is encrypted.
#[derive(Debug)]
pub(super) struct Encryption {
    pub(super) suite: CryptSuite,
    pub(super) wrapping: Wrapping,
    /// Where the key comes from, where it is the dataset's own.
    pub(super) location: Option<String>,
}

impl Encryption {
    /// Gives a new dataset its keys.
    pub(super) fn apply(self, pool: &mut WritablePool, head: ObjectId) -> Result<(), Error> {
        let Self { suite, wrapping, location } = self;
        pool.encrypt(head, suite, &wrapping, location.as_deref())
    }
}

impl Wanted {
    /// Takes in a property of encryption, or says that it is none.
    pub(super) fn take(&mut self, parsed: &Parsed) -> bool {
        let number = parsed.value.u64().ok();
        match parsed.name.as_str() {
            "encryption" => self.encryption = number,
            "keyformat" => self.format = number.filter(|format| *format != 0),
            "pbkdf2iters" => self.rounds = number,
            "keylocation" => self.location = parsed.value.text().ok().map(str::to_owned),
            _ => return false,
        }
        true
    }

    /// Whether nothing but a place of the key is given, which can also be that of keys that are there or come.
    pub(super) fn is_location_only(&self) -> bool {
        let Self { encryption, format, location, rounds } = self;
        location.is_some() && encryption.is_none() && format.is_none() && rounds.is_none()
    }

    /// Decides on the keys of a new dataset; none unless it is to be encrypted. The key of the dataset above is asked for
    /// where that is encrypted and the new one has none of its own.
    pub(super) fn decide(
        &self,
        pool: &mut WritablePool,
        name: &str,
        options: &PoolOptions,
    ) -> Result<Option<Encryption>, Failure> {
        let refuse = |why: &str| Err(Failure::new(format_args!("cannot create '{name}': {why}")));
        let tx = pool.tx();
        let above = match name.rsplit_once('/') {
            Some((parent, _)) => tx.dir_named(parent)?.map(|dir| tx.keys_of(dir)).transpose()?.flatten(),
            None => None,
        };
        let asks_for_key = self.asks_for_key();
        let suite = match (self.encryption, &above) {
            (Some(ENCRYPTION_OFF), _) | (None, None) if asks_for_key => {
                return refuse(KEY_WITHOUT_ENCRYPTION);
            }
            (Some(ENCRYPTION_OFF), _) | (None, None) => return Ok(None),
            (Some(ENCRYPTION_ON), _) => CryptSuite::AES_256_GCM,
            (Some(suite), _) => CryptSuite(u8::try_from(suite).unwrap_or(u8::MAX)),
            (None, Some(above)) => above.wrapped.suite,
        };
        if let Some(own) = self.own_key(pool, name, options)? {
            return Ok(Some(Encryption { suite, wrapping: own.wrapping, location: Some(own.location) }));
        }
        let Some(above) = above else { return refuse(NO_FORMAT) };
        let wrapping = options.load_key(pool, above.root)?;
        Ok(Some(Encryption { suite, wrapping, location: None }))
    }

    /// How what a receive makes new at `name` or below is to be encrypted; none where nothing was asked for.
    pub(super) fn for_receive(
        &self,
        pool: &mut WritablePool,
        name: &str,
        options: &PoolOptions,
    ) -> Result<Option<Received>, Failure> {
        let own = self.own_key(pool, name, options)?;
        match (self.encryption, own) {
            (None, None) => Ok(None),
            (Some(ENCRYPTION_OFF), None) => Ok(Some(Received::Off)),
            (Some(ENCRYPTION_OFF), Some(_)) => {
                Err(Failure::new(format_args!("cannot receive into '{name}': {KEY_WITHOUT_ENCRYPTION}")))
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

    /// The key of a new encryption root; none unless a key format is given.
    fn own_key(
        &self,
        pool: &mut WritablePool,
        name: &str,
        options: &PoolOptions,
    ) -> Result<Option<OwnKey>, Failure> {
        let refuse = |why: &str| Err(Failure::new(format_args!("cannot create '{name}': {why}")));
        let Some(format) = self.format else {
            return if self.asks_for_key() { refuse(NO_FORMAT) } else { Ok(None) };
        };
        let format = match self.new_format(pool, format) {
            Ok(format) => format,
            Err(error) => return refuse(&error.to_string()),
        };
        let location = self.location.clone().unwrap_or_else(|| "prompt".to_owned());
        let input = match key_at(&location) {
            Some(key) => key?,
            None if location == "prompt" => options.key(name)?,
            None => return refuse(NO_LOCATION),
        };
        let key = WrappingKey::new(format, &input).map_err(|error: Error| Failure::new(error))?;
        Ok(Some(OwnKey { wrapping: Wrapping { root: None, format, key }, location }))
    }

    /// The form of a new key, with a salt where it is a passphrase.
    fn new_format(&self, pool: &mut WritablePool, format: u64) -> Result<KeyFormat, Error> {
        let rounds = self.rounds.unwrap_or(ROUNDS);
        if rounds < ROUNDS_MIN {
            return Err(Error::invalid("pbkdf2iters must be at least 100000"));
        }
        match format {
            3 => Ok(KeyFormat::Passphrase { salt: pool.tx().random()?, rounds }),
            _ if self.rounds.is_some() => Err(Error::invalid("pbkdf2iters is for passphrases")),
            other => KeyFormat::from_number(other, 0, 0),
        }
    }

    /// The key that a dataset is to have instead of its own (`change-key`), where `now` is the form of that and where it
    /// comes from: they stay what they are unless something else was asked for.
    pub(super) fn changed_key(
        &self,
        pool: &mut WritablePool,
        name: &str,
        now: Option<(KeyFormat, String)>,
    ) -> Result<NewKey, Failure> {
        let refuse = |why: &str| Err(Failure::new(format_args!("cannot change the key of '{name}': {why}")));
        let Some(format) = self.format.or(now.as_ref().map(|(format, _)| format.numbers().0)) else {
            return refuse(NO_FORMAT);
        };
        let format = match self.new_format(pool, format) {
            Ok(format) => format,
            Err(error) => return refuse(&error.to_string()),
        };
        let known = now.map(|(_, location)| location);
        let location = self.location.clone().or_else(|| known.is_none().then(|| "prompt".to_owned()));
        let place = location.as_ref().or(known.as_ref()).map_or("prompt", String::as_str);
        let input = match key_at(place) {
            Some(key) => key?,
            None if place == "prompt" => prompt::ask_new(name)?,
            None => return refuse(NO_LOCATION),
        };
        let key = WrappingKey::new(format, &input).map_err(Failure::new)?;
        Ok(NewKey { format, key, location })
    }

    fn asks_for_key(&self) -> bool {
        self.format.is_some() || self.location.is_some() || self.rounds.is_some()
    }
}
