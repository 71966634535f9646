//! Errors of the verbs.

mod request;
mod sync;
mod verbs;

use std::io;
use std::path::PathBuf;

use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::Txg;
use zstream_dsl::error::{Error as DatasetError, Fault as DatasetFault};
use zstream_format::errno::Errno;
use zstream_format::stream;
use zstream_recv::error::Error as ReceiveFault;
use zstream_send::Refusal;
use zstream_view::ViewError;
use zstream_zpl::error::{Error as FileError, Fault as FileFault};

pub use self::request::{EncryptionFault, MemberFault, Request};
pub use self::sync::SyncFault;
pub use self::verbs::{PutFault, ReceiveError};
use crate::text::file_name;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a caller's own code, such as one that asks for keys.
pub type OtherError = Box<dyn std::error::Error + Send + Sync>;

/// An error of a verb. Errors of the layers below are kept complete, with their location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is invalid, independent of the pool or stream.
    #[error("{0}")]
    Request(#[from] Request),
    /// The pool cannot be read or written, or refuses a change.
    #[error("{0}")]
    Pool(Cause),
    /// The pool refuses a change of its datasets.
    #[error("cannot {action}: {source}")]
    Change {
        /// The change: "create snapshots".
        action: String,
        /// The reason.
        source: Cause,
    },
    /// No dataset has the name.
    #[error("cannot open '{name}': {source}")]
    Open {
        /// The name.
        name: String,
        /// The reason.
        source: Cause,
    },
    /// The dataset of a name has another type than the request requires.
    #[error("cannot open '{name}': operation not applicable to datasets of this type")]
    OtherKind {
        /// The name.
        name: String,
    },
    /// A dataset does not have the required type, or its version is not supported.
    #[error("{name}: {source}")]
    Dataset {
        /// The dataset.
        name: String,
        /// The reason.
        source: Cause,
    },
    /// A record of an intent log cannot be replayed.
    #[error("{name}: cannot replay record {record} of the intent log: {source}")]
    Replay {
        /// The dataset.
        name: String,
        /// The number and the kind of the record.
        record: String,
        /// The reason.
        source: Cause,
    },
    /// A stream cannot be read.
    #[error("{0}")]
    Stream(#[from] stream::Error),
    /// Stored streams cannot be opened as a pool.
    #[error("{0}")]
    View(#[from] ViewError),
    /// A send failed.
    #[error("cannot send: {0}")]
    Send(#[from] Refusal),
    /// A receive failed; the dataset is unchanged, unless the receive can be resumed.
    #[error("cannot receive: {0}")]
    Receive(#[from] Box<ReceiveError>),
    /// A dataset cannot be synchronized.
    #[error("{0}")]
    Sync(#[source] Box<SyncFault>),
    /// The saved state of an interrupted receive cannot be discarded.
    #[error("{0}")]
    Discard(#[source] ReceiveFault),
    /// The key of an encryption root is not available.
    #[error("{source}")]
    NoKey {
        /// The encryption root.
        root: String,
        /// The reason.
        source: OtherError,
    },
    /// The given key does not open an encryption root.
    #[error("cannot load the key of {root}: {source}")]
    Key {
        /// The encryption root.
        root: String,
        /// The reason.
        source: Cause,
    },
    /// A key opens its encryption root, but not everything that inherits it.
    #[error("the key of {root} does not open {}", locked.join(", "))]
    StillLocked {
        /// The encryption root.
        root: String,
        /// The datasets that remain locked.
        locked: Vec<String>,
    },
    /// A new dataset cannot be encrypted as requested.
    #[error("cannot {action} '{name}': {fault}")]
    Encryption {
        /// "create" or "receive into".
        action: &'static str,
        /// The dataset.
        name: String,
        /// The rule that is broken.
        fault: EncryptionFault,
    },
    /// A file or disk cannot become a member of a new pool.
    #[error("{fault} ({path})")]
    Member {
        /// Its path as given.
        path: String,
        /// The reason.
        fault: MemberFault,
    },
    /// A pool was changed while it was copied.
    #[error("pool {pool} was changed during the copy, from transaction group {from} to {to}")]
    Changed {
        /// The pool.
        pool: String,
        /// The transaction group that was copied.
        from: Txg,
        /// The newest one.
        to: Txg,
    },
    /// Files could not be put into a dataset.
    #[error("{fault}; {}", kept(*committed))]
    Put {
        /// The fault, with its file.
        fault: PutFault,
        /// The last transaction group that was completed in spite of the error, if any.
        committed: Option<Txg>,
    },
    /// A file or directory on the host cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file on the host cannot be written.
    #[error("{}: cannot write: {source}", path.display())]
    Target {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The content of a file in the pool cannot be read.
    #[error("{}: {source}", path.display())]
    Content {
        /// The destination file.
        path: PathBuf,
        /// The reason.
        source: Cause,
    },
    /// Only a part of the filesystem is available, and it is not sufficient to list files.
    #[error("{name}: it was cut short before the metadata of its files: {source}")]
    Cut {
        /// The filesystem.
        name: String,
        /// The reason.
        source: Cause,
    },
    /// The caller's writer failed.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    /// A file could not be read completely after its size was written to the archive.
    #[error("{}: {source}; the archive ends in the middle of this file", file_name(path))]
    ArchiveCut {
        /// The file's path in the filesystem.
        path: Vec<u8>,
        /// The reason.
        source: Cause,
    },
    /// An attribute of a file cannot be stored in an archive.
    #[error("{}: {source}", file_name(path))]
    Archive {
        /// The file's path in the filesystem.
        path: Vec<u8>,
        /// The reason.
        source: io::Error,
    },
    /// The system cannot start a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The verb was cancelled by its [`Cancel`](crate::Cancel) token.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// The error of the layers below that is the reason, if there is one.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Pool(source)
            | Self::Change { source, .. }
            | Self::Open { source, .. }
            | Self::Dataset { source, .. }
            | Self::Replay { source, .. }
            | Self::Key { source, .. }
            | Self::Content { source, .. }
            | Self::Cut { source, .. }
            | Self::ArchiveCut { source, .. }
            | Self::Put { fault: PutFault::Target { source, .. }, .. } => Some(source),
            Self::Request(_)
            | Self::OtherKind { .. }
            | Self::Stream(_)
            | Self::View(_)
            | Self::Send(_)
            | Self::Receive(_)
            | Self::Sync(_)
            | Self::Discard(_)
            | Self::NoKey { .. }
            | Self::StillLocked { .. }
            | Self::Encryption { .. }
            | Self::Member { .. }
            | Self::Changed { .. }
            | Self::Put { .. }
            | Self::File { .. }
            | Self::Target { .. }
            | Self::Output(_)
            | Self::Archive { .. }
            | Self::Thread(_)
            | Self::Cancelled => None,
        }
    }

    /// The error number that ZFS gives, or the system.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Pool(source)
            | Self::Change { source, .. }
            | Self::Open { source, .. }
            | Self::Dataset { source, .. }
            | Self::Replay { source, .. }
            | Self::Key { source, .. }
            | Self::Content { source, .. }
            | Self::Cut { source, .. }
            | Self::ArchiveCut { source, .. } => source.errno(),
            Self::Put { fault, .. } => match fault {
                PutFault::Source { source, .. } => io_errno(source),
                PutFault::Original { source, .. } | PutFault::Target { source, .. } => source.errno(),
                PutFault::Cancelled => Errno::EINTR,
            },
            Self::Request(_) | Self::OtherKind { .. } | Self::Encryption { .. } => Errno::EINVAL,
            Self::Stream(error) => error.errno(),
            Self::View(error) => error.errno(),
            Self::Send(refusal) => refusal.errno(),
            Self::Receive(error) => error.errno(),
            Self::Sync(fault) => fault.errno(),
            Self::Discard(error) => error.errno(),
            Self::NoKey { .. } | Self::StillLocked { .. } => Errno::EACCES,
            Self::Member { fault, .. } => fault.errno(),
            Self::Changed { .. } => Errno::EBUSY,
            Self::File { source, .. }
            | Self::Target { source, .. }
            | Self::Archive { source, .. }
            | Self::Output(source) => io_errno(source),
            Self::Thread(_) => Errno::EAGAIN,
            Self::Cancelled => Errno::EINTR,
        }
    }

    /// True if the verb was cancelled, by its token or by its source or destination.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled | Self::Put { fault: PutFault::Cancelled, .. } => true,
            Self::Receive(error) => error.is_cancelled(),
            _ => false,
        }
    }
}

impl From<SyncFault> for Error {
    fn from(fault: SyncFault) -> Self {
        Self::Sync(Box::new(fault))
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self::Pool(cause)
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Pool(error.into())
    }
}

impl From<DatasetError> for Error {
    fn from(error: DatasetError) -> Self {
        Self::Pool(error.into())
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::Pool(error.into())
    }
}

/// An error of the layers below, complete and with its location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The pool cannot be read or written.
    #[error(transparent)]
    Pool(PoolError),
    /// A request for datasets fails: something does not exist, or a change is refused.
    #[error(transparent)]
    Datasets(DatasetError),
    /// A request for files fails.
    #[error(transparent)]
    Files(FileError),
}

