//! Errors from sending.

use std::fmt;
use std::io;

use zstream_dmu::error::Error as DmuError;
use zstream_dmu::ids::Bookmark;
use zstream_dsl::error::Error as DslError;
use zstream_format::errno::Errno;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault that ends a send.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Reading the pool failed (`EIO`), or the pool is corrupt.
    #[error("{0}")]
    Read(DslError),
    /// Writing to the destination failed. [`io::ErrorKind::BrokenPipe`] means that its reader closed it (`EPIPE`).
    #[error("cannot write the stream: {0}")]
    Output(#[from] io::Error),
    /// A block of an encrypted dataset is not encrypted: the pool was tampered with (`EIO`).
    #[error("a block in an encrypted dataset is not encrypted ({0})")]
    Unencrypted(Bookmark),
    /// The dataset has micro ZAPs above 128 KiB, which require `-L` (`ZFS_ERR_STREAM_LARGE_MICROZAP`).
    #[error("the dataset has large micro ZAPs, which require a stream with large blocks")]
    LargeMicrozap,
    /// A name does not fit in BEGIN.
    #[error("the name {0} is longer than 255 bytes")]
    NameTooLong(String),
    /// The plan contradicts itself or the dataset (`EINVAL`).
    #[error("{0}")]
    BadPlan(String),
    /// An invariant is broken (`EIO`). The fault is in zstream, not in the pool or the plan.
    #[error("{0}")]
    Internal(String),
    /// Starting a thread failed.
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
            Self::Unencrypted(_) | Self::Internal(_) => Errno::EIO,
            Self::LargeMicrozap => Errno::ZFS_ERR_STREAM_LARGE_MICROZAP,
            Self::NameTooLong(_) | Self::BadPlan(_) => Errno::EINVAL,
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

/// An error of this crate, one word wide.
#[derive(Debug)]
pub struct Error(Box<Fault>);

impl Error {
    /// The fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    /// Creates an error for a plan that contradicts itself or the dataset.
    #[must_use]
    pub(crate) fn bad_plan(what: impl Into<String>) -> Self {
        Fault::BadPlan(what.into()).into()
    }

    /// Creates an error for a broken invariant.
    #[must_use]
    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Fault::Internal(what.into()).into()
    }

    /// Returns `true` if the reader of the stream closed it, which ends a program silently.
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
