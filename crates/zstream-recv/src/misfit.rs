//! Records that do not fit the content of the dataset.

use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_format::byteswap::SwapError;
use zstream_format::compress::CodecError;
use zstream_format::effect::NoGeneration;
use zstream_format::errno::Errno;
use zstream_format::ids::Guid;

/// A record that is valid in itself but cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// Data for an object that does not exist.
    #[error("object {0} does not exist")]
    NoObject(ObjectId),
    /// An embedded block for an object that does not exist.
    #[error("object {0} does not exist, but the stream has an embedded block for it")]
    NoObjectToEmbed(ObjectId),
    /// An object whose slots are inside another one.
    #[error("object {0} is inside the slots of another object")]
    Interior(ObjectId),
    /// A file whose block size shrank.
    #[error(
        "object {object} has blocks of {found} bytes, but the stream has blocks of {new} bytes for the same file"
    )]
    ShrunkBlock {
        /// The object.
        object: ObjectId,
        /// Its block size, in bytes.
        found: u64,
        /// The block size in the record.
        new: u32,
    },
    /// A file that cannot be distinguished from an earlier one with the same object number.
    #[error(transparent)]
    NoGeneration(#[from] NoGeneration),
    /// A dnode whose number of block pointers does not fit the length of its bonus.
    #[error("object {object} has {found} block pointers, its bonus leaves room for {expected}")]
    Pointers {
        /// The object.
        object: ObjectId,
        /// The number in the record.
        found: u8,
        /// The number that follows from the bonus.
        expected: u8,
    },
    /// A description that no dnode can have, or that does not fit the existing one.
    #[error("object {object} cannot be created as described: {why}")]
    Unmakeable {
        /// The object.
        object: ObjectId,
        /// The reason.
        why: String,
    },
    /// A bonus that does not fit its dnode.
    #[error("object {object} has a bonus of {found} bytes in {slots} slots, but there is room for {room}")]
    Bonus {
        /// The object.
        object: ObjectId,
        /// Length of the bonus, in bytes.
        found: u32,
        /// Slots of the dnode.
        slots: u8,
        /// Room in it, in bytes.
        room: u64,
    },
    /// A payload that is shorter than its record says.
    #[error("the payload is {found} bytes, expected {expected}")]
    Payload {
        /// Its length, in bytes.
        found: usize,
        /// The length in the record, in bytes.
        expected: u64,
    },
    /// A payload that cannot be converted to this machine's byte order.
    #[error("the byte order of the payload cannot be changed: {0}")]
    Swap(#[from] SwapError),
    /// A payload that cannot be decompressed.
    #[error("the payload cannot be decompressed: {0}")]
    Codec(#[from] CodecError),
    /// A raw block whose size differs from the object's block size.
    #[error("object {object} has blocks of {found} bytes, but the raw block at offset {offset} has {new}")]
    RawBlock {
        /// The object.
        object: ObjectId,
        /// Its block size, in bytes.
        found: u64,
        /// Size of the raw block, in bytes.
        new: u64,
        /// The offset of the raw block in the object.
        offset: u64,
    },
    /// An embedded block of a type that does not hold data.
    #[error("the embedded block has type {0}, only data (0) is supported")]
    EmbeddedType(u8),
    /// A damaged block whose size differs from that of the block in the stream.
    #[error(
        "{at} is damaged, but the stream has a block of {found} bytes for it, expected {expected}; send -L may help"
    )]
    HealSize {
        /// The block.
        at: Bookmark,
        /// The size in the stream, in bytes.
        found: u64,
        /// The block's size, in bytes.
        expected: u64,
    },
    /// A damaged block for which the stream has other content, or the same content compressed differently.
    #[error("{at} is damaged, but the block in the stream does not match its checksum; send -c may help")]
    HealContent {
        /// The block.
        at: Bookmark,
    },
    /// A reference to a snapshot that was not received before in the same form, raw or not raw.
    #[error("the block refers to snapshot {0}, which was not received before this one")]
    Reference(Guid),
    /// A reference to an encrypted block in a place that is a hole.
    #[error("the block refers to object {object}, offset {offset}, which is a hole")]
    ReferenceToHole {
        /// The object.
        object: ObjectId,
        /// The offset in it.
        offset: u64,
    },
}

impl Misfit {
    /// Returns the errno of OpenZFS 2.3.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoObjectToEmbed(_) => Errno::ENOENT,
            Self::HealSize { .. } => Errno::ENOTSUP,
            Self::HealContent { .. } => Errno::ECKSUM,
            Self::NoObject(_)
            | Self::Interior(_)
            | Self::ShrunkBlock { .. }
            | Self::NoGeneration(_)
            | Self::Pointers { .. }
            | Self::Unmakeable { .. }
            | Self::Bonus { .. }
            | Self::Payload { .. }
            | Self::Swap(_)
            | Self::Codec(_)
            | Self::RawBlock { .. }
            | Self::EmbeddedType(_)
            | Self::Reference(_)
            | Self::ReferenceToHole { .. } => Errno::EINVAL,
        }
    }
}
