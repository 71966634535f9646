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

use std::fmt;

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::LogRecord;
use crate::blkptr::{BLOCK_POINTER_BYTES, BlockPointer};
use crate::error::{Error, Result};
use crate::ids::{ObjectId, Txg};

/// The flag in the kind that names are compared without case (`TX_CI`).
const IGNORES_CASE: u64 = 1 << 63;
/// The words of the map of optional attributes (`XVA_MAPSIZE`).
const ATTRIBUTE_WORDS: u32 = 3;
/// The size of the optional attributes in bytes (`ZIL_XVAT_SIZE`).
const ATTRIBUTE_BYTES: usize = 8 + 4 * (ATTRIBUTE_WORDS as usize - 1) + 56;
/// The bits of an object number; the bits above hold the number of slots of its dnode, less one.
const OBJECT_BITS: u32 = 48;
const SLOTS_SHIFT: u32 = 56;

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

fn bad(kind: RecordKind, number: u64, what: impl fmt::Display) -> Error {
    Error::corrupt("log record", format!("record {number} ({}) {what}", kind.name()))
}

/// The variable part of a record, from front to back.
struct Rest<'a> {
    bytes: &'a [u8],
    kind: RecordKind,
    number: u64,
    order: ByteOrder,
}

impl<'a> Rest<'a> {
    fn bad(&self, what: impl fmt::Display) -> Error {
        bad(self.kind, self.number, what)
    }

    fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        let split = usize::try_from(count).ok().and_then(|count| self.bytes.split_at_checked(count));
        let Some((front, rest)) = split else {
            return Err(
                self.bad(format_args!("has {count} bytes of {what}, but {} remain", self.bytes.len()))
            );
        };
        self.bytes = rest;
        Ok(front)
    }

    /// Returns a text that ends with a NUL.
    fn text(&mut self, what: &str) -> Result<Vec<u8>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == 0) else {
            return Err(self.bad(format_args!("has no end of the {what}")));
        };
        let text = self.bytes[..end].to_vec();
        self.bytes = &self.bytes[end + 1..];
        Ok(text)
    }

    fn optional(&mut self) -> Result<OptionalAttributes> {
        let bytes = self.take(ATTRIBUTE_BYTES as u64, "optional attributes")?;
        let words = self.order.u32(bytes);
        if words != ATTRIBUTE_WORDS {
            return Err(self
                .bad(format_args!("has {words} words of optional attributes, expected {ATTRIBUTE_WORDS}")));
        }
        let word = |n: usize| self.order.u64(&bytes[16 + 8 * n..]);
        Ok(OptionalAttributes {
            mask: self.order.u32(&bytes[4..]),
            values: word(0),
            crtime: [word(1), word(2)],
            project: word(3),
        })
    }

    /// Returns the object and the slots of its dnode.
    fn node(&self, object: u64) -> Result<(ObjectId, u8)> {
        let slots = (object >> SLOTS_SHIFT) + 1;
        match u8::try_from(slots) {
            Ok(slots) => Ok((ObjectId(object & ((1 << OBJECT_BITS) - 1)), slots)),
            Err(_) => Err(self.bad(format_args!("has a dnode of {slots} slots"))),
        }
    }

    fn create(&mut self, create: &LogCreate) -> Result<Change> {
        use RecordKind as K;
        let kind = match self.kind {
            K::Mkdir | K::MkdirAcl | K::MkdirAttr | K::MkdirAclAttr => CreatedKind::Directory,
            K::MkXattr => CreatedKind::XattrDirectory,
            K::Symlink => CreatedKind::Symlink,
            _ => CreatedKind::File,
        };
        let acl = match self.kind {
            K::CreateAcl | K::CreateAclAttr | K::MkdirAcl | K::MkdirAclAttr => {
                Some(LogAclHeader::parse(self.take(LogAclHeader::LEN as u64, "the ACL header")?, self.order))
            }
            _ => None,
        };
        let optional = match self.kind {
            K::CreateAttr | K::CreateAclAttr | K::MkdirAttr | K::MkdirAclAttr => Some(self.optional()?),
            _ => None,
        };
        let mut domains = 0;
        if let Some(acl) = &acl {
            self.take(acl.bytes.checked_next_multiple_of(8).unwrap_or(u64::MAX), "an ACL")?;
            self.take(acl.owners.saturating_mul(8), "owners")?;
            domains = acl.domains;
        } else if self.kind != K::Symlink {
            // Owners of a domain are followed by the names of their domains.
            let [user, group] = [create.uid >> 32, create.gid >> 32];
            domains = u64::from(user != 0) + u64::from(group != 0 && group != user);
        }
        for _ in 0..domains {
            self.text("domain")?;
        }
        let name = self.text("name")?;
        let target = if kind == CreatedKind::Symlink { self.text("target")? } else { Vec::new() };
        let (object, slots) = self.node(create.object)?;
        let LogCreate { directory, mode, uid, gid, generation, crtime, rdev, .. } = *create;
        let node = NodeOf { object, slots, mode, uid, gid, generation, crtime, rdev };
        let acl_entries = acl.map(|acl| acl.count);
        let has_domains = domains != 0;
        Ok(Change::Create(Box::new(Created {
            kind,
            directory,
            node,
            name,
            target,
            optional,
            acl_entries,
            has_domains,
        })))
    }

    fn rename(&mut self, rename: &LogRename) -> Result<Change> {
        let whiteout = if self.kind == RecordKind::Whiteout {
            let fields = self.take(LogWhiteout::LEN as u64, "the whiteout")?;
            let LogWhiteout { object, mode, uid, gid, generation, crtime, rdev } =
                LogWhiteout::parse(fields, self.order);
            let (object, slots) = self.node(object)?;
            Some(Box::new(NodeOf { object, slots, mode, uid, gid, generation, crtime, rdev }))
        } else {
            None
        };
        let (from_name, to_name) = (self.text("name")?, self.text("new name")?);
        Ok(Change::Rename { from: rename.from, from_name, to: rename.to, to_name, whiteout })
    }

    fn write(&mut self, write: &LogWrite) -> Result<Change> {
        let LogWrite { object, offset, len, pointer, .. } = *write;
        let object = ObjectId(object.0 & ((1 << OBJECT_BITS) - 1));
        if offset.checked_add(len).is_none() {
            return Err(self.bad(format_args!("has {len} bytes at {offset}, after the maximum offset")));
        }
        if self.kind == RecordKind::Write2 {
            return Ok(Change::Extend { object, offset, len });
        }
        let content = if self.bytes.is_empty() {
            Content::Block(Box::new(pointer))
        } else {
            Content::Inline(self.take(len, "content")?.to_vec())
        };
        Ok(Change::Write { object, offset, len, content })
    }

    fn set_attributes(&mut self, set: &LogSetAttributes) -> Result<Change> {
        let LogSetAttributes { object, mask, mode, uid, gid, size, atime, mtime, .. } = *set;
        let optional = if mask & SetAttributes::OPTIONAL != 0 { Some(self.optional()?) } else { None };
        Ok(Change::SetAttributes(Box::new(SetAttributes {
            object,
            mask,
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
            optional,
        })))
    }

    fn set_xattr(&mut self, set: &LogSetXattr) -> Result<Change> {
        let name = self.text("name")?;
        let value = if set.size == 0 { None } else { Some(self.take(set.size, "the attribute")?.to_vec()) };
        Ok(Change::SetXattr { object: set.object, name, value })
    }

    fn clones(&mut self, clone: &LogClone) -> Result<Change> {
        let LogClone { object, offset, len, block_bytes, count, .. } = *clone;
        let bytes = self.take(count.saturating_mul(BLOCK_POINTER_BYTES as u64), "block pointers")?;
        let pointers = bytes.chunks_exact(BLOCK_POINTER_BYTES);
        let pointers = pointers.filter_map(|bytes| BlockPointer::parse_at(bytes, 0, self.order)).collect();
        if offset.checked_add(len).is_none() {
            return Err(self.bad(format_args!("has {len} bytes at {offset}, after the maximum offset")));
        }
        let object = ObjectId(object.0 & ((1 << OBJECT_BITS) - 1));
        Ok(Change::Clone { object, offset, len, block_bytes, pointers })
    }
}

