//! Native encryption: the processing of a block between its checksum and its decompression.
//!
//! A dataset has a master key and an HMAC key, which are wrapped with the user's key (`key`). The protection of a
//! block depends on its type:
//!
//! | block | protection |
//! | --- | --- |
//! | data of an encrypted type | AEAD of the stored bytes; salt, IV and MAC in the pointer |
//! | block of dnodes | AEAD of the bonus buffers of encrypted types; the rest is authenticated (`dnodes`) |
//! | data of another type | HMAC-SHA512 of the stored bytes, truncated to 16 bytes |
//! | block of an intent log | AEAD of the records without their headers and block pointers; the rest is authenticated (`log`) |
//! | objset block | two HMACs inside it (`mac`) |
//! | indirect block | SHA-512 of the authenticated parts of its pointers, without a key (`mac`) |
//!
//! Each block is encrypted with its own key, derived by HKDF from the master key and the salt of the block.

mod cipher;
mod dnodes;
mod key;
mod keydata;
mod keyring;
mod log;
mod mac;
mod parts;
mod random;

pub use key::{KeyFormat, WrappedKey, WrappingKey};
pub use keydata::KeyData;
pub use keyring::Keyring;
pub use mac::indirect_mac;
pub(crate) use mac::verify_indirect;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;
use zstream_format::algorithm::CryptSuite;
use zstream_format::order::ByteOrder;

use crate::error::{Fault, Result};
use crate::ids::Guid;
use crate::lock::lock;
use cipher::Cipher;
use random::random;

/// The size of a salt in bytes.
pub(crate) const SALT_BYTES: usize = 8;
/// The size of an initialization vector in bytes.
pub(crate) const IV_BYTES: usize = 12;
/// The size of a message authentication code in bytes.
pub(crate) const MAC_BYTES: usize = 16;
/// The maximum number of cached block keys. Each is for one salt; a dataset gets a new salt every 400 million blocks
/// or on each mount.
const CIPHERS_MAX: usize = 256;

/// The salt, IV and MAC of an encrypted block, from its pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptParams {
    /// The salt from which the key of the block is derived.
    pub salt: [u8; SALT_BYTES],
    /// The initialization vector.
    pub iv: [u8; IV_BYTES],
    /// The message authentication code.
    pub mac: [u8; MAC_BYTES],
}

/// The unwrapped keys of a dataset (`dsl_crypto_key_t`). Their memory is overwritten on drop.
pub struct DatasetKey {
    suite: CryptSuite,
    guid: Guid,
    version: u64,
    master: Zeroizing<Vec<u8>>,
    hmac: Zeroizing<[u8; 64]>,
    ciphers: Mutex<HashMap<[u8; SALT_BYTES], Arc<Cipher>>>,
    /// The salt of new blocks; `None` before the first one.
    salt: Mutex<Option<[u8; SALT_BYTES]>>,
}

impl fmt::Debug for DatasetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatasetKey({}, guid {}, version {})", self.suite, self.guid, self.version)
    }
}

impl DatasetKey {
    fn new(
        suite: CryptSuite,
        guid: Guid,
        version: u64,
        master: Zeroizing<Vec<u8>>,
        hmac: Zeroizing<[u8; 64]>,
    ) -> Self {
        Self { suite, guid, version, master, hmac, ciphers: Mutex::default(), salt: Mutex::default() }
    }

    /// Returns the suite.
    #[must_use]
    pub fn suite(&self) -> CryptSuite {
        self.suite
    }

