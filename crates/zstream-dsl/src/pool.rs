//! A pool, as its datasets are read from it: its MOS and its keys, and the tables that directories and datasets keep there.

use std::fmt;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::{ObjectInfo, ObjectSet};
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::{Value, Zap};
use zstream_dmu::zio::crypt::Keyring;
use zstream_format::object_type::ObjectType;

use crate::error::{Error, Result};

/// The MOS's directory of objects.
const OBJECT_DIRECTORY: ObjectId = ObjectId(1);
/// The datasets of a pool.
pub struct Dsl {
    name: String,
    mos: Arc<Objset>,
    root: ObjectId,
    keyring: Arc<Keyring>,
}

impl fmt::Debug for Dsl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsl({})", self.name)
    }
}

impl Dsl {
    /// The datasets of the pool `name` with this MOS. `keyring` is what its reader of blocks decrypts with.
    ///
    /// # Errors
    /// When the MOS has no root dataset or cannot be read.
    pub fn open(name: impl Into<String>, mos: Arc<Objset>, keyring: Arc<Keyring>) -> Result<Arc<Self>> {
        let root = Zap::open(&*mos, OBJECT_DIRECTORY)?
            .lookup_u64("root_dataset")?
            .ok_or_else(|| Error::corrupt("MOS directory", "no root_dataset"))?;
        Ok(Arc::new(Self { name: name.into(), mos, root: ObjectId(root), keyring }))
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object of the pool's root directory.
    pub(crate) fn root_object(&self) -> ObjectId {
        self.root
    }

    /// The pool's own object set.
    #[must_use]
    pub fn mos(&self) -> &Arc<Objset> {
        &self.mos
    }

    /// The keys that were loaded.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// A MOS object, checked to have a bonus buffer of this type.
    pub(crate) fn bonus(&self, object: ObjectId, bonus_type: ObjectType) -> Result<ObjectInfo> {
        bonus(&*self.mos, object, bonus_type)
    }

    /// An entry of a ZAP of the MOS; none where there is no ZAP.
    pub(crate) fn lookup(&self, zap: Option<ObjectId>, name: &str) -> Result<Option<Value>> {
        lookup(&*self.mos, zap, name)
    }

    /// The entries of a ZAP of the MOS, by name; none where there is no ZAP.
    pub(crate) fn entries(&self, zap: Option<ObjectId>) -> Result<Vec<(String, Value)>> {
        entries(&*self.mos, zap)
    }

    /// The values of a ZAP of the MOS, in the ZAP's own order; none where there is no ZAP.
    pub(crate) fn values(&self, zap: Option<ObjectId>) -> Result<Vec<Value>> {
        let Some(object) = zap else { return Ok(Vec::new()) };
        Zap::open(&*self.mos, object)?.entries().map(|entry| Ok(entry?.value)).collect()
    }

    /// The entries that a directory or dataset keeps in its own object (`zapified`).
    pub(crate) fn own_zap(&self, object: ObjectId) -> Result<Option<ObjectId>> {
        own_zap(&*self.mos, object)
    }
}

/// The type of a directory or dataset that keeps entries in its own object.
pub(crate) const ZAPIFIED: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 4);

/// A MOS object, checked to have a bonus buffer of this type.
pub(crate) fn bonus(mos: &dyn ObjectSet, object: ObjectId, bonus_type: ObjectType) -> Result<ObjectInfo> {
    let info = mos.info(object)?;
    if info.bonus_type != bonus_type {
        return Err(Error::corrupt(
            "MOS object",
            format!("object {object} has a bonus of type {}, expected {bonus_type}", info.bonus_type),
        ));
    }
    Ok(info)
}

/// An entry of a ZAP; none where there is no ZAP.
pub(crate) fn lookup(mos: &dyn ObjectSet, zap: Option<ObjectId>, name: &str) -> Result<Option<Value>> {
    match zap {
        Some(object) => Ok(Zap::open(mos, object)?.lookup(name)?),
        None => Ok(None),
    }
}

/// The entries of a ZAP, by name; none where there is no ZAP.
pub(crate) fn entries(mos: &dyn ObjectSet, zap: Option<ObjectId>) -> Result<Vec<(String, Value)>> {
    let Some(object) = zap else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for entry in Zap::open(mos, object)?.entries() {
        let entry = entry?;
        entries.push((entry.key.text()?.to_owned(), entry.value));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// The entries that a directory or dataset keeps in its own object; none where it keeps none.
pub(crate) fn own_zap(mos: &dyn ObjectSet, object: ObjectId) -> Result<Option<ObjectId>> {
    Ok((mos.info(object)?.object_type == ZAPIFIED).then_some(object))
}
