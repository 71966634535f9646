//! Why a request is refused before anything is sent, with the number that `zfs` would have got from the kernel.

use zstream_dmu::error::Error as DmuError;
use zstream_dsl::erratum::Erratum;
use zstream_dsl::error::Error as DslError;
use zstream_format::errno::Errno;
use zstream_format::nvlist::NvError;
use zstream_format::token::TokenError;

use crate::error::{Error, read_errno};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing has this name.
    #[error("{name} does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// This is not a name that can be sent, or sent from.
    #[error("{0}")]
    BadName(String),
    /// Bookmarks are what is sent from, not what is sent.
    #[error("{name} is a bookmark, which has no content to send")]
    Bookmark {
        /// Its name.
        name: String,
    },
    /// `-R` and `-I` need a snapshot.
    #[error("{name} is not a snapshot")]
    NotSnapshot {
        /// Its name.
        name: String,
    },
    /// The source of the increment is not an earlier snapshot, or a bookmark of one, in the line that led to what is sent.
    #[error("{from} is not an earlier snapshot of the line that led to {to}")]
    NotEarlier {
        /// The source.
        from: String,
        /// What is sent.
        to: String,
    },
    /// `-I` from another filesystem, and not from the origin.
    #[error("{from} is neither a snapshot of {filesystem} nor its origin")]
    OtherFilesystem {
        /// The source.
        from: String,
        /// The filesystem that is sent.
        filesystem: String,
    },
    /// There are no snapshots behind a bookmark.
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
        /// Its name.
        name: String,
    },
    /// The bookmark has no redaction list.
    #[error("{name} is not a redaction bookmark")]
    NotRedactionBookmark {
        /// Its name.
        name: String,
    },
    /// A redaction bookmark whose list was not made to its end.
    #[error("the redaction list of {name} is not complete")]
    IncompleteRedaction {
        /// Its name.
        name: String,
    },
    /// The redaction bookmark is of another dataset.
    #[error("{bookmark} is not a bookmark of {filesystem}")]
    OtherRedaction {
        /// Its name.
        bookmark: String,
        /// The filesystem that is sent.
        filesystem: String,
    },
    /// A dataset below that should be sent too does not have the snapshot.
    #[error("cannot send {to}{}: snapshot {missing} does not exist", if *.recursive { " recursively" } else { "" })]
    MissingSnapshot {
        /// What was to be sent.
        to: String,
        /// Whether with all below.
        recursive: bool,
        /// The snapshot that is not there.
        missing: String,
    },
    /// Properties of encrypted datasets travel in raw streams only.
    #[error(
        "cannot send {to}: encrypted dataset {dataset} can be sent with properties or holds only raw (-w)"
    )]
    EncryptedProperties {
        /// What was to be sent.
        to: String,
        /// The encrypted dataset.
        dataset: String,
    },
    /// The list of snapshots and properties is larger than receivers take.
    #[error(
        "the list of snapshots and properties has {bytes} bytes, receivers take {limit}: send fewer snapshots"
    )]
    ListTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The list cannot be written.
    #[error("cannot write the list of snapshots and properties: {0}")]
    List(#[from] NvError),
    /// The order of datasets, by parents and origins, has no beginning.
    #[error("datasets wait for each other: {}", .0.join(", "))]
    NoOrder(Vec<String>),
    /// A half received dataset is no content yet.
    #[error("{name} is being received: only its saved state can be sent (-S)")]
    Inconsistent {
        /// Its name.
        name: String,
    },
    /// There is no partial receive.
    #[error("{name} has no partial receive that was saved")]
    NothingSaved {
        /// Its name.
        name: String,
    },
    /// The saved state of a redacted stream cannot be told in a stream.
    #[error("{name} is the partial receive of a redacted stream, whose saved state cannot be sent")]
    SavedRedacted {
        /// Its name.
        name: String,
    },
    /// The text is no token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The snapshot that was sent first is not there.
    #[error("{name}, which was being sent, does not exist any more")]
    TokenSnapshotGone {
        /// Its name.
        name: String,
    },
    /// There is another snapshot of this name.
    #[error("{name} is not the snapshot that was being sent: that one had guid {guid:#x}")]
    TokenSnapshotChanged {
        /// Its name.
        name: String,
        /// The guid in the token.
        guid: u64,
    },
    /// The source of the increment is not there.
    #[error("the incremental source with guid {guid:#x} does not exist any more")]
    TokenSourceGone {
        /// The guid in the token.
        guid: u64,
    },
    /// No redaction bookmark of those snapshots is there.
    #[error("{filesystem} has no redaction bookmark for the snapshots that the stream was redacted by")]
    TokenRedactionGone {
        /// The filesystem that is sent.
        filesystem: String,
    },
    /// Content is encrypted, its key is not loaded, and it is not sent raw.
    #[error("the key of {name} is not loaded: load it, or send the dataset raw (-w)")]
    KeyNotLoaded {
        /// Its name.
        name: String,
    },
    /// No receiver would take the raw stream.
    #[error("{name} cannot be sent raw: {erratum}: {}", .erratum.advice())]
    NotRaw {
        /// What is sent, or the source of the increment.
        name: String,
        /// What is wrong with it.
        erratum: Erratum,
    },
    /// The pool cannot be read, or is not as it should be.
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
    /// The number that `zfs` would have got for it.
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
