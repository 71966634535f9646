//! `zstream clone` and `zstream promote`: writable copies of snapshots, as `zfs` makes them.

use zstream::Keys;
use zstream_dsl::prop::parse_assignment;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Creates a clone of a snapshot
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream -d disk.img clone tank/home@monday tank/test")]
pub(crate) struct Args {
    /// Create missing parent datasets; succeed if the clone exists
    #[arg(short = 'p')]
    parents: bool,
    /// Do not mount (no effect: zstream never mounts)
    #[arg(short = 'u')]
    unmounted: bool,
    /// Set a property; can be repeated
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Name of the clone
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        zstream::check_once(&self.properties)?;
        change(options, &self.snapshot, |pool| {
            let properties = self.properties.iter().map(|text| parse_assignment(text));
            let properties = properties.collect::<Result<Vec<_>, _>>()?;
            let keys: Option<&dyn Keys> = if self.parents { Some(options) } else { None };
            Ok(zstream::clone_snapshot(pool, &self.snapshot, &self.name, &properties, keys)?)
        })
    }
}

/// Promotes a clone: swaps it with its origin
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream -d disk.img promote tank/test")]
pub(crate) struct Promote {
    /// Clone
    #[arg(value_name = "CLONE")]
    name: String,
}

impl Promote {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.name, |pool| Ok(zstream::promote(pool, &self.name)?))
    }
}