impl Cause {
    /// The error number that ZFS gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Pool(error) => error.errno(),
            Self::Datasets(error) => error.errno(),
            Self::Files(error) => error.errno(),
        }
    }
}

impl From<PoolError> for Cause {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

/// An error of the pool below stays one.
impl From<DatasetError> for Cause {
    fn from(error: DatasetError) -> Self {
        match error.into_fault() {
            DatasetFault::Pool(error) => Self::Pool(error),
            fault => Self::Datasets(fault.into()),
        }
    }
}

/// An error of the pool below stays one.
impl From<FileError> for Cause {
    fn from(error: FileError) -> Self {
        match error.into_fault() {
            FileFault::Pool(error) => Self::Pool(error),
            fault => Self::Files(fault.into()),
        }
    }
}

/// The error number of an error of the system. Errors without a number are errors of I/O.
fn io_errno(error: &io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_number).unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => Errno::ENOENT,
        io::ErrorKind::PermissionDenied => Errno::EACCES,
        io::ErrorKind::AlreadyExists => Errno::EEXIST,
        io::ErrorKind::BrokenPipe => Errno::EPIPE,
        io::ErrorKind::StorageFull => Errno::ENOSPC,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Errno::EINVAL,
        _ => Errno::EIO,
    })
}

fn kept(committed: Option<Txg>) -> String {
    match committed {
        None => "nothing was written".to_owned(),
        Some(txg) => {
            format!(
                "the files written up to transaction group {txg} are kept; the last one may be incomplete"
            )
        }
    }
}
