//! What encryption does to a block before it is summed.

use std::borrow::Cow;

use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::crypt::{CryptParams, DatasetKey, Keyring, MAC_BYTES, indirect_mac};
use super::write::{Protection, WriteProps};
use crate::blkptr::{BlockPointer, CryptKind};
use crate::block::StoredCrypt;
use crate::error::{Error, Fault, Result};

/// Key version of the MACs of indirect blocks that are made.
const INDIRECT_MAC_VERSION: u64 = 1;

/// What of it the pointer keeps.
#[derive(Clone, Copy)]
pub(super) enum Seal {
    /// Nothing: no encryption, or an objset block, which holds its MACs.
    None,
    /// A MAC.
    Mac([u8; MAC_BYTES]),
    /// A MAC, and what the key of the block and its start are made from.
    Full(CryptParams),
}

impl Seal {
    /// Puts it into the pointer of the block.
    pub(super) fn put(self, pointer: BlockPointer) -> BlockPointer {
        match self {
            Self::None => pointer,
            Self::Mac(mac) => pointer.with_mac(mac),
            Self::Full(CryptParams { salt, iv, mac }) => pointer.with_crypt(salt, iv).with_mac(mac),
        }
    }
}

/// Protects a block: `content` as its readers see it, `stored` as it is to be stored, which is encrypted here.
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
        return Err(Error::unsupported("a block that does not come encrypted in a dataset received raw"));
    }
    let key = key(keys, objset)?;
    Ok(match props.object_type {
        ObjectType::DNODE => Seal::Full(key.encrypt_dnodes(stored.to_mut(), ByteOrder::Little)?),
        object_type if object_type.is_encrypted() => Seal::Full(key.encrypt(stored.to_mut())?),
        _ => Seal::Mac(key.code(stored)),
    })
}

/// The key of an object set.
///
/// # Errors
///
/// [`Fault::Encrypted`] when it is not loaded.
pub(super) fn key(keys: &Keyring, objset: u64) -> Result<std::sync::Arc<DatasetKey>> {
    keys.get(objset).ok_or_else(|| Fault::Encrypted { what: format!("dataset {objset}") }.into())
}

/// What the pointer keeps of a block that comes encrypted.
pub(super) fn kept(props: &WriteProps, crypt: &StoredCrypt) -> Result<(Seal, ByteOrder)> {
    let expected =
        if props.object_type.is_encrypted() { CryptKind::Encrypted } else { CryptKind::Authenticated };
    if props.protection != Protection::Kept {
        return Err(Error::unsupported("an encrypted block in a dataset that is not received raw"));
    }
    if props.level > 0 || crypt.kind != expected {
        return Err(Error::bad_shape(format!(
            "a block of type {} and level {} that comes as {:?}, expected {expected:?}",
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
