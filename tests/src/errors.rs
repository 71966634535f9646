//! One error for helpers that use several layers.

use std::fmt;

use zstream_dmu::error::{Error as PoolError, Fault as PoolFault};
use zstream_dsl::error::{Error as DatasetError, Fault as DatasetFault};
use zstream_format::errno::Errno;
use zstream_zpl::error::Error as FileError;

/// A result of a helper.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of one of the layers.
#[derive(Debug)]
pub enum Error {
    /// Of the DMU.
    Pool(PoolError),
    /// Of the DSL.
    Datasets(DatasetError),
    /// Of the ZPL.
    Files(FileError),
}

impl Error {
    /// The error number of ZFS, unless the pool below failed: refusals and missing space only.
    #[must_use]
    pub fn refusal(&self) -> Option<Errno> {
        match self.pool_fault() {
            Some(PoolFault::NoSpace { .. }) => Some(Errno::ENOSPC),
            Some(_) => None,
            None => match self {
                Self::Datasets(error) if !matches!(error.fault(), DatasetFault::Unsupported(_)) => {
                    Some(error.errno())
                }
                Self::Datasets(_) | Self::Pool(_) | Self::Files(_) => None,
            },
        }
    }

    /// The fault of the DMU, if there is one.
    #[must_use]
    pub fn pool_fault(&self) -> Option<&PoolFault> {
        match self {
            Self::Pool(error) => Some(error.fault()),
            Self::Datasets(error) => error.pool_fault(),
            Self::Files(error) => error.pool_fault(),
        }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<DatasetError> for Error {
    fn from(error: DatasetError) -> Self {
        Self::Datasets(error)
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::Files(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Datasets(error) => error.fmt(f),
            Self::Files(error) => error.fmt(f),
        }
    }
}
