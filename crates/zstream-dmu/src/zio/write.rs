//! What is said and answered when blocks are written.
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

/// What encryption does to the blocks of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protection {
    /// Nothing.
    #[default]
    Plain,
    /// Blocks are encrypted or authenticated with the set's keys, which are loaded.
    Keyed,
    /// Blocks of level 0 come encrypted and authenticated, the objset block with its MACs (raw receive). What needs no
    /// key is done here: the MACs of indirect blocks.
    Kept,
}

/// How a block is to be written (`zio_prop_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteProps {
    /// What the block holds.
    pub object_type: ObjectType,
    /// Its level: 0 for data.
    pub level: u8,
    /// Checksum function, a concrete one.
    pub checksum: ChecksumType,
    /// Compression that is tried, a concrete one. `EMPTY` compresses nothing but makes holes of zeros.
    pub compression: Compression,
    /// Number of copies, 1 to 3.
    pub copies: u8,
    /// Whether content that compresses to 112 bytes or less may go into the pointer.
    pub may_embed: bool,
    /// What encryption does to it.
    pub protection: Protection,
    /// Number of blocks below, or of dnodes in a block of them; 1 for data.
    pub fill: u64,
}

/// The content of a block that is to be written.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// As its readers will see it. All zeros become a hole unless compression is off.
    Logical(&'a [u8]),
    /// As it is to be stored.
    Stored(&'a StoredBlock),
}

/// A block that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct WriteRequest<'a> {
    /// What.
    pub content: Content<'a>,
    /// How.
    pub props: WriteProps,
    /// Where in the tree of objects.
    pub at: Bookmark,
    /// What is there now (`io_bp_orig`). A block that becomes a hole remembers its birth unless nothing was ever there;
    /// a block that was born in this transaction group is overwritten where it is, if the new content fits.
    pub before: BlockPointer,
}

/// A block that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its pointer: to a block, embedded, or a hole.
    pub pointer: BlockPointer,
    /// Whether it lies where the block before it lay, which then is neither born nor killed.
    pub in_place: bool,
}

/// What writes blocks, in one transaction group.
pub trait WriteBlock: Send + Sync {
    /// The transaction group in which blocks are born.
    fn txg(&self) -> Txg;

    /// Writes blocks on all cores. Places are allocated in the order of the requests, and the answers come in it.
    ///
    /// # Errors
    ///
    /// There is no room, or too few members of a vdev took a write. What was allocated for the requests is given back
    /// then.
    fn write_blocks(&self, requests: &[WriteRequest<'_>]) -> Result<Vec<Written>>;

    /// Gives back the places of a block that was written in this transaction group and that nothing came to point at.
    fn discard(&self, block: &BlockPointer);

    /// What becomes of the pointer `before` when its block is freed: a hole that remembers its birth, if the pool has the
    /// feature and anything was ever there.
    fn hole(&self, before: &BlockPointer, object_type: ObjectType, level: u8, lsize: u64) -> BlockPointer;

    /// What a block counts for in the space of its object (`bp_get_dsize`).
    fn dsize(&self, block: &BlockPointer) -> u64;

    /// Sets the key of an object set, with which its blocks are protected from now on.
    fn add_key(&self, objset: u64, key: Arc<DatasetKey>);

    /// The portable and the local MAC of a little-endian objset block.
    ///
    /// # Errors
    ///
    /// The key of the set was not set.
    fn objset_macs(&self, objset: u64, block: &[u8]) -> Result<[[u8; 32]; 2]>;

    /// Writes one block.
    ///
    /// # Errors
    ///
    /// As for [`write_blocks`](Self::write_blocks).
    fn write_block(&self, request: &WriteRequest<'_>) -> Result<Written> {
        let mut written = self.write_blocks(std::slice::from_ref(request))?;
        Ok(written.remove(0))
    }
}

/// Who is told which blocks come and go when an object set is synced (`dsl_dataset_block_born`, `_kill`): blocks on
/// vdevs and embedded ones, not holes.
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
