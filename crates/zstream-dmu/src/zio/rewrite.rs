//! Overwriting of damaged blocks in place.
//!
//! ```text
//! stored bytes -> do they match the checksum in the pointer? -> every copy, on every member -> flush -> read again
//! ```
//!
//! Everything else in this crate writes blocks to free space, in a transaction group. This module is for damaged
//! blocks whose content was obtained elsewhere (a corrective receive). It is safe at any time and in any order,
//! because only content that matches the checksum of the block is written: an interrupted write leaves a block that
//! was damaged before, or an intact one. The pool must be open for writing, so that nobody else uses the locations.

use super::gang;
use super::read::BlockReader;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::error::{Error, Result};
use crate::ids::Bookmark;

impl BlockReader {
    /// Verifies that `stored` is the stored content of the block of `bp`.
    ///
    /// # Errors
    /// Returns [`Fault::Checksum`](crate::error::Fault::Checksum) if it is not. Fails if the block has no checksum,
    /// and if `bp` does not point to a block on vdevs.
    pub fn prove(&self, bp: &BlockPointer, stored: &[u8]) -> Result<()> {
        bp.validate()?;
        if bp.kind() != BlockKind::Normal || stored.len() as u64 != bp.psize() {
            return Err(Error::bad_request(format!(
                "block is {} bytes, which does not match {bp}",
                stored.len()
            )));
        }
        let verifier = self.verifier(bp)?;
        if !verifier.detects_damage() {
            return Err(Error::unsupported("verifying a block without a checksum"));
        }
        verifier.verify(stored)
    }

    /// Overwrites all copies of a block, and flushes them. `stored` is its content as stored, and must match its
    /// checksum.
    ///
    /// # Errors
    /// Fails like [`prove`](Self::prove) before anything is written. Otherwise fails if a member cannot be written,
    /// if a gang header cannot be read, and if the block cannot be read afterwards.
    pub fn rewrite(&self, bp: &BlockPointer, at: Bookmark, stored: &[u8]) -> Result<()> {
        let write = || {
            self.rewrite_nested(bp, stored, 0)?;
            self.vdevs().flush()?;
            match self.check_block(bp, at)?.bad.pop() {
                Some(bad) => Err(bad.error.unwrap_or_else(|| {
                    Error::corrupt(
                        "block",
                        format!("copy {} is damaged again after it was written", bad.address),
                    )
                })),
                None => Ok(()),
            }
        };
        write().map_err(|error: Error| error.at_bookmark(at))
    }

    /// Overwrites the pieces of a gang block, each of which is verified with its own checksum. The headers remain.
    fn rewrite_nested(&self, bp: &BlockPointer, stored: &[u8], depth: usize) -> Result<()> {
        self.prove(bp, stored)?;
        if !bp.is_gang() {
            return bp
                .dvas()
                .try_for_each(|address| self.vdevs().write(address, bp.physical_birth(), stored));
        }
        let mut rest = stored;
        for piece in gang::pieces(self, bp, depth)? {
            if piece.kind() != BlockKind::Normal {
                continue;
            }
            let split = rest.split_at_checked(piece.psize() as usize);
            let (part, behind) = split
                .ok_or_else(|| Error::corrupt("gang block", format!("pieces exceed the size of {bp}")))?;
            self.rewrite_nested(&piece, part, depth + 1)?;
            rest = behind;
        }
        Ok(())
    }
}
