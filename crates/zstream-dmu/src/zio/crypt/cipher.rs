//! The six encryption suites as one type.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use ccm::Ccm;
use zstream_format::algorithm::CryptSuite;

use super::{IV_BYTES, MAC_BYTES};
use crate::error::{Error, Fault, Result};

/// An AEAD with its key.
pub(super) enum Cipher {
    Ccm128(Box<Ccm<Aes128, U16, U12>>),
    Ccm192(Box<Ccm<Aes192, U16, U12>>),
    Ccm256(Box<Ccm<Aes256, U16, U12>>),
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
}

/// Returns the length of the key of a suite in bytes.
pub(super) fn key_len(suite: CryptSuite) -> Result<usize> {
    match suite {
        CryptSuite::AES_128_CCM | CryptSuite::AES_128_GCM => Ok(16),
        CryptSuite::AES_192_CCM | CryptSuite::AES_192_GCM => Ok(24),
        CryptSuite::AES_256_CCM | CryptSuite::AES_256_GCM => Ok(32),
        other => Err(Fault::Unsupported(format!("encryption suite {other}")).into()),
    }
}

fn with_key<C: KeyInit>(key: &[u8]) -> Result<Box<C>> {
    let cipher = C::new_from_slice(key)
        .map_err(|_| Fault::BadKey(format!("key has an unexpected length, {} bytes", key.len())))?;
    Ok(Box::new(cipher))
}

impl Cipher {
    /// Creates the cipher of `suite` with this key.
    pub(super) fn new(suite: CryptSuite, key: &[u8]) -> Result<Self> {
        Ok(match suite {
            CryptSuite::AES_128_CCM => Self::Ccm128(with_key(key)?),
            CryptSuite::AES_192_CCM => Self::Ccm192(with_key(key)?),
            CryptSuite::AES_256_CCM => Self::Ccm256(with_key(key)?),
            CryptSuite::AES_128_GCM => Self::Gcm128(with_key(key)?),
            CryptSuite::AES_192_GCM => Self::Gcm192(with_key(key)?),
            CryptSuite::AES_256_GCM => Self::Gcm256(with_key(key)?),
            other => return Err(Fault::Unsupported(format!("encryption suite {other}")).into()),
        })
    }

    /// Creates the cipher that wraps the keys of a dataset of `suite`: the same mode, always with a key of 256 bits.
    pub(super) fn wrapping(suite: CryptSuite, key: &[u8; 32]) -> Result<Self> {
        let widest = match suite {
            CryptSuite::AES_128_CCM | CryptSuite::AES_192_CCM | CryptSuite::AES_256_CCM => {
                CryptSuite::AES_256_CCM
            }
            CryptSuite::AES_128_GCM | CryptSuite::AES_192_GCM | CryptSuite::AES_256_GCM => {
                CryptSuite::AES_256_GCM
            }
            other => other,
        };
        Self::new(widest, key)
    }

    /// Encrypts in place, and returns the MAC.
    pub(super) fn encrypt(
        &self,
        iv: &[u8; IV_BYTES],
        authenticated: &[u8],
        message: &mut [u8],
    ) -> Result<[u8; MAC_BYTES]> {
        fn run<C: AeadInOut<NonceSize = U12, TagSize = U16>>(
            cipher: &C,
            iv: &[u8; IV_BYTES],
            authenticated: &[u8],
            message: &mut [u8],
        ) -> Option<[u8; MAC_BYTES]> {
            let nonce = Nonce::<C>::from(*iv);
            cipher.encrypt_inout_detached(&nonce, authenticated, message.into()).ok().map(Into::into)
        }
        let bytes = message.len();
        match self {
            Self::Ccm128(cipher) => run(&**cipher, iv, authenticated, message),
            Self::Ccm192(cipher) => run(&**cipher, iv, authenticated, message),
            Self::Ccm256(cipher) => run(&**cipher, iv, authenticated, message),
            Self::Gcm128(cipher) => run(&**cipher, iv, authenticated, message),
            Self::Gcm192(cipher) => run(&**cipher, iv, authenticated, message),
            Self::Gcm256(cipher) => run(&**cipher, iv, authenticated, message),
        }
        .ok_or_else(|| Error::internal(format!("message of {bytes} bytes is too long to encrypt")))
    }

    /// Decrypts in place. The error of a MAC that does not match names `what`.
    pub(super) fn decrypt(
        &self,
        iv: &[u8; IV_BYTES],
        authenticated: &[u8],
        message: &mut [u8],
        mac: &[u8; MAC_BYTES],
        what: &str,
    ) -> Result<()> {
        fn run<C: AeadInOut<NonceSize = U12, TagSize = U16>>(
            cipher: &C,
            iv: &[u8; IV_BYTES],
            authenticated: &[u8],
            message: &mut [u8],
            mac: &[u8; MAC_BYTES],
        ) -> bool {
            let (nonce, tag) = (Nonce::<C>::from(*iv), Tag::<C>::from(*mac));
            cipher.decrypt_inout_detached(&nonce, authenticated, message.into(), &tag).is_ok()
        }
        let good = match self {
            Self::Ccm128(cipher) => run(&**cipher, iv, authenticated, message, mac),
            Self::Ccm192(cipher) => run(&**cipher, iv, authenticated, message, mac),
            Self::Ccm256(cipher) => run(&**cipher, iv, authenticated, message, mac),
            Self::Gcm128(cipher) => run(&**cipher, iv, authenticated, message, mac),
            Self::Gcm192(cipher) => run(&**cipher, iv, authenticated, message, mac),
            Self::Gcm256(cipher) => run(&**cipher, iv, authenticated, message, mac),
        };
        if good { Ok(()) } else { Err(Fault::Authentication { what: what.to_owned() }.into()) }
    }
}
