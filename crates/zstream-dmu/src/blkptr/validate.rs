//! The validation of block pointers.

use super::{BLOCK_BYTES_MAX, BlockKind, BlockPointer, EMBEDDED_PAYLOAD_MAX};

impl BlockPointer {
    /// Validates the rules that do not depend on the pool: sizes, compression, checksum and embedded type must be
    /// ones that some version writes (`zfs_blkptr_verify` without its vdev part).
    ///
    /// # Errors
    ///
    /// Returns the first rule that is violated.
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

/// The reason why a block pointer is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockPointerFault {
    /// The embedded type is not defined by any version.
    #[error("block pointer has unknown embedded type {found}")]
    EmbeddedType {
        /// The number in the pointer.
        found: u8,
    },
    /// The compression is unknown.
    #[error("block pointer has unknown compression {found}")]
    Compression {
        /// The number in the pointer.
        found: u8,
    },
    /// The checksum function is unknown.
    #[error("block pointer has unknown checksum {found}")]
    Checksum {
        /// The number in the pointer.
        found: u8,
    },
    /// The logical size exceeds the maximum block size.
    #[error("block pointer has logical size {found}, limit {BLOCK_BYTES_MAX}")]
    LogicalSize {
        /// The size in the pointer, in bytes.
        found: u64,
    },
    /// The stored size exceeds the maximum block size.
    #[error("block pointer has stored size {found}, limit {BLOCK_BYTES_MAX}")]
    StoredSize {
        /// The size in the pointer, in bytes.
        found: u64,
    },
    /// The embedded payload exceeds the space in a block pointer.
    #[error("embedded block pointer has a payload of {found} bytes, limit {EMBEDDED_PAYLOAD_MAX}")]
    PayloadSize {
        /// The size in the pointer, in bytes.
        found: u64,
    },
    /// The first address does not have a size.
    #[error("block pointer has no valid first address")]
    Address,
}
