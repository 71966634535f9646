//! The records of intent logs, decoded (`lr_t` and the structures that start with it).
//!
//! ```text
//! 0   kind, with the flag "compare names without case" in the top bit
//! 8   length of the record in bytes
//! 16  transaction group of the change
//! 24  number of the record
//! 32  fields of the kind, then names, content, attributes or block pointers
//! ```
//!
//! A record describes one system call. Nothing in it is trusted: every length is checked against the record.

mod parse;
mod text;

use zstream_format::structure;

use super::LogRecord;
use crate::blkptr::BlockPointer;
use crate::ids::{ObjectId, Txg};

/// Declares the kinds of records with their numbers and names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// A kind of record (`TX_*`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RecordKind { $($(#[$doc])* $name = $number,)* }

        impl RecordKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            fn of(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name of the kind in OpenZFS.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// A file was created.
    Create = 1 "TX_CREATE",
    /// A directory was created.
    Mkdir = 2 "TX_MKDIR",
    /// A directory of extended attributes was created.
    MkXattr = 3 "TX_MKXATTR",
    /// A symbolic link was created.
    Symlink = 4 "TX_SYMLINK",
    /// A name was removed.
    Remove = 5 "TX_REMOVE",
    /// A directory was removed.
    Rmdir = 6 "TX_RMDIR",
    /// A name was added.
    Link = 7 "TX_LINK",
    /// A name was changed.
    Rename = 8 "TX_RENAME",
    /// Content was written.
    Write = 9 "TX_WRITE",
    /// A range was freed.
    Truncate = 10 "TX_TRUNCATE",
    /// Attributes were set.
    SetAttributes = 11 "TX_SETATTR",
    /// An ACL of version 0 was set.
    AclV0 = 12 "TX_ACL_V0",
    /// An ACL was set.
    Acl = 13 "TX_ACL",
    /// A file with an ACL was created.
    CreateAcl = 14 "TX_CREATE_ACL",
    /// A file with optional attributes was created.
    CreateAttr = 15 "TX_CREATE_ATTR",
    /// A file with an ACL and optional attributes was created.
    CreateAclAttr = 16 "TX_CREATE_ACL_ATTR",
    /// A directory with an ACL was created.
    MkdirAcl = 17 "TX_MKDIR_ACL",
    /// A directory with optional attributes was created.
    MkdirAttr = 18 "TX_MKDIR_ATTR",
    /// A directory with an ACL and optional attributes was created.
    MkdirAclAttr = 19 "TX_MKDIR_ACL_ATTR",
    /// Content was written whose block was being synced.
    Write2 = 20 "TX_WRITE2",
    /// An extended attribute in the system attributes was set.
    SetXattr = 21 "TX_SETSAXATTR",
    /// Two names were exchanged.
    Exchange = 22 "TX_RENAME_EXCHANGE",
    /// A name was changed, and replaced by a whiteout.
    Whiteout = 23 "TX_RENAME_WHITEOUT",
    /// Blocks were cloned.
    Clone = 24 "TX_CLONE_RANGE",
}

