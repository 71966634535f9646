//! `zstream resume-token`: a token to resume a truncated stream.

use std::path::PathBuf;

use zstream::info::{not_resumable, resume_text};
use zstream_format::edit::resume::{Next, find};

use crate::failure::Failure;
use crate::input::Input;
use crate::output;

/// Makes a token to resume a truncated stream
///
/// Prints a token for `zfs send -t` and the length of the intact part before the point where the send resumes.
/// The resumed stream begins with its own header, so the two parts cannot simply be concatenated: `zstream join`
/// joins them to the stream that an uninterrupted send would have written. If the stream cannot be resumed,
/// prints the reason and the snapshots that are complete, and exits with code 1.
///
/// A token covers one snapshot: in a package it completes the truncated snapshot. The snapshots after it must be
/// sent again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream resume-token cut.zfs
  zfs send -t 1-c740b4779-... > rest.zfs
  zstream join cut.zfs rest.zfs > whole.zfs")]
pub(crate) struct Args {
    /// Print one JSON object
    ///
    /// Keys: file, token, object, offset, keep_bytes (null without a token), reason (null with a token), snapshot,
    /// guid, from_guid, in_package, whole (complete snapshots: name, guid, end), error.
    #[arg(long)]
    json: bool,
    /// Truncated stream, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let found = find(Input::open(Some(&self.file))?.into_silent_read());
        let outcome = match &found.next {
            Next::Resume(point) => {
                let token = point.token.encode();
                Ok((
                    point,
                    token.map_err(|error| Failure::new(format_args!("cannot make a token: {error}")))?,
                ))
            }
            Next::Cannot(reason) => Err(*reason),
        };
        let text = if self.json {
            format!("{}\n", zstream::json::resume(&self.file, &found, &outcome))
        } else if let Ok((point, token)) = &outcome {
            resume_text(&self.file, &found, point, token)
        } else {
            String::new()
        };
        output::print(&text)?;
        outcome.map(|_| ()).map_err(|reason| Failure::lines(&not_resumable(&self.file, &found, reason)))
    }
}
