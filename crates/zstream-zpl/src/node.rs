//! The attributes of files, directories, links and devices.

use zstream_dmu::ids::ObjectId;

use crate::fuid::Fuid;

/// The bits of a mode for the type of the node (`S_IFMT`).
const TYPE_MASK: u64 = 0o170_000;

/// A time as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// The seconds since 1970.
    pub seconds: i64,
    /// The nanoseconds; below 10⁹, except for invalid values from old systems.
    pub nanoseconds: u64,
}

/// The type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// FIFO.
    Fifo,
    /// Character device.
    CharDevice,
    /// Directory.
    Directory,
    /// Block device.
    BlockDevice,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// Socket.
    Socket,
}

impl FileType {
    /// Returns the type for the upper four bits of a mode, which directory entries also contain.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::File,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// The upper four bits of the mode.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Fifo => 1,
            Self::CharDevice => 2,
            Self::Directory => 4,
            Self::BlockDevice => 6,
            Self::File => 8,
            Self::Symlink => 10,
            Self::Socket => 12,
        }
    }

    /// Returns the entry of a directory for an object of this type.
    pub(crate) fn entry(self, object: ObjectId) -> u64 {
        self.number() << 60 | object.0
    }

    /// The letter for the type in `ls -l`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Fifo => 'p',
            Self::CharDevice => 'c',
            Self::Directory => 'd',
            Self::BlockDevice => 'b',
            Self::File => '-',
            Self::Symlink => 'l',
            Self::Socket => 's',
        }
    }
}

/// An ACL as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acl {
    /// The version: 0 with entries of 12 bytes (ZPL version below 3), 1 with entries of 8, 16 or 48 bytes.
    pub version: u16,
    /// The number of entries.
    pub count: u64,
    /// The entries.
    pub entries: AclEntries,
}

/// The entries of an ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclEntries {
    /// Entries stored with the attributes, little-endian.
    Inline(Vec<u8>),
    /// Entries in an object of their own, and their size in bytes.
    Object(ObjectId, u64),
}

/// The attributes of a node (`znode_phys_t`, or system attributes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The object of the node.
    pub object: ObjectId,
    /// The type and the permissions, as in `stat`.
    pub mode: u64,
    /// The size of a file in bytes, or the number of entries in a directory plus 2.
    pub size: u64,
    /// The number of names, or the number of subdirectories plus 2.
    pub links: u64,
    /// The user.
    pub uid: Fuid,
    /// The group.
    pub gid: Fuid,
    /// The time of the last access.
    pub atime: Time,
    /// The time of the last change of the content.
    pub mtime: Time,
    /// The time of the last change of content or attributes.
    pub ctime: Time,
    /// The creation time.
    pub crtime: Time,
    /// The transaction group of creation.
    pub generation: u64,
    /// The directory that the node was created in or moved to.
    pub parent: ObjectId,
    /// The flags (`ZFS_*`).
    pub flags: u64,
    /// The device number of a device.
    pub rdev: Option<u64>,
    /// The project.
    pub project: Option<u64>,
    /// The directory of extended attributes.
    pub xattr_directory: Option<ObjectId>,
    /// The extended attributes that are stored as a system attribute, a packed nvlist (`xattr=sa`).
    pub packed_xattrs: Option<Vec<u8>>,
    /// The target of a symbolic link, unless it is in data blocks.
    pub inline_target: Option<Vec<u8>>,
    /// The ACL.
    pub acl: Option<Acl>,
}

impl Node {
    /// The type of the node; `None` if the mode has an unknown type.
    #[must_use]
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_number((self.mode & TYPE_MASK) >> 12)
    }

    /// The permission bits, with set-user-id, set-group-id and sticky.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        (self.mode & 0o7777) as u32
    }

    /// Returns `true` if the node is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.file_type() == Some(FileType::Directory)
    }

    /// The major and minor number of a device. In the form of Linux, the lower 20 bits are the minor number; other systems
    /// store the major number in the upper 32 bits.
    #[must_use]
    pub fn device(&self) -> Option<(u32, u32)> {
        let rdev = self.rdev?;
        Some(match (rdev >> 32) as u32 {
            0 => ((rdev >> 20) as u32, (rdev & 0xf_ffff) as u32),
            major => (major, rdev as u32),
        })
    }
}
