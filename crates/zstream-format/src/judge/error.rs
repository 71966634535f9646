//! The rules that a record can break, and the error numbers that the receiver of OpenZFS returns for them.

use std::fmt;

use crate::algorithm::CompressionType;
use crate::flags::FeatureFlags;
use crate::ids::ObjectId;
use crate::object_type::ObjectType;

/// An error number of `zfs receive`, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of the numbers")]
pub enum Errno {
    /// Invalid argument.
    EINVAL,
    /// Not supported.
    ENOTSUP,
    /// No such entry.
    ENOENT,
    /// There already.
    EEXIST,
    /// No such device: the most recent snapshot is not the source of the stream.
    ENODEV,
    /// Text file busy: the destination was changed.
    ETXTBSY,
    /// In use: a receive that was interrupted is still there.
    EBUSY,
    /// No access: a key is missing, or another one than the stream needs.
    EACCES,
    /// A quota or limit is reached.
    EDQUOT,
    /// No space left.
    ENOSPC,
    /// A checksum is wrong (52).
    ECKSUM,
    /// A list that is too large.
    E2BIG,
    /// A list that cannot be read.
    EFAULT,
    /// Input or output failed.
    EIO,
    /// Somebody wants it to end: a signal came.
    EINTR,
    /// Two snapshots of a dataset in one transaction group.
    EAGAIN,
    /// The parent is not a filesystem (1033).
    ZFS_ERR_WRONG_PARENT,
    /// The source of a raw increment, or the stream, does not say its IV set (1034).
    ZFS_ERR_FROM_IVSET_GUID_MISSING,
    /// The source of a raw increment has another IV set than the stream says (1035).
    ZFS_ERR_FROM_IVSET_GUID_MISMATCH,
    /// The stream ends before its END (1040).
    ZFS_ERR_STREAM_TRUNCATED,
    /// The source has large blocks and the stream was sent without them (1041).
    ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH,
    /// A full receive over an existing dataset can be resumed only by force (1047).
    ZFS_ERR_RESUME_EXISTS,
    /// The stream has a feature that is not known (1037).
    ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE,
    /// A raw stream without the spill block flag (1036).
    ZFS_ERR_SPILL_BLOCK_FLAG_MISSING,
    /// An encryption suite that is not known (1048).
    ZFS_ERR_CRYPTO_NOTSUP,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

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
            _ => Errno::EINVAL,
        }
    }
}
