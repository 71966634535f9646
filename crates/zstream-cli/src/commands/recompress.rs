//! `zstream recompress`: recompresses all blocks of a stream.

use zstream::edits::{EditRequestError, recompress};

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Recompresses or decompresses all blocks of a stream
///
/// Reads a stream from standard input and writes it to standard output, using all cores. Blocks that do not get
/// smaller are stored uncompressed. The feature flags of the stream are updated. Raw (encrypted) snapshots are
/// copied unchanged.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream recompress zstd < in.zfs > out.zfs
  zstream recompress -l 19 zstd < in.zfs > archive.zfs
  zfs send -c pool/fs@snap | zstream recompress off | zfs receive old/fs")]
pub(crate) struct Args {
    /// zstd level: 1 to 19, or negative for the fast levels; defaults to 3. Only for zstd
    #[arg(short, long, value_name = "LEVEL", allow_negative_numbers = true)]
    level: Option<i32>,
    /// Compression: off, lz4, zstd, gzip-1 to gzip-9, zle or lzjb
    #[arg(value_name = "TYPE")]
    kind: String,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let how = recompress(&self.kind, self.level).map_err(|error| match error {
            EditRequestError::Level(_) => Failure::new(error),
            error => Failure::usage(error),
        })?;
        let input = Input::open(None)?;
        let (_, summary) = how.run(input.into_read(), output::binary()?)?;
        note_padding(None, summary.padding_bytes);
        if summary.raw_substreams > 0 {
            eprintln!(
                "zstream: note: of {} snapshots {} are raw and were copied unchanged",
                summary.substreams + summary.raw_substreams,
                summary.raw_substreams
            );
        }
        Ok(())
    }
}
