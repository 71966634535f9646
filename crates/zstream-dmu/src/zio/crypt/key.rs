//! The derivation of the keys of a dataset from the user's key.
//!
//! ```text
//! passphrase --PBKDF2--> wrapping key (32 bytes) --AEAD--> master key, HMAC key (64 bytes)
//! raw, hex ------------>
//! ```

use std::fmt;

use sha1::Sha1;
use zeroize::Zeroizing;
use zstream_format::algorithm::CryptSuite;

use super::cipher::{Cipher, key_len};
use super::random::random;
use super::{DatasetKey, IV_BYTES, MAC_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::Guid;

/// The maximum number of rounds of PBKDF2 that are accepted from a pool: some minutes of work.
const PBKDF2_ROUNDS_MAX: u64 = 100_000_000;
/// The version of new keys.
const KEY_VERSION: u64 = 1;
/// The lengths of a passphrase that `zfs` accepts.
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 8..=512;

/// The format of the user's key (`keyformat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// 32 bytes.
    Raw,
    /// 64 hex digits.
    Hex,
    /// A text of 8 to 512 bytes, stretched by PBKDF2-HMAC-SHA1.
    Passphrase {
        /// `pbkdf2salt`
        salt: u64,
        /// `pbkdf2iters`
        rounds: u64,
    },
}

impl KeyFormat {
    /// Returns the format with this number in the pool. Salt and rounds apply only to a passphrase.
    ///
    /// # Errors
    /// Returns [`Fault::Unsupported`] for an unknown number.
    pub fn from_number(number: u64, salt: u64, rounds: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::Raw),
            2 => Ok(Self::Hex),
            3 => Ok(Self::Passphrase { salt, rounds }),
            other => Err(Error::unsupported(format!("key format {other}"))),
        }
    }

    /// Returns the number in the pool, the salt and the rounds, which are 0 for other formats than a passphrase.
    #[must_use]
    pub fn numbers(self) -> (u64, u64, u64) {
        match self {
            Self::Raw => (1, 0, 0),
            Self::Hex => (2, 0, 0),
            Self::Passphrase { salt, rounds } => (3, salt, rounds),
        }
    }

    /// Returns the name in the output of `zfs get keyformat`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Passphrase { .. } => "passphrase",
        }
    }
}

/// The key that wraps the keys of a dataset. Its memory is overwritten on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappingKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(..)")
    }
}

impl WrappingKey {
    /// Creates a key from the user's input: the content of a key file, or a typed line. A trailing newline of a
    /// passphrase or of hex digits is ignored.
    ///
    /// # Errors
    /// Returns [`Fault::BadKey`] if the input is not in the format `format`.
    pub fn new(format: KeyFormat, input: &[u8]) -> Result<Self> {
        let line = input.strip_suffix(b"\n").unwrap_or(input);
        match format {
            KeyFormat::Raw => Ok(Self(Zeroizing::new(
                input
                    .try_into()
                    .map_err(|_| Fault::BadKey(format!("raw key is {} bytes, expected 32", input.len())))?,
            ))),
            KeyFormat::Hex => Self::from_hex(line),
            KeyFormat::Passphrase { salt, rounds } => {
                if !PASSPHRASE_BYTES.contains(&line.len()) {
                    return Err(Fault::BadKey(format!(
                        "passphrase is {} bytes, expected 8 to 512",
                        line.len()
                    ))
                    .into());
                }
                if rounds > PBKDF2_ROUNDS_MAX {
                    return Err(Fault::TooLarge {
                        what: "pbkdf2iters",
                        size: rounds,
                        limit: PBKDF2_ROUNDS_MAX,
                    }
                    .into());
                }
                let mut key = Zeroizing::new([0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha1>(line, &salt.to_le_bytes(), rounds as u32, &mut *key);
                Ok(Self(key))
            }
        }
    }

    fn from_hex(digits: &[u8]) -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        if digits.len() != 64 {
            return Err(Fault::BadKey(format!("hex key has {} digits, expected 64", digits.len())).into());
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let text =
                std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = text
                .and_then(|text| u8::from_str_radix(text, 16).ok())
                .ok_or_else(|| Fault::BadKey("hex key has characters that are not hex digits".to_owned()))?;
        }
        Ok(Self(key))
    }
}

/// The wrapped keys of a dataset, as stored in the pool and in raw streams (`DSL_CRYPTO_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// `DSL_CRYPTO_SUITE`
    pub suite: CryptSuite,
    /// `DSL_CRYPTO_GUID`
    pub guid: Guid,
    /// `DSL_CRYPTO_VERSION`: 1, or 0 if it is missing.
    pub version: u64,
    /// `DSL_CRYPTO_IV`
    pub iv: [u8; IV_BYTES],
    /// `DSL_CRYPTO_MAC`
    pub mac: [u8; MAC_BYTES],
    /// `DSL_CRYPTO_MASTER_KEY_1`, padded with zeros to 32 bytes.
    pub master: [u8; 32],
    /// `DSL_CRYPTO_HMAC_KEY_1`
    pub hmac: [u8; 64],
}

