//! `zstream pool`: verbs for a pool as a whole.

#[cfg(feature = "object")]
mod bucket;
mod check;
mod copy;
mod groups;
mod properties;
mod replay;

use zstream::Prune;
use zstream::describe::PoolDescription;

use super::pool_create;
use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;

/// Creates, shows, changes, checks or exports a pool
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img pool show
  zstream -d /dev/sdb -d /dev/sdc pool check tank")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Creates a pool in files or disks
    ///
    /// VDEV has the syntax of `zpool create`. No kernel module is required and nothing is mounted; any host can
    /// import the pool. The previous content of files and disks is lost.
    #[command(after_long_help = "\
Examples:
  zstream pool create --size 1G demo demo.img
  zstream pool create --size 512M -O compression=zstd tank mirror a.img b.img
  zstream pool create -o ashift=12 -o compatibility=openzfs-2.1-linux tank raidz2 /dev/sd[b-f]")]
    Create(pool_create::Args),
    /// Copies the pool as a whole to other devices
    ///
    /// Every member that is present is copied: all allocated blocks and the labels, to the bit, but no free space. So a
    /// disk becomes an image file and back. Copies to files are sparse. The copy has the name and the guids of the
    /// pool: do not import both at the same time. The pool must not change during the copy, which is checked at the end.
    /// Before that, the new devices are not part of a pool. An interrupted copy is resumed by the same command.
    #[command(after_long_help = "\
Examples:
  zstream pool copy /dev/sdb tank.img
  zstream pool copy tank.img /dev/sdc
  zstream -d /dev/sdb -d /dev/sdc pool copy images/")]
    Copy(copy::Args),
    /// Marks the pool as exported, so that any host can import it
    ///
    /// Required only for a pool that was still imported when its host or a program terminated: zstream's own verbs
    /// always leave a pool exported.
    Export {
        /// Export the pool even if another host may have it imported
        #[arg(short)]
        force: bool,
        /// Name of the pool; required if the devices hold several
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
    /// Takes a checkpoint of the pool, or discards it
    ///
    /// The checkpoint preserves the whole state of the pool: later changes keep the blocks that it needs. `--checkpoint`
    /// before a verb reads it, and `zpool import --rewind-to-checkpoint` returns to it. A pool has one checkpoint at
    /// most. Requires feature@zpool_checkpoint.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool checkpoint tank
  zstream -d disk.img --checkpoint ls tank/home
  zstream -d disk.img pool checkpoint --discard tank")]
    Checkpoint {
        /// Discard the checkpoint, and free the space that only it uses
        #[arg(short, long)]
        discard: bool,
        /// Name of the pool
        #[arg(value_name = "POOL")]
        pool: String,
    },
    /// Removes entries that share nothing from the deduplication tables
    ///
    /// An entry with one reference takes space in the table and shares nothing until its content is written again. Its
    /// block stays, and is freed like one that was not deduplicated. Works on fast tables (feature@fast_dedup). With
    /// dedup_table_quota, a pool limits the size of its tables instead.
    #[command(
        group(clap::ArgGroup::new("which").required(true)),
        after_long_help = "\
Examples:
  zstream -d disk.img pool ddtprune -d 90 tank
  zstream -d disk.img pool ddtprune -p 25 tank"
    )]
    Ddtprune {
        /// Remove entries that have had one reference for so many days
        #[arg(short, value_name = "DAYS", group = "which", value_parser = clap::value_parser!(u32))]
        days: Option<u32>,
        /// Remove so many percent of the entries with one reference, the oldest first
        #[arg(short, value_name = "PERCENT", group = "which", value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: Option<u8>,
        /// Name of the pool
        #[arg(value_name = "POOL")]
        pool: String,
    },
    /// Deletes what no generation of a pool in object storage needs any more
    ///
    /// Each change of such a pool is a generation, and objects are never replaced. Generations can be opened until their
    /// grace period is over. Then they are deleted, with all objects that no other generation refers to; objects that are
    /// mostly dead, or small, are written again without their dead bytes before. Verbs that change the pool delete a little
    /// by themselves after 7 days. Programs that are changing the pool meanwhile fail.
    #[cfg(feature = "object")]
    #[command(after_long_help = "\
Examples:
  zstream -d s3://bucket/pool pool gc --dry-run
  zstream -d s3://bucket/pool pool gc --grace 1d")]
    Gc(bucket::Gc),
    /// Lists the generations of a pool in object storage that can be opened, newest first
    ///
    /// `--generation` before a verb reads one of them.
    #[cfg(feature = "object")]
    #[command(after_long_help = "\
