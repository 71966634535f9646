//! The rules of block pointers.

use super::{BLOCK_BYTES_MAX, BlockKind, BlockPointer, EMBEDDED_PAYLOAD_MAX};

impl BlockPointer {
    /// Holds the rules that need no knowledge of the pool: sizes, compression, checksum and embedded
    /// form must be ones that some version writes (`zfs_blkptr_verify` without its vdev part).
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), BlockPointerFault> {
        let kind = self.kind();
        if let BlockKind::UnknownEmbedded(found) = kind {
            return Err(BlockPointerFault::EmbeddedType { found });
        }
        if kind == BlockKind::Hole {
            return Ok(());
        }
        if !self.compression().is_known() {
            return Err(BlockPointerFault::Compression { found: self.compression().0 });
        }
        if self.lsize() > BLOCK_BYTES_MAX {
            return Err(BlockPointerFault::LogicalSize { found: self.lsize() });
        }
        if kind == BlockKind::Embedded {
            let found = self.embedded_psize();
            if found > EMBEDDED_PAYLOAD_MAX as u64 {
                return Err(BlockPointerFault::PayloadSize { found });
            }
        }
        if kind == BlockKind::Normal {
            if !self.checksum_type().is_known() {
                return Err(BlockPointerFault::Checksum { found: self.checksum_type().0 });
            }
            if self.psize() > BLOCK_BYTES_MAX {
                return Err(BlockPointerFault::StoredSize { found: self.psize() });
            }
            if !self.dva(0).is_valid() {
                return Err(BlockPointerFault::Address);
            }
        }
        Ok(())
    }
}

/// Why a block pointer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockPointerFault {
    /// An embedded type that no version defines.
    #[error("block pointer has unknown embedded type {found}")]
    EmbeddedType {
        /// The number found.
        found: u8,
    },
    /// An unknown compression function.
    #[error("block pointer has unknown compression {found}")]
    Compression {
        /// The number found.
        found: u8,
    },
    /// An unknown checksum function.
    #[error("block pointer has unknown checksum {found}")]
    Checksum {
        /// The number found.
        found: u8,
    },
    /// A logical size above the largest block.
    #[error("block pointer has logical size {found}, above the largest block of {BLOCK_BYTES_MAX}")]
    LogicalSize {
        /// The size found, in bytes.
        found: u64,
    },
    /// A stored size above the largest block.
    #[error("block pointer has stored size {found}, above the largest block of {BLOCK_BYTES_MAX}")]
    StoredSize {
        /// The size found, in bytes.
        found: u64,
    },
    /// An embedded payload longer than the block pointer.
    #[error("embedded block pointer has a payload of {found} bytes, at most {EMBEDDED_PAYLOAD_MAX} fit")]
    PayloadSize {
        /// The size found, in bytes.
        found: u64,
    },
    /// A first address without a size.
    #[error("block pointer has no valid first address")]
    Address,
}
