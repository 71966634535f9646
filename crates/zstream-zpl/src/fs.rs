//! A file system: its master node, its nodes, and the way from a path to a node.

use std::collections::BTreeMap;

use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::{NormFlags, Zap};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::content::Content;
use crate::directory::{self, CaseSensitivity, Directory};
use crate::fuid::{self, Fuid};
use crate::node::{Acl, AclEntries, FileType, Node};
use crate::sa::Registry;
use crate::znode::{self, Gather};

/// ZPL versions that exist.
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=5;
/// The longest target of a symbolic link, in bytes (`PATH_MAX` where it is longest).
pub(crate) const TARGET_BYTES_MAX: u64 = 4096;
/// The largest ACL, in bytes: 1024 entries of 48.
const ACL_BYTES_MAX: u64 = 64 << 10;

/// A file system in an object set.
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
    /// Opens the file system that an object set holds.
    ///
    /// # Errors
    /// The set holds none, its ZPL version is unknown, or its master node is damaged. Without the key, where the file
    /// system is encrypted: [`Fault::Encrypted`].
    pub fn open(set: &'a dyn ObjectSet) -> Result<Self> {
        let kind = set.objset_type();
        if kind != ObjsetType::ZFS {
            return Err(Error::invalid(format!(
                "an object set of type {}, expected a file system",
                kind.name()
            )));
        }
        let master = Zap::open(set, ObjectId::MASTER_NODE)?;
        let need = |name: &str| {
            let missing = || Error::corrupt("master node", format!("it has no {name}"));
            master.lookup_u64(name)?.ok_or_else(missing)
        };
        let version = need("VERSION")?;
        if !VERSIONS.contains(&version) {
            return Err(Error::unsupported(format!("ZPL version {version}")));
        }
        let case = match master.lookup_u64("casesensitivity")? {
            None | Some(0) => CaseSensitivity::Sensitive,
            Some(1) => CaseSensitivity::Insensitive,
            Some(2) => CaseSensitivity::Mixed,
            Some(other) => return Err(Error::corrupt("master node", format!("casesensitivity {other}"))),
        };
        let object = |name: &str| Ok::<_, Error>(master.lookup_u64(name)?.map(ObjectId));
        Ok(Self {
            set,
            version,
            root: ObjectId(need("ROOT")?),
            registry: object("SA_ATTRS")?.map(|object| Registry::open(set, object)).transpose()?,
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

    /// How names are compared.
    #[must_use]
    pub fn case_sensitivity(&self) -> CaseSensitivity {
        self.case
    }

    /// The form in which names are compared.
    #[must_use]
    pub fn normalization(&self) -> NormFlags {
        self.normalization
    }

    /// The domain of a user or group; `None` for POSIX ids, and for an index that the table does not have.
    #[must_use]
    pub fn domain(&self, id: Fuid) -> Option<&str> {
        self.domains.get(&id.domain()).map(String::as_str)
    }

    /// The node that is this object.
    ///
    /// # Errors
    /// There is none, it is no file, or its attributes cannot be read.
    pub fn node(&self, object: ObjectId) -> Result<Node> {
        node_of(self.set, self.registry.as_ref(), object)
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// The object is none, or cannot be read.
    pub fn directory(&self, object: ObjectId) -> Result<Directory<'a>> {
        directory::open_for(self.set, object, self.case)
    }

    /// The node at a path from the root, parts separated by `/`. `.` and empty parts are skipped, `..` goes back to where
    /// the path came from, and not above the root. Symbolic links are not followed.
    ///
    /// # Errors
    /// Something on the way is missing ([`Fault::NotFound`]), is no directory, or cannot be read.
    pub fn resolve(&self, path: &[u8]) -> Result<Node> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut way = vec![self.root];
        let mut node = self.node(self.root)?;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if !node.is_directory() {
                return Err(Error::invalid(format!(
                    "{}: what comes before {} is no directory",
                    shown(),
                    String::from_utf8_lossy(part)
                )));
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

    /// The content of a regular file.
    ///
    /// # Errors
    /// The node is no file, or its size is impossible.
    pub fn content(&self, node: &Node) -> Result<Content<'a>> {
        if node.file_type() != Some(FileType::File) {
            return Err(Error::invalid(format!("object {} is no regular file", node.object)));
        }
        self.data(node)
    }

    fn data(&self, node: &Node) -> Result<Content<'a>> {
        self.set.info(node.object)?.expect_type(ObjectType::PLAIN_FILE_CONTENTS)?;
        Content::new(self.set, node.object, node.size)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// The node is no link, its target is too long, or cannot be read.
    pub fn target(&self, node: &Node) -> Result<Vec<u8>> {
        if node.file_type() != Some(FileType::Symlink) {
            return Err(Error::invalid(format!("object {} is no symbolic link", node.object)));
        }
        match &node.inline_target {
            Some(target) => Ok(target.clone()),
            None => self.data(node)?.small("symbolic link", TARGET_BYTES_MAX),
        }
    }

    /// The entries of a node's ACL, as they are stored.
    ///
    /// # Errors
    /// They are in an object of their own that cannot be read, or too long.
    pub fn acl_entries(&self, acl: &Acl) -> Result<Vec<u8>> {
        match &acl.entries {
            AclEntries::Inline(entries) => Ok(entries.clone()),
            AclEntries::Object(object, size) => {
                Content::new(self.set, *object, *size)?.small("ACL", ACL_BYTES_MAX)
            }
        }
    }
}

/// The node that an object is, where attributes are registered so.
pub(crate) fn node_of(set: &dyn ObjectSet, registry: Option<&Registry>, object: ObjectId) -> Result<Node> {
    let info = set.info(object)?;
    let of_object = |error: Error| match error.place().bookmark {
        None => match error.into_fault() {
            Fault::Corrupt { what, detail } => Error::corrupt(what, format!("{detail} (object {object})")),
            other => other.into(),
        },
        Some(_) => error,
    };
    match info.bonus_type {
        ObjectType::ZNODE => znode::legacy(object, info.bonus()?).map_err(of_object),
        ObjectType::SA => {
            let registry = registry.ok_or_else(|| {
                Error::corrupt("master node", "no SA_ATTRS, but there are system attributes")
            })?;
            let mut gather = Gather::new(object);
            // What is in both is taken from the bonus, so that comes last.
            if info.has_spill
                && let Some(spill) = set.spill(object)?
            {
                registry.each(&spill, |name, value| gather.add(name, value)).map_err(of_object)?;
            }
            registry.each(info.bonus()?, |name, value| gather.add(name, value)).map_err(of_object)?;
            gather.finish().map_err(of_object)
        }
        other => Err(Error::corrupt("file", format!("object {object} has a bonus of type {other}"))),
    }
}
