//! Errors of files, directories and volumes.
//!
//! A request that a filesystem or volume cannot fulfil has a [`Fault`] of its own, with the error number that OpenZFS's
//! module gives. Errors of the object set below are kept complete, with their place.

use std::fmt;

use zstream_dmu::error as dmu;
use zstream_format::errno::Errno;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A reason that a request fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The object set cannot be read or written.
    #[error(transparent)]
    Pool(dmu::Error),
    /// No file or directory has the name (`ENOENT`).
    #[error("{what} {name} not found")]
    NotFound {
        /// "file" or "directory".
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The name is taken (`EEXIST`).
    #[error("file {0} already exists")]
    Exists(String),
    /// The name is taken in another spelling, which this filesystem does not distinguish (`EEXIST`).
    #[error("{0}")]
    SameName(String),
    /// A name that no file can have (`EINVAL`).
    #[error("{0}")]
    BadName(String),
    /// A name that is not UTF-8 in a filesystem that requires it (`EILSEQ`).
    #[error("{0}")]
    NotUtf8(String),
    /// A name without a form in which this filesystem compares names (`ENOTSUP`).
    #[error("{0}")]
    NoForm(String),
    /// A part of a path that is not a directory (`ENOTDIR`).
    #[error("{0}")]
    NotADirectory(String),
    /// A directory that is not empty (`ENOTEMPTY`).
    #[error("{0}")]
    NotEmpty(String),
    /// A file, object set or dataset of another type than the request requires (`EINVAL`).
    #[error("{0}")]
    OtherType(String),
    /// A size, target or attribute that a file or volume cannot have (`EINVAL`).
    #[error("{0}")]
    BadRequest(String),
    /// Something valid that zstream does not do (`ENOTSUP`).
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl Fault {
    /// The error number of OpenZFS's module.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Pool(error) => error.errno(),
            Self::NotFound { .. } => Errno::ENOENT,
            Self::Exists(_) | Self::SameName(_) => Errno::EEXIST,
            Self::NotUtf8(_) => Errno::EILSEQ,
            Self::NoForm(_) | Self::Unsupported(_) => Errno::ENOTSUP,
            Self::NotADirectory(_) => Errno::ENOTDIR,
            Self::NotEmpty(_) => Errno::ENOTEMPTY,
            Self::BadName(_) | Self::OtherType(_) | Self::BadRequest(_) => Errno::EINVAL,
        }
    }
}

/// An error of a filesystem or volume. One word wide, so that results stay small.
#[derive(Debug)]
pub struct Error(Box<Fault>);

impl Error {
    /// The reason.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    /// The reason, by value.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        *self.0
    }

    /// The error of the object set below, if that is the reason.
    #[must_use]
    pub fn pool(&self) -> Option<&dmu::Error> {
        match &*self.0 {
            Fault::Pool(error) => Some(error),
            _ => None,
        }
    }

    /// The fault of the object set below, if that is the reason.
    #[must_use]
    pub fn pool_fault(&self) -> Option<&dmu::Fault> {
        self.pool().map(dmu::Error::fault)
    }

    /// The error number of OpenZFS's module.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.0.errno()
    }

    /// A file or directory that does not exist.
    #[must_use]
    pub fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Fault::NotFound { what, name: name.into() }.into()
    }

    pub(crate) fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        dmu::Error::corrupt(what, detail).into()
    }

    /// Something that zstream does not do.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Fault::Unsupported(what.into()).into()
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Fault::BadRequest(why.into()).into()
    }

    /// A file or object set of another type than the request requires.
    #[must_use]
    pub fn other_type(what: impl Into<String>) -> Self {
        Fault::OtherType(what.into()).into()
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(Box::new(fault))
    }
}

impl From<dmu::Error> for Error {
    fn from(error: dmu::Error) -> Self {
        Fault::Pool(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}
