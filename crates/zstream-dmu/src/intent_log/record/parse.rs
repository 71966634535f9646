//! The decoding of records.

use std::fmt;

use zstream_format::order::ByteOrder;

use super::{
    Change, Content, Created, CreatedKind, LogAcl, LogAclHeader, LogClone, LogCreate, LogLink, LogRemove,
    LogRename, LogSetAttributes, LogSetXattr, LogTruncate, LogWhiteout, LogWrite, NodeOf, OptionalAttributes,
    Record, RecordKind, SetAttributes,
};
use crate::blkptr::{BLOCK_POINTER_BYTES, BlockPointer};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::intent_log::LogRecord;

/// The flag in the kind that names are compared without case (`TX_CI`).
const IGNORES_CASE: u64 = 1 << 63;
/// The words of the map of optional attributes (`XVA_MAPSIZE`).
pub(super) const ATTRIBUTE_WORDS: u32 = 3;
/// The size of the optional attributes in bytes (`ZIL_XVAT_SIZE`).
pub(super) const ATTRIBUTE_BYTES: usize = 8 + 4 * (ATTRIBUTE_WORDS as usize - 1) + 56;
/// The bits of an object number; the bits above hold the number of slots of its dnode, less one.
const OBJECT_BITS: u32 = 48;
pub(super) const SLOTS_SHIFT: u32 = 56;

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
}
