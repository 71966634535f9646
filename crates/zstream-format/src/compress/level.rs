//! Levels of zstd as ZFS numbers them, and the value of the property `compression`.
//!
//! ```text
//! cookie     1 ..  19   zstd-1 .. zstd-19
//!          103 .. 112   zstd-fast-1 .. zstd-fast-10
//!          113 .. 121   zstd-fast-20, -30, .. zstd-fast-100
//!          122, 123     zstd-fast-500, zstd-fast-1000
//! property  bits 0..6 are the algorithm, bits 7 and up the cookie; cookie 0 is the default level
//! ```

use std::fmt;
use std::str::FromStr;

use crate::algorithm::CompressionType;

/// The fast levels in the order of their cookies, which start at [`FIRST_FAST_COOKIE`].
const FAST: [u16; 21] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 500, 1000];
const FIRST_FAST_COOKIE: u8 = 103;
const LAST_PLAIN_COOKIE: u8 = 19;

/// The first bit of the level in the value of the property.
const PROPERTY_LEVEL_SHIFT: u32 = 7;
const PROPERTY_KIND_MASK: u64 = (1 << PROPERTY_LEVEL_SHIFT) - 1;

/// A level of zstd that ZFS defines (`enum zio_zstd_levels`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZstdLevel(u8);

impl ZstdLevel {
    /// The level of `compression=zstd`: 3.
    pub const DEFAULT: Self = Self(3);

    /// The level with this number in block headers and properties.
    #[must_use]
    pub fn from_cookie(cookie: u8) -> Option<Self> {
        let fast = FIRST_FAST_COOKIE..FIRST_FAST_COOKIE + FAST.len() as u8;
        ((1..=LAST_PLAIN_COOKIE).contains(&cookie) || fast.contains(&cookie)).then_some(Self(cookie))
    }

    /// The number of the level in block headers and properties.
    #[must_use]
    pub fn cookie(self) -> u8 {
        self.0
    }

    /// The level with this number in the zstd library, where the fast ones are negative.
    #[must_use]
    pub fn from_library(level: i32) -> Option<Self> {
        Self::all().find(|known| known.library() == level)
    }

    /// The number of the level in the zstd library: `zstd-fast-10` is -10.
    #[must_use]
    pub fn library(self) -> i32 {
        match self.0.checked_sub(FIRST_FAST_COOKIE) {
            Some(index) => -i32::from(FAST[usize::from(index)]),
            None => i32::from(self.0),
        }
    }

    /// Returns every level in the order of cookies.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).filter_map(Self::from_cookie)
    }
}

impl Default for ZstdLevel {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for ZstdLevel {
    /// Writes the level as a value of the property: `zstd-3`, `zstd-fast-10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.library() {
            level @ ..0 => write!(f, "zstd-fast-{}", -level),
            level => write!(f, "zstd-{level}"),
        }
    }
}

impl fmt::Debug for ZstdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZstdLevel({}: {self})", self.0)
    }
}

/// An error from parsing a value of the property `compression`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression `{0}`")]
pub struct UnknownCompression(pub String);

impl FromStr for ZstdLevel {
    type Err = UnknownCompression;

    /// Parses the output of `Display`, and `zstd` and `zstd-fast` as the levels 3 and fast-1.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "zstd" => Ok(Self::DEFAULT),
            "zstd-fast" => Ok(Self(FIRST_FAST_COOKIE)),
            _ => Self::all()
                .find(|level| level.to_string() == name)
                .ok_or_else(|| UnknownCompression(name.to_owned())),
        }
    }
}

/// A value of the property `compression`: an algorithm and, for zstd, an optional level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compression {
    /// The algorithm.
    pub kind: CompressionType,
    /// The level of zstd; `None` for the default level and for all other algorithms.
    pub level: Option<ZstdLevel>,
}

impl Compression {
    /// Parses the stored value of the property. Returns `None` for a value that no version defines.
    #[must_use]
    pub fn from_property(value: u64) -> Option<Self> {
        let kind = CompressionType((value & PROPERTY_KIND_MASK) as u8);
        let level = match value >> PROPERTY_LEVEL_SHIFT {
            0 => None,
            cookie if kind == CompressionType::ZSTD => {
                Some(u8::try_from(cookie).ok().and_then(ZstdLevel::from_cookie)?)
            }
            _ => return None,
        };
        kind.is_known().then_some(Self { kind, level })
    }

