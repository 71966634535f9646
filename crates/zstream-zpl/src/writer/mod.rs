//! Files written into a filesystem (ZPL version 5).
//!
//! ```text
//! create, link, remove      nodes: attributes in bonus and spill block, content in blocks
//!        |
//! names that wait           entries of directories, and how many: put there together
//!        |
//! flush                     directories: entries, size, links, times
//! ```
//!
//! A [`Writer`] only remembers: each call is given the object set, so that this can be synced, and its transaction group
//! committed, between two calls. Before that, [`Writer::flush`] puts in what waits. Nothing here removes what it has made
//! when something fails: the transaction group is dropped then.

mod acl;
mod attributes;
mod content;
mod names;
mod nodes;
mod xattrs;

use std::collections::{BTreeMap, HashMap};

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::random::Random;
use zstream_dmu::range_set::RangeSet;
use zstream_dmu::zap::{Value, Zap, ZapMut};
use zstream_format::object_type::ObjsetType;

use self::names::Rules;
use crate::directory::DirectoryEntry;
use crate::fs::{Filesystem, MASTER_NODE, node_of};
use crate::node::{FileType, Node, Time};
use crate::sa::{Attribute, Registry};

pub use self::content::{ImageError, write_hole, write_image};
pub use self::nodes::{NewNode, NodeKind};

/// The longest name, in bytes, without the feature `longname`.
pub const NAME_BYTES_MAX: usize = 255;

/// Names that wait until they are put into their directories.
const PENDING_MAX: usize = 100_000;

/// The ZPL version that can be written to.
const VERSION: u64 = 5;

/// How files are to be written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Property `recordsize` in bytes: a power of two.
    pub record_bytes: u32,
    /// Property `dnodesize` in slots of 512 bytes.
    pub dn_slots: u8,
    /// Property `xattr`: whether short extended attributes are kept next to the others (`sa`).
    pub xattrs_inline: bool,
    /// When changes happen: the time of change of everything, of modification of directories.
    pub now: Time,
}

/// What waits to be put into a directory.
#[derive(Debug, Default)]
struct Pending {
    /// Entries by what is the same for all spellings of a name.
    entries: BTreeMap<Vec<u8>, Waiting>,
    subdirectories: u64,
    /// The directory's times were given, and stay.
    keeps_times: bool,
}

/// A name that waits.
#[derive(Debug)]
struct Waiting {
    /// The name, unless its key is the name itself.
    name: Option<Vec<u8>>,
    value: u64,
}

/// What is known of a filesystem that is written to.
pub struct Writer {
    settings: Settings,
    registry: Registry,
    root: ObjectId,
    rules: Rules,
    random: Random,
    /// Objects that were made; kept, like the next, where names have several spellings.
    made: RangeSet,
    /// Directories that were there before, and what keeps the name of something else, with the name by which each was met.
    met: HashMap<u64, Vec<u8>>,
    pending: HashMap<u64, Pending>,
    pending_count: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer(root {}, {} names wait)", self.root, self.pending_count)
    }
}

impl Writer {
    /// Reads what has to be known of the filesystem in `set`. `random` is asked for the salts of tables.
    ///
    /// # Errors
    ///
    /// The set holds no filesystem of ZPL version 5, or it cannot be read; a setting makes no sense.
    pub fn open(set: &dyn ObjectSet, settings: Settings, random: Random) -> Result<Self> {
        if set.objset_type() != ObjsetType::ZFS {
            return Err(Error::invalid("files can be written to filesystems only"));
        }
        if !settings.record_bytes.is_power_of_two() || settings.record_bytes < 512 {
            return Err(Error::invalid(format!("recordsize {}", settings.record_bytes)));
        }
        let fs = Filesystem::open(set)?;
        if fs.version() != VERSION {
            return Err(Error::unsupported(format!(
                "writing files to a filesystem of version {}, expected {VERSION}",
                fs.version()
            )));
        }
        let master = Zap::open(set, MASTER_NODE)?;
        let attributes = master
            .lookup_u64("SA_ATTRS")?
            .ok_or_else(|| Error::corrupt("master node", "it has no SA_ATTRS"))?;
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

    /// The size of blocks of files that have several.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.settings.record_bytes.into()
    }

    /// The node that is this object. Counts of directories are those of the last [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn node(&self, set: &dyn ObjectSet, object: ObjectId) -> Result<Node> {
        node_of(set, Some(&self.registry), object)
    }

    /// What a name in a directory stands for.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
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
        crate::directory::open_for(set, directory, self.rules.case)?.lookup(name)
    }

    /// Lets a name wait for its directory.
    fn enter(
        &mut self,
        set: &mut dyn ObjectStore,
        directory: ObjectId,
        name: &[u8],
        object: ObjectId,
        file_type: FileType,
    ) -> Result<()> {
        let key = self.rules.need_key(name)?;
        let value = file_type.number() << 60 | object.0;
        let waiting = Waiting { name: (key != name).then(|| name.to_vec()), value };
        let pending = self.pending.entry(directory.0).or_default();
        pending.entries.insert(key, waiting);
        pending.subdirectories += u64::from(file_type == FileType::Directory);
        self.pending_count += 1;
        if self.pending_count > PENDING_MAX { self.flush(set) } else { Ok(()) }
    }

    /// Puts all names that wait into their directories.
    ///
    /// # Errors
    ///
    /// A directory cannot be changed, or has an entry of such a name.
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

    /// Changes the counts of a directory, and its times unless they were given.
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
                Error::corrupt("directory", format!("object {directory} counts {count} entries or links"))
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
