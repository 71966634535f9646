//! Requests to write blocks, and their results.
//!
//! ```text
//! content -> zeros? -> compress -> fits the pointer? -> encrypt -> checksum -> allocate -> every copy's vdev
//!              hole                   embedded                                   gang
//! ```

use std::sync::Arc;

use zstream_format::algorithm::ChecksumType;
use zstream_format::compress::Compression;
use zstream_format::object_type::ObjectType;

use crate::blkptr::BlockPointer;
use crate::block::StoredBlock;
use crate::error::Result;
use crate::ids::{Bookmark, Txg};
use crate::zio::crypt::DatasetKey;

/// The handling of the blocks of an object set by encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protection {
    /// The blocks are not encrypted.
    #[default]
    Plain,
    /// Blocks are encrypted or authenticated with the loaded keys of the set.
    Keyed,
    /// Blocks of level 0 are already encrypted and authenticated, and the objset block has its MACs (raw receive).
    /// Only the MACs of indirect blocks, which do not require a key, are computed.
    Kept,
}

/// The way in which the blocks of a set are deduplicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dedup {
    /// Blocks with the same checksum are the same.
    ByChecksum,
    /// The content is compared, too.
    Verified,
}

/// The parameters of a write (`zio_prop_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteProps {
    /// The type of the object.
    pub object_type: ObjectType,
    /// The level: 0 for data.
    pub level: u8,
    /// The checksum function, a concrete one.
    pub checksum: ChecksumType,
    /// The compression to try, a concrete one. `EMPTY` does not compress, but stores zeros as holes.
    pub compression: Compression,
    /// The number of copies, 1 to 3.
    pub copies: u8,
    /// The deduplication of the block; `None` without.
    pub dedup: Option<Dedup>,
    /// `true` if content that compresses to 112 bytes or less may be embedded in the pointer.
    pub may_embed: bool,
    /// The handling by encryption.
    pub protection: Protection,
    /// Data of at most this stored size, in bytes, is written to special vdevs (`zp_zpl_smallblk`).
    pub small_bytes: u64,
    /// The number of blocks below, or of dnodes in a block of dnodes; 1 for data.
    pub fill: u64,
}

/// The content of a block to write.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// The content as seen by readers. All zeros become a hole unless compression is off.
    Logical(&'a [u8]),
    /// The content as stored.
    Stored(&'a StoredBlock),
}

/// A request to write a block.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WriteRequest<'a> {
    /// The content.
    pub content: Content<'a>,
    /// The parameters.
    pub props: WriteProps,
    /// The location in the tree of objects.
    pub at: Bookmark,
    /// The current pointer (`io_bp_orig`). A block that becomes a hole keeps a birth, unless it never had content. A
    /// block that was born in this transaction group is overwritten in place if the new content fits.
    pub before: BlockPointer,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The pointer: to a block, embedded, or a hole.
    pub pointer: BlockPointer,
    /// `true` if the block is at the location of the previous one, which is then neither born nor killed.
    pub in_place: bool,
}

/// A writer of blocks in one transaction group.
pub trait WriteBlock: Send + Sync {
    /// Returns the transaction group in which blocks are born.
    fn txg(&self) -> Txg;

    /// Writes blocks on all cores. Space is allocated, and results are returned, in the order of the requests.
    ///
    /// # Errors
    ///
    /// Fails if there is not enough space, and if too few members of a vdev could be written. The space that was
    /// allocated for the requests is then freed.
    fn write_blocks(&self, requests: &[WriteRequest<'_>]) -> Result<Vec<Written>>;

    /// Returns a pointer to the content of a block of a previous transaction group, for another place in the pool
    /// (`dmu_brt_clone`): with a new reference to a block on vdevs, and a copy of all others.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot have several references, and if their counts cannot be read.
    fn clone_block(&self, block: &BlockPointer) -> Result<BlockPointer>;

    /// Frees the space of a block that was written in this transaction group and is not referenced, or drops the
    /// reference of a [clone](Self::clone_block) that is not used.
    fn discard(&self, block: &BlockPointer);

    /// Returns the pointer that replaces `before` after its block is freed: a hole with a birth, if the pool has the
    /// feature and the block ever had content.
    fn hole(&self, before: &BlockPointer, object_type: ObjectType, level: u8, lsize: u64) -> BlockPointer;

    /// Returns the size of a block that is accounted for its object (`bp_get_dsize`).
    fn dsize(&self, block: &BlockPointer) -> u64;

    /// Sets the key of an object set, with which its blocks are protected from then on.
    fn add_key(&self, objset: u64, key: Arc<DatasetKey>);

    /// Returns the portable and the local MAC of a little-endian objset block.
    ///
    /// # Errors
    ///
    /// Fails if the key of the set was not set.
    fn objset_macs(&self, objset: u64, block: &[u8]) -> Result<[[u8; 32]; 2]>;

    /// Writes one block.
    ///
    /// # Errors
    ///
    /// Fails like [`write_blocks`](Self::write_blocks).
    fn write_block(&self, request: &WriteRequest<'_>) -> Result<Written> {
        let mut written = self.write_blocks(std::slice::from_ref(request))?;
        Ok(written.remove(0))
    }
}

/// A receiver of the blocks that are born and killed by the sync of an object set (`dsl_dataset_block_born`,
/// `_kill`): blocks on vdevs and embedded blocks, but not holes.
pub trait Ledger {
    /// Records that a block was written. The order of blocks born and killed is that of their allocation and freeing.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be recorded.
    fn born(&mut self, block: &BlockPointer) -> Result<()>;

    /// Records that a block is no longer referenced in the set. The ledger decides if its space is free.
    ///
    /// # Errors
    ///
    /// Fails if the space cannot be freed.
    fn killed(&mut self, block: &BlockPointer) -> Result<()>;
}
