//! What can go wrong below the datasets, and where it did.
//!
//! Code that finds a fault names it ([`Fault`]); code that knows where it was looking adds to the [`Place`].
//! An [`Error`] is one word wide, so that results stay small.

use std::fmt;
use std::io;

use zstream_format::algorithm::ChecksumType;
use zstream_format::byteswap::SwapError;
use zstream_format::checksum::{Checksum, EmbeddedError, Error as ChecksumError};
use zstream_format::compress::CodecError;
use zstream_format::errno::Errno;

use crate::blkptr::BlockPointerFault;
use crate::ids::{Bookmark, ObjectId, Txg};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system refused or failed a read, write or flush.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are not what their checksum says (`ECKSUM`).
    #[error("checksum {function} is {expected}, the bytes give {found}")]
    Checksum {
        /// The checksum function.
        function: ChecksumType,
        /// What the bytes sum to.
        found: Checksum,
        /// What the pointer says.
        expected: Checksum,
    },
    /// A checksum that cannot be computed.
    #[error(transparent)]
    ChecksumFunction(#[from] ChecksumError),
    /// A label, uberblock or gang header whose embedded checksum does not hold (`ECKSUM`).
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// A block pointer breaks a rule.
    #[error(transparent)]
    BlockPointer(#[from] BlockPointerFault),
    /// A block could not be decompressed.
    #[error("cannot decompress: {0}")]
    Codec(#[from] CodecError),
    /// A block of the other byte order could not be swapped.
    #[error("cannot swap bytes: {0}")]
    Swap(#[from] SwapError),
    /// A structure breaks a rule of its format.
    #[error("bad {what}: {detail}")]
    Corrupt {
        /// The structure: "dnode", "block pointer", "label".
        what: &'static str,
        /// What was found and what was expected.
        detail: String,
    },
    /// A size from the pool is above the limit for its kind; nothing was allocated.
    #[error("{what} of {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// What has that size.
        what: &'static str,
        /// The size found.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Something valid that zstream does not do; the text names it.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The pool uses a feature that zstream does not know.
    #[error("the pool uses unknown features: {}", .0.join(", "))]
    UnknownFeatures(Vec<String>),
    /// Content is encrypted and its key is not loaded (`EACCES`).
    #[error("{what} is encrypted and its key is not loaded")]
    Encrypted {
        /// What cannot be read.
        what: String,
    },
    /// A message authentication code does not match (`ECKSUM`): damage, forgery or a wrong key.
    #[error("authentication of {what} failed")]
    Authentication {
        /// What was authenticated.
        what: String,
    },
    /// A key that does not unwrap the keys of a dataset (`EACCES`).
    #[error("the key is not the one the dataset was encrypted with")]
    WrongKey,
    /// The block's content was removed by a redacted send (`EIO`).
    #[error("block is redacted")]
    Redacted,
    /// Content that its source does not carry: a stream that was cut short, or an incremental one without its base.
    #[error("content is not in the stream")]
    Absent,
    /// A hole was given where a block must be.
    #[error("block pointer is a hole")]
    Hole,
    /// An object set has no object of this number (`ENOENT`).
    #[error("object {0} not found")]
    NoObject(ObjectId),
    /// A ZAP, the object directory of the MOS or another table of names has no entry of this name (`ENOENT`).
    #[error("{what} {name} not found")]
    NoEntry {
        /// The kind of entry.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A member of the pool is missing (`ENXIO`).
    #[error("member {0} not found")]
    NoMember(String),
    /// The pool has no such top-level vdev, or it is not available (`ENXIO`).
    #[error("{0} not found")]
    NoVdev(String),
    /// A removed vdev whose mapping was not read (`ENXIO`).
    #[error("mapping of removed vdev {0} not found")]
    NoMapping(u32),
    /// Something that was to be made is there already (`EEXIST`).
    #[error("{what} {name} already exists")]
    Exists {
        /// The kind of thing.
        what: &'static str,
        /// Its name or number.
        name: String,
    },
    /// None of a block's copies could be had; each attempt says why.
    #[error("no good copy: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoGoodCopy(Vec<Error>),
    /// Not enough of a vdev's members are there.
    #[error("{vdev} has {missing} of {children} members missing, at most {allowed} may be")]
    TooManyMissing {
        /// The vdev.
        vdev: String,
        /// How many are missing or failed.
        missing: usize,
        /// How many it has.
        children: usize,
        /// How many may be missing.
        allowed: usize,
    },
    /// No uberblock of the wanted transaction group is in any label.
    #[error("no uberblock of txg {wanted} is left; there are {}", txgs(available))]
    NoSuchTxg {
        /// The transaction group asked for.
        wanted: Txg,
        /// Those that can be opened, ascending.
        available: Vec<Txg>,
    },
    /// The devices hold more than one pool and none was chosen.
    #[error("the devices hold several pools: {}; name one, or choose it by its guid (--pool)", .0.join(", "))]
    SeveralPools(Vec<String>),
    /// The devices do not hold the pool that is wanted, or none.
    #[error("{}", no_such_pool(wanted.as_deref(), there, instead))]
    NoSuchPool {
        /// Its name or guid, if one was given.
        wanted: Option<String>,
        /// Names of the pools that are there.
        there: Vec<String>,
        /// What is there instead of any pool, as far as it is known: hot spares, images in other formats.
        instead: Vec<String>,
    },
    /// There is no room for a block of this size (`ENOSPC`).
    #[error("no space left in the pool for {bytes} bytes")]
    NoSpace {
        /// Size of the block.
        bytes: u64,
    },
    /// A request that is invalid for this pool, device, object set or object (`EINVAL`).
    #[error("{0}")]
    BadRequest(String),
    /// An object cannot have the requested size, place or content (`EINVAL`).
    #[error("{0}")]
    BadShape(String),
    /// A name that a pool or an entry cannot have (`EINVAL`).
    #[error("{0}")]
    BadName(String),
    /// A name that has no form in which a ZAP could compare it (`ENOTSUP`).
    #[error("{0}")]
    NoForm(String),
    /// Input that does not have the form of a key (`EINVAL`).
    #[error("{0}")]
    BadKey(String),
    /// A device is not a member of a pool (`EINVAL`).
    #[error("{0}")]
    NotAMember(String),
    /// A device is too small for a member of a pool (`EOVERFLOW`).
    #[error("{0}")]
    TooSmall(String),
    /// Too much of the pool is missing, which names it; this is the error that this led to.
    #[error("too much of the pool is missing: {what}: {error}")]
    TooMuchMissing {
        /// What is missing.
        what: String,
        /// The error.
        error: Error,
    },
    /// Some vdevs of the pool have no label on any device; this is the error that this led to.
    #[error("too much of the pool is missing: no label of some of its vdevs was found: {0}")]
    NoLabels(Error),
    /// Another host or program has the pool, or may have it (`EBUSY`).
    #[error("{0}")]
    InUse(String),
    /// An object set that failed to sync, and cannot be changed any more (`EIO`).
    #[error("the set failed to sync and cannot be changed any more")]
    Unusable,
    /// A broken invariant: a fault of this program, not of the pool or the request.
    #[error("{0}")]
    Internal(String),
}

impl Fault {
    /// The error number that ZFS would give. A fault of this program has `EIO`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::NotFound => Errno::ENOENT,
                io::ErrorKind::PermissionDenied => Errno::EACCES,
                io::ErrorKind::AlreadyExists => Errno::EEXIST,
                io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => Errno::EBUSY,
                io::ErrorKind::StorageFull => Errno::ENOSPC,
                io::ErrorKind::ReadOnlyFilesystem => Errno::EROFS,
                _ => Errno::EIO,
            },
            Self::Checksum { .. } | Self::Embedded(_) | Self::Authentication { .. } => Errno::ECKSUM,
            // Structures that break a rule of their format are damage that no checksum found.
            Self::BlockPointer(_) | Self::Codec(_) | Self::Swap(_) | Self::Corrupt { .. } | Self::Hole => {
                Errno::EIO
            }
            Self::Redacted | Self::Absent | Self::NoGoodCopy(_) => Errno::EIO,
            Self::Unusable | Self::Internal(_) => Errno::EIO,
            Self::ChecksumFunction(_) | Self::Unsupported(_) | Self::UnknownFeatures(_) | Self::NoForm(_) => {
                Errno::ENOTSUP
            }
            Self::Encrypted { .. } | Self::WrongKey => Errno::EACCES,
            Self::NoObject(_) | Self::NoEntry { .. } | Self::NoSuchPool { .. } | Self::NoSuchTxg { .. } => {
                Errno::ENOENT
            }
            Self::NoMember(_) | Self::NoVdev(_) | Self::NoMapping(_) | Self::TooManyMissing { .. } => {
                Errno::ENXIO
            }
            Self::NoLabels(error) | Self::TooMuchMissing { error, .. } => error.errno(),
            Self::Exists { .. } => Errno::EEXIST,
            Self::NoSpace { .. } => Errno::ENOSPC,
            Self::InUse(_) => Errno::EBUSY,
            Self::TooSmall(_) => Errno::EOVERFLOW,
            Self::TooLarge { .. } | Self::SeveralPools(_) | Self::BadRequest(_) | Self::BadShape(_) => {
                Errno::EINVAL
            }
            Self::BadName(_) | Self::BadKey(_) | Self::NotAMember(_) => Errno::EINVAL,
        }
    }
}

fn txgs(list: &[Txg]) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn no_such_pool(wanted: Option<&str>, there: &[String], instead: &[String]) -> String {
    let wanted = wanted.map(|name| format!(" {name}")).unwrap_or_default();
    if there.is_empty() && !instead.is_empty() {
        format!("no pool{wanted} found: {}", instead.join("; "))
    } else if there.is_empty() {
        format!("no pool{wanted} found")
    } else {
        format!("no pool{wanted}; there is {}", there.join(", "))
    }
}

/// Where it is wrong; what is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The vdev, by its path or its name in the tree.
    pub vdev: Option<String>,
    /// Byte offset on that vdev.
    pub offset: Option<u64>,
    /// The block's address in the pool, as `vdev:offset:asize` in hex.
    pub address: Option<String>,
    /// The block's place in the tree of objects.
    pub bookmark: Option<Bookmark>,
}

