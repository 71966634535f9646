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

use crate::blkptr::BlockPointerFault;
use crate::ids::{Bookmark, Txg};

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
    /// Something that was asked for is not there (`ENOENT`).
    #[error("{what} {name} not found")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// Its name or number.
        name: String,
    },
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
    /// What the content lies on is not there: a member of the pool, or the mapping of a removed vdev.
    #[error("{0} is missing")]
    MissingVdev(String),
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
    /// What is asked for cannot be done as things stand; the name is that of the error that ZFS would give.
    #[error("{reason}")]
    Refused {
        /// `EBUSY`, `EEXIST` and the like.
        errno: &'static str,
        /// Why, as `zfs` words it.
        reason: String,
    },
    /// The request makes no sense for this pool or file.
    #[error("{0}")]
    Invalid(String),
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

    /// A request that makes no sense.
    #[must_use]
    pub fn invalid(what: impl Into<String>) -> Self {
        Fault::Invalid(what.into()).into()
    }

    /// Something that cannot be done as things stand, with the name of the error that ZFS would give.
    #[must_use]
    pub fn refused(errno: &'static str, reason: impl Into<String>) -> Self {
        Fault::Refused { errno, reason: reason.into() }.into()
    }

    /// A member that is not there.
    #[must_use]
    pub fn missing_member(name: impl fmt::Display) -> Self {
        Fault::MissingVdev(format!("member {name}")).into()
    }

    /// Something that is not there.
    #[must_use]
    pub fn not_found(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::NotFound { what, name: name.to_string() }.into()
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
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
