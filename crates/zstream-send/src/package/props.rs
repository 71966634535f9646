//! The properties in a package: those that were set or received, and that can be set at the receiver.
//!
//! They are in the order of their ZAP, as the kernel lists them (`dsl_prop_get_all_ds`), so that the list is identical to
//! the byte.

use zstream_dmu::zap::{Value, Zap};
use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::{Error, Result};
use zstream_dsl::prop::{Kind, PROPERTIES, Property, Types};
use zstream_format::nvlist::NvList;

/// The suffix of a received value.
const RECEIVED: &str = "$recvd";
/// The suffix of a received value that is overridden.
const INHERIT: &str = "$inherit";
/// The suffix of a number that is not a known value of its property.
const UNKNOWN_VALUE: &str = "$iuv";

/// The space limits: snapshots have none, and pools of old versions store them elsewhere.
const LIMITS: [&str; 4] = ["quota", "reservation", "refquota", "refreservation"];

/// Returns the properties of a head or snapshot as `zfs send` lists them (`send_iterate_prop`). With `received_only`, these
/// are the received ones, including those that are overridden (`-b`).
pub(super) fn properties(dataset: &Dataset, received_only: bool) -> Result<NvList> {
    let is_snapshot = dataset.is_snapshot();
    let dir = dataset.dir();
    let object = if is_snapshot { dataset.phys().props } else { dir.phys().props };
    let mut list = NvList::new();
    if let Some(object) = object {
        let mos = dataset.dsl().mos();
        let zap = Zap::open(&**mos, object)?;
        let contains = |name: &str| zap.lookup(name).map(|value| value.is_some());
        for entry in zap.entries() {
            let entry = entry?;
            let key = entry.key.text()?;
            let (name, suffix) = key.find('$').map_or((key, ""), |at| key.split_at(at));
            let counts = match suffix {
                "" => !received_only && !contains(&format!("{name}{UNKNOWN_VALUE}"))?,
                RECEIVED if received_only => true,
                RECEIVED => !contains(name)? && !contains(&format!("{name}{INHERIT}"))?,
                UNKNOWN_VALUE => is_known_value(name, &entry.value)?,
                _ => false,
            };
            if counts && !list.contains(name) {
                add(&mut list, name, &entry.value, is_snapshot)?;
            }
        }
    }
    if !is_snapshot && !received_only {
        for (name, value) in [("quota", dir.phys().quota_bytes), ("reservation", dir.phys().reserved_bytes)] {
            if value != 0 && !list.contains(name) {
                list.add_u64(name, value);
            }
        }
    }
    Ok(list)
}

fn property(name: &str) -> Option<&'static Property> {
    PROPERTIES.iter().find(|property| property.name == name)
}

fn is_known_value(name: &str, value: &Value) -> Result<bool> {
    let Some(property) = property(name) else { return Ok(false) };
    Ok(property.index_name(value.u64()?).is_some())
}

/// Adds a property if it can be set at the receiver.
fn add(list: &mut NvList, name: &str, value: &Value, is_snapshot: bool) -> Result<()> {
    let wrong = |error: zstream_dmu::error::Error| Error::corrupt("property", format!("{name}: {error}"));
    let text = |value: &Value| value.text().map(|text| text.as_bytes().to_vec()).map_err(wrong);
    if name.contains(':') {
        list.add_string(name, text(value)?);
        return Ok(());
    }
    // Omit properties of newer versions, read-only ones, and those that cannot be changed after creation.
    let Some(property) = property(name).filter(|property| !property.read_only && !property.set_once) else {
        return Ok(());
    };
    if is_snapshot && (LIMITS.contains(&name) || !property.types.contains(Types::SNAPSHOT)) {
        return Ok(());
    }
    match property.kind {
        Kind::Text { .. } => list.add_string(name, text(value)?),
        Kind::Number { .. } | Kind::Index { .. } => list.add_u64(name, value.u64().map_err(wrong)?),
    };
    Ok(())
}
