//! Properties and features of pools, as `zpool get`, `zpool set` and `zpool upgrade` have them.

use zstream_dmu::brt::Totals;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::mos::FEATURES;
use zstream_dmu::mos::{Feature, Features};
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::pool::{PoolChange, STORED, check_can_enable, full_name, upgrade_features};
use zstream_dmu::space::{LogSpaceMaps, VdevSpace, dedup_totals};
use zstream_dmu::zap::Zap;
use zstream_dsl::prop::{Source, Value, nice_number};
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;

use crate::dedup::allocated_bytes;
use crate::describe::state_name;
use crate::error::{Cause, Error, Result};
use crate::place::OpenPool;

/// The version of pools with features (`SPA_VERSION_FEATURES`).
const VERSION_FEATURES: u64 = 5000;

/// A property of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolProperty {
    /// Its name.
    pub name: String,
    /// Its value; none where it is unknown or does not apply.
    pub value: Option<Value>,
    /// True for a number of percent.
    pub is_percent: bool,
    /// The source of its value.
    pub source: Source,
}

impl PoolProperty {
    /// Its value as text, exact or human-readable; `-` if there is none.
    #[must_use]
    pub fn show(&self, literal: bool) -> String {
        match &self.value {
            None => "-".to_owned(),
            Some(Value::Number(number)) if self.name != "guid" && !self.is_percent && !literal => {
                nice_number(*number)
            }
            Some(value) if self.is_percent && !literal => value.literal(None) + "%",
            Some(value @ Value::Ratio(_)) if !literal => value.pretty(None),
            Some(value) => value.literal(None),
        }
    }
}

/// The native properties, in the order of `zpool get all`, with the value that they have by default: none for those that nobody
/// sets.
const NATIVE: [(&str, Option<&str>); 34] = [
    ("size", None),
    ("capacity", None),
    ("altroot", Some("-")),
    ("health", None),
    ("guid", None),
    ("version", Some("-")),
    ("bootfs", Some("-")),
    ("delegation", Some("on")),
    ("autoreplace", Some("off")),
    ("cachefile", Some("-")),
    ("failmode", Some("wait")),
    ("listsnapshots", Some("off")),
    ("autoexpand", Some("off")),
    ("dedupratio", None),
    ("free", None),
    ("allocated", None),
    ("readonly", None),
    ("ashift", Some("0")),
    ("comment", Some("-")),
    ("expandsize", None),
    ("freeing", None),
    ("fragmentation", None),
    ("leaked", None),
    ("multihost", Some("off")),
    ("checkpoint", None),
    ("load_guid", None),
    ("autotrim", Some("off")),
    ("compatibility", Some("off")),
    ("bcloneused", None),
    ("bclonesaved", None),
    ("bcloneratio", None),
    ("dedup_table_size", None),
    ("dedup_table_quota", Some("auto")),
    ("last_scrubbed_txg", None),
];

/// The value of one that nobody sets: none where it is not known of a pool that is not imported.
fn computed(open: &OpenPool, usage: &mut Option<Usage>, name: &str) -> Result<Option<Value>> {
    let pool = &open.pool;
    let is_active = |feature| pool.features().is_active(feature);
    let used = |dir: &str| -> Result<Value> {
        let dir = open.dsl.root()?.child(dir)?;
        Ok(Value::Number(dir.map_or(0, |dir| dir.phys().used_bytes)))
    };
    Ok(Some(match name {
        "size" | "allocated" | "free" | "capacity" => {
            let Usage { size, allocated } = match usage {
                Some(usage) => *usage,
                None => *usage.insert(Usage::of(open)?),
            };
            Value::Number(match name {
                "size" => size,
                "allocated" => allocated,
                "free" => size.saturating_sub(allocated),
                _ => (u128::from(allocated) * 100 / u128::from(size.max(1))) as u64,
            })
        }
        "health" => Value::Text(pool.health().to_string()),
        "guid" => Value::Number(pool.guid().0),
        "readonly" => Value::Text("off".to_owned()),
        "freeing" => used("$FREE")?,
        "leaked" => used("$LEAK")?,
        "dedupratio" => Value::Ratio(dedup_totals(&**pool.mos(), pool.vdevs().tops())?.ratio_percent()),
        "bcloneused" | "bclonesaved" | "bcloneratio" => {
            let totals = match is_active("block_cloning") {
                true => Totals::of(&**pool.mos(), pool.vdevs().tops().len() as u32)?,
                false => Totals::default(),
            };
            match name {
                "bcloneused" => Value::Number(totals.used_bytes),
                "bclonesaved" => Value::Number(totals.saved_bytes),
                _ => Value::Ratio(totals.ratio_percent()),
            }
        }
        "dedup_table_size" => Value::Number(allocated_bytes(&**pool.mos())?),
        "last_scrubbed_txg" => {
            Value::Number(pool.directory_object("last_scrubbed_txg")?.map_or(0, |ObjectId(txg)| txg))
        }
        "checkpoint" => match open.pool.checkpointed()?.bytes() {
            0 => return Ok(None),
            bytes => Value::Number(bytes),
        },
        _ => return Ok(None),
    }))
}

