//! Writing what a transaction group leads to: uberblocks, and the labels around them.

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

/// Where uberblocks go: the labels of all devices of a pool.
pub trait Uberblocks: Send + Sync {
    /// Returns once everything that was written is on stable storage on every device.
    ///
    /// # Errors
    ///
    /// A device says that it is not.
    fn flush_data(&self) -> Result<()>;

    /// Writes an uberblock into slot `txg mod slots` of the ring of every label, and whatever else of the labels is new, in
    /// such an order that at every moment the last uberblock or this one can be opened. Returns once it is on stable storage.
    ///
    /// # Errors
    ///
    /// A device does not take its part. The pool may then be seen as of the last transaction group or of this one.
    fn write(&self, uberblock: &Uberblock) -> Result<()>;
}

/// The labels of all members of a pool that is open for writing, every member of which is there.
pub struct PoolLabels {
    vdevs: Arc<VdevTree>,
    /// The config that the next uberblock's labels are to say.
    config: Mutex<Option<NvList>>,
}

/// The order of the labels around an uberblock.
const BEFORE: [usize; 2] = [0, 2];
const AFTER: [usize; 2] = [1, 3];

impl PoolLabels {
    /// The labels of the members of `vdevs`.
    #[must_use]
    pub fn new(vdevs: Arc<VdevTree>) -> Self {
        Self { vdevs, config: Mutex::default() }
    }

    /// Has the next uberblock come with labels that say what `config`, which is that of the MOS, says.
    pub fn set_config(&self, config: NvList) {
        *self.config() = Some(config);
    }

    fn config(&self) -> MutexGuard<'_, Option<NvList>> {
        lock(&self.config)
    }

    /// Does something to every member: the member, its device, and the logarithm of its sector size.
    fn each(&self, act: &(dyn Fn(&Vdev, &dyn Device, u8) -> Result<()> + Sync)) -> Result<()> {
        let tops = self.vdevs.tops().iter();
        let leaves = tops.flat_map(|top| {
            let ashift = top.config().ashift.unwrap_or(*ASHIFT_RANGE.start() as u8);
            top.leaves().into_iter().map(move |leaf| (leaf, ashift))
        });
        let leaves: Vec<_> = leaves.collect();
        leaves.into_par_iter().try_for_each(|(leaf, ashift)| {
            let device = leaf.device().ok_or_else(|| Fault::NoMember(leaf.name().to_owned()))?;
            act(leaf, &**device, ashift).map_err(|error| error.on_vdev(leaf.name()))
        })
    }

    fn write_lists(&self, config: &NvList, numbers: [usize; 2]) -> Result<()> {
        self.each(&|leaf, device, _| {
            let list = label_write::list(config, leaf.guid())?;
            numbers.into_iter().try_for_each(|number| label_write::write_list(device, number, &list))
        })?;
        self.vdevs.flush()
    }

    /// Makes all members new ones of a pool with this config, that has no uberblock yet.
    ///
    /// # Errors
    /// A member fails, or the config does not fit a label.
    pub fn initialize(&self, config: &NvList) -> Result<()> {
        self.each(&|leaf, device, _| {
            let mut list = label_write::list(config, leaf.guid())?;
            // Whoever finds this label and no uberblock knows that the pool never came to be.
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
        self.vdevs.flush()
    }

    fn write(&self, uberblock: &Uberblock) -> Result<()> {
        let config = self.config().take();
        if let Some(config) = &config {
            self.write_lists(config, BEFORE)?;
        }
        self.each(&|_, device, ashift| label_write::write_uberblock(device, uberblock, ashift))?;
        self.vdevs.flush()?;
        match &config {
            Some(config) => self.write_lists(config, AFTER),
            None => Ok(()),
        }
    }
}
