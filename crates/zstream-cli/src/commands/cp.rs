//! `zstream cp`: a file copied within a pool, by cloning its blocks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use zstream::{Error, Put, PutOptions, Reflink, Request};

use crate::change::command_line;
use crate::failure::Failure;
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

/// The options of `zstream cp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whether blocks are cloned
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
        let (from, path) = named(&self.source)?;
        let (name, into) = named(&self.target)?;
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

/// The dataset and the path in it.
fn named(word: &OsStr) -> Result<(&str, &[u8]), Failure> {
    let (name, path) = zstream::split_target(word.as_bytes());
    let name = std::str::from_utf8(name).map_err(|_| Failure::usage("dataset names are ASCII"))?;
    Ok((name, path))
}
