//! `zstream cat`: the content of files.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use zstream::extract::write_content;
use zstream_format::number::parse_bytes;
use zstream_zpl::volume;

use crate::failure::Failure;
use crate::files;
use crate::output;
use crate::pool::PoolOptions;
use crate::text::Size;

/// Content above which the size is reported first: what takes hours to print.
const REPORTED_BYTES: u64 = 1 << 40;

/// Writes the content of files or of a volume to standard output
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img cat tank/home@monday docs/letter.txt
  zstream -d disk.img cat tank/vm@monday | file -
  zstream -f backup.zfs cat docs/letter.txt")]
pub(crate) struct Args {
    /// Fail instead of printing a file or volume that is larger than SIZE, such as 100M or 2G; files before it are printed
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_size: Option<u64>,
    /// Filesystem, volume or snapshot (optional if the streams hold a single snapshot), followed by paths of files
    /// relative to its root; no path for a volume
    #[arg(value_name = "DATASET[@SNAP] PATH")]
    words: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let (source, paths) = files::open(pool, &self.words)?;
        let mut out = output::content()?;
        if source.is_volume() {
            if !paths.is_empty() {
                return Err(Failure::usage(format_args!("{} is a volume: it has no files", source.name())));
            }
            let content = volume::content(source.set())?;
            self.check_size(&source.name(), content.size())?;
            write_content(&content, &mut out)?;
        } else {
            if paths.is_empty() {
                return Err(Failure::usage(format_args!("no file of {} given", source.name())));
            }
            let fs = source.filesystem()?;
            for path in paths {
                let content = fs.resolve(path.as_bytes()).and_then(|node| fs.content(&node));
                let named = |error| Failure::new(format_args!("{}: {error}", path.display()));
                let content = content.map_err(named)?;
                self.check_size(&path.display(), content.size())?;
                write_content(&content, &mut out)?;
            }
        }
        out.flush().map_err(|error| Failure::output(&error))
    }

    /// Refuses content above the limit. Without a limit, a size that takes hours is reported.
    fn check_size(&self, name: &dyn Display, bytes: u64) -> Result<(), Failure> {
        match self.max_size {
            Some(max) if bytes > max => Err(Failure::new(format_args!(
                "{name}: {bytes} bytes ({}), more than --max-size {max}",
                Size(bytes)
            ))),
            None if bytes > REPORTED_BYTES => {
                eprintln!(
                    "zstream: {name}: printing {bytes} bytes ({}); --max-size sets a limit",
                    Size(bytes)
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected a number of bytes, like 100M or 2G".to_owned())
}
