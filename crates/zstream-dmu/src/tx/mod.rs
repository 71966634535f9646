//! The commit of a transaction group: from a changed MOS to an uberblock that refers to it.
//!
//! ```text
//!   +-> MOS synced: blocks born, blocks killed --> space of the MOS, recorded in its directory (`account`)
//!   |     |                                            |
//!   |     +--> allocations and frees --> space maps ---+--> the MOS is changed again
//!   +------------------------------------------------------+
//!   until nothing changed
//!
//!   frees discarded -> all devices flushed -> uberblock into every label -> all devices flushed
//! ```
//!
//! Later passes rewrite in place the blocks that were written in the first one, so the changes become smaller: space
//! maps grow by the allocations of the previous pass, and a pass that only rewrites has none.
//!
//! Blocks that the last uberblock refers to are never overwritten, and the new uberblock is written only after
//! everything it refers to is on stable storage. So a crash at any time leaves either the last transaction group or
//! this one.
//!
//! An error loses the transaction group. The pool on the devices is unchanged, but the state in memory (the writable
//! MOS, the allocator) is no longer valid. It must be dropped, and the pool opened again.

mod dedup;
pub mod features;
mod logs;
mod references;

use std::sync::Arc;

use zstream_format::order::ByteOrder;

use crate::blkptr::BlockPointer;
use crate::error::{Error, Result};
use crate::ids::Txg;
use crate::object_store::ObjectStore;
use crate::objset::Objset;
use crate::objset::writer::ObjsetWriter;
use crate::space::{Allocator, Reserve};
use crate::vdev::sync::Uberblocks;
use crate::vdev::uberblock::{MMP_MAGIC, Uberblock, UberblockPhys};
use crate::zio::Space;
use crate::zio::write::Ledger;

/// The limit for the number of passes of a transaction group. Ten are already many.
const PASSES_MAX: u16 = 128;

/// The change of the space of a set of objects in bytes (`dsl_pool_mos_diduse_space`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceDelta {
    /// Allocated bytes, without parity.
    pub used: i64,
    /// Stored bytes.
    pub compressed: i64,
    /// Bytes before compression.
    pub uncompressed: i64,
}

impl SpaceDelta {
    /// Adds the space of a block, `sign` times.
    fn add(&mut self, space: &Allocator, block: &BlockPointer, sign: i64) {
        self.used += sign * space.dsize(block).cast_signed();
        self.compressed += sign * block.psize().cast_signed();
        self.uncompressed += sign * block.uncompressed_bytes().cast_signed();
    }
}

/// The parts that a commit requires.
pub struct Commit<'a> {
    /// The MOS, after the sync of all datasets.
    pub mos: &'a mut ObjsetWriter,
    /// The allocator of the pool, which is also that of the MOS.
    pub space: &'a Allocator,
    /// The labels.
    pub uberblocks: &'a dyn Uberblocks,
    /// The uberblock of the last transaction group; in a new pool, an uberblock with its version and its guid sum.
    pub last: &'a Uberblock,
    /// The time in seconds since 1970.
    pub now: u64,
}

/// Commits the transaction group of `parts.space` and begins the next one. Returns the new uberblock. Without changes,
/// writes nothing and returns the last one.
///
/// `account` is called after each pass that changed the space of the MOS, and records the change in the MOS.
///
/// # Errors
///
/// Fails if there is no space, if a device fails, if the MOS cannot be read, and if `account` fails. The transaction
/// group is then lost, as described above.
pub fn commit(
    parts: &mut Commit<'_>,
    account: &mut dyn FnMut(&mut dyn ObjectStore, &SpaceDelta) -> Result<()>,
) -> Result<Uberblock> {
    let (space, txg) = (parts.space, parts.space.txg());
    if txg <= parts.last.txg {
        let last = parts.last.txg;
        return Err(Error::internal(format!("transaction group {txg} is committed after {last}")));
    }
    if !parts.mos.is_dirty() && !space.is_changed() {
        return Ok(*parts.last);
    }
    // Frees must be written, too.
    let reserve = space.set_reserve(Reserve::Nothing);
    let root = converge(parts.mos, space, parts.now, account);
    space.set_reserve(reserve);
    let root = root?;
    space.discard_freed()?;
    parts.uberblocks.flush_data()?;
    let phys = UberblockPhys {
        txg,
        timestamp: parts.now.max(parts.last.timestamp),
        root,
        mmp_magic: MMP_MAGIC,
        mmp_delay: 0,
        mmp_config: 0,
        checkpoint_txg: Txg(0),
        ..parts.last.phys
    };
    let uberblock = Uberblock { order: ByteOrder::Little, phys };
    parts.uberblocks.write(&uberblock)?;
    let reader = parts.mos.synced().map(|set| Arc::clone(set.reader()));
    let reader = reader.ok_or_else(|| Error::internal("MOS was never synced"))?;
    space.committed(Arc::new(Objset::open(reader, 0, root)?), Txg(txg.0 + 1))?;
    Ok(uberblock)
}

/// Syncs the MOS and writes space maps until neither changes.
fn converge(
    mos: &mut ObjsetWriter,
    space: &Allocator,
    now: u64,
    account: &mut dyn FnMut(&mut dyn ObjectStore, &SpaceDelta) -> Result<()>,
) -> Result<BlockPointer> {
    logs::retire(mos, space)?;
    references::write(mos, space)?;
    for pass in 1..=PASSES_MAX {
        dedup::write(mos, space, now)?;
        let mut ledger = MosLedger { space, delta: SpaceDelta::default() };
        let root = mos.sync(&mut ledger)?;
        let delta = ledger.delta;
        if delta != SpaceDelta::default() {
            account(mos, &delta)?;
        }
        let maps = space.write_maps(mos, pass)?;
        if maps.created > 0 && space.form().histogram {
            features::add(mos, "spacemap_histogram", maps.created.cast_signed())?;
        }
        if maps.created_obsolete > 0 {
            features::add(mos, "obsolete_counts", maps.created_obsolete.cast_signed())?;
        }
        if !mos.is_dirty() {
            return Ok(root);
        }
    }
    Err(Error::internal(format!("the MOS still changes after {PASSES_MAX} passes")))
}

/// Frees blocks of the MOS at once, because it has no snapshots.
struct MosLedger<'a> {
    space: &'a Allocator,
    delta: SpaceDelta,
}

impl Ledger for MosLedger<'_> {
    fn born(&mut self, block: &BlockPointer) -> Result<()> {
        self.delta.add(self.space, block, 1);
        Ok(())
    }

    fn killed(&mut self, block: &BlockPointer) -> Result<()> {
        self.delta.add(self.space, block, -1);
        self.space.free(block)
    }
}