    /// The stored value of the property.
    #[must_use]
    pub fn property(self) -> u64 {
        let level = self.level.map_or(0, ZstdLevel::cookie);
        u64::from(self.kind.0) | u64::from(level) << PROPERTY_LEVEL_SHIFT
    }
}

impl From<CompressionType> for Compression {
    fn from(kind: CompressionType) -> Self {
        Self { kind, level: None }
    }
}

impl fmt::Display for Compression {
    /// Writes the value as `zfs get` prints it: `gzip-6` as `gzip` and `zstd-fast-1` as `zstd-fast`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.level) {
            (CompressionType::GZIP_6, _) => f.write_str("gzip"),
            (_, Some(ZstdLevel(FIRST_FAST_COOKIE))) => f.write_str("zstd-fast"),
            (_, Some(level)) => level.fmt(f),
            (kind, None) => kind.fmt(f),
        }
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    /// Parses the values of `zfs set compression=`: `on`, `off`, `lzjb`, `gzip`, `gzip-1` to `gzip-9`, `zle`,
    /// `lz4`, `zstd`, `zstd-1` to `zstd-19`, `zstd-fast` and `zstd-fast-N`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "gzip" => return Ok(CompressionType::GZIP_6.into()),
            "zstd" => return Ok(CompressionType::ZSTD.into()),
            _ => {}
        }
        match CompressionType::from_name(name) {
            Some(CompressionType::INHERIT | CompressionType::EMPTY) => {
                Err(UnknownCompression(name.to_owned()))
            }
            Some(kind) => Ok(kind.into()),
            None => Ok(Self { kind: CompressionType::ZSTD, level: Some(name.parse()?) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values and names of the property `compression` from libzfs 2.3.2.
    #[test]
    fn property_values_are_those_of_libzfs() {
        for (value, name) in [
            (1, "on"),
            (2, "off"),
            (3, "lzjb"),
            (5, "gzip-1"),
            (10, "gzip"),
            (13, "gzip-9"),
            (14, "zle"),
            (15, "lz4"),
            (16, "zstd"),
            (144, "zstd-1"),
            (400, "zstd-3"),
            (2448, "zstd-19"),
            (13200, "zstd-fast"),
            (13328, "zstd-fast-2"),
            (14352, "zstd-fast-10"),
            (14480, "zstd-fast-20"),
            (15504, "zstd-fast-100"),
            (15632, "zstd-fast-500"),
            (15760, "zstd-fast-1000"),
        ] {
            let parsed: Compression = name.parse().unwrap();
            assert_eq!(parsed.property(), value, "{name}");
            assert_eq!(Compression::from_property(value).unwrap().to_string(), name);
        }
        assert_eq!("zstd-fast-1".parse::<Compression>().unwrap().property(), 13200);
        assert_eq!("gzip-6".parse::<Compression>().unwrap().property(), 10);
    }

    #[test]
    fn names_that_zfs_refuses_are_refused() {
        for name in
            ["empty", "inherit", "zstd-0", "zstd-20", "zstd-fast-25", "zstd--1", "lz4-1", "gzip-0", ""]
        {
            assert_eq!(name.parse::<Compression>(), Err(UnknownCompression(name.to_owned())));
        }
        // Level 20, the reserved 101, a level on lz4, an unknown algorithm, a cookie above one byte.
        for value in [16 | 20 << 7, 16 | 101 << 7, 15 | 1 << 7, 17, 16 | 259 << 7, u64::MAX] {
            assert_eq!(Compression::from_property(value), None, "{value}");
        }
    }

    #[test]
    fn every_level_survives_cookie_library_number_and_name() {
        let all: Vec<_> = ZstdLevel::all().collect();
        assert_eq!(all.len(), 19 + 21);
        for level in all {
            assert_eq!(ZstdLevel::from_cookie(level.cookie()), Some(level));
            assert_eq!(ZstdLevel::from_library(level.library()), Some(level));
            assert_eq!(level.to_string().parse(), Ok(level));
        }
    }
}
