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

use std::sync::atomic::Ordering;

use super::Allocator;
use super::allocator::State;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::brt::{References, Totals};
use crate::error::{Error, Result};
use crate::zio::Space as _;

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
        if block.is_dedup() && self.release_dedup(block)? {
            return Ok(Release::Shared);
        }
        if !is_countable(block) || !self.has_references.load(Ordering::Relaxed) {
            return Ok(Release::Last);
        }
        let (first, bytes) = (block.dva(0), self.dsize(block));
        let state = &mut *self.intact_state()?;
        let State { references, mos, .. } = state;
        let references = references.as_mut().ok_or_else(in_use)?;
        let is_shared = references.drop(mos.as_deref(), first.vdev(), first.offset(), bytes)?;
        state.is_changed |= is_shared;
        Ok(if is_shared { Release::Shared } else { Release::Last })
    }

    /// Adds a reference to a block of a previous transaction group.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot have several references, and if the counts cannot be read.
    pub(super) fn add_reference(&self, block: &BlockPointer) -> Result<()> {
        if !is_countable(block) || block.physical_birth() >= self.txg() {
            return Err(Error::internal(format!("block {block} cannot have several references")));
        }
        if block.is_dedup() && self.share_dedup(block)? {
            return Ok(());
        }
        let (first, bytes) = (block.dva(0), self.dsize(block));
        let state = &mut *self.intact_state()?;
        let State { references, mos, .. } = state;
        let references = references.as_mut().ok_or_else(in_use)?;
        references.add(mos.as_deref(), first.vdev(), first.offset(), bytes)?;
        state.is_changed = true;
        self.has_references.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the sums of the blocks with several references.
    ///
    /// # Errors
    ///
    /// Fails after a panic.
    pub fn shared(&self) -> Result<Totals> {
        Ok(self.intact_state()?.references.as_ref().ok_or_else(in_use)?.totals())
    }

    /// Takes the counts to write them, if they changed. No block may be freed until they are put back.
    pub(crate) fn take_references(&self) -> Result<Option<References>> {
        Ok(self.intact_state()?.references.take_if(|references| references.is_dirty()))
    }

    /// Puts the counts back.
    pub(crate) fn put_references(&self, references: References) -> Result<()> {
        self.intact_state()?.references = Some(references);
        Ok(())
    }
}

/// Returns whether a block may have several references: only blocks of content are cloned.
fn is_countable(block: &BlockPointer) -> bool {
    block.kind() == BlockKind::Normal && block.level() == 0 && !block.object_type().is_metadata()
}

fn in_use() -> Error {
    Error::internal("a block was freed while the references are written")
}
