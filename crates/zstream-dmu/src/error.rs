//! The faults below the datasets, and the places where they occur.
//!
//! Code that detects a fault names it ([`Fault`]); code that knows the location adds it to the [`Place`]. An
//! [`Error`] is one word wide, so that results stay small.

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

/// The kind of an error, and its details.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system refused or failed an operation on a file or device.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Bytes do not match their checksum (`ECKSUM`).
    #[error("checksum {function} is {found}, expected {expected}")]
    Checksum {
        /// The checksum function.
        function: ChecksumType,
        /// The checksum of the bytes.
        found: Checksum,
        /// The checksum in the pointer.
        expected: Checksum,
    },
    /// A checksum that cannot be computed.
    #[error(transparent)]
    ChecksumFunction(#[from] ChecksumError),
    /// The embedded checksum of a label, uberblock or gang header does not match (`ECKSUM`).
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// A block pointer violates a rule.
    #[error(transparent)]
    BlockPointer(#[from] BlockPointerFault),
    /// A block cannot be decompressed.
    #[error("cannot decompress: {0}")]
    Codec(#[from] CodecError),
    /// A block in the other byte order cannot be byte-swapped.
    #[error("cannot swap bytes: {0}")]
    Swap(#[from] SwapError),
    /// A structure violates a rule of its format.
    #[error("corrupt {what}: {detail}")]
    Corrupt {
        /// The structure, such as "dnode", "block pointer" or "label".
        what: &'static str,
        /// The reason, with the value that was found and the expected one.
        detail: String,
    },
    /// A size from the pool exceeds the limit of its kind. No memory was allocated.
    #[error("{what} is too large: {size}, limit {limit}")]
    TooLarge {
        /// The item with that size.
        what: &'static str,
        /// The size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Valid input that zstream does not support; the text names it.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The pool uses a feature that zstream does not support.
    #[error("the pool uses unknown features: {}", .0.join(", "))]
    UnknownFeatures(Vec<String>),
    /// The content is encrypted and its key is not loaded (`EACCES`).
    #[error("{what} is encrypted and its key is not loaded")]
    Encrypted {
        /// The content that cannot be read.
        what: String,
    },
    /// A message authentication code does not match (`ECKSUM`): the data is corrupt or forged, or the key is wrong.
    #[error("authentication of {what} failed")]
    Authentication {
        /// The authenticated item.
        what: String,
    },
    /// A key does not unwrap the keys of a dataset (`EACCES`).
    #[error("the key is not the one the dataset was encrypted with")]
    WrongKey,
    /// The content of the block was removed by a redacted send (`EIO`).
    #[error("block is redacted")]
    Redacted,
    /// The content is not in its source: a truncated stream, or an increment without its source snapshot.
    #[error("content is not in the stream")]
    Absent,
    /// A block pointer is a hole and must not be.
    #[error("block pointer is a hole")]
    Hole,
    /// An object set does not have an object with this number (`ENOENT`).
    #[error("object {0} not found")]
    NoObject(ObjectId),
    /// A ZAP, the object directory of the MOS or another table of names does not have an entry with this name
    /// (`ENOENT`).
    #[error("{what} {name} not found")]
    NoEntry {
        /// The kind of the entry.
        what: &'static str,
        /// The name of the entry.
        name: String,
    },
    /// A member of the pool is missing (`ENXIO`).
    #[error("member {0} not found")]
    NoMember(String),
    /// The pool does not have such a top-level vdev, or it is not available (`ENXIO`).
    #[error("{0} not found")]
    NoVdev(String),
    /// The mapping of a removed vdev was not read (`ENXIO`).
    #[error("mapping of removed vdev {0} not found")]
    NoMapping(u32),
    /// The item to create already exists (`EEXIST`).
    #[error("{what} {name} already exists")]
    Exists {
        /// The kind of the item.
        what: &'static str,
        /// The name or number of the item.
        name: String,
    },
    /// No copy of a block could be read. There is an error for each attempt.
    #[error("no copy is intact: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoGoodCopy(Vec<Error>),
    /// Too few members of a vdev are present.
    #[error("{vdev} is missing {missing} of {children} members, at most {allowed} may be missing")]
    TooManyMissing {
        /// The vdev.
        vdev: String,
        /// The number of members that are missing or failed.
        missing: usize,
        /// The total number of members.
        children: usize,
        /// The number of members that may be missing.
        allowed: usize,
    },
    /// No label has an uberblock of the requested transaction group.
    #[error("uberblock of txg {requested} not found, available: {}", txgs(available))]
    NoSuchTxg {
        /// The requested transaction group.
        requested: Txg,
        /// The transaction groups that can be opened, in ascending order.
        available: Vec<Txg>,
    },
    /// The devices contain more than one pool, and none was selected.
    #[error("the devices contain several pools: {}; select one by its name or guid (--pool)", .0.join(", "))]
    SeveralPools(Vec<String>),
    /// The devices do not contain the requested pool, or no pool at all.
    #[error("{}", no_such_pool(requested.as_deref(), found, instead))]
    NoSuchPool {
        /// The requested name or guid, if there was one.
        requested: Option<String>,
        /// The names of the pools on the devices.
        found: Vec<String>,
        /// The content of the devices if it is not a pool, as far as it is known: hot spares, images in other
        /// formats.
        instead: Vec<String>,
    },
    /// The pool has no free space for a block of this size (`ENOSPC`).
    #[error("no space left in the pool for {bytes} bytes")]
    NoSpace {
        /// The size of the block in bytes.
        bytes: u64,
    },
    /// A request is not valid for this pool, device, object set or object (`EINVAL`).
    #[error("{0}")]
    BadRequest(String),
    /// An object cannot have the requested size, place or content (`EINVAL`).
    #[error("{0}")]
    BadShape(String),
    /// A pool or an entry cannot have this name (`EINVAL`).
    #[error("{0}")]
    BadName(String),
    /// A name cannot be normalized for comparison in a ZAP (`ENOTSUP`).
    #[error("{0}")]
    NoForm(String),
    /// The input is not in the format of a key (`EINVAL`).
    #[error("{0}")]
    BadKey(String),
    /// A device is not a member of a pool (`EINVAL`).
    #[error("{0}")]
    NotAMember(String),
    /// A device is too small for a member of a pool (`EOVERFLOW`).
    #[error("{0}")]
    TooSmall(String),
    /// Too much of the pool is missing, which caused another error.
    #[error("too much of the pool is missing: {what}: {error}")]
    TooMuchMissing {
        /// The missing parts.
        what: String,
        /// The other error.
        error: Error,
    },
    /// Some vdevs of the pool have no label on any device, which caused another error.
    #[error("too much of the pool is missing: no labels were found for some of its vdevs: {0}")]
    NoLabels(Error),
    /// Another host or program uses the pool, or may use it (`EBUSY`).
    #[error("{0}")]
    InUse(String),
    /// An object set failed to sync and can no longer be changed (`EIO`).
    #[error("object set failed to sync and can no longer be changed")]
    Unusable,
    /// An invariant is broken. The fault is in zstream, not in the pool or the request.
    #[error("{0}")]
    Internal(String),
}

impl Fault {
    /// Returns the error number of ZFS for this fault; `EIO` for a broken invariant.
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
            // A structure that violates a rule of its format is damage that no checksum detected.
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

fn no_such_pool(requested: Option<&str>, found: &[String], instead: &[String]) -> String {
    let requested = requested.map(|name| format!(" {name}")).unwrap_or_default();
    if found.is_empty() && !instead.is_empty() {
        format!("no pool{requested} found: {}", instead.join("; "))
    } else if found.is_empty() {
        format!("no pool{requested} found")
    } else {
        format!("no pool{requested} found, available: {}", found.join(", "))
    }
}

/// The place of an error. Unknown parts are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The path of the vdev, or its name in the tree.
    pub vdev: Option<String>,
    /// The byte offset on that vdev.
    pub offset: Option<u64>,
    /// The address of the block in the pool, as `vdev:offset:asize` in hex.
    pub address: Option<String>,
    /// The location of the block in the tree of objects.
    pub bookmark: Option<Bookmark>,
}

/// A fault and its place.
#[derive(Debug)]
pub struct Error(Box<(Fault, Place)>);

impl Error {
    /// Returns the fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// Returns the place.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0.1
    }

    /// Returns the fault without its place.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        self.0.0
    }

    /// Creates the error of a structure that violates a rule of its format.
    #[must_use]
    pub fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Fault::Corrupt { what, detail: detail.into() }.into()
    }

    /// Creates the error of an unsupported item.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Fault::Unsupported(what.into()).into()
    }

    /// Creates the error of a request that is not valid.
    #[must_use]
    pub fn bad_request(what: impl Into<String>) -> Self {
        Fault::BadRequest(what.into()).into()
    }

    /// Creates the error of an object that cannot be as requested.
    #[must_use]
    pub(crate) fn bad_shape(what: impl Into<String>) -> Self {
        Fault::BadShape(what.into()).into()
    }

    /// Creates the error of a broken invariant.
    #[must_use]
    pub fn internal(what: impl Into<String>) -> Self {
        Fault::Internal(what.into()).into()
    }

    /// Creates the error of a name that a table of names does not have.
    #[must_use]
    pub(crate) fn no_entry(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::NoEntry { what, name: name.to_string() }.into()
    }

    /// Creates the error of a missing top-level vdev.
    #[must_use]
    pub(crate) fn no_vdev(name: impl fmt::Display) -> Self {
        Fault::NoVdev(format!("top-level vdev {name}")).into()
    }

    /// Returns the error number of ZFS for the fault.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.fault().errno()
    }

    /// Creates the error of an item that already exists.
    #[must_use]
    pub fn exists(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::Exists { what, name: name.to_string() }.into()
    }

    /// Adds the vdev, unless a deeper layer has added one.
    #[must_use]
    pub fn on_vdev(mut self, vdev: impl fmt::Display) -> Self {
        self.0.1.vdev.get_or_insert_with(|| vdev.to_string());
        self
    }

    /// Adds the byte offset on the vdev, unless a deeper layer has added one.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.0.1.offset.get_or_insert(offset);
        self
    }

    /// Adds the address of the block, unless a deeper layer has added one.
    #[must_use]
    pub(crate) fn at_address(mut self, address: impl fmt::Display) -> Self {
        self.0.1.address.get_or_insert_with(|| address.to_string());
        self
    }

    /// Adds the location of the block in the tree of objects, unless a deeper layer has added one.
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
            "corrupt dnode: nlevels 9, at most 8 (/dev/sda, offset 0x400000, objset 54 object 2 level 0 block 7)"
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

    const NO_LABELS: &str = "too much of the pool is missing: no labels were found for some of its vdevs: top-level vdev 1 not found";

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
