//! Feature counts of the pool (`spa_feature_incr`, `spa_feature_decr`), and the features that are active in datasets.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;

use super::Tx;
use crate::error::{Error, Result};
use crate::reader::known_feature as known;

impl Tx<'_> {
    /// Adds to the count of a feature.
    ///
    /// # Errors
    /// Fails if the pool does not have the feature, or if the count would become negative.
    pub(crate) fn feature_add(&mut self, name: &'static str, change: i64) -> Result<()> {
        let feature = known(name)?;
        self.read().require_feature(name)?;
        let count = self.read().feature_count(name)?.unwrap_or_default();
        let zap = self
            .read()
            .feature_zap(feature)?
            .ok_or_else(|| Error::corrupt("MOS directory", "it has no features"))?;
        let count = count.checked_add_signed(change).ok_or_else(|| {
            Error::corrupt("feature", format!("{name} has count {count}, which cannot change by {change}"))
        })?;
        Ok(self.zap(zap)?.update(feature.guid, &Value::word(count))?)
    }

    /// Activates a feature in a dataset, unless it is already active (`dsl_dataset_activate_feature`).
    ///
    /// # Errors
    /// Fails if the pool does not have the feature.
    pub fn activate_feature(&mut self, dataset: ObjectId, name: &'static str, value: &Value) -> Result<()> {
        let guid = known(name)?.guid;
        if self.read().entry(dataset, guid)?.is_some() {
            return Ok(());
        }
        self.feature_add(name, 1)?;
        self.set_entry(dataset, guid, value)
    }

    /// Deactivates a feature in a dataset (`dsl_dataset_deactivate_feature`).
    ///
    /// # Errors
    /// Fails if the feature is not active.
    pub(crate) fn deactivate_feature(&mut self, dataset: ObjectId, name: &'static str) -> Result<()> {
        self.feature_add(name, -1)?;
        Ok(self.zap(dataset)?.remove(known(name)?.guid)?)
    }

    /// Activates the features of one dataset in another one.
    pub(super) fn copy_features(&mut self, from: ObjectId, to: ObjectId) -> Result<()> {
        for (feature, value) in self.read().dataset_features(from)? {
            self.activate_feature(to, feature.name, &value)?;
        }
        Ok(())
    }

    /// Deactivates all features of a dataset that is destroyed.
    pub(super) fn drop_features(&mut self, dataset: ObjectId) -> Result<()> {
        for (feature, _) in self.read().dataset_features(dataset)? {
            self.deactivate_feature(dataset, feature.name)?;
        }
        Ok(())
    }
}
