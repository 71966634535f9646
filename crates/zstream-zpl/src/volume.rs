//! Volumes: an object with the data, and a ZAP with its size.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::Zap;
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::content::Content;
use crate::error::{Error, Result};

/// The object with the data (`ZVOL_OBJ`).
pub const DATA: ObjectId = ObjectId(1);
/// The ZAP with the size (`ZVOL_ZAP_OBJ`).
pub(crate) const PROPERTIES: ObjectId = ObjectId(2);

/// Returns the content of a volume.
///
/// # Errors
/// Fails if the object set is not a volume, if its size is missing, and if it cannot be read.
pub fn content(set: &dyn ObjectSet) -> Result<Content<'_>> {
    let kind = set.objset_type();
    if kind != ObjsetType::ZVOL {
        return Err(Error::other_type(format!("object set is of type {}, expected a volume", kind.name())));
    }
    set.info(DATA)?.expect_type(ObjectType::ZVOL)?;
    set.info(PROPERTIES)?.expect_type(ObjectType::ZVOL_PROP)?;
    let size = Zap::open(set, PROPERTIES)?
        .lookup_u64("size")?
        .ok_or_else(|| Error::corrupt("volume", "it has no size"))?;
    Ok(Content::new(set, DATA, size)?)
}
