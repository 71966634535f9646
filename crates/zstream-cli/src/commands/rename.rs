//! `zstream rename`: renames datasets and snapshots, as `zfs rename` does.

use zstream::Keys;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Renames a dataset or snapshot
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img rename tank/home tank/old/home
  zstream -d disk.img rename -r tank@monday @first")]
pub(crate) struct Args {
    /// Force unmounting (no effect: zstream never mounts)
    #[arg(short = 'f')]
    force: bool,
    /// Create missing parent datasets of the new name
    #[arg(short = 'p', conflicts_with = "recursive")]
    parents: bool,
    /// Do not remount (no effect: zstream never mounts)
    #[arg(short = 'u')]
    unmounted: bool,
    /// Also rename the snapshots of that name in all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Current name
    #[arg(value_name = "OLD")]
    old: String,
    /// New name; for a snapshot, the part after the @ suffices
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
                return Err(Failure::usage("-r requires a snapshot"));
            }
            let keys: Option<&dyn Keys> = if self.parents { Some(options) } else { None };
            Ok(zstream::rename(pool, &self.old, &self.new, keys)?)
        })
    }
}
