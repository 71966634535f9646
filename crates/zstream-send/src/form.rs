//! The form of a block in the stream, which determines how it is read and the type of its record.

use zstream_dmu::blkptr::BlockPointer;
use zstream_format::algorithm::CompressionType;
use zstream_format::flags::FeatureFlags;
use zstream_format::order::ByteOrder;

use crate::range::{Range, What};

/// The byte order of all streams: that of blocks after they are read.
pub(crate) const ORDER: ByteOrder = ByteOrder::Little;

/// The maximum block size without the feature `large_blocks` (`SPA_OLD_MAXBLOCKSIZE`).
pub(crate) const OLD_BLOCK_BYTES_MAX: u64 = 128 << 10;

/// The form of a block in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockForm {
    /// Embedded, as in its pointer (WRITE_EMBEDDED). There is nothing to read.
    Embedded,
    /// As stored, and encrypted if it is.
    Stored,
    /// Compressed as stored, but not encrypted.
    Compressed,
    /// The logical block.
    Logical,
    /// The logical block, in pieces of 128 KiB.
    Split,
}

impl BlockForm {
    /// Returns the form of the block `pointer` of the range, in a stream with these features.
    pub(crate) fn of(range: &Range, pointer: &BlockPointer, features: FeatureFlags) -> Self {
        if features.contains(FeatureFlags::RAW) {
            return Self::Stored;
        }
        // Spill blocks have no compressed form, and receivers would write embedded ones as file data.
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

/// Returns `true` if receivers accept the block as it is embedded (`send_do_embed`).
fn may_stay_embedded(pointer: &BlockPointer, features: FeatureFlags) -> bool {
    if !pointer.is_embedded() || !features.contains(FeatureFlags::EMBED_DATA) {
        return false;
    }
    match pointer.compression() {
        // All receivers have these functions.
        CompressionType(n) if n < CompressionType::LZ4.0 => true,
        CompressionType::ZSTD => features.contains(FeatureFlags::LZ4 | FeatureFlags::ZSTD),
        _ => features.contains(FeatureFlags::LZ4),
    }
}

/// Returns `true` if receivers accept the block as it is compressed. Metadata is decompressed, since a receiver of the
/// other byte order must swap it.
fn may_stay_compressed(pointer: &BlockPointer, features: FeatureFlags) -> bool {
    features.contains(FeatureFlags::COMPRESSED)
        && pointer.byte_order() == ORDER
        && !pointer.is_embedded()
        && pointer.psize() != pointer.lsize()
        && !pointer.object_type().is_metadata()
}
