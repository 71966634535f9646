//! Error numbers of ZFS: one type for all crates.
//!
//! The numbers are those of OpenZFS on Linux: `errno.h`, two numbers that ZFS takes from there for its own purposes (`ECKSUM`
//! and `EFRAGS`), and from 1024 on those of `zfs_errno_t`.

use std::fmt;

/// Declares [`Errno`]: each number once, with its name.
macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// An error number of ZFS on Linux, by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of the numbers")]
        #[non_exhaustive]
        pub enum Errno {
            $($(#[$doc])* $name = $number,)*
        }

        impl Errno {
            /// All of them, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name: `ENOENT`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The number of a name that [`Errno::number`] gives.
            #[must_use]
            pub fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1,
    /// No such dataset, object or entry.
    ENOENT = 2,
    /// No such member of a set: a hold, a snapshot, a bookmark.
    ESRCH = 3,
    /// Interrupted by a signal or cancelled.
    EINTR = 4,
    /// Reading or writing failed.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// An argument or list is too long.
    E2BIG = 7,
    /// Bad file descriptor.
    EBADF = 9,
    /// Try again in a later transaction group.
    EAGAIN = 11,
    /// Out of memory.
    ENOMEM = 12,
    /// Access denied: a key is not loaded, or is the wrong one.
    EACCES = 13,
    /// A list that cannot be unpacked.
    EFAULT = 14,
    /// In use.
    EBUSY = 16,
    /// Already exists.
    EEXIST = 17,
    /// In another pool or another line of snapshots.
    EXDEV = 18,
    /// No such device; for a receive: the newest snapshot is not the source of the stream.
    ENODEV = 19,
    /// Not a directory.
    ENOTDIR = 20,
    /// A directory.
    EISDIR = 21,
    /// Invalid argument.
    EINVAL = 22,
    /// Changed in the meantime; for a receive: the destination was modified.
    ETXTBSY = 26,
    /// Larger than a file can be.
    EFBIG = 27,
    /// No space left.
    ENOSPC = 28,
    /// Read-only.
    EROFS = 30,
    /// Too many links.
    EMLINK = 31,
    /// The reader of a pipe is gone.
    EPIPE = 32,
    /// Out of the domain of a function.
    EDOM = 33,
    /// Out of range.
    ERANGE = 34,
    /// A name is too long.
    ENAMETOOLONG = 36,
    /// Not empty.
    ENOTEMPTY = 39,
    /// Too many symbolic links.
    ELOOP = 40,
    /// A checksum does not match (`EBADE`).
    ECKSUM = 52,
    /// Too fragmented (`EBADR`).
    EFRAGS = 53,
    /// No data.
    ENODATA = 61,
    /// A value does not fit.
    EOVERFLOW = 75,
    /// Not valid UTF-8.
    EILSEQ = 84,
    /// Not supported.
    ENOTSUP = 95,
    /// Already the case.
    EALREADY = 114,
    /// A quota or limit is exceeded.
    EDQUOT = 122,
    /// Cancelled.
    ECANCELED = 125,
    /// A checkpoint exists.
    ZFS_ERR_CHECKPOINT_EXISTS = 1024,
    /// A checkpoint is being discarded.
    ZFS_ERR_DISCARDING_CHECKPOINT = 1025,
    /// There is no checkpoint.
    ZFS_ERR_NO_CHECKPOINT = 1026,
    /// A device is being removed.
    ZFS_ERR_DEVRM_IN_PROGRESS = 1027,
    /// A vdev is too large.
    ZFS_ERR_VDEV_TOO_BIG = 1028,
    /// The module does not have the command.
    ZFS_ERR_IOC_CMD_UNAVAIL = 1029,
    /// The module does not have the argument.
    ZFS_ERR_IOC_ARG_UNAVAIL = 1030,
    /// An argument is missing.
    ZFS_ERR_IOC_ARG_REQUIRED = 1031,
    /// An argument has another type.
    ZFS_ERR_IOC_ARG_BADTYPE = 1032,
    /// The parent is not a filesystem.
    ZFS_ERR_WRONG_PARENT = 1033,
    /// The source of a raw increment, or the stream, has no IV set guid.
    ZFS_ERR_FROM_IVSET_GUID_MISSING = 1034,
    /// The source of a raw increment has another IV set guid than the stream expects.
    ZFS_ERR_FROM_IVSET_GUID_MISMATCH = 1035,
    /// A raw stream without the flag for spill blocks.
    ZFS_ERR_SPILL_BLOCK_FLAG_MISSING = 1036,
    /// The stream uses an unknown feature.
    ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE = 1037,
    /// The pool is being exported.
    ZFS_ERR_EXPORT_IN_PROGRESS = 1038,
    /// The source of a bookmark is not an ancestor.
    ZFS_ERR_BOOKMARK_SOURCE_NOT_ANCESTOR = 1039,
    /// The stream ends before its END record.
    ZFS_ERR_STREAM_TRUNCATED = 1040,
    /// The dataset has large blocks, and the stream was sent without them.
    ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH = 1041,
    /// A resilver is running.
    ZFS_ERR_RESILVER_IN_PROGRESS = 1042,
    /// A rebuild is running.
    ZFS_ERR_REBUILD_IN_PROGRESS = 1043,
    /// A property is invalid.
    ZFS_ERR_BADPROP = 1044,
    /// The type of a vdev is not supported.
    ZFS_ERR_VDEV_NOTSUP = 1045,
    /// Not a user namespace.
    ZFS_ERR_NOT_USER_NAMESPACE = 1046,
    /// A full receive over an existing dataset can be resumed only by force.
    ZFS_ERR_RESUME_EXISTS = 1047,
    /// An encryption suite is unknown.
    ZFS_ERR_CRYPTO_NOTSUP = 1048,
    /// A raidz vdev is being expanded.
    ZFS_ERR_RAIDZ_EXPAND_IN_PROGRESS = 1049,
    /// Members differ in their sector size.
    ZFS_ERR_ASHIFT_MISMATCH = 1050,
    /// The dataset has micro ZAPs above 128 KiB, which a stream without large blocks cannot carry.
    ZFS_ERR_STREAM_LARGE_MICROZAP = 1051,
}

impl Errno {
    /// The number on Linux.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_come_back() {
        for errno in Errno::ALL {
            assert_eq!(Errno::from_number(errno.number()), Some(*errno));
            assert_eq!(format!("{errno} {errno:?}"), format!("{0} {0}", errno.name()));
        }
        assert!(Errno::ALL.is_sorted_by_key(|errno| errno.number()));
        assert_eq!([0, -1, 51, 1023].map(Errno::from_number), [None; 4]);
        assert_eq!(Errno::ECKSUM.number(), 52);
    }
}
