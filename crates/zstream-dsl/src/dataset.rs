//! Directories and datasets, and the paths between them.

mod tree;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use crate::error::{Error, Result};
pub use crate::phys::DatasetFlags;
use crate::phys::{DatasetPhys, DirPhys};
use crate::pool::Dsl;
use crate::reader::{Mos, SNAPSHOTS_MAX, Step};

/// Names of features that are active in datasets.
pub mod feature {
    /// Blocks above 128 KiB.
    pub const LARGE_BLOCKS: &str = "large_blocks";
    /// Dnodes above 512 bytes.
    pub const LARGE_DNODE: &str = "large_dnode";
    /// Blocks that are compressed with zstd.
    pub const ZSTD_COMPRESS: &str = "zstd_compress";
    /// Redacted content; the value is the list of the guids of the redaction snapshots.
    pub const REDACTED_DATASETS: &str = "redacted_datasets";
    /// Names above 255 bytes.
    pub const LONGNAME: &str = "longname";
    /// Micro ZAPs above 128 KiB.
    pub const LARGE_MICROZAP: &str = "large_microzap";
}

/// A directory of the DSL: a name in the tree of datasets.
pub struct Dir<M = Arc<Objset>> {
    dsl: Arc<Dsl<M>>,
    object: ObjectId,
    name: String,
    phys: DirPhys,
    parent: Option<Arc<Self>>,
}

impl<M> fmt::Debug for Dir<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dir({}, object {})", self.name, self.object)
    }
}

impl<M: Mos> Dir<M> {
    /// Opens the directory at the end of a path, with those above it.
    fn at(dsl: &Arc<Dsl<M>>, path: Vec<Step>) -> Result<Arc<Self>> {
        let mut at = None;
        for Step { object, name, phys } in path {
            at = Some(Arc::new(Self { dsl: dsl.clone(), object, name, phys, parent: at }));
        }
        at.ok_or_else(|| Error::corrupt("DSL directory", "the path from the root is empty"))
    }

    /// Returns the datasets of the pool.
    #[must_use]
    pub fn dsl(&self) -> &Arc<Dsl<M>> {
        &self.dsl
    }

    /// Returns its object in the MOS.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Returns its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the stored fields.
    #[must_use]
    pub fn phys(&self) -> &DirPhys {
        &self.phys
    }

    /// Returns the directory above; `None` for the root of the pool.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Returns the child with this name, which does not include the names above.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn child(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Self>>> {
        match self.dsl.read().lookup(self.phys.children, name)? {
            Some(object) => self.open_child(name, object.u64()?).map(Some),
            None => Ok(None),
        }
    }

    /// Returns all children by name, including hidden ones.
    ///
    /// # Errors
    /// Fails if a child cannot be read.
    pub fn children(self: &Arc<Self>) -> Result<Vec<Arc<Self>>> {
        let entries = self.dsl.read().entries(self.phys.children)?;
        entries.into_iter().map(|(name, object)| self.open_child(&name, object.u64()?)).collect()
    }

    /// Returns the children that can be read, and the errors of others.
    #[must_use]
    pub fn readable_children(self: &Arc<Self>) -> (Vec<Arc<Self>>, Vec<Error>) {
        readable(self.dsl.read().entries(self.phys.children), |(name, object)| {
            self.open_child(name, object.u64()?)
        })
    }

    fn open_child(self: &Arc<Self>, name: &str, object: u64) -> Result<Arc<Self>> {
        let (object, name, parent) = (ObjectId(object), format!("{}/{name}", self.name), Some(self.clone()));
        let mut above = Some(self);
        while let Some(dir) = above {
            if dir.object == object {
                let detail = format!("{name} is the directory {}, which contains it", dir.name);
                return Err(Error::corrupt("DSL directory", detail));
            }
            above = dir.parent.as_ref();
        }
        let phys = self.dsl.read().dir(object)?;
        Ok(Arc::new(Self { dsl: self.dsl.clone(), object, name, phys, parent }))
    }

    /// Visits this directory and those below, like [`Dsl::walk`].
    ///
    /// # Errors
    /// Fails if the tree cannot be read, or if `visit` fails.
    pub fn walk(self: &Arc<Self>, visit: &mut dyn FnMut(&Arc<Self>) -> Result<()>) -> Result<()> {
        self.walk_new(visit, &mut HashSet::new())
    }

    /// Visits directories that are not yet in `seen`.
    fn walk_new(
        self: &Arc<Self>,
        visit: &mut dyn FnMut(&Arc<Self>) -> Result<()>,
        seen: &mut HashSet<ObjectId>,
    ) -> Result<()> {
        if !seen.insert(self.object) {
            return Err(self.is_another());
        }
        visit(self)?;
        for child in self.children()? {
            let last = child.name.rsplit('/').next().unwrap_or_default();
            if child.phys.head.is_some() && !last.contains(['$', '%']) {
                child.walk_new(visit, seen)?;
            }
        }
        Ok(())
    }

    /// Returns the error of a directory that has a second name.
    #[must_use]
    pub fn is_another(&self) -> Error {
        Error::corrupt("DSL directory", format!("{} is also another directory", self.name))
    }

    /// Returns the head dataset.
    ///
    /// # Errors
    /// Fails if there is none (`$MOS`, `$FREE`), and if it cannot be read.
    pub fn head(self: &Arc<Self>) -> Result<Dataset<M>> {
        let object = self
            .phys
            .head
            .ok_or_else(|| Error::refused(Errno::EINVAL, format!("{} has no dataset", self.name)))?;
        Dataset::open(self, object, self.name.clone())
    }

    /// Returns the snapshot of which this is a clone; `None` for an ordinary filesystem.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn origin(&self) -> Result<Option<Dataset<M>>> {
        let Some(object) = self.phys.origin else { return Ok(None) };
        let origin = self.dsl.dataset_by_object(object)?;
        Ok((!origin.name().contains("$ORIGIN")).then_some(origin))
    }

    /// Returns an entry in the directory's own object.
    ///
    /// # Errors
    /// Fails if the entries cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<Value>> {
        self.dsl.read().entry(self.object, name)
    }
}

