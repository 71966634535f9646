//! `zstream put`: files into a file system, an image into a volume.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use zstream::{Error, HostExtents, Input, Put, PutOptions, Request};

use crate::change::command_line;
use crate::failure::Failure;
use crate::files::split;
use crate::interrupt::Interrupt;
use crate::pool::{PoolOptions, warn_unsearched};
use crate::progress::Meter;

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// Copies files into a filesystem, or an image into a volume
///
/// If PATH is a directory, SRC is copied into it; otherwise SRC is copied to that name, and the parent directory
/// must exist. Preserves owners, modes, times, extended attributes, holes, symbolic and hard links, devices,
/// FIFOs and sockets. Existing files are replaced; a directory is never replaced by another type. If anything
/// fails, the dataset is left unchanged, except that with more than 8 GiB of data, or with --reflink, a part may
/// already be written.
/// The properties recordsize, compression, checksum, copies, xattr and dnodesize are honoured. With --timestamp
/// the same sources produce a bit-identical image.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img put notes.txt photos tank/home:/
  zstream -d disk.img put rootfs/ tank/root:/        the content of rootfs
  zstream -d disk.img put --tar layer.tar tank/root:/
  zstream -d disk.img put disk.raw tank/vm           an image into a volume")]
pub(crate) struct Args {
    /// SRC are tar archives to unpack; `-` is standard input
    #[arg(long)]
    tar: bool,
    /// Clone blocks that SRC share on this host, such as copies by `cp --reflink`, instead of writing them again
    ///
    /// The pool requires feature@block_cloning, which `pool set feature@block_cloning=enabled` enables. Without it, the
    /// blocks are written, with a warning.
    #[arg(long, conflicts_with = "tar")]
    reflink: bool,
    /// Use the pool even if another host may have it imported
    #[arg(short)]
    force: bool,
    /// Use this time, in seconds since 1970, instead of the current time, and clamp later times to it, for
    /// reproducible images
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Files and directories; a trailing slash copies the content of a directory. For a volume: a raw image
    #[arg(value_name = "SRC", required = true)]
    sources: Vec<OsString>,
    /// Filesystem and path in it, or volume
    #[arg(value_name = "DATASET[:/PATH]", required = true)]
    target: OsString,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (name, path) = split(&self.target)?;
        if name.contains(['@', '#']) {
            return Err(Request::NotWritable(name.to_owned()).into());
        }
        zstream::parts(path)?;
        let mut putting = PutOptions::default();
        (putting.force, putting.timestamp) = (self.force, self.timestamp);
        putting.reflink = self.reflink.then(|| Arc::new(HostExtents) as _);
        let mut put = Put::open(&options.place_to_write()?, name, &putting, options)?;
        warn_unsearched(put.pool());
        if put.is_volume() {
            self.check_volume(name, path)?;
        }
        let interrupt = Interrupt::catch()?;
        self.put(&mut put, path, &interrupt)?;
        Ok(put.finish(&command_line())?)
    }

    fn put(&self, put: &mut Put, path: &[u8], interrupt: &Interrupt) -> Result<(), Failure> {
        let mut meter = Meter::new(None);
        let mut control = meter.control_with(&interrupt.cancel());
        let failed = |error: Error| {
            let left = match &error {
                Error::Put { committed: Some(txg), .. } => format!(
                    ": the files written up to transaction group {txg} are kept; the last one may be incomplete"
                ),
                _ => ": nothing was written".to_owned(),
            };
            interrupt.failure(error, &left)
        };
        if put.is_volume() {
            return put.image(input(&self.sources[0], interrupt)?, &mut control).map_err(failed);
        }
        if self.tar {
            for source in &self.sources {
                put.archive(path, input(source, interrupt)?, &mut control).map_err(failed)?;
            }
            return Ok(());
        }
        let sources: Vec<PathBuf> = self.sources.iter().map(PathBuf::from).collect();
        put.paths(path, &sources, &mut control).map_err(failed)
    }

    fn check_volume(&self, name: &str, path: &[u8]) -> Result<(), Failure> {
        if self.sources.len() != 1 {
            return Err(Failure::usage(format_args!("{name} is a volume: it accepts a single image")));
        }
        if !path.is_empty() || self.tar {
            return Err(Request::Volume(name.to_owned()).into());
        }
        Ok(())
    }
}

fn input(source: &OsStr, interrupt: &Interrupt) -> Result<Input, Failure> {
    if source != STANDARD_INPUT {
        return Ok(Input::Path(source.into()));
    }
    let file = io::stdin().as_fd().try_clone_to_owned();
    let reader = file.and_then(|file| interrupt.reader(file.into()));
    let reader = reader.map_err(|error| Failure::new(format_args!("cannot read standard input: {error}")))?;
    Ok(Input::Reader { name: source.as_bytes().to_vec(), reader: Box::new(reader) })
}
