//! Refusals of requests before anything is sent, with the error numbers that the kernel would return to `zfs`.

use std::fmt;

use zstream_dmu::error::{Error as DmuError, Fault as DmuFault};
use zstream_dsl::erratum::Erratum;
use zstream_format::nvlist::NvError;
use zstream_format::token::TokenError;

use crate::error::Error;

/// A number from `errno.h`, as ZFS uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Errno {
    /// No such dataset, snapshot or bookmark.
    Enoent,
    /// What is on the disks cannot be read.
    Eio,
    /// A key is not loaded.
    Eacces,
    /// In use, or half received.
    Ebusy,
    /// Not in the same line.
    Exdev,
    /// What is asked for makes no sense.
    Einval,
    /// Too large.
    Enospc,
    /// Not done.
    Enotsup,
    /// The destination's reader went away.
    Epipe,
    /// Cancelled.
    Eintr,
    /// `ZFS_ERR_STREAM_LARGE_MICROZAP`
    LargeMicrozap,
}

impl Errno {
    /// The number on Linux.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Enoent => 2,
            Self::Eintr => 4,
            Self::Eio => 5,
            Self::Eacces => 13,
            Self::Ebusy => 16,
            Self::Exdev => 18,
            Self::Einval => 22,
            Self::Enospc => 28,
            Self::Epipe => 32,
            Self::Enotsup => 95,
            Self::LargeMicrozap => 1051,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enoent => "ENOENT",
            Self::Eio => "EIO",
            Self::Eacces => "EACCES",
            Self::Ebusy => "EBUSY",
            Self::Exdev => "EXDEV",
            Self::Einval => "EINVAL",
            Self::Enospc => "ENOSPC",
            Self::Enotsup => "ENOTSUP",
            Self::Epipe => "EPIPE",
            Self::Eintr => "EINTR",
            Self::LargeMicrozap => "ZFS_ERR_STREAM_LARGE_MICROZAP",
        })
    }
}

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
    #[error("cannot send {to}{}: snapshot {missing} does not exist", if *.recursive { " recursively" } else { "" })]
    MissingSnapshot {
        /// The target.
        to: String,
        /// `true` if descendants are included.
        recursive: bool,
        /// The missing snapshot.
        missing: String,
    },
    /// Properties of encrypted datasets are sent in raw streams only.
    #[error(
        "cannot send {to}: encrypted dataset {dataset} can be sent with properties or holds only raw (-w)"
    )]
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
    #[error("{name} is not the snapshot that was being sent: that one had guid {guid:#x}")]
    TokenSnapshotChanged {
        /// The name of the snapshot.
        name: String,
        /// The guid in the token.
        guid: u64,
    },
    /// The source of the increment no longer exists.
    #[error("the incremental source with guid {guid:#x} no longer exists")]
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
    Read(DmuError),
    /// Sending failed.
    #[error("{0}")]
    Send(#[from] Error),
}

impl From<DmuError> for Refusal {
    fn from(error: DmuError) -> Self {
        Self::Read(error)
    }
}

impl Refusal {
    /// Returns the error number that the kernel would return to `zfs`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        use crate::error::Fault;
        match self {
            Self::NotFound { .. }
            | Self::MissingSnapshot { .. }
            | Self::TokenSnapshotGone { .. }
            | Self::TokenSnapshotChanged { .. }
            | Self::TokenSourceGone { .. }
            | Self::TokenRedactionGone { .. } => Errno::Enoent,
            Self::NotEarlier { .. } | Self::OtherFilesystem { .. } => Errno::Exdev,
            Self::Inconsistent { .. } => Errno::Ebusy,
            Self::KeyNotLoaded { .. } | Self::EncryptedProperties { .. } => Errno::Eacces,
            Self::ListTooLarge { .. } => Errno::Enospc,
            Self::SavedRedacted { .. } | Self::NotRaw { .. } => Errno::Enotsup,
            Self::Read(error) => read_errno(error),
            Self::Send(error) => match error.fault() {
                Fault::Read(error) => read_errno(error),
                Fault::Output(error) => match error.kind() {
                    std::io::ErrorKind::BrokenPipe => Errno::Epipe,
                    std::io::ErrorKind::StorageFull => Errno::Enospc,
                    _ => Errno::Eio,
                },
                Fault::Unencrypted(_) => Errno::Eio,
                Fault::LargeMicrozap => Errno::LargeMicrozap,
                Fault::Cancelled => Errno::Eintr,
                _ => Errno::Einval,
            },
            _ => Errno::Einval,
        }
    }
}

fn read_errno(error: &DmuError) -> Errno {
    match error.fault() {
        DmuFault::NotFound { .. } | DmuFault::NoSuchPool { .. } => Errno::Enoent,
        DmuFault::Encrypted { .. } | DmuFault::WrongKey => Errno::Eacces,
        DmuFault::Unsupported(_) | DmuFault::UnknownFeatures(_) => Errno::Enotsup,
        DmuFault::Invalid(_) => Errno::Einval,
        _ => Errno::Eio,
    }
}
