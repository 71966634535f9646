//! Replay of records that create nodes and change names.

use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::intent_log::{Change, Created, CreatedKind, NodeOf, Record, RecordKind};
use zstream_dmu::object_store::CloneStore;
use zstream_dmu::zap::{self, NewZap, Value, ZapFlags, ZapMut};
use zstream_format::object_type::ObjectType;

use super::super::nodes::{
    ACL_TRIVIAL, ARCHIVE, AV_MODIFIED, HAS_PROJECT, IS_XATTR, PROJECT_INHERIT, directory_flags, file_type,
};
use super::{Writer, acl, attributes, owner, set_optional, time, words};
use crate::error::{Error, Fault, Result};
use crate::fs::TARGET_BYTES_MAX;
use crate::node::{Acl, AclEntries, FileType, Node};
use crate::sa::Attribute;

impl Writer {
    pub(super) fn replay_create(&mut self, set: &mut dyn CloneStore, created: &Created) -> Result<()> {
        if created.acl_entries.is_some() {
            return Err(Error::unsupported("a new file with an ACL in the intent log"));
        }
        if created.has_domains {
            return Err(Error::unsupported("an owner in a domain in the intent log"));
        }
        let parent = self.node(set, created.directory)?;
        let is_named = created.kind != CreatedKind::XattrDirectory;
        if is_named {
            self.rules.check(&created.name)?;
            if let Some(found) = self.lookup(set, parent.object, &created.name)? {
                return Err(self.rules.taken(&created.name, &found.name));
            }
        } else if parent.xattr_directory.is_some() {
            return Err(
                Fault::Exists(format!("of the extended attributes of object {}", parent.object)).into()
            );
        }
        let mut node = self.replay_node(set, &parent, &created.node)?;
        let kind = file_type(&node)?;
        let is_right = match created.kind {
            CreatedKind::Directory | CreatedKind::XattrDirectory => kind == FileType::Directory,
            CreatedKind::Symlink => kind == FileType::Symlink,
            CreatedKind::File => !matches!(kind, FileType::Directory | FileType::Symlink),
        };
        if !is_right {
            let what = format!("object {} has mode {:o} in the intent log", node.object, node.mode);
            return Err(Error::corrupt("log record", what));
        }
        if kind == FileType::Symlink {
            let bytes = created.target.len() as u64;
            if bytes == 0 || bytes > TARGET_BYTES_MAX {
                let what =
                    format!("target of a symbolic link is {bytes} bytes, expected 1 to {TARGET_BYTES_MAX}");
                return Err(Error::corrupt("log record", what));
            }
            node.size = bytes;
            node.inline_target = Some(created.target.clone());
        }
        if let Some(optional) = &created.optional {
            set_optional(&mut node, optional)?;
        }
        if is_named {
            attributes::store(set, &mut self.registry, &node)?;
            return self.enter(set, parent.object, &created.name, node.object, kind);
        }
        node.flags |= IS_XATTR;
        attributes::store(set, &mut self.registry, &node)?;
        let mut parent = self.node(set, parent.object)?;
        parent.xattr_directory = Some(node.object);
        attributes::store(set, &mut self.registry, &parent)
    }

