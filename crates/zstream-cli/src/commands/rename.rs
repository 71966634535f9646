//! `zstream rename`: other names for datasets and snapshots, as `zfs rename` gives them.

use zstream::Keys;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream rename`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Unmount by force: nothing is ever mounted here
    #[arg(short = 'f')]
    force: bool,
    /// Make what is missing above the new name too
    #[arg(short = 'p', conflicts_with = "recursive")]
    parents: bool,
    /// Do not mount it again: nothing is ever mounted here
    #[arg(short = 'u')]
    unmounted: bool,
    /// Snapshots of the same name of all datasets below too
    #[arg(short = 'r')]
    recursive: bool,
    /// The old name
    #[arg(value_name = "OLD")]
    old: String,
    /// The new one; of a snapshot also only what is behind the @
    #[arg(value_name = "NEW")]
    new: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.old, |pool| {
            if self.old.contains('@') {
                return Ok(zstream::rename_snapshot(pool, &self.old, &self.new, self.recursive)?);
            }
            if self.recursive {
                return Err(Failure::usage("-r is for snapshots"));
            }
            let keys: Option<&dyn Keys> = if self.parents { Some(options) } else { None };
            Ok(zstream::rename(pool, &self.old, &self.new, keys)?)
        })
    }
}
