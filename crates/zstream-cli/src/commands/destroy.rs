//! `zstream destroy` and `zstream rollback`: what is given up, as `zfs` does it.

use zstream::Destroyed;
use zstream_dsl::prop::value::nice_bytes;
use zstream_dsl::write::{Reach, WritablePool};

use crate::change::{change, try_change};
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream destroy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Children and snapshots too; of a snapshot, those of the same name of all datasets below
    #[arg(short = 'r')]
    recursive: bool,
    /// All that depends on it too, clones wherever they are
    #[arg(short = 'R')]
    clones: bool,
    /// Snapshots with holds or clones: later, with the last of them
    #[arg(short = 'd')]
    defer: bool,
    /// Say what would be destroyed, and destroy nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Say what is destroyed, and the space that it gives back
    #[arg(short = 'v')]
    verbose: bool,
    /// With -n or -v: words separated by tabs, for programs
    #[arg(short = 'p')]
    parsable: bool,
    /// Unmount by force: nothing is ever mounted here
    #[arg(short = 'f')]
    force: bool,
    /// A dataset; snapshots, also as a list a,b or a range a%c; or a bookmark
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let reach = Reach { recursive: self.recursive, clones: self.clones };
        let destroy = |pool: &mut WritablePool| Ok(zstream::destroy(pool, &self.name, reach, self.defer)?);
        let Destroyed { names, bytes, .. } = if self.dry_run {
            try_change(options, &self.name, destroy)?
        } else {
            change(options, &self.name, destroy)?
        };
        if self.dry_run || self.verbose {
            let tense = if self.dry_run { "would " } else { "did " };
            for name in names {
                if self.parsable { println!("destroy\t{name}") } else { println!("{tense}destroy {name}") }
            }
            if self.parsable {
                println!("reclaim\t{bytes}");
            } else {
                println!("{tense}reclaim {}", nice_bytes(bytes));
            }
        }
        Ok(())
    }
}

/// The options of `zstream rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// Destroy younger snapshots and bookmarks
    #[arg(short = 'r')]
    recursive: bool,
    /// Destroy younger snapshots, bookmarks, and the clones of the snapshots
    #[arg(short = 'R')]
    clones: bool,
    /// Unmount clones by force: nothing is ever mounted here
    #[arg(short = 'f')]
    force: bool,
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    name: String,
}

impl Rollback {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let reach = Reach { recursive: self.recursive, clones: self.clones };
        change(options, &self.name, |pool| Ok(zstream::roll_back(pool, &self.name, reach)?))
    }
}
