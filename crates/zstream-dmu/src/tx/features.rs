//! Reference counts of features, in two ZAPs of the MOS (`spa_feature_incr`, `spa_feature_decr`).

use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::{DIRECTORY_OBJECT, Feature};
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::zap::{Value, Zap, ZapMut};

/// Returns the reference count of the feature with this short name, or `None` if the pool does not have the feature.
///
/// # Errors
///
/// Fails if the count cannot be read.
pub(crate) fn count(mos: &dyn ObjectSet, name: &str) -> Result<Option<u64>> {
    let feature = Feature::by_name(name).ok_or_else(|| Error::no_entry("feature", name))?;
    Zap::open(mos, list(mos, feature)?)?.lookup_u64(feature.guid)
}

/// Returns the ZAP of the counts of a feature.
fn list(mos: &dyn ObjectSet, feature: &Feature) -> Result<ObjectId> {
    let list = if feature.read_only_compatible { "features_for_write" } else { "features_for_read" };
    let object = Zap::open(mos, DIRECTORY_OBJECT)?.lookup_u64(list)?;
    Ok(ObjectId(object.ok_or_else(|| Error::no_entry("MOS object", list))?))
}

/// Changes the reference count of the feature with this short name.
///
/// # Errors
///
/// Fails if the pool does not have the feature, if the count would become negative, and if it cannot be read.
pub(crate) fn add(mos: &mut dyn ObjectStore, name: &str, change: i64) -> Result<()> {
    let feature = Feature::by_name(name).ok_or_else(|| Error::no_entry("feature", name))?;
    let object = list(&*mos, feature)?;
    let count = Zap::open(&*mos, object)?.lookup_u64(feature.guid)?;
    let count = count.ok_or_else(|| Error::no_entry("feature", name))?;
    let new = count.checked_add_signed(change).ok_or_else(|| {
        Error::corrupt(
            "feature",
            format!("reference count of {name} is {count}, cannot change it by {change}"),
        )
    })?;
    ZapMut::open(mos, object)?.update(feature.guid, &Value::word(new))
}
