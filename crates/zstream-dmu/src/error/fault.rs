//! The kinds of faults.

use std::io;

use zstream_format::algorithm::ChecksumType;
use zstream_format::byteswap::SwapError;
use zstream_format::checksum::{Checksum, EmbeddedError, Error as ChecksumError};
use zstream_format::compress::CodecError;
use zstream_format::errno::Errno;

use super::Error;
use crate::blkptr::BlockPointerFault;
use crate::ids::{ObjectId, Txg};

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
    #[error("no copy is intact: {}", attempts(.0))]
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

/// Lists the errors of attempts. An attempt that consists of attempts itself is listed with them.
fn attempts(errors: &[Error]) -> String {
    let each = errors.iter().map(|error| match error.fault() {
        Fault::NoGoodCopy(within) => format!("{}{}", attempts(within), error.place()),
        _ => error.to_string(),
    });
    each.collect::<Vec<_>>().join("; ")
}
