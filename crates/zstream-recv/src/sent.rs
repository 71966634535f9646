//! Entries in the list of a package, and how their properties are set here.

use zstream_dmu::ids::Guid;
use zstream_dmu::zap::Value;
use zstream_dsl::write::{Setting, Tx};
use zstream_format::nvlist::NvValue;
use zstream_format::summary::{Dataset as SentDataset, PackageList, PackageSnapshot};

/// Returns the entry of the snapshot with this guid, with the entry of its dataset.
pub(crate) fn entry(list: Option<&PackageList>, guid: Guid) -> Option<(&SentDataset, &PackageSnapshot)> {
    list?.datasets.iter().find_map(|dataset| {
        let snapshot = dataset.snapshots.iter().find(|snapshot| snapshot.guid == guid)?;
        Some((dataset, snapshot))
    })
}

/// Sets the properties of a snapshot that it has at the sender.
pub(crate) fn set_snapshot_properties(
    tx: &mut Tx<'_>,
    name: &str,
    sent: &PackageSnapshot,
) -> zstream_dsl::error::Result<()> {
    let snapshot = tx.dsl().snapshot(name)?.object();
    for (property, value) in &sent.properties {
        if let Some(value) = stored(value) {
            tx.set_property(snapshot, &property.to_string(), &Setting::Received(value))?;
        }
    }
    Ok(())
}

/// Converts the value of a property in a package to the form that a dataset stores.
pub(crate) fn stored(value: &NvValue) -> Option<Value> {
    match value {
        NvValue::Uint64(number) => Some(Value::word(*number)),
        NvValue::String(text) => Some(Value::string(text.to_str()?)),
        _ => None,
    }
}
