//! A filesystem: its master node, its nodes, and the resolution of paths.

use std::collections::BTreeMap;

use zstream_dmu::error::{Error as PoolError, Fault as PoolFault, Result as PoolResult};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::NormFlags;
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::content::Content;
use crate::directory::{self, CaseSensitivity, Directory};
use crate::error::{Error, Fault, Result};
use crate::fuid::{self, Fuid};
use crate::master;
use crate::node::{Acl, AclEntries, FileType, Node};
use crate::sa::Registry;
use crate::znode::{self, Gather};

/// The maximum length of the target of a symbolic link in bytes (the largest `PATH_MAX`).
pub(crate) const TARGET_BYTES_MAX: u64 = 4096;
/// The limit for an ACL in bytes, above 1024 entries of 48.
const ACL_BYTES_MAX: u64 = 64 << 10;

/// A filesystem in an object set.
pub struct Filesystem<'a> {
    set: &'a dyn ObjectSet,
    version: u64,
    root: ObjectId,
    registry: Option<Registry>,
    case: CaseSensitivity,
    normalization: NormFlags,
    domains: BTreeMap<u32, String>,
}

impl std::fmt::Debug for Filesystem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filesystem(objset {}, version {})", self.set.objset_id(), self.version)
    }
}

impl<'a> Filesystem<'a> {
    /// Opens the filesystem in an object set.
    ///
    /// # Errors
    /// Fails if the object set is not a filesystem, if its ZPL version is unknown, and if its master node is damaged.
    /// Returns [`Encrypted`](PoolFault::Encrypted) if the filesystem is encrypted and its key is not loaded.
    pub fn open(set: &'a dyn ObjectSet) -> Result<Self> {
        let kind = set.objset_type();
        if kind != ObjsetType::ZFS {
            return Err(Error::other_type(format!(
                "object set is of type {}, expected a filesystem",
                kind.name()
            )));
        }
        let master = master::open(set)?;
        let version = master::required(&master, master::VERSION)?;
        if !master::VERSIONS.contains(&version) {
            return Err(Error::unsupported(format!("ZPL version {version}")));
        }
        let case = match master.lookup_u64("casesensitivity")? {
            None | Some(0) => CaseSensitivity::Sensitive,
            Some(1) => CaseSensitivity::Insensitive,
            Some(2) => CaseSensitivity::Mixed,
            Some(other) => {
                let detail = format!("casesensitivity is {other}, expected 0 to 2");
                return Err(Error::corrupt("master node", detail));
            }
        };
        let object = |name: &str| Ok::<_, Error>(master.lookup_u64(name)?.map(ObjectId));
        Ok(Self {
            set,
            version,
            root: ObjectId(master::required(&master, master::ROOT)?),
            registry: object(master::SA_ATTRS)?.map(|object| Registry::open(set, object)).transpose()?,
            case,
            normalization: NormFlags::from_bits_retain(
                master.lookup_u64("normalization")?.unwrap_or_default(),
            ),
            domains: object("FUID")?
                .map_or_else(|| Ok(BTreeMap::new()), |table| fuid::domains(set, table))?,
        })
    }

    /// The ZPL version, 1 to 5.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The object of the root directory.
    #[must_use]
    pub fn root(&self) -> ObjectId {
        self.root
    }

    /// The case sensitivity of names.
    #[must_use]
    pub(crate) fn case_sensitivity(&self) -> CaseSensitivity {
        self.case
    }

    /// The normalization form in which names are compared.
    #[must_use]
    pub fn normalization(&self) -> NormFlags {
        self.normalization
    }

    /// The domain of a user or group. `None` for POSIX ids and for an index that is missing in the table.
    #[must_use]
    pub fn domain(&self, id: Fuid) -> Option<&str> {
        self.domains.get(&id.domain()).map(String::as_str)
    }

    /// Reads the node of an object.
    ///
    /// # Errors
    /// Fails if the object does not exist, if it is not a node, and if its attributes cannot be read.
    pub fn node(&self, object: ObjectId) -> PoolResult<Node> {
        node_of(self.set, self.registry.as_ref(), object)
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// Fails if the object is not a directory or cannot be read.
    pub fn directory(&self, object: ObjectId) -> PoolResult<Directory<'a>> {
        directory::open_for(self.set, object, self.case)
    }

