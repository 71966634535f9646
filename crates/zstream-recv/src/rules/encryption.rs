//! Rules for the keys of new datasets (`dmu_objset_create_crypt_check`), and for those of raw streams
//! (`dsl_crypto_recv_raw_objset_check`, `dsl_crypto_recv_raw_key_check`).

use std::sync::Arc;

use zstream_dmu::zio::crypt;
use zstream_dsl::dataset::Dir;
use zstream_dsl::write::Wrapping;
use zstream_dsl::{CryptoKey, Erratum, OpenMos};
use zstream_format::algorithm::CryptSuite;
use zstream_format::flags::FeatureFlags;
use zstream_format::judge::Breach;
use zstream_format::nvlist::NvList;

use super::{Head, OpenDataset, Receiver, Target};
use crate::error::Result;
use crate::refusal::Refusal;

/// The encryption of a new dataset that is received from a stream that is not raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Inherited from the dataset above, with its key.
    #[default]
    Inherit,
    /// Not encrypted.
    Off,
    /// Encrypted with keys of its own.
    On {
        /// The suite; `None` for that of the dataset above.
        suite: Option<CryptSuite>,
        /// The key that makes it an encryption root; `None` if the key of the dataset above wraps its keys.
        own: Option<OwnKey>,
    },
}

/// The key of a new encryption root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnKey {
    /// The key that wraps its keys.
    pub wrapping: Wrapping,
    /// The location of the key: the property `keylocation`.
    pub location: String,
}

/// Checks the encryption of a new dataset below `parent`.
pub(super) fn of_new(
    receiver: &Receiver<'_>,
    head: Head<'_>,
    parent: &Arc<Dir<OpenMos<'_>>>,
    encryption: &Encryption,
) -> Result<()> {
    let above = CryptoKey::of(parent)?;
    let has_own = match encryption {
        Encryption::Off => return Ok(()),
        Encryption::Inherit if above.is_none() => return Ok(()),
        Encryption::Inherit => false,
        Encryption::On { suite, own } => {
            if !receiver.features.is_enabled("encryption") {
                return Err(Refusal::NoEncryption.into());
            }
            if above.is_none() && suite.is_none() {
                return Err(Refusal::KeyMissing("a key is given, but encryption is off").into());
            }
            if above.is_none() && own.is_none() {
                return Err(
                    Refusal::KeyMissing("keyformat is not given, and no dataset above has a key").into()
                );
            }
            own.is_some()
        }
    };
    if !has_own && !parent.head()?.is_unlocked()? {
        return Err(Refusal::KeyNotLoaded(parent.name().to_owned()).into());
    }
    if head.has(FeatureFlags::EMBED_DATA) {
        return Err(Refusal::EmbeddedIntoEncrypted(parent.name().to_owned()).into());
    }
    Ok(())
}

/// The keys in a raw stream (`crypt_keydata`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyData {
    /// The keys, and the shape of the meta dnode.
    pub data: crypt::KeyData,
    /// IV set of the snapshot, 0 if it is missing.
    pub to_ivset: u64,
    /// IV set of the source of the increment, 0 if it is missing.
    pub from_ivset: u64,
}

impl KeyData {
    /// Parses the list after BEGIN.
    ///
    /// # Errors
    /// Fails if something is missing or has another type or length.
    pub(crate) fn parse(list: &NvList) -> Result<Self> {
        let keydata = list
            .get_list("crypt_keydata")
            .ok_or(Breach::MissingKey { key: "crypt_keydata", feature: "raw" })?;
        zstream_format::judge::crypt_keydata(keydata)?;
        let number = |key| keydata.get_u64(key).unwrap_or(0);
        Ok(Self {
            data: crypt::KeyData::parse(keydata)?,
            to_ivset: number("to_ivset_guid"),
            from_ivset: number("from_ivset_guid"),
        })
    }
}

