//! Values of properties, and their text form in `zfs`.

use std::fmt::Write as _;

use super::table::Property;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A number.
    Number(u64),
    /// Hundredths, of a ratio.
    Ratio(u64),
    /// The name of an index property, or text.
    Text(String),
}

/// The source of a value (`zprop_source_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// None: the property is computed, or has no value.
    None,
    /// The default of the property.
    Default,
    /// The dataset itself.
    Local,
    /// A dataset above it, by name.
    Inherited(String),
    /// A stream that was received.
    Received,
}

impl Source {
    /// Returns the name of its kind, as `zfs get -s` has it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Default => "default",
            Self::Local => "local",
            Self::Inherited(_) => "inherited",
            Self::Received => "received",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Default => f.write_str("default"),
            Self::Local => f.write_str("local"),
            Self::Inherited(from) => write!(f, "inherited from {from}"),
            Self::Received => f.write_str("received"),
        }
    }
}

/// A property of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PropertyValue {
    /// The value that applies.
    pub value: Value,
    /// The source of the value.
    pub source: Source,
    /// The value that was received, whether it applies or not.
    pub received: Option<Value>,
}

impl PropertyValue {
    /// Creates a property with a value and its source, which was not received.
    #[must_use]
    pub fn new(value: Value, source: Source) -> Self {
        Self { value, source, received: None }
    }
}

impl Value {
    /// Formats the value like `zfs get -p`: numbers in full.
    #[must_use]
    pub fn literal(&self, property: Option<&Property>) -> String {
        match self {
            Self::Number(u64::MAX) if is_count(property) => "none".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Ratio(hundredths) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
            Self::Text(text) => text.clone(),
        }
    }

    /// Formats the value for people, like `zfs get`. Times are in UTC.
    #[must_use]
    pub fn pretty(&self, property: Option<&Property>) -> String {
        match self {
            Self::Number(number) => pretty_number(*number, property),
            Self::Ratio(_) => self.literal(property) + "x",
            Self::Text(text) => text.clone(),
        }
    }
}

fn is_count(property: Option<&Property>) -> bool {
    let names = ["filesystem_limit", "snapshot_limit", "filesystem_count", "snapshot_count"];
    property.is_some_and(|property| names.contains(&property.name))
}

fn pretty_number(number: u64, property: Option<&Property>) -> String {
    match property.map_or("", |property| property.name) {
        "creation" => time(number, false),
        "snapshots_changed" => time(number, true),
        "quota" | "refquota" | "reservation" | "refreservation" if number == 0 => "none".to_owned(),
        _ if number == u64::MAX && is_count(property) => "none".to_owned(),
        "guid" | "createtxg" | "objsetid" | "keyguid" | "ivsetguid" | "pbkdf2salt" | "pbkdf2iters"
        | "prevsnap" => number.to_string(),
        "used"
        | "available"
        | "referenced"
        | "usedbysnapshots"
        | "usedbydataset"
        | "usedbychildren"
        | "usedbyrefreservation"
        | "logicalused"
        | "logicalreferenced" => nice_bytes(number),
        _ => nice_number(number),
    }
}

/// Formats a number with the unit that leaves up to five characters (`zfs_nicenum`).
#[must_use]
pub fn nice_number(number: u64) -> String {
    let unit = (number.max(1).ilog2() / 10) as usize;
    let shift = 10 * unit as u32;
    let letter = ["", "K", "M", "G", "T", "P", "E"].get(unit).copied().unwrap_or_default();
    if number & ((1 << shift) - 1) == 0 {
        return format!("{}{letter}", number >> shift);
    }
    let value = number as f64 / (1_u64 << shift) as f64;
    let texts = (0..=2_usize).rev().map(|digits| format!("{value:.digits$}{letter}"));
    texts.into_iter().find(|text| text.len() <= 5).unwrap_or_else(|| format!("{value:.0}{letter}"))
}

/// Formats bytes like [`nice_number`], with the suffix `B` if there is no other unit (`zfs_nicebytes`).
#[must_use]
pub fn nice_bytes(bytes: u64) -> String {
    let mut text = nice_number(bytes);
    if bytes < 1024 {
        text.push('B');
    }
    text
}

/// Formats seconds since 1970 like `date` in the C locale, with `%k:%M` or `%k:%M:%S`.
#[must_use]
pub fn time(seconds: u64, with_seconds: bool) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let day_of_week = DAYS[(days % 7) as usize];
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let mut text = format!("{day_of_week} {} {:2} {hour:2}:{minute:02}", MONTHS[month], left + 1);
    if with_seconds {
        // Writing to a `String` does not fail.
        let _ = write!(text, ":{second:02}");
    }
    let _ = write!(text, " {year}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_those_of_zfs() {
        for (number, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1.50K"),
            (131_072, "128K"),
            (1_320_448, "1.26M"),
            (58_584_576, "55.9M"),
            (1_048_575, "1024K"),
            (10_235, "10.0K"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(nice_number(number), text);
        }
        assert_eq!((nice_bytes(0), nice_bytes(1024)), ("0B".to_owned(), "1K".to_owned()));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0, false), "Thu Jan  1  0:00 1970");
        assert_eq!(time(1_795_219_709, false), "Sat Nov 21  0:08 2026");
        assert_eq!(time(951_782_400, true), "Tue Feb 29  0:00:00 2000");
        assert_eq!(time(4_107_542_400, true), "Mon Mar  1  0:00:00 2100");
        assert!(!time(u64::MAX, true).is_empty());
    }
}
