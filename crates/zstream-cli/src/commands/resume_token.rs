//! `zstream resume-token`: a token to resume a truncated stream.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use zstream_format::edit::resume::{Next, Point, Reason, TruncatedStream, find};

use crate::failure::Failure;
use crate::input::Input;
use crate::output;
use crate::text::line;
use crate::text::{Count, name};

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
            instructions(&self.file, &found, point, token)
        } else {
            String::new()
        };
        output::print(&text)?;
        outcome.map(|_| ()).map_err(|reason| refusal(&self.file, &found, reason))
    }
}

fn instructions(file: &Path, found: &TruncatedStream, point: &Point, token: &str) -> String {
    let file = line(file.display());
    let mut text = format!(
        "token:  {token}\nlength: {}\n\n{} was cut short in object {}. To resume at offset {} of that object:\n",
        point.keep_bytes,
        name(point.token.to_name.as_bytes()),
        point.token.object,
        point.token.offset,
    );
    // Writing to a `String` does not fail.
    let _ = write!(
        text,
        "  zfs send -t {token} > REST\n  zstream join {file} REST > WHOLE\n\
         The first {} bytes of {file} are intact; the data after them is sent again.\n",
        point.keep_bytes,
    );
    if found.in_package {
        text += "The file is a package. A token resumes one snapshot: the snapshots after it in the package must \
                 be sent again.\n";
    }
    text
}

/// The reason that there is no token, and the part that is intact.
fn refusal(file: &Path, found: &TruncatedStream, reason: Reason) -> Failure {
    let mut lines = vec![format!("{}: {reason}", file.display())];
    lines.extend(found.error.as_ref().map(|error| format!("  the fault: {error}")));
    if let (Some(last), false) = (found.whole.last(), reason == Reason::Whole) {
        lines.push(format!(
            "  {} complete, the last one {} with guid {}: send the rest as an increment from it",
            Count(found.whole.len() as u64, "snapshot"),
            name(&last.name),
            last.to_guid.0,
        ));
        lines.push(format!("  the first {} bytes are intact", last.end));
    }
    Failure::lines(&lines)
}
