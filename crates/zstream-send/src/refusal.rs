//! Refusals of requests before anything is sent, with the error numbers that the kernel would return to `zfs`.

use zstream_dmu::error::Error as DmuError;
use zstream_dsl::Erratum;
use zstream_dsl::error::Error as DslError;
use zstream_format::errno::Errno;
use zstream_format::nvlist::NvError;
use zstream_format::token::TokenError;

use crate::error::{Error, read_errno};

/// A refusal of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name does not exist.
    #[error("{name} does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The name is not valid as a target or source.
    #[error("{0}")]
    BadName(String),
    /// A bookmark can only be a source, not a target.
    #[error("{name} is a bookmark, which has no content to send")]
    Bookmark {
        /// The name of the bookmark.
        name: String,
    },
    /// `-R` and `-I` require a snapshot.
    #[error("{name} is not a snapshot")]
    NotSnapshot {
        /// The name of the dataset.
        name: String,
    },
    /// The source of the increment is not an earlier snapshot, or a bookmark of one, in the line of the target.
    #[error("{from} is not an earlier snapshot of the line that led to {to}")]
    NotEarlier {
        /// The source.
        from: String,
        /// The target.
        to: String,
    },
    /// The source of `-I` is in another filesystem and is not the origin.
    #[error("{from} is neither a snapshot of {filesystem} nor its origin")]
    OtherFilesystem {
        /// The source.
        from: String,
        /// The filesystem that is sent.
        filesystem: String,
    },
    /// Several snapshots cannot start from a bookmark.
    #[error("several snapshots cannot be sent from a bookmark")]
    ManyFromBookmark,
    /// A package cannot be redacted.
    #[error("several snapshots cannot be sent redacted")]
    ManyRedacted,
    /// Raw streams cannot be redacted.
    #[error("raw streams cannot be redacted")]
    RawRedacted,
    /// Only snapshots can be redacted.
    #[error("{name} is not a snapshot: only snapshots can be sent redacted")]
    HeadRedacted {
        /// The name of the dataset.
        name: String,
    },
    /// The bookmark has no redaction list.
    #[error("{name} is not a redaction bookmark")]
    NotRedactionBookmark {
        /// The name of the bookmark.
        name: String,
    },
    /// The list of the redaction bookmark is incomplete.
    #[error("the redaction list of {name} is not complete")]
    IncompleteRedaction {
        /// The name of the bookmark.
        name: String,
    },
    /// The redaction bookmark is of another dataset.
    #[error("{bookmark} is not a bookmark of {filesystem}")]
    OtherRedaction {
        /// The name of the bookmark.
        bookmark: String,
        /// The filesystem that is sent.
        filesystem: String,
    },
    /// A descendant does not have the snapshot.
    #[error("snapshot {missing} does not exist{}", if *.recursive { ", which a recursive send requires" } else { "" })]
    MissingSnapshot {
        /// The target.
        to: String,
        /// `true` if descendants are included.
        recursive: bool,
        /// The missing snapshot.
        missing: String,
    },
    /// Properties of encrypted datasets are sent in raw streams only.
    #[error("encrypted dataset {dataset} can be sent with properties or holds only raw (-w)")]
    EncryptedProperties {
        /// The target.
        to: String,
        /// The encrypted dataset.
        dataset: String,
    },
    /// The list of snapshots and properties exceeds the limit of receivers.
    #[error(
        "the list of snapshots and properties is {bytes} bytes, the limit of receivers is {limit}: send fewer snapshots"
    )]
    ListTooLarge {
        /// The size of the list in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Encoding the list failed.
    #[error("cannot write the list of snapshots and properties: {0}")]
    List(#[from] NvError),
    /// The parents and origins of the datasets form a cycle.
    #[error("there is a dependency cycle between datasets: {}", .0.join(", "))]
    NoOrder(Vec<String>),
    /// The dataset is partially received.
    #[error("{name} is being received: only its saved state can be sent (-S)")]
    Inconsistent {
        /// The name of the dataset.
        name: String,
    },
    /// There is no saved state of a receive.
    #[error("{name} has no saved state of an interrupted receive")]
    NothingSaved {
        /// The name of the dataset.
        name: String,
    },
    /// The saved state is that of a redacted stream, which cannot be sent.
    #[error("{name} is the partial receive of a redacted stream, whose saved state cannot be sent")]
    SavedRedacted {
        /// The name of the dataset.
        name: String,
    },
    /// The text is not a resume token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The snapshot in the token no longer exists.
    #[error("{name}, which was being sent, no longer exists")]
    TokenSnapshotGone {
        /// The name of the snapshot.
        name: String,
    },
    /// Another snapshot has the name in the token.
    #[error("{name} is not the snapshot that was being sent: that one had guid {guid}")]
    TokenSnapshotChanged {
        /// The name of the snapshot.
        name: String,
        /// The guid in the token.
        guid: u64,
    },
    /// The source of the increment no longer exists.
    #[error("the incremental source with guid {guid} no longer exists")]
    TokenSourceGone {
        /// The guid in the token.
        guid: u64,
    },
    /// There is no redaction bookmark for the snapshots in the token.
    #[error("{filesystem} has no redaction bookmark for the redaction snapshots of the stream")]
    TokenRedactionGone {
        /// The filesystem that is sent.
        filesystem: String,
    },
    /// The dataset is encrypted, its key is not loaded, and it is not sent raw.
    #[error("the key of {name} is not loaded: load it, or send the dataset raw (-w)")]
    KeyNotLoaded {
        /// The name of the dataset.
        name: String,
    },
    /// No receiver would accept the raw stream.
    #[error("{name} cannot be sent raw: {erratum}: {}", .erratum.advice())]
    NotRaw {
        /// The target, or the source of the increment.
        name: String,
        /// The erratum of its keys.
        erratum: Erratum,
    },
    /// Reading the pool failed, or the pool is corrupt.
    #[error("{0}")]
    Read(DslError),
    /// Sending failed.
    #[error("{0}")]
    Send(#[from] Error),
}

impl From<DmuError> for Refusal {
    fn from(error: DmuError) -> Self {
        Self::Read(error.into())
    }
}

impl From<DslError> for Refusal {
    fn from(error: DslError) -> Self {
        Self::Read(error)
    }
}

impl Refusal {
    /// Returns the error number that the kernel would return to `zfs`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotFound { .. }
            | Self::MissingSnapshot { .. }
            | Self::TokenSnapshotGone { .. }
            | Self::TokenSnapshotChanged { .. }
            | Self::TokenSourceGone { .. }
            | Self::TokenRedactionGone { .. } => Errno::ENOENT,
            Self::NotEarlier { .. } | Self::OtherFilesystem { .. } => Errno::EXDEV,
            Self::Inconsistent { .. } => Errno::EBUSY,
            Self::KeyNotLoaded { .. } | Self::EncryptedProperties { .. } => Errno::EACCES,
            Self::ListTooLarge { .. } => Errno::ENOSPC,
            Self::SavedRedacted { .. } | Self::NotRaw { .. } => Errno::ENOTSUP,
            Self::Read(error) => read_errno(error),
            Self::Send(error) => error.fault().errno(),
            Self::BadName(_)
            | Self::Bookmark { .. }
            | Self::NotSnapshot { .. }
            | Self::ManyFromBookmark
            | Self::ManyRedacted
            | Self::RawRedacted
            | Self::HeadRedacted { .. }
            | Self::NotRedactionBookmark { .. }
            | Self::IncompleteRedaction { .. }
            | Self::OtherRedaction { .. }
            | Self::List(_)
            | Self::NoOrder(_)
            | Self::NothingSaved { .. }
            | Self::Token(_) => Errno::EINVAL,
        }
    }
}
