//! The flag words of records and the feature flags of streams.

use std::fmt;

use bitflags::bitflags;

use crate::field_by_flags;
use crate::wire::field_by_newtype;

bitflags! {
    /// `drr_flags` of BEGIN.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct BeginFlags: u32 {
        /// The source snapshot is in another filesystem: receive as a clone of it.
        const CLONE = 1 << 0;
        /// The names in the dataset are case-insensitive.
        const CI_DATA = 1 << 1;
        /// The full stream has every FREE and FREEOBJECTS, so that it can be received as a clone.
        const FREERECORDS = 1 << 2;
        /// [`ObjectFlags::SPILL`] and [`SpillFlags::UNMODIFIED`] are reliable.
        const SPILL_BLOCK = 1 << 3;
    }

    /// `drr_flags` of OBJECT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct ObjectFlags: u8 {
        /// In raw streams: the dnode was written in the byte order opposite to that of the stream.
        const RAW_BYTESWAP = 1 << 1;
        /// The object has a spill block at the source.
        const SPILL = 1 << 2;
    }

    /// `drr_flags` of WRITE and WRITE_BYREF.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct WriteFlags: u8 {
        /// The checksum in the key is strong enough for deduplication.
        const CHECKSUM_DEDUP = 1 << 0;
        /// In raw streams: the block was written in the byte order opposite to that of the stream.
        const RAW_BYTESWAP = 1 << 1;
    }

    /// `drr_flags` of SPILL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct SpillFlags: u8 {
        /// In raw streams: the block was written in the byte order opposite to that of the stream.
        const RAW_BYTESWAP = 1 << 1;
        /// The block is sent again, but has not changed since the source snapshot.
        const UNMODIFIED = 1 << 2;
    }

    /// `drr_flags` of OBJECT_RANGE.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct RangeFlags: u8 {
        /// The dnode block was written in the byte order opposite to that of the stream.
        const RAW_BYTESWAP = 1 << 1;
    }

    /// The feature flags of a stream (`DMU_BACKUP_FEATURE_*`), 56 bits of `drr_versioninfo`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct FeatureFlags: u64 {
        /// The stream may have WRITE_BYREF records.
        const DEDUP = 1 << 0;
        /// The stream is deduplicated according to the properties of the source.
        const DEDUPPROPS = 1 << 1;
        /// The filesystem uses system attributes, so there may be SPILL records.
        const SA_SPILL = 1 << 2;
        /// The stream may have WRITE_EMBEDDED records.
        const EMBED_DATA = 1 << 16;
        /// Payloads may be compressed with lz4.
        const LZ4 = 1 << 17;
        /// Blocks may be larger than 128 KiB.
        const LARGE_BLOCKS = 1 << 19;
        /// The stream continues an interrupted receive.
        const RESUMING = 1 << 20;
        /// The stream was sent with a redaction bookmark: there may be REDACT records.
        const REDACTED = 1 << 21;
        /// WRITE payloads are compressed as on disk.
        const COMPRESSED = 1 << 22;
        /// Dnodes may be larger than 512 bytes.
        const LARGE_DNODE = 1 << 23;
        /// Encrypted blocks are sent as stored on disk.
        const RAW = 1 << 24;
        /// Payloads may be compressed with zstd.
        const ZSTD = 1 << 25;
        /// The package has holds.
        const HOLDS = 1 << 26;
        /// Reserved for a switch to large blocks between increments; no sender sets it.
        const SWITCH_TO_LARGE_BLOCKS = 1 << 27;
        /// File names may be longer than 255 bytes.
        const LONGNAME = 1 << 28;
        /// Micro ZAPs may be larger than 128 KiB.
        const LARGE_MICROZAP = 1 << 29;
    }
}

field_by_flags! {
    BeginFlags as u32, ObjectFlags as u8, WriteFlags as u8, SpillFlags as u8, RangeFlags as u8,
}

/// The printed names of the features, in the order of their bits.
const FEATURE_NAMES: &[(FeatureFlags, &str)] = &[
    (FeatureFlags::DEDUP, "dedup"),
    (FeatureFlags::DEDUPPROPS, "dedupprops"),
    (FeatureFlags::SA_SPILL, "sa_spill"),
    (FeatureFlags::EMBED_DATA, "embed_data"),
    (FeatureFlags::LZ4, "lz4"),
    (FeatureFlags::LARGE_BLOCKS, "large_blocks"),
    (FeatureFlags::RESUMING, "resuming"),
    (FeatureFlags::REDACTED, "redacted"),
    (FeatureFlags::COMPRESSED, "compressed"),
    (FeatureFlags::LARGE_DNODE, "large_dnode"),
    (FeatureFlags::RAW, "raw"),
    (FeatureFlags::ZSTD, "zstd"),
    (FeatureFlags::HOLDS, "holds"),
    (FeatureFlags::SWITCH_TO_LARGE_BLOCKS, "switch_to_large_blocks"),
    (FeatureFlags::LONGNAME, "longname"),
    (FeatureFlags::LARGE_MICROZAP, "large_microzap"),
];