/// A fault and its place.
#[derive(Debug)]
pub struct Error(Box<(Fault, Place)>);

impl Error {
    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// Where.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0.1
    }

    /// The fault, without its place.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        self.0.0
    }

    /// A structure that breaks a rule of its format.
    #[must_use]
    pub fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Fault::Corrupt { what, detail: detail.into() }.into()
    }

    /// Something that zstream does not do.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Fault::Unsupported(what.into()).into()
    }

    /// A request that is invalid.
    #[must_use]
    pub fn bad_request(what: impl Into<String>) -> Self {
        Fault::BadRequest(what.into()).into()
    }

    /// An object that cannot be as requested.
    #[must_use]
    pub fn bad_shape(what: impl Into<String>) -> Self {
        Fault::BadShape(what.into()).into()
    }

    /// A broken invariant of this program.
    #[must_use]
    pub fn internal(what: impl Into<String>) -> Self {
        Fault::Internal(what.into()).into()
    }

    /// A name that a table of names does not have.
    #[must_use]
    pub fn no_entry(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::NoEntry { what, name: name.to_string() }.into()
    }

    /// A top-level vdev that is not there.
    #[must_use]
    pub fn no_vdev(name: impl fmt::Display) -> Self {
        Fault::NoVdev(format!("top-level vdev {name}")).into()
    }

    /// The error number that ZFS would give.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.fault().errno()
    }

    /// Something that is there already.
    #[must_use]
    pub fn exists(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::Exists { what, name: name.to_string() }.into()
    }

    /// Adds the vdev, unless a deeper layer has named one.
    #[must_use]
    pub fn on_vdev(mut self, vdev: impl fmt::Display) -> Self {
        self.0.1.vdev.get_or_insert_with(|| vdev.to_string());
        self
    }

    /// Adds the byte offset on the vdev, unless a deeper layer has.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.0.1.offset.get_or_insert(offset);
        self
    }

    /// Adds the block's address, unless a deeper layer has.
    #[must_use]
    pub fn at_address(mut self, address: impl fmt::Display) -> Self {
        self.0.1.address.get_or_insert_with(|| address.to_string());
        self
    }

    /// Adds the block's place in the tree of objects, unless a deeper layer has.
    #[must_use]
    pub fn at_bookmark(mut self, bookmark: Bookmark) -> Self {
        self.0.1.bookmark.get_or_insert(bookmark);
        self
    }
}

