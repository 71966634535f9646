//! Directories and datasets, with the ways from one to the others.

mod tree;

use std::fmt;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use crate::error::{Error, Result};
use crate::phys::{DatasetFlags, DatasetPhys, DirPhys};
use crate::pool::Dsl;
use crate::reader::{Mos, SNAPSHOTS_MAX, Step};

/// Names of features that a dataset activates in itself.
pub mod feature {
    /// Blocks above 128 KiB.
    pub const LARGE_BLOCKS: &str = "large_blocks";
    /// Dnodes above 512 bytes.
    pub const LARGE_DNODE: &str = "large_dnode";
    /// zstd.
    pub const ZSTD_COMPRESS: &str = "zstd_compress";
    /// Received redacted; the value is the guids of the redaction snapshots.
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
    /// The directory at the end of a path, with those above it.
    fn at(dsl: &Arc<Dsl<M>>, path: Vec<Step>) -> Result<Arc<Self>> {
        let mut at = None;
        for Step { object, name, phys } in path {
            at = Some(Arc::new(Self { dsl: dsl.clone(), object, name, phys, parent: at }));
        }
        at.ok_or_else(|| Error::corrupt("DSL directory", "no way from the root"))
    }

    /// The pool's datasets.
    #[must_use]
    pub fn dsl(&self) -> &Arc<Dsl<M>> {
        &self.dsl
    }

    /// Its object in the MOS.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it keeps.
    #[must_use]
    pub fn phys(&self) -> &DirPhys {
        &self.phys
    }

    /// The directory above; none for the pool's root.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// The child of this name, without the names above.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn child(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Self>>> {
        match self.dsl.read().lookup(self.phys.children, name)? {
            Some(object) => self.open_child(name, object.u64()?).map(Some),
            None => Ok(None),
        }
    }

    /// All children, hidden ones too, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn children(self: &Arc<Self>) -> Result<Vec<Arc<Self>>> {
        let entries = self.dsl.read().entries(self.phys.children)?;
        entries.into_iter().map(|(name, object)| self.open_child(&name, object.u64()?)).collect()
    }

    /// The children that can be read, and why others cannot.
    #[must_use]
    pub fn readable_children(self: &Arc<Self>) -> (Vec<Arc<Self>>, Vec<Error>) {
        readable(self.dsl.read().entries(self.phys.children), |(name, object)| {
            self.open_child(name, object.u64()?)
        })
    }

    fn open_child(self: &Arc<Self>, name: &str, object: u64) -> Result<Arc<Self>> {
        let (object, name, parent) = (ObjectId(object), format!("{}/{name}", self.name), Some(self.clone()));
        let phys = self.dsl.read().dir(object)?;
        Ok(Arc::new(Self { dsl: self.dsl.clone(), object, name, phys, parent }))
    }

    /// Visits this directory and those below, as [`Dsl::walk`] does.
    ///
    /// # Errors
    /// When the tree cannot be read, or what `visit` returns.
    pub fn walk(self: &Arc<Self>, visit: &mut dyn FnMut(&Arc<Self>) -> Result<()>) -> Result<()> {
        if self.name.len() > 4 * crate::name::NAME_BYTES_MAX {
            return Err(Error::corrupt("DSL directory", format!("{} nests without an end", self.name)));
        }
        visit(self)?;
        for child in self.children()? {
            let last = child.name.rsplit('/').next().unwrap_or_default();
            if child.phys.head.is_some() && !last.contains(['$', '%']) {
                child.walk(visit)?;
            }
        }
        Ok(())
    }

    /// The head dataset.
    ///
    /// # Errors
    /// When there is none (`$MOS`, `$FREE`) or it cannot be read.
    pub fn head(self: &Arc<Self>) -> Result<Dataset<M>> {
        let object = self
            .phys
            .head
            .ok_or_else(|| Error::refused(Errno::EINVAL, format!("{} has no dataset", self.name)))?;
        Dataset::open(self, object, self.name.clone())
    }

    /// The snapshot that this is a clone of; none for an ordinary filesystem.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn origin(&self) -> Result<Option<Dataset<M>>> {
        let Some(object) = self.phys.origin else { return Ok(None) };
        let origin = self.dsl.dataset_by_object(object)?;
        Ok((!origin.name().contains("$ORIGIN")).then_some(origin))
    }

    /// An entry of those that the directory keeps in its own object.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<Value>> {
        self.dsl.read().entry(self.object, name)
    }
}

