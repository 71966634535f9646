//! Directories and datasets, with the ways from one to the others.

mod tree;

use std::fmt;
use std::sync::Arc;

use zstream_dmu::ids::{ObjectId, Txg};
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::{Match, Value, Zap};
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjectType;

use crate::error::{Error, Result};
use crate::phys::{DatasetFlags, DatasetPhys, DirPhys};
use crate::pool::Dsl;

/// Snapshots of one filesystem, as far as they are followed: more than any pool has.
const SNAPSHOTS_MAX: usize = 1 << 24;

/// Names of features that a dataset activates in itself, as its entries have them.
pub mod feature {
    /// Blocks above 128 KiB.
    pub const LARGE_BLOCKS: &str = "org.open-zfs:large_blocks";
    /// Dnodes above 512 bytes.
    pub const LARGE_DNODE: &str = "org.zfsonlinux:large_dnode";
    /// Native encryption.
    pub const ENCRYPTION: &str = "com.datto:encryption";
    /// zstd.
    pub const ZSTD_COMPRESS: &str = "org.freebsd:zstd_compress";
    /// Received redacted; the value is the guids of the redaction snapshots.
    pub const REDACTED_DATASETS: &str = "com.delphix:redacted_datasets";
    /// Names above 255 bytes.
    pub const LONGNAME: &str = "org.zfsonlinux:longname";
    /// Micro ZAPs above 128 KiB.
    pub const LARGE_MICROZAP: &str = "com.klarasystems:large_microzap";
}

/// A directory of the DSL: a name in the tree of datasets.
pub struct Dir {
    dsl: Arc<Dsl>,
    object: ObjectId,
    name: String,
    phys: DirPhys,
    parent: Option<Arc<Dir>>,
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dir({}, object {})", self.name, self.object)
    }
}

impl Dir {
    pub(crate) fn open(
        dsl: &Arc<Dsl>,
        object: ObjectId,
        name: String,
        parent: Option<Arc<Self>>,
    ) -> Result<Arc<Self>> {
        let phys = DirPhys::of_bonus(dsl.bonus(object, ObjectType::DSL_DIR)?.bonus()?)?;
        Ok(Arc::new(Self { dsl: dsl.clone(), object, name, phys, parent }))
    }

    /// The pool's datasets.
    #[must_use]
    pub fn dsl(&self) -> &Arc<Dsl> {
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
        match self.dsl.lookup(self.phys.children, name)? {
            Some(object) => self.open_child(name, object.u64()?).map(Some),
            None => Ok(None),
        }
    }

