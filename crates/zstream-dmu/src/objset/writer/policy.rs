//! How the blocks of a set are written (`dmu_write_policy`).

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::compress::Compression;
use zstream_format::object_type::ObjectType;

use crate::dnode::Dnode;
use crate::zio::write::{Protection, WriteProps};

/// Metadata from this level on is kept in more copies with `redundant_metadata=most`.
const MOST_LEVEL: u8 = 2;

/// How much of the metadata is kept in one more copy than data (property `redundant_metadata`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RedundantMetadata {
    /// All of it.
    #[default]
    All,
    /// What leads to many blocks, and what describes the whole set.
    Most,
    /// What describes the whole set.
    Some,
    /// None.
    None,
}

/// What a set says about how its blocks are written: properties of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetProperties {
    /// Property `checksum`.
    pub checksum: ChecksumType,
    /// Property `compression`, for data.
    pub compression: Compression,
    /// Property `copies`, for data: 1 to 3.
    pub copies: u8,
    /// Property `redundant_metadata`.
    pub redundant_metadata: RedundantMetadata,
    /// What `compression=on` means, and how metadata is compressed: lz4, or lzjb in pools without the feature.
    pub default_compression: CompressionType,
    /// What encryption does to the set's blocks.
    pub protection: Protection,
}

impl Default for SetProperties {
    /// A dataset that inherits everything.
    fn default() -> Self {
        Self {
            checksum: ChecksumType::FLETCHER_4,
            compression: CompressionType::ON.into(),
            copies: 1,
            redundant_metadata: RedundantMetadata::All,
            default_compression: CompressionType::LZ4,
            protection: Protection::Plain,
        }
    }
}

impl SetProperties {
    /// The pool's own set: everything is kept in three copies.
    #[must_use]
    pub fn mos() -> Self {
        Self { copies: 3, ..Self::default() }
    }

    /// How blocks of an object are written.
    pub(super) fn of_object(&self, dnode: &Dnode, level: u8) -> WriteProps {
        let object_type = dnode.object_type;
        if level > 0 || object_type.is_metadata() {
            return self.metadata(object_type, level);
        }
        let checksum = match dnode.checksum_type {
            ChecksumType::INHERIT => self.checksum,
            own => own,
        };
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
            may_embed: true,
            protection: self.protection,
            fill: 1,
        }
    }

    /// How metadata is written: indirect blocks, spill blocks, blocks of dnodes, the objset block.
    pub(super) fn metadata(&self, object_type: ObjectType, level: u8) -> WriteProps {
        let checksum = match self.checksum {
            // Too weak, or none.
            ChecksumType::ON | ChecksumType::OFF | ChecksumType::NOPARITY | ChecksumType::FLETCHER_2 => {
                ChecksumType::FLETCHER_4
            }
            own => own,
        };
        let is_head = level == 0 && matches!(object_type, ObjectType::DNODE | ObjectType::OBJSET);
        // What is only authenticated there has to be found without a key.
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
            may_embed: true,
            protection: self.protection,
            fill: 1,
        }
    }

    /// The third address of an encrypted block is taken; blocks above such have as many copies.
    fn copies(&self, wanted: u8, object_type: ObjectType) -> u8 {
        let is_encrypted = self.protection != Protection::Plain && object_type.is_encrypted();
        wanted.clamp(1, if is_encrypted { 2 } else { 3 })
    }
}

/// Whether losing a block loses more than a file (`DMU_OT_IS_CRITICAL`).
fn is_critical(object_type: ObjectType) -> bool {
    object_type.is_metadata()
        && !matches!(object_type, ObjectType::DNODE | ObjectType::DIRECTORY_CONTENTS | ObjectType::SA)
}
