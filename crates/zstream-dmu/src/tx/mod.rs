//! The end of a transaction group: from a changed MOS to an uberblock that leads to it.
//!
//! ```text
//!   +-> MOS synced: blocks born, blocks killed --> what the MOS takes, into its directory (`account`)
//!   |     |                                            |
//!   |     +--> allocations and frees --> space maps ---+--> the MOS is changed again
//!   +------------------------------------------------------+
//!   until nothing changed
//!
//!   all devices flushed -> uberblock into every label -> all devices flushed
//! ```
//!
//! What was written in the first pass is written again in place by the later ones, so they change less and less: space maps
//! grow by what the pass before allocated, which for a pass that only rewrites is nothing.
//!
//! Nothing that the last uberblock leads to is overwritten, and the new one is written only when everything it leads to is on
//! stable storage. A crash at any moment therefore leaves the last transaction group or this one.
//!
//! Errors lose the transaction group: the pool on the devices is as it was, and what is in memory (the MOS open for change,
//! the allocator) goes with neither. They have to be dropped, and the pool opened again.

pub mod features;
mod logs;

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

/// Passes after which a transaction group is given up. Ten are already many.
const PASSES_MAX: u16 = 128;

/// By how much the space that a set of objects takes has changed, in bytes (`dsl_pool_mos_diduse_space`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceDelta {
    /// Allocated, with parity taken out.
    pub used: i64,
    /// Stored.
    pub compressed: i64,
    /// Before compression.
    pub uncompressed: i64,
}

impl SpaceDelta {
    /// Adds what a block counts for, `sign` times.
    fn add(&mut self, space: &Allocator, block: &BlockPointer, sign: i64) {
        self.used += sign * space.dsize(block).cast_signed();
        self.compressed += sign * block.psize().cast_signed();
        self.uncompressed += sign * block.uncompressed_bytes().cast_signed();
    }
}

/// What a transaction group is committed with.
pub struct Commit<'a> {
    /// The MOS, into which everything above it was synced already.
    pub mos: &'a mut ObjsetWriter,
    /// The pool's space, out of which the MOS is written.
    pub space: &'a Allocator,
    /// The labels.
    pub uberblocks: &'a dyn Uberblocks,
    /// The uberblock of the last transaction group; in a new pool, one that has its version and its sum of guids.
    pub last: &'a Uberblock,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// Completes the transaction group of `parts.space` and begins the next one. Gives its uberblock; without changes, the last
/// one, and nothing is written.
///
/// `account` is called after each pass in which the MOS came to take more or less space, and notes it in the MOS.
///
/// # Errors
///
/// There is no room, a device fails, the MOS cannot be read, or `account` fails. See above for what follows.
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
    // What frees has to be written too.
    let reserve = space.set_reserve(Reserve::Nothing);
    let root = converge(parts.mos, space, account);
    space.set_reserve(reserve);
    let root = root?;
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
    let reader = reader.ok_or_else(|| Error::internal("a MOS that was never synced"))?;
    space.committed(Arc::new(Objset::open(reader, 0, root)?), Txg(txg.0 + 1))?;
    Ok(uberblock)
}

/// Syncs the MOS and writes space maps until neither changes the other.
fn converge(
    mos: &mut ObjsetWriter,
    space: &Allocator,
    account: &mut dyn FnMut(&mut dyn ObjectStore, &SpaceDelta) -> Result<()>,
) -> Result<BlockPointer> {
    logs::retire(mos, space)?;
    for pass in 1..=PASSES_MAX {
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
        if !mos.is_dirty() {
            return Ok(root);
        }
    }
    Err(Error::internal(format!("the MOS still changes after {PASSES_MAX} passes")))
}

/// Frees at once what the MOS does not need any more: it has no snapshots.
struct MosLedger<'a> {
    space: &'a Allocator,
    delta: SpaceDelta,
}

impl Ledger for MosLedger<'_> {
    fn born(&mut self, block: &BlockPointer) {
        self.delta.add(self.space, block, 1);
    }

    fn killed(&mut self, block: &BlockPointer) -> Result<()> {
        self.delta.add(self.space, block, -1);
        self.space.free(block)
    }
}
