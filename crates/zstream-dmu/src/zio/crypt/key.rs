//! From what a user knows to the keys of a dataset.
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

/// The most rounds of PBKDF2 that are taken from a pool: some minutes of work.
const PBKDF2_ROUNDS_MAX: u64 = 100_000_000;
/// Version of keys that are made.
const KEY_VERSION: u64 = 1;
/// Lengths of a passphrase, as `zfs` takes them.
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 8..=512;

/// In what form the user's key is given (`keyformat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// 32 bytes.
    Raw,
    /// 64 hex digits.
    Hex,
    /// Text of 8 to 512 bytes, stretched by PBKDF2-HMAC-SHA1.
    Passphrase {
        /// `pbkdf2salt`
        salt: u64,
        /// `pbkdf2iters`
        rounds: u64,
    },
}

impl KeyFormat {
    /// The format with this number in the pool; salt and rounds count for a passphrase only.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] for a number that does not exist.
    pub fn from_number(number: u64, salt: u64, rounds: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::Raw),
            2 => Ok(Self::Hex),
            3 => Ok(Self::Passphrase { salt, rounds }),
            other => Err(Error::unsupported(format!("key format {other}"))),
        }
    }

    /// Its number in the pool, with salt and rounds, which are 0 unless it is a passphrase.
    #[must_use]
    pub fn numbers(self) -> (u64, u64, u64) {
        match self {
            Self::Raw => (1, 0, 0),
            Self::Hex => (2, 0, 0),
            Self::Passphrase { salt, rounds } => (3, salt, rounds),
        }
    }

    /// Its name as `zfs get keyformat` shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Passphrase { .. } => "passphrase",
        }
    }
}

/// The key that wraps the keys of a dataset. Its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappingKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(..)")
    }
}

impl WrappingKey {
    /// Makes it of what the user gave: the content of a key file, or a line that was typed. One newline
    /// at the end of a passphrase or of hex digits does not count.
    ///
    /// # Errors
    /// [`Fault::BadKey`] when the input has not the form that `format` asks for.
    pub fn new(format: KeyFormat, input: &[u8]) -> Result<Self> {
        let line = input.strip_suffix(b"\n").unwrap_or(input);
        match format {
            KeyFormat::Raw => Ok(Self(Zeroizing::new(input.try_into().map_err(|_| {
                Fault::BadKey(format!("a raw key has 32 bytes, this one has {}", input.len()))
            })?))),
            KeyFormat::Hex => Self::from_hex(line),
            KeyFormat::Passphrase { salt, rounds } => {
                if !PASSPHRASE_BYTES.contains(&line.len()) {
                    return Err(Fault::BadKey(format!(
                        "a passphrase has 8 to 512 bytes, this one has {}",
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
            return Err(
                Fault::BadKey(format!("a hex key has 64 digits, this one has {}", digits.len())).into()
            );
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let text =
                std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = text
                .and_then(|text| u8::from_str_radix(text, 16).ok())
                .ok_or_else(|| Fault::BadKey("a hex key has hex digits only".to_owned()))?;
        }
        Ok(Self(key))
    }
}

/// The keys of a dataset as the pool and raw streams keep them (`DSL_CRYPTO_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// `DSL_CRYPTO_SUITE`
    pub suite: CryptSuite,
    /// `DSL_CRYPTO_GUID`
    pub guid: Guid,
    /// `DSL_CRYPTO_VERSION`: 1, or 0 where it is missing.
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
    /// [`Fault::WrongKey`] when `key` is not the one they were wrapped with; [`Fault::Unsupported`] for a
    /// suite or version that does not exist.
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
    /// New keys of a suite.
    ///
    /// # Errors
    /// The suite does not exist, or the system has no random numbers.
    pub fn generate(suite: CryptSuite, guid: Guid) -> Result<Self> {
        let master = Zeroizing::new(Zeroizing::new(random::<32>()?)[..key_len(suite)?].to_vec());
        Ok(Self::new(suite, guid, KEY_VERSION, master, Zeroizing::new(random()?)))
    }

    /// The same keys for a dataset of another version of the format. Nothing makes keys of version 0 any more; this is for tests
    /// of datasets that have them.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// Wraps the keys.
    ///
    /// # Errors
    /// The system has no random numbers.
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

/// What is authenticated with wrapped keys.
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
        assert_eq!(text(KeyFormat::Raw, &[0; 31]), "a raw key has 32 bytes, this one has 31");
        assert_eq!(text(KeyFormat::Hex, b"12\n"), "a hex key has 64 digits, this one has 2");
        assert_eq!(text(KeyFormat::Hex, &[b'+'; 64]), "a hex key has hex digits only");
        let passphrase = KeyFormat::Passphrase { salt: 1, rounds: 1000 };
        assert_eq!(text(passphrase, b"short"), "a passphrase has 8 to 512 bytes, this one has 5");
        let slow = KeyFormat::Passphrase { salt: 1, rounds: u64::MAX };
        assert!(text(slow, b"long enough").starts_with("pbkdf2iters of"));
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
