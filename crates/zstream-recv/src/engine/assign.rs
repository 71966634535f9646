//! Properties of received datasets.

use zstream_dmu::ids::ObjectId;
use zstream_dsl::write::Setting;

use super::Receiving;
use crate::error::Result;

/// Properties that decide how blocks are written.
const WRITING_PROPERTIES: [&str; 5] =
    ["checksum", "compression", "copies", "redundant_metadata", "special_small_blocks"];

/// Properties that are set when the receive ends, because they would hinder the receive itself.
const DELAYED: [&str; 3] = ["refquota", "refreservation", "keylocation"];

/// A property that is set on the received dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its name.
    pub name: String,
    /// The change of the property.
    pub setting: Setting,
}

impl Assignment {
    /// Returns the same assignment for the hidden clone that is filled, if the property decides how blocks are written.
    pub(super) fn for_writing(&self) -> Option<Self> {
        match &self.setting {
            Setting::Local(value) | Setting::Received(value)
                if WRITING_PROPERTIES.contains(&self.name.as_str()) =>
            {
                Some(Self { name: self.name.clone(), setting: Setting::Local(value.clone()) })
            }
            _ => None,
        }
    }

    /// Returns `true` if the property is set when the receive ends.
    pub(super) fn is_delayed(&self) -> bool {
        DELAYED.contains(&self.name.as_str())
    }
}

impl Receiving<'_> {
    /// Sets properties. Those that are refused are skipped, with a warning.
    pub(super) fn assign<'a>(
        &mut self,
        head: ObjectId,
        settings: impl Iterator<Item = &'a Assignment>,
    ) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        let mut is_marked = false;
        for Assignment { name, setting } in settings {
            let mut tx = self.pool.tx();
            if matches!(setting, Setting::Received(_)) && !is_marked {
                tx.set_has_received(head)?;
                is_marked = true;
            }
            let is_allowed = match setting {
                Setting::Local(value) if name == "keylocation" => {
                    tx.dsl().dataset_by_object(head)?.check_key_location(value.text()?)
                }
                Setting::Local(value) | Setting::Received(value) => tx.dsl().check_value(name, value),
                _ => Ok(()),
            };
            if let Err(error) = is_allowed.and_then(|()| tx.set_property(head, name, setting)) {
                if !error.is_refusal() {
                    return Err(error.into());
                }
                let dataset = self.pool.dsl().dataset_by_object(head)?.name().to_owned();
                warnings.push(format!("cannot receive {name} property on {dataset}: {error}"));
            }
        }
        Ok(warnings)
    }
}