    /// Returns `DSL_CRYPTO_GUID`.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.guid
    }

    /// Returns `DSL_CRYPTO_VERSION`, which determines the authenticated parts of block pointers.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the cipher for a salt.
    fn cipher(&self, salt: [u8; SALT_BYTES]) -> Result<Arc<Cipher>> {
        let mut ciphers = lock(&self.ciphers);
        if let Some(cipher) = ciphers.get(&salt) {
            return Ok(cipher.clone());
        }
        let mut block_key = Zeroizing::new(vec![0; self.master.len()]);
        Hkdf::<Sha512>::new(None, &self.master)
            .expand(&salt, &mut block_key)
            .map_err(|_| Fault::Unsupported(format!("a key of {} bytes", self.master.len())))?;
        let cipher = Arc::new(Cipher::new(self.suite, &block_key)?);
        if ciphers.len() >= CIPHERS_MAX {
            ciphers.clear();
        }
        ciphers.insert(salt, cipher.clone());
        Ok(cipher)
    }

    /// Decrypts the stored bytes of a block of an encrypted type, in place.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if the MAC does not match.
    pub fn decrypt(&self, stored: &mut [u8], params: &CryptParams) -> Result<()> {
        self.cipher(params.salt)?.decrypt(&params.iv, &[], stored, &params.mac, "a block")
    }

    /// Decrypts the bonus buffers of a block of dnodes in place, and authenticates the rest of it. `order` is the
    /// byte order of the block.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if the MAC does not match. Fails if a dnode exceeds the block.
    pub fn decrypt_dnodes(&self, block: &mut [u8], params: &CryptParams, order: ByteOrder) -> Result<()> {
        let mut split = dnodes::split(block, order, self.version)?;
        self.cipher(params.salt)?.decrypt(
            &params.iv,
            &split.authenticated,
            &mut split.message,
            &params.mac,
            "a block of dnodes",
        )?;
        split.put_back(block);
        Ok(())
    }

    /// Decrypts the records of a block of an intent log in place, and authenticates the rest of it. The MAC is in the
    /// block.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if the MAC does not match. Fails if a record exceeds the block.
    pub(crate) fn decrypt_log(
        &self,
        block: &mut [u8],
        salt: [u8; SALT_BYTES],
        iv: [u8; IV_BYTES],
    ) -> Result<()> {
        let (mut split, mac) = log::split_block(block)?;
        let what = "a block of an intent log";
        self.cipher(salt)?.decrypt(&iv, &split.authenticated, &mut split.message, &mac, what)?;
        split.put_back(block);
        Ok(())
    }

    /// Encrypts the stored bytes of a block of an encrypted type, in place.
    ///
    /// # Errors
    /// Fails if the system does not provide random numbers, and if the block is too large for the suite.
    pub fn encrypt(&self, stored: &mut [u8]) -> Result<CryptParams> {
        let (salt, iv) = (self.salt()?, random()?);
        let mac = self.cipher(salt)?.encrypt(&iv, &[], stored)?;
        Ok(CryptParams { salt, iv, mac })
    }

    /// Encrypts the stored bytes of a block of an encrypted type like [`encrypt`](Self::encrypt), but with a salt and an
    /// initialization vector that follow from the content, so that the same content is encrypted in the same way
    /// (`zio_crypt_generate_iv_salt_dedup`).
    ///
    /// # Errors
    /// Fails if the block is too large for the suite.
    pub(crate) fn encrypt_alike(&self, stored: &mut [u8]) -> Result<CryptParams> {
        let mut hmac = self.hmac();
        hmac.update(stored);
        let digest = hmac.finalize().into_bytes();
        let (mut salt, mut iv) = ([0; SALT_BYTES], [0; IV_BYTES]);
        salt.copy_from_slice(&digest[..SALT_BYTES]);
        iv.copy_from_slice(&digest[SALT_BYTES..SALT_BYTES + IV_BYTES]);
        let mac = self.cipher(salt)?.encrypt(&iv, &[], stored)?;
        Ok(CryptParams { salt, iv, mac })
    }

    /// Encrypts the bytes of a block again with the same parameters, in place. The result is the original stored
    /// content if its MAC matches.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if the MAC does not match; the bytes must then not be used. Fails if the
    /// block is too large for the suite.
    pub fn encrypt_again(&self, stored: &mut [u8], params: &CryptParams) -> Result<()> {
        let mac = self.cipher(params.salt)?.encrypt(&params.iv, &[], stored)?;
        if mac != params.mac {
            return Err(Fault::Authentication { what: "a block that was encrypted again".to_owned() }.into());
        }
        Ok(())
    }

    /// Encrypts the bonus buffers of a block of dnodes in place, and authenticates the rest of it. `order` is the
    /// byte order of the block.
    ///
    /// # Errors
    /// Fails like [`encrypt`](Self::encrypt), and if a dnode exceeds the block.
    pub(crate) fn encrypt_dnodes(&self, block: &mut [u8], order: ByteOrder) -> Result<CryptParams> {
        let (salt, iv) = (self.salt()?, random()?);
        let mut split = dnodes::split(block, order, self.version)?;
        let mac = self.cipher(salt)?.encrypt(&iv, &split.authenticated, &mut split.message)?;
        split.put_back(block);
        Ok(CryptParams { salt, iv, mac })
    }

    /// Returns the MAC of the stored bytes of a block that is only authenticated.
    #[must_use]
    pub fn code(&self, stored: &[u8]) -> [u8; MAC_BYTES] {
        let mut hmac = self.hmac();
        hmac.update(stored);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&hmac.finalize().into_bytes()[..MAC_BYTES]);
        mac
    }

    /// Returns the portable and the local MAC of a little-endian objset block. MACs in the block are ignored.
    ///
    /// # Errors
    /// Fails if the block is too short for a dnode.
    pub(crate) fn objset_macs(&self, block: &[u8]) -> Result<[[u8; 32]; 2]> {
        Ok(mac::ObjsetMacs::new(self, block, ByteOrder::Little)?.finish())
    }

    /// Returns the salt of the blocks that this key encrypts. It is generated once, because a process never writes so
    /// many blocks that OpenZFS would change it.
    fn salt(&self) -> Result<[u8; SALT_BYTES]> {
        let mut salt = lock(&self.salt);
        match *salt {
            Some(salt) => Ok(salt),
            None => Ok(*salt.insert(random()?)),
        }
    }

    /// Verifies the MAC of the stored bytes of a block that is only authenticated.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if the MAC does not match.
    pub fn authenticate(&self, stored: &[u8], mac: &[u8; MAC_BYTES]) -> Result<()> {
        let mut hmac = self.hmac();
        hmac.update(stored);
        hmac.verify_truncated_left(mac)
            .map_err(|_| Fault::Authentication { what: "a block that is not encrypted".to_owned() }.into())
    }

    /// Verifies the two MACs inside an objset block, which is in byte order `order`.
    ///
    /// # Errors
    /// Returns [`Fault::Authentication`] if one does not match.
    pub fn verify_objset(&self, block: &[u8], order: ByteOrder) -> Result<()> {
        mac::verify_objset(self, block, order)
    }

    fn hmac(&self) -> Hmac<Sha512> {
        // HMAC accepts keys of any length.
        Hmac::new_from_slice(&*self.hmac).unwrap_or_else(|_| unreachable!())
    }
}
