//! Counts of features (`spa_feature_incr`, `spa_feature_decr`), and the features that datasets activate in themselves.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::mos::Feature;
use zstream_dmu::mos::features::FEATURES;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use crate::error::{Error, Result};

use super::Tx;

fn known(name: &str) -> Result<&'static Feature> {
    Feature::by_name(name).ok_or_else(|| Error::refused(Errno::EINVAL, format!("there is no feature {name}")))
}

impl Tx<'_> {
    /// The ZAP that counts a feature.
    fn feature_zap(&self, feature: &Feature) -> Result<Option<ObjectId>> {
        self.directory(if feature.read_only_compatible { "features_for_write" } else { "features_for_read" })
    }

    /// How often a feature is used; none where the pool does not have it.
    ///
    /// # Errors
    /// When the counts cannot be read.
    pub fn feature_count(&self, name: &str) -> Result<Option<u64>> {
        let feature = known(name)?;
        Ok(self.lookup(self.feature_zap(feature)?, feature.guid)?.map(|count| count.u64()).transpose()?)
    }

    /// Whether a feature may be used.
    ///
    /// # Errors
    /// When the counts cannot be read.
    pub fn feature_enabled(&self, name: &str) -> Result<bool> {
        Ok(self.feature_count(name)?.is_some())
    }

    /// Whether a feature is used.
    ///
    /// # Errors
    /// When the counts cannot be read.
    pub fn feature_active(&self, name: &str) -> Result<bool> {
        Ok(self.feature_count(name)?.is_some_and(|count| count > 0))
    }

    /// Refuses what needs a feature that the pool does not have.
    ///
    /// # Errors
    /// `ENOTSUP` when it does not.
    pub fn require_feature(&self, name: &'static str) -> Result<()> {
        if self.feature_enabled(name)? {
            return Ok(());
        }
        Err(Error::refused(Errno::ENOTSUP, format!("the pool does not have the feature {name}")))
    }

    /// Counts a feature up or down.
    ///
    /// # Errors
    /// When the pool does not have it, or it would be used less than never.
    pub fn feature_add(&mut self, name: &'static str, change: i64) -> Result<()> {
        let feature = known(name)?;
        self.require_feature(name)?;
        let count = self.feature_count(name)?.unwrap_or_default();
        let zap = self.feature_zap(feature)?.ok_or_else(|| Error::corrupt("MOS directory", "no features"))?;
        let count = count.checked_add_signed(change).ok_or_else(|| {
            Error::corrupt("feature", format!("{name} is counted {count} times, changed by {change}"))
        })?;
        Ok(self.zap(zap)?.update(feature.guid, &Value::word(count))?)
    }

    /// The features that a dataset has activated in itself, with their values.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn dataset_features(&self, dataset: ObjectId) -> Result<Vec<(&'static Feature, Value)>> {
        let mut found = Vec::new();
        if self.own_zap(dataset)?.is_some() {
            for feature in FEATURES.iter().filter(|feature| feature.per_dataset) {
                if let Some(value) = self.entry(dataset, feature.guid)? {
                    found.push((feature, value));
                }
            }
        }
        Ok(found)
    }

    /// Activates a feature in a dataset, unless it is (`dsl_dataset_activate_feature`).
    ///
    /// # Errors
    /// When the pool does not have it.
    pub fn activate_feature(&mut self, dataset: ObjectId, name: &'static str, value: &Value) -> Result<()> {
        let guid = known(name)?.guid;
        if self.entry(dataset, guid)?.is_some() {
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
        for (feature, value) in self.dataset_features(from)? {
            self.activate_feature(to, feature.name, &value)?;
        }
        Ok(())
    }

    /// Takes all features back from a dataset that goes away.
    pub(super) fn drop_features(&mut self, dataset: ObjectId) -> Result<()> {
        for (feature, _) in self.dataset_features(dataset)? {
            self.deactivate_feature(dataset, feature.name)?;
        }
        Ok(())
    }
}
