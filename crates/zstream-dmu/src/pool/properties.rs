//! Properties of pools, for new pools (`-o property=value` of `zpool create`) and existing ones (`zpool set`).

use zstream_format::number::parse_bytes;

use super::compatibility::compatible;
use super::maintained::{FeatureSet, check_can_enable};
use crate::ddt::QUOTA;
use crate::error::{Error, Result};
use crate::mos::Feature;
use crate::vdev::config::ASHIFT_RANGE;

/// The maximum length of a comment (`ZPROP_MAX_COMMENT`).
const COMMENT_BYTES_MAX: usize = 32;

/// The format of a comment.
const COMMENT_RULE: &str = "printable ASCII text of at most 32 bytes";

/// The maximum length of the name or value of a user property (`ZAP_MAXNAMELEN`, without the NUL).
const USER_BYTES_MAX: usize = 255;

/// The read-only properties.
const READ_ONLY: [&str; 25] = [
    "allocated",
    "available",
    "bcloneratio",
    "bclonesaved",
    "bcloneused",
    "capacity",
    "checkpoint",
    "dedup_table_size",
    "dedupratio",
    "dedupsaved",
    "dedupused",
    "expandsize",
    "fragmentation",
    "free",
    "freeing",
    "guid",
    "health",
    "last_scrubbed_txg",
    "leaked",
    "load_guid",
    "maxblocksize",
    "maxdnodesize",
    "name",
    "size",
    "used",
];

const OFF_ON: &[(&str, u64)] = &[("off", 0), ("on", 1)];

/// The properties that are stored in the MOS, with their values.
pub const STORED: [(&str, &[(&str, u64)]); 6] = [
    ("autoexpand", OFF_ON),
    ("autoreplace", OFF_ON),
    ("autotrim", OFF_ON),
    ("delegation", OFF_ON),
    ("failmode", &[("wait", 0), ("continue", 1), ("panic", 2)]),
    ("listsnapshots", OFF_ON),
];

/// The short names of properties, which are the columns of `zpool list`.
const SHORT_NAMES: [(&str, &str); 15] = [
    ("alloc", "allocated"),
    ("bclone_ratio", "bcloneratio"),
    ("bclone_saved", "bclonesaved"),
    ("bclone_used", "bcloneused"),
    ("cap", "capacity"),
    ("ckpoint", "checkpoint"),
    ("ddtquota", "dedup_table_quota"),
    ("ddtsize", "dedup_table_size"),
    ("dedup", "dedupratio"),
    ("expand", "autoexpand"),
    ("expandsz", "expandsize"),
    ("frag", "fragmentation"),
    ("listsnaps", "listsnapshots"),
    ("rdonly", "readonly"),
    ("replace", "autoreplace"),
];

/// Parses a limit of deduplication tables: a number of bytes, `none`, which is stored as 0, or `auto`, the limit of the
/// vdevs that are for the tables, which is stored as the largest number.
fn parse_dedup_table_quota(value: &str) -> Result<u64> {
    match value {
        "none" => Ok(0),
        "auto" => Ok(u64::MAX),
        _ => parse_bytes(value).ok_or_else(|| bad_value(QUOTA, value, "a number of bytes, none or auto")),
    }
}

/// Returns the full name of a property: commands take the short names of some, too (`propname_match`).
#[must_use]
pub fn full_name(name: &str) -> &str {
    SHORT_NAMES.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full)
}

/// The properties of a new pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolProperties {
    /// The logarithm of the sector size, if it is set.
    pub ashift: Option<u8>,
    /// The property `comment`.
    pub comment: Option<String>,
    /// The property `compatibility`.
    pub compatibility: Option<String>,
    /// The properties that are stored in the MOS.
    pub stored: Vec<(String, u64)>,
    /// The features.
    pub features: FeatureSet,
}

