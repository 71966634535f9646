//! Encryption and authentication of a block before its checksum is computed.

use std::borrow::Cow;

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::crypt::{CryptParams, DatasetKey, Keyring, MAC_BYTES, indirect_mac};
use super::write::{Protection, WriteProps};
use crate::blkptr::{BlockPointer, CryptKind};
use crate::block::StoredCrypt;
use crate::error::{Error, Fault, Result};

/// The key version of the MACs of new indirect blocks.
const INDIRECT_MAC_VERSION: u64 = 1;

/// The encryption parameters for the pointer of a block.
#[derive(Clone, Copy)]
pub(super) enum Seal {
    /// None: no encryption, or an objset block, which contains its MACs.
    None,
    /// A MAC.
    Mac([u8; MAC_BYTES]),
    /// A MAC with the salt and the initialization vector.
    Full(CryptParams),
}

impl Seal {
    /// Stores the parameters in the pointer of the block.
    pub(super) fn put(self, pointer: BlockPointer) -> BlockPointer {
        match self {
            Self::None => pointer,
            Self::Mac(mac) => pointer.with_mac(mac),
            Self::Full(CryptParams { salt, iv, mac }) => pointer.with_crypt(salt, iv).with_mac(mac),
        }
    }
}

/// Protects a block. `content` is the logical content; `stored` is the content as stored, which is encrypted here.
pub(super) fn protect(
    props: &WriteProps,
    objset: u64,
    keys: &Keyring,
    content: &[u8],
    stored: &mut Cow<'_, [u8]>,
) -> Result<Seal> {
    if props.protection == Protection::Plain || props.object_type == ObjectType::OBJSET {
        return Ok(Seal::None);
    }
    if props.level > 0 {
        return Ok(Seal::Mac(indirect_mac(content, ByteOrder::Little, INDIRECT_MAC_VERSION)));
    }
    if props.protection == Protection::Kept {
        return Err(Error::unsupported("an unencrypted block in a dataset that is received raw"));
    }
    let key = key(keys, objset)?;
    Ok(match props.object_type {
        ObjectType::DNODE => Seal::Full(key.encrypt_dnodes(stored.to_mut(), ByteOrder::Little)?),
        object_type if object_type.is_encrypted() && props.dedup.is_some() => {
            Seal::Full(key.encrypt_alike(stored.to_mut())?)
        }
        object_type if object_type.is_encrypted() => Seal::Full(key.encrypt(stored.to_mut())?),
        _ => Seal::Mac(key.code(stored)),
    })
}

/// Returns the key of an object set.
///
/// # Errors
///
/// Returns [`Fault::Encrypted`] if it is not loaded.
pub(super) fn key(keys: &Keyring, objset: u64) -> Result<std::sync::Arc<DatasetKey>> {
    keys.get(objset).ok_or_else(|| Fault::Encrypted { what: format!("dataset {objset}") }.into())
}

/// Returns the encryption parameters of a block that is already encrypted.
pub(super) fn kept(props: &WriteProps, crypt: &StoredCrypt) -> Result<(Seal, ByteOrder)> {
    let expected =
        if props.object_type.is_encrypted() { CryptKind::Encrypted } else { CryptKind::Authenticated };
    if props.protection != Protection::Kept {
        return Err(Error::unsupported("an encrypted block in a dataset that is not received raw"));
    }
    if props.level > 0 || crypt.kind != expected {
        return Err(Error::bad_shape(format!(
            "block of type {} and level {} is {:?}, expected {expected:?}",
            props.object_type, props.level, crypt.kind
        )));
    }
    let order = if crypt.big_endian { ByteOrder::Big } else { ByteOrder::Little };
    let StoredCrypt { salt, iv, mac, .. } = *crypt;
    Ok(match expected {
        CryptKind::Encrypted => (Seal::Full(CryptParams { salt, iv, mac }), order),
        _ => (Seal::Mac(mac), order),
    })
}