impl WrappedKey {
    /// Unwraps the keys.
    ///
    /// # Errors
    /// Returns [`Fault::WrongKey`] if the keys were not wrapped with `key`, and [`Fault::Unsupported`] for an unknown
    /// suite or version.
    pub fn unwrap(&self, key: &WrappingKey) -> Result<DatasetKey> {
        if self.version > 1 {
            return Err(Error::unsupported(format!("encryption key version {}", self.version)));
        }
        let len = key_len(self.suite)?;
        let mut message = Zeroizing::new([&self.master[..len], &self.hmac[..]].concat());
        let authenticated = authenticated(self.suite, self.guid, self.version);
        Cipher::wrapping(self.suite, &key.0)?
            .decrypt(&self.iv, &authenticated, &mut message, &self.mac, "the wrapped keys")
            .map_err(|_| Fault::WrongKey)?;
        let mut hmac = Zeroizing::new([0; 64]);
        hmac.copy_from_slice(&message[len..]);
        message.truncate(len);
        Ok(DatasetKey::new(self.suite, self.guid, self.version, message, hmac))
    }
}

impl DatasetKey {
    /// Generates new keys of a suite.
    ///
    /// # Errors
    /// Fails if the suite does not exist, and if the system does not provide random numbers.
    pub fn generate(suite: CryptSuite, guid: Guid) -> Result<Self> {
        let master = Zeroizing::new(Zeroizing::new(random::<32>()?)[..key_len(suite)?].to_vec());
        Ok(Self::new(suite, guid, KEY_VERSION, master, Zeroizing::new(random()?)))
    }

    /// Returns the same keys for a dataset of another version of the format. Keys of version 0 are no longer created;
    /// this is for tests of datasets that have them.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// Wraps the keys.
    ///
    /// # Errors
    /// Fails if the system does not provide random numbers.
    pub fn wrap(&self, key: &WrappingKey) -> Result<WrappedKey> {
        let mut message = Zeroizing::new([&self.master[..], &self.hmac[..]].concat());
        let iv = random()?;
        let mac = Cipher::wrapping(self.suite, &key.0)?.encrypt(
            &iv,
            &authenticated(self.suite, self.guid, self.version),
            &mut message,
        )?;
        let (wrapped_master, wrapped_hmac) = message.split_at(self.master.len());
        let (mut master, mut hmac) = ([0; 32], [0; 64]);
        master[..wrapped_master.len()].copy_from_slice(wrapped_master);
        hmac.copy_from_slice(wrapped_hmac);
        Ok(WrappedKey { suite: self.suite, guid: self.guid, version: self.version, iv, mac, master, hmac })
    }
}

/// Returns the data that is authenticated with wrapped keys.
fn authenticated(suite: CryptSuite, guid: Guid, version: u64) -> Vec<u8> {
    let mut authenticated = guid.0.to_le_bytes().to_vec();
    if version > 0 {
        authenticated.extend(u64::from(suite.0).to_le_bytes());
        authenticated.extend(version.to_le_bytes());
    }
    authenticated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_unwrapped_with_the_same_key_only() {
        for suite in [CryptSuite::AES_128_CCM, CryptSuite::AES_192_GCM, CryptSuite::AES_256_GCM] {
            let key = DatasetKey::generate(suite, Guid(7)).unwrap();
            let user = WrappingKey(Zeroizing::new([3; 32]));
            let wrapped = key.wrap(&user).unwrap();
            let back = wrapped.unwrap(&user).unwrap();
            assert_eq!((&back.master, &back.hmac, back.guid), (&key.master, &key.hmac, key.guid));
            assert!(wrapped.master[..16] != key.master[..16]);
            let error = wrapped.unwrap(&WrappingKey(Zeroizing::new([4; 32]))).unwrap_err();
            assert!(matches!(error.fault(), Fault::WrongKey));
            assert!(WrappedKey { guid: Guid(8), ..wrapped }.unwrap(&user).is_err());
        }
    }

    #[test]
    fn forms_of_a_key_are_judged() {
        let text = |format, input: &[u8]| WrappingKey::new(format, input).unwrap_err().to_string();
        assert_eq!(text(KeyFormat::Raw, &[0; 31]), "raw key is 31 bytes, expected 32");
        assert_eq!(text(KeyFormat::Hex, b"12\n"), "hex key has 2 digits, expected 64");
        assert_eq!(text(KeyFormat::Hex, &[b'+'; 64]), "hex key has characters that are not hex digits");
        let passphrase = KeyFormat::Passphrase { salt: 1, rounds: 1000 };
        assert_eq!(text(passphrase, b"short"), "passphrase is 5 bytes, expected 8 to 512");
        let slow = KeyFormat::Passphrase { salt: 1, rounds: u64::MAX };
        assert!(text(slow, b"long enough").starts_with("pbkdf2iters is too large"));
    }

    #[test]
    fn a_newline_at_the_end_does_not_count() {
        let hex = WrappingKey::new(KeyFormat::Hex, &[b'a'; 64]).unwrap();
        let line = [&[b'A'; 64][..], b"\n"].concat();
        assert_eq!(WrappingKey::new(KeyFormat::Hex, &line).unwrap(), hex);
        assert_eq!(WrappingKey::new(KeyFormat::Raw, &[0xaa; 32]).unwrap(), hex);
    }

    #[test]
    fn passphrases_are_stretched_by_pbkdf2_with_sha1() {
        // RFC 6070 style: computed with Python's hashlib.pbkdf2_hmac('sha1', b'password', (7).to_bytes(8, 'little'), 1000, 32).
        let key = WrappingKey::new(KeyFormat::Passphrase { salt: 7, rounds: 1000 }, b"password").unwrap();
        let hex: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "2b0c6011a986ee6c4df2bf8c14e3a378b1e282a3090a030ae58aa7df43bf20df");
    }
}