impl PoolProperties {
    /// Parses assignments `property=value`. Starts from the features of `compatibility`, from none if
    /// `without_features`, and otherwise from the default ones. Then applies the assignments of features.
    ///
    /// # Errors
    /// Fails if a property does not exist, if it cannot have this value, and if it is not supported in a new pool.
    pub fn parse<S: AsRef<str>>(assignments: &[S], without_features: bool) -> Result<Self> {
        let split = |text: &S| -> Result<(String, String)> {
            let text = text.as_ref();
            let pair = text.split_once('=');
            let (name, value) = pair.ok_or_else(|| {
                Error::bad_request(format!("{text:?} is not an assignment, expected property=value"))
            })?;
            Ok((full_name(name).to_owned(), value.to_owned()))
        };
        let pairs = assignments.iter().map(split).collect::<Result<Vec<_>>>()?;
        let compatibility = pairs.iter().rev().find(|(name, _)| name == "compatibility");
        let compatibility = compatibility.map(|(_, value)| value.clone());
        let mut features = match &compatibility {
            Some(sets) => compatible(sets)?,
            None => FeatureSet::default(),
        };
        if without_features {
            features = FeatureSet::none();
        }
        let mut this = Self {
            ashift: None,
            comment: None,
            // A pool without the property behaves as with "off".
            compatibility: compatibility.filter(|value| !matches!(value.as_str(), "off" | "")),
            stored: Vec::new(),
            features,
        };
        for (name, value) in &pairs {
            this.set(name, value)?;
        }
        Ok(this)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let bad = |expected: String| Err(bad_value(name, value, &expected));
        if let Some(feature) = name.strip_prefix("feature@") {
            return match value {
                "enabled" | "active" => self.features.enable(feature),
                "disabled" => self.features.disable(feature),
                _ => bad("enabled or disabled".to_owned()),
            };
        }
        if let Some((_, values)) = STORED.iter().find(|(stored, _)| *stored == name) {
            let Some((_, number)) = values.iter().find(|(word, _)| *word == value) else {
                return bad(values.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "));
            };
            self.stored.retain(|(stored, _)| stored != name);
            self.stored.push((name.to_owned(), *number));
            return Ok(());
        }
        match name {
            "compatibility" => {}
            "ashift" => match value.parse::<u8>() {
                Ok(0) => self.ashift = None,
                Ok(shift) if ASHIFT_RANGE.contains(&u64::from(shift)) => self.ashift = Some(shift),
                _ => return bad(format!("{} to {}", ASHIFT_RANGE.start(), ASHIFT_RANGE.end())),
            },
            "comment" => {
                if !is_comment(value) {
                    return bad(COMMENT_RULE.to_owned());
                }
                self.comment = Some(value.to_owned());
            }
            // zstream has no cache of pools.
            "cachefile" if value == "none" => {}
            "multihost" if value == "off" => {}
            "version" if value == "5000" => {}
            QUOTA => {
                let number = parse_dedup_table_quota(value)?;
                self.stored.retain(|(stored, _)| stored != name);
                self.stored.push((name.to_owned(), number));
            }
            "altroot" | "bootfs" | "cachefile" | "multihost" | "version" => {
                return Err(Error::unsupported(format!("{name}={value} in a new pool")));
            }
            _ => return Err(Error::bad_request(format!("pool property {name:?} does not exist"))),
        }
        Ok(())
    }
}

/// A change of an existing pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolChange {
    /// No change: the pool already has this value.
    Nothing,
    /// Enables a feature.
    Enable(&'static Feature),
    /// Sets a property in the MOS that is a number.
    Number {
        /// The name.
        name: String,
        /// The value.
        value: u64,
    },
    /// Sets a property in the MOS that is text. An empty text removes it.
    Text {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// Sets a property in the config.
    Config {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// Sets the filesystem to boot from. An empty name removes it.
    Bootfs(String),
}

impl PoolChange {
    /// Parses an assignment `property=value` in the syntax of `zpool set`.
    ///
    /// # Errors
    /// Fails if the property does not exist, if it cannot have this value, and if it is read-only or not supported.
    pub fn parse(assignment: &str) -> Result<Self> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Error::bad_request(format!(
                "{assignment:?} is not an assignment, expected property=value"
            )));
        };
        let (name, value) = (full_name(name).to_owned(), value.to_owned());
        if let Some(feature) = name.strip_prefix("feature@") {
            let known = Feature::by_name(feature).ok_or_else(|| Error::no_entry("feature", feature))?;
            return match value.as_str() {
                "enabled" => check_can_enable(known).map(|()| Self::Enable(known)),
                "disabled" => Err(Error::bad_request(format!(
                    "property {name} can only be set to disabled at creation time"
                ))),
                _ => Err(bad_value(&name, &value, "enabled")),
            };
        }
        if is_user_property(&name) {
            let (limit, found) = (USER_BYTES_MAX, name.len().max(value.len()));
            return match found > limit {
                true => Err(Error::bad_request(format!(
                    "property {name} or its value is longer than {limit} bytes"
                ))),
                false => Ok(Self::Text { name, value }),
            };
        }
        if let Some((_, values)) = STORED.iter().find(|(stored, _)| *stored == name) {
            let number = values.iter().find(|(word, _)| *word == value).map(|(_, number)| *number);
            let value = number.ok_or_else(|| {
                bad_value(&name, &value, &values.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "))
            })?;
            return Ok(Self::Number { name, value });
        }
        if READ_ONLY.contains(&name.as_str()) {
            return Err(Error::bad_request(format!("pool property {name} is read-only")));
        }
        match (name.as_str(), value.as_str()) {
            ("ashift", _) => match value.parse::<u64>() {
                Ok(shift) if shift == 0 || ASHIFT_RANGE.contains(&shift) => {
                    Ok(Self::Number { name, value: shift })
                }
                _ => Err(bad_value(&name, &value, "0, or 9 to 16")),
            },
            ("comment", _) => match is_comment(&value) {
                true => Ok(Self::Config { name, value }),
                false => Err(bad_value(&name, &value, COMMENT_RULE)),
            },
            ("compatibility", _) => {
                compatible(&value)?;
                Ok(Self::Config { name, value })
            }
            ("bootfs", _) => Ok(Self::Bootfs(value)),
            ("cachefile", "none" | "") | ("multihost" | "readonly", "off") | ("version", "5000") => {
                Ok(Self::Nothing)
            }
            ("altroot" | "cachefile" | "readonly", _) => Err(Error::unsupported(format!(
                "{name}, which belongs to an imported pool and is not stored in it,"
            ))),
            (QUOTA, _) => Ok(Self::Number { value: parse_dedup_table_quota(&value)?, name }),
            ("multihost" | "version", _) => Err(Error::unsupported(format!("setting {name}={value}"))),
            _ => Err(Error::bad_request(format!("pool property {name:?} does not exist"))),
        }
    }
}

/// Returns the features that `pool upgrade` enables: those of new pools, or those of the sets in the property
/// `compatibility`.
///
/// # Errors
/// Fails if a set does not exist.
pub fn upgrade_features(compatibility: Option<&str>) -> Result<FeatureSet> {
    match compatibility {
        Some(sets) if !sets.is_empty() => compatible(sets),
        _ => Ok(FeatureSet::default()),
    }
}

fn bad_value(name: &str, value: &str, expected: &str) -> Error {
    Error::bad_request(format!("value {value:?} of pool property {name} is invalid, expected {expected}"))
}

/// Returns whether a name is that of a user property, `module:property` (`zfs_prop_user`).
fn is_user_property(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.: ".contains(c);
    name.contains(':') && name.chars().all(is_allowed)
}

fn is_comment(value: &str) -> bool {
    value.len() <= COMMENT_BYTES_MAX && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &[&str]) -> Result<PoolProperties> {
        PoolProperties::parse(list, false)
    }

