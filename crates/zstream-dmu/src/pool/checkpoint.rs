//! The checkpoint of a pool: its state at an earlier transaction group, kept as a whole.
//!
//! ```text
//! MOS directory  com.delphix:zpool_checkpoint   the uberblock of then, as u64[]
//! top vdev's ZAP com.delphix:pool_checkpoint_sm space map: a FREE entry for each range that was freed since
//! ```
//!
//! What was freed since stays allocated. So a block that the checkpoint leads to either still belongs to the pool, or lies in
//! one of those ranges.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_format::order::ByteOrder;

use super::{Pool, open};
use crate::blkptr::BlockPointer;
use crate::error::{Error, Result};
use crate::mos::Features;
use crate::objset::Objset;
use crate::range_set::RangeSet;
use crate::space::vdev_space::VdevSpace;
use crate::vdev::uberblock::{UBERBLOCK_BYTES, Uberblock};

/// Entry of the MOS's directory that holds the uberblock.
const CHECKPOINT: &str = "com.delphix:zpool_checkpoint";

/// What only the checkpoint of a pool has, by top-level vdev.
#[derive(Debug, Clone, Default)]
pub struct Checkpointed(BTreeMap<u32, RangeSet>);

impl Checkpointed {
    /// Whether the block is one of those; `pointer` is to a block on vdevs.
    #[must_use]
    pub fn has(&self, pointer: &BlockPointer) -> bool {
        // All copies are freed together.
        let dva = pointer.dva(0);
        self.0.get(&dva.vdev()).is_some_and(|freed| freed.overlaps(dva.offset(), dva.offset() + 1))
    }

    /// Bytes on all vdevs, with parity.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.values().map(RangeSet::bytes).sum()
    }
}

impl Pool {
    /// The pool as it was at its checkpoint, on the same devices; `None` where it has none.
    ///
    /// # Errors
    /// What says where it is, or its MOS, cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Self>> {
        let Some(entry) = self.directory_entry(CHECKPOINT)? else { return Ok(None) };
        let bad = |detail: String| Error::corrupt("checkpoint", detail);
        // In the words of the machine, which are the MOS's.
        let slot: Vec<u8> = entry.u64s().iter().flat_map(|word| word.to_le_bytes()).collect();
        let slot = [slot, vec![0; UBERBLOCK_BYTES]].concat();
        let uberblock =
            Uberblock::parse(&slot).ok_or_else(|| bad(format!("no uberblock in {} words", entry.len())))?;
        if uberblock.order != ByteOrder::Little || uberblock.txg > self.txg() {
            return Err(bad(format!("of transaction group {}, the pool has {}", uberblock.txg, self.txg())));
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
        }))
    }

    /// What was freed since the checkpoint, or since one that is being discarded.
    ///
    /// # Errors
    /// A vdev's ZAP or space map cannot be read, or is damaged.
    pub fn checkpointed(&self) -> Result<Checkpointed> {
        let mos: &Objset = &self.mos;
        let mut found = BTreeMap::new();
        for top in self.vdevs().tops() {
            if let Some(space) = VdevSpace::find(mos, top.config())? {
                found.insert(space.vdev, space.checkpointed(mos).map_err(|error| error.on_vdev(top.name()))?);
            }
        }
        Ok(Checkpointed(found))
    }
}
