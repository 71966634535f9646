//! In which form a block goes into the stream, which decides how it is read and which record carries it.

use zstream_dmu::blkptr::BlockPointer;
use zstream_format::algorithm::CompressionType;
use zstream_format::flags::FeatureFlags;
use zstream_format::order::ByteOrder;

use crate::range::{Range, What};

/// The byte order of every stream that is made: that of the blocks as they are read.
pub(crate) const ORDER: ByteOrder = ByteOrder::Little;

/// The largest block before the feature `large_blocks` (`SPA_OLD_MAXBLOCKSIZE`).
pub(crate) const OLD_BLOCK_BYTES_MAX: u64 = 128 << 10;

/// How a block travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is embedded in its pointer (WRITE_EMBEDDED). There is nothing to read.
    Embedded,
    /// As it is stored, encrypted too.
    Stored,
    /// As it is stored, but not encrypted.
    Compressed,
    /// As its object has it.
    Logical,
    /// As its object has it, in pieces of 128 KiB.
    Split,
}

impl Form {
    /// The form of the block `pointer` of the range, in a stream of these features.
    pub(crate) fn of(range: &Range, pointer: &BlockPointer, features: FeatureFlags) -> Self {
        if features.contains(FeatureFlags::RAW) {
            return Self::Stored;
        }
        // Spill blocks have no compressed form, and embedded ones would be taken for file data.
        if range.is_spill() {
            return Self::Logical;
        }
        let block_bytes = match range.what {
            What::Data { block_bytes, .. } => block_bytes,
            _ => 0,
        };
        let is_large = block_bytes > OLD_BLOCK_BYTES_MAX && !features.contains(FeatureFlags::LARGE_BLOCKS);
        if is_large {
            Self::Split
        } else if may_stay_embedded(pointer, features) {
            Self::Embedded
        } else if may_stay_compressed(pointer, features) {
            Self::Compressed
        } else {
            Self::Logical
        }
    }
}

/// Whether receivers can take the block as it is embedded (`send_do_embed`).
fn may_stay_embedded(pointer: &BlockPointer, features: FeatureFlags) -> bool {
    if !pointer.is_embedded() || !features.contains(FeatureFlags::EMBED_DATA) {
        return false;
    }
    match pointer.compression() {
        // The functions that all receivers have.
        CompressionType(n) if n < CompressionType::LZ4.0 => true,
        CompressionType::ZSTD => features.contains(FeatureFlags::LZ4 | FeatureFlags::ZSTD),
        _ => features.contains(FeatureFlags::LZ4),
    }
}

/// Whether receivers can take the block as it is compressed. Metadata is not sent so, since a receiver of the other byte
/// order has to swap it.
fn may_stay_compressed(pointer: &BlockPointer, features: FeatureFlags) -> bool {
    features.contains(FeatureFlags::COMPRESSED)
        && pointer.byte_order() == ORDER
        && !pointer.is_embedded()
        && pointer.psize() != pointer.lsize()
        && !pointer.object_type().is_metadata()
}
