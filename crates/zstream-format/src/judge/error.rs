//! The rules that a record can break, and the error numbers that the receiver of OpenZFS returns for them.

use crate::algorithm::CompressionType;
use crate::errno::Errno;
use crate::flags::FeatureFlags;
use crate::ids::ObjectId;
use crate::object_type::ObjectType;

/// An error: the record breaks a rule of receivers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A field has an invalid value.
    #[error("{field} is {found}, expected {expected}")]
    Value {
        /// The name of the field in OpenZFS.
        field: &'static str,
        /// The value of the field.
        found: u64,
        /// The valid values.
        expected: &'static str,
    },
    /// A field exceeds its limit.
    #[error("{field} is {found}, at most {limit} is allowed")]
    Above {
        /// The name of the field in OpenZFS.
        field: &'static str,
        /// The value of the field.
        found: u64,
        /// The maximum value.
        limit: u64,
    },
    /// A range ends past 2^64.
    #[error("the range from {start} with length {length} ends past 2^64")]
    Wraps {
        /// The start of the range.
        start: u64,
        /// The length of the range.
        length: u64,
    },
    /// An object type does not exist.
    #[error("{field} is {found}, which is not an object type")]
    Type {
        /// The name of the field in OpenZFS.
        field: &'static str,
        /// The value of the field.
        found: ObjectType,
    },
    /// The compression is not valid for a block.
    #[error("compression of the payload is {0}, which is not valid for blocks")]
    Compression(CompressionType),
    /// A WRITE is out of order.
    #[error("WRITE of object {object} at {offset} follows the one of object {} at {}", last.0, last.1)]
    Order {
        /// The object.
        object: ObjectId,
        /// The offset in the object.
        offset: u64,
        /// The object and the offset of the previous WRITE.
        last: (ObjectId, u64),
    },
    /// An OBJECT of a raw stream is outside of the last announced dnode block.
    #[error("object {object} is not in the range that was announced last ({})", range_text(*range))]
    OutsideRange {
        /// The object.
        object: ObjectId,
        /// The first object of the range.
        range: Option<ObjectId>,
    },
    /// The record is valid only in raw streams.
    #[error("{0} is not allowed in a stream that is not raw")]
    OnlyRaw(&'static str),
    /// The record is not valid in raw streams.
    #[error("{0} is not allowed in a raw stream")]
    NotRaw(&'static str),
    /// The stream uses unknown features.
    #[error("the stream uses unknown features: {}", .0.names().join(", "))]
    Features(FeatureFlags),
    /// The stream uses features that exclude each other.
    #[error("the features {0} and {1} exclude each other")]
    Exclusive(&'static str, &'static str),
    /// The stream is raw, but does not have the flag that raw streams require.
    #[error("the raw stream does not have the flag for spill blocks")]
    NoSpillFlag,
    /// The nvlist after BEGIN does not have an entry that a feature requires.
    #[error("the list after BEGIN has no {key}, which the feature {feature} requires")]
    MissingKey {
        /// The name of the missing entry.
        key: &'static str,
        /// The feature that requires it.
        feature: &'static str,
    },
    /// An entry in `crypt_keydata` is invalid.
    #[error("{key} of the encryption key {problem}")]
    KeyData {
        /// The name of the entry.
        key: &'static str,
        /// The fault, as a predicate.
        problem: String,
        /// The error number that receivers return.
        errno: Errno,
    },
}

fn range_text(range: Option<ObjectId>) -> String {
    range.map_or("none".to_owned(), |first| format!("{first} and the following 31"))
}

impl Breach {
    /// Returns the error number of OpenZFS 2.3.
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