impl Record {
    /// Decodes a record, which is not encrypted any more.
    ///
    /// # Errors
    /// Fails if the kind is unknown, and if the record is shorter than its fields require.
    pub(crate) fn parse(bytes: &[u8], order: ByteOrder) -> Result<Self> {
        use RecordKind as K;
        let header = LogRecord::read(bytes, order)
            .ok_or_else(|| Error::corrupt("log record", format!("record has {} bytes", bytes.len())))?;
        let (number, txg) = (header.number, header.txg);
        let kind = K::of(header.kind & !IGNORES_CASE).ok_or_else(|| {
            Error::corrupt("log record", format!("record {number} is of kind {:#x}", header.kind))
        })?;
        let mut rest = Rest { bytes, kind, number, order };
        macro_rules! fields {
            ($structure:ident) => {{
                let front = rest.take($structure::LEN as u64, "fields")?;
                $structure::parse(front, order)
            }};
        }
        let change = match kind {
            K::Create
            | K::Mkdir
            | K::MkXattr
            | K::Symlink
            | K::CreateAcl
            | K::CreateAttr
            | K::CreateAclAttr
            | K::MkdirAcl
            | K::MkdirAttr
            | K::MkdirAclAttr => {
                let create = fields!(LogCreate);
                rest.create(&create)?
            }
            K::Remove | K::Rmdir => {
                let LogRemove { directory, .. } = fields!(LogRemove);
                Change::Remove { directory, name: rest.text("name")? }
            }
            K::Link => {
                let LogLink { directory, object, .. } = fields!(LogLink);
                Change::Link { directory, object, name: rest.text("name")? }
            }
            K::Rename | K::Exchange | K::Whiteout => {
                let rename = fields!(LogRename);
                rest.rename(&rename)?
            }
            K::Write | K::Write2 => {
                let write = fields!(LogWrite);
                rest.write(&write)?
            }
            K::Truncate => {
                let LogTruncate { object, offset, len, .. } = fields!(LogTruncate);
                Change::Truncate { object, offset, len }
            }
            K::SetAttributes => {
                let set = fields!(LogSetAttributes);
                rest.set_attributes(&set)?
            }
            K::SetXattr => {
                let set = fields!(LogSetXattr);
                rest.set_xattr(&set)?
            }
            K::AclV0 | K::Acl => {
                let LogAcl { object, .. } = fields!(LogAcl);
                let count = order.u64(rest.take(8, "the ACL")?);
                Change::SetAcl { object, count }
            }
            K::Clone => {
                let clone = fields!(LogClone);
                rest.clones(&clone)?
            }
        };
        Ok(Self { number, txg, kind, ignores_case: header.kind & IGNORES_CASE != 0, change })
    }

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

fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.kind.name())?;
        match &self.change {
            Change::Create(created) => {
                let Created { directory, node, name, target, .. } = &**created;
                write!(f, " object {} mode {:o} directory {directory}", node.object, node.mode)?;
                if created.kind != CreatedKind::XattrDirectory {
                    write!(f, " name {}", shown(name))?;
                }
                if created.kind == CreatedKind::Symlink {
                    write!(f, " target {}", shown(target))?;
                }
                Ok(())
            }
            Change::Remove { directory, name } => write!(f, " directory {directory} name {}", shown(name)),
            Change::Link { directory, object, name } => {
                write!(f, " object {object} directory {directory} name {}", shown(name))
            }
            Change::Rename { from, from_name, to, to_name, .. } => {
                let names = (shown(from_name), shown(to_name));
                write!(f, " directory {from} name {} to directory {to} name {}", names.0, names.1)
            }
            Change::Write { object, offset, len, content } => {
                write!(f, " object {object} offset {offset} length {len}")?;
                match content {
                    Content::Block(pointer) => write!(f, " block {pointer}"),
                    Content::Inline(_) => Ok(()),
                }
            }
            Change::Extend { object, offset, len } | Change::Truncate { object, offset, len } => {
                write!(f, " object {object} offset {offset} length {len}")
            }
            Change::SetAttributes(set) => write!(f, " object {} mask {:#x}", set.object, set.mask),
            Change::SetXattr { object, name, value } => {
                let bytes = value.as_ref().map_or(0, Vec::len);
                write!(f, " object {object} name {} length {bytes}", shown(name))
            }
            Change::SetAcl { object, count } => write!(f, " object {object} entries {count}"),
            Change::Clone { object, offset, len, pointers, .. } => {
                write!(f, " object {object} offset {offset} length {len} blocks {}", pointers.len())
            }
        }
    }
}

#[cfg(test)]
mod tests;
