//! Reasons that a dataset is not synchronized.

use std::io;

use zstream_format::errno::Errno;

/// A reason that a dataset is not synchronized, with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncFault {
    /// A location cannot be understood.
    #[error("{location}: {reason}")]
    BadLocation {
        /// The location.
        location: String,
        /// The reason.
        reason: &'static str,
    },
    /// A pattern is not valid.
    #[error("{pattern}: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        reason: String,
    },
    /// The source does not exist.
    #[error("{from} does not exist")]
    NoSource {
        /// The dataset.
        from: String,
    },
    /// The filters leave no snapshot to send.
    #[error("{from} has no snapshot that is to be sent")]
    NothingChosen {
        /// The dataset.
        from: String,
    },
    /// The target has other snapshots.
    #[error("{target} has no snapshot in common with {from}: rename or destroy it, or name another target")]
    NothingInCommon {
        /// The dataset at the source.
        from: String,
        /// The dataset at the target.
        target: String,
    },
    /// The target exists without snapshots.
    #[error("{target} exists and has no snapshots: -F replaces it")]
    Occupied {
        /// The dataset at the target.
        target: String,
    },
    /// The target has snapshots of its own after the last one in common.
    #[error(
        "{target} has snapshots that {from} lacks: {}; -F rolls it back to {common} and destroys them",
        later.join(", ")
    )]
    Diverged {
        /// The dataset at the source.
        from: String,
        /// The dataset at the target.
        target: String,
        /// The last snapshot in common: `@name`.
        common: String,
        /// Those after it.
        later: Vec<String>,
    },
    /// An interrupted receive cannot be resumed.
    #[error(
        "{target} has an interrupted receive of a snapshot that {from} does not have: -F discards it, as `recv -A` does"
    )]
    OtherReceive {
        /// The dataset at the source.
        from: String,
        /// The dataset at the target.
        target: String,
    },
    /// An interrupted receive was resumed, and is interrupted again at the same place.
    #[error("{target} does not accept the rest of its interrupted receive")]
    Stuck {
        /// The dataset at the target.
        target: String,
    },
    /// No stored stream continues the target.
    #[error("{target} lacks {from}@{snapshot}, and no stream that is given continues from its last snapshot")]
    Gap {
        /// The dataset in the streams.
        from: String,
        /// The first snapshot that is missing.
        snapshot: String,
        /// The dataset at the target.
        target: String,
    },
    /// The dataset above was not received.
    #[error("{target} is skipped, because {above} was not received")]
    NoParent {
        /// The dataset at the target.
        target: String,
        /// The one above it.
        above: String,
    },
    /// The source cannot be changed.
    #[error("a source of streams cannot have bookmarks or holds")]
    Unchangeable,
    /// A program cannot be started, or its pipes fail.
    #[error("cannot run {command}: {source}")]
    Run {
        /// The program.
        command: String,
        /// The reason.
        source: io::Error,
    },
    /// A program failed.
    #[error("{command} failed: {message}")]
    Command {
        /// The command.
        command: String,
        /// What it printed.
        message: String,
    },
    /// A program printed something unexpected.
    #[error("{command} printed an unexpected line: {line:?}")]
    Output {
        /// The command.
        command: String,
        /// The line.
        line: String,
    },
}

impl SyncFault {
    /// The error number that ZFS gives for something alike.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::BadLocation { .. } | Self::BadPattern { .. } | Self::Unchangeable => Errno::EINVAL,
            Self::NoSource { .. } | Self::NothingChosen { .. } | Self::NoParent { .. } | Self::Gap { .. } => {
                Errno::ENOENT
            }
            Self::NothingInCommon { .. } | Self::Diverged { .. } => Errno::ENODEV,
            Self::Occupied { .. } => Errno::EEXIST,
            Self::OtherReceive { .. } | Self::Stuck { .. } => Errno::EBUSY,
            Self::Run { .. } | Self::Command { .. } | Self::Output { .. } => Errno::EIO,
        }
    }
}
