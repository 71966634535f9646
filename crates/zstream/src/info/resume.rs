//! How a stream that was cut short is completed, as text.

use std::fmt::Write as _;
use std::path::Path;

use zstream_format::edit::resume::{Point, Reason, TruncatedStream};

use crate::text::{Count, line, name};

/// The next steps to complete a stream, as `zstream resume-token` prints them.
#[must_use]
pub fn resume_text(file: &Path, found: &TruncatedStream, point: &Point, token: &str) -> String {
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

/// The reason that a stream cannot be resumed, and the part that is intact: lines of a message.
#[must_use]
pub fn not_resumable(file: &Path, found: &TruncatedStream, reason: Reason) -> Vec<String> {
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
    lines
}