/// The version of a pool that is older than features; none for one with features.
#[must_use]
pub fn version_before_features(open: &OpenPool) -> Option<u64> {
    let version = open.pool.version();
    (version < VERSION_FEATURES).then_some(version)
}

/// The space of the top-level vdevs that contain blocks of datasets, in bytes. Every space map is read for it.
#[derive(Clone, Copy, Debug)]
struct Usage {
    size: u64,
    allocated: u64,
}

impl Usage {
    fn of(open: &OpenPool) -> Result<Self> {
        let mos = &**open.pool.mos();
        let logs = LogSpaceMaps::open(mos)?;
        let mut usage = Self { size: 0, allocated: 0 };
        for top in &open.pool.config().vdev_tree.children {
            if let Some(space) = VdevSpace::find(mos, top)?.filter(|space| space.belongs_to.is_some()) {
                usage.size += space.capacity();
                usage.allocated += space.allocated(mos, &logs)?.bytes();
            }
        }
        Ok(usage)
    }
}

/// What is set: native properties of the MOS and of the config.
fn set_here(open: &OpenPool, name: &str) -> Result<Option<Value>> {
    let pool = &open.pool;
    if name == "version" {
        // Since there are features, the number has no meaning.
        return Ok(version_before_features(open).map(Value::Number));
    }
    if matches!(name, "comment" | "compatibility") {
        return Ok(pool.config_list().get_str(name).map(|text| Value::Text(text.to_owned())));
    }
    let Some(object) = pool.directory_object("pool_props")? else { return Ok(None) };
    let Some(value) = Zap::open(&**pool.mos(), object)?.lookup(name)? else { return Ok(None) };
    let words = STORED.iter().find(|(stored, _)| *stored == name).map(|(_, words)| *words);
    Ok(Some(match (name, value.u64()) {
        ("bootfs", Ok(0)) => return Ok(None),
        ("bootfs", Ok(head)) => Value::Text(open.dsl.dataset_by_object(ObjectId(head))?.name().to_owned()),
        ("dedup_table_quota", Ok(0)) => Value::Text("none".to_owned()),
        ("dedup_table_quota", Ok(u64::MAX)) => Value::Text("auto".to_owned()),
        ("multihost", Ok(number)) => Value::Text(if number == 0 { "off" } else { "on" }.to_owned()),
        (_, Ok(number)) => match words.and_then(|words| words.iter().find(|(_, value)| *value == number)) {
            Some((word, _)) => Value::Text((*word).to_owned()),
            None => Value::Number(number),
        },
        _ => Value::Text(String::from_utf8_lossy(value.c_string()?).into_owned()),
    }))
}

fn native(
    open: &OpenPool,
    usage: &mut Option<Usage>,
    name: &str,
    default: Option<&str>,
) -> Result<PoolProperty> {
    let (value, source) = match default {
        None => (computed(open, usage, name)?, Source::None),
        Some(default) => match set_here(open, name)? {
            Some(value) if value.literal(None) != default => (Some(value), Source::Local),
            _ if default == "-" => (None, Source::Default),
            _ => (Some(Value::Text(default.to_owned())), Source::Default),
        },
    };
    Ok(PoolProperty { name: name.to_owned(), value, is_percent: name == "capacity", source })
}

fn text(name: String, value: String) -> PoolProperty {
    PoolProperty { name, value: Some(Value::Text(value)), is_percent: false, source: Source::Local }
}

fn feature(open: &OpenPool, feature: &Feature) -> PoolProperty {
    let state = state_name(&open.pool.features().state(feature.guid));
    text(format!("feature@{}", feature.name), state.to_owned())
}