    #[test]
    fn properties_are_read() {
        let properties = parse(&[
            "ashift=9",
            "failmode=continue",
            "autotrim=on",
            "autotrim=off",
            "comment=a pool",
            "feature@encryption=disabled",
            "feature@head_errlog=enabled",
        ])
        .unwrap();
        assert_eq!((properties.ashift, properties.comment.as_deref()), (Some(9), Some("a pool")));
        assert_eq!(properties.stored, [("failmode".to_owned(), 1), ("autotrim".to_owned(), 0)]);
        assert!(!properties.features.contains("encryption") && properties.features.contains("head_errlog"));
        assert_eq!(parse(&[]).unwrap().features, FeatureSet::default());
        for off in ["compatibility=off", "compatibility="] {
            let properties = parse(&[off]).unwrap();
            assert_eq!(
                (properties.compatibility, properties.features),
                (None, FeatureSet::default()),
                "{off}"
            );
        }
        assert_eq!(parse(&["replace=on"]).unwrap().stored, [("autoreplace".to_owned(), 1)]);
        for (text, number) in [("none", 0), ("auto", u64::MAX), ("64K", 65536)] {
            let stored = parse(&["ddtquota=1G", &format!("dedup_table_quota={text}")]).unwrap().stored;
            assert_eq!(stored, [(QUOTA.to_owned(), number)]);
        }
        let bare = PoolProperties::parse(&["feature@bookmarks=enabled"], true).unwrap();
        assert_eq!(bare.features.iter().count(), 2);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, part) in [
            ("ashift=17", "expected 9 to 16"),
            ("failmode=never", "expected wait, continue, panic"),
            ("feature@device_rebuild=enabled", "enabling feature device_rebuild"),
            ("feature@x=enabled", "feature x not found"),
            ("feature@lz4_compress=maybe", "expected enabled or disabled"),
            ("multihost=on", "not supported"),
            ("dedup_table_quota=much", "expected a number of bytes, none or auto"),
            ("size=3", "does not exist"),
            ("ashift", "expected property=value"),
            ("compatibility=no-such-set", "set of compatible features no-such-set not found"),
        ] {
            let error = parse(&[text]).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(parse(&[&format!("comment={}", "x".repeat(33))]).is_err());
    }
}
