//! Errors of receives and puts, with the state that they leave.

use std::io;

use zstream_format::errno::Errno;
use zstream_recv::error::Error as ReceiveFault;

use super::{Cause, Error};
use crate::text::file_name;

/// An error of a receive, and the state that it leaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceiveError {
    /// The error.
    pub error: ReceiveFault,
    /// The received data is kept, so that the receive can be resumed.
    pub is_kept: bool,
    /// The error of removing the received data, if that failed too.
    pub unclean: Option<Error>,
}

impl ReceiveError {
    /// The errno of `zfs receive` for this error.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.error.errno()
    }

    /// True if the receive was cancelled, by its token or by its source.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.errno() == Errno::EINTR
    }
}

impl std::fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.error, self.errno())?;
        self.unclean.iter().try_for_each(|error| write!(f, "; cannot clean up: {error}"))
    }
}

impl std::error::Error for ReceiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A reason that files were not put into a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutFault {
    /// A source cannot be read.
    #[error("{}: {source}", file_name(path))]
    Source {
        /// Its path on the host, or its name and the path of the entry in an archive.
        path: Vec<u8>,
        /// The reason.
        source: io::Error,
    },
    /// A file of the pool that is copied cannot be read.
    #[error("{dataset}:/{}: {source}", file_name(path))]
    Original {
        /// The dataset.
        dataset: String,
        /// The path in it, without a slash before it.
        path: Vec<u8>,
        /// The reason.
        source: Cause,
    },
    /// The dataset cannot be written.
    #[error("/{}: {source}", file_name(path))]
    Target {
        /// The path in the filesystem, without a slash before it.
        path: Vec<u8>,
        /// The reason.
        source: Cause,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}