    /// Claims the object of a node, and returns its attributes, which the caller has to store.
    fn replay_node(&mut self, set: &mut dyn CloneStore, parent: &Node, of: &NodeOf) -> Result<Node> {
        let mut node = Node { object: of.object, mode: of.mode, links: 1, ..Node::default() };
        let kind = file_type(&node)?;
        let object_type = match kind {
            FileType::Directory => ObjectType::DIRECTORY_CONTENTS,
            _ => ObjectType::PLAIN_FILE_CONTENTS,
        };
        let block_bytes = if kind == FileType::Directory { 0 } else { 512 };
        let new = NewObject { dn_slots: of.slots, ..NewObject::new(object_type, block_bytes) };
        set.claim(of.object, &new.with_bonus(ObjectType::SA, 0))?;
        self.note_made(of.object, of.slots);
        if kind == FileType::Directory {
            let salt = self.random.u64().map_err(PoolError::from)?;
            let table = NewZap { salt, norm_flags: self.rules.norm_flags(), flags: ZapFlags::empty() };
            zap::create_in(set, of.object, &table)?;
            (node.size, node.links) = (2, 2);
        }
        let permissions = node.permissions();
        let (count, entries) = acl::trivial(permissions);
        (node.uid, node.gid) = (owner(of.uid)?, owner(of.gid)?);
        let created = time(of.crtime);
        (node.atime, node.mtime, node.ctime, node.crtime) = (created, created, created, created);
        node.generation = of.generation;
        node.parent = parent.object;
        node.flags = ARCHIVE
            | AV_MODIFIED
            | ACL_TRIVIAL
            | parent.flags & IS_XATTR
            | directory_flags(kind, permissions);
        node.rdev = matches!(kind, FileType::BlockDevice | FileType::CharDevice).then_some(of.rdev);
        node.acl = Some(Acl { version: 1, count, entries: AclEntries::Inline(entries) });
        if parent.flags & PROJECT_INHERIT != 0
            && let Some(project) = parent.project
        {
            node.project = Some(project);
            node.flags |= HAS_PROJECT;
            if matches!(kind, FileType::Directory | FileType::File) {
                node.flags |= PROJECT_INHERIT;
            }
        }
        Ok(node)
    }

    pub(super) fn replay_rename(&mut self, set: &mut dyn CloneStore, record: &Record) -> Result<()> {
        let Change::Rename { from, from_name, to, to_name, whiteout } = &record.change else { return Ok(()) };
        let is_exchange = record.kind == RecordKind::Exchange;
        self.flush(set)?;
        let missing = |name: &[u8]| Error::not_found("file", String::from_utf8_lossy(name));
        self.rules.check(to_name)?;
        let source = self.lookup(set, *from, from_name)?.ok_or_else(|| missing(from_name))?;
        let target = self.lookup(set, *to, to_name)?;
        let is_same_entry = |found: &crate::DirectoryEntry| from == to && found.name == source.name;
        let target = target.filter(|found| !is_same_entry(found));
        if target.as_ref().is_some_and(|target| target.object == source.object) {
            // Two names of one file: nothing changes.
            return Ok(());
        }
        let moved = self.node(set, source.object)?;
        self.take_name(set, *from, &source.name, &moved)?;
        match &target {
            Some(target) if is_exchange => {
                let other = self.node(set, target.object)?;
                self.take_name(set, *to, &target.name, &other)?;
                self.give_name(set, *from, from_name, &other)?;
            }
            Some(target) => self.remove(set, *to, &target.name)?,
            None if is_exchange => return Err(missing(to_name)),
            None => {}
        }
        self.give_name(set, *to, to_name, &moved)?;
        let Some(whiteout) = whiteout else { return Ok(()) };
        let parent = self.node(set, *from)?;
        let node = self.replay_node(set, &parent, whiteout)?;
        attributes::store(set, &mut self.registry, &node)?;
        self.enter(set, *from, from_name, node.object, file_type(&node)?)
    }

    /// Removes the name of a node that gets another one.
    fn take_name(
        &self,
        set: &mut dyn CloneStore,
        directory: ObjectId,
        name: &[u8],
        node: &Node,
    ) -> Result<()> {
        ZapMut::open(set, directory)?.remove(name)?;
        self.recount(set, directory, -1, -i64::from(node.is_directory()), false)
    }

    /// Gives a node the name that replaces the one it had.
    fn give_name(
        &self,
        set: &mut dyn CloneStore,
        directory: ObjectId,
        name: &[u8],
        node: &Node,
    ) -> Result<()> {
        let value = file_type(node)?.entry(node.object);
        ZapMut::open(set, directory)?.add(name, &Value::word(value))?;
        self.recount(set, directory, 1, i64::from(node.is_directory()), false)?;
        let inherited = self.node(set, directory)?.flags & PROJECT_INHERIT;
        let changes = [
            (Attribute::Parent, vec![directory.0]),
            (Attribute::Flags, vec![node.flags | AV_MODIFIED | ARCHIVE | inherited]),
            (Attribute::Ctime, words(self.settings.now)),
        ];
        attributes::patch(set, &self.registry, node.object, &changes)
    }
}
