//! From names to objects and back.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::{Match, Value, Zap};
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjsetType;

use super::Tx;
use super::make::{DEPTH_MAX, SNAPSHOT_COUNT};
use crate::error::{Error, Fault, Kind, Result};
use crate::name::{NAME_BYTES_MAX, Name, Suffix};
use crate::phys::{DatasetFlags, DatasetPhys, DirPhys};

/// How deep datasets may be nested (`zfs_max_dataset_nesting`).
const NESTING_MAX: usize = 50;

/// Where a new dataset is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vacant {
    /// The directory above.
    pub(super) parent: ObjectId,
    /// The name in it.
    pub(super) name: String,
}

/// How names of snapshots of this dataset are compared.
fn name_match(head: &DatasetPhys) -> Match {
    let insensitive = head.flags.contains(DatasetFlags::CASE_INSENSITIVE);
    if insensitive { Match::Normalized } else { Match::Exact }
}

impl Tx<'_> {
    /// The directory of this name; none where there is none.
    ///
    /// # Errors
    /// When the way there cannot be read.
    pub fn dir_named(&self, name: &str) -> Result<Option<ObjectId>> {
        let mut parts = name.split('/');
        if parts.next() != Some(&self.name) {
            return Ok(None);
        }
        let mut dir = self.root_dir()?;
        for part in parts {
            match self.child(dir, part)? {
                Some(child) => dir = child,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// The head dataset of this name.
    ///
    /// # Errors
    /// `ENOENT` when there is none.
    pub fn head_named(&self, name: &str) -> Result<ObjectId> {
        let dir = self.dir_named(name)?.ok_or_else(|| Error::not_found(Kind::Dataset, name))?;
        self.dir(dir)?.head.ok_or_else(|| Error::not_found(Kind::Dataset, name))
    }

    /// The snapshot of this name of a head; none where there is none.
    ///
    /// # Errors
    /// When the names cannot be read.
    pub fn snapshot_of(&self, head: ObjectId, name: &str) -> Result<Option<ObjectId>> {
        let phys = self.dataset(head)?;
        let Some(names) = phys.snapshot_names else { return Ok(None) };
        let found = Zap::open(&*self.mos, names)?.find(name, name_match(&phys))?;
        Ok(found.map(|entry| entry.value.u64().map(ObjectId)).transpose()?)
    }

    /// The snapshot with this full name.
    ///
    /// # Errors
    /// `ENOENT` when there is none, `EINVAL` when it is no snapshot's name.
    pub fn snapshot_named(&self, name: &str) -> Result<ObjectId> {
        let (head, short) = self.split_snapshot(name)?;
        self.snapshot_of(head, &short)?.ok_or_else(|| Error::not_found(Kind::Snapshot, name))
    }

    /// The head and the short name that a snapshot's full name names.
    pub(super) fn split_snapshot(&self, name: &str) -> Result<(ObjectId, String)> {
        let parsed = Name::parse(name)?;
        match parsed.suffix {
            Suffix::Snapshot(short) => Ok((self.head_named(&parsed.filesystem)?, short)),
            _ => Err(Error::bad_name(format!("{name} is not the name of a snapshot"))),
        }
    }

    /// The dataset or snapshot with this full name.
    ///
    /// # Errors
    /// `ENOENT` when there is none.
    pub fn dataset_named(&self, name: &str) -> Result<ObjectId> {
        if name.contains('@') { self.snapshot_named(name) } else { self.head_named(name) }
    }

    /// A directory and those above it, up to the root.
    pub(super) fn line_up(&self, dir: ObjectId) -> Result<Vec<(ObjectId, DirPhys)>> {
        let mut line = Vec::new();
        let mut at = Some(dir);
        while let Some(next) = at {
            if line.len() >= DEPTH_MAX {
                return Err(Error::corrupt("DSL directory", format!("{dir} is nested without an end")));
            }
            let phys = self.dir(next)?;
            at = phys.parent;
            line.push((next, phys));
        }
        Ok(line)
    }

    /// The full name of a directory.
    ///
    /// # Errors
    /// When the way up cannot be read.
    pub fn dir_name(&self, dir: ObjectId) -> Result<String> {
        let mut parts = Vec::new();
        let mut at = dir;
        for _ in 0..DEPTH_MAX {
            let Some(parent) = self.dir(at)?.parent else {
                parts.push(self.name.clone());
                parts.reverse();
                return Ok(parts.join("/"));
            };
            let children = self.entries(self.dir(parent)?.children)?;
            let own = Value::word(at.0);
            let name = children.into_iter().find(|(_, child)| *child == own).map(|(name, _)| name);
            let missing = || Error::corrupt("DSL directory", format!("{at} is not in {parent}"));
            parts.push(name.ok_or_else(missing)?);
            at = parent;
        }
        Err(Error::corrupt("DSL directory", format!("{dir} is nested without an end")))
    }

    /// The short name of a snapshot, as it is stored.
    ///
    /// # Errors
    /// When it has none.
    pub fn short_name(&self, snapshot: ObjectId) -> Result<String> {
        let head = self.head_of(self.dataset(snapshot)?.dir)?;
        let own = Value::word(snapshot.0);
        let names = self.entries(self.dataset(head)?.snapshot_names)?;
        names
            .into_iter()
            .find(|(_, object)| *object == own)
            .map(|(name, _)| name)
            .ok_or_else(|| Error::corrupt("DSL dataset", format!("snapshot {snapshot} has no name")))
    }

    /// The full name of a dataset or snapshot.
    ///
    /// # Errors
    /// When the way up cannot be read.
    pub fn full_name(&self, dataset: ObjectId) -> Result<String> {
        let phys = self.dataset(dataset)?;
        let dir = self.dir_name(phys.dir)?;
        if phys.is_snapshot() { Ok(format!("{dir}@{}", self.short_name(dataset)?)) } else { Ok(dir) }
    }

    /// The objects of a dataset as they were last synced, and can be seen without a key.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn objset(&self, dataset: ObjectId) -> Result<Objset> {
        Ok(Objset::open_locked(self.reader.clone(), dataset.0, self.dataset(dataset)?.root)?)
    }

    /// Whether datasets can be made under this directory: it is one of a filesystem.
    pub(super) fn is_filesystem(&self, head: ObjectId) -> Result<bool> {
        Ok(self.dataset(head)?.root.is_hole() || self.objset(head)?.objset_type() == ObjsetType::ZFS)
    }

    /// Where a dataset of this name would be made.
    ///
    /// # Errors
    /// `EINVAL` when this cannot be its name, `ENAMETOOLONG`, `EEXIST`, `ENOENT` when there is nothing above it, or
    /// `EINVAL` when that is a volume.
    pub(super) fn vacant(&self, name: &str) -> Result<Vacant> {
        let parsed = Name::parse(name)?;
        let hidden = |part: &str| part.starts_with('$') || part.starts_with('%') || part.contains('%');
        if parsed.suffix != Suffix::None || parsed.filesystem.split('/').any(hidden) {
            return Err(Error::bad_name(format!("{name} cannot be the name of a new dataset")));
        }
        if parsed.filesystem.split('/').count() > NESTING_MAX {
            return Err(Error::refused(
                Errno::ENAMETOOLONG,
                format!("{name} is nested more than {NESTING_MAX} deep"),
            ));
        }
        if parsed.pool() != self.name {
            return Err(Error::refused(Errno::ENOENT, format!("{name} is not in the pool {}", self.name)));
        }
        if self.dir_named(name)?.is_some() {
            return Err(Error::exists(Kind::Dataset, name));
        }
        let Some((above, last)) = name.rsplit_once('/') else {
            return Err(Error::exists(Kind::Dataset, name));
        };
        let parent = self
            .dir_named(above)?
            .ok_or_else(|| Error::refused(Errno::ENOENT, format!("the parent of {name} does not exist")))?;
        if !self.is_filesystem(self.head_of(parent)?)? {
            return Err(Error::refused(Errno::EINVAL, format!("the parent of {name} is not a filesystem")));
        }
        Ok(Vacant { parent, name: last.to_owned() })
    }

    /// Visits every filesystem and volume with its full name and its head, parents first, children by name. Hidden ones are
    /// left out.
    ///
    /// # Errors
    /// When the tree cannot be read, or what `visit` returns.
    pub fn walk(&self, visit: &mut dyn FnMut(&str, ObjectId) -> Result<()>) -> Result<()> {
        self.walk_dir(&self.name.clone(), self.root_dir()?, visit)
    }

    /// The same from one directory on.
    ///
    /// # Errors
    /// As [`walk`](Self::walk).
    pub fn walk_dir(
        &self,
        name: &str,
        dir: ObjectId,
        visit: &mut dyn FnMut(&str, ObjectId) -> Result<()>,
    ) -> Result<()> {
        if name.len() > 4 * NAME_BYTES_MAX {
            return Err(Error::corrupt("DSL directory", format!("{name} nests without an end")));
        }
        let phys = self.dir(dir)?;
        let Some(head) = phys.head else { return Ok(()) };
        visit(name, head)?;
        for (child, object) in self.entries(phys.children)? {
            if !child.contains(['$', '%']) {
                self.walk_dir(&format!("{name}/{child}"), ObjectId(object.u64()?), visit)?;
            }
        }
        Ok(())
    }

    /// The snapshots of a head with their short names, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn snapshots(&self, head: ObjectId) -> Result<Vec<(String, ObjectId)>> {
        let mut list = Vec::new();
        for (name, object) in self.entries(self.dataset(head)?.snapshot_names)? {
            let object = ObjectId(object.u64()?);
            list.push((self.dataset(object)?.creation_txg, name, object));
        }
        list.sort();
        Ok(list.into_iter().map(|(_, name, object)| (name, object)).collect())
    }

    /// The short names of the bookmarks of a head, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn bookmark_names(&self, head: ObjectId) -> Result<Vec<String>> {
        Ok(self.bookmarks(head)?.into_iter().map(|mark| mark.name).collect())
    }

    /// Checks that a head can have a snapshot of this name.
    ///
    /// # Errors
    /// `EEXIST`, `ENAMETOOLONG`, `EINVAL`.
    pub(super) fn check_snapshot_name(&self, head: ObjectId, short: &str) -> Result<()> {
        let full = format!("{}@{short}", self.dir_name(self.dataset(head)?.dir)?);
        if full.len() > NAME_BYTES_MAX {
            return Err(Fault::NameTooLong(format!("the name {full} is too long")).into());
        }
        drop(Name::parse(&full)?);
        if short.contains('%') {
            return Err(Error::bad_name(format!("{full} cannot be the name of a snapshot")));
        }
        if self.snapshot_of(head, short)?.is_some() {
            return Err(Error::exists(Kind::Snapshot, full));
        }
        Ok(())
    }

    /// Takes the name of a snapshot away (`dsl_dataset_snap_remove`).
    pub(super) fn remove_snapshot_name(&mut self, head: ObjectId, name: &str, counts: bool) -> Result<()> {
        let phys = self.dataset(head)?;
        let missing = || Error::not_found(Kind::Snapshot, name);
        let names = phys.snapshot_names.ok_or_else(missing)?;
        let found = Zap::open(&*self.mos, names)?.find(name, name_match(&phys))?.ok_or_else(missing)?;
        self.zap(names)?.remove(found.key)?;
        self.note_snapshots_changed(phys.dir)?;
        if counts {
            self.adjust_counts(phys.dir, SNAPSHOT_COUNT, -1)?;
        }
        Ok(())
    }
}
