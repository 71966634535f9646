//! `crypt_keydata`: the keys of a dataset and the properties of its object set in the BEGIN record of a raw stream.
//!
//! ```text
//! keyformat, pbkdf2iters, pbkdf2salt     the derivation of the wrapping key from the user's key
//! DSL_CRYPTO_*                           the wrapped keys of the dataset
//! portable_mac                           the MAC of the object set as a whole
//! mdn_*                                  the shape of the meta dnode, which that MAC covers
//! ```
//!
//! The rules for receivers are in `zstream_format::judge::begin`.

use zstream_format::algorithm::{ChecksumType, CompressionType, CryptSuite};
use zstream_format::nvlist::NvList;

use super::key::{KeyFormat, WrappedKey};
use crate::error::{Error, Result};
use crate::ids::Guid;

/// The keys and the shape of an encrypted snapshot in a raw stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyData {
    /// The format of the user's key.
    pub format: KeyFormat,
    /// The wrapped keys.
    pub wrapped: WrappedKey,
    /// The MAC of the object set that is the same in every pool.
    pub portable_mac: [u8; 32],
    /// `mdn_checksum`
    pub meta_checksum: ChecksumType,
    /// `mdn_compress`
    pub meta_compression: CompressionType,
    /// `mdn_nlevels`
    pub meta_levels: u8,
    /// `mdn_blksz`, in bytes.
    pub meta_block_bytes: u64,
    /// `mdn_indblkshift`
    pub meta_indirect_shift: u8,
    /// `mdn_nblkptr`
    pub meta_pointers: u8,
    /// `mdn_maxblkid`
    pub meta_max_block: u64,
}

impl KeyData {
    /// Parses the list.
    ///
    /// # Errors
    /// Fails if a value is missing or does not have the size that ZFS writes.
    pub fn parse(list: &NvList) -> Result<Self> {
        let missing = |key: &str| Error::corrupt("crypt_keydata", format!("{key} is missing"));
        let number = |key: &str| list.get_u64(key).ok_or_else(|| missing(key));
        let small = |key: &str| {
            let found = number(key)?;
            u8::try_from(found).map_err(|_| Error::corrupt("crypt_keydata", format!("{key} is {found}")))
        };
        Ok(Self {
            format: KeyFormat::from_number(
                number("keyformat")?,
                number("pbkdf2salt")?,
                number("pbkdf2iters")?,
            )?,
            wrapped: WrappedKey {
                suite: CryptSuite(small("DSL_CRYPTO_SUITE")?),
                guid: Guid(number("DSL_CRYPTO_GUID")?),
                version: number("DSL_CRYPTO_VERSION")?,
                iv: bytes(list, "DSL_CRYPTO_IV")?,
                mac: bytes(list, "DSL_CRYPTO_MAC")?,
                master: bytes(list, "DSL_CRYPTO_MASTER_KEY_1")?,
                hmac: bytes(list, "DSL_CRYPTO_HMAC_KEY_1")?,
            },
            portable_mac: bytes(list, "portable_mac")?,
            meta_checksum: ChecksumType(small("mdn_checksum")?),
            meta_compression: CompressionType(small("mdn_compress")?),
            meta_levels: small("mdn_nlevels")?,
            meta_block_bytes: number("mdn_blksz")?,
            meta_indirect_shift: small("mdn_indblkshift")?,
            meta_pointers: small("mdn_nblkptr")?,
            meta_max_block: number("mdn_maxblkid")?,
        })
    }
}

fn bytes<const N: usize>(list: &NvList, key: &str) -> Result<[u8; N]> {
    let found = list.get_u8_array(key).unwrap_or_default();
    found
        .try_into()
        .map_err(|_| Error::corrupt("crypt_keydata", format!("{key} is {} bytes, expected {N}", found.len())))
}
