//! What a record can break, and which error number OpenZFS's receiver has for it.

use crate::algorithm::CompressionType;
use crate::errno::Errno;
use crate::flags::FeatureFlags;
use crate::ids::ObjectId;
use crate::object_type::ObjectType;

/// A rule of receivers that a record breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A field has a value that it cannot have.
    #[error("{field} is {found}, expected {expected}")]
    Value {
        /// The field, by its name in OpenZFS.
        field: &'static str,
        /// What it is.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// A field is above its limit.
    #[error("{field} is {found}, at most {limit} is allowed")]
    Above {
        /// The field, by its name in OpenZFS.
        field: &'static str,
        /// What it is.
        found: u64,
        /// The most it may be.
        limit: u64,
    },
    /// A range whose end is past 2^64.
    #[error("the range from {start} with length {length} ends past 2^64")]
    Wraps {
        /// Where it begins.
        start: u64,
        /// How long it is.
        length: u64,
    },
    /// An object type that does not exist.
    #[error("{field} is {found}, which is no object type")]
    Type {
        /// The field, by its name in OpenZFS.
        field: &'static str,
        /// What it is.
        found: ObjectType,
    },
    /// A compression that no block can have.
    #[error("compression of the payload is {0}, not one that blocks can have")]
    Compression(CompressionType),
    /// A WRITE before the one that came last.
    #[error("WRITE of object {object} at {offset} follows the one of object {} at {}", last.0, last.1)]
    Order {
        /// The object.
        object: ObjectId,
        /// The offset in it.
        offset: u64,
        /// Object and offset of the WRITE before.
        last: (ObjectId, u64),
    },
    /// An OBJECT of a raw stream outside of the dnode block announced last.
    #[error("object {object} is not in the range announced before it ({})", range_text(*range))]
    OutsideRange {
        /// The object.
        object: ObjectId,
        /// First object of the range.
        range: Option<ObjectId>,
    },
    /// A record that only raw streams have.
    #[error("{0} in a stream that is not raw")]
    OnlyRaw(&'static str),
    /// A record that raw streams cannot have.
    #[error("{0} in a raw stream")]
    NotRaw(&'static str),
    /// Features that are not known.
    #[error("the stream uses features that are not known: {}", .0.names().join(", "))]
    Features(FeatureFlags),
    /// Features that exclude each other.
    #[error("the features {0} and {1} exclude each other")]
    Exclusive(&'static str, &'static str),
    /// A raw stream without the flag that raw streams need.
    #[error("a raw stream without the flag for spill blocks")]
    NoSpillFlag,
    /// The nvlist behind BEGIN lacks what a feature needs.
    #[error("the list behind BEGIN has no {key}, which the feature {feature} needs")]
    MissingKey {
        /// The name that is missing.
        key: &'static str,
        /// The feature that needs it.
        feature: &'static str,
    },
    /// Something in `crypt_keydata` that no receiver takes.
    #[error("{key} of the encryption key {problem}")]
    KeyData {
        /// The name.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What receivers answer.
        errno: Errno,
    },
}

fn range_text(range: Option<ObjectId>) -> String {
    range.map_or("none".to_owned(), |first| format!("{first} and the 31 behind it"))
}

impl Breach {
    /// The error number of OpenZFS 2.3.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Features(_) => Errno::ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE,
            Self::NoSpillFlag => Errno::ZFS_ERR_SPILL_BLOCK_FLAG_MISSING,
            Self::MissingKey { key: "crypt_keydata", .. } => Errno::ENOENT,
            Self::KeyData { errno, .. } => *errno,
            Self::Value { .. }
            | Self::Above { .. }
            | Self::Wraps { .. }
            | Self::Type { .. }
            | Self::Compression(_)
            | Self::Order { .. }
            | Self::OutsideRange { .. }
            | Self::OnlyRaw(_)
            | Self::NotRaw(_)
            | Self::Exclusive(..)
            | Self::MissingKey { .. } => Errno::EINVAL,
        }
    }
}
