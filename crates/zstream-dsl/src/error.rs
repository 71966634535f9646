//! Errors of datasets.
//!
//! A change or request that is refused has a [`Fault`] of its own, with ZFS's error number. Errors of the pool below
//! are kept complete, with their place. An [`Error`] is one word wide, so that results stay small.

use std::fmt;

use zstream_dmu::error as dmu;
use zstream_format::errno::Errno;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A kind of thing that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A pool.
    Pool,
    /// A filesystem or volume.
    Dataset,
    /// A snapshot.
    Snapshot,
    /// A bookmark.
    Bookmark,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Dataset => "dataset",
            Self::Snapshot => "snapshot",
            Self::Bookmark => "bookmark",
        })
    }
}

/// The reason for the failure of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The pool cannot be read or written.
    #[error(transparent)]
    Pool(dmu::Error),
    /// A named thing does not exist (`ENOENT`).
    #[error("{kind} {name} not found")]
    NotFound {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A snapshot does not have a hold (`ESRCH`).
    #[error("{snapshot} does not have the hold {tag}")]
    NoHold {
        /// The snapshot.
        snapshot: String,
        /// The tag of the hold.
        tag: String,
    },
    /// A property does not exist (`EINVAL`).
    #[error("bad property {0:?}")]
    NoProperty(String),
    /// A named thing already exists (`EEXIST`).
    #[error("{kind} {name} already exists")]
    Exists {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A name that breaks a rule (`EINVAL`).
    #[error("{0}")]
    BadName(String),
    /// A name that is too long, or would make another one too long (`ENAMETOOLONG`).
    #[error("{0}")]
    NameTooLong(String),
    /// A property that cannot be set, or a value that it cannot have (`EINVAL`).
    #[error("{0}")]
    BadProperty(String),
    /// A dataset that is not encrypted has no key (`EINVAL`).
    #[error("{0} is not encrypted")]
    NotEncrypted(String),
    /// A dataset whose key belongs to a dataset above it (`EINVAL`).
    #[error("the key of {name} is loaded for {root}")]
    NotEncryptionRoot {
        /// The dataset.
        name: String,
        /// Its encryption root.
        root: String,
    },
    /// A valid request that zstream does not support (`ENOTSUP`).
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A change that the state of the datasets does not allow.
    #[error("{reason}")]
    Refused {
        /// The error number that ZFS gives.
        errno: Errno,
        /// The reason.
        reason: String,
    },
}

impl Fault {
    /// Returns the error number that ZFS gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Pool(error) => error.errno(),
            Self::NoHold { .. } => Errno::ESRCH,
            Self::NotFound { .. } => Errno::ENOENT,
            Self::Exists { .. } => Errno::EEXIST,
            Self::NameTooLong(_) => Errno::ENAMETOOLONG,
            Self::BadName(_)
            | Self::BadProperty(_)
            | Self::NoProperty(_)
            | Self::NotEncrypted(_)
            | Self::NotEncryptionRoot { .. } => Errno::EINVAL,
            Self::Unsupported(_) => Errno::ENOTSUP,
            Self::Refused { errno, .. } => *errno,
        }
    }
}

/// An error of a request for datasets.
#[derive(Debug)]
pub struct Error(Box<Fault>);

impl Error {
    /// Returns the reason.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0
    }

    /// Returns the reason, by value.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        *self.0
    }

    /// Returns the error of the pool below, if that is the reason.
    #[must_use]
    pub fn pool(&self) -> Option<&dmu::Error> {
        match &*self.0 {
            Fault::Pool(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the fault of the pool below, if that is the reason.
    #[must_use]
    pub fn pool_fault(&self) -> Option<&dmu::Fault> {
        self.pool().map(dmu::Error::fault)
    }

    /// Returns the error number that ZFS gives.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.0.errno()
    }

    /// Returns `true` if a dataset, snapshot, bookmark or other named thing does not exist. A read that failed never
    /// gives `true`.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&*self.0, Fault::NotFound { .. })
    }

    /// Returns `true` if the key is not the one that the dataset was encrypted with.
    #[must_use]
    pub fn is_wrong_key(&self) -> bool {
        matches!(self.pool_fault(), Some(dmu::Fault::WrongKey))
    }

    /// Returns `true` if the request is at fault, not the pool. Nothing was changed then, and other requests may
    /// follow.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use dmu::Fault as Pool;
        match self.pool_fault() {
            None => true,
            Some(fault) => matches!(
                fault,
                Pool::BadRequest(_)
                    | Pool::BadName(_)
                    | Pool::NoForm(_)
                    | Pool::BadKey(_)
                    | Pool::Unsupported(_)
            ),
        }
    }

    /// Converts the error for a callback of the DMU, which has only errors of the pool. Nothing is refused in such a
    /// callback, so that a refusal is a broken invariant.
    pub(crate) fn into_pool(self) -> dmu::Error {
        match *self.0 {
            Fault::Pool(error) => error,
            other => dmu::Error::internal(other.to_string()),
        }
    }

    /// Creates the error for a structure of the pool that breaks a rule of its format.
    #[must_use]
    pub fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        dmu::Error::corrupt(what, detail).into()
    }

    /// Creates the error for a request that zstream does not support.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Fault::Unsupported(what.into()).into()
    }

    /// Creates the error for a change that is refused.
    #[must_use]
    pub fn refused(errno: Errno, reason: impl Into<String>) -> Self {
        Fault::Refused { errno, reason: reason.into() }.into()
    }

    /// Creates the error for a named thing that does not exist.
    #[must_use]
    pub fn not_found(kind: Kind, name: impl fmt::Display) -> Self {
        Fault::NotFound { kind, name: name.to_string() }.into()
    }

    /// Creates the error for a named thing that already exists.
    #[must_use]
    pub fn exists(kind: Kind, name: impl fmt::Display) -> Self {
        Fault::Exists { kind, name: name.to_string() }.into()
    }

    /// Creates the error for a property that cannot be set, or for an invalid value.
    #[must_use]
    pub fn bad_property(why: impl Into<String>) -> Self {
        Fault::BadProperty(why.into()).into()
    }

    /// Creates the error for a name that breaks a rule.
    #[must_use]
    pub(crate) fn bad_name(why: impl Into<String>) -> Self {
        Fault::BadName(why.into()).into()
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

impl From<dmu::Fault> for Error {
    fn from(fault: dmu::Fault) -> Self {
        dmu::Error::from(fault).into()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A failed read of the pool below is never reported as something that does not exist.
    #[test]
    fn a_failed_read_is_never_absence() {
        use zstream_dmu::ids::ObjectId;
        let faults: [dmu::Fault; 7] = [
            dmu::Fault::NoMember("a".to_owned()),
            dmu::Fault::NoVdev("top-level vdev 1".to_owned()),
            dmu::Fault::NoMapping(1),
            dmu::Fault::NoObject(ObjectId(9)),
            dmu::Fault::NoGoodCopy(vec![dmu::Fault::NoMember("a".to_owned()).into()]),
            dmu::Fault::NoEntry { what: "ZAP entry", name: "a".to_owned() },
            std::io::Error::from(std::io::ErrorKind::NotFound).into(),
        ];
        for fault in faults {
            let text = fault.to_string();
            let error = Error::from(fault);
            assert!(!error.is_not_found() && !error.is_refusal(), "{error}");
            assert_eq!(error.to_string(), text);
        }
        assert!(Error::not_found(Kind::Snapshot, "a@b").is_not_found());
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
