//! Parser for values of properties, which converts them to the form that a dataset stores (`zprop_parse_value`).

use zstream_dmu::zap;
use zstream_format::number::parse_bytes;

use crate::error::{Error, Fault, Result};

use super::table::{Kind, Property};

/// The maximum length of the name and of the value of a user property, in bytes (`ZAP_MAXNAMELEN`, `ZFS_MAXPROPLEN`).
const USER_NAME_BYTES_MAX: usize = 255;
const USER_VALUE_BYTES_MAX: usize = 8191;

/// The minimum and maximum size of a block of a file or volume, in bytes (`SPA_MINBLOCKSIZE`, `SPA_MAXBLOCKSIZE`).
const BLOCK_BYTES: (u64, u64) = (512, 16 << 20);

/// Aliases of values: property, word, number.
const ALIASES: [(&str, &str, u64); 7] = [
    ("compression", "gzip-6", 10),
    ("compression", "zstd-fast-1", 13200),
    ("xattr", "on", 2),
    ("acltype", "noacl", 0),
    ("acltype", "posixacl", 1),
    ("aclinherit", "secure", 4),
    ("casesensitivity", "caseinsensitive", 1),
];

/// A property with a value to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The name under which it is stored.
    pub name: String,
    /// The native property; `None` for user properties, whose names contain a colon.
    pub property: Option<&'static Property>,
    /// The value.
    pub value: zap::Value,
}

/// Parses `name=value`.
///
/// # Errors
/// Fails like [`parse`], and if there is no `=`.
pub fn parse_assignment(text: &str) -> Result<Parsed> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Error::bad_property(format!("bad property {text:?}: expected property=value")))?;
    parse(name, value)
}

/// Parses the value of a property. This does not check whether a dataset can have the property, or whether it may be
/// set only at its creation (`set_once`).
///
/// # Errors
/// Fails if the property does not exist or is computed, and if it cannot have this value.
pub fn parse(name: &str, text: &str) -> Result<Parsed> {
    if name.contains(':') {
        return parse_user(name, text);
    }
    let property = Property::find(name).ok_or_else(|| Fault::NoProperty(name.to_owned()))?;
    if property.name.starts_with("default") && property.name.ends_with("quota") {
        let why = format!("property {} can only be set in an existing filesystem", property.name);
        return Err(Error::bad_property(why));
    }
    if property.read_only && !property.set_once {
        return Err(Error::bad_property(format!("property {} is computed and cannot be set", property.name)));
    }
    let bad = |expected: &str| {
        Error::bad_property(format!("bad value {text:?} of {}: expected {expected}", property.name))
    };
    let value = match property.kind {
        Kind::Text { .. } => {
            let is_path = text.starts_with('/') || ["none", "legacy"].contains(&text);
            if property.name == "mountpoint" && !is_path {
                return Err(bad("an absolute path, none or legacy"));
            }
            zap::Value::string(text)
        }
        Kind::Index { names, .. } => {
            let alias = ALIASES.iter().find(|(of, word, _)| *of == property.name && *word == text);
            let number = alias.map(|(_, _, number)| *number);
            let number = number.or_else(|| names.iter().find(|(_, word)| *word == text).map(|(n, _)| *n));
            let list = || names.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
            zap::Value::word(number.ok_or_else(|| bad(&list()))?)
        }
        Kind::Number { .. } => zap::Value::word(parse_number(property, text).ok_or_else(|| {
            bad(match property.name {
                "recordsize" | "volblocksize" => "a power of two from 512 to 16M",
                "special_small_blocks" => "0 to 16M",
                _ => "a number, with a suffix like K, M or G, or none",
            })
        })?),
    };
    Ok(Parsed { name: property.name.to_owned(), property: Some(property), value })
}

fn parse_number(property: &Property, text: &str) -> Option<u64> {
    let number = match (text, property.name) {
        ("none", "filesystem_limit" | "snapshot_limit") => return Some(u64::MAX),
        ("none", "quota" | "refquota" | "reservation" | "refreservation") => return Some(0),
        _ => parse_bytes(text)?,
    };
    let (least, most) = BLOCK_BYTES;
    let is_block = number.is_power_of_two() && (least..=most).contains(&number);
    match property.name {
        "recordsize" | "volblocksize" if !is_block => None,
        "special_small_blocks" if number > most => None,
        _ => Some(number),
    }
}

fn parse_user(name: &str, text: &str) -> Result<Parsed> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ":-._+".contains(c);
    if name.len() > USER_NAME_BYTES_MAX || !name.chars().all(allowed) || name.starts_with('-') {
        return Err(Error::bad_property(format!(
            "bad property {name:?}: a user property consists of lower-case letters, digits and :-._+, at most {USER_NAME_BYTES_MAX}"
        )));
    }
    if text.len() > USER_VALUE_BYTES_MAX {
        let len = text.len();
        return Err(Error::bad_property(format!(
            "the value of {name} is {len} bytes, limit {USER_VALUE_BYTES_MAX}"
        )));
    }
    Ok(Parsed { name: name.to_owned(), property: None, value: zap::Value::string(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, text: &str) -> Option<u64> {
        parse(name, text).ok().and_then(|parsed| parsed.value.u64().ok())
    }

    #[test]
    fn values_are_read_as_zfs_reads_them() {
        for (name, text, expected) in [
            ("compression", "lz4", 15),
            ("compression", "gzip-6", 10),
            ("compression", "zstd-fast-1", 13200),
            ("xattr", "sa", 2),
            ("atime", "off", 0),
            ("recordsize", "1M", 1 << 20),
            ("RECSIZE", "128k", 128 << 10),
            ("quota", "none", 0),
            ("quota", "1.5G", 3 << 29),
            ("snapshot_limit", "none", u64::MAX),
            ("copies", "2", 2),
            ("special_small_blocks", "0", 0),
        ] {
            assert_eq!(number(name, text), Some(expected), "{name}={text}");
        }
        let parsed = parse_assignment("org.example:note=a=b").unwrap();
        assert_eq!((parsed.name.as_str(), parsed.property), ("org.example:note", None));
        assert_eq!(parsed.value.text().unwrap(), "a=b");
        assert_eq!(parse("mountpoint", "/mnt").unwrap().value.text().unwrap(), "/mnt");
    }

    #[test]
    fn impossible_values_are_named() {
        for (name, text, part) in [
            ("compression", "best", "expected on, off, lzjb"),
            ("recordsize", "3k", "a power of two"),
            ("recordsize", "32M", "a power of two"),
            ("quota", "lots", "a number"),
            ("used", "1", "is computed"),
            ("nothing", "1", "bad property"),
            ("mountpoint", "mnt", "an absolute path"),
            ("a:B", "1", "lower-case"),
        ] {
            let error = parse(name, text).unwrap_err().to_string();
            assert!(error.contains(part), "{name}={text}: {error}");
        }
        assert!(parse_assignment("atime").is_err());
    }

    #[test]
    fn sizes_have_suffixes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("64M", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("64mb", Some(64 << 20)),
            ("512B", Some(512)),
            ("0.5k", Some(512)),
            ("15.9E", Some(18_331_451_923_248_866_918)),
            ("16E", None),
            ("", None),
            (".5G", None),
            ("1..2G", None),
            ("1.", None),
            ("1X", None),
            ("-1", None),
            ("iB", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }
}
