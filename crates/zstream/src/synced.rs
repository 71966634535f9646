//! What a synchronization reports.

use std::fmt;

use zstream_dsl::prop::nice_bytes;

use crate::error::Error;
use crate::text::Count;

/// A step of a synchronization.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncNote {
    /// The target has all snapshots.
    UpToDate {
        /// The dataset at the source.
        source: String,
        /// The dataset at the target.
        target: String,
        /// The last snapshot of the source that it has; none if the source has no snapshots.
        snapshot: Option<String>,
    },
    /// Snapshots are sent, or would be in a dry run.
    Sends(SyncStream),
    /// They were received.
    Sent {
        /// The stream.
        stream: SyncStream,
        /// Its length in bytes.
        bytes: u64,
        /// The time that it took.
        seconds: f64,
    },
    /// The saved state of an interrupted receive is discarded.
    Discards {
        /// The dataset at the target.
        target: String,
    },
    /// The target is rolled back, because a snapshot that is sent has the name of one of its own.
    RollsBack {
        /// The dataset at the target.
        target: String,
        /// The snapshot to which it is rolled back, without its dataset.
        to: String,
    },
    /// A bookmark or hold was added at the source.
    Marked {
        /// The name of the bookmark, or the snapshot with the tag of the hold.
        name: String,
    },
    /// A dataset could not be synchronized.
    Failed {
        /// The dataset at the source.
        source: String,
        /// The dataset at the target.
        target: String,
        /// The reason.
        error: Error,
    },
}

/// Snapshots that are sent as one stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SyncStream {
    /// The dataset at the source.
    pub source: String,
    /// The dataset at the target.
    pub target: String,
    /// The source of the increment; none for a full stream.
    pub from: Option<String>,
    /// The last snapshot, after the `@`.
    pub to: String,
    /// The number of snapshots.
    pub snapshots: u64,
    /// True for the rest of an interrupted receive.
    pub resumed: bool,
    /// The approximate length in bytes, if it is known.
    pub estimated_bytes: Option<u64>,
    /// True if nothing is sent.
    pub dry_run: bool,
}

impl fmt::Display for SyncStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, target, from, to, snapshots, .. } = self;
        write!(f, "{source}@{to} to {target}")?;
        match (from, self.resumed) {
            (_, true) => f.write_str(": the rest of an interrupted receive")?,
            (Some(from), _) => write!(f, ": {} from {from}", Count(*snapshots, "snapshot"))?,
            (None, _) => write!(f, ": {}, in full", Count(*snapshots, "snapshot"))?,
        }
        Ok(())
    }
}

impl SyncNote {
    /// A line for people; none for a note that only programs need.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::UpToDate { source, target, snapshot: Some(snapshot) } => {
                format!("{target} is up to date with {source}@{snapshot}")
            }
            Self::UpToDate { source, snapshot: None, .. } => format!("{source} has no snapshots"),
            Self::Sends(stream) if stream.dry_run => {
                let bytes = stream.estimated_bytes.map(|bytes| format!(", about {}", nice_bytes(bytes)));
                format!("would send {stream}{}", bytes.unwrap_or_default())
            }
            Self::Sends(_) => return None,
            Self::Sent { stream, bytes, .. } => format!("sent {stream}, {}", nice_bytes(*bytes)),
            Self::Discards { target } => format!("discards the interrupted receive of {target}"),
            Self::RollsBack { target, to } => format!("rolls {target} back to @{to}"),
            Self::Marked { name } => format!("keeps {name}"),
            Self::Failed { .. } => return None,
        })
    }
}

/// The result of a synchronization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    /// Datasets that had everything.
    pub up_to_date: u64,
    /// Datasets that lacked snapshots, and have them now; in a dry run, those that lack some.
    pub behind: u64,
    /// Datasets that could not be synchronized.
    pub failed: u64,
    /// Snapshots that were received, or would be.
    pub snapshots: u64,
    /// The bytes of all streams.
    pub bytes: u64,
}
