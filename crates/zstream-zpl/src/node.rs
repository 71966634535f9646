//! What a file, directory, link or device is, besides its content.

use zstream_dmu::ids::ObjectId;

use crate::fuid::Fuid;

/// The bits of a mode that say what the node is (`S_IFMT`).
const TYPE_MASK: u64 = 0o170_000;

/// A moment, as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds; below 10⁹ unless a system of old wrote nonsense.
    pub nanoseconds: u64,
}

/// What a node is.
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
    /// By the upper four bits of a mode, which entries of directories have too.
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

    /// The upper four bits of its modes.
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

    /// The letter that `ls -l` shows.
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

/// An ACL, in the form in which it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// 0: entries of 12 bytes (ZPL version below 3); 1: of 8, 16 or 48 bytes.
    pub version: u16,
    /// Number of entries.
    pub count: u64,
    /// Where its entries are.
    pub entries: AclEntries,
}

/// Where the entries of an ACL are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclEntries {
    /// Here, little-endian.
    Inline(Vec<u8>),
    /// In an object of their own, so many bytes.
    Object(ObjectId, u64),
}

/// The attributes of a node (`znode_phys_t`, or system attributes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its object.
    pub object: ObjectId,
    /// Type and permissions, as `stat` has them.
    pub mode: u64,
    /// Of a file, its bytes; of a directory, its entries and 2.
    pub size: u64,
    /// Number of names; of a directory, of subdirectories and 2.
    pub links: u64,
    /// User.
    pub uid: Fuid,
    /// Group.
    pub gid: Fuid,
    /// Time of the last access.
    pub atime: Time,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Time of the last change of content or attributes.
    pub ctime: Time,
    /// Time of creation.
    pub crtime: Time,
    /// Transaction group of creation.
    pub generation: u64,
    /// The directory that it was created in or moved to.
    pub parent: ObjectId,
    /// Flags (`ZFS_*`).
    pub flags: u64,
    /// Device number, of devices.
    pub rdev: Option<u64>,
    /// Project, where it has one.
    pub project: Option<u64>,
    /// Directory of extended attributes, where it has one.
    pub xattr_directory: Option<ObjectId>,
    /// Extended attributes next to the others, a packed nvlist (`xattr=sa`).
    pub packed_xattrs: Option<Vec<u8>>,
    /// Target of a symbolic link, unless it is in data blocks.
    pub inline_target: Option<Vec<u8>>,
    /// ACL.
    pub acl: Option<Acl>,
}

impl Node {
    /// What the node is; `None` for a mode that says nothing known.
    #[must_use]
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_number((self.mode & TYPE_MASK) >> 12)
    }

    /// The permission bits, with set-user-id, set-group-id and sticky.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        (self.mode & 0o7777) as u32
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.file_type() == Some(FileType::Directory)
    }

    /// Major and minor number of a device. Linux stores its own form, where 20 bits are the minor's; other systems put the
    /// major into the upper 32 bits.
    #[must_use]
    pub fn device(&self) -> Option<(u32, u32)> {
        let rdev = self.rdev?;
        Some(match (rdev >> 32) as u32 {
            0 => ((rdev >> 20) as u32, (rdev & 0xf_ffff) as u32),
            major => (major, rdev as u32),
        })
    }
}