    /// All children, hidden ones too, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn children(self: &Arc<Self>) -> Result<Vec<Arc<Self>>> {
        let entries = self.dsl.entries(self.phys.children)?;
        entries.into_iter().map(|(name, object)| self.open_child(&name, object.u64()?)).collect()
    }

    /// The children that can be read, and why others cannot.
    #[must_use]
    pub fn readable_children(self: &Arc<Self>) -> (Vec<Arc<Self>>, Vec<Error>) {
        readable(self.dsl.entries(self.phys.children), |(name, object)| self.open_child(name, object.u64()?))
    }

    fn open_child(self: &Arc<Self>, name: &str, object: u64) -> Result<Arc<Self>> {
        Self::open(&self.dsl, ObjectId(object), format!("{}/{name}", self.name), Some(self.clone()))
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
    pub fn head(self: &Arc<Self>) -> Result<Dataset> {
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
    pub fn origin(&self) -> Result<Option<Dataset>> {
        let Some(object) = self.phys.origin else { return Ok(None) };
        let origin = self.dsl.dataset_by_object(object)?;
        Ok((!origin.name().contains("$ORIGIN")).then_some(origin))
    }

    /// An entry of those that the directory keeps in its own object.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<Value>> {
        self.dsl.lookup(self.dsl.own_zap(self.object)?, name)
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
pub struct Dataset {
    dir: Arc<Dir>,
    object: ObjectId,
    name: String,
    phys: Box<DatasetPhys>,
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({}, object {})", self.name, self.object)
    }
}

impl Dataset {
    fn open(dir: &Arc<Dir>, object: ObjectId, name: String) -> Result<Self> {
        let phys = DatasetPhys::of_bonus(dir.dsl.bonus(object, ObjectType::DSL_DATASET)?.bonus()?)?;
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
    pub fn dsl(&self) -> &Arc<Dsl> {
        &self.dir.dsl
    }

    /// The directory it belongs to.
    #[must_use]
    pub fn dir(&self) -> &Arc<Dir> {
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
        let reader = self.dsl().mos().reader().clone();
        Ok(Objset::open(reader, self.object.0, self.phys.root).map(Arc::new)?)
    }

    /// Its objects as they can be seen without a key: bonus buffers and data stay encrypted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn objset_locked(&self) -> Result<Arc<Objset>> {
        let reader = self.dsl().mos().reader().clone();
        Ok(Objset::open_locked(reader, self.object.0, self.phys.root).map(Arc::new)?)
    }

    /// The snapshots of a head, oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Self>> {
        let names = self.dsl().entries(self.phys.snapshot_names)?;
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
        let names = self.dsl().entries(self.phys.snapshot_names);
        let (mut found, failures) = readable(names, |(name, object)| self.open_snapshot(name, object));
        found.sort_by_key(|snapshot| snapshot.phys.creation_txg);
        (found, failures)
    }

    /// The snapshot of this short name of a head.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&self, name: &str) -> Result<Option<Self>> {
        let Some(names) = self.phys.snapshot_names else { return Ok(None) };
        let insensitive = self.phys.flags.contains(DatasetFlags::CASE_INSENSITIVE);
        let how = if insensitive { Match::Normalized } else { Match::Exact };
        match Zap::open(&**self.dsl().mos(), names)?.find(name, how)? {
            Some(entry) => self.open_snapshot(entry.key.text()?, &entry.value).map(Some),
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
        self.has_in_line(earlier.object, earlier.phys.creation_txg)
    }

    /// Whether the line of snapshots that led here holds the snapshot that is `object`, made in `txg`. The
    /// dataset itself does not count.
    fn has_in_line(&self, object: ObjectId, txg: Txg) -> Result<bool> {
        let mut at = self.phys.clone();
        for _ in 0..SNAPSHOTS_MAX {
            let Some(previous) = at.prev_snapshot else { return Ok(false) };
            if previous == object {
                return Ok(true);
            }
            if at.prev_snapshot_txg < txg {
                return Ok(false);
            }
            let earlier =
                DatasetPhys::of_bonus(self.dsl().bonus(previous, ObjectType::DSL_DATASET)?.bonus()?)?;
            // A head was created before its snapshots were, so that creation says nothing here.
            if earlier.prev_snapshot_txg >= at.prev_snapshot_txg {
                return Err(Error::corrupt(
                    "DSL dataset",
                    format!("the line of {} does not go back", self.name),
                ));
            }
            *at = earlier;
        }
        Err(Error::corrupt("DSL dataset", format!("the line of {} has no end", self.name)))
    }

    /// An entry of those that the dataset keeps in its own object: features, bookmarks, receive state.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<Value>> {
        self.dsl().lookup(self.dsl().own_zap(self.object)?, name)
    }

    /// Whether it has activated this [`feature`] in itself.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn has_feature(&self, feature: &str) -> Result<bool> {
        self.entry(feature).map(|value| value.is_some())
    }

    /// Guids of the snapshots that it was redacted by; none unless it was received redacted.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn redaction_snapshots(&self) -> Result<Option<Vec<u64>>> {
        Ok(self.entry(feature::REDACTED_DATASETS)?.map(|value| value.u64s()))
    }
}
