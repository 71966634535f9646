//! Creation of nodes, and addition and removal of names.

use zstream_dmu::dnode::NewObject;
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::zap;
use zstream_dmu::zap::{NewZap, Value, Zap, ZapFlags, ZapMut};
use zstream_format::object_type::ObjectType;

use super::{Pending, Writer, acl, attributes};
use crate::directory::CaseSensitivity;
use crate::error::{Error, Fault, Result};
use crate::fs::TARGET_BYTES_MAX;
use crate::fuid::Fuid;
use crate::node::{Acl, AclEntries, FileType, Node, Time};
use crate::sa::Attribute;

// Flags of nodes (`ZFS_*`).
pub(super) const IS_XATTR: u64 = 0x1;
pub(super) const ACL_TRIVIAL: u64 = 0x4;
pub(super) const ACL_AUTO_INHERIT: u64 = 0x40;
/// The flag of a directory whose ACL denies execution to nobody.
pub(super) const NO_EXECS_DENIED: u64 = 0x100;
pub(super) const ARCHIVE: u64 = 1 << 35;
pub(super) const AV_MODIFIED: u64 = 1 << 42;
pub(super) const PROJECT_INHERIT: u64 = 1 << 46;
pub(super) const HAS_PROJECT: u64 = 1 << 47;

/// The maximum depth of nested directories of extended attributes when they are freed: valid ones contain only files.
const XATTR_DEPTH_MAX: usize = 2;

/// The type of a new node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file with its final size in bytes, which determines its block size.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A block device with its major and minor number.
    BlockDevice(u32, u32),
    /// A character device with its major and minor number.
    CharDevice(u32, u32),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

