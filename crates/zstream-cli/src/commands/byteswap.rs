//! `zstream byteswap`: the same stream in the other byte order.

use std::path::PathBuf;

use zstream_format::edit::byteswap;

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;
use crate::text::Count;

/// Converts a stream to the other byte order
///
/// Converts headers and payloads to what a machine of the other byte order would send. Converting twice restores
/// the original stream, with two exceptions: native nvlists in BEGIN records (raw, redacted and resumed streams)
/// become XDR, which receivers of either byte order read; embedded or compressed blocks that do not hold plain
/// bytes (directories, for example) become uncompressed. Receivers older than OpenZFS 2.0 may not accept the
/// result.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream byteswap from-sparc.zfs > x86.zfs")]
pub(crate) struct Args {
    /// Report on standard error what a second conversion does not restore
    #[arg(short, long)]
    verbose: bool,
    /// Stream file, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input = Input::open(self.file.as_deref())?;
        let mut out = output::binary()?;
        let report = byteswap(input.into_read(), &mut out)?;
        note_padding(self.file.as_deref(), report.padding_bytes);
        if self.verbose {
            eprintln!(
                "zstream: {} converted to XDR, {} decompressed, {} expanded",
                Count(report.lists, "list"),
                Count(report.decompressed, "block"),
                Count(report.embedded, "embedded block"),
            );
        }
        Ok(())
    }
}