structure! {
    /// A record of a new file (`_lr_create_t`).
    LogCreate[104] {
        record: LogRecord,
        directory: ObjectId,
        /// The object, with the slots of its dnode.
        object: u64,
        mode: u64,
        uid: u64,
        gid: u64,
        generation: u64,
        crtime: [u64; 2],
        rdev: u64,
    }

    /// The lengths of an ACL in a record.
    LogAclHeader[40] {
        /// The number of entries.
        count: u64,
        /// The number of domains.
        domains: u64,
        /// The number of owners with a domain.
        owners: u64,
        /// The size of the entries in bytes.
        bytes: u64,
        flags: u64,
    }

    /// A record of a removed name (`lr_remove_t`).
    LogRemove[40] { record: LogRecord, directory: ObjectId }

    /// A record of a new name (`lr_link_t`).
    LogLink[48] { record: LogRecord, directory: ObjectId, object: ObjectId }

    /// A record of a changed name (`_lr_rename_t`).
    LogRename[48] { record: LogRecord, from: ObjectId, to: ObjectId }

    /// The whiteout in a record of a changed name (`lr_rename_whiteout_t`).
    LogWhiteout[64] {
        object: u64,
        mode: u64,
        uid: u64,
        gid: u64,
        generation: u64,
        crtime: [u64; 2],
        rdev: u64,
    }

    /// A write record (`lr_write_t`).
    pub(crate) LogWrite[192] {
        record: LogRecord,
        object: ObjectId,
        /// The byte offset in the object.
        offset: u64,
        len: u64,
        /// The byte offset in the block.
        block_offset: u64,
        pointer: BlockPointer,
    }

    /// A record of a freed range (`lr_truncate_t`).
    LogTruncate[56] { record: LogRecord, object: ObjectId, offset: u64, len: u64 }

    /// A record of changed attributes (`lr_setattr_t`).
    LogSetAttributes[112] {
        record: LogRecord,
        object: ObjectId,
        mask: u64,
        mode: u64,
        uid: u64,
        gid: u64,
        size: u64,
        atime: [u64; 2],
        mtime: [u64; 2],
    }

    /// A record of an extended attribute (`lr_setsaxattr_t`).
    LogSetXattr[48] { record: LogRecord, object: ObjectId, size: u64 }

    /// The start of records of an ACL (`lr_acl_t`, `lr_acl_v0_t`).
    LogAcl[40] { record: LogRecord, object: ObjectId }

    /// The start of a record of cloned blocks (`lr_clone_range_t`). Their pointers follow.
    pub(crate) LogClone[72] {
        record: LogRecord,
        object: ObjectId,
        /// The byte offset in the object.
        offset: u64,
        len: u64,
        block_bytes: u64,
        /// The number of pointers.
        count: u64,
    }
}

/// A record of an intent log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The number of the record.
    pub number: u64,
    /// The transaction group of the change.
    pub txg: Txg,
    /// The kind.
    pub kind: RecordKind,
    /// Whether names are compared without case.
    pub ignores_case: bool,
    /// The change.
    pub change: Change,
}

/// A change that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node was created.
    Create(Box<Created>),
    /// A name was removed.
    Remove {
        /// The directory.
        directory: ObjectId,
        /// The name.
        name: Vec<u8>,
    },
    /// A name was added.
    Link {
        /// The directory.
        directory: ObjectId,
        /// The node.
        object: ObjectId,
        /// The name.
        name: Vec<u8>,
    },
    /// A name was changed, or two were exchanged.
    Rename {
        /// The directory before.
        from: ObjectId,
        /// The name before.
        from_name: Vec<u8>,
        /// The directory after.
        to: ObjectId,
        /// The name after.
        to_name: Vec<u8>,
        /// The node that got the name before.
        whiteout: Option<Box<NodeOf>>,
    },
    /// Content was written.
    Write {
        /// The object.
        object: ObjectId,
        /// The byte offset.
        offset: u64,
        /// The number of bytes.
        len: u64,
        /// The content.
        content: Content,
    },
    /// The size of a file increased at least to the end of this range.
    Extend {
        /// The object.
        object: ObjectId,
        /// The byte offset.
        offset: u64,
        /// The number of bytes.
        len: u64,
    },
    /// A range was freed; a length of 0 extends to the end.
    Truncate {
        /// The object.
        object: ObjectId,
        /// The byte offset.
        offset: u64,
        /// The number of bytes.
        len: u64,
    },
    /// Attributes were set.
    SetAttributes(Box<SetAttributes>),
    /// An extended attribute was set, or removed.
    SetXattr {
        /// The node.
        object: ObjectId,
        /// The name.
        name: Vec<u8>,
        /// The value; `None` if the attribute was removed.
        value: Option<Vec<u8>>,
    },
    /// An ACL was set.
    SetAcl {
        /// The node.
        object: ObjectId,
        /// The number of entries.
        count: u64,
    },
    /// Blocks were cloned.
    Clone {
        /// The object.
        object: ObjectId,
        /// The byte offset.
        offset: u64,
        /// The number of bytes.
        len: u64,
        /// The block size of the object.
        block_bytes: u64,
        /// The blocks.
        pointers: Vec<BlockPointer>,
    },
}

