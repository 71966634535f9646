//! Anomalies in streams that receivers accept.

use crate::ids::{Guid, ObjectId};
use crate::place::Place;

/// An anomaly that a sender should not have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A spill block was sent as an embedded block of the file (OpenZFS issue 18239): receivers write it as
    /// file data, and the extended attributes in it are lost.
    #[error(
        "the spill block of an object was sent as embedded data at offset {offset:#x}: its extended attributes \
         will be missing (OpenZFS issue 18239)"
    )]
    EmbeddedSpill {
        /// The offset in the record.
        offset: u64,
    },
    /// An embedded block is larger than the blocks of its object: the received file is short.
    #[error(
        "an embedded block is {length} bytes, but the blocks of its object are {block_size}: the received file will \
         be short (OpenZFS issue 18239)"
    )]
    EmbeddedLength {
        /// The size of the embedded block in bytes.
        length: u64,
        /// The size of the blocks of the object in bytes.
        block_size: u32,
    },
    /// The padding after an embedded block is not zero.
    #[error("padding after an embedded block is not zero (OpenZFS issue 13778)")]
    EmbeddedPadding,
    /// The records are for another snapshot than BEGIN.
    #[error(
        "records are for guid {found}, BEGIN is for {expected}, as in the saved state of a partial receive \
         (zfs send -S)"
    )]
    ToGuid {
        /// The guid in the record.
        found: Guid,
        /// The guid in BEGIN.
        expected: Guid,
    },
    /// In a full stream, data of an object does not follow its OBJECT record.
    #[error(
        "data of object {object} does not follow its OBJECT record: it can be received only if the object exists"
    )]
    NoObject {
        /// The object.
        object: ObjectId,
        /// The object of the last OBJECT record.
        last: Option<ObjectId>,
    },
    /// The stream is deduplicated; current receivers refuse it.
    #[error("the stream is deduplicated: convert it with `zstream redup` before it is received")]
    Deduplicated,
}

impl Warning {
    /// An identifier for the kind of warning.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EmbeddedSpill { .. } => "embedded_spill",
            Self::EmbeddedLength { .. } => "embedded_length",
            Self::EmbeddedPadding => "embedded_padding",
            Self::ToGuid { .. } => "to_guid",
            Self::NoObject { .. } => "no_object",
            Self::Deduplicated => "deduplicated",
        }
    }

    /// Returns `true` if both warnings are of the same kind.
    #[must_use]
    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A warning with its first position and its number of occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The warning.
    pub warning: Warning,
    /// The position of the first occurrence.
    pub place: Place,
    /// The number of occurrences.
    pub count: u64,
}