/// Returns the entries of a table that can be opened, and the errors of others.
fn readable<T>(
    entries: Result<Vec<(String, Value)>>,
    mut open: impl FnMut(&(String, Value)) -> Result<T>,
) -> (Vec<T>, Vec<Error>) {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    match entries {
        Ok(entries) => entries.iter().map(&mut open).for_each(|result| match result {
            Ok(opened) => found.push(opened),
            Err(error) => failures.push(error),
        }),
        Err(error) => failures.push(error),
    }
    (found, failures)
}

/// A filesystem, volume or snapshot.
pub struct Dataset<M = Arc<Objset>> {
    dir: Arc<Dir<M>>,
    object: ObjectId,
    name: String,
    phys: Box<DatasetPhys>,
}

impl<M> fmt::Debug for Dataset<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({}, object {})", self.name, self.object)
    }
}

impl<M: Mos> Dataset<M> {
    fn open(dir: &Arc<Dir<M>>, object: ObjectId, name: String) -> Result<Self> {
        let phys = dir.dsl.read().dataset(object)?;
        if phys.dir != dir.object {
            return Err(Error::corrupt(
                "DSL dataset",
                format!("{name} refers to another directory, {}", phys.dir),
            ));
        }
        Ok(Self { dir: dir.clone(), object, name, phys: Box::new(phys) })
    }

    /// Returns the datasets of the pool.
    #[must_use]
    pub fn dsl(&self) -> &Arc<Dsl<M>> {
        &self.dir.dsl
    }

    /// Returns its directory.
    #[must_use]
    pub fn dir(&self) -> &Arc<Dir<M>> {
        &self.dir
    }

    /// Returns its object in the MOS, which is also the number of its object set.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Returns its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name after the `@` of a snapshot.
    #[must_use]
    pub fn snapshot_name(&self) -> Option<&str> {
        self.name.split_once('@').map(|(_, name)| name)
    }

    /// Returns the stored fields.
    #[must_use]
    pub fn phys(&self) -> &DatasetPhys {
        &self.phys
    }

