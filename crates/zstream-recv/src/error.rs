//! Errors that end a receive, and the errno that `zfs receive` gives for each.

use std::fmt;

use zstream_dmu::error as dmu;
use zstream_dsl::error as dsl;
use zstream_format::errno::Errno;
use zstream_format::judge::Breach;
use zstream_format::place::Place;
use zstream_format::stream;

use crate::misfit::Misfit;
use crate::refusal::Refusal;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error that ended a receive. It is one word wide, so that results stay small.
#[derive(Debug)]
pub struct Error(Box<(Fault, Option<Place>)>);

/// The cause of an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A rule that is checked before a receive begins; nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A stream that cannot be read or is incomplete.
    #[error("{0}")]
    Stream(#[from] stream::Error),
    /// A record that breaks a rule of its own.
    #[error("{0}")]
    Record(#[from] Breach),
    /// A record that does not fit the content of the dataset.
    #[error("{0}")]
    Apply(#[from] Misfit),
    /// A pool that could not be read or written.
    #[error("{0}")]
    Pool(#[from] dmu::Error),
    /// A change of datasets that the pool refuses, or a name that does not exist.
    #[error("{0}")]
    Datasets(dsl::Error),
    /// A filesystem that the [`Host`](crate::host::Host) could not create.
    #[error("{source}")]
    Host {
        /// The errno of the failure.
        errno: Errno,
        /// The cause of the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<dsl::Error> for Fault {
    fn from(error: dsl::Error) -> Self {
        match error.into_fault() {
            dsl::Fault::Pool(error) => Self::Pool(error),
            fault => Self::Datasets(fault.into()),
        }
    }
}

/// The error with which a source cancels a receive (`EINTR`), wrapped in [`io::Error::other`](std::io::Error::other). A
/// receive reads all the time, so that it ends soon, and in the same way as one whose stream is cut short.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted by {0}")]
pub struct Cancelled(
    /// The person or event that cancels.
    pub &'static str,
);

impl Error {
    /// Returns the cause.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// Returns the place of the record that caused the error, if there is one.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match &self.0.0 {
            Fault::Stream(error) => Some(error.place()),
            _ => self.0.1,
        }
    }

    /// Sets the place of the record that caused the error, unless it is already known.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.1.get_or_insert(place);
        self
    }

    /// Returns the errno that OpenZFS's receiver gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match &self.0.0 {
            Fault::Refused(refusal) => refusal.errno(),
            Fault::Stream(error) => stream_errno(error),
            Fault::Record(breach) => breach.errno(),
            Fault::Apply(misfit) => misfit.errno(),
            Fault::Pool(error) => error.errno(),
            Fault::Datasets(error) => error.errno(),
            Fault::Host { errno, .. } => *errno,
        }
    }
}

/// Returns the errno for a stream that cannot be read to its end.
fn stream_errno(error: &stream::Error) -> Errno {
    match error.fault() {
        stream::Fault::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Cancelled>()) => {
            Errno::EINTR
        }
        // The receiver in the kernel knows only that the stream cannot be read, whatever its source.
        stream::Fault::Io(_) => Errno::EIO,
        _ => error.errno(),
    }
}

impl<F: Into<Fault>> From<F> for Error {
    fn from(fault: F) -> Self {
        Self(Box::new((fault.into(), None)))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, place) = &*self.0;
        match place {
            // An error of the stream reports its place itself.
            Some(place) if !matches!(fault, Fault::Stream(_)) => write!(f, "{fault} ({place})"),
            _ => write!(f, "{fault}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errno of a refused change of datasets is kept on the way up.
    #[test]
    fn the_errno_of_a_refused_change_is_kept() {
        for &errno in Errno::ALL {
            let error = Error::from(Fault::from(dsl::Error::refused(errno, "no")));
            assert_eq!(error.errno(), errno);
        }
    }
}
