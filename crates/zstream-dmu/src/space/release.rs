//! The counts of references to blocks, which are consulted before the space of a block is freed.
//!
//! ```text
//! sync of an object set, destroyed dataset, deadlist, MOS, intent log
//!                        |  Space::free(whole block pointer)
//!                        v
//!                     release  -- other references --> only the count changes
//!                        |  last reference
//!                        v
//!                   metaslabs
//! ```
//!
//! [`Space::free`](crate::zio::Space::free) is the only way to free a block that is on disk: the metaslabs are private
//! to this module's parent. [`Space::unallocate`](crate::zio::Space::unallocate) is for ranges that were allocated in
//! this transaction group and to which there was never a reference.

use super::Allocator;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::error::Result;

/// The result of dropping a reference to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// It was the last reference: the space of the block must be freed.
    Last,
    /// There are other references, or the block has no space of its own.
    Shared,
}

impl Allocator {
    /// Drops a reference to a block.
    ///
    /// # Errors
    ///
    /// Fails if the counts cannot be read.
    pub(super) fn release(&self, block: &BlockPointer) -> Result<Release> {
        match block.kind() {
            BlockKind::Normal => {}
            BlockKind::Hole | BlockKind::Embedded | BlockKind::Redacted | BlockKind::UnknownEmbedded(_) => {
                return Ok(Release::Shared);
            }
        }
        if block.is_dedup() {
            return self.release_dedup(block);
        }
        Ok(Release::Last)
    }
}