Examples:
  zstream -d s3://bucket/pool pool generations
  zstream -d s3://bucket/pool --generation 12 list")]
    Generations,
    /// Shows properties of the pool, and its features
    ///
    /// The output has the format of `zpool get`. Values that exist only for an imported pool are shown as `-`.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool get all
  zstream -d disk.img pool get -Hp -o value free,feature@encryption tank")]
    Get(properties::Get),
    /// Sets properties of the pool, or enables features
    ///
    /// PROPERTY is one of autoexpand, autoreplace, autotrim, ashift, bootfs, comment, compatibility,
    /// dedup_table_quota, delegation, failmode, listsnapshots, a user property (its name contains a colon; without a value it is removed), or
    /// feature@NAME, whose only value is `enabled`. A feature cannot be disabled again.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool set comment='off site' tank
  zstream -d disk.img pool set feature@zstd_compress=enabled tank")]
    Set(properties::Set),
    /// Enables the features of a new pool in an existing one
    ///
    /// Enables the features that `pool create` would enable: those of the property `compatibility`, or else those that
    /// OpenZFS 2.1 supports. This cannot be undone: programs that do not know the features may no longer be able to
    /// change or read the pool. Without POOL and -a, prints the features that would be enabled in each pool. Pools of
    /// versions 1 to 28 are not upgraded.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool upgrade
  zstream -d disk.img pool upgrade tank")]
    Upgrade {
        /// Upgrade all pools on the devices
        #[arg(short)]
        all: bool,
        /// Name of the pool
        #[arg(value_name = "POOL", conflicts_with = "all")]
        pool: Option<String>,
    },
    /// Replays the intent logs of filesystems and volumes
    ///
    /// The last synchronous writes of a pool that was not exported are only in the intent log of their dataset. OpenZFS
    /// replays a log when it mounts the filesystem or opens the volume. This verb does the same, and exports the pool.
    /// Unlike OpenZFS, which discards the rest of a log with a record that it cannot replay, it then fails, and the log is
    /// kept. `put` and `cp` replay the log of their dataset first; `rollback`, `destroy` and `recv -F` discard it, as in
    /// OpenZFS. `--replay` before a verb reads the pool as after the replay.
    #[command(after_long_help = "\
Examples:
  zstream -d disk.img pool replay -nv
  zstream -d disk.img pool replay
  zstream -d disk.img --key-file key pool replay tank/secret
  zstream -d disk.img --replay ls tank/home")]
    Replay(replay::Args),
    /// Shows the pool: name, guid, transaction group, vdevs, features, datasets
    Show {
        /// Print one JSON object
        ///
        /// Keys: name, guid, state, health, version, txg, available_txgs, vdevs (each with name, type, guid, state,
        /// class, children), features (name, guid, state, count), datasets (name, object, root). Guids are strings.
        #[arg(long)]
        json: bool,
        /// List the transaction groups that can still be opened, newest first, with what is lost in each
        ///
        /// The pool and each dataset are opened as of each group; the content of datasets is not read. `--txg` before the
        /// verb opens one of them. With --json, one object per line. Keys: txg, time, sound, datasets, unreadable, error.
        #[arg(long)]
        txgs: bool,
        /// Name of the pool; required if the devices hold several
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
    /// Reads and verifies every copy of every block
    ///
    /// Like a scrub, but repairs nothing. Reads the copies on all members, parity, intent logs, and blocks that only
    /// the pool's checkpoint references. Prints the path of each damaged file in every dataset that contains the
    /// damaged blocks. Blocks waiting to be freed are counted, but not read. The exit code is 1 if there is any
    /// damage, even if it is repairable. In object storage, also lists the objects, and names those that are lost. Checking encrypted datasets does not require their keys; with the key
    /// (--key-file) their files are shown by name, and the key is verified on every dataset that inherits it.
    Check {
        /// Print one JSON object
        ///
        /// Keys: pool, ok, blocks, copies, bytes, repeated (further references to the blocks), bad_copies, lost_blocks,
        /// damaged (each with in, paths, what, object, lost, lost_bytes, blocks), not_listed, unchecked, locked (dataset, root), members (name,
        /// unreadable, wrong), missing, waiting (list, blocks, bytes, complete), checkpoint (txg, blocks).
        #[arg(long)]
        json: bool,
        /// Show every damaged block and copy
        #[arg(short, long, conflicts_with = "json")]
        verbose: bool,
        /// Name of the pool; required if the devices hold several
        #[arg(value_name = "POOL")]
        pool: Option<String>,
    },
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        match &self.command {
            Command::Create(args) => args.run(options),
            Command::Copy(args) => args.run(options),
            Command::Export { force, pool } => {
                options.open_writable(pool.as_deref(), *force)?.export()?;
                Ok(())
            }
            Command::Checkpoint { discard, pool } => properties::checkpoint(options, pool, *discard),
            Command::Ddtprune { days, percent, pool } => {
                let older = days.map(|days| Prune::Older(u64::from(days) * 86400));
                let prune = older.or(percent.map(Prune::Percent));
                let prune = prune.ok_or_else(|| Failure::usage("expected -d DAYS or -p PERCENT"))?;
                properties::ddtprune(options, pool, prune)
            }
            #[cfg(feature = "object")]
            Command::Gc(args) => args.run(options),
            #[cfg(feature = "object")]
            Command::Generations => bucket::generations(options),
            Command::Get(args) => args.run(options),
            Command::Set(args) => args.run(options),
            Command::Upgrade { all: true, .. } => properties::upgrade_all(options),
            Command::Upgrade { pool: Some(pool), .. } => properties::upgrade(options, pool),
            Command::Upgrade { .. } => properties::list_upgrades(options),
            Command::Replay(args) => args.run(options),
            Command::Show { json, txgs: true, pool } => groups::run(options, pool.as_deref(), *json),
            Command::Show { json, txgs: false, pool } => {
                let pool = PoolDescription::of(&options.open(pool.as_deref())?)?;
                pool.unreadable.iter().for_each(|error| eprintln!("zstream: {error}"));
                output::print(&if *json { format!("{}\n", zstream::json::pool(&pool)) } else { pool.text() })
            }
            Command::Check { json, verbose, pool } => {
                let form = check::CheckFormat { json: *json, verbose: *verbose };
                check::run(&options.open(pool.as_deref())?, options, form)
            }
        }
    }
}