    /// Returns `true` if it is a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.phys.is_snapshot()
    }

    /// Returns `true` if a receive or destroy is incomplete.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        self.phys.flags.contains(DatasetFlags::INCONSISTENT)
    }

    /// Returns its objects.
    ///
    /// # Errors
    /// Fails if they cannot be read: with [`Fault::Encrypted`](zstream_dmu::error::Fault::Encrypted) if a key is
    /// missing. A dataset in an early state of a receive has no objects.
    pub fn objset(&self) -> Result<Arc<Objset>> {
        Ok(Objset::open(self.dsl().blocks().clone(), self.object.0, self.phys.root).map(Arc::new)?)
    }

    /// Returns its objects as they are visible without a key: bonus buffers and data remain encrypted.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn objset_locked(&self) -> Result<Arc<Objset>> {
        Ok(Objset::open_locked(self.dsl().blocks().clone(), self.object.0, self.phys.root).map(Arc::new)?)
    }

    /// Returns the snapshots of a head, oldest first.
    ///
    /// # Errors
    /// Fails if a snapshot cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Self>> {
        let names = self.dsl().read().entries(self.phys.snapshot_names)?;
        if names.len() > SNAPSHOTS_MAX {
            return Err(Error::corrupt(
                "DSL dataset",
                format!("{} has {} snapshots, limit {SNAPSHOTS_MAX}", self.name, names.len()),
            ));
        }
        let mut snapshots = names
            .into_iter()
            .map(|(name, object)| self.open_snapshot(&name, &object))
            .collect::<Result<Vec<_>>>()?;
        snapshots.sort_by_key(|snapshot| snapshot.phys.creation_txg);
        Ok(snapshots)
    }

    /// Returns the snapshots of a head that can be read, oldest first, and the errors of others.
    #[must_use]
    pub fn readable_snapshots(&self) -> (Vec<Self>, Vec<Error>) {
        let names = self.dsl().read().entries(self.phys.snapshot_names);
        let (mut found, failures) = readable(names, |(name, object)| self.open_snapshot(name, object));
        found.sort_by_key(|snapshot| snapshot.phys.creation_txg);
        (found, failures)
    }

    /// Returns the snapshot of a head with this short name.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn snapshot(&self, name: &str) -> Result<Option<Self>> {
        match self.dsl().read().snapshot(&self.phys, name)? {
            Some((stored, object)) => {
                Self::open(&self.dir, object, format!("{}@{stored}", self.dir.name)).map(Some)
            }
            None => Ok(None),
        }
    }

    fn open_snapshot(&self, name: &str, object: &Value) -> Result<Self> {
        Self::open(&self.dir, ObjectId(object.u64()?), format!("{}@{name}", self.dir.name))
    }

    /// Returns the previous snapshot in the line. Before the first one, this is the origin; `None` if that is
    /// `$ORIGIN@$ORIGIN`.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn previous(&self) -> Result<Option<Self>> {
        let Some(object) = self.phys.prev_snapshot else { return Ok(None) };
        let previous = self.dsl().dataset_by_object(object)?;
        Ok((!previous.name.contains("$ORIGIN")).then_some(previous))
    }

    /// Returns `true` if `earlier` is a snapshot in the line that leads to this dataset (`dsl_dataset_is_before`).
    ///
    /// # Errors
    /// Fails if the line cannot be read.
    pub fn is_after(&self, earlier: &Self) -> Result<bool> {
        if !earlier.is_snapshot() {
            return Ok(false);
        }
        self.dsl().read().is_before(self.object, earlier.object)
    }

    /// Returns the names of the clones of a snapshot, in the order of OpenZFS. An interrupted receive of an increment is
    /// one of them.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn clones(&self) -> Result<Vec<String>> {
        let dsl = self.dsl();
        let firsts = dsl.read().values(self.phys.next_clones)?;
        let name = |first: &Value| Ok(dsl.dataset_by_object(ObjectId(first.u64()?))?.dir().name().to_owned());
        firsts.iter().map(name).collect()
    }

    /// Returns an entry in the dataset's own object: features, bookmarks, state of a receive.
    ///
    /// # Errors
    /// Fails if the entries cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<Value>> {
        self.dsl().read().entry(self.object, name)
    }

    /// Returns `true` if this [`feature`] is active in the dataset.
    ///
    /// # Errors
    /// Fails if its entries cannot be read.
    pub fn has_feature(&self, feature: &str) -> Result<bool> {
        self.dsl().read().dataset_feature(self.object, feature).map(|value| value.is_some())
    }

    /// Returns the guids of the snapshots that it was redacted by; `None` unless it was received redacted.
    ///
    /// # Errors
    /// Fails if its entries cannot be read.
    pub fn redaction_snapshots(&self) -> Result<Option<Vec<u64>>> {
        let guids = self.dsl().read().dataset_feature(self.object, feature::REDACTED_DATASETS)?;
        Ok(guids.map(|value| value.u64s()))
    }
}
