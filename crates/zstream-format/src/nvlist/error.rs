//! What can be wrong with a packed list, and where.

use crate::errno::Errno;

use super::{DataType, Encoding, MAX_DEPTH, MAX_NAME_LEN, MAX_PACKED_LEN};

/// A fault and the byte of the packed list (its 4-byte header included) where it was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (nvlist offset {offset:#x})")]
#[non_exhaustive]
pub struct NvError {
    /// Bytes from the start of the packed list.
    pub offset: usize,
    /// What is wrong there.
    pub fault: NvFault,
}

/// What is wrong with a packed list, or with a list that is to be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NvFault {
    /// The buffer cannot even hold the header.
    #[error("a packed nvlist has a header of 4 bytes, have {have}")]
    NoHeader {
        /// Bytes there are.
        have: usize,
    },
    /// The buffer ends inside a list.
    #[error("need {need} bytes, have {have}")]
    Short {
        /// Bytes needed from the offset on.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The header's first byte.
    #[error("encoding {found}, expected 0 (native) or 1 (xdr)")]
    Encoding {
        /// The byte found.
        found: u8,
    },
    /// The header's second byte.
    #[error("byte order {found}, expected 0 (big-endian) or 1 (little-endian)")]
    Order {
        /// The byte found.
        found: u8,
    },
    /// A native embedded list of a version other than 0.
    #[error("version {found} of an embedded list, expected 0")]
    Version {
        /// The version found.
        found: i32,
    },
    /// Lists nested deeper than [`MAX_DEPTH`].
    #[error("lists nested deeper than {}", MAX_DEPTH)]
    Depth {
        /// The encoding: libnvpair gives each its own errno.
        encoding: Encoding,
    },
    /// The packed list is, or would be, longer than [`MAX_PACKED_LEN`].
    #[error("packed list of {len} bytes, the limit is {}", MAX_PACKED_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A native pair's own size, or an XDR pair's decoded size, does not fit its name and value.
    #[error("pair size {found}, expected {expected}")]
    PairSize {
        /// The size found.
        found: i32,
        /// The size that the name and the value give.
        expected: usize,
    },
    /// A native pair's size that cannot be one.
    #[error("pair size {found}, which cannot hold a pair")]
    PairTooSmall {
        /// The size found.
        found: i32,
    },
    /// A native pair's name size.
    #[error("name size {found} in a pair of {pair} bytes")]
    NameSize {
        /// The size found, terminator included.
        found: i16,
        /// The pair's size in bytes.
        pair: usize,
    },
    /// A name longer than a native pair can say.
    #[error("name of {len} bytes, the limit is {}", MAX_NAME_LEN)]
    NameLen {
        /// Its length in bytes, without terminator.
        len: usize,
    },
    /// A native name or string without its NUL.
    #[error("unterminated string")]
    Unterminated,
    /// A NUL inside a name or string.
    #[error("NUL inside a string")]
    Nul,
    /// A type that does not exist.
    #[error("data type {found}, expected 1 to 27")]
    Type {
        /// The number found.
        found: i32,
    },
    /// An element count that the type does not have.
    #[error("{found} elements of type {data_type}{}", if data_type.is_array() { "" } else { ", which is no array" })]
    Count {
        /// The count found.
        found: i32,
        /// The pair's type.
        data_type: DataType,
    },
    /// An XDR array that counts its elements otherwise than its pair does.
    #[error("array of {found} elements in a pair of {expected}")]
    ArrayCount {
        /// The array's own count.
        found: u32,
        /// The pair's count.
        expected: usize,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("boolean {found:#x}, expected 0 or 1")]
    Boolean {
        /// The value found.
        found: u32,
    },
    /// An XDR word out of the range of the type it stands for.
    #[error("word {found:#x} is no {data_type}")]
    Word {
        /// The word found.
        found: u32,
        /// The pair's type.
        data_type: DataType,
    },
}

impl NvError {
    pub(super) fn new(offset: usize, fault: NvFault) -> Self {
        Self { offset, fault }
    }

    /// What libnvpair returns for the same fault, `EFAULT`, `EINVAL` or `ENOTSUP`.
    ///
    /// Where libnvpair's user-space library takes more than its kernel code does (NUL inside an XDR string,
    /// XDR words out of range), this is the kernel's answer.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self.fault {
            NvFault::Encoding { .. } | NvFault::Order { .. } | NvFault::Version { .. } => Errno::ENOTSUP,
            NvFault::NoHeader { .. } | NvFault::TooLong { .. } | NvFault::NameLen { .. } => Errno::EINVAL,
            NvFault::Depth { encoding: Encoding::Native } => Errno::EINVAL,
            _ => Errno::EFAULT,
        }
    }
}
