//! `zstream hold`, `release` and `holds`: holds, which prevent the destruction of snapshots, as in `zfs`.

use zstream::{Held, OpenNames};
use zstream_dsl::prop::time;

use crate::change::change;
use crate::failure::Failure;
use crate::output;
use crate::pool::{Incomplete, PoolOptions};
use crate::text::{Column, table};

/// The options of `zstream hold` and `zstream release`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Include the snapshots of that name in all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Tag of the hold
    #[arg(value_name = "TAG")]
    tag: String,
    /// Snapshots
    #[arg(value_name = "SNAPSHOT", required = true)]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn hold(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.names[0], |pool| {
            Ok(zstream::hold(pool, &self.tag, &self.names, self.recursive)?)
        })
    }

    pub(crate) fn release(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.names[0], |pool| {
            Ok(zstream::release(pool, &self.tag, &self.names, self.recursive)?)
        })
    }
}

/// Lists the holds of snapshots
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream -d disk.img holds -r tank@monday")]
pub(crate) struct Holds {
    /// Include the snapshots of that name in all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// For scripts: omit the heading, separate columns by a single tab
    #[arg(short = 'H')]
    script: bool,
    /// Print times in seconds since 1970
    #[arg(short = 'p')]
    literal: bool,
    /// Snapshots
    #[arg(value_name = "SNAPSHOT", required = true)]
    names: Vec<String>,
}

impl Holds {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let incomplete = Incomplete::default();
        let opened = options.open_all(&self.names, &incomplete)?;
        let row = |held: Held| {
            let time = if self.literal { held.time.to_string() } else { time(held.time, false) };
            vec![held.snapshot, held.tag, time]
        };
        let mut held = Vec::new();
        for OpenNames { open, names, .. } in &opened {
            held.extend(zstream::holds(open, names, self.recursive, &mut incomplete.control())?);
        }
        let rows: Vec<_> = held.into_iter().map(row).collect();
        let headings = ["NAME", "TAG", "TIMESTAMP"];
        if rows.is_empty() && !self.script {
            output::print(&(headings.join("  ") + "\n"))?;
        } else {
            output::print(&table(&headings.map(Column::new), &rows, self.script))?;
        }
        incomplete.judge()
    }
}
