//! `zstream recompress`: recompresses all blocks of a stream.

use zstream::edits::{EditRequestError, recompress};

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// The options of `zstream recompress`.
#[derive(Debug, clap::Args)]
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
