//! Why nothing, or not all, was sent.

use std::fmt;
use std::io;

use zstream_dmu::error::Error as DmuError;
use zstream_dmu::ids::Bookmark;
use zstream_dsl::error::Error as DslError;
use zstream_format::errno::Errno;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The pool could not be read (`EIO`), or what is in it is not as it should be.
    #[error("{0}")]
    Read(DslError),
    /// The destination failed. [`io::ErrorKind::BrokenPipe`] says that its reader went away (`EPIPE`).
    #[error("cannot write the stream: {0}")]
    Output(#[from] io::Error),
    /// A block of an encrypted dataset is not encrypted: somebody tampered with the pool (`EIO`).
    #[error("unencrypted block in an encrypted dataset ({0})")]
    Unencrypted(Bookmark),
    /// The dataset has micro ZAPs above 128 KiB, which need `-L` (`ZFS_ERR_STREAM_LARGE_MICROZAP`).
    #[error("the dataset has large micro ZAPs, which only a stream of large blocks can carry")]
    LargeMicrozap,
    /// A name that does not fit into BEGIN.
    #[error("the name {0} is longer than 255 bytes")]
    NameTooLong(String),
    /// The plan contradicts itself, or the dataset (`EINVAL`).
    #[error("{0}")]
    Invalid(String),
    /// The system starts no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// [`Progress::cancel`](crate::Progress::cancel) was called (`EINTR`).
    #[error("sending was cancelled")]
    Cancelled,
}

impl Fault {
    /// The error number that OpenZFS gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Read(error) => read_errno(error),
            Self::Output(error) => match error.kind() {
                io::ErrorKind::BrokenPipe => Errno::EPIPE,
                io::ErrorKind::StorageFull => Errno::ENOSPC,
                _ => Errno::EIO,
            },
            Self::Unencrypted(_) => Errno::EIO,
            Self::LargeMicrozap => Errno::ZFS_ERR_STREAM_LARGE_MICROZAP,
            Self::NameTooLong(_) | Self::Invalid(_) => Errno::EINVAL,
            Self::Thread(_) => Errno::EAGAIN,
            Self::Cancelled => Errno::EINTR,
        }
    }
}

/// The errno of datasets that cannot be read: for a sender, damage and missing members are errors of I/O.
pub(crate) fn read_errno(error: &DslError) -> Errno {
    match error.errno() {
        Errno::ECKSUM | Errno::ENXIO => Errno::EIO,
        errno => errno,
    }
}

impl From<DmuError> for Fault {
    fn from(error: DmuError) -> Self {
        Self::Read(error.into())
    }
}

impl From<DslError> for Fault {
    fn from(error: DslError) -> Self {
        Self::Read(error)
    }
}

/// What is wrong, in one word of memory.
#[derive(Debug)]
pub struct Error(Box<Fault>);

impl Error {
    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    /// A plan that contradicts itself.
    #[must_use]
    pub fn invalid(what: impl Into<String>) -> Self {
        Fault::Invalid(what.into()).into()
    }

    /// Whether the reader of the stream went away, which ends a program quietly.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self.fault(), Fault::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl<F: Into<Fault>> From<F> for Error {
    fn from(fault: F) -> Self {
        Self(Box::new(fault.into()))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
