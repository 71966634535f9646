//! `zstream clone` and `zstream promote`: writable copies of snapshots, as `zfs` makes them.

use zstream_dsl::prop::parse::parse_assignment;
use zstream_dsl::write::WritablePool;

use super::create::create_parents;
use crate::change::{cannot, change};
use crate::commands::create::check_once;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream clone`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Make what is missing above it too, and be content if it is there
    #[arg(short = 'p')]
    parents: bool,
    /// Do not mount it: nothing is ever mounted here
    #[arg(short = 'u')]
    unmounted: bool,
    /// Set a property; may be given several times
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// The clone's name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.snapshot, |pool| self.make(pool, options))
    }

    fn make(&self, pool: &mut WritablePool, options: &PoolOptions) -> Result<(), Failure> {
        check_once(&self.properties)?;
        let properties = self.properties.iter().map(|text| parse_assignment(text));
        let properties = properties.collect::<Result<Vec<_>, _>>()?;
        let failed = cannot(format!("clone '{}' to '{}'", self.snapshot, self.name));
        if self.parents {
            if pool.tx().dir_named(&self.name)?.is_some() {
                return Ok(());
            }
            create_parents(pool, &self.name, options)?;
        }
        let clone = pool.clone_snapshot(&self.snapshot, &self.name).map_err(&failed)?;
        let mut tx = pool.tx();
        properties.iter().try_for_each(|parsed| tx.assign(clone, parsed)).map_err(&failed)
    }
}

/// The options of `zstream promote`.
#[derive(Debug, clap::Args)]
pub(crate) struct Promote {
    /// The clone
    #[arg(value_name = "CLONE")]
    name: String,
}

impl Promote {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.name, |pool| {
            pool.tx().promote(&self.name).map_err(cannot(format_args!("promote '{}'", self.name)))
        })
    }
}
