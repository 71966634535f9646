//! Writing files to a filesystem (ZPL version 5).
//!
//! ```text
//! create, link, remove      nodes: attributes in bonus and spill block, content in blocks
//!        |
//! pending names             directory entries and their number, collected for each directory
//!        |
//! flush                     directories: entries, size, links, times
//! ```
//!
//! A [`Writer`] does not borrow the object set: each call takes it, so that it can be synced, and its transaction group
//! committed, between two calls. Call [`Writer::flush`] before that, to write pending names. A failed call does not clean
//! up: drop the transaction group then.

mod acl;
mod attributes;
mod content;
mod names;
mod nodes;
mod replay;
mod xattrs;

use std::collections::{BTreeMap, HashMap};

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::zap::{Value, ZapMut};
use zstream_dmu::{Random, RangeSet};
use zstream_format::object_type::ObjsetType;

use self::names::Rules;
use crate::directory::DirectoryEntry;
use crate::error::{Error, Result};
use crate::fs::{Filesystem, node_of};
use crate::master::{self, VERSION_WRITTEN};
use crate::node::{FileType, Node, Time};
use crate::sa::{Attribute, Registry};

pub use self::content::{ImageError, write_hole, write_image};
pub use self::nodes::{NewNode, NodeKind};

/// The maximum length of a name in bytes, without the feature `longname`.
pub const NAME_BYTES_MAX: usize = 255;

/// The number of pending names above which they are written to their directories.
const PENDING_MAX: usize = 100_000;

/// The settings for writing files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The property `recordsize` in bytes, a power of two.
    pub record_bytes: u32,
    /// The property `dnodesize` in slots of 512 bytes.
    pub dn_slots: u8,
    /// The property `xattr`: `true` to store short extended attributes as a system attribute (`sa`).
    pub xattrs_inline: bool,
    /// The time of the changes: the change time of all nodes, and the modification time of directories.
    pub now: Time,
}

/// The pending changes of a directory.
#[derive(Debug, Default)]
struct Pending {
    /// The entries, by the key that all spellings of a name share.
    entries: BTreeMap<Vec<u8>, Waiting>,
    subdirectories: u64,
    /// `true` if the times of the directory were set and do not change.
    keeps_times: bool,
}

/// A pending name.
#[derive(Debug)]
struct Waiting {
    /// The name, if it differs from its key.
    name: Option<Vec<u8>>,
    value: u64,
}

/// A writer of files to a filesystem.
pub struct Writer {
    settings: Settings,
    registry: Registry,
    root: ObjectId,
    rules: Rules,
    random: Random,
    /// The objects that were created. This and `met` are used only if names have several spellings.
    made: RangeSet,
    /// The directories that existed before, and objects that keep the name of a replaced one, with the names by which they were found.
    met: HashMap<u64, Vec<u8>>,
    pending: HashMap<u64, Pending>,
    pending_count: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer(root {}, {} pending names)", self.root, self.pending_count)
    }
}

impl Writer {
    /// Opens the filesystem in `set` for writing. `random` provides the salts of ZAPs.
    ///
    /// # Errors
    ///
    /// Fails if the object set is not a filesystem of ZPL version 5 or cannot be read, and if a setting is invalid.
    pub fn open(set: &dyn ObjectSet, settings: Settings, random: Random) -> Result<Self> {
        if set.objset_type() != ObjsetType::ZFS {
            return Err(Error::other_type("files can be written to filesystems only"));
        }
        if !settings.record_bytes.is_power_of_two() || settings.record_bytes < 512 {
            return Err(Error::bad_request(format!(
                "recordsize is {}, expected a power of two from 512",
                settings.record_bytes
            )));
        }
        let fs = Filesystem::open(set)?;
        if fs.version() != VERSION_WRITTEN {
            return Err(Error::unsupported(format!(
                "writing files to a filesystem of version {}, expected {VERSION_WRITTEN}",
                fs.version()
            )));
        }
        let master = master::open(set)?;
        let attributes = master::required(&master, master::SA_ATTRS)?;
        Ok(Self {
            registry: Registry::open(set, ObjectId(attributes))?,
            root: fs.root(),
            rules: Rules {
                normalization: fs.normalization(),
                case: fs.case_sensitivity(),
                utf8_only: master.lookup_u64("utf8only")?.unwrap_or_default() != 0,
            },
            settings,
            random,
            made: RangeSet::default(),
            met: HashMap::new(),
            pending: HashMap::new(),
            pending_count: 0,
        })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> ObjectId {
        self.root
    }

    /// The block size of files that have several blocks, in bytes.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.settings.record_bytes.into()
    }

