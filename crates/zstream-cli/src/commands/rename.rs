//! `zstream rename`: other names for datasets and snapshots, as `zfs rename` gives them.

use zstream::create::create_parents;
use zstream_dsl::write::WritablePool;

use crate::change::{cannot, change};
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
        change(options, &self.old, |pool| self.rename(pool, options))
    }

    fn rename(&self, pool: &mut WritablePool, options: &PoolOptions) -> Result<(), Failure> {
        let failed = cannot(format!("rename '{}' to '{}'", self.old, self.new));
        if self.old.contains('@') {
            let full = match self.new.strip_prefix('@') {
                Some(short) => short,
                None => self.new.as_str(),
            };
            return pool.tx().rename_snapshot(&self.old, full, self.recursive).map_err(failed);
        }
        if self.recursive {
            return Err(Failure::usage("-r is for snapshots"));
        }
        if self.parents {
            create_parents(pool, &self.new, options)?;
        }
        pool.tx().rename(&self.old, &self.new).map_err(failed)
    }
}
