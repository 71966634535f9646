//! The checkpoint of a pool: the preserved state of the whole pool at an earlier transaction group.
//!
//! ```text
//! MOS directory  com.delphix:zpool_checkpoint   the uberblock of the checkpoint, as u64[]
//! top vdev's ZAP com.delphix:pool_checkpoint_sm space map: a FREE entry for each range that was freed since
//! ```
//!
//! Blocks that were freed since then stay allocated. So a block that the checkpoint refers to either still belongs to
//! the pool, or is in one of these ranges.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_format::order::ByteOrder;

use super::history::Event;
use super::writer::PoolWriter;
use super::{Pool, open};
use crate::blkptr::{BlockPointer, Dva, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::mos::{DIRECTORY_OBJECT, Features};
use crate::objset::Objset;
use crate::range_set::RangeSet;
use crate::space::kept::CHECKPOINT;
use crate::space::vdev_space::VdevSpace;
use crate::tx::features;
use crate::vdev::uberblock::{UBERBLOCK_BYTES, Uberblock, UberblockPhys};
use crate::vdev::{Vdev, VdevTree};
use crate::zap::{Value, Zap, ZapMut};

/// The short name of the feature.
const FEATURE: &str = "zpool_checkpoint";

/// The ranges that only the checkpoint of a pool uses.
#[derive(Debug, Clone)]
pub struct Checkpointed {
    /// The ranges by top-level vdev. Removed vdevs have none: their blocks are where they were moved.
    ranges: BTreeMap<u32, RangeSet>,
    vdevs: Arc<VdevTree>,
}

impl Checkpointed {
    /// Returns whether a block is in these ranges. `pointer` must refer to a block on vdevs.
    #[must_use]
    pub fn has(&self, pointer: &BlockPointer) -> bool {
        // All copies are freed together.
        let first = pointer.dva(0);
        let sector = Dva::new(first.vdev(), first.offset(), SECTOR_BYTES, false);
        // A block whose place is not known cannot be read, which is reported by whoever tries.
        let Ok(places) = self.vdevs.current(sector) else { return true };
        places.iter().any(|dva| {
            let freed = self.ranges.get(&dva.vdev());
            freed.is_some_and(|freed| freed.overlaps(dva.offset(), dva.offset() + dva.asize()))
        })
    }

    /// Returns the allocated bytes on all vdevs, including parity.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.values().map(RangeSet::bytes).sum()
    }
}

impl Pool {
    /// Returns the pool as of its checkpoint, on the same devices, or `None` if it has no checkpoint.
    ///
    /// # Errors
    /// Fails if the entry of the checkpoint or its MOS cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Self>> {
        let Some(entry) = self.directory_entry(CHECKPOINT)? else { return Ok(None) };
        let bad = |detail: String| Error::corrupt("checkpoint", detail);
        // The words are in native byte order, which is the one of the MOS.
        let slot: Vec<u8> = entry.u64s().iter().flat_map(|word| word.to_le_bytes()).collect();
        let slot = [slot, vec![0; UBERBLOCK_BYTES]].concat();
        let uberblock = Uberblock::parse(&slot)
            .ok_or_else(|| bad(format!("{} words do not contain an uberblock", entry.len())))?;
        if uberblock.order != ByteOrder::Little || uberblock.txg > self.txg() {
            return Err(bad(format!(
                "transaction group is {}, the pool is at {}",
                uberblock.txg,
                self.txg()
            )));
        }
        let mos = Arc::new(open::open_mos(self.reader(), &uberblock)?);
        let (config, config_list) = open::read_config(self.reader(), &uberblock)?;
        let features = Features::read(&*mos)?;
        features.check_readable()?;
        Ok(Some(Self {
            uberblock,
            available: vec![uberblock.txg],
            label_state: self.label_state,
            config,
            config_list,
            reader: Arc::clone(&self.reader),
            mos,
            features,
            refused: Vec::new(),
            notices: Vec::new(),
        }))
    }

    /// Returns the ranges that were freed since the checkpoint, or since one that is being discarded.
    ///
    /// # Errors
    /// Fails if the ZAP or space map of a vdev cannot be read or is corrupt.
    pub fn checkpointed(&self) -> Result<Checkpointed> {
        let mos: &Objset = &self.mos;
        let mut found = BTreeMap::new();
        for top in self.vdevs().tops() {
            if let Some(space) = VdevSpace::find(mos, top.config())? {
                found.insert(space.vdev, space.checkpointed(mos).map_err(|error| error.on_vdev(top.name()))?);
            }
        }
        Ok(Checkpointed { ranges: found, vdevs: Arc::clone(self.reader().vdevs()) })
    }
}

