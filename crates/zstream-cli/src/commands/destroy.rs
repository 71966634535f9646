//! `zstream destroy` and `zstream rollback`, as `zfs` does them.

use zstream::Destroyed;
use zstream_dsl::prop::nice_bytes;
use zstream_dsl::write::{Reach, WritablePool};

use crate::change::{change, try_change};
use crate::failure::Failure;
use crate::output::{say_columns, warn_unprinted};
use crate::pool::PoolOptions;

/// Destroys datasets, snapshots or a bookmark
///
/// Destroys either everything that was named or nothing. Fails and lists the dependents if something else depends
/// on a dataset.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img destroy -nv tank/home@monday%friday
  zstream -d disk.img destroy -r tank/old
  zstream -d disk.img destroy tank/home#monday")]
pub(crate) struct Args {
    /// Destroy children and snapshots too; for a snapshot, also the snapshots of that name in all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Destroy all dependents too, including clones elsewhere in the pool
    #[arg(short = 'R')]
    clones: bool,
    /// Defer the destruction of snapshots that have holds or clones until the last of these is gone
    #[arg(short = 'd')]
    defer: bool,
    /// Dry run: destroy nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Print what is destroyed and how much space it frees
    #[arg(short = 'v')]
    verbose: bool,
    /// With -n or -v: print in a machine-parsable format, separated by tabs
    #[arg(short = 'p')]
    parsable: bool,
    /// Force unmounting (no effect: zstream never mounts)
    #[arg(short = 'f')]
    force: bool,
    /// A dataset, a bookmark, or snapshots, also as a list @a,b or a range @a%c
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let reach = Reach { recursive: self.recursive, clones: self.clones };
        let destroy = |pool: &mut WritablePool| Ok(zstream::destroy(pool, &self.name, reach, self.defer)?);
        let destroyed = if self.dry_run {
            try_change(options, &self.name, destroy)?
        } else {
            change(options, &self.name, destroy)?
        };
        if self.dry_run {
            return self.tell(&destroyed);
        }
        if self.verbose {
            warn_unprinted(self.tell(&destroyed));
        }
        Ok(())
    }

    fn tell(&self, destroyed: &Destroyed) -> Result<(), Failure> {
        let tense = if self.dry_run { "would " } else { "did " };
        for name in &destroyed.names {
            if self.parsable { say_columns(&["destroy", name])? } else { say!("{tense}destroy {name}")? }
        }
        if self.parsable {
            return say_columns(&["reclaim", &destroyed.bytes.to_string()]);
        }
        say!("{tense}reclaim {}", nice_bytes(destroyed.bytes))
    }
}

/// Rolls a dataset back to a snapshot
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img rollback tank/home@tuesday
  zstream -d disk.img rollback -r tank/home@monday")]
pub(crate) struct Rollback {
    /// Destroy more recent snapshots and bookmarks
    #[arg(short = 'r')]
    recursive: bool,
    /// Destroy more recent snapshots and bookmarks, and clones of these snapshots
    #[arg(short = 'R')]
    clones: bool,
    /// Force unmounting of clones (no effect: zstream never mounts)
    #[arg(short = 'f')]
    force: bool,
    /// Snapshot to roll back to
    #[arg(value_name = "SNAPSHOT")]
    name: String,
}

impl Rollback {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let reach = Reach { recursive: self.recursive, clones: self.clones };
        change(options, &self.name, |pool| Ok(zstream::roll_back(pool, &self.name, reach)?))
    }
}
