//! Records that do not fit what is in the dataset.

use zstream_dmu::ids::{Bookmark, ObjectId};
use zstream_format::byteswap::SwapError;
use zstream_format::compress::CodecError;
use zstream_format::effect::NoGeneration;
use zstream_format::errno::Errno;
use zstream_format::ids::Guid;

/// A record that is sound in itself and cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// Data for an object that is not there.
    #[error("object {0} does not exist")]
    NoObject(ObjectId),
    /// An embedded block for an object that is not there.
    #[error("object {0}, which gets an embedded block, does not exist")]
    NoObjectToEmbed(ObjectId),
    /// The slots of an object are in the middle of another one.
    #[error("object {0} lies inside of another one")]
    Interior(ObjectId),
    /// The block size of one and the same file shrank.
    #[error("object {object} has blocks of {found} bytes, and the same file comes with {new}")]
    ShrunkBlock {
        /// The object.
        object: ObjectId,
        /// Its block size, in bytes.
        found: u64,
        /// That of the record.
        new: u32,
    },
    /// A file that cannot be told from another one that had its number before.
    #[error(transparent)]
    NoGeneration(#[from] NoGeneration),
    /// A dnode with another number of block pointers than its bonus leaves room for.
    #[error("object {object} has {found} block pointers, its bonus says {expected}")]
    Pointers {
        /// The object.
        object: ObjectId,
        /// What the record says.
        found: u8,
        /// What follows from its bonus.
        expected: u8,
    },
    /// A description that no dnode can have, or not the one that is there.
    #[error("object {object} cannot be made as described: {why}")]
    Unmakeable {
        /// The object.
        object: ObjectId,
        /// The reason.
        why: String,
    },
    /// A bonus that its dnode has no room for.
    #[error("object {object} has a bonus of {found} bytes in {slots} slots, which have room for {room}")]
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
    #[error("the payload has {found} bytes, expected {expected}")]
    Payload {
        /// Its length.
        found: usize,
        /// What the record says.
        expected: u64,
    },
    /// A payload that cannot be turned into this machine's byte order.
    #[error("the payload cannot be swapped: {0}")]
    Swap(#[from] SwapError),
    /// A payload that cannot be decompressed.
    #[error("the payload cannot be decompressed: {0}")]
    Codec(#[from] CodecError),
    /// A raw block whose size is not that of the object's blocks.
    #[error("object {object} has blocks of {found} bytes, the raw block has {new} at {offset}")]
    RawBlock {
        /// The object.
        object: ObjectId,
        /// Its block size, in bytes.
        found: u64,
        /// Size of the block.
        new: u64,
        /// Where it is to go.
        offset: u64,
    },
    /// An embedded block of a kind that holds no data.
    #[error("embedded block of type {0}, only data (0) is received")]
    EmbeddedType(u8),
    /// A damaged block for which the stream has only a part, or more than it.
    #[error("{at} is damaged, and has {expected} bytes where the stream has {found}; send -L may help")]
    HealSize {
        /// The block.
        at: Bookmark,
        /// What the stream has, in bytes.
        found: u64,
        /// The block's size, in bytes.
        expected: u64,
    },
    /// A damaged block for which the stream has something else, or the same compressed otherwise.
    #[error("{at} is damaged, and what the stream has for it is not what lay there; send -c may help")]
    HealContent {
        /// The block.
        at: Bookmark,
    },
    /// A reference to a snapshot that was not received before in the same form, raw or not.
    #[error("the block refers to snapshot {0}, which was not received before it")]
    Reference(Guid),
    /// A reference to an encrypted block where there is a hole.
    #[error("the block refers to object {object}, offset {offset}, where there is a hole")]
    ReferenceToHole {
        /// The object.
        object: ObjectId,
        /// The offset in it.
        offset: u64,
    },
}

impl Misfit {
    /// The errno of OpenZFS 2.3.
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
