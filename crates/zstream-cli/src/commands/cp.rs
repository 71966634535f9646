//! `zstream cp`: a file copied within a pool, by cloning its blocks.

use std::ffi::OsString;

use zstream::{Error, Put, PutOptions, Reflink, Request};

use crate::change::command_line;
use crate::failure::Failure;
use crate::files::split;
use crate::interrupt::Interrupt;
use crate::pool::{PoolOptions, warn_unsearched};
use crate::progress::Meter;

/// Whether blocks are cloned.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum When {
    /// Clone the blocks or fail
    Always,
    /// Clone the blocks where that is possible, and copy them otherwise
    Auto,
    /// Copy the blocks
    Never,
}

/// Copies a file within a pool, by cloning its blocks
///
/// The copy shares the blocks of the file, which are counted in block reference tables, like `cp --reflink` on a
/// mounted filesystem. This requires the feature block_cloning, and that both files are unencrypted or have the same
/// key. Blocks that cannot be cloned are copied, with a note, unless --reflink=always. Preserves owner, mode, times and
/// extended attributes. An existing file is replaced.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img cp tank/vm:/base.raw tank/vm:/new.raw
  zstream -d disk.img cp tank/home@monday:/letter.txt tank/home:/")]
pub(crate) struct Args {
    /// When to clone blocks
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    reflink: When,
    /// Use the pool even if another host may have it imported
    #[arg(short)]
    force: bool,
    /// Use this time, in seconds since 1970, instead of the current time, and clamp later times to it, for
    /// reproducible images
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Filesystem or snapshot, and the path of a file in it
    #[arg(value_name = "DATASET[@SNAP]:/PATH")]
    source: OsString,
    /// Filesystem of the same pool, and the path of the copy or of a directory in it
    #[arg(value_name = "DATASET:/PATH")]
    target: OsString,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (from, path) = split(&self.source)?;
        let (name, into) = split(&self.target)?;
        if name.contains(['@', '#']) {
            return Err(Request::NotWritable(name.to_owned()).into());
        }
        let pool = |name: &str| name.split(['/', '@']).next().unwrap_or_default().to_owned();
        if pool(from) != pool(name) {
            return Err(Failure::usage(format_args!(
                "{from} and {name} are in different pools: extract the file and put it there"
            )));
        }
        if zstream::parts(path)?.is_empty() {
            return Err(Failure::usage(format_args!("no file of {from} given")));
        }
        zstream::parts(into)?;
        let mut putting = PutOptions::default();
        (putting.force, putting.timestamp) = (self.force, self.timestamp);
        let mut put = Put::open(&options.place_to_write()?, name, &putting, options)?;
        warn_unsearched(put.pool());
        let interrupt = Interrupt::catch()?;
        let mut meter = Meter::new(None);
        let mut control = meter.control_with(&interrupt.cancel());
        let reflink = match self.reflink {
            When::Always => Reflink::Always,
            When::Auto => Reflink::Auto,
            When::Never => Reflink::Never,
        };
        put.copy(from, path, into, reflink, options, &mut control).map_err(|error| {
            let left = match &error {
                Error::Put { committed: Some(txg), .. } => {
                    format!(": the copy is incomplete, as of transaction group {txg}")
                }
                _ => ": nothing was written".to_owned(),
            };
            interrupt.failure(error, &left)
        })?;
        Ok(put.finish(&command_line())?)
    }
}
