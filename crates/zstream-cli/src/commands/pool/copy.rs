//! `zstream pool copy`: a whole pool on other devices.

use std::path::PathBuf;
use std::sync::Arc;

use zstream::{PoolCopy, PoolPlace};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::pool::PoolOptions;
use crate::progress::Meter;
use crate::storage::{self, Storage};
use crate::text::Count;

/// The arguments of `zstream pool copy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Overwrite existing files, and disks that are part of a pool
    #[arg(short)]
    force: bool,
    /// Devices of the pool, or directories that contain them, unless -d names them, and then the new device
    ///
    /// For a pool with several members, the last path is a directory, where the copies get the names of the members.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        storage::check_names(self.paths.iter().map(|path| path.as_os_str()))?;
        let opener = storage::opener(&Storage::default())?;
        let place = match self.paths.split_last() {
            Some((target, [])) => Some((options.place()?, target)),
            Some((target, sources)) if !options.has_devices() => {
                Some((PoolPlace::new(sources).through(Arc::clone(&opener)), target))
            }
            _ => None,
        };
        let usage = || Failure::usage("expected the devices of one pool, with -d or before the new device");
        let (place, target) = place.ok_or_else(usage)?;
        let copy = PoolCopy::new(place, target).through(opener);
        let copy = if self.force { copy.overwriting() } else { copy };
        let interrupt = Interrupt::catch()?;
        let mut meter = Meter::new(None);
        let mut control = meter.control_with(&interrupt.cancel());
        let left = ": the copy is incomplete; the same command resumes it";
        let copied = copy.run(None, &mut control).map_err(|error| interrupt.failure(error, left))?;
        drop(control);
        let resumed = match copied.resumed_bytes {
            0 => String::new(),
            bytes => format!(", after {} of an interrupted copy", Count(bytes, "byte")),
        };
        let bytes = Count(copied.bytes, "byte");
        say!("{}: transaction group {}, {bytes} copied{resumed}", copied.pool, copied.txg)
    }
}
