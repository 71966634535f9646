//! `zstream snapshot`: snapshots, as `zfs snapshot` makes them.

use zstream::{SnapshotOptions, snapshot_with};
use zstream_dsl::prop::parse_assignment;

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Creates snapshots atomically
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img snapshot tank/home@monday
  zstream -d disk.img snapshot -r tank@before-upgrade")]
pub(crate) struct Args {
    /// Include all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Set a user property of each snapshot; can be repeated
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Names of the snapshots
    #[arg(value_name = "DATASET@SNAPSHOT", required = true)]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        zstream::check_once(&self.properties)?;
        change(options, &self.names[0], |pool| {
            let properties = self.properties.iter().map(|text| parse_assignment(text));
            let properties = properties.collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
            let options = SnapshotOptions { recursive: self.recursive, properties };
            Ok(snapshot_with(pool, &self.names, &options)?)
        })
    }
}
