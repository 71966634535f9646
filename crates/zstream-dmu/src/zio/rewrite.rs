//! Writing a block anew in the place where it lies.
//!
//! ```text
//! stored bytes -> are they what the pointer's checksum was made of? -> every copy, on every member -> flush -> read again
//! ```
//!
//! Everything else in this crate writes blocks to free places, in a transaction group. This is for damaged blocks whose
//! content came back from elsewhere (a corrective receive). It is safe at any time, and in any order, for one reason: nothing
//! is written but what the block's own checksum proves to be its content, so that a write that is cut short leaves a block
//! that was damaged before, or a good one. The pool has to be open for writing, so that nobody else uses the places.

use super::gang;
use super::read::BlockReader;
use crate::blkptr::{BlockKind, BlockPointer};
use crate::error::{Error, Result};
use crate::ids::Bookmark;

impl BlockReader {
    /// Refuses bytes that are not the stored content of the block that `bp` points at.
    ///
    /// # Errors
    /// [`Fault::Checksum`](crate::error::Fault::Checksum) when they are not; the block has no checksum, or `bp` is not that of
    /// a block on vdevs.
    pub fn prove(&self, bp: &BlockPointer, stored: &[u8]) -> Result<()> {
        bp.validate()?;
        if bp.kind() != BlockKind::Normal || stored.len() as u64 != bp.psize() {
            return Err(Error::bad_request(format!("{} bytes are not what {bp} points at", stored.len())));
        }
        let verifier = self.verifier(bp)?;
        if !verifier.tells_apart() {
            return Err(Error::unsupported("telling the content of a block without a checksum"));
        }
        verifier.verify(stored)
    }

    /// Writes a block again to all of its places, and flushes them. `stored` is its content as it lies there, which its
    /// checksum has to prove.
    ///
    /// # Errors
    /// As [`prove`](Self::prove), and nothing was written. Otherwise a member does not take what is written, a gang header
    /// cannot be read, or what was written cannot be read afterwards.
    pub fn rewrite(&self, bp: &BlockPointer, at: Bookmark, stored: &[u8]) -> Result<()> {
        let write = || {
            self.rewrite_nested(bp, stored, 0)?;
            self.vdevs().flush()?;
            match self.check_block(bp, at)?.bad.pop() {
                Some(bad) => Err(bad.error.unwrap_or_else(|| {
                    Error::corrupt(
                        "block",
                        format!("damaged again after it was written: copy {}", bad.address),
                    )
                })),
                None => Ok(()),
            }
        };
        write().map_err(|error: Error| error.at_bookmark(at))
    }

    /// A gang block's pieces have checksums of their own, so that each proves its part too. Its headers stay.
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
            let (part, behind) =
                split.ok_or_else(|| Error::corrupt("gang block", format!("pieces of more than {bp}")))?;
            self.rewrite_nested(&piece, part, depth + 1)?;
            rest = behind;
        }
        Ok(())
    }
}
