//! Errors from viewing streams.

use zstream_format::errno::Errno;
use zstream_format::ids::Guid;
use zstream_format::stream;

use crate::objects::Unfit;

/// The maximum number of files that are viewed together.
pub(crate) const MAX_FILES: usize = 1 << 15;

/// An error from viewing streams.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Opening a file failed.
    #[error("cannot open {file}: {error}")]
    Open {
        /// The path of the file.
        file: String,
        /// The error.
        error: std::io::Error,
    },
    /// There are too many files.
    #[error("there are {0} files, at most {MAX_FILES} can be viewed together")]
    TooManyFiles(usize),
    /// A stream is corrupt, or was cut short and `partial` is not set.
    #[error("{file}: {error}")]
    Stream {
        /// The file.
        file: String,
        /// The error with its position.
        error: stream::Error,
    },
    /// The source of an incremental stream is missing.
    #[error("{snapshot} is incremental: it requires the stream of its source, guid {guid}, before it")]
    MissingBase {
        /// The snapshot.
        snapshot: String,
        /// The guid of the source.
        guid: Guid,
    },
    /// The source of an incremental stream was cut short.
    #[error("{snapshot} is incremental, and the stream of its source {base} is cut short")]
    CutBase {
        /// The snapshot.
        snapshot: String,
        /// The source.
        base: String,
    },
    /// The stream is a continuation, and the stream that it continues is missing.
    #[error("{snapshot} is a continuation: it requires the start of the stream before it")]
    MissingBeginning {
        /// The snapshot.
        snapshot: String,
    },
    /// There is a gap between a stream and its continuation.
    #[error(
        "{snapshot} resumes at object {} offset {}, but the start of the stream ends at object {} offset {}",
        at.object, at.offset, end.object, end.offset
    )]
    Gap {
        /// The snapshot.
        snapshot: String,
        /// The point at which the continuation resumes.
        at: crate::log::Cut,
        /// The end of the stream that it continues.
        end: crate::log::Cut,
    },
    /// The key of a raw stream is not loaded.
    #[error("{snapshot} is encrypted and its key is not loaded")]
    Locked {
        /// The snapshot.
        snapshot: String,
    },
    /// The key has an invalid form, or is not the wrapping key of the stream.
    #[error("cannot load the key of {snapshot}: {error}")]
    Key {
        /// The snapshot.
        snapshot: String,
        /// The error.
        error: zstream_dmu::error::Error,
    },
    /// Only one of a stream and its source is raw, or both are raw with different keys.
    #[error("{snapshot} cannot be received on top of {base}: {}", if *raw {
        "they are encrypted with different keys"
    } else {
        "one stream is raw (encrypted) and the other is not"
    })]
    Mixed {
        /// The snapshot.
        snapshot: String,
        /// The source.
        base: String,
        /// `true` if both are raw.
        raw: bool,
    },
    /// Decrypting or authenticating objects of a raw stream failed.
    #[error("{snapshot}: {error}")]
    Objects {
        /// The snapshot.
        snapshot: String,
        /// The error with the object.
        error: zstream_dmu::error::Error,
    },
    /// A record of the stream cannot be replayed.
    #[error("{snapshot}: {error}")]
    Record {
        /// The snapshot.
        snapshot: String,
        /// The error.
        error: Unfit,
    },
    /// The streams do not have the requested snapshot.
    #[error("the streams have no snapshot {wanted}; they have {}", if there.is_empty() {
        "none".to_owned()
    } else {
        there.join(", ")
    })]
    NotFound {
        /// The requested name.
        wanted: String,
        /// The names of the snapshots.
        there: Vec<String>,
    },
    /// Several snapshots match.
    #[error("the streams have several snapshots: {}; name one", .0.join(", "))]
    Ambiguous(Vec<String>),
}

impl ViewError {
    /// The error number that ZFS gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Open { error, .. } => match error.kind() {
                std::io::ErrorKind::NotFound => Errno::ENOENT,
                std::io::ErrorKind::PermissionDenied => Errno::EACCES,
                _ => Errno::EIO,
            },
            Self::TooManyFiles(_) => Errno::E2BIG,
            Self::Stream { error, .. } => error.errno(),
            Self::MissingBase { .. }
            | Self::CutBase { .. }
            | Self::MissingBeginning { .. }
            | Self::Gap { .. } => Errno::ENODEV,
            Self::Locked { .. } => Errno::EACCES,
            Self::Key { error, .. } | Self::Objects { error, .. } => error.errno(),
            Self::Mixed { .. } | Self::Record { .. } | Self::Ambiguous(_) => Errno::EINVAL,
            Self::NotFound { .. } => Errno::ENOENT,
        }
    }
}
