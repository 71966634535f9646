//! Counts of features (`spa_feature_incr`, `spa_feature_decr`), and the features that datasets activate in themselves.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;

use super::Tx;
use crate::error::{Error, Result};
use crate::reader::known_feature as known;

impl Tx<'_> {
    /// Counts a feature up or down.
    ///
    /// # Errors
    /// When the pool does not have it, or it would be used less than never.
    pub fn feature_add(&mut self, name: &'static str, change: i64) -> Result<()> {
        let feature = known(name)?;
        self.read().require_feature(name)?;
        let count = self.read().feature_count(name)?.unwrap_or_default();
        let zap = self
            .read()
            .feature_zap(feature)?
            .ok_or_else(|| Error::corrupt("MOS directory", "no features"))?;
        let count = count.checked_add_signed(change).ok_or_else(|| {
            Error::corrupt("feature", format!("{name} is counted {count} times, changed by {change}"))
        })?;
        Ok(self.zap(zap)?.update(feature.guid, &Value::word(count))?)
    }

    /// Activates a feature in a dataset, unless it is (`dsl_dataset_activate_feature`).
    ///
    /// # Errors
    /// When the pool does not have it.
    pub fn activate_feature(&mut self, dataset: ObjectId, name: &'static str, value: &Value) -> Result<()> {
        let guid = known(name)?.guid;
        if self.read().entry(dataset, guid)?.is_some() {
            return Ok(());
        }
        self.feature_add(name, 1)?;
        self.set_entry(dataset, guid, value)
    }

    /// Takes a feature back from a dataset (`dsl_dataset_deactivate_feature`).
    ///
    /// # Errors
    /// When it did not have it.
    pub fn deactivate_feature(&mut self, dataset: ObjectId, name: &'static str) -> Result<()> {
        self.feature_add(name, -1)?;
        Ok(self.zap(dataset)?.remove(known(name)?.guid)?)
    }

    /// Activates in one dataset the features of another.
    pub(super) fn copy_features(&mut self, from: ObjectId, to: ObjectId) -> Result<()> {
        for (feature, value) in self.read().dataset_features(from)? {
            self.activate_feature(to, feature.name, &value)?;
        }
        Ok(())
    }

    /// Takes all features back from a dataset that goes away.
    pub(super) fn drop_features(&mut self, dataset: ObjectId) -> Result<()> {
        for (feature, _) in self.read().dataset_features(dataset)? {
            self.deactivate_feature(dataset, feature.name)?;
        }
        Ok(())
    }
}