/// The content of a write record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes in the record.
    Inline(Vec<u8>),
    /// A block that was written for the record: the whole block of the object that contains the range.
    Block(Box<BlockPointer>),
}

/// The type of a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreatedKind {
    /// A file, device, FIFO or socket.
    File,
    /// A directory.
    Directory,
    /// A directory of extended attributes, which has no name.
    XattrDirectory,
    /// A symbolic link.
    Symlink,
}

/// The attributes of a node that a record creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeOf {
    /// The object.
    pub object: ObjectId,
    /// The slots of its dnode.
    pub slots: u8,
    /// The type and the permissions.
    pub mode: u64,
    /// The user.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// The transaction group of creation.
    pub generation: u64,
    /// The time of creation: seconds and nanoseconds.
    pub crtime: [u64; 2],
    /// The device number.
    pub rdev: u64,
}

/// A node that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The type.
    pub kind: CreatedKind,
    /// The directory; of a directory of extended attributes, the node that has them.
    pub directory: ObjectId,
    /// The attributes.
    pub node: NodeOf,
    /// The name.
    pub name: Vec<u8>,
    /// The target of a symbolic link.
    pub target: Vec<u8>,
    /// The optional attributes.
    pub optional: Option<OptionalAttributes>,
    /// The number of entries of the ACL, if there is one.
    pub acl_entries: Option<u64>,
    /// Whether an owner is in a domain.
    pub has_domains: bool,
}

/// Attributes that were set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAttributes {
    /// The node.
    pub object: ObjectId,
    /// The attributes to set, in the numbers of Linux (`ATTR_*`).
    pub mask: u64,
    /// The mode.
    pub mode: u64,
    /// The user.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// The size.
    pub size: u64,
    /// The time of the last access: seconds and nanoseconds.
    pub atime: [u64; 2],
    /// The time of the last change of the content: seconds and nanoseconds.
    pub mtime: [u64; 2],
    /// The optional attributes.
    pub optional: Option<OptionalAttributes>,
}

/// Optional attributes (`lr_attr_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionalAttributes {
    /// The attributes to set (`XAT0_*`).
    pub mask: u32,
    /// The values of those that are flags.
    pub values: u64,
    /// The time of creation: seconds and nanoseconds.
    pub crtime: [u64; 2],
    /// The project, if that is set.
    pub project: u64,
}

impl SetAttributes {
    /// The bit of the mask for the mode.
    pub const MODE: u64 = 1;
    /// The bit of the mask for the user.
    pub const UID: u64 = 1 << 1;
    /// The bit of the mask for the group.
    pub const GID: u64 = 1 << 2;
    /// The bit of the mask for the size.
    pub const SIZE: u64 = 1 << 3;
    /// The bit of the mask for the time of the last access.
    pub const ATIME: u64 = 1 << 4;
    /// The bit of the mask for the time of the last change of the content.
    pub const MTIME: u64 = 1 << 5;
    /// The bit of the mask for the optional attributes.
    pub const OPTIONAL: u64 = 1 << 31;
}

impl Record {
    /// Returns the object of a record that may be replayed after its object was removed (`TX_OOO`).
    #[must_use]
    pub fn object_if_out_of_order(&self) -> Option<ObjectId> {
        match &self.change {
            Change::Write { object, .. }
            | Change::Extend { object, .. }
            | Change::Truncate { object, .. }
            | Change::SetXattr { object, .. }
            | Change::SetAcl { object, .. }
            | Change::Clone { object, .. } => Some(*object),
            Change::SetAttributes(set) => Some(set.object),
            Change::Create(_) | Change::Remove { .. } | Change::Link { .. } | Change::Rename { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