/// What can be opened of a table's entries, and why others cannot.
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
                format!("{name} says it lies in directory {}", phys.dir),
            ));
        }
        Ok(Self { dir: dir.clone(), object, name, phys: Box::new(phys) })
    }

    /// The pool's datasets.
    #[must_use]
    pub fn dsl(&self) -> &Arc<Dsl<M>> {
        &self.dir.dsl
    }

    /// The directory it belongs to.
    #[must_use]
    pub fn dir(&self) -> &Arc<Dir<M>> {
        &self.dir
    }

    /// Its object in the MOS, which is also the number of its object set.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of a snapshot: the name behind the `@`.
    #[must_use]
    pub fn snapshot_name(&self) -> Option<&str> {
        self.name.split_once('@').map(|(_, name)| name)
    }

    /// What it keeps.
    #[must_use]
    pub fn phys(&self) -> &DatasetPhys {
        &self.phys
    }

    /// Whether it is a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.phys.is_snapshot()
    }

    /// Whether a receive or destroy is under way.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        self.phys.flags.contains(DatasetFlags::INCONSISTENT)
    }

    /// Its objects.
    ///
    /// # Errors
    /// When they cannot be read: with [`Fault::Encrypted`](zstream_dmu::error::Fault::Encrypted) where a
    /// key is missing. A dataset whose receive has not come that far has none.
    pub fn objset(&self) -> Result<Arc<Objset>> {
        Ok(Objset::open(self.dsl().blocks().clone(), self.object.0, self.phys.root).map(Arc::new)?)
    }

    /// Its objects as they can be seen without a key: bonus buffers and data stay encrypted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn objset_locked(&self) -> Result<Arc<Objset>> {
        Ok(Objset::open_locked(self.dsl().blocks().clone(), self.object.0, self.phys.root).map(Arc::new)?)
    }

    /// The snapshots of a head, oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Self>> {
        let names = self.dsl().read().entries(self.phys.snapshot_names)?;
        if names.len() > SNAPSHOTS_MAX {
            return Err(Error::corrupt(
                "DSL dataset",
                format!("{} has {} snapshots", self.name, names.len()),
            ));
        }
        let mut snapshots = names
            .into_iter()
            .map(|(name, object)| self.open_snapshot(&name, &object))
            .collect::<Result<Vec<_>>>()?;
        snapshots.sort_by_key(|snapshot| snapshot.phys.creation_txg);
        Ok(snapshots)
    }

    /// The snapshots of a head that can be read, oldest first, and why others cannot.
    #[must_use]
    pub fn readable_snapshots(&self) -> (Vec<Self>, Vec<Error>) {
        let names = self.dsl().read().entries(self.phys.snapshot_names);
        let (mut found, failures) = readable(names, |(name, object)| self.open_snapshot(name, object));
        found.sort_by_key(|snapshot| snapshot.phys.creation_txg);
        (found, failures)
    }

    /// The snapshot of this short name of a head.
    ///
    /// # Errors
    /// When it cannot be read.
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

    /// The snapshot before this one in its line, which for the first one is the origin; none where that
    /// is `$ORIGIN@$ORIGIN`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn previous(&self) -> Result<Option<Self>> {
        let Some(object) = self.phys.prev_snapshot else { return Ok(None) };
        let previous = self.dsl().dataset_by_object(object)?;
        Ok((!previous.name.contains("$ORIGIN")).then_some(previous))
    }

    /// Whether `earlier` is a snapshot in the line of snapshots that led here (`dsl_dataset_is_before`).
    ///
    /// # Errors
    /// When the line cannot be read.
    pub fn is_after(&self, earlier: &Self) -> Result<bool> {
        if !earlier.is_snapshot() {
            return Ok(false);
        }
        self.dsl().read().is_before(self.object, earlier.object)
    }

    /// An entry of those that the dataset keeps in its own object: features, bookmarks, receive state.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<Value>> {
        self.dsl().read().entry(self.object, name)
    }

    /// Whether it has activated this [`feature`] in itself.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn has_feature(&self, feature: &str) -> Result<bool> {
        self.dsl().read().dataset_feature(self.object, feature).map(|value| value.is_some())
    }

    /// Guids of the snapshots that it was redacted by; none unless it was received redacted.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn redaction_snapshots(&self) -> Result<Option<Vec<u64>>> {
        let guids = self.dsl().read().dataset_feature(self.object, feature::REDACTED_DATASETS)?;
        Ok(guids.map(|value| value.u64s()))
    }
}
