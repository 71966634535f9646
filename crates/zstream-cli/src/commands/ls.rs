//! `zstream ls`: lists files and their attributes.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use zstream::text::long_line;
use zstream::{ListOptions, Listed, list_files};

use crate::failure::Failure;
use crate::files;
use crate::output;
use crate::pool::PoolOptions;
use crate::text::{Count, file_name};

/// Lists files in a filesystem or snapshot
///
/// Without PATH, lists the root directory. Prints one name per line, or full paths with -R. Bytes of a name that
/// are not printable text are shown as `\\xNN`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img ls tank/home@monday
  zstream -d /dev/sdb -d /dev/sdc ls -lR tank/home@monday docs
  zstream -f full.zfs increment.zfs ls @tuesday docs
  zstream -f backup.zfs ls -lR")]
pub(crate) struct Args {
    /// Long format: type and mode, links, owner, group, size or device number, modification time, symlink target
    #[arg(short)]
    long: bool,
    /// List subdirectories recursively
    #[arg(short = 'R')]
    recursive: bool,
    /// Filesystem or snapshot (optional if the streams hold a single snapshot), followed by paths of files and
    /// directories relative to its root
    #[arg(value_name = "DATASET[@SNAP] PATH")]
    words: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let (source, paths) = files::open(pool, &self.words)?;
        if source.is_volume() {
            return Err(Failure::usage(format_args!("{} is a volume: it has no files", source.name())));
        }
        let fs = source.filesystem()?;
        let mut out = output::text()?;
        let mut failures = 0;
        let root = [OsString::new()];
        let options = ListOptions { recursive: self.recursive, attributes: self.long };
        let mut show = |listed: Listed| {
            let line = match listed.node {
                Ok(Some(node)) if self.long => long_line(&fs, &listed.path, &node),
                Ok(_) => file_name(&listed.path),
                Err(error) => {
                    eprintln!("zstream: {}: {error}", file_name(&listed.path));
                    failures += 1;
                    return Ok(());
                }
            };
            writeln!(out, "{line}").map_err(|error| Failure::output(&error))
        };
        for path in if paths.is_empty() { &root[..] } else { paths } {
            list_files(&fs, path.as_bytes(), options, &mut show)?;
        }
        out.flush().map_err(|error| Failure::output(&error))?;
        match failures {
            0 => Ok(()),
            _ => Err(Failure::new(format_args!("{} could not be read", Count(failures, "name")))),
        }
    }
}
