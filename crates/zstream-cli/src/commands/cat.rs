//! `zstream cat`: the content of files.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use zstream::CHUNK_BYTES;
use zstream_zpl::content::Content;
use zstream_zpl::volume;

use crate::failure::Failure;
use crate::files;
use crate::output::{self, Output};
use crate::pool::PoolOptions;

/// The options of `zstream cat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
            copy(&volume::content(source.set())?, &mut out)?;
        } else {
            if paths.is_empty() {
                return Err(Failure::usage(format_args!("no file of {} given", source.name())));
            }
            let fs = source.filesystem()?;
            for path in paths {
                let content = fs.resolve(path.as_bytes()).and_then(|node| fs.content(&node));
                let named = |error| Failure::new(format_args!("{}: {error}", path.display()));
                copy(&content.map_err(named)?, &mut out)?;
            }
        }
        out.flush().map_err(|error| Failure::output(&error))
    }
}

fn copy(content: &Content<'_>, out: &mut Output) -> Result<(), Failure> {
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(content.size()).unwrap_or(CHUNK_BYTES))];
    let mut at = 0;
    loop {
        let length = content.read(at, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..length]).map_err(|error| Failure::output(&error))?;
        at += length as u64;
    }
}
