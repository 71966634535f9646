//! Writing a block: from its logical content to a block pointer.
//!
//! ```text
//! content -> zeros? -> compress -> fits the pointer? -> encrypt -> allocate -> checksum -> every copy's vdev
//!              hole                   embedded                        gang
//! ```

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::object_type::ObjectType;

use crate::blkptr::BlockPointer;
use crate::error::Result;
use crate::ids::Bookmark;
use crate::object_store::StoredBlock;

/// How a block is to be written (`zio_prop_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteProps {
    /// What the block holds.
    pub object_type: ObjectType,
    /// Its level: 0 for data.
    pub level: u8,
    /// Checksum function.
    pub checksum: ChecksumType,
    /// Compression that is tried.
    pub compression: CompressionType,
    /// Number of copies, 1 to 3.
    pub copies: u8,
    /// Whether content that compresses to 112 bytes or less goes into the pointer.
    pub may_embed: bool,
    /// Number of blocks below, or of dnodes in a block of them.
    pub fill: u64,
}

/// What writes blocks.
pub trait WriteBlock: Send + Sync {
    /// Writes a block of which the logical content is given. Content that is all zeros becomes a hole where the level is 0.
    ///
    /// # Errors
    ///
    /// There is no room, or too few members of a vdev took the write.
    fn write_block(&self, content: &[u8], props: &WriteProps, at: Bookmark) -> Result<BlockPointer>;

    /// Writes a block that comes as it is to be stored.
    ///
    /// # Errors
    ///
    /// As for [`write_block`](Self::write_block).
    fn write_stored(&self, stored: &StoredBlock, props: &WriteProps, at: Bookmark) -> Result<BlockPointer>;
}

/// Who is told which blocks come and go when an object set is synced (`dsl_dataset_block_born`, `_kill`).
pub trait Ledger {
    /// A block was written.
    fn born(&mut self, block: &BlockPointer);

    /// Nothing in the set points at this block any more. The ledger decides whether its space is free.
    ///
    /// # Errors
    ///
    /// The space cannot be given back.
    fn killed(&mut self, block: &BlockPointer) -> Result<()>;
}
