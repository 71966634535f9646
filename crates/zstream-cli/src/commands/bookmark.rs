//! `zstream bookmark` and `zstream redact`: bookmarks as `zfs` creates them.

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;

/// The options of `zstream bookmark`.
#[derive(Debug, clap::Args)]
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
        let dataset = |name: &str| name.split(['@', '#']).next().unwrap_or_default().to_owned();
        let (of_source, of_bookmark) = (dataset(&self.source), dataset(&self.bookmark));
        let full = |name: &str, own: &str, other: &str| {
            if own.is_empty() { format!("{other}{name}") } else { name.to_owned() }
        };
        let source = full(&self.source, &of_source, &of_bookmark);
        let bookmark = full(&self.bookmark, &of_bookmark, &of_source);
        change(options, &source, |pool| Ok(zstream::bookmark(pool, &source, &bookmark)?))
    }
}

/// The options of `zstream redact`.
#[derive(Debug, clap::Args)]
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
            // The clones have the same key. What does not exist is reported by the verb itself.
            let dataset = self.snapshot.split('@').next().unwrap_or_default();
            let head = pool.dsl().head(dataset).map(|head| head.object());
            match head {
                Ok(head) => zstream::unlock_to_write(pool, head, options)?,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            Ok(zstream::redact(pool, &self.snapshot, &self.bookmark, &self.redaction)?)
        })
    }
}
