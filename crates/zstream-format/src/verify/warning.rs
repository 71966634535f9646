//! What is odd in a stream but does not keep it from being received.

use crate::ids::{Guid, ObjectId};
use crate::place::Place;

/// Something that should not have been sent so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A spill block sent as an embedded block of the file (upstream issue 18239): receivers write it as
    /// file data and the extended attributes in it are lost.
    #[error(
        "the spill block of an object was sent as embedded data at offset {offset:#x}: its extended attributes \
         will be missing (OpenZFS issue 18239)"
    )]
    EmbeddedSpill {
        /// Where it pretends to lie.
        offset: u64,
    },
    /// An embedded block larger than the object's blocks: the received file is short.
    #[error(
        "an embedded block of {length} bytes in an object with blocks of {block_size}: the received file will be \
         short (OpenZFS issue 18239)"
    )]
    EmbeddedLength {
        /// Size of the embedded block.
        length: u64,
        /// Size of the object's blocks.
        block_size: u32,
    },
    /// Padding behind an embedded block is not zero.
    #[error("padding behind an embedded block is not zero (OpenZFS issue 13778)")]
    EmbeddedPadding,
    /// Records for another snapshot than BEGIN's.
    #[error(
        "records are for guid {found}, BEGIN is for {expected}: so are streams saved from a partial receive \
         (zfs send -S)"
    )]
    ToGuid {
        /// What the record says.
        found: Guid,
        /// What BEGIN said.
        expected: Guid,
    },
    /// In a full stream: data of an object whose OBJECT record did not come right before.
    #[error(
        "data of object {object} does not follow its OBJECT record: it can be received only if the object exists"
    )]
    NoObject {
        /// The object.
        object: ObjectId,
        /// The object of the last OBJECT record.
        last: Option<ObjectId>,
    },
    /// A deduplicated stream, which receivers of today refuse.
    #[error("the stream is deduplicated: it has to go through `zstream redup` before it can be received")]
    Deduplicated,
}

impl Warning {
    /// A word for the kind of warning.
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

    /// Whether the other warning differs in its numbers only.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A warning, where it was met first, and how often there was cause for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is odd.
    pub warning: Warning,
    /// Where it was met first.
    pub place: Place,
    /// How often.
    pub count: u64,
}
