//! Changes of properties and features of an existing pool (`spa_sync_props`, `feature_enable_sync`).
//!
//! ```text
//! MOS's directory   features_for_read, features_for_write     guid -> count; 0 if the feature is not active
//!                   feature_descriptions                      guid -> text
//!                   feature_enabled_txg                       guid -> transaction group, with the feature enabled_txg
//!                   pool_props                                name -> number or text
//! config, labels    comment, compatibility; features_for_read: active features that reading the MOS requires
//! ```

use zstream_format::nvlist::{NvList, NvPair};
use zstream_format::object_type::ObjectType;

use super::history::Event;
use super::maintained::{FeatureSet, check_can_enable};
use super::properties::PoolChange;
use super::writer::PoolWriter;
use super::{ZAP_METADATA, directory_object};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::mos::{DIRECTORY_OBJECT, Feature, Features};
use crate::random::Random;
use crate::tx::features;
use crate::zap::{NewZap, Value, Zap, ZapMut, write as zap};
use crate::zio::large_headers;

/// The members of a config before the host that can be set, in their order.
const BEFORE_HOST: [&str; 2] = ["comment", "compatibility"];

impl PoolWriter {
    /// Returns the features of the pool, with the changes of this transaction group.
    ///
    /// # Errors
    /// Fails if a ZAP of features cannot be read.
    pub fn features(&self) -> Result<Features> {
        Features::read(&self.mos)
    }

    /// Removes entries with one reference from the fast deduplication tables (`ddt_prune_unique_entries`): those whose
    /// last change is not younger than `before`, in seconds since 1970, and at most `limit` of them. Returns their
    /// number. Their blocks stay, and are freed like blocks that were not deduplicated.
    ///
    /// # Errors
    /// Fails if an entry cannot be read.
    pub fn prune_dedup(&mut self, before: u64, limit: usize) -> Result<usize> {
        self.space.prune_dedup(before, limit)
    }

    /// Sets a property or enables a feature, and records it in the history.
    ///
    /// # Errors
    /// Fails if the feature cannot be enabled in an existing pool, and if the MOS cannot be changed.
    pub fn change(&mut self, change: &PoolChange) -> Result<()> {
        let random = Random::system()?;
        let text = match change {
            PoolChange::Nothing => return Ok(()),
            PoolChange::Enable(feature) => {
                self.enable(feature, &random)?;
                format!("feature@{}=enabled", feature.name)
            }
            PoolChange::Number { name, value } => {
                self.set_stored(name, &Value::word(*value), &random)?;
                format!("{name}={value}")
            }
            PoolChange::Text { name, value } => {
                if value.is_empty() {
                    self.remove_stored(name)?;
                } else {
                    self.set_stored(name, &Value::string(value), &random)?;
                }
                format!("{name}={value}")
            }
            PoolChange::Config { name, value } => {
                self.set_config(name, value);
                format!("{name}={value}")
            }
            PoolChange::Bootfs(_) => {
                return Err(Error::bad_request("bootfs must be set as the number of its dataset"));
            }
        };
        self.log(Event::Internal("set", &text))
    }

