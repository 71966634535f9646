//! `zstream redup`: converts a deduplicated stream to one that current receivers accept.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use zstream_format::edit::redup;

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Converts a deduplicated stream (from an old `zfs send -D`) to a regular one
///
/// OpenZFS 2.0 and later cannot receive deduplicated streams. Each reference is replaced by the block that it
/// refers to. Uses 32 to 75 bytes of memory per block of the stream.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream redup old.zfs | zfs receive pool/fs
  zstream redup -v old.zfs > new.zfs")]
pub(crate) struct Args {
    /// Print the number of records on standard error
    #[arg(short, long)]
    verbose: bool,
    /// Stream file; must be seekable, since earlier parts are read again
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input = Input::open(Some(&self.file))?;
        let again = input
            .again()?
            .ok_or_else(|| Failure::new(format_args!("{} is not a seekable file", self.file.display())))?;
        let output = output::binary()?;
        let (_, summary) = redup(input.into_read(), |at, bytes| again.read_exact_at(bytes, at), output)?;
        note_padding(Some(&self.file), summary.padding_bytes);
        if self.verbose {
            eprintln!(
                "converted stream with {} total records, including {} dedup records, using {}B memory.",
                summary.records, summary.references, summary.index_bytes
            );
        }
        Ok(())
    }
}