    /// Resolves a path from the root, with components separated by `/`. `.` and empty components are skipped, and `..` is
    /// the previous directory of the path, but never above the root. Symbolic links are not followed.
    ///
    /// # Errors
    /// Fails if a component is missing ([`Fault::NotFound`]), is not a directory, or cannot be read.
    pub fn resolve(&self, path: &[u8]) -> Result<Node> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut way = vec![self.root];
        let mut node = self.node(self.root)?;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if !node.is_directory() {
                let part = String::from_utf8_lossy(part);
                let why = format!("{}: the part before {part} is not a directory", shown());
                return Err(Fault::NotADirectory(why).into());
            }
            let object = if part == b".." {
                if way.len() > 1 {
                    way.pop();
                }
                way.last().copied().unwrap_or(self.root)
            } else {
                let found = self.directory(node.object)?.lookup(part)?;
                let object = found.ok_or_else(|| Error::not_found("file", shown()))?.object;
                way.push(object);
                object
            };
            node = self.node(object)?;
        }
        Ok(node)
    }

    /// Returns the content of a regular file.
    ///
    /// # Errors
    /// Fails if the node is not a regular file, and if its size is invalid.
    pub fn content(&self, node: &Node) -> Result<Content<'a>> {
        if node.file_type() != Some(FileType::File) {
            return Err(Error::other_type(format!("object {} is not a regular file", node.object)));
        }
        Ok(self.data(node)?)
    }

    fn data(&self, node: &Node) -> PoolResult<Content<'a>> {
        self.set.info(node.object)?.expect_type(ObjectType::PLAIN_FILE_CONTENTS)?;
        Content::new(self.set, node.object, node.size)
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    /// Fails if the node is not a symbolic link, and if its target is too long or cannot be read.
    pub fn target(&self, node: &Node) -> Result<Vec<u8>> {
        if node.file_type() != Some(FileType::Symlink) {
            return Err(Error::other_type(format!("object {} is not a symbolic link", node.object)));
        }
        match &node.inline_target {
            Some(target) => Ok(target.clone()),
            None => Ok(self.data(node)?.small("symbolic link", TARGET_BYTES_MAX)?),
        }
    }

    /// Reads the entries of the ACL of a node, as stored.
    ///
    /// # Errors
    /// Fails if the entries are in an object of their own that cannot be read, and if they are too long.
    pub fn acl_entries(&self, acl: &Acl) -> PoolResult<Vec<u8>> {
        match &acl.entries {
            AclEntries::Inline(entries) => Ok(entries.clone()),
            AclEntries::Object(object, size) => {
                Content::new(self.set, *object, *size)?.small("ACL", ACL_BYTES_MAX)
            }
        }
    }
}

/// Reads the node of an object, with the attributes of this registry.
pub(crate) fn node_of(
    set: &dyn ObjectSet,
    registry: Option<&Registry>,
    object: ObjectId,
) -> PoolResult<Node> {
    let info = set.info(object)?;
    let of_object = |error: PoolError| match error.place().bookmark {
        None => match error.into_fault() {
            PoolFault::Corrupt { what, detail } => {
                PoolError::corrupt(what, format!("{detail} (object {object})"))
            }
            other => other.into(),
        },
        Some(_) => error,
    };
    match info.bonus_type {
        ObjectType::ZNODE => znode::legacy(object, info.bonus()?).map_err(of_object),
        ObjectType::SA => {
            let registry = registry.ok_or_else(|| {
                PoolError::corrupt("master node", "it has no SA_ATTRS, but there are system attributes")
            })?;
            let mut gather = Gather::new(object);
            // The bonus takes precedence over the spill block, so it is read last.
            if info.has_spill
                && let Some(spill) = set.spill(object)?
            {
                registry.each(&spill, |name, value| gather.add(name, value)).map_err(of_object)?;
            }
            registry.each(info.bonus()?, |name, value| gather.add(name, value)).map_err(of_object)?;
            gather.finish().map_err(of_object)
        }
        other => Err(PoolError::corrupt("file", format!("object {object} has a bonus of type {other}"))),
    }
}
