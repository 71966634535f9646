//! `zstream join`: joins a truncated stream and its continuation.

use std::path::PathBuf;

use zstream_format::edit::resume::{JoinError, join};

use crate::failure::Failure;
use crate::input::{Input, note_padding};
use crate::output;

/// Joins a truncated stream and its continuation from `zfs send -t`
///
/// CUT is the truncated stream. REST is the output of `zfs send -t` for the token from `zstream resume-token`, or
/// from the receiver that read CUT. The result is byte for byte the stream that an uninterrupted send would have
/// written. CUT need not be truncated to the length that `resume-token` prints; if it is, use --cut.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zfs send -t TOKEN | zstream join cut.zfs - > whole.zfs && zstream verify whole.zfs")]
pub(crate) struct Args {
    /// CUT was truncated to the length that `resume-token` printed
    ///
    /// Without this option CUT must contain the record at which REST resumes: its checksum proves that the data
    /// before it is intact and that nothing is missing in between.
    #[arg(long)]
    cut: bool,
    /// Truncated stream
    #[arg(value_name = "CUT")]
    cut_file: PathBuf,
    /// Output of `zfs send -t TOKEN`, or `-` for standard input
    #[arg(value_name = "REST")]
    rest: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let cut = Input::open(Some(&self.cut_file))?.into_read();
        let rest = Input::open(Some(&self.rest))?.into_read();
        let mut out = output::binary()?;
        let joined = join(cut, rest, &mut out, self.cut).map_err(|error| match error {
            JoinError::Output(error) => error.into(),
            other => Failure::new(other),
        })?;
        note_padding(Some(&self.rest), joined.padding_bytes);
        if joined.unchecked_seam {
            eprintln!(
                "zstream: no checksum covers the last block before byte {} of {}",
                joined.kept_bytes,
                self.cut_file.display(),
            );
        }
        if joined.repeated > 0 {
            eprintln!(
                "zstream: {} is a partial receive: the result contains the records of the object at the seam twice, \
                 which does not affect a receive",
                self.cut_file.display(),
            );
        }
        if joined.in_package {
            eprintln!(
                "zstream: the package ends after this snapshot; send the snapshots that followed again"
            );
        }
        Ok(())
    }
}