    /// Reads the node of an object. The counts of directories are those of the last [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Fails if the node does not exist or cannot be read.
    pub fn node(&self, set: &dyn ObjectSet, object: ObjectId) -> Result<Node> {
        Ok(node_of(set, Some(&self.registry), object)?)
    }

    /// Looks up a name in a directory.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be read.
    pub fn lookup(
        &self,
        set: &dyn ObjectSet,
        directory: ObjectId,
        name: &[u8],
    ) -> Result<Option<DirectoryEntry>> {
        if let Some(pending) = self.pending.get(&directory.0)
            && let Some(key) = self.rules.key(name)
            && let Some(waiting) = pending.entries.get(&key)
        {
            let name = waiting.name.clone().unwrap_or(key);
            return Ok(Some(DirectoryEntry::from_value(name, waiting.value)));
        }
        Ok(crate::directory::open_for(set, directory, self.rules.case)?.lookup(name)?)
    }

    /// Adds a pending name to a directory.
    fn enter(
        &mut self,
        set: &mut dyn ObjectStore,
        directory: ObjectId,
        name: &[u8],
        object: ObjectId,
        file_type: FileType,
    ) -> Result<()> {
        let key = self.rules.need_key(name)?;
        let value = file_type.entry(object);
        let waiting = Waiting { name: (key != name).then(|| name.to_vec()), value };
        let pending = self.pending.entry(directory.0).or_default();
        pending.entries.insert(key, waiting);
        pending.subdirectories += u64::from(file_type == FileType::Directory);
        self.pending_count += 1;
        if self.pending_count > PENDING_MAX { self.flush(set) } else { Ok(()) }
    }

    /// Writes all pending names to their directories.
    ///
    /// # Errors
    ///
    /// Fails if a directory cannot be changed or already has an entry with the name.
    pub fn flush(&mut self, set: &mut dyn ObjectStore) -> Result<()> {
        self.pending_count = 0;
        let mut all: Vec<(u64, Pending)> = self.pending.drain().collect();
        all.sort_unstable_by_key(|(directory, _)| *directory);
        for (directory, pending) in all {
            let directory = ObjectId(directory);
            if pending.entries.is_empty() {
                self.pending.insert(directory.0, pending);
                continue;
            }
            let count = pending.entries.len() as u64;
            let mut zap = ZapMut::open(set, directory)?;
            for (key, waiting) in pending.entries {
                zap.add(&waiting.name.unwrap_or(key)[..], &Value::word(waiting.value))?;
            }
            self.recount(
                set,
                directory,
                count.cast_signed(),
                pending.subdirectories.cast_signed(),
                pending.keeps_times,
            )?;
            if pending.keeps_times {
                self.pending.insert(directory.0, Pending { keeps_times: true, ..Pending::default() });
            }
        }
        Ok(())
    }

    /// Updates the counts of a directory, and its times unless they were set.
    fn recount(
        &self,
        set: &mut dyn ObjectStore,
        directory: ObjectId,
        entries: i64,
        subdirectories: i64,
        keeps_times: bool,
    ) -> Result<()> {
        let node = self.node(set, directory)?;
        let changed = |count: u64, change: i64| {
            count.checked_add_signed(change).ok_or_else(|| {
                Error::corrupt(
                    "directory",
                    format!("object {directory} has a count of {count} entries or links"),
                )
            })
        };
        let now = self.settings.now;
        let now = vec![now.seconds.cast_unsigned(), now.nanoseconds];
        let mut changes = vec![
            (Attribute::Size, vec![changed(node.size, entries)?]),
            (Attribute::Links, vec![changed(node.links, subdirectories)?]),
        ];
        if !keeps_times {
            changes.push((Attribute::Mtime, now.clone()));
            changes.push((Attribute::Ctime, now));
        }
        attributes::patch(set, &self.registry, directory, &changes)
    }
}