impl NodeKind {
    fn file_type(&self) -> FileType {
        match self {
            Self::File(_) => FileType::File,
            Self::Directory => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
            Self::BlockDevice(..) => FileType::BlockDevice,
            Self::CharDevice(..) => FileType::CharDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// The attributes of a new node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// The type of the node.
    pub kind: NodeKind,
    /// The permission bits, with set-user-id, set-group-id and sticky.
    pub permissions: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last access.
    pub atime: Time,
    /// The time of the last change of the content.
    pub mtime: Time,
    /// The extended attributes: names with their namespace (`user.note`), and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The object of a node without attributes, and the attributes that its kind gives it.
struct Allocated {
    object: ObjectId,
    size: u64,
    links: u64,
    /// The target of a symbolic link.
    target: Option<Vec<u8>>,
    rdev: Option<u64>,
}

impl Writer {
    /// Creates a node with a name. Write the content of a regular file with [`write`](Self::write) and
    /// [`finish`](Self::finish) afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the name exists or is invalid, if the target of a link is too long, and if writing fails.
    pub fn create(
        &mut self,
        set: &mut dyn ObjectStore,
        parent: ObjectId,
        name: &[u8],
        new: &NewNode,
    ) -> Result<ObjectId> {
        self.rules.check(name)?;
        if let Some(found) = self.lookup(set, parent, name)? {
            return Err(self.rules.taken(name, &found.name));
        }
        let inherited = self.node(set, parent)?;
        let object = self.make(set, new, &inherited, 0)?;
        if new.kind == NodeKind::Directory {
            self.pending.insert(object.0, Pending { keeps_times: true, ..Pending::default() });
        }
        self.enter(set, parent, name, object, new.kind.file_type())?;
        Ok(object)
    }

    /// Allocates the object of a node of this kind.
    fn allocate(&mut self, set: &mut dyn ObjectStore, kind: &NodeKind) -> Result<Allocated> {
        let described = |object_type, block_bytes| {
            NewObject { dn_slots: self.settings.dn_slots, ..NewObject::new(object_type, block_bytes) }
                .with_bonus(ObjectType::SA, 0)
        };
        let (mut size, mut target, mut rdev, mut links) = (0, None, None, 1);
        let object = match kind {
            NodeKind::Directory => {
                (size, links) = (2, 2);
                let norm_flags = self.rules.norm_flags();
                let table = NewZap {
                    salt: self.random.u64().map_err(PoolError::from)?,
                    norm_flags,
                    flags: ZapFlags::empty(),
                };
                zap::create_with(set, &described(ObjectType::DIRECTORY_CONTENTS, 0), &table)?
            }
            NodeKind::File(bytes) => {
                let block = (*bytes).min(self.settings.record_bytes.into()).next_multiple_of(512) as u32;
                set.allocate(&described(ObjectType::PLAIN_FILE_CONTENTS, block))?
            }
            other => {
                match other {
                    NodeKind::Symlink(to) => {
                        if to.is_empty() || to.len() as u64 > TARGET_BYTES_MAX || to.contains(&0) {
                            return Err(Error::bad_request(format!(
                                "target of a symbolic link is {} bytes, expected 1 to {TARGET_BYTES_MAX} without NUL",
                                to.len()
                            )));
                        }
                        size = to.len() as u64;
                        target = Some(to.clone());
                    }
                    // The form of Linux; numbers that do not fit use that of other systems.
                    NodeKind::BlockDevice(major, minor) | NodeKind::CharDevice(major, minor) => {
                        rdev = Some(pack_device(*major, *minor));
                    }
                    _ => {}
                }
                set.allocate(&described(ObjectType::PLAIN_FILE_CONTENTS, 512))?
            }
        };
        Ok(Allocated { object, size, links, target, rdev })
    }

    /// Creates a node without a name.
    pub(super) fn make(
        &mut self,
        set: &mut dyn ObjectStore,
        new: &NewNode,
        parent: &Node,
        flags: u64,
    ) -> Result<ObjectId> {
        let file_type = new.kind.file_type();
        let Allocated { object, size, links, target, rdev } = self.allocate(set, &new.kind)?;
        self.note_made(object, self.settings.dn_slots);
        let (count, entries) = acl::trivial(new.permissions);
        let mut node = Node {
            object,
            mode: file_type.number() << 12 | u64::from(new.permissions & 0o7777),
            size,
            links,
            uid: Fuid(new.uid.into()),
            gid: Fuid(new.gid.into()),
            atime: new.atime,
            mtime: new.mtime,
            ctime: self.settings.now,
            crtime: self.settings.now,
            generation: set.txg().0,
            parent: parent.object,
            flags: flags | ARCHIVE | AV_MODIFIED | ACL_TRIVIAL | directory_flags(file_type, new.permissions),
            rdev,
            inline_target: target,
            acl: Some(Acl { version: 1, count, entries: AclEntries::Inline(entries) }),
            ..Node::default()
        };
        if parent.flags & PROJECT_INHERIT != 0
            && let Some(project) = parent.project
        {
            node.project = Some(project);
            node.flags |= HAS_PROJECT;
            if file_type == FileType::Directory {
                node.flags |= PROJECT_INHERIT;
            }
        }
        self.put_xattrs(set, &mut node, &new.xattrs)?;
        attributes::store(set, &mut self.registry, &node)?;
        Ok(object)
    }

    /// Sets owner, permissions, times and extended attributes of an existing node to those of `new`. The kind in `new` is
    /// ignored.
    ///
    /// # Errors
    ///
    /// Fails if the attributes of the node cannot be read or written.
    pub fn set_attributes(
        &mut self,
        set: &mut dyn ObjectStore,
        object: ObjectId,
        new: &NewNode,
    ) -> Result<()> {
        let mut node = self.node(set, object)?;
        let file_type = file_type(&node)?;
        node.mode = file_type.number() << 12 | u64::from(new.permissions & 0o7777);
        (node.uid, node.gid) = (Fuid(new.uid.into()), Fuid(new.gid.into()));
        (node.atime, node.mtime, node.ctime) = (new.atime, new.mtime, self.settings.now);
        node.flags &= !(NO_EXECS_DENIED | ACL_AUTO_INHERIT);
        node.flags |= ACL_TRIVIAL | directory_flags(file_type, new.permissions);
        let (count, entries) = acl::trivial(new.permissions);
        node.acl = Some(Acl { version: 1, count, entries: AclEntries::Inline(entries) });
        self.put_xattrs(set, &mut node, &new.xattrs)?;
        attributes::store(set, &mut self.registry, &node)?;
        if file_type == FileType::Directory {
            self.pending.entry(object.0).or_default().keeps_times = true;
        }
        Ok(())
    }

    /// Adds a name to an existing node (a hard link).
    ///
    /// # Errors
    ///
    /// Fails if the name exists or is invalid, if the node is a directory, and if writing fails.
    pub fn link(
        &mut self,
        set: &mut dyn ObjectStore,
        parent: ObjectId,
        name: &[u8],
        object: ObjectId,
    ) -> Result<()> {
        self.rules.check(name)?;
        if let Some(found) = self.lookup(set, parent, name)? {
            return Err(self.rules.taken(name, &found.name));
        }
        let node = self.node(set, object)?;
        let file_type = node.file_type().filter(|kind| *kind != FileType::Directory);
        let file_type =
            file_type.ok_or_else(|| Error::other_type("a directory cannot have a second name"))?;
        self.set_links(set, &node, node.links + 1)?;
        // The parent of the node is the directory of its last name (`zfs_link_create`).
        attributes::patch(set, &self.registry, object, &[(Attribute::Parent, vec![parent.0])])?;
        self.enter(set, parent, name, object, file_type)
    }

    fn set_links(&self, set: &mut dyn ObjectStore, node: &Node, links: u64) -> Result<()> {
        let now = self.settings.now;
        let changes = [
            (Attribute::Links, vec![links]),
            (Attribute::Ctime, vec![now.seconds.cast_unsigned(), now.nanoseconds]),
        ];
        attributes::patch(set, &self.registry, node.object, &changes)
    }

    /// Removes a name, and frees the node with its last name.
    ///
    /// # Errors
    ///
    /// Fails if the name does not exist, if the node is a directory with entries, and if writing fails.
    pub fn remove(&mut self, set: &mut dyn ObjectStore, parent: ObjectId, name: &[u8]) -> Result<()> {
        self.flush(set)?;
        let entry = self
            .lookup(set, parent, name)?
            .ok_or_else(|| Error::not_found("file", String::from_utf8_lossy(name)))?;
        let node = self.node(set, entry.object)?;
        let is_directory = node.is_directory();
        if is_directory && Zap::open(set, node.object)?.entries().next().is_some() {
            let name = String::from_utf8_lossy(name);
            return Err(Fault::NotEmpty(format!("the directory {name} is not empty")).into());
        }
        ZapMut::open(set, parent)?.remove(&entry.name[..])?;
        let keeps_times = self.pending.get(&parent.0).is_some_and(|pending| pending.keeps_times);
        self.recount(set, parent, -1, -i64::from(is_directory), keeps_times)?;
        if is_directory || node.links <= 1 {
            self.pending.remove(&node.object.0);
            return self.free(set, &node, 0);
        }
        self.set_links(set, &node, node.links - 1)
    }

    /// Frees a node and the files of its extended attributes.
    pub(super) fn free(&self, set: &mut dyn ObjectStore, node: &Node, depth: usize) -> Result<()> {
        if let Some(directory) = node.xattr_directory {
            self.free_xattr_directory(set, directory, depth)?;
        }
        Ok(set.free(node.object)?)
    }

    /// Frees a directory of extended attributes with all its files.
    pub(super) fn free_xattr_directory(
        &self,
        set: &mut dyn ObjectStore,
        directory: ObjectId,
        depth: usize,
    ) -> Result<()> {
        if depth >= XATTR_DEPTH_MAX {
            return Err(Error::corrupt("file", "extended attributes have extended attributes"));
        }
        let files: Vec<ObjectId> = crate::directory::open_for(set, directory, CaseSensitivity::Sensitive)?
            .entries()
            .map(|entry| entry.map(|entry| entry.object))
            .collect::<Result<_, _>>()?;
        for file in files {
            let node = self.node(set, file)?;
            self.free(set, &node, depth + 1)?;
        }
        Ok(set.free(directory)?)
    }

    /// Creates the hidden directory in which extended attributes are files.
    pub(super) fn make_xattr_directory(
        &mut self,
        set: &mut dyn ObjectStore,
        node: &Node,
    ) -> Result<ObjectId> {
        let new = NewNode {
            kind: NodeKind::Directory,
            permissions: 0o1777,
            uid: node.uid.rid(),
            gid: node.gid.rid(),
            atime: self.settings.now,
            mtime: self.settings.now,
            xattrs: Vec::new(),
        };
        self.make(set, &new, node, IS_XATTR)
    }

    /// Creates the file of an extended attribute.
    pub(super) fn make_xattr_file(
        &mut self,
        set: &mut dyn ObjectStore,
        directory: &Node,
        name: &[u8],
        value: &[u8],
    ) -> Result<()> {
        self.rules.check(name)?;
        let found = crate::directory::open_for(set, directory.object, self.rules.case)?.lookup(name)?;
        if let Some(found) = found {
            return Err(self.rules.taken(name, &found.name));
        }
        let new = NewNode {
            kind: NodeKind::File(value.len() as u64),
            permissions: 0o644,
            uid: directory.uid.rid(),
            gid: directory.gid.rid(),
            atime: self.settings.now,
            mtime: self.settings.now,
            xattrs: Vec::new(),
        };
        let object = self.make(set, &new, directory, IS_XATTR)?;
        self.write(set, object, 0, value)?;
        self.finish(set, object, value.len() as u64)?;
        let entry = FileType::File.entry(object);
        ZapMut::open(set, directory.object)?.add(name, &Value::word(entry))?;
        let changes = [(Attribute::Size, vec![self.node(set, directory.object)?.size + 1])];
        attributes::patch(set, &self.registry, directory.object, &changes)
    }
}

/// Returns the type of a node.
pub(super) fn file_type(node: &Node) -> Result<FileType> {
    node.file_type()
        .ok_or_else(|| Error::corrupt("file", format!("object {} has mode {:o}", node.object, node.mode)))
}

/// Returns the additional flags of directories.
pub(super) fn directory_flags(file_type: FileType, permissions: u32) -> u64 {
    match file_type {
        FileType::Directory if permissions & 0o111 == 0o111 => ACL_AUTO_INHERIT | NO_EXECS_DENIED,
        FileType::Directory => ACL_AUTO_INHERIT,
        _ => 0,
    }
}

/// Encodes a device number as Linux stores it: the lower 20 bits are the minor number.
fn pack_device(major: u32, minor: u32) -> u64 {
    if minor < 1 << 20 && major < 1 << 12 {
        u64::from(major) << 20 | u64::from(minor)
    } else {
        u64::from(major) << 32 | u64::from(minor)
    }
}