/// The checkpoint of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointState {
    /// The pool has a checkpoint of this transaction group.
    Exists(Txg),
    /// The checkpoint is being discarded: nothing can return to it, but its space is not freed completely.
    Discarding,
}

impl PoolWriter {
    /// Returns the state of the checkpoint, or `None` if there is none.
    ///
    /// # Errors
    /// Fails if the MOS cannot be read.
    pub fn checkpoint_state(&self) -> Result<Option<CheckpointState>> {
        if let Some(entry) = Zap::open(&self.mos, DIRECTORY_OBJECT)?.lookup(CHECKPOINT)? {
            let txg = entry.u64s().get(UberblockPhys::offset_of("txg") / 8).copied().unwrap_or_default();
            return Ok(Some(CheckpointState::Exists(Txg(txg))));
        }
        Ok(self.features()?.is_active(FEATURE).then_some(CheckpointState::Discarding))
    }

    /// Takes a checkpoint of the last transaction group (`spa_checkpoint_sync`). Nothing may have been changed since.
    ///
    /// # Errors
    /// Fails if the pool has a checkpoint or changes, if the feature is not enabled, if a vdev is too large for the
    /// maps of a pool without `spacemap_v2`, if the pool is full, and if the MOS cannot be changed.
    pub fn take_checkpoint(&mut self) -> Result<Txg> {
        let features = self.features()?;
        if !features.is_enabled(FEATURE) {
            return Err(Error::unsupported(format!("a checkpoint of a pool without the feature {FEATURE}")));
        }
        if self.mos.is_dirty() || self.checkpoint_state()?.is_some() {
            return Err(Error::internal("a checkpoint is taken after changes or over another one"));
        }
        if !features.is_enabled("spacemap_v2") {
            self.vdevs().tops().iter().try_for_each(check_addressable)?;
        }
        let space = self.space.space_use();
        if space.used > space.room.usable() {
            return Err(Fault::NoSpace { bytes: 0 }.into());
        }
        let txg = self.last.txg;
        self.space.keep_since(txg)?;
        let kept = UberblockPhys { checkpoint_txg: txg, ..self.last.phys };
        let bytes = kept.to_bytes(ByteOrder::Little);
        let words: Vec<u64> = bytes.chunks_exact(8).map(|word| ByteOrder::Little.u64(word)).collect();
        ZapMut::open(&mut self.mos, DIRECTORY_OBJECT)?.add(CHECKPOINT, &Value::words(&words))?;
        features::add(&mut self.mos, FEATURE, 1)?;
        self.log(Event::Internal("spa checkpoint", &format!("checkpointed uberblock txg={txg}")))?;
        Ok(txg)
    }

    /// Discards the checkpoint, or completes the discard of one: frees all space that only it uses
    /// (`spa_checkpoint_discard_sync`). OpenZFS needs several transaction groups for it; here it is one.
    ///
    /// # Errors
    /// Fails if the pool has no checkpoint, if its maps list a range that is not allocated, and if the MOS cannot be
    /// changed.
    pub fn discard_checkpoint(&mut self) -> Result<()> {
        if ZapMut::open(&mut self.mos, DIRECTORY_OBJECT)?.remove_if_there(CHECKPOINT)? {
            let text = "started discarding checkpointed state from the pool";
            self.log(Event::Internal("spa discard checkpoint", text))?;
        }
        let histograms = self.space.discard_kept(&mut self.mos)?;
        if histograms > 0 {
            features::add(&mut self.mos, "spacemap_histogram", -histograms.cast_signed())?;
        }
        features::add(&mut self.mos, FEATURE, -1)?;
        let text = "finished discarding checkpointed state from the pool";
        self.log(Event::Internal("spa discard checkpoint", text))
    }
}

/// Refuses a vdev whose offsets do not fit into the entries of one word of a space map
/// (`vdev_is_spacemap_addressable`).
fn check_addressable(top: &Vdev) -> Result<()> {
    let config = top.config();
    let (Some(asize), Some(ashift)) = (config.asize, config.ashift) else { return Ok(()) };
    match 1_u64.checked_shl(u32::from(ashift) + 47) {
        Some(end) if asize >= end && u32::from(ashift) + 47 < 63 => Err(Error::unsupported(format!(
            "a checkpoint with {}, which is too large for its maps,",
            top.name()
        ))),
        _ => Ok(()),
    }
}