/// Checks the keys with which received content will be encrypted: those of `filled`, or of `base` if `filled` is new.
/// Keys of the first format are never used for writing.
pub(super) fn writable(filled: Option<&OpenDataset<'_>>, base: Option<&OpenDataset<'_>>) -> Result<()> {
    let Some(source) = filled.or(base) else { return Ok(()) };
    match source.crypto_key()?.as_ref().and_then(Erratum::of_keys) {
        Some(erratum) => Err(Refusal::FirstKeys { dataset: source.name().to_owned(), erratum }.into()),
        None => Ok(()),
    }
}

/// Checks the keys of a raw stream. `filled` is the dataset whose keys an increment must have, `base` the snapshot from
/// which it starts.
pub(super) fn raw(
    head: Head<'_>,
    filled: Option<&OpenDataset<'_>>,
    base: Option<&OpenDataset<'_>>,
) -> Result<()> {
    if !head.has(FeatureFlags::RAW) {
        return Ok(());
    }
    let Some(list) = head.list else { return Ok(()) };
    let keys = KeyData::parse(list)?;
    if let Some(source) = filled.or(base) {
        same_shape(&keys, source)?;
    }
    if let Some(base) = base {
        ivset(&keys, base)?;
    }
    match filled.or(base).map(|source| (source, source.crypto_key())) {
        Some((source, key)) => match key? {
            Some(key) if key.wrapped.guid != keys.data.wrapped.guid => {
                Err(Refusal::OtherKey(source.name().to_owned()).into())
            }
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// Checks the wrapping of the keys of a raw stream. The keys themselves are those of `owner`, but the sender's key may
/// wrap them anew. An encryption root takes that over; a dataset that inherits its key would be locked by it.
/// `is_target` means that the owner is the target, not the origin of a new clone.
pub(super) fn wrapping(
    head: Head<'_>,
    target: &Target,
    owner: &OpenDataset<'_>,
    is_target: bool,
) -> Result<()> {
    let Some(list) = head.list.filter(|_| head.has(FeatureFlags::RAW)) else { return Ok(()) };
    let Some(there) = owner.crypto_key()? else { return Ok(()) };
    if there.wrapped == KeyData::parse(list)?.data.wrapped || owner.is_own_encryption_root()? {
        return Ok(());
    }
    if target.is_encryption_root && is_target && owner.dir().origin()?.is_none() {
        return Ok(());
    }
    let root = owner.dsl().dir_by_object(there.root)?.name().to_owned();
    Err(Refusal::OtherWrapping { dataset: owner.dir().name().to_owned(), root }.into())
}

/// Checks that the shape of the meta dnode does not change.
fn same_shape(keys: &KeyData, source: &OpenDataset<'_>) -> Result<()> {
    if source.phys().root.is_hole() {
        return Ok(());
    }
    let objset = source.objset_locked()?;
    let (there, new) = (&objset.phys().meta_dnode, &keys.data);
    let fields = [
        ("number of levels", u64::from(there.levels), u64::from(new.meta_levels)),
        ("block size", there.block_bytes(), new.meta_block_bytes),
        ("indirect block shift", u64::from(there.indirect_shift), u64::from(new.meta_indirect_shift)),
        ("number of block pointers", there.pointers().len() as u64, u64::from(new.meta_pointers)),
    ];
    match fields.into_iter().find(|(_, found, expected)| found != expected) {
        Some((field, found, expected)) => {
            let dataset = source.name().to_owned();
            Err(Refusal::MetaDnode { dataset, field, found, expected }.into())
        }
        None => Ok(()),
    }
}

/// Checks that a raw increment starts from the same encryption of its source.
fn ivset(keys: &KeyData, base: &OpenDataset<'_>) -> Result<()> {
    let name = base.name().to_owned();
    let found = base.ivset_guid()?.unwrap_or(0);
    if keys.from_ivset == 0 || found == 0 {
        return Err(Refusal::IvSetMissing(name).into());
    }
    if keys.from_ivset != found {
        return Err(Refusal::IvSet { dataset: name, found, expected: keys.from_ivset }.into());
    }
    Ok(())
}