impl FeatureFlags {
    /// The number of feature bits in `drr_versioninfo`.
    pub const BITS: u32 = 56;

    /// Returns the bits that are unknown to this crate.
    #[must_use]
    pub fn unknown(self) -> Self {
        self.difference(Self::all())
    }

    /// Returns a name for each bit that is set, lowest first. An unknown bit is `bit N`, followed by its
    /// owner if that is known.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        (0..Self::BITS)
            .filter(|bit| self.bits() >> bit & 1 != 0)
            .map(|bit| {
                let flag = Self::from_bits_retain(1 << bit);
                match FEATURE_NAMES.iter().find(|(known, _)| *known == flag) {
                    Some((_, name)) => (*name).to_owned(),
                    None if (3..=15).contains(&bit) => format!("bit {bit} (closed-source ZFS)"),
                    None => format!("bit {bit}"),
                }
            })
            .collect()
    }
}

impl fmt::Display for FeatureFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" "))
    }
}

/// The kind of header (`drr_headertype`, the lowest 2 bits of `drr_versioninfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderType {
    /// The header of one snapshot; "version 1" before there were feature flags.
    Substream,
    /// The header of a package; "version 2" before there were feature flags.
    Package,
    /// An invalid kind, 0 or 3, which no sender writes.
    Invalid(u8),
}

/// `drr_versioninfo` of BEGIN: header type in bits 0..=1, feature flags in bits 2..=57; the highest
/// 6 bits are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VersionInfo(pub u64);

impl VersionInfo {
    /// Creates the word for a header of this type with these features.
    #[must_use]
    pub fn new(header_type: HeaderType, features: FeatureFlags) -> Self {
        let kind = match header_type {
            HeaderType::Substream => 1,
            HeaderType::Package => 2,
            HeaderType::Invalid(number) => u64::from(number & 3),
        };
        Self(kind).with_features(features)
    }

    /// The kind of header.
    #[must_use]
    pub fn header_type(self) -> HeaderType {
        match self.0 & 3 {
            1 => HeaderType::Substream,
            2 => HeaderType::Package,
            other => HeaderType::Invalid(other as u8),
        }
    }

    /// The feature flags, including unknown ones.
    #[must_use]
    pub fn features(self) -> FeatureFlags {
        FeatureFlags::from_bits_retain(self.0 >> 2 & ((1 << FeatureFlags::BITS) - 1))
    }

    /// Returns the same word with other features; the header type and the reserved bits stay.
    #[must_use]
    pub fn with_features(self, features: FeatureFlags) -> Self {
        let mask = ((1u64 << FeatureFlags::BITS) - 1) << 2;
        Self(self.0 & !mask | features.bits() << 2 & mask)
    }
}

impl fmt::Debug for VersionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionInfo({:?}, {:?})", self.header_type(), self.features())
    }
}

field_by_newtype! { VersionInfo as u64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_are_named_by_bit_and_owner() {
        // "flags = 24" streams of closed-source ZFS, and a bit from the future.
        let features = FeatureFlags::from_bits_retain(0x24 | 1 << 40);
        assert_eq!(features.names(), ["sa_spill", "bit 5 (closed-source ZFS)", "bit 40"]);
        assert_eq!(features.unknown().bits(), 0x20 | 1 << 40);
    }

    #[test]
    fn every_defined_feature_has_a_name() {
        for flag in FeatureFlags::all().iter() {
            assert!(FEATURE_NAMES.iter().any(|(known, _)| *known == flag), "{flag:?}");
        }
    }

    #[test]
    fn version_info_keeps_reserved_bits() {
        let word = VersionInfo(0xfc00_0000_0000_0001);
        assert_eq!(word.features(), FeatureFlags::empty());
        let changed = word.with_features(FeatureFlags::LZ4);
        assert_eq!(changed.0, 0xfc00_0000_0008_0001);
        assert_eq!(changed.header_type(), HeaderType::Substream);
    }
}
