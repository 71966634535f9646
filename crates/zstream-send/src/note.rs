//! Notes about a request that is not refused, with the messages of libzfs, which scripts may search for.

use std::fmt;

/// A note about an omission or an ambiguity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A snapshot is newer than the last one that is sent.
    YoungSnapshot {
        /// The snapshot.
        name: String,
        /// The short name of the last one that is sent.
        to: String,
    },
    /// A dataset is newer than the last snapshot that is sent, so it has no snapshot of that name.
    YoungDataset {
        /// The dataset.
        name: String,
        /// The short name of the snapshot.
        to: String,
    },
    /// A dataset does not have the snapshot, and is skipped with its descendants (`-s`).
    SkippedDataset {
        /// The dataset.
        name: String,
        /// The short name of the snapshot.
        to: String,
    },
    /// A dataset does not have the source of the increment.
    NoSource {
        /// The dataset.
        filesystem: String,
        /// The short name of the requested snapshot.
        to: String,
        /// The short name of the source.
        from: String,
    },
    /// The source of the increment is not older than the requested snapshot.
    YoungSource {
        /// The dataset.
        filesystem: String,
        /// The short name of the requested snapshot.
        to: String,
        /// The short name of the source.
        from: String,
    },
    /// The source of the increment has neither `@` nor `#`.
    AmbiguousSource,
}

impl Note {
    /// Returns `true` if the note should be shown only with `-v`.
    #[must_use]
    pub fn is_detail(&self) -> bool {
        matches!(self, Self::YoungSnapshot { .. } | Self::YoungDataset { .. })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::YoungSnapshot { name, to } => write!(
                f,
                "skipping snapshot {name} because it was created after the destination snapshot ({to})"
            ),
            Self::YoungDataset { name, to } => {
                write!(f, "skipping dataset {name}: snapshot {to} does not exist")
            }
            Self::SkippedDataset { name, to } => {
                write!(f, "WARNING: skipping dataset {name} and its children: snapshot {to} does not exist")
            }
            Self::NoSource { filesystem, to, from } => write!(
                f,
                "WARNING: could not send {filesystem}@{to}:\nincremental source ({filesystem}@{from}) does not exist"
            ),
            Self::YoungSource { filesystem, to, from } => write!(
                f,
                "WARNING: could not send {filesystem}@{to}:\n\
                 incremental source ({filesystem}@{from}) is not earlier than it"
            ),
            Self::AmbiguousSource => f.write_str(
                "Warning: incremental source didn't specify type, assuming snapshot. \
                 Use '@' or '#' prefix to avoid ambiguity.",
            ),
        }
    }
}
