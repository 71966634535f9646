//! Volumes: one object of data, and one ZAP that has its size.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::content::Content;

/// The data (`ZVOL_OBJ`).
pub const DATA: ObjectId = ObjectId(1);
/// ZAP with the size (`ZVOL_ZAP_OBJ`).
pub(crate) const PROPERTIES: ObjectId = ObjectId(2);

/// The content of a volume.
///
/// # Errors
/// The set is no volume, its size is missing, or something cannot be read.
pub fn content(set: &dyn ObjectSet) -> Result<Content<'_>> {
    let kind = set.objset_type();
    if kind != ObjsetType::ZVOL {
        return Err(Error::invalid(format!("an object set of type {}, expected a volume", kind.name())));
    }
    set.info(DATA)?.expect_type(ObjectType::ZVOL)?;
    set.info(PROPERTIES)?.expect_type(ObjectType::ZVOL_PROP)?;
    let size = Zap::open(set, PROPERTIES)?
        .lookup_u64("size")?
        .ok_or_else(|| Error::corrupt("volume", "it has no size"))?;
    Content::new(set, DATA, size)
}
