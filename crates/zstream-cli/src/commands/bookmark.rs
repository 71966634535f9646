//! `zstream bookmark` and `zstream redact`: bookmarks as `zfs` creates them.

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Creates a bookmark of a snapshot, or copies a bookmark
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream -d disk.img bookmark tank/home@monday '#monday'")]
pub(crate) struct Args {
    /// Snapshot or bookmark to create it from; `@name` or `#name` if the other argument names the dataset
    #[arg(value_name = "SNAPSHOT|BOOKMARK")]
    source: String,
    /// New bookmark; `#name` if the other argument names the dataset
    #[arg(value_name = "BOOKMARK")]
    bookmark: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (source, bookmark) = zstream::bookmark_names(&self.source, &self.bookmark);
        change(options, &source, |pool| Ok(zstream::bookmark(pool, &source, &bookmark)?))
    }
}

/// Creates a redaction bookmark for redacted sends
///
/// A redacted send of the snapshot (`zstream send --redact BOOKMARK`) omits every block that no redaction
/// snapshot contains. Redaction snapshots are snapshots of clones of the snapshot in which sensitive data was
/// overwritten or removed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  zstream -d disk.img redact tank/home@monday public tank/cleaned@done")]
pub(crate) struct Redact {
    /// Snapshot to send redacted
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Name of the new bookmark, without the #
    #[arg(value_name = "BOOKMARK")]
    bookmark: String,
    /// Snapshots of clones; blocks that none of them contains are omitted from the send
    #[arg(value_name = "REDACTION_SNAPSHOT", required = true)]
    redaction: Vec<String>,
}

impl Redact {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, &self.snapshot, |pool| {
            Ok(zstream::redact(pool, &self.snapshot, &self.bookmark, &self.redaction, options)?)
        })
    }
}
