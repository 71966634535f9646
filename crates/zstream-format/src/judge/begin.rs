//! The rules for the BEGIN of a substream and for the list after it.

use super::Breach;
use crate::errno::Errno;
use crate::flags::{BeginFlags, FeatureFlags};
use crate::nvlist::{NvList, NvValue};
use crate::object_type::ObjsetType;
use crate::record::{Begin, MAX_BLOCK_BYTES};

/// The first bit of `drr_versioninfo` after the header type and the features.
const RESERVED_SHIFT: u32 = 2 + FeatureFlags::BITS;

/// Validates the header of a substream, except for rules that depend on the receiving pool
/// (`dmu_recv_begin_check`).
///
/// Deduplicated streams are valid here, though they cannot be received without conversion.
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn begin(begin: &Begin) -> Result<(), Breach> {
    let features = begin.version_info.features();
    if !features.unknown().is_empty() {
        return Err(Breach::Features(features.unknown()));
    }
    // Receivers up to 2.3 ignore these bits, which later versions may use.
    let reserved = begin.version_info.0 >> RESERVED_SHIFT;
    if reserved != 0 {
        let field = "drr_versioninfo above bit 57";
        return Err(Breach::Value { field, found: reserved, expected: "0" });
    }
    if ![ObjsetType::ZFS.0, ObjsetType::ZVOL.0].contains(&begin.objset_type) {
        let expected = "2 (filesystem) or 3 (volume)";
        return Err(Breach::Value { field: "drr_type", found: begin.objset_type.into(), expected });
    }
    if features.contains(FeatureFlags::RAW) {
        if features.contains(FeatureFlags::EMBED_DATA) {
            return Err(Breach::Exclusive("raw", "embed_data"));
        }
        if !begin.flags.contains(BeginFlags::SPILL_BLOCK) {
            return Err(Breach::NoSpillFlag);
        }
    }
    Ok(())
}

/// Validates the list after the BEGIN of a substream; `None` if there is none.
///
/// # Errors
/// Fails if an entry that a feature requires is missing, or if the key of a raw stream is invalid.
pub fn begin_list(features: FeatureFlags, list: Option<&NvList>) -> Result<(), Breach> {
    let has = |key, value: fn(&NvList, &str) -> bool| list.is_some_and(|list| value(list, key));
    let u64_key = |list: &NvList, key: &str| list.get_u64(key).is_some();
    if features.contains(FeatureFlags::RESUMING) {
        for key in ["resume_object", "resume_offset"] {
            if !has(key, u64_key) {
                return Err(Breach::MissingKey { key, feature: "resuming" });
            }
        }
    }
    if features.contains(FeatureFlags::REDACTED)
        && !has("redact_snaps", |list, key| list.get_u64_array(key).is_some())
    {
        return Err(Breach::MissingKey { key: "redact_snaps", feature: "redacted" });
    }
    if features.contains(FeatureFlags::RAW) {
        let Some(keydata) = list.and_then(|list| list.get_list("crypt_keydata")) else {
            return Err(Breach::MissingKey { key: "crypt_keydata", feature: "raw" });
        };
        crypt_keydata(keydata)?;
    }
    Ok(())
}

fn refuse(key: &'static str, problem: impl Into<String>, errno: Errno) -> Result<(), Breach> {
    Err(Breach::KeyData { key, problem: problem.into(), errno })
}

/// Validates the `crypt_keydata` of a raw stream (`dsl_crypto_recv_raw_objset_check` and
/// `dsl_crypto_recv_raw_key_check`, except for rules that depend on the pool).
///
/// # Errors
/// Returns the first rule that it breaks.
pub fn crypt_keydata(list: &NvList) -> Result<(), Breach> {
    let number = |key| list.get_u64(key);
    let fixed = |key, wanted: u64| match number(key) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => refuse(key, format!("is {found}, expected {wanted}"), Errno::ENOTSUP),
        None => refuse(key, "is missing", Errno::ENOTSUP),
    };
    let within = |key, from: u64, to: u64, errno| match number(key) {
        Some(found) if (from..=to).contains(&found) => Ok(()),
        Some(found) => refuse(key, format!("is {found}, expected {from} to {to}"), errno),
        None => refuse(key, "is missing", Errno::EINVAL),
    };
    let bytes = |key, wanted: usize| match list.get(key) {
        Some(NvValue::Uint8Array(bytes)) if bytes.len() == wanted => Ok(()),
        Some(NvValue::Uint8Array(bytes)) => {
            refuse(key, format!("is {} bytes, expected {wanted}", bytes.len()), Errno::EINVAL)
        }
        _ => refuse(key, "is missing", Errno::EINVAL),
    };
    within("mdn_checksum", 0, 8, Errno::EINVAL)?;
    within("mdn_compress", 0, 14, Errno::EINVAL)?;
    within("mdn_nlevels", 0, 12, Errno::EINVAL)?;
    within("mdn_blksz", 512, u64::MAX, Errno::EINVAL)?;
    within("mdn_blksz", 512, MAX_BLOCK_BYTES, Errno::ENOTSUP)?;
    match number("mdn_indblkshift") {
        Some(12..=17) => {}
        _ => refuse("mdn_indblkshift", "is not 12 to 17", Errno::ENOTSUP)?,
    }
    fixed("mdn_nblkptr", 3)?;
    within("mdn_maxblkid", 0, u64::MAX, Errno::EINVAL)?;
    bytes("portable_mac", 32)?;
    match number("DSL_CRYPTO_SUITE") {
        Some(3..=8) => {}
        Some(found @ 9..) => {
            refuse(
                "DSL_CRYPTO_SUITE",
                format!("is {found}, which is unknown"),
                Errno::ZFS_ERR_CRYPTO_NOTSUP,
            )?;
        }
        _ => refuse("DSL_CRYPTO_SUITE", "is not a cipher", Errno::EINVAL)?,
    }
    within("DSL_CRYPTO_GUID", 0, u64::MAX, Errno::EINVAL)?;
    if number("DSL_CRYPTO_VERSION") == Some(0) {
        let problem = "is 0: keys of the first format, erratum 3 (ZOL_6845_ENCRYPTION)";
        refuse("DSL_CRYPTO_VERSION", problem, Errno::ENOTSUP)?;
    }
    fixed("DSL_CRYPTO_VERSION", 1)?;
    bytes("DSL_CRYPTO_MASTER_KEY_1", 32)?;
    bytes("DSL_CRYPTO_HMAC_KEY_1", 64)?;
    bytes("DSL_CRYPTO_IV", 12)?;
    bytes("DSL_CRYPTO_MAC", 16)?;
    within("keyformat", 1, 3, Errno::EINVAL)?;
    let passphrase = number("keyformat") == Some(3);
    for key in ["pbkdf2iters", "pbkdf2salt"] {
        match number(key) {
            Some(found) if (found != 0) == passphrase => {}
            Some(found) => {
                refuse(key, format!("is {found}, which does not match keyformat"), Errno::EINVAL)?;
            }
            None => refuse(key, "is missing", Errno::EINVAL)?,
        }
    }
    Ok(())
}