impl<F: Into<Fault>> From<F> for Error {
    fn from(fault: F) -> Self {
        Self(Box::new((fault.into(), Place::default())))
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
        write!(f, "{fault}")?;
        let mut parts = Vec::new();
        if let Some(vdev) = &place.vdev {
            parts.push(vdev.clone());
        }
        if let Some(offset) = place.offset {
            parts.push(format!("offset {offset:#x}"));
        }
        if let Some(address) = &place.address {
            parts.push(format!("block {address}"));
        }
        if let Some(bookmark) = &place.bookmark {
            parts.push(bookmark.to_string());
        }
        if !parts.is_empty() {
            write!(f, " ({})", parts.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BlockId, ObjectId};

    #[test]
    fn the_deepest_layer_names_the_place() {
        let bookmark = Bookmark { objset: 54, object: ObjectId(2), level: 0, block: BlockId(7) };
        let error = Error::corrupt("dnode", "nlevels 9, at most 8")
            .on_vdev("/dev/sda")
            .on_vdev("mirror-0")
            .at_offset(0x400000)
            .at_bookmark(bookmark);
        assert_eq!(
            error.to_string(),
            "bad dnode: nlevels 9, at most 8 (/dev/sda, offset 0x400000, objset 54 object 2 level 0 block 7)"
        );
    }

    #[test]
    fn what_is_missing_has_a_kind_of_its_own() {
        let cases: [(Error, &str, Errno); 6] = [
            (Fault::NoObject(ObjectId(7)).into(), "object 7 not found", Errno::ENOENT),
            (Error::no_entry("ZAP entry", "a"), "ZAP entry a not found", Errno::ENOENT),
            (Fault::NoMember("/dev/sda".to_owned()).into(), "member /dev/sda not found", Errno::ENXIO),
            (Error::no_vdev(3), "top-level vdev 3 not found", Errno::ENXIO),
            (Fault::NoMapping(2).into(), "mapping of removed vdev 2 not found", Errno::ENXIO),
            (Fault::NoLabels(Error::no_vdev(1)).into(), NO_LABELS, Errno::ENXIO),
        ];
        for (error, text, errno) in cases {
            assert_eq!((error.to_string(), error.errno()), (text.to_owned(), errno));
        }
    }

    const NO_LABELS: &str = "too much of the pool is missing: no label of some of its vdevs was found: top-level vdev 1 not found";

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
