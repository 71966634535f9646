//! What can end a receive, and which errno `zfs receive` has for it.

use std::fmt;

use zstream_dmu::error as dmu;
use zstream_dsl::error as dsl;
use zstream_format::errno::Errno;
use zstream_format::judge::Breach;
use zstream_format::place::Place;
use zstream_format::stream;

use crate::misfit::Misfit;
use crate::refusal::Refusal;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What ended a receive. One word wide, so that results stay small.
#[derive(Debug)]
pub struct Error(Box<(Fault, Option<Place>)>);

/// What was wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A rule of the begin of a receive; nothing was touched.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The stream cannot be read, or is not whole.
    #[error("{0}")]
    Stream(#[from] stream::Error),
    /// A record breaks a rule of its own.
    #[error("{0}")]
    Record(#[from] Breach),
    /// A record does not fit what is in the dataset.
    #[error("{0}")]
    Apply(#[from] Misfit),
    /// The pool could not be read or written.
    #[error("{0}")]
    Pool(#[from] dmu::Error),
    /// The pool refuses a change of its datasets, or something that is named does not exist.
    #[error("{0}")]
    Datasets(dsl::Error),
    /// The [`Host`](crate::host::Host) could not make a filesystem.
    #[error("{source}")]
    Host {
        /// The errno for it.
        errno: Errno,
        /// Why.
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

/// What a source says that wants the receive to end (`EINTR`), in [`io::Error::other`](std::io::Error::other): a receive reads
/// all the time, so that it ends soon, and like any other that does not get the whole stream.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted by {0}")]
pub struct Cancelled(
    /// Who or what wants it.
    pub &'static str,
);

impl Error {
    /// What was wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// Which record of the stream was at fault, where one was.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match &self.0.0 {
            Fault::Stream(error) => Some(error.place()),
            _ => self.0.1,
        }
    }

    /// Says which record is at fault, unless that is known.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.1.get_or_insert(place);
        self
    }

    /// The errno that OpenZFS's receiver gives.
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

/// The errno of a stream that cannot be read to its end.
fn stream_errno(error: &stream::Error) -> Errno {
    match error.fault() {
        stream::Fault::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Cancelled>()) => {
            Errno::EINTR
        }
        // Whatever the source of a stream is, the receiver only sees that it cannot be read.
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
            // An error of the stream says its place itself.
            Some(place) if !matches!(fault, Fault::Stream(_)) => write!(f, "{fault} ({place})"),
            _ => write!(f, "{fault}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of datasets that is refused keeps its errno on the way up.
    #[test]
    fn the_errno_of_a_refused_change_is_kept() {
        for &errno in Errno::ALL {
            let error = Error::from(Fault::from(dsl::Error::refused(errno, "no")));
            assert_eq!(error.errno(), errno);
        }
    }
}
