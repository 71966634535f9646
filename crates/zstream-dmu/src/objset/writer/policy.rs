//! The policy for writing the blocks of a set (`dmu_write_policy`).

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::compress::Compression;
use zstream_format::object_type::ObjectType;

use crate::dnode::Dnode;
use crate::zio::write::{Dedup, Protection, WriteProps};

/// The level from which metadata has an additional copy with `redundant_metadata=most`.
const MOST_LEVEL: u8 = 2;

/// The metadata that has one more copy than data (property `redundant_metadata`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RedundantMetadata {
    /// All metadata.
    #[default]
    All,
    /// Indirect blocks with many blocks below them, and metadata of the whole set.
    Most,
    /// Metadata of the whole set.
    Some,
    /// None.
    None,
}

/// The properties of a dataset that determine how its blocks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetProperties {
    /// The property `checksum`.
    pub checksum: ChecksumType,
    /// The property `compression`, for data.
    pub compression: Compression,
    /// The property `dedup`, for data: the checksum function that replaces `checksum`.
    pub dedup: Option<(ChecksumType, Dedup)>,
    /// The property `copies`, for data: 1 to 3.
    pub copies: u8,
    /// The property `redundant_metadata`.
    pub redundant_metadata: RedundantMetadata,
    /// The compression of metadata and of `compression=on`: lz4, or lzjb in pools without the feature.
    pub default_compression: CompressionType,
    /// The encryption of the blocks of the set.
    pub protection: Protection,
    /// The property `special_small_blocks`, for data, in bytes.
    pub special_small_blocks: u64,
}

impl Default for SetProperties {
    /// Returns the properties of a dataset that inherits all of them.
    fn default() -> Self {
        Self {
            checksum: ChecksumType::FLETCHER_4,
            compression: CompressionType::ON.into(),
            dedup: None,
            copies: 1,
            redundant_metadata: RedundantMetadata::All,
            default_compression: CompressionType::LZ4,
            protection: Protection::Plain,
            special_small_blocks: 0,
        }
    }
}

impl SetProperties {
    /// Returns the properties of the MOS, whose blocks all have three copies.
    #[must_use]
    pub fn mos() -> Self {
        Self { copies: 3, ..Self::default() }
    }

    /// Returns the write properties of blocks of an object.
    pub(super) fn of_object(&self, dnode: &Dnode, level: u8) -> WriteProps {
        let object_type = dnode.object_type;
        if level > 0 || object_type.is_metadata() {
            return self.metadata(object_type, level);
        }
        let checksum = match dnode.checksum_type {
            ChecksumType::INHERIT => self.checksum,
            own => own,
        };
        let checksum = self.dedup.map_or(checksum, |(checksum, _)| checksum);
        // The tables do not have the types of blocks, by which authenticated blocks differ from encrypted ones.
        let dedup = self.dedup.filter(|_| self.protection == Protection::Plain || object_type.is_encrypted());
        let compression = match dnode.compression {
            CompressionType::INHERIT => self.compression,
            own => own.into(),
        };
        WriteProps {
            object_type,
            level,
            checksum: if checksum == ChecksumType::ON { ChecksumType::FLETCHER_4 } else { checksum },
            compression: match compression.kind {
                CompressionType::ON => self.default_compression.into(),
                _ => compression,
            },
            copies: self.copies(self.copies, object_type),
            dedup: dedup.map(|(_, dedup)| dedup),
            may_embed: true,
            protection: self.protection,
            small_bytes: self.special_small_blocks,
            fill: 1,
        }
    }

    /// Returns the write properties of metadata: indirect blocks, spill blocks, blocks of dnodes, the objset block.
    pub(super) fn metadata(&self, object_type: ObjectType, level: u8) -> WriteProps {
        let checksum = match self.checksum {
            // These are too weak for metadata.
            ChecksumType::ON | ChecksumType::OFF | ChecksumType::NOPARITY | ChecksumType::FLETCHER_2 => {
                ChecksumType::FLETCHER_4
            }
            own => own,
        };
        let is_head = level == 0 && matches!(object_type, ObjectType::DNODE | ObjectType::OBJSET);
        // Parts that are only authenticated must be readable without the key.
        let is_flat = is_head && self.protection != Protection::Plain;
        let kind = if is_flat { CompressionType::EMPTY } else { self.default_compression };
        let more = match self.redundant_metadata {
            RedundantMetadata::All => true,
            RedundantMetadata::Most => level >= MOST_LEVEL || is_critical(object_type),
            RedundantMetadata::Some => is_critical(object_type),
            RedundantMetadata::None => false,
        };
        WriteProps {
            object_type,
            level,
            checksum,
            compression: kind.into(),
            copies: self.copies(self.copies + u8::from(more), object_type),
            dedup: None,
            may_embed: true,
            protection: self.protection,
            small_bytes: 0,
            fill: 1,
        }
    }

    /// An encrypted block uses its third DVA for other data, and the blocks above it have as many copies.
    fn copies(&self, wanted: u8, object_type: ObjectType) -> u8 {
        let is_encrypted = self.protection != Protection::Plain && object_type.is_encrypted();
        wanted.clamp(1, if is_encrypted { 2 } else { 3 })
    }
}

/// Returns whether the loss of a block affects more than one file (`DMU_OT_IS_CRITICAL`).
fn is_critical(object_type: ObjectType) -> bool {
    object_type.is_metadata()
        && !matches!(object_type, ObjectType::DNODE | ObjectType::DIRECTORY_CONTENTS | ObjectType::SA)
}