/// User properties, by name.
fn user(open: &OpenPool) -> Result<Vec<PoolProperty>> {
    let Some(object) = open.pool.directory_object("pool_props")? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in Zap::open(&**open.pool.mos(), object)?.entries() {
        let entry = entry?;
        let name = String::from_utf8_lossy(entry.key.name()?).into_owned();
        if name.contains(':') {
            found.push(text(name, String::from_utf8_lossy(entry.value.c_string()?).into_owned()));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// All properties of a pool: the native ones, features, features that are not known, user properties.
///
/// # Errors
/// The pool cannot be read.
pub fn pool_properties(open: &OpenPool) -> Result<Vec<PoolProperty>> {
    let usage = &mut None;
    let natives = NATIVE.iter().map(|(name, default)| native(open, usage, name, *default));
    let mut all = natives.collect::<Result<Vec<_>>>()?;
    all.extend(FEATURES.iter().map(|known| feature(open, known)));
    for (guid, count) in open.pool.features().iter() {
        if Feature::by_guid(guid).is_none() {
            let state = if count == 0 { "inactive" } else { "readonly" };
            all.push(text(format!("unsupported@{guid}"), state.to_owned()));
        }
    }
    all.extend(user(open)?);
    Ok(all)
}

/// The property of this name.
///
/// # Errors
/// There is no such property, or the pool cannot be read. The short names of columns of `zpool list` are names, too.
pub fn pool_property(open: &OpenPool, name: &str) -> Result<PoolProperty> {
    let name = full_name(name);
    if let Some((name, default)) = NATIVE.iter().find(|(native, _)| *native == name) {
        return native(open, &mut None, name, *default);
    }
    if let Some(known) = name.strip_prefix("feature@").and_then(Feature::by_name) {
        return Ok(feature(open, known));
    }
    if name.contains(':') {
        let found = user(open)?.into_iter().find(|property| property.name == name);
        let none =
            PoolProperty { name: name.to_owned(), value: None, is_percent: false, source: Source::None };
        return Ok(found.unwrap_or(none));
    }
    Err(PoolError::bad_request(format!("bad property list: invalid property '{name}'")).into())
}

/// Sets properties of a pool and enables features: `PROPERTY=VALUE`, `feature@NAME=enabled`.
///
/// # Errors
/// There is no such property, or it cannot be set so.
pub fn set_pool<S: AsRef<str>>(pool: &mut WritablePool, assignments: &[S]) -> Result<()> {
    fn failed(source: impl Into<Cause>) -> Error {
        Error::Change { action: "set the property".to_owned(), source: source.into() }
    }
    let changes = assignments.iter().map(|text| PoolChange::parse(text.as_ref()));
    for change in changes.collect::<Result<Vec<_>, _>>().map_err(failed)? {
        let change = match change {
            PoolChange::Bootfs(name) => bootfs(pool, &name)?,
            other => other,
        };
        pool.change_pool(&change).map_err(failed)?;
    }
    Ok(())
}

/// The property `bootfs`: the number of a filesystem.
fn bootfs(pool: &mut WritablePool, name: &str) -> Result<PoolChange> {
    let mut value = 0;
    if !name.is_empty() {
        let dsl = pool.dsl();
        let dataset = dsl
            .dataset(name)
            .map_err(|source| Error::Open { name: name.to_owned(), source: source.into() })?;
        if dataset.objset_locked().is_ok_and(|set| set.objset_type() != ObjsetType::ZFS) {
            return Err(Error::OtherKind { name: name.to_owned() });
        }
        value = dataset.object().0;
    }
    Ok(PoolChange::Number { name: "bootfs".to_owned(), value })
}

/// The features that an upgrade would enable in a pool with this property `compatibility`.
fn missing(compatibility: Option<&str>, features: &Features) -> Result<Vec<&'static Feature>> {
    let is_missing =
        |feature: &&Feature| check_can_enable(feature).is_ok() && !features.is_enabled(feature.name);
    Ok(upgrade_features(compatibility)?.iter().filter(is_missing).collect())
}

/// The features that [`upgrade_pool`] would enable.
///
/// # Errors
/// The property `compatibility` names a set that does not exist.
pub fn missing_features(open: &OpenPool) -> Result<Vec<&'static str>> {
    let missing = missing(open.pool.config_list().get_str("compatibility"), open.pool.features())?;
    Ok(missing.iter().map(|feature| feature.name).collect())
}

/// Enables the features that a new pool would have and this one does not: those of its property `compatibility`, or the default
/// ones. Returns their names.
///
/// # Errors
/// As [`missing_features`]; the pool cannot be changed.
pub fn upgrade_pool(pool: &mut WritablePool) -> Result<Vec<&'static str>> {
    let missing = missing(pool.pool().config_list().get_str("compatibility"), &pool.pool().features()?)?;
    for feature in &missing {
        pool.change_pool(&PoolChange::Enable(feature))?;
    }
    Ok(missing.iter().map(|feature| feature.name).collect())
}

/// Takes a checkpoint of a pool: its whole state, which can be read later, and to which OpenZFS can return. Returns its
/// transaction group.
///
/// # Errors
/// The pool has a checkpoint, or the feature is not enabled, or it cannot be changed.
pub fn checkpoint_pool(pool: &mut WritablePool) -> Result<Txg> {
    let action = format!("checkpoint {}", pool.pool().name());
    pool.take_checkpoint().map_err(|source| Error::Change { action, source: source.into() })
}

/// Discards the checkpoint of a pool, and frees the space that only it uses.
///
/// # Errors
/// The pool has no checkpoint, or it cannot be changed.
pub fn discard_checkpoint(pool: &mut WritablePool) -> Result<()> {
    let action = format!("discard the checkpoint of {}", pool.pool().name());
    pool.discard_checkpoint().map_err(|source| Error::Change { action, source: source.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_zpool_shows_them() {
        let property = |name: &str, value, is_percent| PoolProperty {
            name: name.to_owned(),
            value,
            is_percent,
            source: Source::None,
        };
        let size = property("size", Some(Value::Number(1 << 20)), false);
        assert_eq!((size.show(false), size.show(true)), ("1M".to_owned(), "1048576".to_owned()));
        let capacity = property("capacity", Some(Value::Number(42)), true);
        assert_eq!((capacity.show(false), capacity.show(true)), ("42%".to_owned(), "42".to_owned()));
        assert_eq!(property("guid", Some(Value::Number(1 << 20)), false).show(false), "1048576");
        assert_eq!(property("expandsize", None, false).show(false), "-");
    }
}
