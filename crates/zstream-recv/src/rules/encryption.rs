//! The keys of raw streams (`dsl_crypto_recv_raw_objset_check`, `dsl_crypto_recv_raw_key_check`).

use zstream_dsl::dataset::Dataset;
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::Breach;
use zstream_format::nvlist::{NvList, NvValue};

use super::{Head, Refusal};
use crate::error::Result;

/// The entry of a snapshot that says which IV set it is.
const IVSET_GUID: &str = "com.datto:ivset_guid";

/// The table of objects of an encrypted dataset, as a raw stream describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaDnode {
    /// Checksum setting.
    pub checksum: u8,
    /// Compression setting.
    pub compress: u8,
    /// Levels of its tree.
    pub levels: u8,
    /// Size of its blocks in bytes.
    pub block_bytes: u64,
    /// Logarithm of the size of its indirect blocks.
    pub indirect_shift: u8,
    /// Its pointers.
    pub pointers: u8,
    /// Its last block.
    pub max_block: u64,
}

/// What a raw stream says of its keys (`crypt_keydata`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyData {
    /// Cipher suite.
    pub suite: u64,
    /// Guid of the keys.
    pub guid: u64,
    /// Version of their form.
    pub version: u64,
    /// The wrapped master key.
    pub master: [u8; 32],
    /// The wrapped key of MACs.
    pub hmac: [u8; 64],
    /// The initialization vector of the wrapping.
    pub iv: [u8; 12],
    /// The MAC of the wrapping.
    pub mac: [u8; 16],
    /// In what form the user gives the wrapping key.
    pub key_format: u64,
    /// Iterations of PBKDF2, 0 unless a passphrase.
    pub iterations: u64,
    /// Salt of PBKDF2, 0 unless a passphrase.
    pub salt: u64,
    /// The MAC of the object set that a raw send carries.
    pub portable_mac: [u8; 32],
    /// The table of objects.
    pub meta_dnode: MetaDnode,
    /// IV set of the snapshot, 0 where it is not said.
    pub to_ivset: u64,
    /// IV set of the source of the increment, 0 where it is not said.
    pub from_ivset: u64,
}

impl KeyData {
    /// Reads it from the list behind BEGIN.
    ///
    /// # Errors
    /// Something is missing or of another shape.
    pub fn parse(list: &NvList) -> Result<Self, Breach> {
        let keydata = list
            .get_list("crypt_keydata")
            .ok_or(Breach::MissingKey { key: "crypt_keydata", feature: "raw" })?;
        zstream_format::judge::crypt_keydata(keydata)?;
        let number = |key| keydata.get_u64(key).unwrap_or(0);
        // The judge has seen that these fit.
        let small = |key| u8::try_from(number(key)).unwrap_or(u8::MAX);
        Ok(Self {
            suite: number("DSL_CRYPTO_SUITE"),
            guid: number("DSL_CRYPTO_GUID"),
            version: number("DSL_CRYPTO_VERSION"),
            master: bytes(keydata, "DSL_CRYPTO_MASTER_KEY_1"),
            hmac: bytes(keydata, "DSL_CRYPTO_HMAC_KEY_1"),
            iv: bytes(keydata, "DSL_CRYPTO_IV"),
            mac: bytes(keydata, "DSL_CRYPTO_MAC"),
            key_format: number("keyformat"),
            iterations: number("pbkdf2iters"),
            salt: number("pbkdf2salt"),
            portable_mac: bytes(keydata, "portable_mac"),
            meta_dnode: MetaDnode {
                checksum: small("mdn_checksum"),
                compress: small("mdn_compress"),
                levels: small("mdn_nlevels"),
                block_bytes: number("mdn_blksz"),
                indirect_shift: small("mdn_indblkshift"),
                pointers: small("mdn_nblkptr"),
                max_block: number("mdn_maxblkid"),
            },
            to_ivset: number("to_ivset_guid"),
            from_ivset: number("from_ivset_guid"),
        })
    }
}

/// A string of bytes whose length the judge has seen to be right.
fn bytes<const N: usize>(list: &NvList, key: &str) -> [u8; N] {
    match list.get(key) {
        Some(NvValue::Uint8Array(bytes)) => bytes.as_slice().try_into().unwrap_or([0; N]),
        _ => [0; N],
    }
}

/// Judges the keys of a raw stream: `filled` is the dataset that has the keys that an increment must have, `base` the
/// snapshot that it starts from.
pub(super) fn raw(head: Head<'_>, filled: Option<&Dataset>, base: Option<&Dataset>) -> Result<()> {
    if !head.has(FeatureFlags::RAW) {
        return Ok(());
    }
    let Some(list) = head.list else { return Ok(()) };
    let keys = KeyData::parse(list).map_err(Refusal::from)?;
    if let Some(source) = filled.or(base) {
        same_shape(&keys, source)?;
    }
    if let Some(base) = base {
        ivset(&keys, base)?;
    }
    match filled.or(base).map(|source| (source, source.crypto_key())) {
        Some((source, key)) => match key? {
            Some(key) if key.wrapped.guid.0 != keys.guid => {
                Err(Refusal::OtherKey(source.name().to_owned()).into())
            }
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// The table of objects cannot change its shape.
fn same_shape(keys: &KeyData, source: &Dataset) -> Result<()> {
    if source.phys().root.is_hole() {
        return Ok(());
    }
    let objset = source.objset_locked()?;
    let (there, new) = (&objset.phys().meta_dnode, &keys.meta_dnode);
    let fields = [
        ("the levels", u64::from(there.levels), u64::from(new.levels)),
        ("the block size", there.block_bytes(), new.block_bytes),
        ("the indirect block shift", u64::from(there.indirect_shift), u64::from(new.indirect_shift)),
        ("the pointers", there.pointers().len() as u64, u64::from(new.pointers)),
    ];
    match fields.into_iter().find(|(_, found, expected)| found != expected) {
        Some((field, found, expected)) => {
            let dataset = source.name().to_owned();
            Err(Refusal::MetaDnode { dataset, field, found, expected }.into())
        }
        None => Ok(()),
    }
}

/// An increment of encrypted blocks fits only the very encryption that it was made from.
fn ivset(keys: &KeyData, base: &Dataset) -> Result<()> {
    let name = base.name().to_owned();
    let found = base.entry(IVSET_GUID)?.map(|guid| guid.u64()).transpose()?.unwrap_or(0);
    if keys.from_ivset == 0 || found == 0 {
        return Err(Refusal::IvSetMissing(name).into());
    }
    if keys.from_ivset != found {
        return Err(Refusal::IvSet { dataset: name, found, expected: keys.from_ivset }.into());
    }
    Ok(())
}
