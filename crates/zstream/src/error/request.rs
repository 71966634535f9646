//! Requests that cannot be fulfilled, independent of the content of a pool or stream.

use zstream_dmu::vdev::PoolState;
use zstream_format::errno::Errno;

use crate::text::file_name;

/// A request that is invalid, independent of the pool or stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Request {
    /// Snapshots and bookmarks cannot be written to.
    #[error("{0}: only filesystems and volumes can be written to")]
    NotWritable(String),
    /// A name of a snapshot has an `@`.
    #[error("{0} is not the name of a snapshot")]
    NotASnapshot(String),
    /// A path that contains `..`.
    #[error("{}: a path must not contain '..'", file_name(.0))]
    PathLeadsUp(Vec<u8>),
    /// A volume contains no files.
    #[error("{0} is a volume: it has no files")]
    Volume(String),
    /// A filesystem accepts files, not an image.
    #[error("{0} is a filesystem: it accepts files, not an image")]
    Filesystem(String),
    /// An earlier state of a pool cannot be changed.
    #[error("an earlier transaction group is read-only")]
    EarlierTxg,
    /// A pool whose intent logs are replayed in memory cannot be changed.
    #[error("a pool whose intent logs are replayed in memory is read-only")]
    Replayed,
    /// A pool that is opened for rescue cannot be changed.
    #[error("a pool that is opened for rescue is read-only")]
    Rescue,
    /// A verb that failed cannot be continued or finished.
    #[error("an earlier operation failed, and nothing can be added")]
    Failed,
    /// The root directory is not a file.
    #[error("the path does not name a file")]
    NoName,
    /// A receive cannot set this property.
    #[error("invalid property '{0}': a receive neither sets nor excludes it")]
    SetByReceive(String),
    /// There is no property of this name.
    #[error("bad property {0:?}")]
    NoSuchProperty(String),
    /// A change of keys does not set this property.
    #[error("property {0} cannot be set here; only keyformat, keylocation and pbkdf2iters")]
    NotOfKey(String),
    /// A change to an inherited key does not set this property.
    #[error("property {0} cannot be set with -i")]
    NotWithInheritedKey(String),
    /// A property that is given twice.
    #[error("property '{0}' specified multiple times")]
    Repeated(String),
    /// A property that is both set and excluded.
    #[error("property {0} is both set and excluded")]
    SetAndExcluded(String),
    /// Source and target are the same pool.
    #[error("source and target are the same pool")]
    SamePool,
    /// A given device is not a member of the new pool, or is given twice.
    #[error("the given devices are not the members of the pool")]
    Devices,
    /// A policy without a rule would destroy all snapshots.
    #[error("no policy is given: name what to keep, such as --keep-last 10 or --keep-daily 7")]
    NoPolicy,
    /// No device is named.
    #[error("no device of the pool is given")]
    NoDevice,
}

/// A rule of the encryption of new datasets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptionFault {
    /// An encryption root needs a key format.
    #[error("a key format is required: -o keyformat=passphrase, hex or raw")]
    NoFormat,
    /// A key was asked for that has no format.
    #[error("the key of an encryption root has a format: keyformat is passphrase, hex or raw, not none")]
    FormatNone,
    /// A key was given without encryption.
    #[error("a key is given, but encryption is off")]
    KeyWithoutEncryption,
    /// Too few rounds of PBKDF2.
    #[error("pbkdf2iters must be at least 100000")]
    FewRounds,
    /// Rounds of PBKDF2 for a key that is not a passphrase.
    #[error("pbkdf2iters requires keyformat=passphrase")]
    RoundsWithoutPassphrase,
    /// The location of the key is not supported.
    #[error("keylocation must be prompt or file:///PATH")]
    Location,
}

/// A reason that a file or disk cannot become a member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberFault {
    /// A size was given for a disk.
    #[error("the size of a disk is fixed; omit --size")]
    DiskHasSize,
    /// The file to create already exists.
    #[error("the file exists; use -f to replace it")]
    Exists,
    /// The file does not exist, and no size is given to create it.
    #[error("the file does not exist; use --size to create it")]
    Missing,
    /// It is a member of a pool.
    #[error("it is part of {state} pool '{pool}'; use -f to use it anyway")]
    InUse {
        /// The pool.
        pool: String,
        /// Its state.
        state: PoolState,
    },
    /// It is a spare or cache device.
    #[error("it is a {0} device of a pool; use -f to use it anyway")]
    Auxiliary(PoolState),
    /// The path is not UTF-8, as the configuration of a pool requires.
    #[error("the path is not UTF-8")]
    PathNotText,
    /// The copy of a pool with several members requires a directory.
    #[error("the pool has {members} members; name an existing directory for their copies")]
    NotADirectory {
        /// Their number.
        members: usize,
    },
    /// Two members have the same file name, so that they cannot be copied into one directory.
    #[error("two members of the pool have this file name")]
    SameName,
    /// It is smaller than the member that is copied.
    #[error("it has {bytes} bytes; the copy requires {required}")]
    TooSmall {
        /// Its size in bytes.
        bytes: u64,
        /// The size of the member.
        required: u64,
    },
}

impl MemberFault {
    pub(super) fn errno(&self) -> Errno {
        match self {
            Self::DiskHasSize | Self::PathNotText | Self::SameName => Errno::EINVAL,
            Self::NotADirectory { .. } => Errno::ENOTDIR,
            Self::TooSmall { .. } => Errno::EOVERFLOW,
            Self::Exists => Errno::EEXIST,
            Self::Missing => Errno::ENOENT,
            Self::InUse { .. } | Self::Auxiliary(_) => Errno::EBUSY,
        }
    }
}