    /// Enables a feature after its dependencies. Returns the features that were not enabled before.
    fn enable(&mut self, feature: &'static Feature, random: &Random) -> Result<Vec<&'static str>> {
        let mut wanted = FeatureSet::none();
        check_can_enable(feature)?;
        wanted.enable(feature.name)?;
        let mut enabled = Vec::new();
        for feature in wanted.iter() {
            if !self.features()?.is_enabled(feature.name) {
                check_can_enable(feature)?;
                self.check_logs(feature)?;
                self.enable_one(feature, random)?;
                enabled.push(feature.name);
            }
        }
        Ok(enabled)
    }

    /// Refuses a feature that would change the format of existing error logs.
    fn check_logs(&self, feature: &Feature) -> Result<()> {
        if feature.name != "head_errlog" {
            return Ok(());
        }
        for name in ["errlog_last", "errlog_scrub"] {
            let log = directory_object(&self.mos, name)?.filter(|object| object.0 != 0);
            if let Some(log) = log
                && Zap::open(&self.mos, log)?.entries().next().is_some()
            {
                return Err(Error::unsupported("enabling head_errlog in a pool with an error log"));
            }
        }
        Ok(())
    }

    fn enable_one(&mut self, feature: &'static Feature, random: &Random) -> Result<()> {
        let list = if feature.read_only_compatible { "features_for_write" } else { "features_for_read" };
        let counts = self.directory_zap(list)?;
        let descriptions = self.directory_zap("feature_descriptions")?;
        let count = u64::from(feature.active_when_enabled);
        ZapMut::open(&mut self.mos, descriptions)?
            .update(feature.guid, &Value::string(feature.description))?;
        ZapMut::open(&mut self.mos, counts)?.update(feature.guid, &Value::word(count))?;
        if count > 0 && feature.needed_for_mos {
            self.need_for_mos(feature);
        }
        if feature.name == large_headers::FEATURE {
            self.large_headers.enable();
        }
        if self.features()?.is_enabled("enabled_txg") {
            let txg = self.txg();
            let name = "feature_enabled_txg";
            let object = match directory_object(&self.mos, name)? {
                Some(object) => object,
                None => self.create_linked(name, ZAP_METADATA, random)?,
            };
            features::add(&mut self.mos, "enabled_txg", 1)?;
            ZapMut::open(&mut self.mos, object)?.add(feature.guid, &Value::word(txg.0))?;
        }
        Ok(())
    }

    /// Increments the count of a feature that became active.
    pub(super) fn activate(&mut self, name: &str) -> Result<()> {
        features::add(&mut self.mos, name, 1)?;
        if let Some(feature) = Feature::by_name(name).filter(|feature| feature.needed_for_mos) {
            self.need_for_mos(feature);
        }
        Ok(())
    }

    /// Lists a feature in the labels, because the MOS cannot be read without support for it.
    fn need_for_mos(&mut self, feature: &Feature) {
        let mut named = self.config.get_list("features_for_read").cloned().unwrap_or_default();
        if !named.contains(feature.guid) {
            named.add_boolean(feature.guid);
        }
        self.config.remove("features_for_read");
        self.config.add_list("features_for_read", named);
        self.is_config_old = true;
    }

    fn directory_zap(&self, name: &str) -> Result<ObjectId> {
        directory_object(&self.mos, name)?.ok_or_else(|| Error::no_entry("MOS object", name))
    }

    /// Creates a ZAP with an entry in the MOS's directory (`zap_create_link`).
    fn create_linked(&mut self, name: &str, object_type: ObjectType, random: &Random) -> Result<ObjectId> {
        let object = zap::create(&mut self.mos, object_type, &NewZap::new(random.u64()?))?;
        ZapMut::open(&mut self.mos, DIRECTORY_OBJECT)?.add(name, &Value::word(object.0))?;
        Ok(object)
    }

    fn set_stored(&mut self, name: &str, value: &Value, random: &Random) -> Result<()> {
        let object = match directory_object(&self.mos, "pool_props")? {
            Some(object) => object,
            None => self.create_linked("pool_props", ObjectType::POOL_PROPS, random)?,
        };
        ZapMut::open(&mut self.mos, object)?.update(name, value)
    }

    fn remove_stored(&mut self, name: &str) -> Result<()> {
        let Some(object) = directory_object(&self.mos, "pool_props")? else { return Ok(()) };
        ZapMut::open(&mut self.mos, object)?.remove_if_there(name).map(drop)
    }

    /// Sets a member of the config at its position (`spa_config_generate`).
    fn set_config(&mut self, name: &str, value: &str) {
        let mut out = NvList::new();
        let mut is_due = true;
        for NvPair { name: key, value: old } in &self.config {
            let key_text = key.to_str().unwrap_or_default();
            let comes_before = ["version", "name", "state", "txg", "pool_guid", "errata"].contains(&key_text)
                || BEFORE_HOST.iter().position(|key| *key == key_text)
                    < BEFORE_HOST.iter().position(|key| *key == name)
                    && BEFORE_HOST.contains(&key_text);
            if is_due && !comes_before {
                out.add_string(name, value);
                is_due = false;
            }
            if key_text != name {
                out.push(key.clone(), old.clone());
            }
        }
        if is_due {
            out.add_string(name, value);
        }
        self.config = out;
        self.is_config_old = true;
    }
}
