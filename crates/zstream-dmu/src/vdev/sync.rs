//! The end of a transaction group: writes of uberblocks, and of the labels around them.

use std::sync::{Arc, Mutex, MutexGuard};

use rayon::prelude::*;
use zstream_format::nvlist::NvList;

use super::config::ASHIFT_RANGE;
use super::label_write;
use super::uberblock::Uberblock;
use super::{Vdev, VdevTree};
use crate::device::Device;
use crate::error::{Fault, Result};
use crate::lock::lock;

/// The destination of uberblocks: the labels of all devices of a pool.
pub trait Uberblocks: Send + Sync {
    /// Flushes all devices. Returns after everything that was written is on stable storage, or is certain to be before an
    /// uberblock that is written next.
    ///
    /// # Errors
    ///
    /// Fails if a device cannot be flushed.
    fn flush_data(&self) -> Result<()>;

    /// Writes an uberblock into slot `txg mod slots` of the ring of every label, together with other pending changes
    /// of labels, in an order in which the pool can be opened at the previous or at this uberblock at any time.
    /// Returns after it is on stable storage.
    ///
    /// # Errors
    ///
    /// Fails if a device cannot be written. The pool is then in the state of the previous or of this transaction
    /// group.
    fn write(&self, uberblock: &Uberblock) -> Result<()>;
}

/// The labels of the members of a pool that is open for writing, except of those that are missing or offline.
pub(crate) struct PoolLabels {
    vdevs: Arc<VdevTree>,
    /// The config for the labels that are written with the next uberblock.
    config: Mutex<Option<NvList>>,
}

/// The labels that are written before the uberblock, and those that are written after it.
const BEFORE: [usize; 2] = [0, 2];
const AFTER: [usize; 2] = [1, 3];

impl PoolLabels {
    /// Creates the labels of the members of `vdevs`.
    #[must_use]
    pub(crate) fn new(vdevs: Arc<VdevTree>) -> Self {
        Self { vdevs, config: Mutex::default() }
    }

    /// Sets the config for the labels that are written with the next uberblock. It is the config in the MOS.
    pub(crate) fn set_config(&self, config: NvList) {
        *self.config() = Some(config);
    }

    fn config(&self) -> MutexGuard<'_, Option<NvList>> {
        lock(&self.config)
    }

    /// Calls `act` for every member that is written, with its device and the binary logarithm of its sector size.
    fn each(&self, act: &(dyn Fn(&Vdev, &dyn Device, u8) -> Result<()> + Sync)) -> Result<()> {
        let tops = self.vdevs.tops().iter();
        let leaves = tops.flat_map(|top| {
            let ashift = top.config().ashift.unwrap_or(*ASHIFT_RANGE.start() as u8);
            top.leaves().into_iter().map(move |leaf| (leaf, ashift))
        });
        let leaves: Vec<_> = leaves.filter(|(leaf, _)| leaf.is_writable()).collect();
        leaves.into_par_iter().try_for_each(|(leaf, ashift)| {
            let device = leaf.device().ok_or_else(|| Fault::NoMember(leaf.name().to_owned()))?;
            act(leaf, &**device, ashift).map_err(|error| error.on_vdev(leaf.name()))
        })
    }

    fn write_lists(&self, config: &NvList, numbers: &[usize]) -> Result<()> {
        self.each(&|leaf, device, _| {
            let list = label_write::list(config, leaf.guid())?;
            numbers.iter().try_for_each(|&number| label_write::write_list(device, number, &list))
        })
    }

    fn write_uberblocks(&self, uberblock: &Uberblock) -> Result<()> {
        self.each(&|_, device, ashift| label_write::write_uberblock(device, uberblock, ashift))?;
        self.vdevs.flush()
    }

    /// Initializes the labels of all members of a new pool, which are present, with this config, without an uberblock.
    ///
    /// # Errors
    /// Fails if a member cannot be written, or if the config does not fit into a label.
    pub(crate) fn initialize(&self, config: &NvList) -> Result<()> {
        self.each(&|leaf, device, _| {
            let mut list = label_write::list(config, leaf.guid())?;
            // A label with this transaction group and without an uberblock belongs to a pool whose creation was not
            // completed.
            let txg = list.get_u64("txg").unwrap_or_default();
            for pair in list.iter_mut().filter(|pair| pair.name == *"txg") {
                pair.value = zstream_format::nvlist::NvValue::Uint64(0);
            }
            list.add_u64("create_txg", txg);
            label_write::initialize(device, &list)
        })?;
        self.vdevs.flush()
    }
}

impl Uberblocks for PoolLabels {
    fn flush_data(&self) -> Result<()> {
        if self.vdevs.is_flush_atomic() { Ok(()) } else { self.vdevs.flush() }
    }

    fn write(&self, uberblock: &Uberblock) -> Result<()> {
        let Some(config) = self.config().take() else { return self.write_uberblocks(uberblock) };
        if self.vdevs.is_flush_atomic() {
            self.write_lists(&config, &[0, 1, 2, 3])?;
            return self.write_uberblocks(uberblock);
        }
        self.write_lists(&config, &BEFORE)?;
        self.vdevs.flush()?;
        self.write_uberblocks(uberblock)?;
        self.write_lists(&config, &AFTER)?;
        self.vdevs.flush()
    }
}
