//! `zstream recompress`: recompresses all blocks of a stream.

use zstream_format::algorithm::CompressionType;
use zstream_format::compress::{Compression, ZstdLevel};
use zstream_format::edit::recompress::Recompress;

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
        let how = self.how()?;
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

    fn how(&self) -> Result<Recompress, Failure> {
        let unknown = || Failure::usage(format_args!("invalid compression type {}", self.kind));
        let Compression { kind, level } = self.kind.parse().map_err(|_| unknown())?;
        if kind == CompressionType::ON {
            return Err(unknown());
        }
        let level = match self.level {
            Some(_) if level.is_some() => {
                return Err(Failure::usage(format_args!(
                    "two levels are given: that of {} and that of -l",
                    self.kind
                )));
            }
            // 0 is the default level, as for zstd itself.
            Some(number) if kind == CompressionType::ZSTD && number != 0 => Some(zstd_level(number)?),
            _ => level,
        };
        Ok(Recompress { kind, level })
    }
}

/// A level in zstd's numbering, or in that of ZFS, where the fast levels have numbers above 100.
fn zstd_level(number: i32) -> Result<ZstdLevel, Failure> {
    ZstdLevel::from_library(number)
        .or_else(|| u8::try_from(number).ok().and_then(ZstdLevel::from_cookie))
        .ok_or_else(|| Failure::new(format_args!("zstd does not have level {number} in ZFS")))
}
